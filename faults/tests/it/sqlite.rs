//! The embedded store.

use tidemill_faults::place::{Place, StoreKind};
use tidemill_faults::scenario::Scenario;

use crate::{lost, say, valid};

const SQLITE: StoreKind = StoreKind::Sqlite;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_every_named_step_it_loses_nothing_and_finishes_nothing_twice() {
    valid(Scenario::Steps, SQLITE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn terminated_under_load_workers_hand_back_uncharged_and_exit_0() {
    valid(Scenario::Term, SQLITE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_stopped_beyond_its_lease_changes_nothing_when_it_wakes() {
    valid(Scenario::Zombie, SQLITE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handlers_that_panic_block_or_abort_and_poison_cost_nobody_else_a_job() {
    valid(Scenario::Handlers, SQLITE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_a_day_ahead_and_a_day_behind_lose_nothing() {
    valid(Scenario::Clock, SQLITE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_others_hold_the_file_nothing_is_lost() {
    valid(Scenario::Busy, SQLITE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_new_jobs_and_loses_none() {
    let probe = tempfile::tempdir().unwrap();
    if let Err(error) = Place::sqlite(probe.path(), Some(1)) {
        say(&format!("SKIPPED: the full disk needs a small file system of its own, and {error:#}"));
        return;
    }
    valid(Scenario::Full, SQLITE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_thousand_due_at_once_are_all_run_once() {
    valid(Scenario::Due, SQLITE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_thousand_leases_that_end_at_once_are_all_rescued() {
    valid(Scenario::Expiry, SQLITE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claims_without_a_lease_are_reported_as_loss() {
    lost(Scenario::Pop, SQLITE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_that_were_cut_off_are_reported_as_loss() {
    lost(Scenario::TailCut, SQLITE).await;
}
