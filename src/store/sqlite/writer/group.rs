//! The writing thread's loop: one group of messages, one transaction, then the answers.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tokio::sync::Notify;

use super::super::claim;
use super::super::failure::During;
use super::super::txn::{Effects, QueueNames, Rules, Txn};
use super::{Message, Operation, Parked, give_back};
use crate::clock::{Clock, Timestamp};
use crate::store::{Claimed, StoreError};

/// Operations in one transaction.
const GROUP_MAX: usize = 256;
/// A worker whose attempts are being settled claims the next ones within this, if there is a claim to come: less than a commit
/// costs, and it spares one.
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
    pub(super) fatal: Option<StoreError>,
}

impl Writing<'_> {
    pub(super) fn run(&mut self, receiver: &Receiver<Message>) {
        loop {
            let Some(first) = self.next(receiver) else { return };
            let (mut operations, mut stop, mut claim_follows, mut claimed) = (Vec::new(), false, false, false);
            let mut message = first;
            while let Some(next) = message.take() {
                match next {
                    Message::Operation(operation) => operations.push(operation),
                    Message::First(operation) => operations.insert(0, operation),
                    Message::Settlements(operation) => {
                        operations.push(operation);
                        claim_follows = true;
                    }
                    Message::Claim(claim) => {
                        self.parked.push(claim);
                        claimed = true;
                    }
                    Message::Stop => stop = true,
                }
                if operations.len() < GROUP_MAX {
                    message = receiver.try_recv().ok();
                }
                if message.is_none() && claim_follows && !claimed && !stop {
                    claim_follows = false;
                    message = receiver.recv_timeout(CLAIM_FOLLOWS).ok();
                }
            }
            self.round(operations);
            if stop {
                return;
            }
        }
    }

    /// The first message of a group; `Some(None)` when only parked claims want another look.
    fn next(&mut self, receiver: &Receiver<Message>) -> Option<Option<Message>> {
        if self.parked.is_empty() {
            return receiver.recv().ok().map(Some);
        }
        let nearest = self.parked.iter().map(|p| p.until).min();
        let wait = nearest.map_or(OUTSIDE_CHECK, |until| until.saturating_duration_since(Instant::now()));
        match receiver.recv_timeout(wait.min(OUTSIDE_CHECK)) {
            Ok(message) => Some(Some(message)),
            Err(RecvTimeoutError::Timeout) => Some(None),
            Err(RecvTimeoutError::Disconnected) => None,
        }
    }

    fn round(&mut self, mut operations: Vec<Box<dyn Operation>>) {
        if let Some(fatal) = &self.fatal {
            for operation in operations {
                operation.answer(Err(fatal.clone()));
            }
            for parked in self.parked.drain(..) {
                drop(parked.reply.send(Err(fatal.clone())));
            }
            return;
        }
        self.parked.retain(|parked| !parked.reply.is_closed());
        if operations.is_empty() && !self.may_serve_parked() {
            self.expire_parked();
            return;
        }
        if std::mem::take(&mut self.full) {
            self.make_room();
        }
        let outcome = self.transact(&mut operations);
        self.full = matches!(outcome, Err(StoreError::Full { .. }));
        self.note_health(outcome.as_ref().err());
        match outcome {
            Ok((answers, served, effects)) => {
                for (operation, answer) in operations.into_iter().zip(answers) {
                    operation.answer(answer);
                }
                for (parked, claimed) in served {
                    self.deliver(parked, claimed);
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
    }

    /// On a full disk the write-ahead log can't grow to the size at which SQLite would move it into the file and begin it
    /// anew. So that is tried here, before the next write: space that came back must not be eaten by the log again.
    fn make_room(&self) {
        let moved = self
            .conn
            .query_row("pragma wal_checkpoint(passive)", [], |row| Ok((row.get::<_, i64>(1)?, row.get::<_, i64>(2)?)));
        tracing::debug!(?moved, "the disk was full; tried to begin the write-ahead log anew");
    }

    /// One transaction: the operations, then the claims that can be served now.
    #[expect(clippy::type_complexity, reason = "used once, right above")]
    fn transact(
        &mut self,
        operations: &mut [Box<dyn Operation>],
    ) -> Result<(Vec<Result<(), StoreError>>, Vec<(Parked, Result<Vec<Claimed>, StoreError>)>, Effects), StoreError>
    {
        self.conn.execute_batch("begin immediate").during("begin a transaction")?;
        let mut txn = Txn {
            conn: self.conn,
            now: self.clock.now(),
            rules: self.rules,
            healthy_since: self.healthy_since,
            queues: &mut self.queues,
            effects: Effects::default(),
        };
        let body = Self::body(&mut txn, operations, &mut self.parked);
        let effects = txn.effects;
        let done = body.and_then(|(answers, served)| match self.conn.execute_batch("commit").during("commit") {
            Ok(()) => Ok((answers, served, effects)),
            Err(e) => {
                self.parked.extend(served.into_iter().map(|(parked, _)| parked));
                Err(e)
            }
        });
        if done.is_err() && !self.conn.is_autocommit() {
            // Nothing of the group was answered yet; all of it is told why.
            drop(self.conn.execute_batch("rollback"));
        }
        done
    }

    #[expect(clippy::type_complexity, reason = "used once, right above")]
    fn body(
        txn: &mut Txn<'_>,
        operations: &mut [Box<dyn Operation>],
        parked: &mut Vec<Parked>,
    ) -> Result<(Vec<Result<(), StoreError>>, Vec<(Parked, Result<Vec<Claimed>, StoreError>)>), StoreError> {
        let mut answers = Vec::with_capacity(operations.len());
        for operation in operations {
            answers.push(in_savepoint(txn, |txn| operation.apply(txn))?);
        }
        let mut served = Vec::new();
        let mut waiting = Vec::with_capacity(parked.len());
        let mut lost = Ok(());
        let mut claims = std::mem::take(parked).into_iter();
        while let Some(claim) = claims.next() {
            match in_savepoint(txn, |txn| claim::claim(txn, &claim.request)) {
                Ok(Ok(jobs)) if jobs.is_empty() => waiting.push(claim),
                Ok(answer) => served.push((claim, answer)),
                Err(e) => {
                    lost = Err(e);
                    waiting.push(claim);
                    waiting.extend(claims.by_ref());
                }
            }
        }
        let done = lost.and_then(|()| txn.flush());
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
