//! The one writer: a thread that gathers what callers want written and commits it together.
//!
//! Owns the writing connection. Operations share one `BEGIN IMMEDIATE` transaction, and one fsync serves them all. When one fails,
//! all are done again, each in a savepoint of its own, so that it takes nothing else along. Nobody is answered before the commit.
//! Claims that find nothing are parked here: an enqueue serves them in its own transaction, so that an idle worker
//! starts a new job without another round trip.

mod group;

use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};

use self::group::{Inbox, Writing};
use super::checkpoint::Checkpoints;
use super::claim::ClaimRequest;
use super::room::Room;
use super::txn::{QueueNames, Rules, Txn};
use crate::clock::{Clock, Timestamp};
use crate::store::{Claimed, StoreError, Verdict};

/// Callers waiting beyond this wait for a place, not in memory.
const PLACES: usize = 4_096;

/// An operation that waits to be written.
trait Operation: Send {
    /// Does it. On an error what it did is taken back. It may be done again, after all that was done before has been taken back.
    fn apply(&mut self, txn: &mut Txn<'_>) -> Result<(), StoreError>;
    /// Answers the caller: the result, or why the commit failed.
    fn answer(self: Box<Self>, committed: Result<(), StoreError>);
}

struct Closure<F, T> {
    work: F,
    result: Option<Result<T, StoreError>>,
    reply: oneshot::Sender<Result<T, StoreError>>,
    /// None for beats, and for what the writer asks of itself.
    _place: Option<OwnedSemaphorePermit>,
}

impl<F, T> Operation for Closure<F, T>
where
    F: FnMut(&mut Txn<'_>) -> Result<T, StoreError> + Send,
    T: Send,
{
    fn apply(&mut self, txn: &mut Txn<'_>) -> Result<(), StoreError> {
        let result = (self.work)(txn);
        let done = result.as_ref().map(drop).map_err(Clone::clone);
        self.result = Some(result);
        done
    }

    fn answer(self: Box<Self>, committed: Result<(), StoreError>) {
        let result = match (committed, self.result) {
            (Err(e), _) => Err(e),
            (Ok(()), Some(result)) => result,
            (Ok(()), None) => {
                Err(StoreError::Unavailable { step: "write", detail: "the operation did not run".into() })
            }
        };
        // A caller that went away has its answer in the store.
        drop(self.reply.send(result));
    }
}

struct Parked {
    request: ClaimRequest,
    until: Instant,
    reply: oneshot::Sender<Result<Vec<Claimed>, StoreError>>,
    _place: OwnedSemaphorePermit,
}

enum Message {
    Operation(Box<dyn Operation>),
    /// Goes before what waits with it.
    First(Box<dyn Operation>),
    /// Frees places of a worker, who will soon ask for as many jobs.
    Settlements(Box<dyn Operation>),
    Claim(Parked),
    Stop,
}

/// The writer's handle: hands operations over and waits for their commit.
#[derive(Debug)]
pub(super) struct Writer {
    sender: Sender<Message>,
    places: Arc<Semaphore>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Writer {
    /// Starts the thread on `conn`, and one on `beside` for the log. `due` rings when something was scheduled.
    pub(super) fn start(
        conn: Connection,
        beside: Connection,
        clock: Clock,
        rules: Rules,
        due: Arc<Notify>,
    ) -> Result<Self, StoreError> {
        let (sender, receiver) = channel();
        let checkpoints = Checkpoints::start(beside)?;
        Checkpoints::watch(&conn);
        let thread = std::thread::Builder::new().name("tidemill-writer".into());
        let loopback = sender.clone();
        let thread = thread
            .spawn(move || {
                let mut writing = Writing {
                    conn: &conn,
                    clock,
                    rules,
                    due,
                    loopback,
                    queues: QueueNames::default(),
                    parked: Vec::new(),
                    healthy_since: Timestamp::from_ms(i64::MIN),
                    failing: false,
                    full: false,
                    room: Room::new(),
                    checkpoints,
                    fatal: None,
                    inbox: Inbox::new(receiver),
                };
                writing.run();
            })
            .map_err(|e| StoreError::Unavailable { step: "start the writer thread", detail: e.to_string() })?;
        Ok(Self { sender, places: Arc::new(Semaphore::new(PLACES)), thread: Mutex::new(Some(thread)) })
    }

    /// Runs `work` in the next transaction and answers after its commit.
    pub(super) async fn write<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        F: FnMut(&mut Txn<'_>) -> Result<T, StoreError> + Send + 'static,
        T: Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let place = self.place().await?;
        let operation = Closure { work, result: None, reply, _place: Some(place) };
        self.send(Message::Operation(Box::new(operation)))?;
        answer.await.map_err(|_| stopped())?
    }

    /// As [`Writer::write`], for ends of attempts: the claim that follows them shares their commit.
    pub(super) async fn write_settlements<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        F: FnMut(&mut Txn<'_>) -> Result<T, StoreError> + Send + 'static,
        T: Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let place = self.place().await?;
        let operation = Closure { work, result: None, reply, _place: Some(place) };
        self.send(Message::Settlements(Box::new(operation)))?;
        answer.await.map_err(|_| stopped())?
    }

    /// As [`Writer::write`], before all that waits with it and without waiting for a place: for beats. A writer that was
    /// held up (a slow disk, a stopped machine) must not judge a worker dead whose beat lies here. One caller a process.
    pub(super) async fn write_first<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        F: FnMut(&mut Txn<'_>) -> Result<T, StoreError> + Send + 'static,
        T: Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let operation = Closure { work, result: None, reply, _place: None };
        self.send(Message::First(Box::new(operation)))?;
        answer.await.map_err(|_| stopped())?
    }

    /// Claims, waiting up to `wait` for something to claim.
    pub(super) async fn claim(&self, request: ClaimRequest, wait: Duration) -> Result<Vec<Claimed>, StoreError> {
        let (reply, answer) = oneshot::channel();
        let place = self.place().await?;
        self.send(Message::Claim(Parked { request, until: Instant::now() + wait, reply, _place: place }))?;
        let mut awaited = Awaited { writer: self, answer };
        (&mut awaited.answer).await.map_err(|_| stopped())?
    }

    async fn place(&self) -> Result<OwnedSemaphorePermit, StoreError> {
        Arc::clone(&self.places).acquire_owned().await.map_err(|_| stopped())
    }

    fn send(&self, message: Message) -> Result<(), StoreError> {
        self.sender.send(message).map_err(|_| stopped())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // What was handed over before this is written first.
        drop(self.sender.send(Message::Stop));
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            drop(thread.join());
        }
    }
}

/// A claim's answer that is on its way. Dropped before it was read, it hands back the jobs that came meanwhile.
struct Awaited<'a> {
    writer: &'a Writer,
    answer: oneshot::Receiver<Result<Vec<Claimed>, StoreError>>,
}

impl Drop for Awaited<'_> {
    fn drop(&mut self) {
        self.answer.close();
        // Without an answer here the writer finds the channel closed and hands the jobs back itself.
        if let Ok(Ok(orphans)) = self.answer.try_recv()
            && !orphans.is_empty()
        {
            drop(self.writer.send(give_back(orphans)));
        }
    }
}

