//! A write in line, whatever it is.

use std::any::{Any, TypeId};
use std::pin::Pin;

use tokio::sync::oneshot;

use super::super::Tx;
use super::super::direct::{Direct, DirectError};
use super::Write;

/// Those that go first have `false`, which sorts first.
pub(super) type Kind = (bool, TypeId);
pub(super) type Run<'a> = Pin<Box<dyn Future<Output = bool> + Send + 'a>>;

/// A write in line, whatever it is.
pub(super) trait Member: Send {
    /// False: its caller has gone away before it began.
    fn is_wanted(&self) -> bool;

    /// Tells which can be run with it, and what goes before what.
    fn kind(&self) -> Kind;

    fn as_any(&mut self) -> &mut (dyn Any + Send);

    /// It can be run by [`Member::run_directly`].
    fn is_direct(&self) -> bool;

    /// Runs it and others of its kind over the line's own connection, and keeps what came out of those that could be.
    fn run_directly(&mut self, others: &mut [Box<dyn Member>], on: &Direct<'_>) -> Result<(), DirectError>;

    /// Something came out of it.
    fn is_run(&self) -> bool;

    /// Nothing has come out of it after all.
    fn forget(&mut self);

    /// Runs it with others of its kind and keeps what came out. False: one failed, and nothing of them may be committed.
    fn run<'a>(&'a mut self, others: &'a mut [Box<dyn Member>], tx: &'a mut Tx) -> Run<'a>;

    /// Runs it by itself and keeps what came out.
    fn run_alone<'a>(&'a mut self, tx: &'a mut Tx) -> Run<'a>;

    /// Tells the caller how it ended: as it was run, unless the transaction failed.
    fn answer(self: Box<Self>, transaction: Result<(), sqlx::Error>);
}

pub(super) struct InLine<W: Write> {
    work: W,
    outcome: Option<Result<W::Output, W::Error>>,
    reply: oneshot::Sender<Result<W::Output, W::Error>>,
}

impl<W: Write> InLine<W> {
    pub(super) fn new(work: W, reply: oneshot::Sender<Result<W::Output, W::Error>>) -> Self {
        Self { work, outcome: None, reply }
    }

    /// It and those of its kind.
    fn and<'a>(&'a mut self, others: &'a mut [Box<dyn Member>]) -> Vec<&'a mut Self> {
        let others = others.iter_mut().filter_map(|other| other.as_any().downcast_mut::<Self>());
        std::iter::once(self).chain(others).collect()
    }
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

    fn is_direct(&self) -> bool {
        self.work.is_direct()
    }

    fn run_directly(&mut self, others: &mut [Box<dyn Member>], on: &Direct<'_>) -> Result<(), DirectError> {
        let mut all = self.and(others);
        let works: Vec<&W> = all.iter().map(|one| &one.work).collect();
        let written = W::write_directly(&works, on)?;
        for (one, written) in all.iter_mut().zip(written) {
            one.outcome = written.map(Ok);
        }
        Ok(())
    }

    fn is_run(&self) -> bool {
        self.outcome.is_some()
    }

    fn forget(&mut self) {
        self.outcome = None;
    }

    fn run<'a>(&'a mut self, others: &'a mut [Box<dyn Member>], tx: &'a mut Tx) -> Run<'a> {
        Box::pin(async move {
            let mut all = self.and(others);
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
