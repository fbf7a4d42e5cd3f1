//! What pages show: hostile content as text, the rules for browsers, long payloads cut, and lists that miss nothing.

use std::collections::BTreeSet;

use axum::http::StatusCode;
use serde_json::{Value, json};
use tidemill::fanout::endpoints::{self, EndpointChange};
use tidemill::fanout::event_types::{self, Declaration};

use super::{Reply, Stand, Visitor};

const HOSTILE: &str =
    "</pre><script>alert(1)</script><img src=x onerror=alert(2)>\"'&amp;{{7*7}}\u{202e}\u{0}\u{1b}[31m";

/// Every page with content in it.
async fn all_pages(visitor: &Visitor<'_>, [endpoint, _, delivery, _]: &[String; 4]) -> Vec<(String, Reply)> {
    let paths = [
        "/portal".to_owned(),
        "/portal/endpoints/new".into(),
        format!("/portal/endpoints/{endpoint}"),
        format!("/portal/endpoints/{endpoint}?done=saved&state=failed"),
        format!("/portal/endpoints/{endpoint}/edit"),
        format!("/portal/endpoints/{endpoint}/rotate"),
        format!("/portal/deliveries/{delivery}"),
        "/portal/nowhere".into(),
        "/portal/endpoints".into(),
        "/portal/open/nothing".into(),
        format!("/portal/deliveries/{delivery}/payload"),
    ];
    let mut pages = Vec::new();
    for path in paths {
        let reply = visitor.get(&path).await;
        pages.push((path, reply));
    }
    pages
}

#[tokio::test]
async fn every_reply_tells_browsers_to_run_load_frame_and_keep_nothing() {
    let stand = Stand::new().await;
    let ids = stand.furnish("acme").await;
    let visitor = stand.visitor("acme").await;
    for (path, reply) in all_pages(&visitor, &ids).await {
        let policy = reply.header("content-security-policy");
        for rule in [
            "default-src 'none'",
            "style-src 'self'",
            "form-action 'self'",
            "base-uri 'none'",
            "frame-ancestors 'none'",
        ] {
            assert!(policy.contains(rule), "{path}: {policy}");
        }
        assert!(!policy.contains("unsafe") && !policy.contains("script-src") && !policy.contains("http"), "{path}");
        let rules = [
            ("cache-control", "no-store"),
            ("referrer-policy", "no-referrer"),
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
        ];
        rules.iter().for_each(|(name, value)| assert_eq!(reply.header(name), *value, "{path}"));
        // A policy is no use where the page asks for what it forbids.
        for word in ["<script", " style=", " onclick", " onload", "javascript:", "<iframe", "@import"] {
            assert!(!reply.text.contains(word), "{path} holds {word}");
        }
        let loaded = reply.text.split("<link ").skip(1).chain(reply.text.split("<img ").skip(1));
        let elsewhere =
            loaded.filter(|tag| !tag.contains("href=\"/portal/assets/") && !tag.contains("src=\"/portal/assets/"));
        assert_eq!(elsewhere.count(), 0, "{path} loads from elsewhere");
    }
}

