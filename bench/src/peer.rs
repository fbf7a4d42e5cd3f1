//! What ours is compared with, in the same process and the same run.

pub mod apalis;
pub mod sqlite_loop;
