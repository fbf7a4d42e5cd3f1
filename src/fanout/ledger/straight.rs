//! The straight way of a first attempt: read and opened in one step, for an endpoint that is as it was last time.
//!
//! What the caller has prepared (address, signature, limits) was made of the endpoint's row as it was then. The row is
//! read again in the transaction that opens the line; if a word of it differs, no line is opened and the caller begins
//! anew with what stands there now.

use std::sync::Arc;

use super::super::Deliver;
use super::super::history::DeliveryState;
use super::due::{Addressee, Due, find};
use super::lines::{Opening, Said, open_all};
use crate::data::{Tx, Write};

/// A line to be opened for a delivery that was not looked at yet.
#[derive(Debug)]
pub(in super::super) struct Straight {
    pub(in super::super) job: Deliver,
    /// As the endpoint was last time; it must be open.
    pub(in super::super) known: Arc<Addressee>,
    /// All but the delivery's id, which stands in the database.
    pub(in super::super) opening: Opening,
}

/// Whether it was.
#[derive(Debug)]
pub(in super::super) enum Begun {
    Opened(Due),
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

async fn begin_all(tx: &mut Tx, works: &[&Straight]) -> Result<Vec<Begun>, sqlx::Error> {
    let asked: Vec<_> = works.iter().map(|it| (&it.job, it.opening.now)).collect();
    let found = find(tx, &asked).await?;
    let as_known = |(it, due): (&&Straight, _)| match due {
        Ok(Some(due)) => is_as_known(it, &due).then_some(due),
        Ok(None) | Err(_) => None,
    };
    let mut due: Vec<Option<Due>> = works.iter().zip(found).map(as_known).collect();
    let openings: Vec<Option<Opening>> = works
        .iter()
        .zip(&due)
        .map(|(it, due)| Some(Opening { delivery: due.as_ref()?.id.clone(), ..it.opening.clone() }))
        .collect();
    let mut said = open_all(tx, &openings.iter().flatten().collect::<Vec<_>>()).await?.into_iter();
    let begun = |due: &mut Option<Due>| match due.take() {
        None => Begun::Otherwise,
        Some(due) => match said.next() {
            Some(Said::Opened) => Begun::Opened(due),
            Some(Said::Busy | Said::InLine { .. }) | None => Begun::Busy,
        },
    };
    Ok(due.iter_mut().map(begun).collect())
}

fn is_as_known(it: &Straight, due: &Due) -> bool {
    due.state == DeliveryState::Pending.as_str() && due.to.is_open() && *due.to == *it.known
}
