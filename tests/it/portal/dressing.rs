//! What a consumer puts into its endpoints' static headers, and taking an endpoint away.

use axum::http::StatusCode;
use serde_json::json;
use tidemill::fanout::endpoints::{self, EndpointError, HeaderChange};
use tidemill::fanout::mend;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;

use super::Stand;

const TOKEN: &str = "Bearer tok_4242424242";

/// A receiver that answers 200 and tells what it was sent.
async fn receiver() -> (String, mpsc::Receiver<String>) {
    let tcp = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hooks", tcp.local_addr().unwrap());
    let (tell, told) = mpsc::channel(8);
    #[expect(clippy::disallowed_methods, reason = "the receiver ends with its test")]
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = tcp.accept().await {
            let mut head = vec![0; 8192];
            let read = stream.read(&mut head).await.unwrap_or(0);
            drop(tell.send(String::from_utf8_lossy(&head[..read]).into_owned()).await);
            drop(stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await);
        }
    });
    (url, told)
}

#[tokio::test]
async fn a_header_is_sent_from_now_on_and_its_value_is_nowhere_to_be_read() {
    let stand = Stand::new().await;
    let (url, mut told) = receiver().await;
    let id = stand.endpoint("acme", &url).await.endpoint.id;
    let visitor = stand.visitor("acme").await;
    let page = format!("/portal/endpoints/{id}/headers");
    for (name, value) in [("Authorization", TOKEN), ("X-Team", "billing"), ("authorization", TOKEN)] {
        let reply = visitor.submit(&page, &page, &[("name", name), ("value", value)]).await;
        assert_eq!(reply.status, StatusCode::SEE_OTHER, "{}", reply.text);
        assert_eq!(reply.header("location"), format!("{page}?done=header-set"));
    }
    let shown = visitor.get(&format!("{page}?done=header-set")).await.text;
    assert!(shown.contains("<code>authorization</code>") && shown.contains("The header is saved."), "{shown}");
    assert!(!shown.contains("<code>Authorization</code>"), "one name, whatever its case");
    for path in ["/portal".to_owned(), page.clone(), format!("/portal/endpoints/{id}"), format!("{page}?value=x")] {
        assert!(!visitor.get(&path).await.text.contains("tok_4242"), "{path}");
    }
    assert!(stand.audit().await.iter().flatten().all(|text| !text.contains("tok_4242")));
    let plain = "select count(*) from endpoints where headers like '%tok_%' or instr(headers_sealed, 'tok_') > 0";
    assert_eq!(stand.count(plain).await, 0);

    stand.publish("acme", "evt_1", json!({})).await;
    stand.attempt(&stand.deliveries("acme").await[0], 1).await;
    let sent = told.recv().await.unwrap();
    assert!(sent.contains(&format!("authorization: {TOKEN}\r\n")) && sent.contains("x-team: billing\r\n"), "{sent}");

    let reply = visitor.submit(&page, &format!("{page}/remove"), &[("name", "AUTHORIZATION")]).await;
    assert_eq!(reply.header("location"), format!("{page}?done=header-removed"), "{}", reply.text);
    let kept: Vec<String> = endpoints::get(&stand.db, &id).await.unwrap().headers.into_keys().collect();
    assert_eq!(kept, ["X-Team"], "the other one stays");
    let again = visitor.submit(&page, &format!("{page}/remove"), &[("name", "authorization")]).await;
    assert_eq!(again.status, StatusCode::CONFLICT);
    stand.publish("acme", "evt_2", json!({})).await;
    stand.attempt(&stand.deliveries("acme").await[0], 1).await;
    let sent = told.recv().await.unwrap();
    assert!(!sent.contains("tok_4242") && sent.contains("x-team: billing\r\n"), "{sent}");

    let audit = stand.audit().await;
    assert_eq!(audit[0][1..3], ["endpoint.change".to_owned(), format!("endpoint:{id}")]);
    assert!(audit[0][3].contains("\"headers\":[\"Authorization\"]"), "{}", audit[0][3]);
}

