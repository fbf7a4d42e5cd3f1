//! Nobody sees or changes what is another tenant's: every route, with every sort of id.

use axum::http::StatusCode;

use super::{Stand, wanted};

/// Every route with an id in it, and its method.
const WITH_ID: [(&str, &str); 17] = [
    ("GET", "/endpoints/{id}"),
    ("GET", "/endpoints/{id}/edit"),
    ("POST", "/endpoints/{id}/edit"),
    ("POST", "/endpoints/{id}/pause"),
    ("POST", "/endpoints/{id}/resume"),
    ("POST", "/endpoints/{id}/enable"),
    ("GET", "/endpoints/{id}/rotate"),
    ("POST", "/endpoints/{id}/rotate"),
    ("POST", "/endpoints/{id}/test"),
    ("GET", "/endpoints/{id}/headers"),
    ("POST", "/endpoints/{id}/headers"),
    ("POST", "/endpoints/{id}/headers/remove"),
    ("GET", "/endpoints/{id}/delete"),
    ("POST", "/endpoints/{id}/delete"),
    ("GET", "/deliveries/{id}"),
    ("GET", "/deliveries/{id}/payload"),
    ("POST", "/deliveries/{id}/resend"),
];
const WITHOUT: [&str; 6] = ["/", "/open/{text}", "/leave", "/assets/{name}", "/endpoints", "/endpoints/new"];

/// Everything that a page could change of tenant `acme`, as text.
async fn all_of_acme(stand: &Stand) -> Vec<String> {
    const TABLES: [&str; 5] = [
        "select json_array(id, url, description, event_types, filter, state, reason, pause_reason, headers, updated_at)
         from endpoints where tenant = 'acme'",
        "select json_array(s.id, s.key_id, s.expires_at) from endpoint_secrets s join endpoints e on e.id = s.endpoint_id
         where e.tenant = 'acme'",
        "select json_array(id, state, attempts, updated_at, recovery_id, job_id) from deliveries where tenant = 'acme'",
        "select json_array(id, event_id) from messages where tenant = 'acme'",
        "select json_array(id, what, state) from recoveries",
    ];
    let mut all = Vec::new();
    for table in TABLES {
        let rows: Vec<String> = tidemill::on_pool!(stand.db.read(), pool => {
            sqlx::query_scalar(table).fetch_all(pool).await.unwrap()
        });
        all.extend(rows);
    }
    all
}

