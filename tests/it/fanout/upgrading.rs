//! An older file is carried over: every line of its log is there afterwards, as the API shows it, and what was under way when its
//! last process ended says `interrupted`.

use std::borrow::Cow;

use sqlx::migrate::Migrator;
use tidemill::data::Database;
use tidemill::fanout::PageRequest;
use tidemill::fanout::history::{self, DeliveryAttempt, DeliveryFilter, DeliveryState};

/// The last version in which a line stood in the log while its POST was under way.
const BEFORE: i64 = 1_006;

const OLD: &str = "
    insert into endpoints (id, tenant, url, description, event_types, state, declared, created_at, updated_at)
        values ('ep_1', 'acme', 'https://example.com/', '', '[\"*\"]', 'enabled', 0, 1, 1);
    insert into messages (id, tenant, event_id, event_type, body, created_at, fanned_at)
        values ('msg_1', 'acme', 'evt_1', 'invoice.paid', '{}', 1, 1), ('msg_2', 'acme', 'evt_2', 'invoice.paid', '{}', 1, 1);
    insert into deliveries (id, message_id, endpoint_id, tenant, state, attempts, next_at, epoch, created_at, updated_at, settled_at)
        values ('dlv_1', 'msg_1', 'ep_1', 'acme', 'succeeded', 2, null, 2, 1, 9, 9),
               ('dlv_2', 'msg_2', 'ep_1', 'acme', 'pending', 1, null, 1, 1, 5, null);
    insert into delivery_order (endpoint_id, delivery_id) values ('ep_1', 'dlv_2');
    insert into delivery_attempts (id, delivery_id, endpoint_id, attempt, at, node, expires_at, ended_at, host, address, reused,
            status, error_class, error, duration_ms, dns_ms, connect_ms, tls_ms, first_byte_ms, next_at, reply) values
        ('att_1', 'dlv_1', 'ep_1', 1, 10, 'n1', 50, 20, 'example.com', null, null, null, 'dns', 'no such name', 10, 3, null, null,
            null, 30, ''),
        ('att_2', 'dlv_1', 'ep_1', 2, 30, 'n2', 70, 42, 'example.com', '203.0.113.7:443', 1, 200, null, null, 12, 1, 2, 3, 4, null,
            'fine'),
        ('att_3', 'dlv_2', 'ep_1', 1, 35, 'n2', 75, null, 'example.com', null, null, null, null, null, null, null, null, null, null,
            null, '');";

async fn lines(db: &Database, delivery: &str) -> Vec<DeliveryAttempt> {
    history::attempts(db, delivery, &PageRequest { cursor: None, limit: 10 }).await.unwrap().items
}

#[tokio::test]
async fn an_older_log_is_carried_over_and_what_was_under_way_says_interrupted() {
    let folder = tempfile::tempdir().unwrap();
    let db = Database::open(&folder.path().join("data.db")).await.unwrap();
    let all = sqlx::migrate!("migrations/data/sqlite");
    let old: Vec<_> = all.iter().filter(|step| step.version <= BEFORE).cloned().collect();
    assert!(old.len() < all.iter().count(), "there is nothing to carry over");
    let until_then = Migrator { migrations: Cow::Owned(old), ..Migrator::DEFAULT };
    tidemill::on_pool!(db.write(), pool => {
        until_then.run(pool).await.unwrap();
        sqlx::raw_sql(OLD).execute(pool).await.unwrap();
    });
    db.migrate(None).await.unwrap();

    let done = lines(&db, "dlv_1").await;
    let [good, bad] = done.as_slice() else { panic!("{done:?}") };
    assert_eq!((good.id.as_str(), good.attempt, good.status, good.reply.as_str()), ("att_2", 2, Some(200), "fine"));
    assert_eq!((good.node.as_str(), good.address.as_deref(), good.reused), ("n2", Some("203.0.113.7:443"), Some(true)));
    let phases = (good.duration_ms, good.dns_ms, good.connect_ms, good.tls_ms, good.first_byte_ms);
    assert_eq!(phases, (Some(12), Some(1), Some(2), Some(3), Some(4)));
    assert_eq!((bad.error_class.as_deref(), bad.error.as_deref()), (Some("dns"), Some("no such name")));
    assert_eq!(
        (bad.at.as_ms(), bad.ended_at.map(|at| at.as_ms()), bad.next_at.map(|at| at.as_ms())),
        (10, Some(20), Some(30))
    );
    let cut_off = lines(&db, "dlv_2").await.remove(0);
    assert_eq!((cut_off.error_class.as_deref(), cut_off.duration_ms), (Some("interrupted"), Some(40)));

    let page = PageRequest { cursor: None, limit: 10 };
    let found = |state| {
        let (filter, db, page) = (DeliveryFilter { state: Some(state), ..DeliveryFilter::default() }, &db, &page);
        async move { history::deliveries(db, &filter, page).await.unwrap().items }
    };
    for (state, id, attempts) in [(DeliveryState::Succeeded, "dlv_1", 2), (DeliveryState::Pending, "dlv_2", 1)] {
        let kept = found(state).await;
        assert_eq!(kept.iter().map(|d| (d.id.as_str(), d.attempts)).collect::<Vec<_>>(), [(id, attempts)]);
    }
    let broken: Vec<String> = tidemill::on_pool!(db.read(), pool => {
        sqlx::query_scalar("select \"table\" from pragma_foreign_key_check").fetch_all(pool).await.unwrap()
    });
    assert!(broken.is_empty(), "{broken:?}");
}
