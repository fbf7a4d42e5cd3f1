//! Webhooks out by hand: `tidemill endpoints`, `event-types`, `messages`, `deliveries`, `recoveries`.

use std::time::Duration;

use serde_json::{Value, json};
use tidemill::fanout::event_types::{self, Declaration};
use tidemill::fanout::{Event, fan_out, recovery};
use tidemill_jobs::cli::Exit;

use super::House;

const URL: &str = "http://127.0.0.1:9/hook";

/// An endpoint of tenant acme; its id and its secret.
async fn add(house: &House, more: &str) -> (String, String) {
    let made = house.run(&format!("endpoints add {URL} --tenant acme --event * --json {more}")).await;
    assert_eq!(made.exit, Exit::Done, "{made:?}");
    let made = made.json();
    (made["endpoint"]["id"].as_str().unwrap().to_owned(), made["secret"].as_str().unwrap().to_owned())
}

async fn publish(house: &House, id: &str) {
    let (event_type, tenant) = ("invoice.paid".to_owned(), "acme".to_owned());
    let event = Event { id: id.to_owned(), event_type, tenant, payload: json!({ "n": 1 }) };
    fan_out(&house.fanout, &house.queue, &event, house.clock.now(), |spec| spec).await.unwrap();
}

async fn first(house: &House, line: &str) -> Value {
    house.run(&format!("{line} --json")).await.json()["items"][0].clone()
}

#[tokio::test]
async fn an_endpoint_is_added_shown_and_edited_field_by_field() {
    let house = House::new().await;
    let token = house.dir.path().join("token");
    std::fs::write(&token, "Bearer t0ken\n").unwrap();
    let header_file = format!("Authorization={}", token.display());
    let line = format!(
        "endpoints|add|{URL}|--tenant|acme|--event|invoice.*|-e|order.made|--description|ledger\
         |--filter|amount_minor >= 100|--header|X-Env=prod|--header-file|{header_file}|--header-prefix|X-GPUScout\
         |--note|team=finance|--rate|100/60s|--concurrency|4|--ordering|strict|--retry-waits|5s,5m"
    );
    let made = house.run_with(&line.split('|').collect::<Vec<_>>(), "").await;
    assert_eq!(made.exit, Exit::Done, "{made:?}");
    let mut lines = made.out.lines();
    assert!(lines.next().unwrap().starts_with("whsec_"), "the secret alone on its line: {made:?}");
    let id = lines.next().unwrap().split_whitespace().next().unwrap().to_owned();
    let shown = house.run(&format!("endpoints show {id}")).await.out;
    for part in [
        "state        enabled",
        "events       invoice.*, order.made",
        "filter       amount_minor >= 100",
        "sending      one at a time, in order; at most 4 at once; at most 100 in 60000 ms; tried again after [5000, 300000] ms",
        "headers      Authorization, X-Env",
        "prefix       X-GPUScout",
        "note         team: finance",
        "v1, made now, signs now",
    ] {
        assert!(shown.contains(part), "no `{part}` in\n{shown}");
    }
    assert!(!shown.contains("t0ken") && !shown.contains("whsec_"), "{shown}");

    let edit =
        format!("endpoints edit {id} --rate default --retry-waits default --concurrency 9 --no-headers --no-notes");
    let edited = house.run(&edit).await;
    assert_eq!(edited.exit, Exit::Done, "{edited:?}");
    let shown = house.run(&format!("endpoints show {id}")).await.out;
    assert!(shown.contains("sending      one at a time, in order; at most 9 at once\n"), "{shown}");
    assert!(!shown.contains("headers") && !shown.contains("note") && shown.contains("X-GPUScout"), "{shown}");
    let none = ["endpoints", "edit", &id, "--filter", "", "--header-prefix", "", "--ordering", "none"];
    assert_eq!(house.run_with(&none, "").await.exit, Exit::Done);
    let endpoint = house.run(&format!("endpoints show {id} --json")).await.json()["endpoint"].clone();
    assert_eq!((&endpoint["filter"], &endpoint["header_prefix"]), (&Value::Null, &Value::Null));
    assert_eq!(endpoint["sending"]["ordering"], "none");
}

