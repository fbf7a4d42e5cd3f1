//! Redis: servers, sentinels and proxies of the runs' own.

use tidemill_faults::place::StoreKind;
use tidemill_faults::scenario::Scenario;

use crate::{lost, valid};

const REDIS: StoreKind = StoreKind::Redis;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_every_named_step_it_loses_nothing_and_finishes_nothing_twice() {
    valid(Scenario::Steps, REDIS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn terminated_under_load_workers_hand_back_uncharged_and_exit_0() {
    valid(Scenario::Term, REDIS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_stopped_beyond_its_lease_changes_nothing_when_it_wakes() {
    valid(Scenario::Zombie, REDIS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handlers_that_panic_block_or_abort_and_poison_cost_nobody_else_a_job() {
    valid(Scenario::Handlers, REDIS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_a_day_ahead_and_a_day_behind_change_nothing_the_servers_clock_decides() {
    valid(Scenario::Clock, REDIS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_synced_each_second_comes_back_from_kills_slow_starts_and_stops() {
    valid(Scenario::Crash, REDIS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_syncs_every_write_comes_back_from_kills_slow_starts_and_stops() {
    valid(Scenario::CrashFsync, REDIS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_failover_the_new_master_is_found_and_nothing_older_than_the_window_is_lost() {
    valid(Scenario::Failover, REDIS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hostile_network_loses_nothing_and_asks_for_nothing_twice() {
    valid(Scenario::Net, REDIS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_memory_refuses_new_jobs_and_lets_the_running_ones_end() {
    valid(Scenario::Full, REDIS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_deleted_by_hand_cost_only_the_jobs_that_were_deleted() {
    valid(Scenario::Keys, REDIS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_thousand_due_at_once_are_all_run_once() {
    valid(Scenario::Due, REDIS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_thousand_leases_that_end_at_once_are_all_rescued() {
    valid(Scenario::Expiry, REDIS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claims_without_a_lease_are_reported_as_loss() {
    lost(Scenario::Pop, REDIS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_that_were_cut_off_are_reported_as_loss() {
    lost(Scenario::TailCut, REDIS).await;
}
