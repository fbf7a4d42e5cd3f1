//! The attempt log: a line before each POST, its outcome after it, `interrupted` when nobody could write one; and no
//! delivery without an outcome when its job is gone.

use std::time::Duration;

use futures_util::future::join_all;
use tidemill::config::fanout::FanoutConfig;
use tidemill::fanout::history::DeliveryState;
use tidemill::fanout::{Deliver, Mended, deliver, mend};
use tidemill::job::{Incarnation, JobError, JobState};
use tidemill::store::Beat;
use tokio_util::sync::CancellationToken;

use super::receiver::{Receiver, Reply, status};
use super::stage::{START, Stage, config, node, turn};

/// Drops the attempt while its POST is under way, as a kill does.
async fn cut_off(stage: &Stage, receiver: &Receiver, job: &Deliver, number: u32) {
    let before = receiver.seen().len();
    let heard = async {
        while receiver.seen().len() == before {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        outcome = stage.deliver(job, turn(number)) => panic!("it came to an end: {outcome:?}"),
        () = heard => {}
    }
}

#[tokio::test]
async fn a_line_is_there_before_the_post_and_says_interrupted_when_nobody_could_close_it() {
    let (stage, receiver) = (Stage::new().await, Receiver::start(vec![Reply::Silence, status(200)]).await);
    let (_, job) = stage.one_delivery(&receiver.url()).await;
    cut_off(&stage, &receiver, &job, 1).await;
    let open = stage.attempts(&job).await.remove(0);
    assert_eq!((open.at, open.ended_at, open.status, open.error_class), (START, None, None, None));
    assert_eq!((open.node, open.host.as_str()), (node().to_string(), "127.0.0.1"));

    stage.clock.advance(Duration::from_secs(3));
    stage.deliver(&job, turn(2)).await.unwrap();
    let log = stage.attempts(&job).await;
    assert_eq!(log.len(), 2);
    assert_eq!((log[0].error_class.as_deref(), log[0].duration_ms), (Some("interrupted"), Some(3_000)));
    assert_eq!((log[1].status, log[1].ended_at.is_some()), (Some(200), true));
    assert_eq!((stage.delivery(&job).await.attempts, receiver.seen().len()), (2, 2));
}

#[tokio::test]
async fn a_line_that_no_later_attempt_closes_is_closed_by_mending() {
    let (stage, receiver) = (Stage::new().await, Receiver::start(vec![Reply::Silence]).await);
    let (_, job) = stage.one_delivery(&receiver.url()).await;
    cut_off(&stage, &receiver, &job, 1).await;
    // The deadline of 10 s and the margin of 30 s are not over: it might still be under way elsewhere.
    stage.clock.advance(Duration::from_secs(40));
    assert_eq!(mend(&stage.state, &stage.queue).await.unwrap().interrupted, 0);
    stage.clock.advance(Duration::from_secs(1));
    assert_eq!(mend(&stage.state, &stage.queue).await.unwrap().interrupted, 1);
    assert_eq!(stage.attempts(&job).await[0].error_class.as_deref(), Some("interrupted"));
}

#[tokio::test]
async fn a_line_tells_the_phases_the_address_and_when_it_is_tried_again() {
    let (stage, receiver) = (Stage::new().await, Receiver::start(vec![status(500), status(200)]).await);
    let (_, job) = stage.one_delivery(&receiver.url()).await;
    stage.deliver(&job, turn(1)).await.unwrap_err();
    stage.deliver(&job, turn(2)).await.unwrap();
    let log = stage.attempts(&job).await;
    let fresh = &log[0];
    assert_eq!(fresh.reused, Some(false));
    assert!(fresh.dns_ms.is_some() && fresh.connect_ms.is_some() && fresh.tls_ms.is_none(), "{fresh:?}");
    assert!(fresh.first_byte_ms <= fresh.duration_ms, "{fresh:?}");
    assert_eq!(fresh.next_at, Some(START.after(Duration::from_secs(1))));
    let again = &log[1];
    assert_eq!((again.reused, again.dns_ms, again.connect_ms, again.next_at), (Some(true), None, None, None));
    assert_eq!(again.address, fresh.address, "the connection was used again");
    assert_eq!(again.address.as_deref(), Some(receiver.address().to_string().as_str()));
}

/// Claims the delivery's job and dies, as often as it takes.
async fn crash_until_dead(stage: &Stage) {
    let store = stage.queue.store();
    for n in 0..10 {
        let holder: Incarnation = format!("0190c2a4-0000-7000-8000-00000000010{n}").parse().unwrap();
        let beat = Beat {
            incarnation: holder,
            label: "doomed".into(),
            queues: vec!["notifications".parse().unwrap()],
            running: 0,
            lease: Duration::from_secs(1),
            worker_now: stage.clock.now(),
        };
        store.heartbeat(beat).await.unwrap();
        let claimed = store.claim(&"notifications".parse().unwrap(), holder, 1, Duration::ZERO).await.unwrap();
        if claimed.is_empty() {
            break;
        }
        stage.clock.advance(Duration::from_secs(10));
        store.rescue(100).await.unwrap();
    }
    assert_eq!(stage.jobs().await[0].state, JobState::Dead);
}

#[tokio::test]
async fn a_delivery_whose_job_has_crashed_for_good_gets_an_outcome() {
    for attempts in [0, 1] {
        let (stage, receiver) = (Stage::new().await, Receiver::start(vec![status(500)]).await);
        let (_, job) = stage.one_delivery(&receiver.url()).await;
        if attempts == 1 {
            stage.deliver(&job, turn(1)).await.unwrap_err();
        }
        crash_until_dead(&stage).await;
        stage.clock.advance(Duration::from_secs(60));
        assert_eq!(mend(&stage.state, &stage.queue).await.unwrap(), Mended::default(), "touched a moment ago");
        stage.clock.advance(Duration::from_secs(120));
        mend(&stage.state, &stage.queue).await.unwrap();
        let delivery = stage.delivery(&job).await;
        let expected = if attempts == 0 { DeliveryState::Cancelled } else { DeliveryState::Exhausted };
        assert_eq!((delivery.state, delivery.next_at), (expected, None));
        assert!(delivery.last_error.unwrap().contains("crashed"));
        assert_eq!(mend(&stage.state, &stage.queue).await.unwrap(), Mended::default());
    }
}

#[tokio::test]
async fn a_delivery_whose_job_was_cancelled_or_lost_is_ended_or_brought_again() {
    let (stage, receiver) = (Stage::new().await, Receiver::start(vec![status(500), status(200)]).await);
    let (created, cancelled) = stage.one_delivery(&receiver.url()).await;
    let lost = stage.another(&created.endpoint.id).await;
    let alive = stage.another(&created.endpoint.id).await;
    let store = stage.queue.store();
    for job in stage.jobs().await {
        let about = |d: &Deliver| job.payload.get().contains(&d.message);
        if about(&cancelled) {
            store.cancel(job.id, "by hand").await.unwrap();
        } else if about(&lost) {
            store.cancel(job.id, "to lose it").await.unwrap();
            store.delete(job.id).await.unwrap();
        }
    }
    stage.clock.advance(Duration::from_secs(121));
    let expected = Mended { cancelled: 1, enqueued: 1, ..Mended::default() };
    assert_eq!(mend(&stage.state, &stage.queue).await.unwrap(), expected);
    assert_eq!(stage.delivery(&cancelled).await.state, DeliveryState::Cancelled);
    assert_eq!(stage.delivery(&lost).await.state, DeliveryState::Pending);
    assert_eq!(stage.delivery(&alive).await.state, DeliveryState::Pending);
    let ready = stage.jobs().await.into_iter().filter(|job| job.state == JobState::Ready).count();
    assert_eq!(ready, 2);
    // Its new job's word counts, failure or not.
    stage.deliver(&lost, turn(1)).await.unwrap_err();
    assert_eq!(stage.delivery(&lost).await.state, DeliveryState::Failed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_that_are_written_together_say_what_lines_written_alone_say() {
    const MANY: usize = 24;
    let stage = Stage::with(FanoutConfig { max_concurrency: 1_000, ..config() }).await;
    let receiver = Receiver::start(vec![status(200)]).await;
    let (created, first) = stage.one_delivery(&receiver.url()).await;
    let mut jobs = vec![first];
    for _ in 1..MANY {
        jobs.push(stage.another(&created.endpoint.id).await);
    }
    // Nobody writes before all have come to their line.
    let busy = stage.state.db().begin().await.unwrap();
    let begun = async {
        let delivered = join_all(jobs.iter().map(|job| stage.deliver(job, turn(1)))).await;
        assert!(delivered.iter().all(Result::is_ok), "{delivered:?}");
    };
    tokio::join!(begun, async {
        for _ in 0..1_000 {
            tokio::task::yield_now().await;
        }
        drop(busy);
    });
    assert_eq!(receiver.seen().len(), MANY);
    for job in &jobs {
        let (delivery, log) = (stage.delivery(job).await, stage.attempts(job).await);
        let settled = (delivery.state, delivery.attempts, delivery.last_status, delivery.next_at);
        assert_eq!(settled, (DeliveryState::Succeeded, 1, Some(200), None));
        let [line] = log.as_slice() else { panic!("{log:?}") };
        assert_eq!((line.attempt, line.status, line.error_class.as_deref(), line.next_at), (1, Some(200), None, None));
        assert_eq!((line.at, line.ended_at), (START, Some(START)));
        assert_eq!(line.address.as_deref(), Some(receiver.address().to_string().as_str()));
        assert!(line.reused.is_some() && line.duration_ms.is_some() && line.first_byte_ms.is_some(), "{line:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_lines_that_are_opened_together_no_more_stand_open_than_the_endpoint_allows() {
    let stage = Stage::with(FanoutConfig { max_concurrency: 3, ..config() }).await;
    let receiver = Receiver::start(vec![Reply::Silence]).await;
    let (created, first) = stage.one_delivery(&receiver.url()).await;
    let mut jobs = vec![first];
    for _ in 1..12 {
        jobs.push(stage.another(&created.endpoint.id).await);
    }
    // As on other nodes: each has a gate of its own, and only the log is common.
    let nodes: Vec<_> = jobs.iter().map(|_| stage.again(FanoutConfig { max_concurrency: 3, ..config() })).collect();
    let stop = CancellationToken::new();
    let posts = jobs.iter().zip(&nodes).map(|(job, node)| deliver(node, &stage.queue, job, turn(1), None, &stop));
    let heard = async {
        while receiver.seen().len() < 3 {
            tokio::task::yield_now().await;
        }
        stop.cancel();
    };
    let (ended, ()) = tokio::join!(join_all(posts), heard);
    assert_eq!(ended.iter().filter(|end| matches!(end, Err(JobError::Snooze { .. }))).count(), 9, "{ended:?}");
    assert_eq!(receiver.seen().len(), 3);
}

#[tokio::test]
async fn a_post_whose_line_is_gone_settles_nothing() {
    for answer in [200, 500] {
        let (stage, receiver) = (Stage::new().await, Receiver::start(vec![status(answer)]).await);
        let (_, job) = stage.one_delivery(&receiver.url()).await;
        let lose = "create trigger lose after insert on delivery_posts
                    begin delete from delivery_posts where id = new.id; end";
        tidemill::on_pool!(stage.state.db().write(), pool => sqlx::query(lose).execute(pool).await.unwrap());
        let error = stage.deliver(&job, turn(1)).await.unwrap_err();
        assert!(matches!(error, JobError::Retry { .. }), "{answer}: {error:?}");
        let state = stage.delivery(&job).await.state;
        assert_eq!((receiver.seen().len(), state), (1, DeliveryState::Pending), "{answer}");
    }
}