#[tokio::test]
async fn the_stylesheet_is_kept_by_its_hash() {
    let stand = Stand::new().await;
    let visitor = stand.visitor("acme").await;
    let page = visitor.get("/portal").await.text;
    let name = page.split("rel=\"stylesheet\" href=\"").nth(1).unwrap().split('"').next().unwrap();
    // Without a session: a note for those who have none looks the same.
    let nobody = Visitor { stand: &stand, cookie: String::new() };
    let style = nobody.get(name).await;
    assert_eq!((style.status, style.header("content-type")), (StatusCode::OK, "text/css; charset=utf-8"));
    assert!(style.header("cache-control").contains("immutable") && !style.header("etag").is_empty());
    assert!(!style.text.contains("url(") && !style.text.contains("@import"), "it loads nothing");
    assert_eq!(nobody.get(&name.replace("tidemill-", "tidemill-0")).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn what_strangers_wrote_is_text_on_every_page() {
    let stand = Stand::new().await;
    event_types::declare(
        &stand.fanout,
        "invoice.paid",
        Declaration { description: HOSTILE.replace('\0', ""), ..Declaration::default() },
    )
    .await
    .unwrap();
    let ids = stand.furnish("acme").await;
    let change = EndpointChange { description: Some(HOSTILE.replace('\0', "")), ..EndpointChange::default() };
    endpoints::update(&stand.fanout, &ids[0], change).await.unwrap();
    let body = json!({ "note": HOSTILE, "</pre><script>": 1 }).to_string();
    tidemill::on_pool!(stand.db.write(), pool => {
        sqlx::query("update messages set body = $1, event_id = $2").bind(&body).bind(HOSTILE).execute(pool).await.unwrap();
        let attempts = sqlx::query("update delivery_attempts set reply = $1, error = $1, address = $1");
        attempts.bind(HOSTILE).execute(pool).await.unwrap();
    });
    let visitor = stand.visitor("acme").await;
    let mut seen = 0;
    for (path, reply) in all_pages(&visitor, &ids).await {
        if path.ends_with("/payload") {
            assert_eq!(reply.text, body, "as it is POSTed");
            assert!(reply.header("content-disposition").starts_with("attachment; filename=\"msg_"), "{reply:?}");
            assert_eq!(reply.header("content-type"), "application/json");
            continue;
        }
        // A field gives back what was filled in, as it was.
        let markup = ["<script", "onerror=alert(2)>", "<img src=x", "\0"];
        let unseen: &[&str] = if path.ends_with("/edit") { &[] } else { &["\u{202e}", "\u{1b}"] };
        for bad in markup.iter().chain(unseen) {
            assert!(!reply.text.contains(bad), "{path} holds {bad:?}");
        }
        seen += usize::from(reply.text.contains("alert(1)"));
    }
    assert!(seen >= 5, "the text itself is shown: {seen}");
}

#[tokio::test]
async fn a_long_payload_is_cut_on_the_page_with_its_size_told_and_whole_in_the_download() {
    let stand = Stand::new().await;
    stand.endpoint("acme", "http://127.0.0.1:9/hooks").await;
    let lines: Vec<Value> = (0..20_000).map(|n| json!(format!("line {n}"))).collect();
    stand.publish("acme", "evt_long", json!({ "lines": lines })).await;
    let delivery = stand.deliveries("acme").await.remove(0);
    let visitor = stand.visitor("acme").await;
    let page = visitor.get(&format!("/portal/deliveries/{}", delivery.id)).await;
    assert!(page.text.len() < 200_000, "{}", page.text.len());
    let whole = visitor.get(&format!("/portal/deliveries/{}/payload", delivery.id)).await.text;
    let size = format!("{}.{} KiB", whole.len() / 1024, whole.len() % 1024 * 10 / 1024);
    assert!(page.text.contains(&format!("It has {size}; about the first 32.0 KiB are shown")), "{size}");
    assert!(page.text.contains("line 10") && !page.text.contains("line 19999") && whole.contains("line 19999"));
}

#[tokio::test]
async fn an_attempt_says_when_how_long_what_came_back_and_when_the_next_one_is() {
    let stand = Stand::new().await;
    let [_, _, delivery, attempt] = stand.furnish("acme").await;
    tidemill::on_pool!(stand.db.write(), pool => {
        sqlx::query(
            "update delivery_attempts set status = 503, error_class = null, error = null, address = '203.0.113.7:443',
               dns_ms = 11, connect_ms = 22, tls_ms = 33, first_byte_ms = 44, duration_ms = 55, reply = 'come back'
             where id = $1",
        )
        .bind(&attempt)
        .execute(pool)
        .await
        .unwrap();
    });
    let visitor = stand.visitor("acme").await;
    let page = visitor.get(&format!("/portal/deliveries/{delivery}")).await.text;
    let parts = [
        "answered 503",
        "11 ms",
        "22 ms",
        "33 ms",
        "44 ms",
        "55 ms",
        "203.0.113.7:443",
        "come back",
        "2026-01-02 03:04:05 UTC",
        "in 1 min",
    ];
    for part in parts {
        assert!(page.contains(part), "{part}: {page}");
    }
    assert!(!page.contains("0190c2a4"), "the node that sent it is ours to know");
    // What our guard says may name a private address.
    tidemill::on_pool!(stand.db.write(), pool => {
        sqlx::query(
            "update delivery_attempts set status = null, error_class = 'refused', error = 'leads to 10.1.2.3', reply = ''",
        )
        .execute(pool)
        .await
        .unwrap();
    });
    let page = visitor.get(&format!("/portal/deliveries/{delivery}")).await.text;
    assert!(page.contains("not a public address") && !page.contains("10.1.2.3"), "{page}");
}

#[tokio::test]
async fn walking_the_pages_shows_everything_once() {
    let stand = Stand::new().await;
    let id = stand.endpoint("acme", "http://127.0.0.1:9/hooks").await.endpoint.id;
    for n in 0..60 {
        stand.publish("acme", &format!("evt_{n}"), json!({})).await;
    }
    let visitor = stand.visitor("acme").await;
    let (mut path, mut seen, mut pages) = (format!("/portal/endpoints/{id}"), Vec::new(), 0);
    loop {
        let text = visitor.get(&path).await.text;
        seen.extend(text.split("/portal/deliveries/").skip(1).map(|rest| rest[..36].to_owned()));
        pages += 1;
        let Some(next) = text.split("?after=").nth(1) else { break };
        path = format!("/portal/endpoints/{id}?after={}", &next[..36]);
    }
    assert_eq!((pages, seen.len(), seen.iter().collect::<BTreeSet<_>>().len()), (3, 60, 60));
    for n in 0..25 {
        stand.endpoint("acme", &format!("http://127.0.0.1:9/{n}")).await;
        stand.clock.advance(std::time::Duration::from_millis(1));
    }
    let first = visitor.get("/portal").await.text;
    assert_eq!(first.matches("class=\"url\" href").count(), 20);
    let next = &first.split("?after=").nth(1).unwrap()[..35];
    assert_eq!(visitor.get(&format!("/portal?after={next}")).await.text.matches("class=\"url\" href").count(), 6);
}

#[tokio::test]
async fn a_tenant_without_anything_is_told_what_to_do() {
    let stand = Stand::new().await;
    let visitor = stand.visitor("acme").await;
    assert!(visitor.get("/portal").await.text.contains("No endpoints yet."));
    let id = stand.endpoint("acme", "http://127.0.0.1:9/hooks").await.endpoint.id;
    assert!(visitor.get(&format!("/portal/endpoints/{id}")).await.text.contains("Nothing was sent here yet."));
    assert!(
        visitor
            .get(&format!("/portal/endpoints/{id}?state=failed"))
            .await
            .text
            .contains("No deliveries in this state.")
    );
    stand.publish("acme", "evt_1", json!({})).await;
    let delivery = stand.deliveries("acme").await.remove(0);
    assert!(visitor.get(&format!("/portal/deliveries/{}", delivery.id)).await.text.contains("Not tried yet."));
    for (word, shown) in [("pending", true), ("succeeded", false), ("nonsense", true)] {
        let page = visitor.get(&format!("/portal/endpoints/{id}?state={word}")).await.text;
        assert_eq!(page.contains(&delivery.id), shown, "{word}");
    }
}

#[tokio::test]
async fn the_list_tells_how_each_endpoint_does_by_its_own_last_hundred() {
    let stand = Stand::new().await;
    let busy = stand.endpoint("acme", "http://127.0.0.1:9/busy").await.endpoint.id;
    for n in 0..104 {
        stand.publish("acme", &format!("evt_{n}"), json!({})).await;
    }
    let fresh = stand.endpoint("acme", "http://127.0.0.1:9/fresh").await.endpoint.id;
    stand.publish("acme", "evt_last", json!({})).await;
    stand.endpoint("acme", "http://127.0.0.1:9/never").await;
    let foreign = stand.endpoint("other", "http://127.0.0.1:9/foreign").await.endpoint.id;
    stand.publish("other", "evt_foreign", json!({})).await;
    // The first ten lie behind the last hundred but for five of them.
    let states = [("succeeded", "evt_1%"), ("exhausted", "evt_5%"), ("failed", "evt_6"), ("succeeded", "evt_0")];
    for (state, like) in states {
        tidemill::on_pool!(stand.db.write(), pool => {
            sqlx::query(
                "update deliveries set state = $1, attempts = 1,
                   settled_at = case when $1 = 'failed' then null else updated_at end,
                   next_at = case when $1 = 'failed' then updated_at end
                 where endpoint_id = $2 and message_id in (select id from messages where event_id like $3)",
            )
            .bind(state)
            .bind(&busy)
            .bind(like)
            .execute(pool)
            .await
            .unwrap();
        });
    }
    let list = stand.visitor("acme").await.get("/portal").await.text;
    let row = |url: &str| {
        let rest = list.split_once(&format!(">http://127.0.0.1:9/{url}</a>")).unwrap_or_else(|| panic!("{list}")).1;
        rest.split("class=\"number\"><span>").nth(1).unwrap().split("</span></td>").next().unwrap().to_owned()
    };
    // 105 were sent: 5 to 103 and the last are looked at. 1%: 10 to 19 and 100 to 103; 5%: 5 and 50 to 59; 6.
    assert_eq!(row("busy"), "14 delivered, <span class=\"badtext\">12 failed</span>, 74 waiting");
    assert_eq!((row("fresh"), row("never")), ("0 delivered, 1 waiting".into(), "0 delivered".into()));
    assert!(!list.contains(&foreign) && list.contains(&fresh));
    let page = stand.visitor("acme").await.get(&format!("/portal/endpoints/{busy}")).await.text;
    assert!(page.contains("14 delivered, 12 failed, 74 waiting"), "{page}");
}
