//! All engine tests, through public interfaces, in one binary: one link instead of a dozen.
#![expect(clippy::unwrap_used, reason = "a test that can't go on shall fail where it stands")]

mod admin;
mod conformance;
mod fanout;
mod ingress;
mod model;
mod portal;
mod redis;
mod schedule;
mod sqlite;
mod tidy;
mod worker;
