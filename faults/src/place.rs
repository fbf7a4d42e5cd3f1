//! Where a run's store lies: a SQLite file, or servers that the run starts itself.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// Which store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StoreKind {
    /// The embedded one.
    Sqlite,
    /// A `redis-server` of the run's own.
    Redis,
}

impl StoreKind {
    /// Its one word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Redis => "redis",
        }
    }
}

/// A run's store.
#[derive(Debug)]
pub struct Place {
    url: String,
    file: Option<PathBuf>,
    mounted: Option<PathBuf>,
}

impl Place {
    /// A SQLite file below `dir`; with `megabytes` on a file system of its own that is no larger.
    ///
    /// # Errors
    /// When the file system can't be mounted.
    pub fn sqlite(dir: &Path, megabytes: Option<u32>) -> anyhow::Result<Self> {
        let folder = dir.join("store");
        std::fs::create_dir_all(&folder)?;
        if let Some(megabytes) = megabytes {
            let size = format!("size={megabytes}m");
            let mount =
                Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tidemill-faults"]).arg(&folder).output();
            let mount = mount.context("run `mount`")?;
            ensure!(mount.status.success(), "mount a tmpfs: {}", String::from_utf8_lossy(&mount.stderr).trim());
        }
        let file = folder.join("queue.db");
        let url = format!("sqlite:{}", file.display());
        Ok(Self { url, file: Some(file), mounted: megabytes.map(|_| folder) })
    }

    /// How processes open it.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The embedded store's file.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// What an inspection of the file or of the keys finds wrong.
    ///
    /// # Errors
    /// When it can't be inspected.
    pub fn inspect(&self) -> anyhow::Result<Vec<String>> {
        let Some(file) = &self.file else { return Ok(Vec::new()) };
        let conn = rusqlite::Connection::open(file)?;
        let mut check = conn.prepare("pragma integrity_check")?;
        let lines = check.query_map([], |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()?;
        Ok(lines.into_iter().filter(|line| line != "ok").collect())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(folder) = &self.mounted {
            // A mount that stays is seen in the folder's removal, which fails.
            drop(Command::new("umount").arg(folder).status());
        }
    }
}
