//! The straight way of a first attempt: its line is opened without reading delivery, message or endpoint, as long as what is
//! known of them still holds.
//!
//! What the caller has prepared (address, signature, limits) was made of the endpoint's row as it was at the last delivery. The
//! transaction that opens the line looks whether any endpoint has changed since (one number for all); only where one has, the
//! row is read again, and if a word of it differs, no line is opened and the caller begins anew with what stands there now. That
//! the delivery is there and waits is a condition of the statement that opens the line. The message is read before, where the
//! caller has not kept it: it never changes.

use std::collections::HashSet;
use std::sync::Arc;

use super::content::{Content, read, read_one};
use super::due::{Addressee, addressees};
use super::lines::{Of, Opening, insert, look, look_directly, open_pending, opened};
use crate::clock::Timestamp;
use crate::data::{Direct, DirectError, Tx, Write};

/// A line to be opened for a delivery that was not looked at yet.
#[derive(Debug)]
pub(in super::super) struct Straight {
    pub(in super::super) message: String,
    /// As the endpoint was last time; it must be open.
    pub(in super::super) known: Arc<Addressee>,
    /// The number under which it was.
    pub(in super::super) revision: i64,
    /// What the message says, if the caller has kept it; else it is read too.
    pub(in super::super) content: Option<Content>,
    pub(in super::super) opening: Arc<Opening>,
}

/// Whether it was.
#[derive(Debug)]
pub(in super::super) enum Begun {
    /// The endpoint is as it was, under this number too.
    Opened { content: Content, revision: i64 },
    /// As many lines of the endpoint are open as may be.
    Busy,
    /// The endpoint is not as it was, or the delivery or its message is not to be sent: nothing was opened.
    Otherwise,
}

impl Write for Straight {
    type Output = Begun;
    type Error = sqlx::Error;

    fn is_direct(&self) -> bool {
        true
    }

    fn write_directly(works: &[&Self], on: &Direct<'_>) -> Result<Vec<Option<Begun>>, DirectError> {
        begin_directly(on, works)
    }

    async fn write(&self, tx: &mut Tx) -> Result<Begun, sqlx::Error> {
        Ok(begin_all(tx, &[self]).await?.pop().unwrap_or(Begun::Otherwise))
    }

    async fn write_all(works: &[&Self], tx: &mut Tx) -> Result<Vec<Begun>, sqlx::Error> {
        begin_all(tx, works).await
    }
}

/// Those of endpoints that have not changed since; the others are left to be looked at the other way.
fn begin_directly(on: &Direct<'_>, works: &[&Straight]) -> Result<Vec<Option<Begun>>, DirectError> {
    let Some(node) = works.first().map(|it| it.opening.turn.node) else { return Ok(Vec::new()) };
    let now = works.iter().map(|it| it.opening.now).max().unwrap_or_default();
    let (revision, mut places) = look_directly(on, works.iter().map(|it| it.opening.endpoint.as_str()), now)?;
    let mut begun: Vec<Option<Begun>> = Vec::with_capacity(works.len());
    let mut opened = Vec::with_capacity(works.len());
    for (n, it) in works.iter().enumerate() {
        let holds = it.revision == revision && !it.known.has_run_out(now) && it.opening.turn.node == node;
        let content =
            if holds { it.content.clone().map_or_else(|| read_one(on, &it.message), |it| Ok(Some(it)))? } else { None };
        begun.push(match content {
            None => None,
            Some(_) if !places.take(&it.opening) => Some(Begun::Busy),
            Some(content) => {
                opened.push(n);
                Some(Begun::Opened { content, revision })
            }
        });
    }
    let lines = opened.iter().map(|n| &*works[*n].opening);
    let are_open = open_pending(on, lines, &node.to_string())?;
    for (n, is_open) in opened.into_iter().zip(are_open) {
        if !is_open {
            begun[n] = Some(Begun::Otherwise);
        }
    }
    Ok(begun)
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
    let contents = contents(tx, works, &mut words).await?;
    open_lines(tx, works, &mut words).await?;
    let begun = |(content, word): (Option<Content>, &Word)| match (word, content) {
        (Word::Open, Some(content)) => Begun::Opened { content, revision: look.revision },
        (Word::Busy, _) => Begun::Busy,
        (Word::Open | Word::Otherwise, _) => Begun::Otherwise,
    };
    Ok(contents.into_iter().zip(&words).map(begun).collect())
}

/// What the messages say of those whose lines are to be opened; one without its message is another case after all.
async fn contents(tx: &mut Tx, works: &[&Straight], words: &mut [Word]) -> Result<Vec<Option<Content>>, sqlx::Error> {
    let to_open = works.iter().zip(&*words).filter(|(_, word)| **word == Word::Open);
    let wanted: HashSet<&str> =
        to_open.filter(|(it, _)| it.content.is_none()).map(|(it, _)| it.message.as_str()).collect();
    let found = read(tx, &wanted).await?;
    let content = |it: &&Straight| it.content.clone().or_else(|| found.get(&it.message).cloned());
    let contents: Vec<Option<Content>> = works.iter().map(content).collect();
    for (word, content) in words.iter_mut().zip(&contents) {
        if *word == Word::Open && content.is_none() {
            *word = Word::Otherwise;
        }
    }
    Ok(contents)
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
