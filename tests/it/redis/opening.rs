//! Opening: what a server can promise is read from the server, said in one line, and one that promises less than is asked is
//! refused with what to do.

use tidemill::store::{Durability, StoreError};
use tidemill_testkit::{Fsync, RedisServer};

use super::{Site, at_last, put, version};

async fn promise(server: &RedisServer, durability: Durability) -> String {
    let store = Site::new(server.url()).try_open(durability).await.expect("it opens");
    let promise = store.health().await.expect("health").promise;
    assert!(!promise.contains('\n'), "one line: {promise}");
    assert!(promise.contains(&format!("Redis {}", server.info("redis_version").expect("a version"))), "{promise}");
    promise
}

async fn too_weak(server: &RedisServer, durability: Durability, advice: &str) {
    let refused = Site::new(server.url()).refused(durability).await;
    assert!(matches!(refused, StoreError::TooWeak { asked, .. } if asked == durability.as_str()), "{refused:?}");
    assert!(refused.to_string().contains(advice), "{refused}");
}

#[tokio::test]
async fn the_shipped_default_is_synced_each_second_and_says_what_that_keeps() {
    let server = RedisServer::start();
    let promise = promise(&server, Durability::default()).await;
    assert!(promise.contains("about the last second"), "{promise}");
}

#[tokio::test]
async fn without_a_file_everysec_and_fsync_are_refused_and_memory_is_not() {
    let server = RedisServer::with().appendonly(false).start();
    too_weak(&server, Durability::Everysec, "appendonly").await;
    too_weak(&server, Durability::Fsync, "appendonly").await;
    let promise = promise(&server, Durability::Memory).await;
    assert!(promise.contains("memory only"), "{promise}");
}

#[tokio::test]
async fn a_file_that_is_synced_when_the_system_likes_is_refused_for_everysec() {
    let server = RedisServer::with().appendfsync(Fsync::No).start();
    too_weak(&server, Durability::Everysec, "appendfsync").await;
    let promise = promise(&server, Durability::Memory).await;
    assert!(promise.contains("a crash may take"), "{promise}");
}

#[tokio::test]
async fn fsync_needs_always_or_a_server_that_can_be_asked_for_the_disk() {
    let always = RedisServer::with().appendfsync(Fsync::Always).start();
    let said = promise(&always, Durability::Fsync).await;
    assert!(said.contains("survives a crash of the server and of its machine"), "{said}");
    let everysec = RedisServer::start();
    if version(&everysec) < (7, 2) {
        too_weak(&everysec, Durability::Fsync, "appendfsync to always").await;
    } else {
        let said = promise(&everysec, Durability::Fsync).await;
        assert!(said.contains("survives a crash of the server and of its machine"), "{said}");
    }
}

#[tokio::test]
async fn a_server_that_throws_keys_away_is_refused() {
    for policy in ["allkeys-lru", "volatile-ttl"] {
        let server = RedisServer::with().maxmemory("64mb", policy).start();
        too_weak(&server, Durability::Everysec, "noeviction").await;
        too_weak(&server, Durability::Memory, "noeviction").await;
        server.command::<String>(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]);
        promise(&server, Durability::Everysec).await;
    }
}

#[tokio::test]
async fn a_user_who_may_not_read_the_settings_is_told_what_to_grant() {
    let server = RedisServer::with().user("ann", "on >word ~* &* +@all -config").start();
    let site = Site::new(format!("redis://ann:word@127.0.0.1:{}", server.port()));
    let refused = site.refused(Durability::Everysec).await;
    assert!(matches!(refused, StoreError::TooWeak { .. }), "{refused:?}");
    assert!(refused.to_string().contains("+config|get"), "{refused}");
    site.try_open(Durability::Memory).await.expect("nothing is asked of it");
    server.command::<String>(&["ACL", "SETUSER", "ann", "+config|get"]);
    site.try_open(Durability::Everysec).await.expect("with the right it opens");
}

#[tokio::test]
async fn a_wrong_password_and_a_missing_server_are_named_without_the_secret() {
    let server = RedisServer::with().password("right-word").start();
    let url = format!("redis://:wrong-word@127.0.0.1:{}", server.port());
    let refused = Site::new(&url).refused(Durability::Everysec).await;
    assert!(refused.to_string().contains("WRONGPASS") || refused.to_string().contains("authent"), "{refused}");
    assert!(!format!("{refused} {refused:?}").contains("wrong-word"), "{refused:?}");
    server.kill();
    let refused = Site::new(server.url()).refused(Durability::Everysec).await;
    assert!(matches!(refused, StoreError::Unavailable { .. }), "{refused:?}");
    assert!(!format!("{refused} {refused:?}").contains("right-word"), "{refused:?}");
}

#[tokio::test]
async fn a_replica_is_refused_by_name() {
    let (master, replica) = (RedisServer::start(), RedisServer::start());
    replica.command::<String>(&["REPLICAOF", "127.0.0.1", &master.port().to_string()]);
    let refused = Site::new(replica.url()).refused(Durability::Everysec).await;
    assert!(refused.to_string().contains("replica"), "{refused}");
}

#[tokio::test]
async fn a_layout_of_another_version_is_refused_and_left_alone() {
    let server = RedisServer::start();
    let site = Site::new(server.url());
    let needed = site.open().await.health().await.expect("health").schema;
    let keys: Vec<String> = server.command(&["KEYS", "*schema"]);
    assert_eq!(keys.len(), 1, "{keys:?}");
    server.command::<String>(&["SET", &keys[0], &(needed + 1).to_string()]);
    let refused = site.refused(Durability::Everysec).await;
    assert!(matches!(refused, StoreError::Schema { found, .. } if found == needed + 1), "{refused:?}");
    assert_eq!(server.command::<i64>(&["GET", &keys[0]]), needed + 1);
}

#[tokio::test]
async fn two_namespaces_on_one_server_know_nothing_of_each_other() {
    let server = RedisServer::start();
    let (one, two) =
        (Site::new(format!("{}?namespace=one", server.url())), Site::new(format!("{}?namespace=two", server.url())));
    let (first, second) = (one.open().await, two.open().await);
    put(&first, one.jobs(3)).await;
    let worker = two.worker(&second).await;
    assert!(super::claim(&second, worker, 10).await.expect("claim").is_empty());
    let keys: Vec<Vec<u8>> = server.command(&["KEYS", "*"]);
    assert!(keys.iter().all(|key| key.starts_with(b"{one}:") || key.starts_with(b"{two}:")), "{keys:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_comes_back_promising_less_is_refused_until_it_is_set_right() {
    let server = RedisServer::start();
    let site = Site::new(server.url());
    let store = site.open().await;
    server.configure("appendonly no");
    server.restart();
    // The connection that broke is noticed by a first call.
    let mut refused = store.enqueue(site.jobs(1)).await.expect_err("weaker");
    if matches!(refused, StoreError::Unavailable { .. }) {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        refused = store.enqueue(site.jobs(1)).await.expect_err("weaker");
    }
    assert!(matches!(refused, StoreError::TooWeak { .. }), "{refused:?}");
    server.configure("appendonly yes");
    server.restart();
    at_last("enqueue", || store.enqueue(site.jobs(1))).await;
}
