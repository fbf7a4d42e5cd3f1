//! What an observer knows of a run when it is over: the logs, the dump, and what was to be expected. All from files.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use tidemill::job::{DeadReason, Incarnation, JobId, JobState};

use crate::event::{Event, What};

/// A run.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// What was to be expected.
    pub rules: Rules,
    /// The processes' logs: one for each life of each node, by (node, life).
    pub logs: BTreeMap<(String, u32), Vec<Event>>,
    /// The driver's own log.
    pub nemesis: Vec<Event>,
    /// What the store held in the end.
    pub dump: Dump,
    /// Lines that a death has cut off; they can only be the last of a log.
    pub torn: usize,
}

/// What the checker must know of a run besides what happened in it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Rules {
    /// The scenario's name.
    pub scenario: String,
    /// `sqlite` or `redis`.
    pub store: String,
    /// All that the run decided by chance follows from it.
    pub seed: u64,
    /// The workers' lease.
    pub lease_ms: u64,
    /// A job that has lost so many holders is dead.
    pub crash_limit: u32,
    /// A job that outlives its timeout by this is taken away.
    pub deadline_grace_ms: u64,
    /// The store's clock was wrong on purpose: leases and due times that follow it prove nothing.
    pub store_clock_wrong: bool,
    /// A dead worker's jobs must run again within this; longer is a broken promise.
    pub recovery_max_ms: u64,
    /// No job may count a crash: nobody was killed.
    pub no_crashes: bool,
    /// No worker that lives may be taken for dead: none was stopped, and handlers that block are no excuse.
    pub no_false_deaths: bool,
    /// A loss is what this run must show: a negative control.
    pub must_lose: bool,
    /// What was acknowledged so long before one of the driver's `lossy` faults may be gone, as the mode of the store says.
    pub lossy_window_ms: u64,
    /// A run that holds less has shown nothing.
    pub at_least: AtLeast,
}

/// What a run must hold to count.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[expect(missing_docs, reason = "they say it themselves")]
pub struct AtLeast {
    pub acked: u64,
    pub unsure: u64,
    pub refused: u64,
    pub stale_refusals: u64,
    pub starts: u64,
    /// Kills at each of these steps (`any` is a kill by the driver).
    pub kills: BTreeMap<String, u64>,
    /// Things that the driver must have noticed.
    pub noticed: BTreeMap<String, u64>,
}

/// What the store held in the end.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Dump {
    /// From a list of all jobs.
    pub jobs: Vec<DumpJob>,
    /// From a list of each state, in the same moment.
    pub by_state: BTreeMap<JobState, Vec<JobId>>,
    /// The maintained counters, of all queues together.
    pub counters: BTreeMap<JobState, u64>,
    /// Completed jobs that the store has counted.
    pub completed_total: u64,
    /// Workers that are alive.
    pub alive: Vec<Incarnation>,
    /// Stale writes that the store has counted.
    pub refusals: u64,
    /// What an inspection of the file or the keys has found wrong.
    pub damage: Vec<String>,
    /// That such an inspection was made.
    pub inspected: bool,
}

/// A job as the store shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "as in tidemill::job::JobRecord")]
pub struct DumpJob {
    pub id: JobId,
    pub state: JobState,
    pub attempt: u32,
    pub max_attempts: u32,
    pub crashes: u32,
    pub epoch: u64,
    pub unique_key: Option<String>,
    pub enqueued_by: String,
    pub dead_reason: Option<DeadReason>,
    pub holder: Option<Incarnation>,
    pub payload: Option<String>,
}

/// The driver's own log.
pub const NEMESIS: &str = "nemesis.log";
/// The dump's file.
pub const DUMP: &str = "dump.json";
/// The rules' file.
pub const RULES: &str = "rules.json";

impl History {
    /// Reads a run's folder.
    ///
    /// # Errors
    /// When a file is missing or not one of ours.
    pub fn read(dir: &Path) -> anyhow::Result<Self> {
        let mut history = Self { rules: json(&dir.join(RULES))?, dump: json(&dir.join(DUMP))?, ..Self::default() };
        history.nemesis = read_log(&dir.join(NEMESIS))?.0;
        for entry in std::fs::read_dir(dir)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let Some((node, life)) = name.strip_suffix(".log").and_then(|name| name.split_once('.')) else { continue };
            let (events, torn) = read_log(&path)?;
            history.torn += torn;
            history.logs.insert((node.to_owned(), life.parse().context(name.clone())?), events);
        }
        Ok(history)
    }

    /// Everything that the producers' logs tell, and all others', in the order of time.
    pub fn all(&self) -> Vec<(&(String, u32), &Event)> {
        let mut all: Vec<_> = self.logs.iter().flat_map(|(who, events)| events.iter().map(move |e| (who, e))).collect();
        all.sort_by_key(|(_, event)| event.ns);
        all
    }

    /// When each process ended, by what.
    pub fn ends(&self) -> BTreeMap<(String, u32), (u64, String)> {
        let mut ends: BTreeMap<(String, u32), (u64, String)> = BTreeMap::new();
        for event in &self.nemesis {
            if let What::Ended { node, life, cause } = &event.what {
                ends.entry((node.clone(), *life)).or_insert((event.ns, cause.clone()));
            }
        }
        for (who, events) in &self.logs {
            for event in events {
                if let What::Kill { step } = &event.what {
                    // Before the driver could see it.
                    ends.insert(who.clone(), (event.ns, step.clone()));
                }
            }
        }
        ends
    }
}

fn json<T: for<'de> Deserialize<'de>>(path: &Path) -> anyhow::Result<T> {
    let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("understand {}", path.display()))
}

/// A log's events, and how many lines were cut off (at most the last). A file that is not there is empty.
///
/// # Errors
/// When a line is none of ours.
pub fn read_log(path: &Path) -> anyhow::Result<(Vec<Event>, usize)> {
    let text = match std::fs::read_to_string(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok((Vec::new(), 0)),
        text => text.with_context(|| format!("read {}", path.display()))?,
    };
    let whole = text.rfind('\n').map_or(0, |end| end + 1);
    let events = text[..whole].lines().enumerate().map(|(nth, line)| {
        serde_json::from_str(line).with_context(|| format!("{}, line {}: {line}", path.display(), nth + 1))
    });
    Ok((events.collect::<anyhow::Result<_>>()?, usize::from(whole < text.len())))
}

/// The last whole line of a log, if there is one.
pub fn read_last(path: &Path) -> Option<Event> {
    let text = std::fs::read_to_string(path).ok()?;
    let whole = &text[..text.rfind('\n')?];
    serde_json::from_str(whole.rsplit('\n').next()?).ok()
}