#[tokio::test]
async fn an_endpoint_is_paused_enabled_disabled_and_deleted_only_with_yes() {
    let house = House::new().await;
    let (id, _) = add(&house, "").await;
    let state = async || first(&house, "endpoints list --tenant acme").await["state"].clone();
    for (line, becomes) in [
        (format!("endpoints pause {id} --reason noon"), "paused"),
        (format!("endpoints resume {id}"), "enabled"),
        (format!("endpoints disable {id} --reason gone"), "disabled"),
        (format!("endpoints enable {id}"), "enabled"),
    ] {
        let done = house.run(&line).await;
        assert_eq!((done.exit, state().await), (Exit::Done, json!(becomes)), "{line}: {done:?}");
    }
    let begun = first(&house, "recoveries list").await;
    assert_eq!((&begun["what"], &begun["endpoint_id"]), (&json!("backlog"), &json!(id)), "what waited is sent");
    let unsure = house.run(&format!("endpoints delete {id}")).await;
    assert!(unsure.exit == Exit::Usage && unsure.complaint.contains("--yes"), "{unsure:?}");
    assert_eq!(house.run(&format!("endpoints delete {id} --yes")).await.exit, Exit::Done);
    assert_eq!(house.run(&format!("endpoints show {id}")).await.exit, Exit::NotFound);
}

#[tokio::test]
async fn a_secret_is_printed_where_it_is_made_or_asked_for_and_nowhere_else() {
    let house = House::new().await;
    let (id, secret) = add(&house, "").await;
    let revealed = house.run(&format!("endpoints reveal-secret {id}")).await.out;
    assert_eq!(revealed.lines().next(), Some(&*secret));
    let rotated = house.run(&format!("endpoints rotate-secret {id} --overlap 1h --json")).await.json();
    let second = rotated["secret"].as_str().unwrap();
    assert!(second.starts_with("whsec_") && second != secret);
    let shown = house.run(&format!("endpoints show {id}")).await.out;
    assert!(shown.contains("signs too until 2026-01-02T04:04:05") && shown.contains("signs now"), "{shown}");
    for line in ["endpoints list", "endpoints list --json", &format!("endpoints show {id} --json")] {
        let out = house.run(line).await.out;
        assert!(out.contains(&id) && !out.contains("whsec_"), "{line}: {out}");
    }
    let (actions, text): (Vec<String>, Vec<String>) = tidemill::on_pool!(house.db.read(), pool => {
        let rows: Vec<(String, String)> =
            sqlx::query_as("select action, coalesce(after, '') from audit_log order by id").fetch_all(pool).await.unwrap();
        rows.into_iter().unzip()
    });
    assert_eq!(actions, ["endpoint.create", "endpoint.reveal", "endpoint.rotate"]);
    assert!(!text.join(" ").contains("whsec_"));

    let file = house.dir.path().join("own");
    std::fs::write(&file, format!("{secret}\n")).unwrap();
    let (_, own) = add(&house, &format!("--secret-file {}", file.display())).await;
    assert_eq!(own, secret);
    let (_, public) = add(&house, "--signature v1a").await;
    assert!(public.starts_with("whpk_"), "{public}");
}

#[tokio::test]
async fn what_was_sent_is_listed_shown_and_sent_again() {
    let house = House::new().await;
    let (id, _) = add(&house, "").await;
    publish(&house, "evt_1").await;
    let tested = house.run(&format!("endpoints test {id} --json")).await.json();
    let test = tested["message"].as_str().unwrap();
    let message = house.run(&format!("messages show {test}")).await.out;
    for part in ["type         webhook.test", "fanned out", "body         {\"id\":", &id, "pending"] {
        assert!(message.contains(part), "no `{part}` in\n{message}");
    }
    let listed = house.run("messages list --tenant acme").await.out;
    assert!(listed.starts_with("ID  ") && listed.contains("invoice.paid") && listed.contains("evt_1"), "{listed}");

    let page = house.run(&format!("deliveries list --endpoint {id} --state pending --limit 1 --json")).await.json();
    let cursor = page["next"].as_str().unwrap();
    let delivery = first(&house, &format!("deliveries list --endpoint {id} --cursor {cursor}")).await;
    let delivery = delivery["id"].as_str().unwrap();
    tidemill::on_pool!(house.db.write(), pool => {
        sqlx::query(
            "insert into delivery_attempts (id, delivery_id, attempt, at, node, ended_at, host, address, status, duration_ms,
               connect_ms, first_byte_ms, reply)
             values ($1, $2, 1, $3, 'n', $3, '127.0.0.1', '127.0.0.1:9', 503, 31, 9, 30, 'try later')",
        )
        .bind("att_00000000000000000000000000000001")
        .bind(delivery)
        .bind(house.clock.now().as_ms())
        .execute(pool)
        .await
        .unwrap();
    });
    let shown = house.run(&format!("deliveries show {delivery}")).await.out;
    for part in [
        "state        pending",
        "post         try 1, now: 503 from 127.0.0.1:9 in 31 ms (connect 9, first byte 30)",
        "reply        try later",
    ] {
        assert!(shown.contains(part), "no `{part}` in\n{shown}");
    }
    assert_eq!(house.run(&format!("deliveries show {delivery} --json")).await.json()["attempts"][0]["status"], 503);

    let resent = house.run(&format!("deliveries resend {delivery}")).await;
    let run = resent.out.split('`').nth(1).unwrap().strip_prefix("tidemill ").unwrap();
    assert!(house.run(run).await.out.contains(&format!("delivery     {delivery}")));
    let both = house.run(&format!("deliveries resend dlv_0 {delivery} --json")).await;
    assert_eq!((both.exit, &both.json()["items"][1]["done"]), (Exit::NotFound, &json!(true)));
}

