//! Links and sessions: who is let in, for how long, and who is not.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use tidemill::config::portal::PortalConfig;
use tidemill::portal::{LinkError, Links, NewLink};
use tidemill::sealing::Sealer;

use super::{HOME, Stand, Visitor, key};

const HOUR: Duration = Duration::from_secs(3600);

async fn open(stand: &Stand, path: &str) -> super::Reply {
    stand.send(Request::get(path).body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn a_link_begins_a_session_and_leaves_the_address_clean() {
    let stand = Stand::new().await;
    let (_, path) = stand.link("acme", 2, false).await;
    let reply = open(&stand, &path).await;
    assert_eq!((reply.status, reply.header("location")), (StatusCode::SEE_OTHER, "/portal"));
    assert_eq!((reply.header("cache-control"), reply.header("referrer-policy")), ("no-store", "no-referrer"));
    let cookie = reply.header("set-cookie");
    let (value, rules) = cookie.split_once("; ").unwrap();
    assert!(value.starts_with("__Host-tidemill-portal="), "{cookie}");
    assert_eq!(rules, "Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=7200");
    assert!(!cookie.contains(path.rsplit('/').next().unwrap()), "the session is not the link");
    let typed = stand.enter(&path).await.get("/portal/").await;
    assert_eq!((typed.status, typed.header("location")), (StatusCode::SEE_OTHER, "/portal"));
    let page = stand.enter(&path).await.get("/portal").await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(page.text.contains("<strong>acme</strong>") && !page.text.contains("/open/"));
    let link = stand.links.list("acme", None, 10).await.unwrap().remove(0);
    assert_eq!((link.opened, link.last_opened_at), (3, Some(stand.clock.now())));
}

#[tokio::test]
async fn on_loopback_without_tls_the_cookie_stays_below_the_page() {
    let stand = Stand::with("http://127.0.0.1:8080", PortalConfig::default()).await;
    let (_, url) = stand.link("acme", 1, false).await;
    let reply = open(&stand, url.strip_prefix("http://127.0.0.1:8080").unwrap()).await;
    let cookie = reply.header("set-cookie");
    assert!(cookie.starts_with("tidemill-portal=") && !cookie.contains("Secure"), "{cookie}");
    assert!(cookie.contains("; Path=/portal; HttpOnly; SameSite=Lax;"), "{cookie}");
}

#[tokio::test]
async fn whoever_holds_nothing_good_gets_the_same_answer_everywhere() {
    let stand = Stand::new().await;
    let (ended, old) = stand.link("acme", 1, false).await;
    let old_session = stand.enter(&old).await.cookie;
    stand.clock.advance(HOUR);
    let (revoked, back) = stand.link("acme", 24, false).await;
    let back_session = stand.enter(&back).await.cookie;
    stand.links.revoke(&revoked).await.unwrap();
    let (_, good) = stand.link("acme", 24, false).await;
    let session = stand.enter(&good).await.cookie;
    let half = good.len() - 20;
    let twisted = format!("{}{}", &good[..half], good[half..].chars().rev().collect::<String>());
    let mut answers = std::collections::BTreeSet::new();
    for path in
        [&old, &back, &twisted, &good[..good.len() - 1].to_owned(), &format!("{good}A"), &"/portal/open/x.y".into()]
    {
        let reply = open(&stand, path).await;
        assert_eq!(reply.status, StatusCode::FORBIDDEN, "{path}");
        assert_eq!(reply.header("set-cookie"), "", "{path}");
        answers.insert(reply.text);
    }
    let name = session.split('=').next().unwrap();
    let as_link = format!("{name}={}", good.rsplit('/').next().unwrap());
    let cut = session[..session.len() - 1].to_owned();
    let odd = [String::new(), name.to_owned(), format!("{name}="), format!("{name}=.."), format!("x{session}")];
    for cookie in odd.into_iter().chain([as_link, cut, old_session, back_session]) {
        let visitor = Visitor { stand: &stand, cookie };
        for path in ["/portal", "/portal/endpoints/new", "/portal/endpoints/ep_x", "/portal/deliveries/dlv_x/payload"] {
            let reply = visitor.get(path).await;
            assert_eq!(reply.status, StatusCode::FORBIDDEN, "{} {path}", visitor.cookie);
            answers.insert(reply.text);
        }
        assert_eq!(visitor.post("/portal/endpoints", &[]).await.status, StatusCode::FORBIDDEN);
    }
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert_eq!(Visitor { stand: &stand, cookie: session }.get("/portal").await.status, StatusCode::OK);
    assert!(matches!(stand.links.revoke(&ended).await, Err(LinkError::Over(_))));
}

#[tokio::test]
async fn a_session_ends_with_its_link_and_after_twelve_hours_at_the_latest() {
    let stand = Stand::new().await;
    let (_, short) = stand.link("acme", 2, false).await;
    stand.clock.advance(HOUR);
    let late = stand.enter(&short).await;
    stand.clock.advance(HOUR - Duration::from_millis(1));
    assert_eq!(late.get("/portal").await.status, StatusCode::OK);
    stand.clock.advance(Duration::from_millis(1));
    assert_eq!(late.get("/portal").await.status, StatusCode::FORBIDDEN);

    let (_, long) = stand.link("acme", 168, false).await;
    let visitor = stand.enter(&long).await;
    stand.clock.advance(12 * HOUR - Duration::from_millis(1));
    assert_eq!(visitor.get("/portal").await.status, StatusCode::OK);
    stand.clock.advance(Duration::from_millis(1));
    assert_eq!(visitor.get("/portal").await.status, StatusCode::FORBIDDEN);
    assert_eq!(stand.enter(&long).await.get("/portal").await.status, StatusCode::OK, "the link is good for a new one");
}

#[tokio::test]
async fn taking_a_tenants_links_back_ends_its_sessions_and_nobody_elses() {
    let stand = Stand::new().await;
    let (one, two, other) = (stand.visitor("acme").await, stand.visitor("acme").await, stand.visitor("other").await);
    assert_eq!(stand.links.revoke_all("acme").await.unwrap(), 2);
    for (visitor, status) in [(one, StatusCode::FORBIDDEN), (two, StatusCode::FORBIDDEN), (other, StatusCode::OK)] {
        assert_eq!(visitor.get("/portal").await.status, status);
    }
    assert_eq!(stand.links.revoke_all("acme").await.unwrap(), 0);
    assert!(matches!(stand.links.revoke("lnk_none").await, Err(LinkError::NoSuchLink(_))));
}

#[tokio::test]
async fn a_link_that_is_for_looking_changes_nothing() {
    let stand = Stand::new().await;
    let [endpoint, _, delivery, _] = stand.furnish("acme").await;
    let (_, path) = stand.link("acme", 1, true).await;
    let visitor = stand.enter(&path).await;
    let shown = visitor.get(&format!("/portal/endpoints/{endpoint}")).await;
    assert!(shown.text.contains("read-only") && !shown.text.contains("/pause") && !shown.text.contains("Rotate"));
    let code = shown.field("code");
    for what in ["edit", "pause", "resume", "enable", "rotate", "test"] {
        let reply = visitor.post(&format!("/portal/endpoints/{endpoint}/{what}"), &[("code", &code)]).await;
        assert_eq!(reply.status, StatusCode::FORBIDDEN, "{what}");
    }
    for path in ["/portal/endpoints".to_owned(), format!("/portal/deliveries/{delivery}/resend")] {
        assert_eq!(visitor.post(&path, &[("code", &code)]).await.status, StatusCode::FORBIDDEN, "{path}");
    }
    for path in ["/portal/endpoints/new".to_owned(), format!("/portal/endpoints/{endpoint}/edit")] {
        assert_eq!(visitor.get(&path).await.status, StatusCode::FORBIDDEN, "{path}");
    }
    assert!(stand.audit().await.is_empty());
    let left = visitor.post("/portal/leave", &[("code", &code)]).await;
    assert_eq!(left.status, StatusCode::OK, "leaving is no change");
    assert!(left.header("set-cookie").contains("Max-Age=0"), "{left:?}");
}

#[tokio::test]
async fn links_and_sessions_outlive_a_change_of_the_data_key_and_no_other_key_opens_them() {
    let stand = Stand::new().await;
    let (_, path) = stand.link("acme", 24, false).await;
    let cookie = stand.enter(&path).await.cookie;
    let with = |sealer: Sealer| {
        let (clock, entropy, config) = (stand.clock.clone(), stand.entropy.clone(), PortalConfig::default());
        let links = Links::new(stand.db.clone(), sealer, HOME.parse().unwrap(), &config, clock, entropy);
        stand.router_over(links, &config)
    };
    for (sealer, opened, shown) in [
        (Sealer::new(&key(10), &[key(9)]).unwrap(), StatusCode::SEE_OTHER, StatusCode::OK),
        (Sealer::new(&key(10), &[]).unwrap(), StatusCode::FORBIDDEN, StatusCode::FORBIDDEN),
    ] {
        use tower::ServiceExt as _;
        let router = with(sealer);
        let ask = |path: &str| Request::get(path).header("cookie", &cookie).body(Body::empty()).unwrap();
        assert_eq!(router.clone().oneshot(ask(&path)).await.unwrap().status(), opened);
        assert_eq!(router.oneshot(ask("/portal")).await.unwrap().status(), shown);
    }
}

#[tokio::test]
async fn a_link_lasts_an_hour_to_seven_days_and_belongs_to_a_tenant() {
    let stand = Stand::new().await;
    let make = |tenant: &str, hours| {
        let new = NewLink { tenant: tenant.into(), hours, read_only: false };
        let links = stand.links.clone();
        async move { links.make(&new, "cli:test").await }
    };
    for (tenant, hours) in
        [("", None), ("a b", None), ("a|b", None), (&*"x".repeat(65), None), ("acme", Some(0)), ("acme", Some(169))]
    {
        assert!(matches!(make(tenant, hours).await, Err(LinkError::Invalid { .. })), "{tenant} {hours:?}");
    }
    let link = make("acme", None).await.unwrap().link;
    assert_eq!(link.expires_at, stand.clock.now().after(HOUR), "the default");
    assert_eq!(make("acme", Some(168)).await.unwrap().link.expires_at, stand.clock.now().after(168 * HOUR));
    // What has ended long ago is taken away by making new ones.
    stand.clock.advance(24 * 98 * HOUR);
    make("other", None).await.unwrap();
    assert_eq!(stand.count("select count(*) from portal_links").await, 1);
}

#[tokio::test]
async fn a_link_of_another_tenant_does_not_take_the_place_of_a_session_unasked() {
    let stand = Stand::new().await;
    let visitor = stand.visitor("acme").await;
    let (_, slipped_in) = stand.link("other", 24, false).await;
    let (_, own) = stand.link("acme", 24, false).await;
    let open = async |path: &str, cookie: &str| {
        stand.send(Request::get(path).header("cookie", cookie).body(Body::empty()).unwrap()).await
    };
    let reply = open(&slipped_in, &visitor.cookie).await;
    assert_eq!((reply.status, reply.header("set-cookie")), (StatusCode::CONFLICT, ""));
    assert!(reply.text.contains("leave there"), "{}", reply.text);
    assert!(visitor.get("/portal").await.text.contains("for <strong>acme</strong>"), "the session goes on");
    assert_eq!(stand.count("select count(*) from portal_links where opened > 0").await, 1);
    assert_eq!(open(&own, &visitor.cookie).await.status, StatusCode::SEE_OTHER, "one's own link is no stranger's");
    assert_eq!(open(&slipped_in, "__Host-tidemill-portal=eA.eA").await.status, StatusCode::SEE_OTHER);
    stand.links.revoke_all("acme").await.unwrap();
    assert_eq!(open(&slipped_in, &visitor.cookie).await.status, StatusCode::SEE_OTHER, "that session is over");
}
