//! Other users of the SQLite file: one that holds the write lock, one that reads for long.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use rusqlite::Connection;

/// What a holder is told.
#[derive(Args, Clone, Debug)]
pub struct HoldPart {
    /// The queue's file.
    #[arg(long)]
    pub file: PathBuf,
    /// It only reads.
    #[arg(long)]
    pub read: bool,
    /// For so long.
    #[arg(long)]
    pub ms: u64,
}

/// Holds a lock on the file, or a snapshot of it.
///
/// # Errors
/// When the file does not give it.
pub fn run(args: &HoldPart) -> anyhow::Result<()> {
    let conn = Connection::open(&args.file)?;
    conn.busy_timeout(Duration::from_secs(20))?;
    if args.read {
        conn.execute_batch("begin deferred")?;
        // The snapshot begins with the first row.
        conn.query_row("select count(*) from jobs", [], |row| row.get::<_, i64>(0)).context("read")?;
    } else {
        conn.execute_batch("begin immediate").context("take the write lock")?;
    }
    std::thread::sleep(Duration::from_millis(args.ms));
    conn.execute_batch("rollback")?;
    Ok(())
}
