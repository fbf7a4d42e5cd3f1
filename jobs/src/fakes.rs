//! The outside systems, on loopback.
