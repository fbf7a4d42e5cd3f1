//! What a developer writes to add a job.

use std::future::Future;

use super::Context;
use crate::job::{Done, JobError, JobKind};

/// Runs jobs of one kind. The type is the payload; `State` holds the clients and the database it needs.
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use tidemill::job::{Done, JobError, JobKind};
/// use tidemill::worker::{Context, Handler};
///
/// #[derive(Serialize, Deserialize)]
/// struct Greet { name: String }
///
/// impl JobKind for Greet {
///     const KIND: &'static str = "people.greet";
///     const QUEUE: &'static str = "notifications";
/// }
///
/// struct Greetings { word: String }
///
/// impl Handler for Greet {
///     type State = Greetings;
///     async fn run(self, _ctx: Context, state: &Greetings) -> Result<Done, JobError> {
///         Ok(Done::with(format!("{}, {}", state.word, self.name)))
///     }
/// }
/// ```
pub trait Handler: JobKind {
    /// What every run of this kind shares.
    type State: Send + Sync + 'static;

    /// Runs one attempt. May be repeated after a crash: use [`Context::lease`] to fence side effects, and unique keys
    /// or upserts to make them idempotent. `?` on any error means "failed, try again by the policy".
    fn run(self, ctx: Context, state: &Self::State) -> impl Future<Output = Result<Done, JobError>> + Send;
}
