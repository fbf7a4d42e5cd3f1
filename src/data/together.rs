//! One commit for many: writers that come while another commits share the next transaction, and with it the wait for the disk.
//!
//! Guarantees: a write is answered after the commit that holds it, or with its own error; one that fails takes nobody else's
//! with it, for then each is run again alone; a caller that goes away stops nothing that has begun. Nothing runs while nobody
//! writes.
//!
//! The line has a thread of its own. Each statement of a group waits for the one before it; between the callers' tasks it would
//! also wait for all that are ready to run, and everybody's commit with it.

use std::any::{Any, TypeId};
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sqlx::SqlitePool;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, oneshot};
use tokio_util::task::TaskTracker;

use super::Tx;

/// Writes in one transaction at most: readers and other writers wait for it.
const GROUP_MAX: usize = 256;
/// Writes that wait at most; further callers wait to wait.
const WAITING_MAX: usize = 4_096;

/// Something that is written to the database, in a transaction that others may share.
///
/// It may be run more than once; what a run has written that was not committed is gone when the next begins.
pub trait Write: Send + Sync + Sized + 'static {
    /// What the caller gets.
    type Output: Send + 'static;
    /// What it may fail with.
    type Error: From<sqlx::Error> + Send + 'static;

    /// Of those that share a transaction, it goes before the others: it frees what they ask for.
    const GOES_FIRST: bool = false;

    /// Writes it. An error undoes what it wrote.
    fn write(&self, tx: &mut Tx) -> impl Future<Output = Result<Self::Output, Self::Error>> + Send;

    /// Writes several in fewer statements, where there is a way; what came out stands in their order. An error undoes them
    /// all, and each is written by itself then.
    fn write_all(works: &[&Self], tx: &mut Tx) -> impl Future<Output = Result<Vec<Self::Output>, Self::Error>> + Send {
        async move {
            let mut written = Vec::with_capacity(works.len());
            for work in works {
                written.push(work.write(tx).await?);
            }
            Ok(written)
        }
    }
}

/// Those that go first have `false`, which sorts first.
type Kind = (bool, TypeId);
type Run<'a> = Pin<Box<dyn Future<Output = bool> + Send + 'a>>;

/// A write in line, whatever it is.
trait Member: Send {
    /// False: its caller has gone away before it began.
    fn is_wanted(&self) -> bool;

    /// Tells which can be run with it, and what goes before what.
    fn kind(&self) -> Kind;

    fn as_any(&mut self) -> &mut (dyn Any + Send);

    /// Runs it with others of its kind and keeps what came out. False: one failed, and nothing of them may be committed.
    fn run<'a>(&'a mut self, others: &'a mut [Box<dyn Member>], tx: &'a mut Tx) -> Run<'a>;

    /// Runs it by itself and keeps what came out.
    fn run_alone<'a>(&'a mut self, tx: &'a mut Tx) -> Run<'a>;

    /// Tells the caller how it ended: as it was run, unless the transaction failed.
    fn answer(self: Box<Self>, transaction: Result<(), sqlx::Error>);
}

struct InLine<W: Write> {
    work: W,
    outcome: Option<Result<W::Output, W::Error>>,
    reply: oneshot::Sender<Result<W::Output, W::Error>>,
}

impl<W: Write> Member for InLine<W> {
    fn is_wanted(&self) -> bool {
        !self.reply.is_closed()
    }

    fn kind(&self) -> Kind {
        (!W::GOES_FIRST, TypeId::of::<W>())
    }

    fn as_any(&mut self) -> &mut (dyn Any + Send) {
        self
    }

    fn run<'a>(&'a mut self, others: &'a mut [Box<dyn Member>], tx: &'a mut Tx) -> Run<'a> {
        Box::pin(async move {
            let others = others.iter_mut().filter_map(|other| other.as_any().downcast_mut::<Self>());
            let mut all: Vec<&mut Self> = std::iter::once(self).chain(others).collect();
            let works: Vec<&W> = all.iter().map(|one| &one.work).collect();
            match W::write_all(&works, tx).await {
                Ok(written) if written.len() == all.len() => {
                    for (one, written) in all.iter_mut().zip(written) {
                        one.outcome = Some(Ok(written));
                    }
                    true
                }
                _ => false,
            }
        })
    }

    fn run_alone<'a>(&'a mut self, tx: &'a mut Tx) -> Run<'a> {
        Box::pin(async move {
            let outcome = self.work.write(tx).await;
            let good = outcome.is_ok();
            self.outcome = Some(outcome);
            good
        })
    }

    fn answer(self: Box<Self>, transaction: Result<(), sqlx::Error>) {
        let answer = match (transaction, self.outcome) {
            (Ok(()), Some(outcome)) => outcome,
            (Ok(()), None) => Err(sqlx::Error::WorkerCrashed.into()),
            (Err(error), _) => Err(error.into()),
        };
        // A caller that has gone away misses nothing: what was written stays.
        let _ = self.reply.send(answer);
    }
}

