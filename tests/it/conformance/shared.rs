//! Small shared state: the cache, idempotent replies, breakers. All of it on the store's clock.

use std::time::Duration;

use tidemill::store::{BreakerState, RememberedReply, Reservation};

use super::rig::{MS, Rig};

const MINUTE: Duration = Duration::from_secs(60);
/// How long a request holds its key.
const LEASE: Duration = Duration::from_secs(20);

pub(crate) async fn a_cached_value_is_there_until_its_time_is_over(rig: &mut Rig) {
    let value = vec![0, 159, 146, 150, 255];
    rig.store.cache_put("t", "k", value.clone(), MINUTE).await.expect("put");
    rig.reopen().await;
    assert_eq!(rig.store.cache_get("t", "k").await.expect("get"), Some(value));
    rig.clock.advance(MINUTE - MS);
    assert!(rig.store.cache_get("t", "k").await.expect("get").is_some());
    rig.clock.advance(MS * 2);
    assert_eq!(rig.store.cache_get("t", "k").await.expect("get"), None);
    rig.store.cache_put("t", "k", vec![2], MINUTE).await.expect("put");
    assert_eq!(rig.store.cache_get("t", "k").await.expect("get"), Some(vec![2]));
}

pub(crate) async fn a_cached_value_is_replaced_and_forgotten(rig: &mut Rig) {
    rig.store.cache_put("t", "k", vec![1], MS).await.expect("put");
    rig.store.cache_put("t", "k", vec![2], MINUTE).await.expect("put");
    rig.clock.advance(MS * 5);
    assert_eq!(rig.store.cache_get("t", "k").await.expect("get"), Some(vec![2]), "with the new time too");
    rig.store.cache_delete("t", "k").await.expect("delete");
    rig.store.cache_delete("t", "k").await.expect("twice is no error");
    assert_eq!(rig.store.cache_get("t", "k").await.expect("get"), None);
}

pub(crate) async fn tenants_never_see_each_others_values(rig: &mut Rig) {
    // Pairs that would be one if tenant and key were only put side by side.
    let pairs = [("a", "b:c"), ("a:b", "c"), ("a:b:c", ""), ("", "a:b:c"), ("ab", "c"), ("a", "bc")];
    for (n, (tenant, key)) in pairs.iter().enumerate() {
        assert_eq!(rig.store.cache_get(tenant, key).await.expect("get"), None, "{tenant}/{key}");
        rig.store.cache_put(tenant, key, n.to_string().into_bytes(), MINUTE).await.expect("put");
    }
    rig.store.cache_delete("a", "b:c").await.expect("delete");
    for (n, (tenant, key)) in pairs.iter().enumerate().skip(1) {
        let kept = rig.store.cache_get(tenant, key).await.expect("get");
        assert_eq!(kept, Some(n.to_string().into_bytes()), "{tenant}/{key}");
    }
}

pub(crate) async fn a_value_that_is_too_large_is_refused(rig: &mut Rig) {
    let most = 256 * 1024;
    rig.store.cache_put("t", "k", vec![7; most], MINUTE).await.expect("just fits");
    rig.store.cache_put("t", "k", vec![8; most + 1], MINUTE).await.expect_err("one byte too much");
    assert_eq!(rig.store.cache_get("t", "k").await.expect("get"), Some(vec![7; most]));
}

fn granted(rig: &Rig) -> Reservation {
    Reservation::Granted { since: rig.clock.now() }
}