/// Releases jobs that nobody took.
fn give_back(orphans: Vec<Claimed>) -> Message {
    let (reply, _) = oneshot::channel();
    let work = move |txn: &mut Txn<'_>| {
        for orphan in &orphans {
            super::settle::settle_one(txn, orphan.lease.token(), &Verdict::Release)?;
        }
        Ok(())
    };
    Message::Operation(Box::new(Closure { work, result: None, reply, _place: None }))
}

/// While a handle lives only a panic ends the thread: nothing can be written any more, and trying again would never help.
fn stopped() -> StoreError {
    StoreError::Fatal { detail: "the writer thread has ended; its panic stands in the log".into() }
}

#[cfg(test)]
mod tests {
    use super::super::failure::During as _;
    use super::super::{SqliteOptions, open};
    use super::*;

    fn writer() -> (Writer, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let options = SqliteOptions::at(dir.path().join("queue.db"));
        let (conn, beside) = (open::writer(&options).unwrap(), open::checkpointer(&options.path).unwrap());
        let rules = Rules { crash_limit: 3, deadline_grace_ms: 0 };
        (Writer::start(conn, beside, Clock::system(), rules, Arc::default()).unwrap(), dir)
    }

    #[tokio::test]
    async fn a_panic_in_the_writer_is_told_to_all_who_wait_and_is_fatal() {
        let (writer, _dir) = writer();
        let kept = writer.write(|txn| txn.sql("select 1").map(drop)).await;
        assert!(kept.is_ok(), "{kept:?}");
        let bug = writer.write(|_| -> Result<(), StoreError> { panic!("a bug in an operation") });
        let (bug, neighbour) = tokio::join!(bug, writer.write(|_| Ok(())));
        for told in [bug, neighbour, writer.write(|_| Ok(())).await] {
            assert!(matches!(told, Err(StoreError::Fatal { .. })), "{told:?}");
        }
    }