#[tokio::test]
async fn a_header_that_the_api_would_refuse_is_refused_beside_its_field_and_its_value_is_not_repeated() {
    let stand = Stand::new().await;
    let [id, ..] = stand.furnish("acme").await;
    let visitor = stand.visitor("acme").await;
    let page = format!("/portal/endpoints/{id}/headers");
    let long = "v".repeat(1_025);
    let wrong = [
        ("", TOKEN),
        ("X Key", TOKEN),
        ("X-Key:", TOKEN),
        ("x".repeat(65).leak(), TOKEN),
        ("Host", TOKEN),
        ("content-length", TOKEN),
        ("Webhook-Signature", TOKEN),
        ("X-Key", "tok_4242\r\nX-Evil: 1"),
        ("X-Key", "tok_4242\u{0}"),
        ("X-Key", "tok_4242é"),
        ("X-Key", &long),
    ];
    let credential_as_name = [("Authorization: Bearer tok_4242", "v"), ("X-Key=tok_4242", "")];
    for (name, value) in wrong.into_iter().chain(credential_as_name) {
        let reply = visitor.submit(&page, &page, &[("name", name), ("value", value)]).await;
        assert_eq!(reply.status, StatusCode::UNPROCESSABLE_ENTITY, "{name:?}: {value:?}");
        assert!(reply.text.contains("id=\"name-fault\""), "{}", reply.text);
        assert!(!reply.text.contains("tok_4242") && !reply.text.contains("vvvv"), "{}", reply.text);
        let through_the_api = endpoints::update(
            &stand.fanout,
            &id,
            endpoints::EndpointChange {
                headers: Some([(name.to_owned(), value.to_owned())].into()),
                ..endpoints::EndpointChange::default()
            },
        );
        let refused = through_the_api.await.unwrap_err();
        assert!(matches!(refused, EndpointError::Invalid { field: "headers", .. }), "{name:?}");
        assert!(!refused.to_string().contains("tok_4242"), "{refused}");
    }
    // What is in the log tells names and rules alone.
    assert!(stand.audit().await.iter().all(|row| row[3].contains("refused") && !row[3].contains("tok_4242")));
    assert!(endpoints::get(&stand.db, &id).await.unwrap().headers.is_empty());
    for n in 0..20 {
        let name = format!("X-{n}");
        let change = HeaderChange::Set { name: &name, value: "v" };
        endpoints::change_header(&stand.fanout, &id, change).await.unwrap();
    }
    let reply = visitor.submit(&page, &page, &[("name", "X-20"), ("value", "v")]).await;
    assert_eq!(reply.status, StatusCode::UNPROCESSABLE_ENTITY, "at most 20");
    assert_eq!(visitor.submit(&page, &page, &[("name", "x-7"), ("value", "w")]).await.status, StatusCode::SEE_OTHER);
    assert!(!format!("{:?}", HeaderChange::Set { name: "X", value: TOKEN }).contains("tok_4242"));
}

#[tokio::test]
async fn headers_that_are_changed_at_once_are_all_kept() {
    let stand = Stand::new().await;
    let id = stand.endpoint("acme", "http://127.0.0.1:9/hooks").await.endpoint.id;
    let names: Vec<String> = (0..16).map(|n| format!("X-{n:02}")).collect();
    let set =
        names.iter().map(|name| endpoints::change_header(&stand.fanout, &id, HeaderChange::Set { name, value: "v" }));
    for done in futures_util::future::join_all(set).await {
        done.unwrap();
    }
    let kept: Vec<String> = endpoints::get(&stand.db, &id).await.unwrap().headers.into_keys().collect();
    assert_eq!(kept, names);
}

