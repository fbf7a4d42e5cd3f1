//! Opening: what the promises rest on is checked, and a file that can't be used is refused by name and left alone.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tidemill::clock::Clock;
use tidemill::store::StoreError;
use tidemill::store::sqlite::{SqliteOptions, SqliteStore, migrate};

use super::{File, all};
use crate::conformance::rig::{START, work};

#[tokio::test]
async fn the_library_is_new_enough_and_the_file_is_in_wal_mode() {
    assert!(rusqlite::version_number() >= 3_051_003, "{}", rusqlite::version());
    let file = File::new();
    let store = file.open().await;
    let mode: String = file.outside().pragma_query_value(None, "journal_mode", |row| row.get(0)).expect("pragma");
    assert_eq!(mode, "wal");
    let health = store.health().await.expect("health");
    assert_eq!(health.store, "sqlite");
    assert!(health.promise.contains("WAL, synchronous=FULL"), "{}", health.promise);
    assert!(health.promise.contains(rusqlite::version()), "{}", health.promise);
}

#[tokio::test]
async fn a_schema_of_another_version_is_refused_and_left_alone() {
    let file = File::new();
    let store = file.open().await;
    store.enqueue(file.jobs(1)).await.expect("enqueue");
    let needed = store.health().await.expect("health").schema;
    drop(store);
    for (version, advice) in [(needed + 1, "newer"), (needed - 1, "tidemill migrate")] {
        file.outside().pragma_update(None, "user_version", version).expect("pragma");
        let refused = file.refused().await;
        assert!(matches!(refused, StoreError::Schema { found, .. } if found == version), "{refused:?}");
        assert!(refused.to_string().contains(advice), "{refused}");
        let still: i64 = file.outside().pragma_query_value(None, "user_version", |row| row.get(0)).expect("pragma");
        assert_eq!(still, version);
    }
    file.outside().pragma_update(None, "user_version", needed + 1).expect("pragma");
    assert!(matches!(migrate(&file.path()), Err(StoreError::Schema { .. })), "nor is a newer one migrated");
    file.outside().pragma_update(None, "user_version", needed).expect("pragma");
    assert_eq!(all(&file.open().await).await.len(), 1);
}

#[tokio::test]
async fn migrate_makes_the_tables_and_does_nothing_the_second_time() {
    let file = File::new();
    assert!(migrate(&file.path()).expect("migrate") >= 1);
    assert_eq!(migrate(&file.path()).expect("migrate"), 0);
    file.open().await.enqueue(file.jobs(1)).await.expect("enqueue");
}

#[tokio::test]
async fn migrate_keeps_every_job_of_an_older_file_in_its_state() {
    const OLD: [&str; 5] = [
        include_str!("../../../migrations/queue/sqlite/0001_queues.sql"),
        include_str!("../../../migrations/queue/sqlite/0002_jobs.sql"),
        include_str!("../../../migrations/queue/sqlite/0003_workers.sql"),
        include_str!("../../../migrations/queue/sqlite/0004_schedules.sql"),
        include_str!("../../../migrations/queue/sqlite/0005_shared.sql"),
    ];
    // One in each state, as the first five steps keep them; every column that can be empty has something somewhere.
    const JOBS: &str = "
        insert into queues (id, name, retention, completed_total) values (1, 'work',
            '{\"finished_for\":{\"secs\":9,\"nanos\":0},\"finished_max\":9,\"dead_for\":{\"secs\":9,\"nanos\":0},\"dead_max\":9}', 1);
        insert into jobs (seq, id, queue, state, priority, run_at, attempt, crashes, epoch, holder, deadline, started_at,
            finished_at, cancel_requested, dead_reason, log_lines, max_attempts, timeout_ms, created_at, kind, enqueued_by,
            payload, tenant, unique_key, correlation_id, traceparent, tags, failures, progress, result) values
        (1, x'00000000000000000000000000000001', 1, 'ready', 5, 10, 0, 0, 0, null, null, null, null, 0, null, 0, 3, 1000, 5, 'k', 'me',
            '{\"n\":1}', 'acme', 'key', 'c', 't', '[\"a\"]', null, null, null),
        (2, x'00000000000000000000000000000002', 1, 'scheduled', 0, 99, 1, 1, 2, null, null, 7, null, 0, null, 2, 3, 1000, 5, 'k', 'me',
            '2', null, null, null, null, null, '[]', '{\"percent\":1,\"note\":\"n\"}', null),
        (3, x'00000000000000000000000000000003', 1, 'running', 9, 10, 1, 0, 1, x'00000000000000000000000000000009', 77, 8, null, 1, null, 0, 3, 1000, 5, 'k',
            'me', '3', null, null, null, null, null, null, null, null),
        (4, x'00000000000000000000000000000004', 1, 'completed', 5, 10, 1, 0, 1, null, null, 8, 9, 0, null, 0, 3, 1000, 5, 'k', 'me', '4',
            null, null, null, null, null, null, null, '{\"ok\":true}'),
        (5, x'00000000000000000000000000000005', 1, 'dead', 5, 10, 3, 0, 3, null, null, 8, 9, 0, 'exhausted', 0, 3, 1000, 5, 'k', 'me',
            '5', null, null, null, null, null, null, null, null),
        (7, x'00000000000000000000000000000007', 1, 'cancelled', 5, 10, 0, 0, 0, null, null, null, 9, 0, null, 0, 3, 1000, 5, 'k', 'me',
            '7', null, null, null, null, null, null, null, null);
        insert into counts select queue, state, count(*) from jobs group by queue, state;
        pragma user_version = 5;";
    const ROWS: &str = "select json_array(seq, hex(id), queue, state, priority, run_at, attempt, crashes, epoch, hex(holder),
        deadline, started_at, finished_at, cancel_requested, dead_reason, log_lines, max_attempts, timeout_ms, created_at,
        kind, enqueued_by, payload, tenant, unique_key, correlation_id, traceparent, tags, failures, progress, result)
        from jobs_with_bodies union all select json_array(queue, state, n) from counts order by 1";
    let rows = |file: &File, jobs: &str| -> Vec<String> {
        let outside = file.outside();
        let mut rows = outside.prepare(&ROWS.replace("jobs_with_bodies", jobs)).expect("prepare");
        rows.query_map([], |row| row.get(0)).expect("rows").collect::<Result<_, _>>().expect("rows")
    };
    let file = File::new();
    file.outside().execute_batch(&(OLD.concat() + JOBS)).expect("an older file");
    let before = rows(&file, "jobs");
    assert_eq!(before.len(), 12);
    assert!(matches!(file.refused().await, StoreError::Schema { found: 5, .. }));
    assert!(migrate(&file.path()).expect("migrate") >= 1);
    assert_eq!(rows(&file, "jobs join bodies using (seq)"), before);
    let store = file.open().await;
    assert_eq!(all(&store).await.len(), 6);
    let worker = file.worker(&store).await;
    assert_eq!(store.claim(&work(), worker, 9, Duration::ZERO).await.expect("claim").len(), 1);
    let sound: String = file.outside().query_row("pragma integrity_check", [], |row| row.get(0)).expect("check");
    assert_eq!(sound, "ok");
}

