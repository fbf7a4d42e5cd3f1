//! One commit for many lines: whoever comes first writes for all who came meanwhile.
//!
//! A line costs one commit to open and one to close, and a commit costs a flush of the disk. Deliveries of one process
//! therefore put what they have to write on one pile; the one whose turn it is takes the pile, writes it in one
//! transaction and tells each of the others what came of theirs. No task of its own: when the writer is dropped half way
//! its transaction is rolled back, the others notice and write again. One line that the database refuses fails alone.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

use super::lines::{self, Closed, Closing, Opening, Said};
use crate::data::{Database, Tx};

/// Lines in one transaction.
const PILE_MAX: usize = 128;

/// Writes lines.
#[derive(Debug, Default)]
pub(in super::super) struct Scribe {
    pile: Mutex<Vec<Waiting>>,
    turn: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
enum Entry {
    Open(Opening),
    Close(Closing),
}

#[derive(Debug)]
enum Outcome {
    Open(Said),
    Close(Closed),
}

#[derive(Debug)]
struct Waiting {
    entry: Arc<Entry>,
    tell: oneshot::Sender<Result<Outcome, sqlx::Error>>,
}

impl Scribe {
    /// Opens a line. Durable when it returns.
    pub(in super::super) async fn open(&self, db: &Database, opening: Opening) -> Result<Said, sqlx::Error> {
        match self.write(db, Entry::Open(opening)).await? {
            Outcome::Open(said) => Ok(said),
            Outcome::Close(_) => Err(mixed_up()),
        }
    }

    /// Closes a line and moves its delivery on. Durable when it returns.
    pub(in super::super) async fn close(&self, db: &Database, closing: Closing) -> Result<Closed, sqlx::Error> {
        match self.write(db, Entry::Close(closing)).await? {
            Outcome::Close(closed) => Ok(closed),
            Outcome::Open(_) => Err(mixed_up()),
        }
    }

    async fn write(&self, db: &Database, entry: Entry) -> Result<Outcome, sqlx::Error> {
        let entry = Arc::new(entry);
        let mut told = self.put(&entry);
        loop {
            let turn = tokio::select! {
                biased;
                said = &mut told => match said {
                    Ok(outcome) => return outcome,
                    Err(_) => {
                        // Whoever had taken it was dropped before the end.
                        told = self.put(&entry);
                        continue;
                    }
                },
                turn = self.turn.lock() => turn,
            };
            write_all(db, self.take()).await;
            drop(turn);
        }
    }

    fn put(&self, entry: &Arc<Entry>) -> oneshot::Receiver<Result<Outcome, sqlx::Error>> {
        let (tell, told) = oneshot::channel();
        self.lock().push(Waiting { entry: Arc::clone(entry), tell });
        told
    }

    fn take(&self) -> Vec<Waiting> {
        let mut pile = self.lock();
        let n = pile.len().min(PILE_MAX);
        pile.drain(..n).filter(|w| !w.tell.is_closed()).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Waiting>> {
        // Every change is one push or drain: a panic elsewhere can't leave it half done.
        self.pile.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn write_all(db: &Database, pile: Vec<Waiting>) {
    match together(db, &pile).await {
        Ok(outcomes) => {
            for (waiting, outcome) in pile.into_iter().zip(outcomes) {
                // One that has gone away meanwhile needs no answer.
                drop(waiting.tell.send(Ok(outcome)));
            }
        }
        Err(_) if pile.len() > 1 => {
            for waiting in pile {
                let alone = together(db, std::slice::from_ref(&waiting)).await;
                let outcome = alone.and_then(|mut all| all.pop().ok_or_else(mixed_up));
                drop(waiting.tell.send(outcome));
            }
        }
        Err(error) => {
            if let Some(waiting) = pile.into_iter().next() {
                drop(waiting.tell.send(Err(error)));
            }
        }
    }
}

async fn together(db: &Database, pile: &[Waiting]) -> Result<Vec<Outcome>, sqlx::Error> {
    if pile.is_empty() {
        return Ok(Vec::new());
    }
    let mut tx = db.begin().await?;
    let mut outcomes = Vec::with_capacity(pile.len());
    for waiting in pile {
        outcomes.push(one(&mut tx, &waiting.entry).await?);
    }
    tx.commit().await?;
    Ok(outcomes)
}

async fn one(tx: &mut Tx, entry: &Entry) -> Result<Outcome, sqlx::Error> {
    match entry {
        Entry::Open(opening) => lines::open(tx, opening).await.map(Outcome::Open),
        Entry::Close(closing) => lines::close(tx, closing).await.map(Outcome::Close),
    }
}

fn mixed_up() -> sqlx::Error {
    sqlx::Error::Protocol("the ledger answered another question".to_owned())
}
