//! Where a page's jobs are found: the indexes of queues, the holders of running jobs, or all numbers from the newest down.

use redis::{Cmd, Script};

use super::super::parts::Parts;
use super::super::{RedisStore, script, wire};
use super::Found;
use crate::job::{JobState, QueueName};
use crate::store::query::Place;
use crate::store::{BATCH_MAX, ListQuery, StoreError};

/// Jobs that one page may look at where a filter leaves most out.
const LOOK_MAX: usize = 2_000;
/// Thousands of numbers that one page may look at: most of them may be empty.
const BLOCKS_MAX: usize = 20;
const STEP: &str = "list jobs";

impl RedisStore {
    /// The queues to look at.
    pub(super) async fn queues_of(&self, query: &ListQuery) -> Result<Vec<QueueName>, StoreError> {
        let command = redis::cmd("SMEMBERS").arg(format!("{}queues", self.link.prefix())).to_owned();
        let names: Vec<String> = redis::from_redis_value(self.link.send(STEP, &command).await?)
            .map_err(|e| StoreError::Corrupt { place: "queues".into(), detail: e.to_string() })?;
        let known = names.iter().filter_map(|name| name.parse().ok());
        let wanted: Vec<QueueName> =
            known.filter(|name| query.queue.as_ref().is_none_or(|queue| queue == name)).collect();
        match &query.queue {
            Some(queue) if wanted.is_empty() => Err(StoreError::NoSuchQueue(queue.clone())),
            _ => Ok(wanted),
        }
    }

    /// Of each queue the places from the cursor on, in one order.
    pub(super) async fn merged(
        &self,
        query: &ListQuery,
        state: JobState,
        queues: &[QueueName],
        limit: usize,
    ) -> Result<Found, StoreError> {
        let filtered = query.kind.is_some() || query.tenant.is_some();
        let look = if filtered { BATCH_MAX } else { limit + 1 };
        let mut found = Found::default();
        for queue in queues {
            let one = self.index(query, state, queue, look).await?;
            found.known_until = found.known_until.into_iter().chain(one.known_until).min();
            found.places.extend(one.places);
        }
        found.places.sort_unstable();
        // Beyond the first place where looking has stopped, another queue may have more.
        found.places.retain(|place| found.known_until.is_none_or(|known| *place <= known));
        Ok(found)
    }

    /// The places of one queue's index of a state.
    async fn index(
        &self,
        query: &ListQuery,
        state: JobState,
        queue: &QueueName,
        look: usize,
    ) -> Result<Found, StoreError> {
        let letter = wire::letter(state);
        let (first, keys, down) = match state {
            JobState::Ready => {
                let first = query.cursor.map_or(0, |cursor| cursor.after.major.clamp(0, 9));
                (first, (first..=9).map(|priority| format!("ready:{queue}:{priority}")).collect(), false)
            }
            JobState::Scheduled => (0, vec![format!("due:{queue}")], false),
            _ => (0, vec![format!("end:{queue}:{letter}")], true),
        };
        let sign = if down { -1 } else { 1 };
        let mut cmd = self.link.call(&script::SLICE);
        cmd.arg(look).arg(if down { "down" } else { "up" });
        put_filter(&mut cmd, query);
        match query.cursor {
            Some(cursor) => {
                cmd.arg(cursor.after.minor.saturating_mul(sign)).arg(&wire::member(cursor.after.seq));
            }
            None => {
                cmd.arg(0).arg("");
            }
        }
        cmd.arg(keys);
        let mut parts = self.parts(&script::SLICE, &cmd).await?;
        let over = parts.number()? == 1;
        let major = |nth: i64| if state == JobState::Ready { first + nth - 1 } else { 0 };
        let mut next = || -> Result<Option<Place>, StoreError> {
            if parts.is_over() {
                return Ok(None);
            }
            let (nth, score, member) = (parts.number()?, parts.number()?, parts.bytes()?);
            if member.is_empty() {
                return Ok(None);
            }
            Ok(Some(Place { major: major(nth), minor: sign * score, seq: sign * wire::slot(&member)? }))
        };
        let last = next()?;
        let mut found = Found { places: Vec::new(), known_until: last.filter(|_| !over) };
        while let Some(place) = next()? {
            found.places.push(place);
        }
        Ok(found)
    }