#[test]
fn every_route_of_the_page_stands_in_this_test() {
    let source = include_str!("../../../src/portal/http.rs");
    let served: Vec<&str> = source.split(".route(\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
    assert_eq!(served.len(), 19, "{served:?}");
    for path in served {
        assert!(
            WITHOUT.contains(&path) || WITH_ID.iter().any(|(_, p)| *p == path),
            "{path} is tried with no foreign id"
        );
    }
}

#[tokio::test]
async fn what_is_another_tenants_is_answered_as_what_does_not_exist_and_stays_as_it_is() {
    let stand = Stand::new().await;
    let foreign = stand.furnish("acme").await;
    // A tenant whose name the other's begins with.
    let own = stand.furnish("acm").await;
    let visitor = stand.visitor("acm").await;
    let code = visitor.get("/portal/endpoints/new").await.field("code");
    let before = all_of_acme(&stand).await;
    assert!(before.len() >= 4, "{before:?}");

    let mut answers = std::collections::BTreeSet::new();
    for (method, route) in WITH_ID {
        let sort = if route.starts_with("/endpoints") { 0 } else { 2 };
        let unknown = format!("{}{}", &own[sort][..4], "0".repeat(32));
        let odd = ["%00", "..%2f..", "%ff%fe", "'%20or%201=1", "*", "%25"].map(str::to_owned);
        for id in foreign.iter().chain([&unknown]).chain(&odd) {
            let path = format!("/portal{}", route.replace("{id}", id));
            let once = stand.entropy.uuid().simple().to_string();
            let mut fields = vec![("code", code.as_str()), ("once", once.as_str())];
            fields.extend(wanted("http://127.0.0.1:9/stolen"));
            let reply = if method == "GET" { visitor.get(&path).await } else { visitor.post(&path, &fields).await };
            assert_eq!(reply.status, StatusCode::NOT_FOUND, "{method} {path}: {}", reply.text);
            answers.insert((format!("{:?}", reply.headers), reply.text));
            // The rate of changes is another test's.
            stand.clock.advance(std::time::Duration::from_secs(60));
        }
    }
    assert_eq!(answers.len(), 1, "nobody learns whether another tenant has it: {answers:?}");
    assert_eq!(all_of_acme(&stand).await, before);
    assert_eq!(stand.audit().await, Vec::<[String; 4]>::new(), "nothing was even tried");
    // The same routes with ids of one's own are there: the answers above are not those of a page that finds nothing.
    for (_, route) in WITH_ID.iter().filter(|(method, _)| *method == "GET") {
        let id = if route.starts_with("/endpoints") { &own[0] } else { &own[2] };
        let reply = visitor.get(&format!("/portal{}", route.replace("{id}", id))).await;
        assert_eq!(reply.status, StatusCode::OK, "{route}");
        assert!(foreign.iter().all(|id| !reply.text.contains(id)), "{route} shows what is another's");
        assert!(!reply.text.contains("secret-of&#34;: &#34;acme&#34;"), "{route}");
    }
}

#[tokio::test]
async fn lists_show_ones_own_alone_whatever_cursor_or_state_is_asked_for() {
    let stand = Stand::new().await;
    let own = stand.furnish("acme").await;
    let foreign = stand.furnish("other").await;
    let visitor = stand.visitor("acme").await;
    // Deliveries of another tenant at an endpoint that is the visitor's: what no writer makes, and no page shows.
    tidemill::on_pool!(stand.db.write(), pool => {
        sqlx::query("update deliveries set endpoint_id = $1 where id = $2")
            .bind(&own[0])
            .bind(&foreign[2])
            .execute(pool)
            .await
            .unwrap();
    });
    let paths = [
        "/portal".to_owned(),
        format!("/portal?after={}", foreign[0].replace("ep_0", "ep_f")),
        format!("/portal/endpoints/{}", own[0]),
        format!("/portal/endpoints/{}?state=failed", own[0]),
        format!("/portal/endpoints/{}?after={}", own[0], foreign[2].replace("dlv_0", "dlv_f")),
        format!("/portal/endpoints/{}?tenant=other&endpoint={}", own[0], foreign[0]),
        format!("/portal/deliveries/{}?after={}", own[2], foreign[3].replace("att_0", "att_f")),
    ];
    for path in paths {
        let reply = visitor.get(&path).await;
        assert_eq!(reply.status, StatusCode::OK, "{path}");
        for id in &foreign {
            assert!(!reply.text.contains(id.as_str()), "{path} shows {id}");
        }
        assert!(!reply.text.contains("evt-of-other"), "{path}");
        assert!(reply.text.contains("evt-of-acme") || !path.contains("ep_0"), "{path} shows one's own");
    }
    assert_eq!(visitor.get(&format!("/portal/deliveries/{}", foreign[2])).await.status, StatusCode::NOT_FOUND);
    for cursor in ["x", "dlv_'", "%00", &foreign[1]] {
        let reply = visitor.get(&format!("/portal?after={cursor}")).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{cursor}");
    }
}

#[tokio::test]
async fn a_form_of_one_tenants_session_is_good_for_no_other() {
    let stand = Stand::new().await;
    let [endpoint, ..] = stand.furnish("acme").await;
    let (own, other) = (stand.visitor("acme").await, stand.visitor("other").await);
    let again = stand.visitor("acme").await;
    let path = format!("/portal/endpoints/{endpoint}/pause");
    for stranger in [&other, &again] {
        let code = stranger.get("/portal/endpoints/new").await.field("code");
        assert_eq!(own.post(&path, &[("code", &code)]).await.status, StatusCode::FORBIDDEN);
    }
    let code = own.get("/portal/endpoints/new").await.field("code");
    assert_eq!(other.post(&path, &[("code", &code)]).await.status, StatusCode::FORBIDDEN);
    assert_eq!(stand.count("select count(*) from endpoints where pause_reason is not null").await, 0);
    assert_eq!(own.post(&path, &[("code", &code)]).await.status, StatusCode::SEE_OTHER);
    assert_eq!(stand.count("select count(*) from endpoints where pause_reason is not null").await, 1);
}
