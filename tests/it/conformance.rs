//! What every store must do, one test a rule, run over each store there is.
//!
//! A rule is an `async fn(&mut Rig)` in one of the files below; its name is the claim. A store joins with one line,
//! `conformance!(name, make_rig)`, and gets every rule: there is no list of exceptions. After each rule the rig is
//! audited: the counters must equal a full list, and no job may be in limbo.

macro_rules! rules {
    ($make:path, $area:ident: $($rule:ident)*) => {
        mod $area {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $rule() {
                    let mut rig = $make().await;
                    crate::conformance::$area::$rule(&mut rig).await;
                    rig.audit().await;
                }
            )*
        }
    };
}

mod arrows;
mod audit;
mod cancelling;
mod claiming;
mod crowd;
mod dying;
mod enqueueing;
mod explaining;
mod fencing;
mod listing;
mod operating;
mod promoting;
mod pruning;
mod rates;
pub(crate) mod rig;
mod schedules;
mod settling;
mod shared;
mod suite;
mod waiting;

suite::conformance!(sqlite, crate::conformance::rig::sqlite);
suite::conformance!(redis, crate::conformance::rig::redis);
suite::conformance!(redis_packs, crate::conformance::rig::redis_packs);