/// The writes that wait for the next transaction.
pub(super) struct Line {
    state: Mutex<State>,
    room: Semaphore,
    tasks: TaskTracker,
    thread: Handle,
    /// The thread ends with it.
    _stop: oneshot::Sender<()>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Box<dyn Member>>,
    /// A task serves the line.
    served: bool,
    /// Transactions so far.
    groups: u64,
}

impl std::fmt::Debug for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Line").field("waiting", &self.lock().waiting.len()).finish_non_exhaustive()
    }
}

impl Line {
    /// An empty one.
    ///
    /// # Errors
    /// When there is no thread for it.
    pub(super) fn new() -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let (thread, (stop, stopped)) = (runtime.handle().clone(), oneshot::channel::<()>());
        std::thread::Builder::new().name("tidemill-data".into()).spawn(move || {
            // Nothing is ever sent: it resolves when the line is gone.
            let _ = runtime.block_on(stopped);
        })?;
        let (state, room, tasks) = (Mutex::default(), Semaphore::new(WAITING_MAX), TaskTracker::new());
        Ok(Self { state, room, tasks, thread, _stop: stop })
    }

    /// Puts a write in line and waits for its commit.
    pub(super) async fn write<W: Write>(self: &Arc<Self>, pool: &SqlitePool, work: W) -> Result<W::Output, W::Error> {
        let Ok(_room) = self.room.acquire().await else { return Err(sqlx::Error::PoolClosed.into()) };
        let (reply, answer) = oneshot::channel();
        let begins = {
            let mut state = self.lock();
            state.waiting.push_back(Box::new(InLine { work, outcome: None, reply }));
            !std::mem::replace(&mut state.served, true)
        };
        if begins {
            let (line, pool) = (Arc::clone(self), pool.clone());
            self.tasks.spawn_on(async move { line.serve(&pool).await }, &self.thread);
        }
        // Without an answer the task has died.
        answer.await.unwrap_or_else(|_| Err(sqlx::Error::WorkerCrashed.into()))
    }

    /// Waits for what is in line.
    pub(super) async fn end(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    async fn serve(&self, pool: &SqlitePool) {
        let mut turn = Turn { line: self, over: false };
        while let Some(first) = turn.next() {
            // What one of them has spoilt, each does again for itself.
            let mut spoilt = share(pool, first, &mut turn).await.into_iter();
            while let Some(member) = spoilt.next() {
                if let Err(why) = alone(pool, member).await {
                    refuse(spoilt.by_ref(), &why);
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change is one push, one drain or one assignment: a panic elsewhere can't leave it half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whoever serves the line. When it dies the next writer finds the line unserved.
struct Turn<'a> {
    line: &'a Line,
    over: bool,
}

impl Turn<'_> {
    /// The next group; `None` when the line is empty, and unserved from then on.
    fn next(&mut self) -> Option<Vec<Box<dyn Member>>> {
        let mut state = self.line.lock();
        state.waiting.retain(|member| member.is_wanted());
        if state.waiting.is_empty() {
            state.served = false;
            self.over = true;
            return None;
        }
        state.groups += 1;
        let n = state.waiting.len().min(GROUP_MAX);
        Some(state.waiting.drain(..n).collect())
    }

    /// Those that have come since, as long as there is room for them in the same transaction.
    fn fill_up(&mut self, group: &mut Vec<Box<dyn Member>>) {
        let mut state = self.line.lock();
        let n = state.waiting.len().min(GROUP_MAX.saturating_sub(group.len()));
        group.extend(state.waiting.drain(..n).filter(|member| member.is_wanted()));
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if !self.over {
            let mut state = self.line.lock();
            state.served = false;
            // Their callers are told by the closed channel.
            state.waiting.clear();
        }
    }
}

async fn begin(pool: &SqlitePool) -> Result<Tx, sqlx::Error> {
    Ok(Tx::Sqlite(pool.begin_with("begin immediate").await?))
}

/// All in one transaction; those that are to be run alone come back.
async fn share(pool: &SqlitePool, mut group: Vec<Box<dyn Member>>, turn: &mut Turn<'_>) -> Vec<Box<dyn Member>> {
    let mut tx = match begin(pool).await {
        Ok(tx) => tx,
        Err(error) => {
            refuse(group, &error);
            return Vec::new();
        }
    };
    turn.fill_up(&mut group);
    group.sort_by_key(|member| member.kind());
    let mut rest = group.as_mut_slice();
    while let Some(kind) = rest.first().map(|first| first.kind()) {
        let n = rest.iter().take_while(|member| member.kind() == kind).count();
        let (same, others) = rest.split_at_mut(n);
        rest = others;
        let Some((first, same)) = same.split_first_mut() else { break };
        if !first.run(same, &mut tx).await {
            return group;
        }
    }
    if tx.commit().await.is_err() {
        return group;
    }
    for member in group {
        member.answer(Ok(()));
    }
    Vec::new()
}

/// Told once for all: a database that lets nobody begin would let each of them wait for it again, one after the other.
fn refuse(members: impl IntoIterator<Item = Box<dyn Member>>, why: &sqlx::Error) {
    for member in members {
        member.answer(Err(sqlx::Error::Protocol(format!("the transaction could not begin: {why}"))));
    }
}

/// Runs one by itself. An error: there was no transaction for it, and it has been told so.
async fn alone(pool: &SqlitePool, mut member: Box<dyn Member>) -> Result<(), sqlx::Error> {
    let mut tx = match begin(pool).await {
        Ok(tx) => tx,
        Err(error) => {
            refuse([member], &error);
            return Err(error);
        }
    };
    let ended = if member.run_alone(&mut tx).await { tx.commit().await } else { Ok(()) };
    member.answer(ended);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::future::join_all;

    use super::super::Database;
    use super::*;
    use crate::on_tx;

    /// Writes its number; the number 13 is refused by the table.
    struct Number(i64);

    impl Write for Number {
        type Output = i64;
        type Error = sqlx::Error;

        async fn write(&self, tx: &mut Tx) -> Result<i64, sqlx::Error> {
            on_tx!(tx, conn => {
                sqlx::query("insert into numbers (n) values ($1)").bind(self.0).execute(conn).await?;
            });
            Ok(self.0)
        }
    }

    async fn numbers(folder: &tempfile::TempDir) -> Database {
        let db = Database::open(&folder.path().join("data.db")).await.expect("open");
        crate::on_pool!(db.write(), pool => {
            sqlx::query("create table numbers (n integer primary key check (n <> 13)) strict").execute(pool).await
        })
        .expect("create");
        db
    }

    async fn kept(db: &Database) -> Vec<i64> {
        crate::on_pool!(db.read(), pool => sqlx::query_scalar("select n from numbers order by n").fetch_all(pool).await)
            .expect("read")
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn writes_that_come_together_are_committed_together() {
        let folder = tempfile::tempdir().expect("a folder");
        let db = numbers(&folder).await;
        let busy = db.begin().await.expect("hold the connection");
        let db_2 = db.clone();
        let writing =
            TaskTracker::new().spawn(async move { join_all((20..120).map(|n| db_2.together(Number(n)))).await });
        while db.line.room.available_permits() > WAITING_MAX - 100 {
            tokio::task::yield_now().await;
        }
        drop(busy);
        let answers: Vec<i64> = writing.await.expect("join").into_iter().map(|n| n.expect("written")).collect();
        assert_eq!(answers, (20..120).collect::<Vec<_>>());
        assert_eq!(kept(&db).await, answers);
        assert!(db.line.lock().groups <= 2, "{} transactions for 100 writes", db.line.lock().groups);
    }

    /// Counts what is there before it, whoever came first.
    struct Early;

    impl Write for Early {
        type Output = i64;
        type Error = sqlx::Error;

        const GOES_FIRST: bool = true;

        async fn write(&self, tx: &mut Tx) -> Result<i64, sqlx::Error> {
            on_tx!(tx, conn => sqlx::query_scalar("select count(*) from numbers").fetch_one(conn).await)
        }
    }

    #[tokio::test]
    async fn what_goes_first_is_written_before_what_shares_its_transaction() {
        let folder = tempfile::tempdir().expect("a folder");
        let db = numbers(&folder).await;
        let busy = db.begin().await.expect("hold the connection");
        let (number, early) = (db.together(Number(1)), db.together(Early));
        let free = async { drop(busy) };
        let (number, early, ()) = tokio::join!(biased; number, early, free);
        assert_eq!((number.expect("written"), early.expect("read")), (1, 0));
        assert_eq!(db.together(Early).await.expect("read"), 1);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_write_that_fails_takes_nobody_elses_with_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let db = numbers(&folder).await;
        let answers = join_all((0..30).map(|n| db.together(Number(n)))).await;
        for (n, answer) in (0..30).zip(answers) {
            assert_eq!(answer.ok(), (n != 13).then_some(n));
        }
        assert_eq!(kept(&db).await, (0..30).filter(|n| *n != 13).collect::<Vec<_>>());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_database_that_somebody_holds_is_waited_for_once_and_not_by_each() {
        let folder = tempfile::tempdir().expect("a folder");
        let db = numbers(&folder).await;
        // Another process, as far as SQLite can tell.
        let other = Database::open(&folder.path().join("data.db")).await.expect("open");
        let _held = other.begin().await.expect("hold the file");
        let begun = std::time::Instant::now();
        let answers = join_all((0..20).map(|n| db.together(Number(n)))).await;
        assert!(answers.iter().all(Result::is_err), "{answers:?}");
        assert!(begun.elapsed() < Duration::from_secs(30), "the file was waited for {:?}", begun.elapsed());
    }

    #[tokio::test]
    async fn a_caller_that_goes_away_leaves_the_line_to_the_others() {
        let folder = tempfile::tempdir().expect("a folder");
        let db = numbers(&folder).await;
        let busy = db.begin().await.expect("hold the connection");
        {
            let mut gone = std::pin::pin!(db.together(Number(1)));
            assert!(futures_util::poll!(&mut gone).is_pending());
        }
        let next = db.together(Number(2));
        drop(busy);
        assert_eq!(next.await.expect("written"), 2);
        assert!(kept(&db).await.contains(&2));
    }
}
