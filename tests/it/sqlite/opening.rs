//! Opening: what the promises rest on is checked, and a file that can't be used is refused by name and left alone.

use std::path::{Path, PathBuf};
use std::process::Command;

use tidemill::clock::Clock;
use tidemill::store::StoreError;
use tidemill::store::sqlite::{SqliteOptions, SqliteStore, migrate};

use super::{File, all};
use crate::conformance::rig::START;

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
