//! The model test: thousands of random programs, run on each store and on an in-memory reference, compared step by step.
//!
//! A failing program is shrunk, printed, and its seed kept in `model/regressions.txt`, which every later run begins
//! with: check it in. `PROPTEST_CASES=1000` runs eight times as many programs.

mod answer;
mod driver;
mod program;
mod reference;

use std::cell::RefCell;
use std::path::Path;

use proptest::test_runner::{Config, FileFailurePersistence, TestCaseError, TestRunner};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use self::driver::Driver;
use self::program::program;
use crate::conformance::rig::{self, Rig};

/// proptest's default, or what `PROPTEST_CASES` says, times this: 2,048 programs where nothing is said.
const PROGRAMS_PER_CASE: u32 = 8;
/// So many programs share a store, each with a queue of its own.
const PROGRAMS_PER_STORE: u32 = 12;

#[test]
fn the_sqlite_store_does_what_the_reference_does() {
    run_all(async || rig::sqlite_in(directory()).await);
}

#[test]
fn the_redis_store_does_what_the_reference_does() {
    run_all(rig::redis);
}

#[test]
fn the_redis_store_does_so_with_its_jobs_in_packs() {
    run_all(rig::redis_packs);
}

/// Runs all programs over stores that `open` makes, on a few threads.
fn run_all(open: impl AsyncFn() -> Rig + Sync) {
    let runners = std::thread::available_parallelism().map_or(1, |n| n.get().min(4));
    let programs = Config::default().cases * PROGRAMS_PER_CASE;
    let share = programs.div_ceil(u32::try_from(runners).expect("few"));
    std::thread::scope(|scope| {
        for _ in 0..runners {
            scope.spawn(|| run_programs(share, &open));
        }
    });
}

/// Runs so many programs; panics with the shrunk one that fails.
fn run_programs(programs: u32, open: &impl AsyncFn() -> Rig) {
    let runtime = Runtime::new().expect("a runtime");
    let config = Config {
        cases: programs,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct("tests/it/model/regressions.txt"))),
        max_shrink_iters: 2_000,
        ..Config::default()
    };
    let shared: RefCell<Option<(Rig, u32)>> = RefCell::new(None);
    let outcome = TestRunner::new(config).run(&program(), |steps| {
        // Taken out while it is used: after a failure the next program gets a fresh store.
        let (mut rig, programs) = match shared.borrow_mut().take() {
            Some((rig, programs)) if programs < PROGRAMS_PER_STORE => (rig, programs),
            _ => (runtime.block_on(open()), 0),
        };
        runtime.block_on(async {
            let mut driver = Driver::new(&mut rig, format!("program_{programs}")).await;
            driver.run(&steps).await.map_err(TestCaseError::fail)?;
            driver.clean_up().await;
            Ok::<(), TestCaseError>(())
        })?;
        shared.replace(Some((rig, programs + 1)));
        Ok(())
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
}

/// In memory where there is such a place: durability is not what is asked here, and an fsync a step is most of the time.
fn directory() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.expect("a temporary directory")
}
