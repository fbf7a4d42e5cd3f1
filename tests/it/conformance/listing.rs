//! Looking: lists with filters and stable pages, and counters that equal a full list at every step.

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use tidemill::job::{DeadReason, JobId, JobState, Priority};
use tidemill::store::{Cursor, ListQuery, StoreError, Verdict};

use super::rig::{LEASE, MS, Rig, complete, fail_for, job, named, settings, work};

fn first(limit: u32) -> ListQuery {
    ListQuery { limit, ..ListQuery::default() }
}

async fn ids(rig: &Rig, query: ListQuery) -> Vec<JobId> {
    rig.list(query).await.into_iter().map(|j| j.id).collect()
}

pub(crate) async fn a_list_is_filtered(rig: &mut Rig) {
    rig.store.declare_queues(vec![settings("other")]).await.expect("declare");
    let a = rig.put(job()).await;
    let b = rig.put(job().tenant("t1").after(MS)).await;
    let c = rig.put(job().on(named("other")).tenant("t2")).await;
    let mut kind = job().tenant("t1");
    kind.kind = "other.kind".into();
    let d = rig.put(kind).await;
    assert_eq!(ids(rig, first(0)).await, [d, c, b, a], "newest first");
    assert_eq!(ids(rig, ListQuery { queue: Some(work()), ..first(2) }).await, [d, b, a]);
    assert_eq!(ids(rig, ListQuery { state: Some(JobState::Ready), ..first(2) }).await, [a, c, d]);
    assert_eq!(ids(rig, ListQuery { kind: Some("test.job".into()), ..first(2) }).await, [c, b, a]);
    assert_eq!(ids(rig, ListQuery { tenant: Some("t1".into()), ..first(2) }).await, [d, b]);
    let all = ListQuery {
        queue: Some(work()),
        state: Some(JobState::Scheduled),
        kind: Some("test.job".into()),
        tenant: Some("t1".into()),
        ..first(2)
    };
    assert_eq!(ids(rig, all).await, [b]);
}

pub(crate) async fn a_filter_that_matches_little_still_reaches_the_end(rig: &mut Rig) {
    let oldest = rig.put(job().tenant("rare")).await;
    for _ in 0..5 {
        rig.store.enqueue((0..900).map(|_| rig.new_job(job())).collect()).await.expect("enqueue");
    }
    let newest = rig.put(job().tenant("rare")).await;
    let rare = ListQuery { tenant: Some("rare".into()), ..first(10) };
    assert_eq!(ids(rig, rare.clone()).await, [newest, oldest]);
    let ready = ListQuery { state: Some(JobState::Ready), ..rare };
    assert_eq!(ids(rig, ready).await, [oldest, newest]);
}

pub(crate) async fn a_list_of_an_unknown_queue_says_so(rig: &mut Rig) {
    for state in [None, Some(JobState::Dead)] {
        let page = rig.store.list(ListQuery { queue: Some(named("nowhere")), state, ..first(2) }).await;
        assert!(matches!(&page, Err(StoreError::NoSuchQueue(q)) if *q == named("nowhere")), "{page:?}");
    }
}

pub(crate) async fn each_state_is_listed_in_the_order_that_suits_it(rig: &mut Rig) {
    let of = |state| ListQuery { state: Some(state), ..first(2) };
    let (late, soon) = (rig.put(job().after(MS * 20)).await, rig.put(job().after(MS * 10)).await);
    assert_eq!(ids(rig, of(JobState::Scheduled)).await, [soon, late], "as they fall due");
    let normal = rig.put(job()).await;
    let (urgent, normal2) = (rig.put(job().priority(Priority::FIRST)).await, rig.put(job()).await);
    let last = rig.put(job().priority(Priority::LAST)).await;
    assert_eq!(ids(rig, of(JobState::Ready)).await, [urgent, normal, normal2, last], "as they will run");
    let worker = rig.worker().await;
    let claimed = rig.claim(worker, 3).await;
    assert_eq!(ids(rig, of(JobState::Running)).await, [normal2, urgent, normal], "newest first");
    for claimed in claimed.into_iter().rev() {
        rig.clock.advance(MS);
        rig.settle(claimed, complete()).await;
    }
    assert_eq!(ids(rig, of(JobState::Completed)).await, [urgent, normal, normal2], "the last one finished first");
}

pub(crate) async fn readers_that_go_away_take_no_place_with_them(rig: &mut Rig) {
    // Enough that a read is still under way when the next begins.
    rig.store.enqueue((0..500).map(|_| rig.new_job(job())).collect()).await.expect("enqueue");
    for _ in 0..10 {
        let mut reads: Vec<_> = (0..8).map(|_| rig.store.list(first(200))).collect();
        for read in &mut reads {
            poll_fn(|cx| Poll::Ready(read.as_mut().poll(cx).is_ready())).await;
        }
        drop(reads);
        rig.store.list(first(0)).await.expect("the next one reads");
    }
}

pub(crate) async fn a_page_holds_no_more_than_its_limit_and_the_last_says_so(rig: &mut Rig) {
    for _ in 0..2 {
        let jobs = (0..125).map(|_| rig.new_job(job())).collect();
        rig.store.enqueue(jobs).await.expect("enqueue");
    }
    assert_eq!(rig.store.list(first(0)).await.expect("list").jobs.len(), 50, "the default");
    let most = rig.store.list(first(10_000)).await;
    assert!(most.is_err() || most.is_ok_and(|page| page.jobs.len() <= 200));
    let mut seen = BTreeSet::new();
    let mut query = first(100);
    loop {
        let page = rig.store.list(query.clone()).await.expect("list");
        assert!(page.jobs.len() <= 100);
        seen.extend(page.jobs.iter().map(|j| j.id));
        let Some(next) = page.next else { break };
        query.cursor = Some(next);
    }
    assert_eq!(seen.len(), 250);
}

