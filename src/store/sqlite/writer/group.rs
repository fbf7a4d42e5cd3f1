//! The writing thread's loop: one group of messages, one transaction, then the answers.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tokio::sync::Notify;

use super::super::checkpoint::Checkpoints;
use super::super::claim;
use super::super::failure::During;
use super::super::open::BUSY_TIMEOUT;
use super::super::room::Room;
use super::super::txn::{Effects, QueueNames, Rules, Txn};
use super::{Message, Operation, Parked, give_back};
use crate::clock::{Clock, Timestamp};
use crate::store::{Claimed, StoreError};

/// Operations in one transaction.
const GROUP_MAX: usize = 256;
/// A worker whose attempts are being settled claims the next ones while they are, or within this after it, if there is a claim
/// to come: less than a commit costs, and it spares one.
const CLAIM_FOLLOWS: Duration = Duration::from_micros(100);
/// How often parked claims look for what other processes wrote.
const OUTSIDE_CHECK: Duration = Duration::from_millis(100);

/// Runs `work` so that its failure takes back only what it did itself. The outer error says that the whole transaction is gone.
fn in_savepoint<T>(
    txn: &mut Txn<'_>,
    work: impl FnOnce(&mut Txn<'_>) -> Result<T, StoreError>,
) -> Result<Result<T, StoreError>, StoreError> {
    let effects = txn.effects.clone();
    txn.sql("savepoint operation")?.execute([]).during("set a savepoint")?;
    let done = work(txn);
    if let Err(e) = &done {
        // SQLite takes the whole transaction back by itself on some errors (a full disk, for one).
        if txn.conn.is_autocommit() || matches!(e, StoreError::Fatal { .. }) {
            return Err(e.clone());
        }
        txn.effects = effects;
        txn.sql("rollback to operation")?.execute([]).during("roll an operation back")?;
    }
    txn.sql("release operation")?.execute([]).during("release a savepoint")?;
    Ok(done)
}

/// Why a transaction was not carried through.
enum Stop {
    /// One of those that share it has failed, and could not be taken back by itself: the others are to be done again.
    Spoilt,
    /// All of it is lost.
    Gone(StoreError),
}

/// How those that share a transaction are kept from each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Care {
    /// Not at all: SQLite copies each page that a savepoint may have to take back, and nearly nothing ever fails.
    None,
    /// Each in a savepoint.
    Savepoints,
}

impl Care {
    fn take<T>(
        self,
        txn: &mut Txn<'_>,
        work: impl FnOnce(&mut Txn<'_>) -> Result<T, StoreError>,
    ) -> Result<Result<T, StoreError>, Stop> {
        if self == Self::Savepoints {
            return in_savepoint(txn, work).map_err(Stop::Gone);
        }
        match work(txn) {
            Err(e) if txn.conn.is_autocommit() || matches!(e, StoreError::Fatal { .. }) => Err(Stop::Gone(e)),
            Err(_) => Err(Stop::Spoilt),
            done => Ok(done),
        }
    }
}

/// What became of the operations, and of the claims that were served.
type Body = (Vec<Result<(), StoreError>>, Vec<(Parked, Result<Vec<Claimed>, StoreError>)>);

fn begin(conn: &Connection) -> Result<(), StoreError> {
    conn.prepare_cached("begin immediate").and_then(|mut sql| sql.execute([])).during("begin a transaction").map(drop)
}

/// Takes back all that a transaction has done and begins it anew.
fn again(txn: &mut Txn<'_>) -> Result<(), StoreError> {
    txn.effects = Effects::default();
    // One that was declared is not there any more.
    *txn.queues = QueueNames::default();
    txn.conn.execute_batch("rollback").during("roll a transaction back")?;
    begin(txn.conn)
}

pub(super) struct Writing<'a> {
    pub(super) conn: &'a Connection,
    pub(super) clock: Clock,
    pub(super) rules: Rules,
    pub(super) due: Arc<Notify>,
    pub(super) loopback: Sender<Message>,
    pub(super) queues: QueueNames,
    pub(super) parked: Vec<Parked>,
    pub(super) healthy_since: Timestamp,
    pub(super) failing: bool,
    /// The last transaction found no room.
    pub(super) full: bool,
    pub(super) room: Room,
    pub(super) checkpoints: Checkpoints,
    pub(super) fatal: Option<StoreError>,
    pub(super) inbox: Inbox,
}

/// What callers have sent, in its order.
pub(super) struct Inbox {
    receiver: Receiver<Message>,
    /// Came while a group was being written, and belongs to the next.
    held: Option<Message>,
}

