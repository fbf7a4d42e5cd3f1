//! Rate limits, as properties over random takes at random times: never more than the limit, and never refused
//! for longer than was said.

use std::time::Duration;

use tidemill::clock::{Entropy, Timestamp};
use tidemill::store::{RateDecision, RateLimit};

use super::rig::{MS, Rig};

const WINDOW_MS: u64 = 1_000;
const TAKES: usize = 400;

/// One granted take.
type Taken = (Timestamp, u32);

/// Takes at random and returns what was granted; `each` sees every decision.
async fn take_at_random(rig: &Rig, key: &str, limit: RateLimit, seed: u64) -> Vec<Taken> {
    let chance = Entropy::seeded(seed);
    let mut granted = Vec::new();
    for _ in 0..TAKES {
        // Mostly crowded, sometimes quiet for more than a window.
        let pause = if chance.below(20) == 0 { chance.below(3_000) } else { chance.below(90) };
        rig.clock.advance(Duration::from_millis(pause));
        let cost = u32::try_from(1 + chance.below(3)).expect("small");
        let before = rig.store.budget(key, limit).await.expect("budget");
        match rig.store.take(key, limit, cost).await.expect("take") {
            RateDecision::Allowed { remaining } => {
                assert_eq!(remaining + cost, before.remaining, "the budget told the truth");
                granted.push((rig.clock.now(), cost));
            }
            RateDecision::Limited { retry_after } => {
                assert!(before.remaining < cost, "refused though {} are left", before.remaining);
                let after = rig.store.budget(key, limit).await.expect("budget");
                assert_eq!(after, before, "a refusal takes nothing");
                assert!(retry_after <= Duration::from_millis(2 * WINDOW_MS), "{retry_after:?}");
                if chance.below(4) == 0 {
                    rig.clock.advance(retry_after);
                    let again = rig.store.take(key, limit, cost).await.expect("take");
                    assert!(matches!(again, RateDecision::Allowed { .. }), "it was said to wait {retry_after:?}");
                    granted.push((rig.clock.now(), cost));
                }
            }
        }
    }
    assert!(granted.len() > TAKES / 10, "the run says something");
    granted
}

fn within(taken: &[Taken], from: i64, to: i64) -> u64 {
    taken.iter().filter(|(at, _)| (from..to).contains(&at.as_ms())).map(|(_, cost)| u64::from(*cost)).sum()
}

pub(crate) async fn a_fixed_window_never_grants_more_than_its_limit(rig: &mut Rig) {
    let limit = RateLimit::FixedWindow { limit: 7, window_ms: WINDOW_MS };
    let window = i64::try_from(WINDOW_MS).expect("small");
    for seed in 0..3 {
        let taken = take_at_random(rig, &format!("fixed:{seed}"), limit, seed).await;
        for (at, _) in &taken {
            let begin = at.as_ms() - at.as_ms().rem_euclid(window);
            assert!(within(&taken, begin, begin + window) <= 7);
        }
    }
}

pub(crate) async fn a_sliding_window_counts_the_last_one_by_its_share_in_view(rig: &mut Rig) {
    let limit = RateLimit::SlidingWindow { limit: 7, window_ms: WINDOW_MS };
    let window = i64::try_from(WINDOW_MS).expect("small");
    for seed in 0..3 {
        let taken = take_at_random(rig, &format!("sliding:{seed}"), limit, seed).await;
        for (n, (at, _)) in taken.iter().enumerate() {
            let (at, so_far) = (at.as_ms(), &taken[..=n]);
            let begin = at - at.rem_euclid(window);
            let (now, last) = (within(so_far, begin, begin + window), within(so_far, begin - window, begin));
            // In thousandths, so that the share is exact.
            let view = u64::try_from(window - (at - begin)).expect("within the window");
            assert!(now * WINDOW_MS + last * view <= 7 * WINDOW_MS, "{now} now, {last} before, {view} ms in view");
        }
    }
}

pub(crate) async fn a_token_bucket_never_grants_more_than_its_burst_and_refill(rig: &mut Rig) {
    let limit = RateLimit::TokenBucket { burst: 5, limit: 10, window_ms: WINDOW_MS };
    for seed in 0..3 {
        let taken = take_at_random(rig, &format!("bucket:{seed}"), limit, seed).await;
        for (n, (from, _)) in taken.iter().enumerate() {
            let mut sum = 0;
            for (to, cost) in &taken[n..] {
                sum += u64::from(*cost);
                let span = u64::try_from(to.since(*from).as_millis()).expect("small");
                assert!(sum * WINDOW_MS <= 5 * WINDOW_MS + 10 * span, "{sum} within {span} ms");
            }
        }
    }
}

pub(crate) async fn a_full_budget_can_be_used_at_once(rig: &mut Rig) {
    let limits = [
        RateLimit::FixedWindow { limit: 5, window_ms: WINDOW_MS },
        RateLimit::SlidingWindow { limit: 5, window_ms: WINDOW_MS },
        RateLimit::TokenBucket { burst: 5, limit: 1, window_ms: WINDOW_MS },
    ];
    for (n, limit) in limits.into_iter().enumerate() {
        let key = format!("full:{n}");
        assert_eq!(rig.store.budget(&key, limit).await.expect("budget").remaining, 5);
        for left in (0..5).rev() {
            let taken = rig.store.take(&key, limit, 1).await.expect("take");
            assert_eq!(taken, RateDecision::Allowed { remaining: left }, "{limit:?}");
        }
        let refused = rig.store.take(&key, limit, 1).await.expect("take");
        let RateDecision::Limited { retry_after } = refused else { panic!("{limit:?}: {refused:?}") };
        assert!(retry_after >= MS, "{limit:?}");
        let budget = rig.store.budget(&key, limit).await.expect("budget");
        assert!(budget.remaining == 0 && budget.resets_at > rig.clock.now(), "{limit:?}: {budget:?}");
        rig.clock.set(budget.resets_at.after(MS));
        let full = rig.store.budget(&key, limit).await.expect("budget");
        assert_eq!(full.remaining, 5, "{limit:?}: full when it said so");
    }
}

pub(crate) async fn a_limit_is_shared_by_all_processes_and_survives_a_restart(rig: &mut Rig) {
    let limit = RateLimit::FixedWindow { limit: 4, window_ms: WINDOW_MS };
    let other = rig.another_handle().await;
    rig.store.take("k", limit, 1).await.expect("take");
    other.take("k", limit, 2).await.expect("take");
    rig.reopen().await;
    assert_eq!(rig.store.budget("k", limit).await.expect("budget").remaining, 1);
    assert_eq!(rig.store.budget("other", limit).await.expect("budget").remaining, 4);
}

pub(crate) async fn takes_at_once_never_exceed_the_limit(rig: &mut Rig) {
    let limit = RateLimit::TokenBucket { burst: 10, limit: 1, window_ms: WINDOW_MS };
    let others = [rig.another_handle().await, rig.another_handle().await];
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..30 {
        let store = others[n % 2].clone();
        tasks.spawn(async move { store.take("k", limit, 1).await.expect("take") });
    }
    let granted = tasks.join_all().await.into_iter().filter(|d| matches!(d, RateDecision::Allowed { .. })).count();
    assert_eq!(granted, 10);
}
