//! Forms: only what somebody sent from this session's own page is carried out, once, at a bounded rate.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use tidemill::config::portal::PortalConfig;
use tower::ServiceExt as _;

use super::{HOME, Stand, body, wanted};

const NEW: &str = "/portal/endpoints/new";
const ADD: &str = "/portal/endpoints";

#[tokio::test]
async fn a_form_from_elsewhere_or_without_this_sessions_code_changes_nothing() {
    let stand = Stand::new().await;
    let visitor = stand.visitor("acme").await;
    let code = visitor.get(NEW).await.field("code");
    let send = async |headers: &[(&str, &str)], code: &str| {
        let once = stand.entropy.uuid().simple().to_string();
        let mut fields = vec![("code", code), ("once", once.as_str())];
        fields.extend(wanted("http://127.0.0.1:9/x"));
        let request = Request::post(ADD).header("cookie", &visitor.cookie);
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        stand.send(request.body(body(&fields)).unwrap()).await.status
    };
    let foreign: [&[(&str, &str)]; 8] = [
        &[("origin", "https://evil.example")],
        &[("origin", "null")],
        &[("origin", "http://hooks.example.com")],
        &[("origin", HOME), ("origin", "https://evil.example")],
        &[("sec-fetch-site", "cross-site"), ("origin", HOME)],
        &[("sec-fetch-site", "same-site"), ("origin", HOME)],
        &[("sec-fetch-site", "none")],
        &[("sec-fetch-site", "same-origin"), ("origin", "https://evil.example")],
    ];
    for headers in foreign {
        assert_eq!(send(headers, &code).await, StatusCode::FORBIDDEN, "{headers:?}");
    }
    let own: [&[(&str, &str)]; 3] = [
        &[("origin", HOME)],
        &[("sec-fetch-site", "same-origin"), ("origin", "null")],
        &[("origin", HOME), ("sec-fetch-site", "same-origin")],
    ];
    for wrong in ["", "x", &code[1..], &code.to_lowercase(), &format!("{code}="), &"A".repeat(43), &"A".repeat(10_000)]
    {
        assert_eq!(send(own[0], wrong).await, StatusCode::FORBIDDEN, "{wrong}");
    }
    assert_eq!(stand.count("select count(*) from endpoints").await, 0);
    assert!(stand.audit().await.is_empty());
    for headers in own {
        assert_eq!(send(headers, &code).await, StatusCode::CREATED, "{headers:?}");
    }
}

#[tokio::test]
async fn what_is_no_form_of_the_page_is_refused_in_plain_words() {
    let stand = Stand::new().await;
    let visitor = stand.visitor("acme").await;
    let code = visitor.get(NEW).await.field("code");
    let send = async |media_type: Option<&str>, content: Vec<u8>| {
        let request = Request::post(ADD).header("cookie", &visitor.cookie).header("origin", HOME);
        let request = media_type.into_iter().fold(request, |request, value| request.header("content-type", value));
        stand.send(request.body(Body::from(content)).unwrap()).await
    };
    let form = Some("application/x-www-form-urlencoded");
    let with = |rest: &[u8]| [b"code=", code.as_bytes(), b"&", rest].concat();
    let cases: [(Option<&str>, Vec<u8>, StatusCode); 12] = [
        (None, with(b"url=x"), StatusCode::UNSUPPORTED_MEDIA_TYPE),
        (Some("application/json"), b"{}".to_vec(), StatusCode::UNSUPPORTED_MEDIA_TYPE),
        (Some("multipart/form-data; boundary=x"), with(b"url=x"), StatusCode::UNSUPPORTED_MEDIA_TYPE),
        (Some("text/plain"), with(b"url=x"), StatusCode::UNSUPPORTED_MEDIA_TYPE),
        (form, with(&[b"url=".to_vec(), vec![b'a'; 70_000]].concat()), StatusCode::PAYLOAD_TOO_LARGE),
        (form, vec![0xff; 1_000_000], StatusCode::PAYLOAD_TOO_LARGE),
        (form, with(b"description=%ff%fe"), StatusCode::BAD_REQUEST),
        (form, with(b"description=\xc3\x28"), StatusCode::BAD_REQUEST),
        (form, with(b"url=a&url=b"), StatusCode::BAD_REQUEST),
        (form, with(b"url=http%3A%2F%2F127.0.0.1%3A9%2F&event_types=*"), StatusCode::BAD_REQUEST),
        (form, with((0..60).map(|n| format!("f{n}=1&")).collect::<String>().as_bytes()), StatusCode::BAD_REQUEST),
        (form, Vec::new(), StatusCode::FORBIDDEN),
    ];
    for (media_type, content, status) in cases {
        let shown = format!("{media_type:?} {}", String::from_utf8_lossy(&content[..content.len().min(80)]));
        let reply = send(media_type, content).await;
        assert_eq!(reply.status, status, "{shown}");
        assert!(reply.header("content-type").starts_with("text/html") && reply.text.contains("<h1>"), "{shown}");
    }
    assert_eq!(stand.count("select count(*) from endpoints").await, 0);
    // A field with every sort of odd text is refused beside its field or kept, and never an error of ours.
    let odd = ["\0", "\u{202e}x", &"é".repeat(300), "a\nb", "\u{1f4a9}", "{{ 1 }}", "%s", "';drop table endpoints;--"];
    for text in odd {
        let fields = [("url", text), ("description", text), ("event_types", text), ("filter", text)];
        let reply = visitor.submit(NEW, ADD, &fields).await;
        assert_eq!(reply.status, StatusCode::UNPROCESSABLE_ENTITY, "{text:?}: {}", reply.text);
    }
}

