//! All engine tests, through public interfaces, in one binary: one link instead of a dozen.

mod admin;
mod conformance;
mod fanout;
mod ingress;
mod model;
mod schedule;
mod sqlite;
mod worker;
