//! What a consumer changes, what becomes of it, and what is written in the audit log.

use axum::http::StatusCode;
use serde_json::json;
use tidemill::config::portal::PortalConfig;
use tidemill::fanout::PageRequest;
use tidemill::fanout::endpoints::{self, EndpointState};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{HOME, Stand, wanted};

const NEW: &str = "/portal/endpoints/new";
const ADD: &str = "/portal/endpoints";

/// The secret that a page shows.
fn secret(page: &str) -> &str {
    let rest = page.split_once("<pre class=\"secret\" tabindex=\"0\">").expect("a page with a secret").1;
    rest.split('<').next().unwrap()
}

#[tokio::test]
async fn an_endpoint_is_added_and_its_secret_is_shown_in_that_one_reply() {
    let stand = Stand::new().await;
    let visitor = stand.visitor("acme").await;
    let reply = visitor.submit(NEW, ADD, &wanted("http://127.0.0.1:9/hooks")).await;
    assert_eq!((reply.status, reply.header("cache-control")), (StatusCode::CREATED, "no-store"));
    let shown = secret(&reply.text).replace("&#61;", "=");
    let list = endpoints::list(&stand.db, Some("acme"), &PageRequest::default()).await.unwrap().items;
    let [endpoint] = &list[..] else { panic!("{list:?}") };
    assert_eq!(shown, endpoints::current_secret(&stand.fanout, &endpoint.id).await.unwrap().reveal());
    assert_eq!((&*endpoint.url, &*endpoint.description), ("http://127.0.0.1:9/hooks", "ours"));
    let patterns: Vec<String> = endpoint.event_types.iter().map(ToString::to_string).collect();
    assert_eq!(patterns, ["invoice.*", "payment.done"]);
    for path in [
        "/portal".to_owned(),
        format!("/portal/endpoints/{}", endpoint.id),
        format!("/portal/endpoints/{}/edit", endpoint.id),
    ] {
        assert!(!visitor.get(&path).await.text.contains(&shown[6..20]), "{path}");
    }
    let [[actor, action, subject, after]] = &stand.audit().await[..] else { panic!("one row") };
    assert!(actor.starts_with("tenant:acme via link lnk_"), "{actor}");
    assert_eq!((&**action, &**subject), ("endpoint.create", "endpoint of acme"));
    assert!(after.contains("127.0.0.1:9/hooks") && !after.contains(&shown), "{after}");
}

#[tokio::test]
async fn what_is_wrong_stands_beside_its_field_and_what_was_filled_in_stays() {
    let stand = Stand::new().await;
    let visitor = stand.visitor("acme").await;
    let good = wanted("http://127.0.0.1:9/hooks");
    let wrong = [
        ("url", "http://10.0.0.1/\"><script>", "url-fault"),
        ("url", "http://10.0.0.1/", "url-fault"),
        ("url", "http://[::1]/", "url-fault"),
        ("url", "ftp://127.0.0.1/", "url-fault"),
        ("url", "http://user:pass@127.0.0.1:9/", "url-fault"),
        ("url", "", "url-fault"),
        ("description", &"x".repeat(501), "description-fault"),
        ("event_types", "invoice..paid", "event_types-fault"),
        ("event_types", " , \r\n", "event_types-fault"),
        ("filter", "amount >", "filter-fault"),
    ];
    for (field, value, place) in wrong {
        let fields = good.map(|(name, kept)| if name == field { (name, value) } else { (name, kept) });
        let reply = visitor.submit(NEW, ADD, &fields).await;
        assert_eq!(reply.status, StatusCode::UNPROCESSABLE_ENTITY, "{field} {value}");
        assert!(reply.text.contains(&format!("id=\"{place}\"")), "{field} {value}: {}", reply.text);
        assert_eq!(reply.text.matches("class=\"fault\"").count(), 1, "{field} {value}");
        assert!(field == "description" || reply.text.contains("value=\"ours\""), "what was filled in stays");
        assert!(!reply.text.contains("<script>") && !reply.text.contains("fanout."), "{}", reply.text);
    }
    assert_eq!(stand.count("select count(*) from endpoints").await, 0);
    // The refusal is in the log, too.
    assert_eq!(stand.audit().await.len(), wrong.len());
    assert!(stand.audit().await.iter().all(|[.., after]| after.contains("refused")));
}

