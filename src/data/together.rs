//! One commit for many: writers that come while another commits share the next transaction, and with it the wait for the disk.
//!
//! Guarantees: a write is answered after the commit that holds it, or with its own error; one that fails takes nobody else's
//! with it, for then each is run again alone; a caller that goes away stops nothing that has begun. Nothing runs while nobody
//! writes.
//!
//! The line has a thread of its own. Each statement of a group waits for the one before it; between the callers' tasks it would
//! also wait for all that are ready to run, and everybody's commit with it.

mod group;
mod member;

use std::collections::VecDeque;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sqlx::SqlitePool;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, oneshot};
use tokio_util::task::TaskTracker;

use self::group::{Hold, alone, directly, refuse, share};
use self::member::{InLine, Member};
use super::Tx;
use super::direct::{Direct, DirectError, Own};

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

    /// It can be written by [`Write::write_directly`].
    fn is_direct(&self) -> bool {
        false
    }

    /// Writes several over the line's own connection; what came out stands in their order, `None` for one of which nothing was
    /// written. Such a one, and all of them after an error, are written the other way.
    ///
    /// # Errors
    /// When they are to be undone.
    fn write_directly(works: &[&Self], on: &Direct<'_>) -> Result<Vec<Option<Self::Output>>, DirectError> {
        let _ = on;
        Ok(works.iter().map(|_| None).collect())
    }

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

/// The writes that wait for the next transaction.
pub(super) struct Line {
    state: Mutex<State>,
    room: Semaphore,
    tasks: TaskTracker,
    thread: Handle,
    own: Own,
    /// Goes up with everyone who may be about to wait for the pool's writing connection.
    others: AtomicU64,
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
    /// When there is no thread for it, or the file can't be opened.
    pub(super) fn new(path: &Path, busy: Duration, checkpoint: u32) -> Result<Self, sqlx::Error> {
        let own = Own::open(path, busy, checkpoint).map_err(|e| sqlx::Error::Configuration(e.into()))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let (thread, (stop, stopped)) = (runtime.handle().clone(), oneshot::channel::<()>());
        std::thread::Builder::new().name("tidemill-data".into()).spawn(move || {
            // Nothing is ever sent: it resolves when the line is gone.
            let _ = runtime.block_on(stopped);
        })?;
        let (state, room, tasks) = (Mutex::default(), Semaphore::new(WAITING_MAX), TaskTracker::new());
        Ok(Self { state, room, tasks, thread, own, others: AtomicU64::new(0), _stop: stop })
    }

    /// Puts a write in line and waits for its commit.
    pub(super) async fn write<W: Write>(self: &Arc<Self>, pool: &SqlitePool, work: W) -> Result<W::Output, W::Error> {
        let Ok(_room) = self.room.acquire().await else { return Err(sqlx::Error::PoolClosed.into()) };
        let (reply, answer) = oneshot::channel();
        let begins = {
            let mut state = self.lock();
            state.waiting.push_back(Box::new(InLine::new(work, reply)));
            !std::mem::replace(&mut state.served, true)
        };
        if begins {
            let (line, pool) = (Arc::clone(self), pool.clone());
            self.tasks.spawn_on(async move { line.serve(&pool).await }, &self.thread);
        }
        // Without an answer the task has died.
        answer.await.unwrap_or_else(|_| Err(sqlx::Error::WorkerCrashed.into()))
    }

    /// Somebody may be about to wait for the pool's writing connection.
    pub(super) fn make_way(&self) {
        self.others.fetch_add(1, Ordering::Relaxed);
    }

    /// Waits for what is in line.
    pub(super) async fn end(&self) {
        self.tasks.close();
        self.tasks.wait().await;
        self.own.close();
    }

