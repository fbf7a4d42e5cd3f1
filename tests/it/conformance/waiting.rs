//! A claim that waits: woken by whatever makes a job ready, and dropped without losing one.
//!
//! No sleeping: [`park`] turns the claim until the store has answered its first look, then the test goes on.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use tidemill::job::{Incarnation, JobState};
use tidemill::store::{Claimed, Store, StoreError, Verdict};
use tokio::time::timeout;

use super::rig::{LEASE, MS, PATIENCE, Rig, complete, fail_for, id_of, job, named, settings, work};

type Answer = Result<Vec<Claimed>, StoreError>;

pub(crate) async fn an_enqueue_wakes_a_waiting_claim(rig: &mut Rig) {
    let worker = rig.worker().await;
    let mut claim = pin!(wait_for_one(&rig.store, worker));
    park(rig, claim.as_mut()).await;
    let id = rig.put(job()).await;
    assert_eq!(got(claim).await, id);
}

pub(crate) async fn a_claim_and_an_enqueue_at_the_same_time_meet(rig: &mut Rig) {
    let worker = rig.worker().await;
    for _ in 0..50 {
        let claim = pin!(wait_for_one(&rig.store, worker));
        let (claimed, id) = tokio::join!(got(claim), rig.put(job()));
        assert_eq!(claimed, id);
    }
}

pub(crate) async fn a_promotion_wakes_a_waiting_claim(rig: &mut Rig) {
    let worker = rig.worker().await;
    let id = rig.put(job().after(MS)).await;
    let mut claim = pin!(wait_for_one(&rig.store, worker));
    park(rig, claim.as_mut()).await;
    rig.clock.advance(MS);
    rig.promote().await;
    assert_eq!(got(claim).await, id);
}

pub(crate) async fn a_resume_wakes_a_waiting_claim(rig: &mut Rig) {
    let worker = rig.worker().await;
    rig.store.pause(&work()).await.expect("pause");
    let id = rig.put(job()).await;
    let mut claim = pin!(wait_for_one(&rig.store, worker));
    park(rig, claim.as_mut()).await;
    rig.store.resume(&work()).await.expect("resume");
    assert_eq!(got(claim).await, id);
}

pub(crate) async fn a_rescue_wakes_a_waiting_claim(rig: &mut Rig) {
    let (_, claimed) = rig.running(job()).await;
    rig.clock.advance(LEASE * 2);
    let worker = rig.worker().await;
    let mut claim = pin!(wait_for_one(&rig.store, worker));
    park(rig, claim.as_mut()).await;
    rig.rescue().await;
    assert_eq!(got(claim).await, id_of(&claimed));
}

pub(crate) async fn a_release_a_retry_by_hand_and_a_child_each_wake_a_waiting_claim(rig: &mut Rig) {
    let (_, claimed) = rig.running(job()).await;
    let id = id_of(&claimed);
    let other = rig.worker().await;
    let mut claim = pin!(wait_for_one(&rig.store, other));
    park(rig, claim.as_mut()).await;
    rig.settle(claimed, Verdict::Release).await;
    let claimed = one(claim).await;
    assert_eq!(id_of(&claimed), id);

    rig.settle(claimed, fail_for(MS)).await;
    let mut claim = pin!(wait_for_one(&rig.store, other));
    park(rig, claim.as_mut()).await;
    rig.store.retry(id).await.expect("retry");
    let claimed = one(claim).await;
    assert_eq!(id_of(&claimed), id);

    let mut claim = pin!(wait_for_one(&rig.store, other));
    park(rig, claim.as_mut()).await;
    let child = rig.new_job(job());
    let child_id = child.id;
    rig.settle(claimed, Verdict::Complete { result: None, children: vec![child] }).await;
    assert_eq!(got(claim).await, child_id);
}

pub(crate) async fn one_job_wakes_one_of_many_waiting_claims(rig: &mut Rig) {
    let (a, b) = (rig.worker().await, rig.worker().await);
    let mut first = Box::pin(wait_for_one(&rig.store, a));
    let mut second = Box::pin(wait_for_one(&rig.store, b));
    park(rig, first.as_mut()).await;
    park(rig, second.as_mut()).await;
    let one = rig.put(job()).await;
    let two = rig.put(job()).await;
    let (x, y) = tokio::join!(got(first.as_mut()), got(second.as_mut()));
    assert!((x, y) == (one, two) || (x, y) == (two, one), "each got one");
}