    #[tokio::test]
    async fn one_that_fails_takes_nothing_else_of_its_transaction_along() {
        let (writer, _dir) = writer();
        let (began, begun) = oneshot::channel();
        let mut began = Some(began);
        let (release, held) = channel();
        let slow = writer.write(move |_| {
            began.take().unwrap().send(()).unwrap();
            held.recv().unwrap();
            Ok(())
        });
        let runs = Arc::new(Mutex::new(Vec::new()));
        let gauge = |name: &'static str, good: bool| {
            let runs = Arc::clone(&runs);
            move |txn: &mut Txn<'_>| {
                runs.lock().unwrap().push(name);
                txn.sql("insert into gauges (name, value) values (?1, 1)")?.execute([name]).during("test")?;
                if good { Ok(()) } else { Err(StoreError::NoSuchQueue("nowhere".parse().unwrap())) }
            }
        };
        let others = async {
            begun.await.unwrap();
            let let_go = async { release.send(()).unwrap() };
            let (first, second) = (writer.write(gauge("a", true)), writer.write(gauge("b", false)));
            tokio::join!(biased; first, second, writer.write(gauge("c", true)), let_go)
        };
        let (slow, (a, b, c, ())) = tokio::join!(slow, others);
        slow.and(a).and(c).unwrap();
        assert!(matches!(b, Err(StoreError::NoSuchQueue(_))), "{b:?}");
        assert_eq!(*runs.lock().unwrap(), ["a", "b", "a", "b", "c"], "they share a transaction, which is begun anew");
        let kept = writer
            .write(|txn| {
                let sql = "select name from gauges where name in ('a', 'b', 'c') order by name";
                let mut names = txn.sql(sql)?;
                let names = names.query_map([], |row| row.get::<_, String>(0)).during("test")?;
                names.collect::<Result<Vec<_>, _>>().during("test")
            })
            .await;
        assert_eq!(kept.unwrap(), ["a", "c"]);
    }

    #[tokio::test]
    async fn a_writer_that_was_held_up_hears_the_beats_that_wait_before_it_judges_anybody() {
        let (writer, _dir) = writer();
        let (began, begun) = oneshot::channel();
        let mut began = Some(began);
        let (release, held) = channel();
        let order = Arc::new(Mutex::new(Vec::new()));
        let note = |name: &'static str| {
            let order = Arc::clone(&order);
            move |_: &mut Txn<'_>| {
                order.lock().unwrap().push(name);
                Ok(())
            }
        };
        let slow = writer.write(move |_| {
            began.take().unwrap().send(()).unwrap();
            held.recv().unwrap();
            Ok(())
        });
        let others = async {
            begun.await.unwrap();
            let let_go = async { release.send(()).unwrap() };
            tokio::join!(biased; writer.write(note("rescue")), writer.write_first(note("beat")), let_go)
        };
        let (slow, (rescue, beat, ())) = tokio::join!(slow, others);
        slow.and(rescue).and(beat).unwrap();
        assert_eq!(*order.lock().unwrap(), ["beat", "rescue"]);
    }
}
