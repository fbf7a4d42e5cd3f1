//! Configuration: one struct per concern, read once in `main`; unknown or invalid is fatal and names the field.

pub mod admin;
pub mod fanout;
pub mod ingress;
pub mod schedules;
