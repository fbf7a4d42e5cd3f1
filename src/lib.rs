//! Tidemill's engine: how work is kept, run, received, sent and seen. It knows nothing of the application's jobs.
//!
//! # The way of one webhook
//!
//! 1. A connection comes in at [`listener::serve`], which gives every phase of it a deadline, and
//!    [`ingress::Receiver`] takes the request.
//! 2. A [`Source`](ingress::Source) checks the raw bytes against the sender's signature. Only that makes a
//!    [`Verified`](ingress::Verified), and only that can become a [`WebhookReceived`](ingress::WebhookReceived) job.
//! 3. [`Queue::enqueue`](queue::Queue::enqueue), the one road in, checks the [`JobSpec`](job::JobSpec) and hands it to the store.
//! 4. [`Store::enqueue`](store::Store::enqueue) keeps it: a new row, or the job that the sender's id made before. The sender
//!    is answered when it is durable, here in [`SqliteStore`](store::sqlite::SqliteStore).
//! 5. A pool of the [`Worker`](worker::Worker) claims it with a [`Lease`](store::Lease) and runs its
//!    [`Handler`](worker::Handler) in a span, under a timeout, behind a panic guard.
//! 6. The handler's decision, [`Done`](job::Done) or [`JobError`](job::JobError), becomes a [`Verdict`](store::Verdict), and
//!    [`Store::settle`](store::Store::settle) makes it the job's next [`JobState`](job::JobState), if the lease still holds.
//! 7. With its completion an [`Event`](fanout::Event) may come to life: the fan-out job writes a message and a delivery for
//!    each endpoint, and [`deliver`](fanout::deliver) signs and posts it.
//! 8. [`Scheduler`](schedule::Scheduler) enqueues what the clock asks for; [`Upkeep`](upkeep::Upkeep) rescues the jobs of dead
//!    workers, promotes what is due and prunes what is old.
//! 9. Operators see and change all of it through [`admin::router`], the [`Desk`](admin::Desk) behind it, and [`metrics`];
//!    consumers see and change their own endpoints on the page of [`portal::router`].
//!
//! # What may use what
//!
//! Top may use below, never the reverse; those on one line don't know each other.
//!
//! ```text
//! admin                                    shows and changes what stands below
//! portal                                   shows each tenant its own webhooks out
//! ingress · fanout · schedule              edges: turn outside things into jobs
//! worker · upkeep                          motion: claim, run, settle; rescue, promote, prune
//! queue                                    the one road in
//! store                                    the contract, and below it the only SQL of the queue
//! job · config · clock · data · audit · metrics · sealing · telemetry · outbound · pages · problem · listener      leaves
//! ```
#![warn(missing_docs)]

pub mod admin;
pub mod audit;
pub mod clock;
pub mod config;
pub mod data;
pub mod fanout;
pub mod ingress;
pub mod job;
pub mod listener;
pub mod metrics;
pub mod outbound;
pub mod pages;
pub mod portal;
pub mod problem;
pub mod queue;
pub mod schedule;
pub mod sealing;
pub mod store;
pub mod telemetry;
pub mod upkeep;
pub mod worker;
