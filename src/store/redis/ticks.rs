//! Schedules: declared, changed, ticked. The cursor makes each due time decided once.
//!
//! A tick is one script: it looks the schedule up, judges the last job, places the new one and moves the cursor, or does none
//! of it. Descriptions are kept as the JSON text they came as.

use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde_json::Value;

use super::RedisStore;
use super::failure::misread;
use super::jobs::{outcome, put_jobs};
use super::link::Access;
use super::parts::Parts;
use super::{script, told};
use crate::clock::Timestamp;
use crate::job::JobId;
use crate::store::{
    Fired, HistoryEntry, Overlap, ScheduleChange, ScheduleDeclaration, ScheduleRecord, StoreError, Tick, Ticked,
};

/// How many schedules one script reads.
const PAGE: u32 = 500;

impl RedisStore {
    pub(super) async fn declare_each(&self, schedules: &[ScheduleDeclaration]) -> Result<(), StoreError> {
        let step = "declare schedules";
        if schedules.is_empty() {
            return Ok(());
        }
        let mut cmd = self.link.call(&script::DECLARE_SCHEDULES);
        for schedule in schedules {
            cmd.arg(&*schedule.name).arg(schedule.declared.to_string());
        }
        self.link.run(Access::Write, step, &script::DECLARE_SCHEDULES, &cmd).await.map(drop)
    }

    pub(super) async fn all_schedules(&self) -> Result<Vec<ScheduleRecord>, StoreError> {
        let step = "list schedules";
        let mut all = Vec::new();
        let mut from = "-".to_owned();
        loop {
            let mut cmd = self.link.call(&script::SCHEDULES);
            cmd.arg(&from).arg(PAGE);
            let mut parts = Parts::of(step, self.link.run(Access::Read, step, &script::SCHEDULES, &cmd).await?)?;
            let last = text(parts.bytes()?)?;
            while !parts.is_over() {
                all.push(read(&mut parts)?);
            }
            if last.is_empty() {
                return Ok(all);
            }
            from = format!("({last}");
        }
    }

    pub(super) async fn decide(&self, tick: &Tick) -> Result<Ticked, StoreError> {
        let step = "decide a due time";
        let overlap = match tick.overlap {
            Overlap::Allow => "allow",
            Overlap::Skip => "skip",
            Overlap::QueueOne => "queue_one",
        };
        let hand = if tick.manual { format!("={}", tick.job.spec.enqueued_by) } else { String::new() };
        let mut cmd = self.link.call(&script::TICK);
        cmd.arg(&*tick.schedule).arg(tick.due.as_ms()).arg(overlap).arg(hand);
        put_jobs(&mut cmd, std::slice::from_ref(&tick.job))?;
        let mut parts = Parts::of(step, self.link.run(Access::Write, step, &script::TICK, &cmd).await?)?;
        outcome(&mut parts)?;
        let (word, job) = (parts.bytes()?, parts.bytes()?);
        told(&self.link, parts);
        let job = || job_of(&job)?.ok_or_else(|| misread(step, "job"));
        match word.as_slice() {
            b"enqueued" => Ok(Ticked::Enqueued(job()?)),
            b"skipped" => Ok(Ticked::SkippedOverlap(job()?)),
            b"decided" => Ok(Ticked::AlreadyDecided),
            b"held" => Ok(Ticked::Held),
            b"paused" => Ok(Ticked::Paused),
            _ => Err(misread(step, "known word")),
        }
    }