#[tokio::test]
async fn a_recovery_is_started_watched_to_its_end_and_cancelled() {
    let house = House::new().await;
    publish(&house, "evt_1").await;
    house.clock.advance(Duration::from_secs(60));
    let (id, _) = add(&house, "").await;
    let begun = house.run(&format!("recoveries start missed {id} --since 2h")).await;
    let begun_id = begun.out.split_whitespace().next().unwrap().to_owned();
    assert_eq!(begun.out, format!("{begun_id} has begun: `tidemill recoveries watch {begun_id}`\n"));
    let line = format!("recoveries watch {begun_id}");
    let (watched, ended) = tokio::join!(house.run(&line), async {
        recovery::recover(&house.fanout, &house.queue, &begun_id, |spec| spec, || true).await.unwrap()
    });
    assert_eq!((watched.exit, ended.sent_again), (Exit::Done, 1), "{watched:?}");
    let last = watched.out.lines().last().unwrap();
    assert!(last.contains("100 %  completed: 1 looked at, 1 sent again"), "{last}");
    let over = house.run(&format!("recoveries cancel {begun_id}")).await;
    assert_eq!(over.exit, Exit::Refused, "{over:?}");

    let replay = house.run(&format!("recoveries start all {id} --since 2026-01-02T03:04:05Z --json")).await.json();
    let replay = replay["id"].as_str().unwrap();
    let listed = house.run(&format!("recoveries list --endpoint {id}")).await.out;
    assert!(listed.contains(replay) && listed.contains("running") && listed.contains("missed"), "{listed}");
    assert!(house.run(&format!("recoveries cancel {replay}")).await.out.contains("cancelled after 0"));
    let watched = house.run(&format!("recoveries watch {replay}")).await;
    assert_eq!(watched.exit, Exit::Failed);
    assert!(watched.complaint.contains(&format!("{replay} has not come to its end, it is cancelled")), "{watched:?}");
}

#[tokio::test]
async fn event_types_are_listed_and_shown_with_schema_and_example() {
    let house = House::new().await;
    let said = Declaration {
        description: "An invoice was paid.".into(),
        schema: Some(json!({ "type": "object" })),
        example: Some(json!({ "n": 1 })),
    };
    event_types::declare(&house.fanout, "invoice.paid", said).await.unwrap();
    let listed = house.run("event-types list").await.out;
    assert!(listed.lines().nth(1).unwrap().starts_with("invoice.paid  yes     yes"), "{listed}");
    let shown = house.run("event-types show invoice.paid").await.out;
    assert!(
        shown.contains("description  An invoice was paid.") && shown.contains("example        \"n\": 1"),
        "{shown}"
    );
    assert_eq!(house.run("event-types show invoice.paid --json").await.json()["example"]["n"], 1);
}