pub(crate) async fn pages_stay_true_while_jobs_come_and_go(rig: &mut Rig) {
    let mut there = Vec::new();
    for _ in 0..30 {
        there.push(rig.put(job()).await);
    }
    let (mut seen, mut query) = (Vec::new(), first(7));
    for round in 0.. {
        let page = rig.store.list(query.clone()).await.expect("list");
        seen.extend(page.jobs.iter().map(|j| j.id));
        let Some(next) = page.next else { break };
        // As text, the way it comes back from a browser.
        query.cursor = Some(next.to_string().parse::<Cursor>().expect("its own cursor"));
        rig.put(job()).await;
        rig.store.cancel(there[29 - round], "seen already").await.expect("cancel");
        rig.store.delete(there[29 - round]).await.expect("delete");
    }
    there.reverse();
    assert_eq!(seen, there, "each once, none left out");
}

pub(crate) async fn a_cursor_that_is_none_is_refused(_: &mut Rig) {
    for text in ["", "x", "0", "Yzk5OTk", "////", "Y3h4AAAAAAAAAAA=", "'; drop table jobs"] {
        let refused = text.parse::<Cursor>().expect_err("no cursor");
        assert!(refused.to_string().contains("is not a cursor"), "{refused}");
    }
}

pub(crate) async fn counters_equal_a_full_list_at_every_step(rig: &mut Rig) {
    let worker = rig.worker().await;
    rig.audit().await;
    for n in 0..6 {
        rig.put(if n < 4 { job() } else { job().after(MS) }).await;
        rig.audit().await;
    }
    rig.clock.advance(MS);
    rig.promote().await;
    rig.audit().await;
    let verdicts = [
        complete(),
        fail_for(MS),
        Verdict::Snooze { reason: "x".into(), delay: MS },
        Verdict::Dead { reason: DeadReason::Permanent, error: "x".into() },
        Verdict::Cancel { reason: "x".into() },
        Verdict::Complete { result: None, children: vec![rig.new_job(job()), rig.new_job(job().after(MS))] },
    ];
    for verdict in verdicts {
        let claimed = rig.claim_one(worker).await;
        rig.audit().await;
        rig.settle(claimed, verdict).await;
        rig.audit().await;
    }
    rig.claim_one(worker).await;
    rig.clock.advance(LEASE * 2);
    rig.rescue().await;
    rig.audit().await;
    let counts = rig.counts(&work()).await;
    let six = JobState::ALL.map(|state| counts.of(state));
    assert_eq!(six, [3, 1, 0, 2, 1, 1], "scheduled, ready, running, completed, dead, cancelled");
    rig.store.purge(&work(), 100).await.expect("purge");
    rig.audit().await;
    rig.reopen().await;
    rig.audit().await;
}

pub(crate) async fn completed_total_never_falls(rig: &mut Rig) {
    for n in 1..=3 {
        let id = rig.finished(job(), complete()).await;
        rig.store.delete(id).await.expect("delete");
        assert_eq!((rig.counts(&work()).await.completed, rig.counts(&work()).await.completed_total), (0, n));
    }
    rig.finished(job(), complete()).await;
    rig.clock.advance(Duration::from_secs(30 * 24 * 3600));
    while rig.store.prune(1_000).await.expect("prune").more {}
    let counts = rig.counts(&work()).await;
    assert_eq!((counts.completed, counts.completed_total), (0, 4));
}

pub(crate) async fn the_oldest_ready_job_is_measured_from_its_due_time(rig: &mut Rig) {
    assert_eq!(rig.counts(&work()).await.oldest_ready_ms, None);
    rig.put(job().after(MS * 40)).await;
    rig.clock.advance(MS * 100);
    assert_eq!(rig.counts(&work()).await.oldest_ready_ms, None, "not ready before it is promoted");
    rig.promote().await;
    rig.put(job().priority(Priority::LAST)).await;
    rig.clock.advance(MS * 7);
    assert_eq!(rig.counts(&work()).await.oldest_ready_ms, Some(67));
    let worker = rig.worker().await;
    rig.claim_one(worker).await;
    assert_eq!(rig.counts(&work()).await.oldest_ready_ms, Some(7), "whatever its priority");
    rig.claim_one(worker).await;
    assert_eq!(rig.counts(&work()).await.oldest_ready_ms, None);
}

pub(crate) async fn queues_are_counted_in_the_order_of_their_names(rig: &mut Rig) {
    rig.store.declare_queues(vec![settings("zeta"), settings("alpha")]).await.expect("declare");
    let names: Vec<_> = rig.store.counts().await.expect("counts").queues.into_iter().map(|q| q.queue).collect();
    assert_eq!(names, [named("alpha"), work(), named("zeta")]);
}

pub(crate) async fn the_store_tells_its_name_its_promise_and_its_clock(rig: &mut Rig) {
    let health = rig.store.health().await.expect("health");
    assert!(!health.store.is_empty() && !health.promise.is_empty() && health.schema >= 1, "{health:?}");
    rig.clock.advance(MS * 123);
    assert_eq!(rig.store.now().await.expect("now"), rig.clock.now());
}