#[tokio::test]
async fn an_edit_is_saved_and_shown_and_a_wrong_one_is_not() {
    let stand = Stand::new().await;
    let [id, ..] = stand.furnish("acme").await;
    let visitor = stand.visitor("acme").await;
    let (page, edit) = (format!("/portal/endpoints/{id}"), format!("/portal/endpoints/{id}/edit"));
    let to = [
        ("url", "http://127.0.0.1:9/new"),
        ("description", "moved"),
        ("event_types", "a.b, c.*"),
        ("filter", "x == 1"),
    ];
    let reply = visitor.submit(&edit, &edit, &to).await;
    assert_eq!((reply.status, reply.header("location")), (StatusCode::SEE_OTHER, &*format!("{page}?done=saved")));
    let shown = visitor.get(&format!("{page}?done=saved")).await.text;
    for part in
        ["http://127.0.0.1:9/new", "moved", "<code>a.b</code>", "<code>c.*</code>", "x == 1", "The changes are saved"]
    {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let wrong = [("url", "http://10.0.0.1/"), ("description", "no"), ("event_types", "*"), ("filter", "")];
    assert_eq!(visitor.submit(&edit, &edit, &wrong).await.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(endpoints::get(&stand.db, &id).await.unwrap().description, "moved");
    let none = [("url", "http://127.0.0.1:9/new"), ("description", ""), ("event_types", "*"), ("filter", "")];
    assert_eq!(visitor.submit(&edit, &edit, &none).await.status, StatusCode::SEE_OTHER);
    assert_eq!(endpoints::get(&stand.db, &id).await.unwrap().filter, None, "an empty filter is none");
    assert!(!visitor.get(&format!("{page}?done=%3Cscript%3E")).await.text.contains("script"));
}

#[tokio::test]
async fn a_rotation_says_how_long_both_sign_and_shows_the_new_secret_once() {
    let stand = Stand::new().await;
    let [id, ..] = stand.furnish("acme").await;
    let visitor = stand.visitor("acme").await;
    let old = endpoints::current_secret(&stand.fanout, &id).await.unwrap().reveal().to_owned();
    let path = format!("/portal/endpoints/{id}/rotate");
    assert!(visitor.get(&path).await.text.contains("24 hours"));
    let reply = visitor.submit(&path, &path, &[]).await;
    assert_eq!((reply.status, reply.header("location")), (StatusCode::OK, ""));
    let new = endpoints::current_secret(&stand.fanout, &id).await.unwrap().reveal().to_owned();
    assert!(new != old && secret(&reply.text).replace("&#61;", "=") == new, "{}", reply.text);
    assert!(reply.text.contains("24 hours") && !reply.text.contains(&old));
    assert_eq!(endpoints::secrets(&stand.fanout, &id).await.unwrap().len(), 2);
    let page = visitor.get(&format!("/portal/endpoints/{id}")).await.text;
    assert!(page.contains("signs until") && !page.contains(&new[..20]) && !page.contains(&old[..20]));
    let audit = stand.audit().await;
    assert_eq!(audit[0][1..3], ["endpoint.rotate".to_owned(), format!("endpoint:{id}")]);
    assert!(audit.iter().flatten().all(|text| !text.contains("whsec_")));
}

#[tokio::test]
async fn a_pause_is_undone_by_who_made_it() {
    let stand = Stand::new().await;
    let [id, ..] = stand.furnish("acme").await;
    let visitor = stand.visitor("acme").await;
    let page = format!("/portal/endpoints/{id}");
    let send = async |what: &str| visitor.submit(NEW, &format!("{page}/{what}"), &[]).await.status;
    let state = async || endpoints::get(&stand.db, &id).await.unwrap().state;

    assert_eq!(send("resume").await, StatusCode::CONFLICT);
    assert_eq!(send("pause").await, StatusCode::SEE_OTHER);
    assert_eq!(state().await, EndpointState::Paused);
    assert!(visitor.get(&page).await.text.contains("when you resume"));
    assert_eq!((send("test").await, send("pause").await), (StatusCode::CONFLICT, StatusCode::CONFLICT));
    assert_eq!(send("resume").await, StatusCode::SEE_OTHER);
    assert_eq!(state().await, EndpointState::Enabled);
    assert_eq!(stand.count("select count(*) from recoveries where what = 'backlog'").await, 1, "what waited is sent");

    // Markup in a reason is text, too.
    endpoints::pause(&stand.fanout, &id, "<b>unpaid</b>").await.unwrap();
    assert_eq!(send("resume").await, StatusCode::CONFLICT);
    assert!(visitor.get(&page).await.text.contains("Paused by the sender: &#60;b&#62;unpaid"));
    endpoints::disable(&stand.fanout, &id, "closed").await.unwrap();
    assert_eq!((send("enable").await, send("resume").await), (StatusCode::CONFLICT, StatusCode::CONFLICT));
    assert!(visitor.get(&page).await.text.contains("Disabled by the sender: closed"));
    assert_eq!(state().await, EndpointState::Disabled);
}

/// A receiver that answers so to each request.
async fn receiver(answer: &'static [u8]) -> String {
    let tcp = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hooks", tcp.local_addr().unwrap());
    #[expect(clippy::disallowed_methods, reason = "the receiver ends with its test")]
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = tcp.accept().await {
            let mut head = [0; 4096];
            drop(stream.read(&mut head).await);
            drop(stream.write_all(answer).await);
        }
    });
    url
}