    async fn serve(&self, pool: &SqlitePool) {
        let mut turn = Turn { line: self, over: false };
        let mut hold = Hold::default();
        while let Some(group) = turn.next() {
            let rest = directly(pool, group, &mut turn, &mut hold).await;
            if rest.is_empty() {
                continue;
            }
            hold.let_go();
            // What one of them has spoilt, each does again for itself.
            let mut spoilt = share(pool, rest, &mut turn).await.into_iter();
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

    /// Is written over the line's own connection, but for the number 7; the number 13 is refused by the table.
    struct Short(i64);

    impl Write for Short {
        type Output = (i64, &'static str);
        type Error = sqlx::Error;

        fn is_direct(&self) -> bool {
            true
        }

        fn write_directly(works: &[&Self], on: &Direct<'_>) -> Result<Vec<Option<Self::Output>>, DirectError> {
            let mut insert = on.prepare("insert into numbers (n) values (?1)")?;
            let each =
                works.iter().filter(|it| it.0 != 7).map(|it| insert.execute([it.0])).collect::<Result<Vec<_>, _>>();
            each?;
            Ok(works.iter().map(|it| (it.0 != 7).then_some((it.0, "directly"))).collect())
        }

        async fn write(&self, tx: &mut Tx) -> Result<Self::Output, sqlx::Error> {
            Ok((Number(self.0).write(tx).await?, "through the driver"))
        }
    }

    /// Keeps the line's transaction open until it is let go.
    struct Slow(Arc<Semaphore>, Arc<Semaphore>);

    impl Write for Slow {
        type Output = ();
        type Error = sqlx::Error;

        async fn write(&self, _: &mut Tx) -> Result<(), sqlx::Error> {
            self.0.add_permits(1);
            self.1.acquire().await.map(drop).map_err(|_| sqlx::Error::WorkerCrashed)
        }
    }

    /// Writes these as one group: they get in line while another one is being written.
    async fn as_a_group(db: &Database, all: &[i64]) -> Vec<Result<(i64, &'static str), sqlx::Error>> {
        let (begun, go) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let slow = db.together(Slow(Arc::clone(&begun), Arc::clone(&go)));
        let rest = async {
            begun.acquire().await.expect("begun").forget();
            let writing = join_all(all.iter().map(|n| db.together(Short(*n))));
            let free = async {
                while db.line.room.available_permits() > WAITING_MAX - 1 - all.len() {
                    tokio::task::yield_now().await;
                }
                go.add_permits(1);
            };
            tokio::join!(writing, free).0
        };
        let (slow, answers) = tokio::join!(slow, rest);
        slow.expect("written");
        answers
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn many_are_written_over_the_lines_own_connection_and_what_can_not_be_the_other_way() {
        let folder = tempfile::tempdir().expect("a folder");
        let db = numbers(&folder).await;
        let all: Vec<i64> = (1..=12).collect();
        for (n, answer) in all.iter().zip(as_a_group(&db, &all).await) {
            let way = if *n == 7 { "through the driver" } else { "directly" };
            assert_eq!(answer.expect("written"), (*n, way));
        }
        assert_eq!(kept(&db).await, all);
        assert_eq!(db.together(Short(20)).await.expect("written").1, "through the driver", "a few are not worth it");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn one_that_fails_directly_takes_nobody_elses_with_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let db = numbers(&folder).await;
        let all: Vec<i64> = (0..30).collect();
        for (n, answer) in all.iter().zip(as_a_group(&db, &all).await) {
            assert_eq!(answer.ok(), (*n != 13).then_some((*n, "through the driver")), "all were undone");
        }
        assert_eq!(kept(&db).await, (0..30).filter(|n| *n != 13).collect::<Vec<_>>());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn who_begins_a_transaction_comes_in_between_groups_that_never_end() {
        let folder = tempfile::tempdir().expect("a folder");
        let db = numbers(&folder).await;
        let (tasks, over) = (TaskTracker::new(), tokio_util::sync::CancellationToken::new());
        for lane in 1..=32_i64 {
            let (db, over) = (db.clone(), over.clone());
            tasks.spawn(async move {
                for n in (lane * 1_000_000..).take_while(|_| !over.is_cancelled()) {
                    db.together(Short(n)).await.expect("written");
                }
            });
        }
        tasks.close();
        for n in 100..120 {
            let mut tx = db.begin().await.expect("the connection comes free");
            Number(n).write(&mut tx).await.expect("write");
            tx.commit().await.expect("commit");
        }
        over.cancel();
        tasks.wait().await;
        let kept = kept(&db).await;
        assert_eq!(kept.iter().filter(|n| **n < 1_000).count(), 20);
    }
}