#[tokio::test]
async fn a_form_that_makes_something_is_carried_out_once() {
    let stand = Stand::new().await;
    let visitor = stand.visitor("acme").await;
    let shown = visitor.get(NEW).await;
    let (code, once) = (shown.field("code"), shown.field("once"));
    let mut fields = vec![("code", code.as_str()), ("once", once.as_str())];
    fields.extend(wanted("http://127.0.0.1:9/x"));
    assert_eq!(visitor.post(ADD, &fields).await.status, StatusCode::CREATED);
    let again = visitor.post(ADD, &fields).await;
    assert_eq!(again.status, StatusCode::CONFLICT);
    assert!(!again.text.contains("whsec_"));
    assert_eq!(stand.count("select count(*) from endpoints").await, 1);
    let no_hex = "g".repeat(32);
    for bad in ["", "x", &no_hex, &once[1..]] {
        fields[1].1 = bad;
        assert_eq!(visitor.post(ADD, &fields).await.status, StatusCode::BAD_REQUEST, "{bad}");
    }
    // The other tenant's form may have the same number.
    let other = stand.visitor("other").await;
    let code = other.get(NEW).await.field("code");
    fields[0].1 = &code;
    fields[1].1 = &once;
    assert_eq!(other.post(ADD, &fields).await.status, StatusCode::CREATED);
}

#[tokio::test]
async fn changes_are_limited_for_each_link_and_looking_has_a_rate_of_its_own() {
    let config = PortalConfig { changes_per_minute: 5, ..PortalConfig::default() };
    let stand = Stand::with(HOME, config).await;
    let [endpoint, ..] = stand.furnish("acme").await;
    let (_, link) = stand.link("acme", 24, false).await;
    let (one, two) = (stand.enter(&link).await, stand.enter(&link).await);
    let page = format!("/portal/endpoints/{endpoint}");
    let [test, edit] = ["test", "edit"].map(|what| format!("{page}/{what}"));
    for n in 0..5 {
        let visitor = if n % 2 == 0 { &one } else { &two };
        assert_eq!(visitor.submit(&edit, &test, &[]).await.status, StatusCode::SEE_OTHER, "{n}");
    }
    for visitor in [&one, &two] {
        let reply = visitor.submit(&page, &test, &[]).await;
        assert_eq!(reply.status, StatusCode::TOO_MANY_REQUESTS, "a second session of a link gets no rate of its own");
        assert_eq!(reply.header("retry-after"), "12");
    }
    assert_eq!(stand.visitor("acme").await.submit(&page, &test, &[]).await.status, StatusCode::SEE_OTHER);
    stand.clock.advance(Duration::from_secs(12));
    assert_eq!(one.submit(&page, &test, &[]).await.status, StatusCode::SEE_OTHER);
    assert_eq!(one.submit(&page, &test, &[]).await.status, StatusCode::TOO_MANY_REQUESTS);
    for _ in 0..50 {
        assert_eq!(one.get(&page).await.status, StatusCode::OK);
    }
}