    /// All jobs, newest first.
    pub(super) async fn newest(&self, query: &ListQuery, limit: usize) -> Result<Found, StoreError> {
        let mut below = query.cursor.map_or(i64::MAX >> 16, |cursor| cursor.after.seq.saturating_neg());
        let mut found = Found::default();
        let mut looked = 0;
        for _ in 0..BLOCKS_MAX {
            let mut cmd = self.link.call(&script::NEWEST);
            cmd.arg(below).arg(limit + 1 - found.places.len());
            put_queue(&mut cmd, query);
            put_filter(&mut cmd, query);
            let mut parts = self.parts(&script::NEWEST, &cmd).await?;
            let lowest = parts.number()?;
            looked += usize::try_from(parts.number()?).unwrap_or(usize::MAX);
            while !parts.is_over() {
                found.places.push(Place { major: 0, minor: 0, seq: -wire::slot(&parts.bytes()?)? });
            }
            if lowest < 0 {
                found.known_until = None;
                break;
            }
            below = lowest;
            found.known_until = Some(Place { major: 0, minor: 0, seq: -lowest });
            if found.places.len() > limit || looked >= LOOK_MAX {
                break;
            }
        }
        Ok(found)
    }

    /// Running jobs, newest first. There are as many as all pools together have places.
    pub(super) async fn running(&self, query: &ListQuery, limit: usize) -> Result<Found, StoreError> {
        let below = query.cursor.map_or(i64::MAX, |cursor| cursor.after.seq.saturating_neg());
        let mut slots = self.held().await?;
        slots.retain(|slot| *slot < below);
        slots.sort_unstable_by(|a, b| b.cmp(a));
        slots.dedup();
        let mut found = Found::default();
        let looks = slots.chunks(BATCH_MAX).take(LOOK_MAX / BATCH_MAX);
        for part in looks {
            let mut cmd = self.link.call(&script::RUNNING);
            put_queue(&mut cmd, query);
            put_filter(&mut cmd, query);
            for slot in part {
                cmd.arg(&wire::member(*slot));
            }
            let mut parts = self.parts(&script::RUNNING, &cmd).await?;
            while !parts.is_over() {
                found.places.push(Place { major: 0, minor: 0, seq: -wire::slot(&parts.bytes()?)? });
            }
            if found.places.len() > limit {
                break;
            }
        }
        if slots.len() > LOOK_MAX {
            found.known_until = Some(Place { major: 0, minor: 0, seq: -slots[LOOK_MAX - 1] });
        }
        Ok(found)
    }

    /// The numbers of all jobs that somebody holds.
    async fn held(&self) -> Result<Vec<i64>, StoreError> {
        let mut holders = self.parts(&script::HOLDERS, &self.link.call(&script::HOLDERS)).await?;
        let mut ranges = Vec::new();
        while !holders.is_over() {
            let (worker, count) = (holders.bytes()?, usize::try_from(holders.number()?).unwrap_or(0));
            let starts = (0..count).step_by(BATCH_MAX);
            ranges.extend(starts.map(|start| (worker.clone(), start, count.min(start + BATCH_MAX))));
        }
        let mut slots = Vec::new();
        let mut ranges = ranges.into_iter().peekable();
        while ranges.peek().is_some() {
            let mut cmd = self.link.call(&script::HELD);
            let mut room = BATCH_MAX;
            while let Some((worker, start, end)) = ranges.next_if(|(_, start, end)| end - start <= room) {
                room -= end - start;
                cmd.arg(worker).arg(start).arg(end - 1);
            }
            let mut parts = self.parts(&script::HELD, &cmd).await?;
            while !parts.is_over() {
                slots.push(wire::slot(&parts.bytes()?)?);
            }
        }
        Ok(slots)
    }

    async fn parts(&self, script: &Script, cmd: &Cmd) -> Result<Parts, StoreError> {
        Parts::of(STEP, self.ask(STEP, script, cmd).await?)
    }
}

fn put_queue(cmd: &mut Cmd, query: &ListQuery) {
    cmd.arg(query.queue.as_ref().map_or("", QueueName::as_str));
}

fn put_filter(cmd: &mut Cmd, query: &ListQuery) {
    for wanted in [&query.kind, &query.tenant] {
        cmd.arg(wanted.as_ref().map_or_else(String::new, |text| format!("={text}")));
    }
}
