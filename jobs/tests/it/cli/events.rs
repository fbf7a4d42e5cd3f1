//! Publishing by hand: `tidemill events publish`.

use serde_json::json;
use tidemill::fanout::event_types::{self, Declaration};
use tidemill_jobs::cli::Exit;

use super::House;

const DATA: &str = r#"{"amount_minor":1200}"#;

fn publish<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&["events", "publish", "--type", "invoice.paid", "--tenant", "acme", "--json"], more].concat()
}

#[tokio::test]
async fn an_event_is_published_from_the_line_a_file_or_standard_input() {
    let house = House::new().await;
    let file = house.dir.path().join("data.json");
    std::fs::write(&file, format!("{DATA}\n")).unwrap();
    let file = format!("@{}", file.display());
    for (n, (data, input)) in [(DATA, ""), (&*file, ""), ("-", DATA)].into_iter().enumerate() {
        let id = format!("evt_{n}");
        let done = house.run_with(&publish(&["--id", &id, "--data", data]), input).await;
        assert_eq!(done.exit, Exit::Done, "{done:?}");
        let done = done.json();
        assert_eq!((&done["event"], &done["duplicate"]), (&json!(id), &json!(false)));
        let job = house.run(&format!("jobs show {} --json", done["job"].as_str().unwrap())).await.json()["job"].clone();
        assert_eq!((&job["kind"], &job["enqueued_by"]), (&json!("webhook.fanout"), &json!("cli:mia")));
        let event =
            json!({ "id": id, "event_type": "invoice.paid", "tenant": "acme", "payload": { "amount_minor": 1200 } });
        assert_eq!(job["payload"], event);
    }
    assert_eq!(house.waiting().await, 3);
    let again = house.run_with(&publish(&["--id", "evt_1", "--data", DATA]), "").await;
    assert_eq!((again.exit, &again.json()["duplicate"]), (Exit::Done, &json!(true)));
    let line = ["events", "publish", "--type", "invoice.paid", "--tenant", "acme", "--id", "evt_1", "--data", DATA];
    let told = house.run_with(&line, "").await.out;
    assert_eq!(told, "evt_1 was published before; nothing was published\n");
    assert_eq!(house.waiting().await, 3);
}

#[tokio::test]
async fn without_an_id_each_event_is_a_new_one_and_a_key_makes_the_command_once() {
    let house = House::new().await;
    let one = house.run_with(&publish(&["-d", DATA]), "").await.json();
    let two = house.run_with(&publish(&["-d", DATA]), "").await.json();
    assert!(one["event"].as_str().unwrap().starts_with("evt_") && one["event"] != two["event"], "{one} {two}");

    let keyed = publish(&["-d", DATA, "--idempotency-key", "in_1 paid"]);
    let first = house.run_with(&keyed, "").await.json();
    let again = house.run_with(&keyed, "").await.json();
    assert_eq!((&first["replayed"], &again["replayed"]), (&json!(false), &json!(true)));
    assert_eq!((&first["event"], &first["job"]), (&again["event"], &again["job"]));
    assert_eq!(house.waiting().await, 3);
    for other in [r#"{"amount_minor":1201}"#, "{}"] {
        let reused = house.run_with(&publish(&["-d", other, "--idempotency-key", "in_1 paid"]), "").await;
        assert_eq!(reused.exit, Exit::Usage, "{reused:?}");
        assert!(reused.complaint.contains("used for another request"), "{reused:?}");
    }
    // A command that was refused leaves its key free for the corrected one.
    let bad = publish(&["-d", DATA, "--id", "évt", "--idempotency-key", "k2"]);
    assert_eq!(house.run_with(&bad, "").await.exit, Exit::Usage);
    let good = publish(&["-d", DATA, "--id", "evt", "--idempotency-key", "k2"]);
    assert_eq!(house.run_with(&good, "").await.exit, Exit::Done);
    for key in ["", "é", &"k".repeat(256)] {
        let done = house.run_with(&publish(&["-d", DATA, "--idempotency-key", key]), "").await;
        assert_eq!(done.exit, Exit::Usage, "{key}");
    }
    assert_eq!(house.waiting().await, 4);
}

#[tokio::test]
async fn what_the_api_refuses_is_refused_in_its_words_and_nothing_is_enqueued() {
    let house = House::new().await;
    let declaration = Declaration {
        description: "an invoice was paid".into(),
        schema: Some(json!({ "type": "object", "required": ["amount_minor"] })),
        example: None,
    };
    event_types::declare(&house.fanout, "invoice.paid", declaration).await.unwrap();
    let large = format!("\"{}\"", "x".repeat(300 * 1024));
    let cases: [(&[&str], &str); 8] = [
        (&["--type", "invoice..paid", "-d", "{}"], "event_type is invoice..paid; allowed: "),
        (&["--type", "a.b", "-d", "{}", "--tenant", "a b"], "tenant is a b; allowed: "),
        (&["--type", "a.b", "-d", "{}", "--id", "a\nb"], "id is "),
        (&["--type", "invoice.paid", "-d", "{}"], "amount_minor"),
        (&["--type", "a.b", "-d", "{"], "--data is no JSON"),
        (&["--type", "a.b", "-d", "@/nowhere.json"], "--data: /nowhere.json can't be read"),
        (&["--type", "a.b", "-d", &large], "bytes"),
        (&["--type", "a.b"], "--data"),
    ];
    for (arguments, words) in cases {
        let refused = house.run_with(&[&["events", "publish"], arguments].concat(), "").await;
        assert_eq!(refused.exit, Exit::Usage, "{arguments:?} {:?}", refused.exit);
        assert!(refused.complaint.contains(words), "no `{words}` in {}", refused.complaint);
    }
    assert_eq!(house.waiting().await, 0);
}