fn reply(status: u16) -> RememberedReply {
    RememberedReply { status, content_type: "application/json".into(), body: br#"{"id":1}"#.to_vec() }
}

async fn reserve(rig: &Rig, key: &str, fingerprint: &[u8]) -> Reservation {
    rig.store.reserve("key_1", key, fingerprint, LEASE, MINUTE).await.expect("reserve")
}

pub(crate) async fn a_repeated_request_gets_the_first_ones_reply(rig: &mut Rig) {
    assert_eq!(reserve(rig, "k", b"f").await, granted(rig));
    assert_eq!(reserve(rig, "k", b"f").await, Reservation::InProgress);
    rig.store.remember("key_1", "k", reply(201)).await.expect("remember");
    rig.reopen().await;
    for _ in 0..2 {
        assert_eq!(reserve(rig, "k", b"f").await, Reservation::Done(reply(201)));
    }
}

pub(crate) async fn a_key_used_for_another_request_is_a_mismatch(rig: &mut Rig) {
    reserve(rig, "k", b"f").await;
    assert_eq!(reserve(rig, "k", b"g").await, Reservation::Mismatch, "in progress");
    rig.store.remember("key_1", "k", reply(200)).await.expect("remember");
    assert_eq!(reserve(rig, "k", b"g").await, Reservation::Mismatch, "and done");
    assert_eq!(reserve(rig, "k", b"f").await, Reservation::Done(reply(200)), "which changed nothing");
}

pub(crate) async fn a_released_key_may_be_tried_again_by_the_same_request(rig: &mut Rig) {
    let first = reserve(rig, "k", b"f").await;
    rig.clock.advance(MS * 5);
    rig.store.release("key_1", "k").await.expect("release");
    assert_eq!(reserve(rig, "k", b"g").await, Reservation::Mismatch, "another request may not");
    assert_eq!(reserve(rig, "k", b"f").await, first, "and it is told when it was granted first");
    assert_eq!(reserve(rig, "k", b"f").await, Reservation::InProgress);
    rig.store.remember("key_1", "k", reply(200)).await.expect("remember");
    rig.store.release("key_1", "k").await.expect("release");
    assert_eq!(reserve(rig, "k", b"f").await, Reservation::Done(reply(200)), "a reply is not forgotten");
}

pub(crate) async fn a_key_whose_holder_crashed_is_free_for_the_same_request_after_its_lease(rig: &mut Rig) {
    let first = reserve(rig, "k", b"f").await;
    assert_eq!(first, granted(rig));
    rig.reopen().await;
    rig.clock.advance(LEASE - MS);
    assert_eq!(reserve(rig, "k", b"f").await, Reservation::InProgress);
    rig.clock.advance(MS * 2);
    assert_eq!(reserve(rig, "k", b"g").await, Reservation::Mismatch, "the fingerprint outlives the lease");
    assert_eq!(reserve(rig, "k", b"f").await, first, "with the time of the first grant");
    assert_eq!(reserve(rig, "k", b"f").await, Reservation::InProgress, "under a lease of its own");
    rig.store.remember("key_1", "k", reply(200)).await.expect("remember");
    rig.clock.advance(LEASE + MS);
    assert_eq!(reserve(rig, "k", b"f").await, Reservation::Done(reply(200)));
}

pub(crate) async fn a_reserved_key_is_free_when_its_time_is_over(rig: &mut Rig) {
    reserve(rig, "crashed", b"f").await;
    reserve(rig, "done", b"f").await;
    rig.store.remember("key_1", "done", reply(200)).await.expect("remember");
    rig.clock.advance(MINUTE - MS);
    assert_eq!(reserve(rig, "crashed", b"g").await, Reservation::Mismatch);
    assert_eq!(reserve(rig, "done", b"f").await, Reservation::Done(reply(200)));
    rig.clock.advance(MS * 2);
    assert_eq!(reserve(rig, "crashed", b"g").await, granted(rig));
    assert_eq!(reserve(rig, "done", b"g").await, granted(rig));
    assert_eq!(reserve(rig, "done", b"g").await, Reservation::InProgress, "the old reply is gone");
}

pub(crate) async fn scopes_do_not_share_keys(rig: &mut Rig) {
    for scope in ["a", "b", "a:b"] {
        let answer = rig.store.reserve(scope, "k", scope.as_bytes(), LEASE, MINUTE).await.expect("reserve");
        assert_eq!(answer, granted(rig), "{scope}");
    }
}

pub(crate) async fn of_two_requests_at_once_one_is_granted(rig: &mut Rig) {
    let other = rig.another_handle().await;
    for n in 0..20 {
        let key = format!("k{n}");
        let (a, b) = tokio::join!(
            rig.store.reserve("s", &key, b"f", LEASE, MINUTE),
            other.reserve("s", &key, b"f", LEASE, MINUTE)
        );
        let answers = [a.expect("reserve"), b.expect("reserve")];
        assert!(answers.contains(&granted(rig)) && answers.contains(&Reservation::InProgress), "{answers:?}");
    }
}

async fn report(rig: &Rig, ok: bool) -> BreakerState {
    rig.store.breaker_report("bank", ok, 3, MINUTE).await.expect("report")
}

async fn ask(rig: &Rig) -> BreakerState {
    rig.store.breaker("bank").await.expect("breaker")
}

pub(crate) async fn a_breaker_opens_after_failures_in_a_row(rig: &mut Rig) {
    assert_eq!(ask(rig).await, BreakerState::Closed { failures: 0 });
    report(rig, false).await;
    assert_eq!(report(rig, false).await, BreakerState::Closed { failures: 2 });
    assert_eq!(report(rig, true).await, BreakerState::Closed { failures: 0 }, "a success ends the row");
    report(rig, false).await;
    assert_eq!(report(rig, false).await, BreakerState::Closed { failures: 2 });
    let until = rig.clock.now().after(MINUTE);
    assert_eq!(report(rig, false).await, BreakerState::Open { until });
    rig.reopen().await;
    rig.clock.advance(MINUTE - MS);
    assert_eq!(ask(rig).await, BreakerState::Open { until });
}

pub(crate) async fn an_open_breaker_lets_one_probe_through_after_its_cooldown(rig: &mut Rig) {
    for _ in 0..3 {
        report(rig, false).await;
    }
    rig.clock.advance(MINUTE);
    let other = rig.another_handle().await;
    let (a, b) = tokio::join!(rig.store.breaker("bank"), other.breaker("bank"));
    let answers = [a.expect("breaker"), b.expect("breaker")];
    let probes = answers.iter().filter(|s| matches!(s, BreakerState::HalfOpen)).count();
    assert_eq!(probes, 1, "one asks, the others wait: {answers:?}");
    assert!(answers.iter().any(|s| matches!(s, BreakerState::Open { .. })), "{answers:?}");
    assert!(matches!(ask(rig).await, BreakerState::Open { .. }));
    assert_eq!(report(rig, true).await, BreakerState::Closed { failures: 0 });
    assert_eq!(ask(rig).await, BreakerState::Closed { failures: 0 });
}

pub(crate) async fn a_failed_probe_opens_the_breaker_again_at_once(rig: &mut Rig) {
    for _ in 0..3 {
        report(rig, false).await;
    }
    rig.clock.advance(MINUTE);
    assert_eq!(ask(rig).await, BreakerState::HalfOpen);
    rig.clock.advance(MS * 5);
    let until = rig.clock.now().after(MINUTE);
    assert_eq!(report(rig, false).await, BreakerState::Open { until });
    assert_eq!(ask(rig).await, BreakerState::Open { until });
}

pub(crate) async fn a_failed_probe_after_a_mere_pause_is_one_failure_of_many(rig: &mut Rig) {
    // Opened at the first failure, as for a receiver that asked for a moment's rest.
    let paused = rig.store.breaker_report("bank", false, 1, MS * 500).await.expect("report");
    assert_eq!(paused, BreakerState::Open { until: rig.clock.now().after(MS * 500) });
    rig.clock.advance(MS * 500);
    assert_eq!(ask(rig).await, BreakerState::HalfOpen);
    assert_eq!(report(rig, false).await, BreakerState::Closed { failures: 2 });
    assert_eq!(ask(rig).await, BreakerState::Closed { failures: 2 });
    assert!(matches!(report(rig, false).await, BreakerState::Open { .. }), "the third in a row");
}

pub(crate) async fn a_probe_that_never_reports_does_not_block_for_ever(rig: &mut Rig) {
    for _ in 0..3 {
        report(rig, false).await;
    }
    rig.clock.advance(MINUTE);
    assert_eq!(ask(rig).await, BreakerState::HalfOpen);
    rig.clock.advance(MINUTE * 60);
    assert_eq!(ask(rig).await, BreakerState::HalfOpen, "another may try");
}

pub(crate) async fn a_breaker_closed_by_hand_is_closed_and_has_its_own_name(rig: &mut Rig) {
    for _ in 0..3 {
        report(rig, false).await;
    }
    assert_eq!(rig.store.breaker("other").await.expect("breaker"), BreakerState::Closed { failures: 0 });
    rig.store.breaker_reset("bank").await.expect("reset");
    assert_eq!(ask(rig).await, BreakerState::Closed { failures: 0 });
    assert_eq!(report(rig, false).await, BreakerState::Closed { failures: 1 }, "and counts from zero");
}
