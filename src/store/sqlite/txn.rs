//! One write transaction as the statements see it: the connection, the time, and what must be told afterwards.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use rusqlite::types::{Null, Value};
use rusqlite::vtab::array::Array;
use rusqlite::{CachedStatement, Connection, OptionalExtension, ToSql};

use super::failure::During;
use crate::clock::Timestamp;
use crate::job::{JobState, QueueName};
use crate::store::{QueueSettings, StoreError};

/// The row id of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct QueueId(pub(super) i64);

/// What is set for the whole store.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) crash_limit: u32,
    pub(super) deadline_grace_ms: i64,
}

/// Queues by name; read once, kept by the writer.
#[derive(Debug, Default)]
pub(super) struct QueueNames(HashMap<QueueName, QueueId>);

/// Rows that stand side by side are changed by one statement where such runs are at least so long on average.
const RUN: usize = 8;

/// What a transaction has done so far and nobody has been told yet.
#[derive(Clone, Debug, Default)]
pub(super) struct Effects {
    counts: BTreeMap<(QueueId, JobState), i64>,
    /// Queues that have new ready jobs.
    pub(super) woken: BTreeSet<QueueId>,
    /// The earliest job scheduled.
    pub(super) earliest: Option<Timestamp>,
    completed: BTreeMap<QueueId, i64>,
    refusals: i64,
}

/// One write transaction.
#[derive(Debug)]
pub(super) struct Txn<'a> {
    pub(super) conn: &'a Connection,
    pub(super) now: Timestamp,
    pub(super) rules: Rules,
    /// Since when writes have worked without a gap; no lease is judged expired within its length from here.
    pub(super) healthy_since: Timestamp,
    pub(super) queues: &'a mut QueueNames,
    pub(super) effects: Effects,
}