    pub(super) async fn change(&self, name: &str, change: &ScheduleChange, by: &str) -> Result<bool, StoreError> {
        let step = "change a schedule";
        let mut cmd = self.link.call(&script::CHANGE_SCHEDULE);
        cmd.arg(name);
        match change {
            ScheduleChange::Pause => cmd.arg("pause").arg("changed").arg(format!("paused by {by}")),
            ScheduleChange::Resume => cmd.arg("resume").arg("changed").arg(format!("resumed by {by}")),
            ScheduleChange::Override(spec) => {
                let spec = spec.as_ref().map(Value::to_string);
                let what = spec.as_deref().unwrap_or("the code's own description");
                cmd.arg("override").arg("changed").arg(format!("set by {by} to {what}")).arg(spec.unwrap_or_default())
            }
            ScheduleChange::SkipTo { from, cursor, missed } => {
                let (word, note) = match missed {
                    0 => ("changed", format!("starts afresh from {cursor}: {by}")),
                    n => ("missed", format!("{n} due times up to {cursor} were left out: {by}")),
                };
                cmd.arg("skip").arg(word).arg(note).arg(from.as_ms()).arg(cursor.as_ms())
            }
        };
        let mut parts = Parts::of(step, self.link.run(Access::Write, step, &script::CHANGE_SCHEDULE, &cmd).await?)?;
        outcome(&mut parts)?;
        Ok(parts.number()? == 1)
    }

    pub(super) async fn history_of(&self, name: &str) -> Result<Vec<HistoryEntry>, StoreError> {
        let step = "read a schedule's history";
        let mut cmd = self.link.call(&script::HISTORY);
        cmd.arg(name);
        let mut parts = Parts::of(step, self.link.run(Access::Read, step, &script::HISTORY, &cmd).await?)?;
        outcome(&mut parts)?;
        let mut entries = Vec::new();
        while !parts.is_over() {
            entries.push(entry(&text(parts.bytes()?)?).ok_or_else(|| misread(step, "whole line"))?);
        }
        Ok(entries)
    }
}

fn read(parts: &mut Parts) -> Result<ScheduleRecord, StoreError> {
    let name = text(parts.bytes()?)?;
    let declared = value(&parts.bytes()?)?.unwrap_or(Value::Null);
    let overridden = value(&parts.bytes()?)?;
    let paused = parts.bytes()? == b"1";
    let cursor = Timestamp::from_ms(parts.number()?);
    let last_job = job_of(&parts.bytes()?)?;
    let (last_due, held_due) = (time(text(parts.bytes()?)?)?, time(text(parts.bytes()?)?)?);
    Ok(ScheduleRecord { name: name.into(), declared, overridden, paused, cursor, last_job, last_due, held_due })
}

/// A line `<at>|<word>|<due>|<job>|<note>`.
fn entry(line: &str) -> Option<HistoryEntry> {
    let mut parts = line.splitn(5, '|');
    let (at, word, due, job) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let word: serde::de::value::StrDeserializer<'_, serde::de::value::Error> = word.into_deserializer();
    Some(HistoryEntry {
        at: Timestamp::from_ms(at.parse().ok()?),
        what: Fired::deserialize(word).ok()?,
        due: if due.is_empty() { None } else { Some(Timestamp::from_ms(due.parse().ok()?)) },
        job: if job.is_empty() { None } else { Some(job.parse().ok()?) },
        note: parts.next()?.to_owned(),
    })
}

fn unreadable(detail: impl std::fmt::Display) -> StoreError {
    StoreError::Corrupt { place: "a schedule".into(), detail: detail.to_string() }
}

fn text(bytes: Vec<u8>) -> Result<String, StoreError> {
    String::from_utf8(bytes).map_err(unreadable)
}

fn value(json: &[u8]) -> Result<Option<Value>, StoreError> {
    if json.is_empty() { Ok(None) } else { serde_json::from_slice(json).map(Some).map_err(unreadable) }
}

fn time(text: String) -> Result<Option<Timestamp>, StoreError> {
    if text.is_empty() { Ok(None) } else { text.parse().map(Timestamp::from_ms).map(Some).map_err(unreadable) }
}

fn job_of(id: &[u8]) -> Result<Option<JobId>, StoreError> {
    if id.is_empty() { Ok(None) } else { id.try_into().map(JobId::from_bytes).map(Some).map_err(unreadable) }
}
