//! The straight way of a first attempt: its line is opened without reading delivery, message or endpoint, as long as what is
//! known of them still holds.
//!
//! What the caller has prepared (address, signature, limits) was made of the endpoint's row as it was at the last delivery. The
//! transaction that opens the line looks whether any endpoint has changed since (one number for all); only where one has, the
//! row is read again, and if a word of it differs, no line is opened and the caller begins anew with what stands there now. That
//! the delivery is there and waits is a condition of the statement that opens the line. The message is read where the caller
//! has not kept it: it never changes.

use std::collections::HashSet;
use std::sync::Arc;

use super::content::{Content, read};
use super::due::{Addressee, addressees};
use super::lines::{Of, Opening, insert, look, opened};
use crate::clock::Timestamp;
use crate::data::{Tx, Write};

/// A line to be opened for a delivery that was not looked at yet.
#[derive(Debug)]
pub(in super::super) struct Straight {
    pub(in super::super) message: String,
    /// As the endpoint was last time; it must be open.
    pub(in super::super) known: Arc<Addressee>,
    /// The number under which it was.
    pub(in super::super) revision: i64,
    /// The message is to be read too.
    pub(in super::super) wants_content: bool,
    pub(in super::super) opening: Arc<Opening>,
}

/// Whether it was.
#[derive(Debug)]
pub(in super::super) enum Begun {
    /// The endpoint is as it was, under this number too.
    Opened { content: Option<Content>, revision: i64 },
    /// As many lines of the endpoint are open as may be.
    Busy,
    /// The endpoint is not as it was, or the delivery is not to be sent: nothing was opened.
    Otherwise,
}

impl Write for Straight {
    type Output = Begun;
    type Error = sqlx::Error;

    async fn write(&self, tx: &mut Tx) -> Result<Begun, sqlx::Error> {
        Ok(begin_all(tx, &[self]).await?.pop().unwrap_or(Begun::Otherwise))
    }

    async fn write_all(works: &[&Self], tx: &mut Tx) -> Result<Vec<Begun>, sqlx::Error> {
        begin_all(tx, works).await
    }
}

/// What is to become of one of them.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Word {
    Open,
    Busy,
    Otherwise,
}

async fn begin_all(tx: &mut Tx, works: &[&Straight]) -> Result<Vec<Begun>, sqlx::Error> {
    let Some(first) = works.first() else { return Ok(Vec::new()) };
    let now = works.iter().map(|it| it.opening.now).max().unwrap_or_default();
    let endpoints: HashSet<&str> = works.iter().map(|it| it.opening.endpoint.as_str()).collect();
    let mut look = look(tx, &endpoints, now).await?;
    let changed = changed(tx, works, look.revision, now).await?;
    let mut places = look.places();
    let word = |it: &&Straight| {
        // A group's lines name one node.
        if changed.contains(it.opening.endpoint.as_str()) || it.opening.turn.node != first.opening.turn.node {
            Word::Otherwise
        } else if places.take(&it.opening) {
            Word::Open
        } else {
            Word::Busy
        }
    };
    let mut words: Vec<Word> = works.iter().map(word).collect();
    open_lines(tx, works, &mut words).await?;

    let opened = || works.iter().zip(&words).filter(|(_, word)| **word == Word::Open).map(|(it, _)| *it);
    let wanted: HashSet<&str> = opened().filter(|it| it.wants_content).map(|it| it.message.as_str()).collect();
    let contents = read(tx, &wanted).await?;
    let begun = |(it, word): (&&Straight, &Word)| match word {
        Word::Open => Begun::Opened { content: contents.get(&it.message).cloned(), revision: look.revision },
        Word::Busy => Begun::Busy,
        Word::Otherwise => Begun::Otherwise,
    };
    Ok(works.iter().zip(&words).map(begun).collect())
}

/// The endpoints that are not as they were known.
async fn changed<'a>(
    tx: &mut Tx,
    works: &[&'a Straight],
    revision: i64,
    now: Timestamp,
) -> Result<HashSet<&'a str>, sqlx::Error> {
    let doubtful = |it: &&&Straight| it.revision != revision || it.known.has_run_out(now);
    let doubtful: Vec<&Straight> = works.iter().filter(doubtful).copied().collect();
    if doubtful.is_empty() {
        return Ok(HashSet::new());
    }
    let ids = doubtful.iter().map(|it| it.opening.endpoint.as_str()).collect();
    let found = addressees(tx, &ids, now).await?;
    let differs = |it: &&Straight| match found.get(&it.opening.endpoint) {
        Some(Some(found)) => **found != *it.known,
        Some(None) | None => true,
    };
    Ok(doubtful.into_iter().filter(differs).map(|it| it.opening.endpoint.as_str()).collect())
}

/// Opens the lines of those that are to be; whose delivery does not wait is another case after all.
async fn open_lines(tx: &mut Tx, works: &[&Straight], words: &mut [Word]) -> Result<(), sqlx::Error> {
    let lines: Vec<&Opening> =
        works.iter().zip(&*words).filter(|(_, word)| **word == Word::Open).map(|(it, _)| &*it.opening).collect();
    let written = insert(tx, &lines, Of::Pending).await?;
    if u64::try_from(lines.len()).is_ok_and(|asked| asked == written) {
        return Ok(());
    }
    let open = opened(tx, &lines).await?;
    for (it, word) in works.iter().zip(words) {
        if *word == Word::Open && !open.contains(&it.opening.attempt) {
            *word = Word::Otherwise;
        }
    }
    Ok(())
}
