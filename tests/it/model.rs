//! The model test: thousands of random programs, run on the store and on an in-memory reference, compared step by step.
//!
//! A failing program is shrunk, printed, and its seed kept in `model/regressions.txt`, which every later run begins
//! with: check it in. `PROPTEST_CASES=1000` runs eight times as many programs.

mod answer;
mod driver;
mod program;
mod reference;

use std::cell::RefCell;

use proptest::test_runner::{Config, FileFailurePersistence, TestCaseError, TestRunner};
use tokio::runtime::Runtime;

use self::driver::Driver;
use self::program::program;
use crate::conformance::rig::{self, Rig};

/// proptest's default, or what `PROPTEST_CASES` says, times this: 2,048 programs where nothing is said.
const PROGRAMS_PER_CASE: u32 = 8;
/// So many programs share a store, each with a queue of its own.
const PROGRAMS_PER_STORE: u32 = 64;

#[test]
fn the_sqlite_store_does_what_the_reference_does() {
    let runtime = Runtime::new().expect("a runtime");
    let config = Config {
        cases: Config::default().cases * PROGRAMS_PER_CASE,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct("tests/it/model/regressions.txt"))),
        max_shrink_iters: 2_000,
        ..Config::default()
    };
    let shared: RefCell<Option<(Rig, u32)>> = RefCell::new(None);
    let outcome = TestRunner::new(config).run(&program(), |steps| {
        // Taken out while it is used: after a failure the next program gets a fresh store.
        let (mut rig, programs) = match shared.borrow_mut().take() {
            Some((rig, programs)) if programs < PROGRAMS_PER_STORE => (rig, programs),
            _ => (runtime.block_on(rig::sqlite()), 0),
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
