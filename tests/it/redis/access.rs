//! Who may come in, and by which way: TLS, users, and rights that end at the prefix.

use tidemill::store::{Durability, StoreError};
use tidemill_testkit::RedisServer;

use super::Site;
use super::tour::tour;

/// What the store needs, in the README's words but for the namespace.
const RIGHTS: &str = "resetkeys ~{books}:* resetchannels &{books}:* -@all \
                      +@read +@write +@scripting +@pubsub +@connection +@transaction +info +config|get +time";

fn with_rights() -> RedisServer {
    RedisServer::with().user("ann", &format!("on >word {RIGHTS}")).start()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_with_the_authority_in_a_file_carries_everything() {
    let server = RedisServer::with().password("word").tls().start();
    let site = Site::new(format!("{}?ca={}", server.url(), server.tls().ca.display()));
    assert!(site.url.starts_with("rediss://"));
    tour(&site, &site.open().await).await;
}

#[tokio::test]
async fn a_certificate_of_another_authority_or_of_none_is_refused() {
    let (server, other) = (RedisServer::with().tls().start(), RedisServer::with().tls().start());
    for url in [format!("{}?ca={}", server.url(), other.tls().ca.display()), server.url()] {
        let refused = Site::new(&url).refused(Durability::Everysec).await;
        assert!(matches!(refused, StoreError::Unavailable { .. }), "{refused:?}");
        assert!(refused.to_string().contains("certificate"), "{refused}");
    }
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused() {
    let server = RedisServer::with().tls().start();
    let url = format!("rediss://127.0.0.2:{}?ca={}", server.tls().port, server.tls().ca.display());
    Site::new(url).refused(Durability::Everysec).await;
}

#[tokio::test]
async fn an_authority_that_is_no_file_or_no_certificate_is_named() {
    let server = RedisServer::with().tls().start();
    let missing = server.folder().join("nowhere.pem");
    let refused = Site::new(format!("{}?ca={}", server.url(), missing.display())).refused(Durability::Everysec).await;
    assert!(refused.to_string().contains("nowhere.pem"), "{refused}");
    std::fs::write(&missing, "no certificate").expect("write");
    Site::new(format!("{}?ca={}", server.url(), missing.display())).refused(Durability::Everysec).await;
}

#[tokio::test]
async fn tls_to_a_port_without_it_fails_in_bounded_time() {
    let server = RedisServer::start();
    let begin = std::time::Instant::now();
    Site::new(format!("rediss://127.0.0.1:{}", server.port())).refused(Durability::Everysec).await;
    assert!(begin.elapsed() < super::BOUNDED, "{:?}", begin.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_with_rights_to_the_prefix_alone_can_do_everything() {
    let server = with_rights();
    let site = Site::new(format!("redis://ann:word@127.0.0.1:{}/?namespace=books", server.port()));
    tour(&site, &site.open().await).await;
    let readme = include_str!("../../../README.md");
    assert!(readme.contains(&RIGHTS.replace("{books}", "{tidemill}")), "the README says the same");
    let denied: Vec<Vec<redis::Value>> = server.command(&["ACL", "LOG"]);
    assert!(denied.is_empty(), "nothing was asked for that is not granted: {denied:?}");
}

#[tokio::test]
async fn a_user_without_rights_to_the_prefix_is_refused_and_changes_nothing() {
    let server = with_rights();
    let site = Site::new(format!("redis://ann:word@127.0.0.1:{}/?namespace=others", server.port()));
    let refused = site.refused(Durability::Everysec).await;
    assert!(refused.to_string().contains("permission"), "{refused}");
    assert_eq!(server.command::<i64>(&["DBSIZE"]), 0);
}

#[tokio::test]
async fn passwords_may_lie_in_a_file_and_hold_any_character() {
    let server = RedisServer::with().user("ann", "on >p@ss:w/rd+1 ~* &* +@all").start();
    let file = server.folder().join("password");
    std::fs::write(&file, "p@ss:w/rd+1\n").expect("write");
    let port = server.port();
    Site::new(format!("redis://ann@127.0.0.1:{port}?password_file={}", file.display())).open().await;
    Site::new(format!("redis://ann:p%40ss%3Aw%2Frd+1@127.0.0.1:{port}")).open().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_database_of_the_server_is_another_store() {
    let server = RedisServer::start();
    let (zero, three) = (Site::new(server.url()), Site::new(format!("{}/3", server.url())));
    let (first, second) = (zero.open().await, three.open().await);
    super::put(&first, zero.jobs(2)).await;
    let worker = three.worker(&second).await;
    assert!(super::claim(&second, worker, 10).await.expect("claim").is_empty());
    super::put(&second, three.jobs(1)).await;
    assert_eq!(super::claim(&second, worker, 10).await.expect("claim").len(), 1);
}