#[tokio::test]
async fn a_file_that_is_no_database_is_named_damaged() {
    let file = File::new();
    std::fs::write(file.path(), vec![b'x'; 8_192]).expect("write");
    let refused = file.refused().await;
    assert!(matches!(refused, StoreError::Fatal { .. }), "{refused:?}");
    assert_eq!(std::fs::read(file.path()).expect("read"), vec![b'x'; 8_192], "and left alone");
}

#[tokio::test]
async fn a_missing_directory_is_named() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("nowhere/queue.db");
    let refused = SqliteStore::open(SqliteOptions::at(&path), Clock::manual(START)).await.expect_err("no directory");
    assert!(matches!(refused, StoreError::Unavailable { .. }), "{refused:?}");
    assert!(refused.to_string().contains("nowhere/queue.db"), "{refused}");
}

#[tokio::test]
async fn a_read_only_file_is_refused_by_name() {
    let file = File::new();
    let store = file.open().await;
    store.enqueue(file.jobs(1)).await.expect("enqueue");
    drop(store);
    let Some(locked) = ReadOnly::make(&file.path()) else {
        eprintln!("not run: this user may write to every file (root without chattr)");
        return;
    };
    let refused = file.refused().await;
    assert!(matches!(refused, StoreError::ReadOnly { .. }), "{refused:?}");
    assert!(refused.to_string().contains("queue.db"), "{refused}");
    drop(locked);
    assert_eq!(all(&file.open().await).await.len(), 1, "and nothing is lost");
}

/// A file that can't be written until this is dropped.
struct ReadOnly(PathBuf);

impl ReadOnly {
    fn make(path: &Path) -> Option<Self> {
        let mut permissions = std::fs::metadata(path).expect("the file").permissions();
        permissions.set_readonly(true);
        std::fs::set_permissions(path, permissions).expect("chmod");
        let locked = Self(path.to_owned());
        let writable = || std::fs::OpenOptions::new().append(true).open(path).is_ok();
        // Permissions do not stop root; the immutable flag does.
        if writable() {
            Command::new("chattr").arg("+i").arg(path).output().ok()?;
        }
        if writable() { None } else { Some(locked) }
    }
}

impl Drop for ReadOnly {
    fn drop(&mut self) {
        // Fails where it was never set, which is as good.
        drop(Command::new("chattr").arg("-i").arg(&self.0).output());
        if let Ok(metadata) = std::fs::metadata(&self.0) {
            let mut permissions = metadata.permissions();
            #[expect(clippy::permissions_set_readonly_false, reason = "a file in a private temporary directory")]
            permissions.set_readonly(false);
            drop(std::fs::set_permissions(&self.0, permissions));
        }
    }
}