#[tokio::test]
async fn wrong_arguments_are_named_and_what_is_not_there_ends_with_three() {
    let house = House::new().await;
    let (id, _) = add(&house, "").await;
    let edit = |more: &str| format!("endpoints edit {id} {more}");
    for (line, parts) in [
        ("endpoints add ftp://127.0.0.1/ --event *".to_owned(), vec!["url", "http"]),
        (format!("endpoints add {URL}"), vec!["--event"]),
        (format!("endpoints add {URL} --event inv*"), vec!["event_types", "inv*"]),
        (edit(""), vec!["nothing is to be changed", "--help"]),
        (edit("--rate 100"), vec!["--rate", "100/60s", "default"]),
        (edit("--rate 0/1s"), vec!["sending.rate.limit", "1 to 1000000"]),
        (edit("--concurrency 1001"), vec!["sending.max_concurrency", "1 to 1000"]),
        (edit("--ordering fifo"), vec!["fifo", "none, strict"]),
        (edit("--retry-waits 5s,soon"), vec!["soon", "30s"]),
        (edit("--header Host=x"), vec!["headers", "Host"]),
        (edit("--header novalue"), vec!["--header", "no `=`"]),
        (edit("--header A=1 --header A=2"), vec!["--header", "A is given twice"]),
        (edit("--header-file A=/nowhere"), vec!["/nowhere"]),
        (edit("--header A=1 --no-headers"), vec!["--no-headers"]),
        (format!("endpoints rotate-secret {id} --overlap 8d"), vec!["overlap_seconds", "7 days"]),
        (format!("endpoints test {id} --type a.b"), vec!["a.b"]),
        ("deliveries list --state lost".into(), vec!["lost", "exhausted"]),
        ("deliveries list --cursor x".into(), vec!["x", "cursor"]),
        (format!("recoveries start one {id} --since 1h"), vec!["failed, missed, all"]),
        (format!("recoveries start all {id} --since tomorrow"), vec!["tomorrow", "2h"]),
        (format!("recoveries start all {id} --since 2099-01-02T03:04:05Z"), vec!["since", "ahead"]),
        (format!("recoveries start all {id}"), vec!["--since"]),
    ] {
        let ended = house.run(&line).await;
        assert_eq!(ended.exit, Exit::Usage, "{line}: {ended:?}");
        assert!(ended.out.is_empty(), "{line}: {}", ended.out);
        for part in parts {
            assert!(ended.complaint.contains(part), "{line} does not name `{part}`: {}", ended.complaint);
        }
    }
    for line in [
        "endpoints show ep_0",
        "endpoints pause ep_0 --reason x",
        "endpoints reveal-secret ep_0",
        "endpoints test ep_0",
        "recoveries start all ep_0 --since 1h",
        "recoveries watch rcv_0",
        "recoveries cancel rcv_0",
        "deliveries show dlv_0",
        "deliveries resend dlv_0",
        "messages show msg_0",
        "event-types show a.b",
    ] {
        let ended = house.run(line).await;
        assert_eq!(ended.exit, Exit::NotFound, "{line}: {ended:?}");
        assert!(ended.complaint.contains("`tidemill "), "{line} does not say what to do: {}", ended.complaint);
    }
    house.run(&format!("endpoints disable {id} --reason x")).await;
    for line in [format!("recoveries start all {id} --since 1h"), format!("endpoints test {id}")] {
        assert_eq!(house.run(&line).await.exit, Exit::Refused, "{line}");
    }
}

#[tokio::test]
async fn a_header_that_is_written_wrong_is_repeated_neither_by_the_error_nor_by_the_audit_log() {
    let house = House::new().await;
    let (id, _) = add(&house, "").await;
    let secret = "tok_4242";
    for (option, value) in [
        ("--header", format!("Authorization: Bearer {secret}")),
        ("--header", format!("Authorization: Bearer {secret}=")),
        ("--header", format!("Authorization:{secret}=x")),
        ("--header-file", secret.to_owned()),
        ("--note", secret.to_owned()),
    ] {
        let ended = house.run_with(&["endpoints", "edit", &id, option, &value], "").await;
        assert_eq!(ended.exit, Exit::Usage, "{option} {value}");
        assert!(!ended.complaint.contains(secret), "{option} {value}: {}", ended.complaint);
        assert!(ended.complaint.contains("--") || ended.complaint.contains("`Authorization…`"), "{}", ended.complaint);
    }
    let rows: Vec<String> = tidemill::on_pool!(house.db.read(), pool => {
        sqlx::query_scalar("select coalesce(before, '') || coalesce(after, '') from audit_log").fetch_all(pool).await.unwrap()
    });
    assert!(rows.len() >= 3 && rows.iter().all(|row| !row.contains(secret)), "{rows:?}");
}