impl Inbox {
    pub(super) fn new(receiver: Receiver<Message>) -> Self {
        Self { receiver, held: None }
    }

    fn now(&mut self) -> Option<Message> {
        self.held.take().or_else(|| self.receiver.try_recv().ok())
    }

    fn wait(&mut self) -> Option<Message> {
        self.held.take().or_else(|| self.receiver.recv().ok())
    }

    fn wait_for(&mut self, longest: Duration) -> Result<Message, RecvTimeoutError> {
        self.held.take().map_or_else(|| self.receiver.recv_timeout(longest), Ok)
    }

    /// Claims that have come, up to the first other message. Where one is expected and none is here it is waited for.
    fn claims(&mut self, parked: &mut Vec<Parked>, expected: bool) {
        let before = parked.len();
        loop {
            let next = match self.now() {
                None if expected && parked.len() == before => self.wait_for(CLAIM_FOLLOWS).ok(),
                next => next,
            };
            match next {
                Some(Message::Claim(claim)) => parked.push(claim),
                other => {
                    self.held = other;
                    return;
                }
            }
        }
    }
}

/// What one transaction does.
#[derive(Default)]
struct Group {
    operations: Vec<Box<dyn Operation>>,
    /// Places of a worker become free, and none of its claims is here yet.
    claim_follows: bool,
    stop: bool,
}