#[tokio::test]
async fn an_endpoint_is_deleted_after_a_question_and_what_was_sent_stays_known() {
    let stand = Stand::new().await;
    let [id, _, delivery, _] = stand.furnish("acme").await;
    let [kept, ..] = stand.furnish("other").await;
    let visitor = stand.visitor("acme").await;
    let page = format!("/portal/endpoints/{id}/delete");
    let asked = visitor.get(&page).await;
    assert!(asked.status == StatusCode::OK && asked.text.contains("undone"), "{}", asked.text);
    assert!(
        stand.audit().await.is_empty() && endpoints::get(&stand.db, &id).await.is_ok(),
        "a question changes nothing"
    );

    let reply = visitor.submit(&page, &page, &[]).await;
    assert_eq!((reply.status, reply.header("location")), (StatusCode::SEE_OTHER, "/portal?done=deleted"));
    let list = visitor.get("/portal?done=deleted").await.text;
    assert!(list.contains("The endpoint is deleted.") && !list.contains(&id), "{list}");
    assert!(matches!(endpoints::get(&stand.db, &id).await, Err(EndpointError::NoSuchEndpoint(_))));
    assert!(endpoints::get(&stand.db, &kept).await.is_ok());
    assert_eq!(stand.count("select count(*) from endpoint_secrets").await, 1, "only the other's secret is left");
    let shown = visitor.get(&format!("/portal/deliveries/{delivery}")).await;
    assert!(shown.status == StatusCode::OK && shown.text.contains("removed endpoint"), "{}", shown.text);
    let audit = stand.audit().await;
    let [[actor, action, subject, after]] = &audit[..] else { panic!("{audit:?}") };
    assert!(actor.starts_with("tenant:acme via link lnk_"), "{actor}");
    assert_eq!((&**action, subject.clone(), &**after), ("endpoint.delete", format!("endpoint:{id}"), "\"deleted\""));
    for path in [page.clone(), format!("/portal/endpoints/{id}")] {
        assert_eq!(visitor.get(&path).await.status, StatusCode::NOT_FOUND, "{path}");
    }
    assert_eq!(visitor.submit("/portal/endpoints/new", &page, &[]).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn what_waited_at_a_deleted_endpoint_is_cancelled_also_where_it_was_paused() {
    let stand = Stand::new().await;
    let id = stand.endpoint("acme", "http://127.0.0.1:9/hooks").await.endpoint.id;
    stand.publish("acme", "evt_1", json!({})).await;
    endpoints::pause(&stand.fanout, &id, "paused on the consumers' page").await.unwrap();
    let waiting = stand.deliveries("acme").await.remove(0);
    let visitor = stand.visitor("acme").await;
    let page = format!("/portal/endpoints/{id}/delete");
    assert_eq!(visitor.submit(&page, &page, &[]).await.status, StatusCode::SEE_OTHER);
    stand.clock.advance(std::time::Duration::from_secs(300));
    mend(&stand.fanout, &stand.queue).await.unwrap();
    stand.attempt(&waiting, 1).await;
    let shown = visitor.get(&format!("/portal/deliveries/{}", waiting.id)).await.text;
    assert!(shown.contains("cancelled") && shown.contains("The endpoint was deleted."), "{shown}");
}

#[tokio::test]
async fn neither_a_link_for_looking_nor_the_configurations_endpoints_allow_it() {
    let stand = Stand::new().await;
    let [id, ..] = stand.furnish("acme").await;
    let (_, link) = stand.link("acme", 1, true).await;
    let looking = stand.enter(&link).await;
    let page = format!("/portal/endpoints/{id}");
    for what in ["headers", "delete"] {
        assert_eq!(looking.get(&format!("{page}/{what}")).await.status, StatusCode::FORBIDDEN, "{what}");
    }
    for what in ["headers", "headers/remove", "delete"] {
        let reply = looking.submit(&page, &format!("{page}/{what}"), &[("name", "X-A"), ("value", "v")]).await;
        assert_eq!(reply.status, StatusCode::FORBIDDEN, "{what}");
    }
    tidemill::on_pool!(stand.db.write(), pool => {
        sqlx::query("update endpoints set declared = 1").execute(pool).await.unwrap();
    });
    let visitor = stand.visitor("acme").await;
    for what in ["headers", "headers/remove", "delete"] {
        let fields = [("name", "X-A"), ("value", "v")];
        let reply = visitor.submit("/portal/endpoints/new", &format!("{page}/{what}"), &fields).await;
        assert_eq!(reply.status, StatusCode::CONFLICT, "{what}");
    }
    assert!(!visitor.get(&format!("{page}/delete")).await.text.contains("<button class=\"main\""), "nothing to press");
    assert!(endpoints::get(&stand.db, &id).await.unwrap().headers.is_empty());
}
