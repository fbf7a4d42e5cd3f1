//! A disk that is hardly larger than the write-ahead log may grow: it fills up, and comes back when there is room.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use tidemill::job::{JobId, JobSpec};
use tidemill::store::StoreError;

use super::{File, all};
use crate::conformance::rig::work;

/// A file system of its own, in memory; gone with the test.
struct Disk(tempfile::TempDir);

impl Disk {
    fn of(megabytes: u32) -> Self {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let size = format!("size={megabytes}m");
        run(Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tidemill-test"]).arg(folder.path()));
        Self(folder)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Whoever still has a file open loses sight of it only.
        run(Command::new("umount").arg("--lazy").arg(self.0.path()));
    }
}

fn run(command: &mut Command) {
    let done = command.output().expect("mount is there");
    assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
}

/// Puts jobs in until there is no room.
async fn fill(file: &File, store: &std::sync::Arc<dyn tidemill::store::Store>, kept: &mut BTreeSet<JobId>) {
    loop {
        let mut jobs = file.jobs(20);
        // Mostly what is written once: the file grows by nearly as much as the log holds.
        jobs.iter_mut()
            .for_each(|job| job.spec = JobSpec::raw(work(), "test.job", format!("\"{}\"", "x".repeat(8_000))));
        match store.enqueue(jobs.clone()).await {
            Ok(_) => kept.extend(jobs.iter().map(|job| job.id)),
            Err(StoreError::Full { .. }) => return,
            Err(other) => panic!("{other}"),
        }
        assert!(kept.len() < 200_000, "it never fills up");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_as_large_as_the_log_fills_up_and_comes_back_with_all_that_was_acknowledged() {
    let disk = Disk::of(10);
    let file = File::in_dir(tempfile::tempdir_in(disk.path()).expect("a directory on it"));
    let ballast = disk.path().join("ballast");
    std::fs::write(&ballast, vec![0; 2 << 20]).expect("write the ballast");
    let store = file.open().await;
    let mut kept = BTreeSet::new();
    fill(&file, &store, &mut kept).await;
    let at_first = kept.len();
    assert_eq!(all(&store).await, kept, "what was acknowledged, and nothing of the refused batch");

    std::fs::remove_file(&ballast).expect("free the ballast");
    fill(&file, &store, &mut kept).await;
    let gained = kept.len() - at_first;
    assert!(gained >= at_first / 5, "2 of 10 MiB came back, and {gained} jobs found room beside {at_first}");
    assert_eq!(all(&store).await, kept);

    drop(store);
    let store = file.open().await;
    assert_eq!(all(&store).await, kept, "it opens again while full");
    let sound: String = file.outside().pragma_query_value(None, "integrity_check", |row| row.get(0)).expect("pragma");
    assert_eq!(sound, "ok");
}
