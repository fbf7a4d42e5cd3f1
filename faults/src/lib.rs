//! Real processes under faults, judged by a checker that reads only logs and the last dump.
//!
//! The binary `tidemill-faults` plays every part: [`worker`] runs the engine's own worker over a store that is watched
//! ([`watch`]) and may kill its process at a named [`step`](steps), [`produce`] enqueues, [`drive`] starts them all, applies the
//! faults of a [`scenario`], heals, waits until the queue is empty and dumps it. Each process appends to a log of its own
//! ([`event`]); [`history`] reads them back and [`checker`] judges.

pub mod act;
pub mod book;
pub mod checker;
pub mod drive;
pub mod event;
pub mod handler;
pub mod history;
pub mod hold;
pub mod place;
pub mod pop;
pub mod produce;
pub mod report;
pub mod scenario;
pub mod soak;
pub mod steps;
pub mod watch;
pub mod worker;