#[tokio::test]
async fn requests_of_every_sort_are_limited_for_each_link_over_all_processes() {
    let config = PortalConfig { looks_per_minute: 10, ..PortalConfig::default() };
    let stand = Stand::with(HOME, config.clone()).await;
    let [endpoint, ..] = stand.furnish("acme").await;
    let (_, path) = stand.link("acme", 24, false).await;
    // Opening the link counts, too: two so far.
    let (one, two) = (stand.enter(&path).await, stand.enter(&path).await);
    let page = format!("/portal/endpoints/{endpoint}");
    let other_process = stand.router_over(stand.links.clone(), &config);
    for n in 0..8 {
        let request = Request::get(&page).header("cookie", &one.cookie).body(Body::empty()).unwrap();
        let router = if n % 2 == 0 { &stand.router } else { &other_process };
        assert_eq!(router.clone().oneshot(request).await.unwrap().status(), StatusCode::OK, "{n}");
    }
    for visitor in [&one, &two] {
        for path in ["/portal", &page, "/portal/endpoints/new", "/portal/deliveries/dlv_0"] {
            let reply = visitor.get(path).await;
            assert_eq!((reply.status, reply.header("retry-after")), (StatusCode::TOO_MANY_REQUESTS, "6"), "{path}");
            assert!(reply.header("content-type").starts_with("text/html") && reply.text.contains("Wait a little"));
        }
    }
    let opened = stand.send(Request::get(&path).body(Body::empty()).unwrap()).await;
    assert_eq!((opened.status, opened.header("set-cookie")), (StatusCode::TOO_MANY_REQUESTS, ""));
    assert_eq!(stand.count("select opened from portal_links").await, 2, "nothing was written for it");
    // A form without this session's code is a request, and so a guess at the code costs one.
    let guess = one.post(ADD, &[("code", "A")]).await;
    assert_eq!(guess.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(stand.visitor("acme").await.get(&page).await.status, StatusCode::OK, "another link has its own rate");
    let asset = tidemill::pages::style().name();
    assert_eq!(one.get(&format!("/portal/assets/{asset}")).await.status, StatusCode::OK, "assets are nobody's");
    stand.clock.advance(Duration::from_secs(6));
    assert_eq!(two.get(&page).await.status, StatusCode::OK);
    assert_eq!(one.get(&page).await.status, StatusCode::TOO_MANY_REQUESTS);
}

#[tokio::test]
async fn a_stranger_who_has_no_link_of_ours_leaves_nothing_in_the_store() {
    let stand = Stand::new().await;
    for path in ["/portal", "/portal/open/x.y", "/portal/endpoints/new"] {
        let request = Request::get(path).header("cookie", "__Host-tidemill-portal=eA.eA").body(Body::empty()).unwrap();
        assert_eq!(stand.send(request).await.status, StatusCode::FORBIDDEN, "{path}");
    }
    let limits = rusqlite::Connection::open(stand.dir.path().join("queue.db")).unwrap();
    let kept: i64 = limits.query_row("select count(*) from limits", [], |row| row.get(0)).unwrap();
    assert_eq!(kept, 0);
}

#[tokio::test]
async fn a_look_never_changes_anything() {
    let stand = Stand::new().await;
    let [endpoint, _, delivery, _] = stand.furnish("acme").await;
    let visitor = stand.visitor("acme").await;
    for what in ["pause", "resume", "enable", "test"] {
        let reply = visitor.get(&format!("/portal/endpoints/{endpoint}/{what}")).await;
        assert_eq!(reply.status, StatusCode::METHOD_NOT_ALLOWED, "{what}");
    }
    for path in [ADD.to_owned(), "/portal/leave".into(), format!("/portal/deliveries/{delivery}/resend")] {
        assert_eq!(visitor.get(&path).await.status, StatusCode::METHOD_NOT_ALLOWED, "{path}");
    }
    for what in ["", "/edit", "/rotate"] {
        assert_eq!(visitor.get(&format!("/portal/endpoints/{endpoint}{what}")).await.status, StatusCode::OK);
    }
    assert!(stand.audit().await.is_empty());
    assert_eq!(stand.count("select count(*) from endpoint_secrets").await, 1);
}
