//! Requests that are done once: reserve the key, do it, keep the reply.

use std::time::Duration;

use super::Desk;
use crate::admin::idempotency::{Fingerprint, IdempotencyKey};
use crate::admin::{Actor, Refusal};
use crate::job::JobId;
use crate::store::{RememberedReply, Reservation};

/// How long one run of a request holds its key. A run that ends without a reply (its process died, its client went away)
/// keeps equal requests waiting for so long; a run that takes longer may meet a second one, and both make the same job.
const LEASE: Duration = Duration::from_secs(30);

/// What a request with a key has to do.
#[derive(Debug)]
pub(in crate::admin) enum Begun {
    /// Do it, and give the job this id.
    Run(JobId),
    /// It was done: this was the reply.
    Done(RememberedReply),
    /// It is being done.
    Busy,
    /// The key belongs to another request.
    Mismatch,
}

impl Desk {
    /// Begins a request under a key of its client's.
    pub(in crate::admin) async fn begin(
        &self,
        by: &Actor,
        key: &IdempotencyKey,
        request: &Fingerprint,
    ) -> Result<Begun, Refusal> {
        self.reserve(by, key, request, LEASE.min(self.idempotency_ttl), self.idempotency_ttl).await
    }

    /// What [`Desk::begin`] would say, while the key stays as it is: one that nobody holds is let go in the same moment.
    pub(in crate::admin) async fn look(
        &self,
        by: &Actor,
        key: &IdempotencyKey,
        request: &Fingerprint,
    ) -> Result<Begun, Refusal> {
        self.reserve(by, key, request, Duration::ZERO, Duration::ZERO).await
    }

    async fn reserve(
        &self,
        by: &Actor,
        key: &IdempotencyKey,
        request: &Fingerprint,
        lease: Duration,
        ttl: Duration,
    ) -> Result<Begun, Refusal> {
        let scope = by.enqueuer();
        Ok(match self.store().reserve(&scope, key.as_str(), request.as_bytes(), lease, ttl).await? {
            Reservation::Granted { since } => Begun::Run(request.job(&scope, key, since)),
            Reservation::Done(reply) => Begun::Done(reply),
            Reservation::InProgress => Begun::Busy,
            Reservation::Mismatch => Begun::Mismatch,
        })
    }

    /// Keeps the reply for every repetition. What was done is done: when the store does not take the reply, the next
    /// repetition runs again, finds the same job, and keeps its own.
    pub(in crate::admin) async fn finish(&self, by: &Actor, key: &IdempotencyKey, reply: RememberedReply) {
        if let Err(error) = self.store().remember(&by.enqueuer(), key.as_str(), reply).await {
            tracing::warn!(actor = %by.name, %error, "the reply of an idempotent request was not kept");
        }
    }

    /// Lets the next repetition try at once, because this one ended with nothing that holds for the next.
    pub(in crate::admin) async fn give_back(&self, by: &Actor, key: &IdempotencyKey) {
        if let Err(error) = self.store().release(&by.enqueuer(), key.as_str()).await {
            tracing::warn!(actor = %by.name, %error, "an idempotency key stays held until its lease is over");
        }
    }
}