#[tokio::test]
async fn an_endpoint_that_was_given_up_is_enabled_by_its_consumer() {
    let stand = Stand::new().await;
    let url = receiver(b"HTTP/1.1 410 Gone\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await;
    let id = stand.endpoint("acme", &url).await.endpoint.id;
    stand.publish("acme", "evt_1", json!({})).await;
    let delivery = stand.deliveries("acme").await.remove(0);
    stand.attempt(&delivery, 1).await;
    assert_eq!(endpoints::get(&stand.db, &id).await.unwrap().state, EndpointState::Disabled);
    let visitor = stand.visitor("acme").await;
    let page = format!("/portal/endpoints/{id}");
    let shown = visitor.get(&page).await.text;
    let sent = visitor.get(&format!("/portal/deliveries/{}", delivery.id)).await.text;
    assert!(sent.contains("cancelled") && sent.contains("The receiver answered 410 Gone."), "{sent}");
    assert!(shown.contains("The receiver answered 410 Gone.") && shown.contains("Enable again"), "{shown}");
    assert_eq!(visitor.submit(&page, &format!("{page}/enable"), &[]).await.status, StatusCode::SEE_OTHER);
    assert_eq!(endpoints::get(&stand.db, &id).await.unwrap().state, EndpointState::Enabled);
}

#[tokio::test]
async fn a_resend_and_a_test_become_durable_and_are_in_the_audit_log() {
    let stand = Stand::new().await;
    let [endpoint, _, delivery, _] = stand.furnish("acme").await;
    let visitor = stand.visitor("acme").await;
    let page = format!("/portal/deliveries/{delivery}");
    let reply = visitor.submit(&page, &format!("{page}/resend"), &[]).await;
    assert_eq!((reply.status, reply.header("location")), (StatusCode::SEE_OTHER, &*format!("{page}?done=resent")));
    assert_eq!(stand.count("select count(*) from recoveries where what = 'one' and state = 'running'").await, 1);
    let page = format!("/portal/endpoints/{endpoint}");
    assert_eq!(visitor.submit(&page, &format!("{page}/test"), &[]).await.status, StatusCode::SEE_OTHER);
    assert!(visitor.get(&page).await.text.contains("webhook.test"));
    assert!(stand.store.counts().await.unwrap().queues.iter().any(|queue| queue.ready >= 2), "both have their jobs");
    let actions: Vec<String> = stand.audit().await.into_iter().map(|[_, action, ..]| action).collect();
    assert_eq!(actions, ["delivery.resend", "endpoint.test"]);

    endpoints::delete(&stand.db, &endpoint).await.unwrap();
    let page = format!("/portal/deliveries/{delivery}");
    let shown = visitor.get(&page).await;
    assert!(shown.status == StatusCode::OK && shown.text.contains("removed endpoint"), "what was sent stays known");
    assert_eq!(visitor.submit(NEW, &format!("{page}/resend"), &[]).await.status, StatusCode::CONFLICT);
}

#[tokio::test]
async fn what_the_configuration_declares_is_not_changed_here() {
    let stand = Stand::new().await;
    let [id, ..] = stand.furnish("acme").await;
    tidemill::on_pool!(stand.db.write(), pool => {
        sqlx::query("update endpoints set declared = 1").execute(pool).await.unwrap();
    });
    let visitor = stand.visitor("acme").await;
    let page = format!("/portal/endpoints/{id}");
    assert!(visitor.get(&page).await.text.contains("set up by the sender"));
    let edit = visitor.submit(NEW, &format!("{page}/edit"), &wanted("http://127.0.0.1:9/x")).await;
    let rotate = visitor.submit(NEW, &format!("{page}/rotate"), &[]).await;
    assert_eq!((edit.status, rotate.status), (StatusCode::CONFLICT, StatusCode::CONFLICT));
    assert_eq!(stand.count("select count(*) from endpoint_secrets").await, 1);
}

#[tokio::test]
async fn a_tenant_adds_no_more_endpoints_than_the_page_allows() {
    let stand = Stand::with(HOME, PortalConfig { max_endpoints: 2, ..PortalConfig::default() }).await;
    stand.endpoint("other", "http://127.0.0.1:9/a").await;
    stand.endpoint("acme", "http://127.0.0.1:9/a").await;
    let visitor = stand.visitor("acme").await;
    assert_eq!(visitor.submit(NEW, ADD, &wanted("http://127.0.0.1:9/b")).await.status, StatusCode::CREATED);
    let refused = visitor.submit(NEW, ADD, &wanted("http://127.0.0.1:9/c")).await;
    assert_eq!(refused.status, StatusCode::CONFLICT);
    assert!(refused.text.contains("There may be 2 of them"), "{}", refused.text);
    assert_eq!(stand.count("select count(*) from endpoints where tenant = 'acme'").await, 2);
}

#[tokio::test]
async fn endpoints_that_are_added_at_once_are_no_more_than_the_page_allows() {
    let stand = Stand::with(HOME, PortalConfig { max_endpoints: 3, ..PortalConfig::default() }).await;
    let visitor = stand.visitor("acme").await;
    let urls: Vec<String> = (0..8).map(|n| format!("http://127.0.0.1:9/{n}")).collect();
    let fields: Vec<_> = urls.iter().map(|url| wanted(url)).collect();
    let add = fields.iter().map(|fields| visitor.submit(NEW, ADD, fields));
    let replies = futures_util::future::join_all(add).await;
    assert_eq!(replies.iter().filter(|reply| reply.status == StatusCode::CREATED).count(), 3);
    assert_eq!(replies.iter().filter(|reply| reply.status == StatusCode::CONFLICT).count(), 5);
    assert_eq!(stand.count("select count(*) from endpoints").await, 3);
}