impl Writing<'_> {
    pub(super) fn run(&mut self) {
        while let Some(group) = self.gather() {
            let stop = group.stop;
            self.round(group);
            if stop {
                return;
            }
        }
    }

    /// The next group: all that waits. None when nobody can send any more.
    fn gather(&mut self) -> Option<Group> {
        let mut group = Group::default();
        let mut message = self.next()?;
        let (mut settled, mut claimed) = (false, false);
        while let Some(next) = message.take() {
            match next {
                Message::Operation(operation) => group.operations.push(operation),
                Message::First(operation) => group.operations.insert(0, operation),
                Message::Settlements(operation) => {
                    group.operations.push(operation);
                    settled = true;
                }
                Message::Claim(claim) => {
                    self.parked.push(claim);
                    claimed = true;
                }
                Message::Stop => group.stop = true,
            }
            if group.operations.len() < GROUP_MAX {
                message = self.inbox.now();
            }
        }
        group.claim_follows = settled && !claimed && !group.stop;
        Some(group)
    }

    /// The first message of a group; `Some(None)` when only parked claims want another look.
    fn next(&mut self) -> Option<Option<Message>> {
        if self.parked.is_empty() {
            return self.inbox.wait().map(Some);
        }
        let nearest = self.parked.iter().map(|p| p.until).min();
        let wait = nearest.map_or(OUTSIDE_CHECK, |until| until.saturating_duration_since(Instant::now()));
        match self.inbox.wait_for(wait.min(OUTSIDE_CHECK)) {
            Ok(message) => Some(Some(message)),
            Err(RecvTimeoutError::Timeout) => Some(None),
            Err(RecvTimeoutError::Disconnected) => None,
        }
    }

    fn round(&mut self, group: Group) {
        let Group { mut operations, claim_follows, stop: _ } = group;
        if let Some(fatal) = self.fatal.clone() {
            return self.refuse(operations, &fatal);
        }
        self.parked.retain(|parked| !parked.reply.is_closed());
        if operations.is_empty() && !self.may_serve_parked() {
            self.expire_parked();
            return;
        }
        if std::mem::take(&mut self.full) {
            if let Err(fatal) = self.room.make(self.conn, BUSY_TIMEOUT) {
                self.note_health(Some(&fatal));
                return self.refuse(operations, &fatal);
            }
        } else {
            self.room.look(self.conn);
        }
        let outcome = self.transact(&mut operations, claim_follows);
        self.full = matches!(outcome, Err(StoreError::Full { .. }));
        self.note_health(outcome.as_ref().err());
        match outcome {
            Ok(((answers, served), effects)) => {
                // Each answer wakes a thread, which takes its time: first those for whom jobs wait.
                for (parked, claimed) in served {
                    self.deliver(parked, claimed);
                }
                for (operation, answer) in operations.into_iter().zip(answers) {
                    operation.answer(answer);
                }
                if effects.earliest.is_some() {
                    self.due.notify_waiters();
                    self.due.notify_one();
                }
            }
            Err(e) => {
                // A queue that was declared in the failed transaction is not there.
                self.queues = QueueNames::default();
                for operation in operations {
                    operation.answer(Err(e.clone()));
                }
            }
        }
        self.expire_parked();
        if let Err(fatal) = self.checkpoints.look(self.conn, self.room.pages()) {
            self.note_health(Some(&fatal));
        }
    }

    /// One transaction: the operations, then the claims that can be served now.
    fn transact(
        &mut self,
        operations: &mut [Box<dyn Operation>],
        claim_follows: bool,
    ) -> Result<(Body, Effects), StoreError> {
        begin(self.conn)?;
        let mut txn = Txn {
            conn: self.conn,
            now: self.clock.now(),
            rules: self.rules,
            healthy_since: self.healthy_since,
            queues: &mut self.queues,
            effects: Effects::default(),
        };
        let late = |parked: &mut Vec<Parked>| self.inbox.claims(parked, claim_follows);
        let mut body = Self::body(&mut txn, operations, &mut self.parked, Care::None, late);
        if let Err(Stop::Spoilt) = body {
            body = again(&mut txn)
                .map_err(Stop::Gone)
                .and_then(|()| Self::body(&mut txn, operations, &mut self.parked, Care::Savepoints, |_| {}));
        }
        let effects = txn.effects;
        let commit = || self.conn.prepare_cached("commit").and_then(|mut sql| sql.execute([])).during("commit");
        let done = match body {
            Ok((answers, served)) => match commit() {
                Ok(_) => Ok(((answers, served), effects)),
                Err(e) => {
                    self.parked.extend(served.into_iter().map(|(parked, _)| parked));
                    Err(e)
                }
            },
            Err(Stop::Gone(e)) => Err(e),
            Err(Stop::Spoilt) => {
                let detail = "savepoints did not keep operations apart".to_owned();
                Err(StoreError::Unavailable { step: "write", detail })
            }
        };
        if done.is_err() && !self.conn.is_autocommit() {
            // Nothing of the group was answered yet; all of it is told why.
            drop(self.conn.execute_batch("rollback"));
        }
        done
    }

    fn body(
        txn: &mut Txn<'_>,
        operations: &mut [Box<dyn Operation>],
        parked: &mut Vec<Parked>,
        care: Care,
        late: impl FnOnce(&mut Vec<Parked>),
    ) -> Result<Body, Stop> {
        let mut answers = Vec::with_capacity(operations.len());
        for operation in operations {
            answers.push(care.take(txn, |txn| operation.apply(txn))?);
        }
        late(parked);
        let mut served = Vec::new();
        let mut waiting = Vec::with_capacity(parked.len());
        let mut lost = Ok(());
        let mut claims = std::mem::take(parked).into_iter();
        while let Some(claim) = claims.next() {
            match care.take(txn, |txn| claim::claim(txn, &claim.request)) {
                Ok(Ok(jobs)) if jobs.is_empty() => waiting.push(claim),
                Ok(answer) => served.push((claim, answer)),
                Err(stop) => {
                    lost = Err(stop);
                    waiting.push(claim);
                    waiting.extend(claims.by_ref());
                }
            }
        }
        let done = lost.and_then(|()| txn.flush().map_err(Stop::Gone));
        if done.is_err() {
            waiting.extend(served.drain(..).map(|(claim, _)| claim));
        }
        *parked = waiting;
        done.map(|()| (answers, served))
    }

    /// Cheap look before a transaction is begun for parked claims alone.
    fn may_serve_parked(&self) -> bool {
        self.parked.iter().any(|parked| claim::may_claim(self.conn, &parked.request))
    }

    fn expire_parked(&mut self) {
        let now = Instant::now();
        for parked in self.parked.extract_if(.., |parked| parked.until <= now) {
            drop(parked.reply.send(Ok(Vec::new())));
        }
    }

    /// Gives a claim its jobs; when the caller has gone, gives the jobs back.
    fn deliver(&self, parked: Parked, claimed: Result<Vec<Claimed>, StoreError>) {
        let Err(Ok(orphans)) = parked.reply.send(claimed) else { return };
        // The loop that reads this is ours and still running.
        drop(self.loopback.send(give_back(orphans)));
    }

    /// Nothing is written any more.
    fn refuse(&mut self, operations: Vec<Box<dyn Operation>>, fatal: &StoreError) {
        for operation in operations {
            operation.answer(Err(fatal.clone()));
        }
        for parked in self.parked.drain(..) {
            drop(parked.reply.send(Err(fatal.clone())));
        }
    }

    /// After a gap in writing, leases get their full length again before anybody is judged dead.
    fn note_health(&mut self, error: Option<&StoreError>) {
        match error {
            None => {
                if std::mem::take(&mut self.failing) {
                    self.healthy_since = self.clock.now();
                }
            }
            Some(e) => {
                self.failing = true;
                if matches!(e, StoreError::Fatal { .. }) {
                    self.fatal = Some(e.clone());
                }
            }
        }
    }
}
