//! The kit itself: what others prove things with must do what it says.
#![expect(clippy::unwrap_used, reason = "a test that can't go on shall fail where it stands")]

mod proxy;
mod redis;
mod sentinel;