pub(crate) async fn a_waiting_claim_of_another_queue_sleeps_on(rig: &mut Rig) {
    rig.store.declare_queues(vec![settings("other")]).await.expect("declare");
    let worker = rig.worker().await;
    let mut claim = pin!(wait_for_one(&rig.store, worker));
    park(rig, claim.as_mut()).await;
    rig.put(job().on(named("other"))).await;
    park(rig, claim.as_mut()).await;
    let id = rig.put(job()).await;
    assert_eq!(got(claim).await, id);
}

pub(crate) async fn a_claim_answers_empty_when_its_wait_is_over(rig: &mut Rig) {
    let worker = rig.worker().await;
    let claimed = timeout(PATIENCE, rig.store.claim(&work(), worker, 1, MS)).await.expect("it ends");
    assert!(claimed.expect("claim").is_empty());
}

pub(crate) async fn a_waiting_claim_ends_when_its_worker_is_declared_dead_or_leaves(rig: &mut Rig) {
    for leaves in [false, true] {
        let worker = rig.worker().await;
        let mut claim = pin!(wait_for_one(&rig.store, worker));
        park(rig, claim.as_mut()).await;
        if leaves {
            rig.store.sign_off(worker).await.expect("sign off");
        } else {
            rig.clock.advance(LEASE * 2);
            rig.rescue().await;
        }
        let answer = timeout(PATIENCE, claim).await.expect("it does not wait on");
        assert!(matches!(answer, Err(StoreError::DeadIncarnation(who)) if who == worker), "{answer:?}");
    }
}

pub(crate) async fn a_waiting_claim_that_is_dropped_takes_no_job_with_it(rig: &mut Rig) {
    let worker = rig.worker().await;
    let mut claim = Box::pin(wait_for_one(&rig.store, worker));
    park(rig, claim.as_mut()).await;
    drop(claim);
    let id = rig.put(job()).await;
    assert_eq!(got(pin!(wait_for_one(&rig.store, worker))).await, id);
}

pub(crate) async fn a_claim_dropped_after_it_was_woken_hands_its_job_back(rig: &mut Rig) {
    let worker = rig.worker().await;
    for _ in 0..50 {
        let mut claim = Box::pin(wait_for_one(&rig.store, worker));
        park(rig, claim.as_mut()).await;
        let id = rig.put(job()).await;
        drop(claim);
        let again = one(pin!(wait_for_one(&rig.store, worker))).await;
        assert_eq!((id_of(&again), again.attempt, again.crashes), (id, 1, 0), "uncharged");
        rig.settle(again, complete()).await;
    }
}

pub(crate) async fn a_claim_dropped_at_any_moment_loses_nothing(rig: &mut Rig) {
    let worker = rig.worker().await;
    for turns in 0..60_u32 {
        let id = rig.put(job()).await;
        let mut claim = Box::pin(wait_for_one(&rig.store, worker));
        let mut answer = None;
        for _ in 0..turns % 20 {
            answer = turn(claim.as_mut()).await;
            if answer.is_some() {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(claim);
        let claimed = match answer {
            Some(answer) => answer.expect("claim").pop().expect("one"),
            None => one(pin!(wait_for_one(&rig.store, worker))).await,
        };
        assert_eq!((id_of(&claimed), claimed.attempt), (id, 1));
        rig.settle(claimed, complete()).await;
    }
    assert_eq!(rig.counts(&work()).await.of(JobState::Completed), 60);
}

fn wait_for_one(store: &Arc<dyn Store>, worker: Incarnation) -> impl Future<Output = Answer> + Send + use<> {
    let store = Arc::clone(store);
    async move { store.claim(&work(), worker, 1, PATIENCE).await }
}

/// Turns the claim once.
async fn turn(mut claim: Pin<&mut (impl Future<Output = Answer> + ?Sized)>) -> Option<Answer> {
    poll_fn(|cx| match claim.as_mut().poll(cx) {
        Poll::Ready(answer) => Poll::Ready(Some(answer)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

/// Turns the claim, with writes in between that come after it in the store's line: it has looked and waits now.
async fn park(rig: &Rig, mut claim: Pin<&mut (impl Future<Output = Answer> + ?Sized)>) {
    for _ in 0..4 {
        let early = turn(claim.as_mut()).await;
        assert!(early.is_none(), "there was nothing to claim: {early:?}");
        rig.store.cache_put("park", "write", Vec::new(), MS).await.expect("a write");
    }
}

async fn one(claim: Pin<&mut impl Future<Output = Answer>>) -> Claimed {
    let mut claimed = timeout(PATIENCE, claim).await.expect("the claim is woken").expect("claim");
    assert_eq!(claimed.len(), 1);
    claimed.pop().expect("one")
}

async fn got(claim: Pin<&mut impl Future<Output = Answer>>) -> tidemill::job::JobId {
    id_of(&one(claim).await)
}