impl<'a> Txn<'a> {
    /// A prepared statement, kept for the next time.
    pub(super) fn sql(&self, sql: &str) -> Result<CachedStatement<'a>, StoreError> {
        self.conn.prepare_cached(sql).during("prepare a statement")
    }

    /// Does `work` with a statement over `rarray` and the numbers to bind to it: one statement over many rows costs a third of a
    /// statement each.
    ///
    /// rusqlite 0.39 lets go of a bound list as of something smaller: where the binding is the last to own it, the numbers are
    /// never freed. So the list outlives the statement here, and its binding with it.
    pub(super) fn with_list<T>(
        &self,
        sql: &str,
        numbers: impl Iterator<Item = i64>,
        work: impl FnOnce(&mut CachedStatement<'_>, Array) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let list: Array = Rc::new(numbers.map(Value::Integer).collect());
        let mut statement = self.sql(sql)?;
        let done = work(&mut statement, Rc::clone(&list));
        drop(statement);
        debug_assert_eq!(Rc::strong_count(&list), 1, "a binding outlived its statement");
        done
    }

    /// Changes rows of `jobs`, each named once, by as few statements as may be; how many rows were changed. `change` is an
    /// update up to its `where`, `only` what must hold of each row; their own parameters begin with `?3`.
    pub(super) fn change_jobs(
        &self,
        step: &'static str,
        (change, only): (&str, &str),
        mut rows: Vec<i64>,
        parameters: &[&dyn ToSql],
    ) -> Result<usize, StoreError> {
        // Jobs come and end nearly in the order of their rows: ranges spare the list, a sixth of the statement's time.
        rows.sort_unstable();
        let runs: Vec<(i64, i64)> =
            rows.chunk_by(|one, next| one + 1 == *next).filter_map(|run| Some((*run.first()?, *run.last()?))).collect();
        let bind = |first: &dyn ToSql, last: &dyn ToSql, sql: &mut CachedStatement<'_>| {
            let all: Vec<&dyn ToSql> = [first, last].into_iter().chain(parameters.iter().copied()).collect();
            sql.execute(&*all).during(step)
        };
        if runs.len() > rows.len().div_ceil(RUN) {
            let sql = format!("{change} where seq in (select value from rarray(?1)) and {only}");
            return self.with_list(&sql, rows.into_iter(), |sql, list| bind(&list, &Null, sql));
        }
        let mut sql = self.sql(&format!("{change} where seq between ?1 and ?2 and {only}"))?;
        runs.iter().try_fold(0, |changed, (first, last)| Ok(changed + bind(first, last, &mut sql)?))
    }

    /// Counts one job that leaves `from` (none: it is new) and enters `to` (none: it is taken away).
    pub(super) fn count(&mut self, queue: QueueId, from: Option<JobState>, to: Option<JobState>) {
        self.count_many(queue, from, to, 1);
    }

    /// Counts `n` jobs of one queue that go the same way.
    pub(super) fn count_many(&mut self, queue: QueueId, from: Option<JobState>, to: Option<JobState>, n: usize) {
        let n = i64::try_from(n).unwrap_or(i64::MAX);
        if let Some(from) = from {
            *self.effects.counts.entry((queue, from)).or_default() -= n;
        }
        if let Some(to) = to {
            *self.effects.counts.entry((queue, to)).or_default() += n;
        }
        match to {
            Some(JobState::Ready) => drop(self.effects.woken.insert(queue)),
            Some(JobState::Completed) => *self.effects.completed.entry(queue).or_default() += n,
            Some(JobState::Scheduled | JobState::Running | JobState::Dead | JobState::Cancelled) | None => {}
        }
    }

    /// Notes that a job was scheduled for `at`.
    pub(super) fn scheduled(&mut self, at: Timestamp) {
        self.effects.earliest = Some(self.effects.earliest.map_or(at, |earliest| earliest.min(at)));
    }

    /// Counts a stale write that was refused.
    pub(super) fn refuse(&mut self) {
        self.effects.refusals += 1;
    }

    /// The id of a known queue.
    pub(super) fn queue(&mut self, name: &QueueName) -> Result<QueueId, StoreError> {
        if let Some(id) = self.queues.0.get(name) {
            return Ok(*id);
        }
        let id = self
            .sql("select id from queues where name = ?1")?
            .query_row([name.as_str()], |row| row.get(0).map(QueueId))
            .optional()
            .during("look a queue up")?
            .ok_or_else(|| StoreError::NoSuchQueue(name.clone()))?;
        self.queues.0.insert(name.clone(), id);
        Ok(id)
    }

    /// All queues' ids.
    pub(super) fn all_queues(&self) -> Result<Vec<QueueId>, StoreError> {
        let mut rows = self.sql("select id from queues order by id")?;
        rows.query_map([], |row| row.get(0).map(QueueId))
            .during("list queues")?
            .collect::<Result<_, _>>()
            .during("list queues")
    }

    /// Makes a queue known, or sets its limits.
    pub(super) fn declare(&mut self, settings: &QueueSettings) -> Result<(), StoreError> {
        let json = |e: serde_json::Error| StoreError::Corrupt { place: "queue settings".into(), detail: e.to_string() };
        let rate = settings.rate.as_ref().map(serde_json::to_string).transpose().map_err(json)?;
        let retention = serde_json::to_string(&settings.retention).map_err(json)?;
        let id: i64 = self
            .sql(
                "insert into queues (name, rate, retention) values (?1, ?2, ?3)
                 on conflict (name) do update set rate = excluded.rate, retention = excluded.retention
                 returning id",
            )?
            .query_row((settings.name.as_str(), rate, retention), |row| row.get(0))
            .during("declare a queue")?;
        self.effects.woken.insert(QueueId(id));
        Ok(())
    }

    /// Writes the counters; the last thing before the commit.
    pub(super) fn flush(&mut self) -> Result<(), StoreError> {
        let mut counts = self.sql(
            "insert into counts (queue, state, n) values (?1, ?2, ?3)
             on conflict (queue, state) do update set n = n + excluded.n",
        )?;
        // A first row with a negative number would break the table's check: ups before downs.
        let mut changes: Vec<_> = self.effects.counts.iter().filter(|(_, by)| **by != 0).collect();
        changes.sort_by_key(|(_, by)| -**by);
        for ((queue, state), by) in changes {
            if *by < 0 {
                let mut down = self.sql("update counts set n = n + ?3 where queue = ?1 and state = ?2")?;
                let rows = down.execute((queue.0, state.as_str(), by)).during("count jobs down")?;
                if rows != 1 {
                    let detail = format!("no counter for queue {} in state {state}", queue.0);
                    return Err(StoreError::Corrupt { place: "counts".into(), detail });
                }
            } else {
                counts.execute((queue.0, state.as_str(), by)).during("count jobs")?;
            }
        }
        let mut total = self.sql("update queues set completed_total = completed_total + ?2 where id = ?1")?;
        for (queue, by) in &self.effects.completed {
            total.execute((queue.0, by)).during("count completions")?;
        }
        if self.effects.refusals > 0 {
            self.sql("update gauges set value = value + ?1 where name = 'lease_refusals'")?
                .execute([self.effects.refusals])
                .during("count refusals")?;
        }
        Ok(())
    }
}
