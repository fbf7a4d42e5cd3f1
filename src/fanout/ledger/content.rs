//! What messages say, kept by this process for a while.
//!
//! A message never changes once it is written, and goes only after its deliveries: whoever opens a line for one of them may
//! take its body from here. Most deliveries go out soon after their fan-out, ten or a thousand of one message; each would else
//! bring the whole body out of the database again. What is kept is bounded in bytes, the older half is let go at once.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use sqlx::{FromRow, QueryBuilder};

use crate::data::{Direct, DirectError, Tx, padded};
use crate::on_tx;

/// Bytes of bodies in each half.
const HALF: usize = 4 * 1024 * 1024;
/// What an entry weighs besides its body.
const ENTRY: usize = 200;

/// A message as it is sent. Cheap to clone.
#[derive(Clone, Debug)]
pub(in super::super) struct Content {
    pub(in super::super) body: Bytes,
    pub(in super::super) event_type: Arc<str>,
}

/// Messages of late.
#[derive(Debug, Default)]
pub(in super::super) struct Contents(Mutex<Halves>);

#[derive(Debug, Default)]
struct Halves {
    young: HashMap<String, Content>,
    old: HashMap<String, Content>,
    weight: usize,
}

impl Contents {
    /// The message, if it is kept.
    pub(in super::super) fn get(&self, message: &str) -> Option<Content> {
        let halves = self.lock();
        halves.young.get(message).or_else(|| halves.old.get(message)).cloned()
    }

    /// Keeps a message that is in the database.
    pub(in super::super) fn keep(&self, message: &str, content: Content) {
        let mut halves = self.lock();
        let weight = content.body.len() + ENTRY;
        if halves.weight + weight > HALF {
            halves.old = std::mem::take(&mut halves.young);
            halves.weight = 0;
        }
        if halves.young.insert(message.to_owned(), content).is_none() {
            halves.weight += weight;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Halves> {
        // A panic between two of the changes can only leave the weight wrong until the next halving.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(FromRow)]
struct Row {
    id: String,
    body: String,
    event_type: String,
}

/// Those of these messages that there are.
pub(super) async fn read(tx: &mut Tx, messages: &HashSet<&str>) -> Result<HashMap<String, Content>, sqlx::Error> {
    if messages.is_empty() {
        return Ok(HashMap::new());
    }
    let messages: Vec<&str> = messages.iter().copied().collect();
    let rows: Vec<Row> = on_tx!(tx, conn => {
        let mut query = QueryBuilder::new("select id, body, event_type from messages where id in (");
        let mut ids = query.separated(", ");
        for message in padded(&messages) {
            ids.push_bind(message.copied());
        }
        query.push(")");
        query.build_query_as().fetch_all(conn).await?
    });
    let content = |row: Row| (row.id, Content { body: row.body.into(), event_type: row.event_type.into() });
    Ok(rows.into_iter().map(content).collect())
}

/// One of them, over the line's own connection.
pub(super) fn read_one(on: &Direct<'_>, message: &str) -> Result<Option<Content>, DirectError> {
    let mut select = on.prepare("select body, event_type from messages where id = ?1")?;
    let mut rows = select.query([message])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let (body, event_type): (String, String) = (row.get(0)?, row.get(1)?);
    Ok(Some(Content { body: body.into(), event_type: event_type.into() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_bounded_in_bytes_and_the_newest_stays() {
        let contents = Contents::default();
        let content = |n: usize| Content { body: vec![b'x'; n].into(), event_type: "a".into() };
        for n in 0..1_000 {
            contents.keep(&format!("msg_{n}"), content(100_000));
        }
        let kept = |n: usize| contents.get(&format!("msg_{n}")).is_some();
        assert!(kept(999) && kept(960) && !kept(900));
        assert!((0..1_000).filter(|n| kept(*n)).count() * 100_000 <= 2 * HALF);
        contents.keep("msg_large", content(2 * HALF));
        contents.keep("msg_small", content(1));
        assert!(contents.get("msg_small").is_some(), "one that is larger than all room stays only until the next");
        assert!(contents.get("msg_999").is_none());
    }
}
