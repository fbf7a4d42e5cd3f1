//! Reads the queue out of a Redis, key by key, as the layout says (`src/store/redis/lua/base.lua`): never through the store
//! that is being judged.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;
use tidemill_testkit::RedisServer;

use super::super::history::{Dump, Job};

type Bytes = Vec<u8>;

/// Jobs of which `is` is true. Their kind and what they are about are looked up for those alone.
pub(super) fn jobs(server: &RedisServer, is: impl Fn(&Job) -> bool) -> Vec<Job> {
    let heads: HashMap<String, Bytes> = server.command(&["HGETALL", "{tidemill}:head"]);
    let (members, mut jobs): (Vec<String>, Vec<Job>) =
        heads.into_iter().map(|(member, head)| (member, job(&head))).filter(|(_, job)| is(job)).unzip();
    for (some, jobs) in members.chunks(1_000).zip(jobs.chunks_mut(1_000)) {
        let words = ["HMGET", "{tidemill}:body"].into_iter().chain(some.iter().map(String::as_str));
        let bodies: Vec<Bytes> = server.command(&words.collect::<Vec<_>>());
        for (job, body) in jobs.iter_mut().zip(bodies) {
            (job.kind, job.about) = kind_and_subject(&body);
        }
    }
    jobs
}

/// The queue's part of a dump.
pub(super) fn read(server: &RedisServer, dump: &mut Dump) {
    dump.jobs = jobs(server, |_| true);
    let counts: HashMap<String, i64> = server.command(&["HGETALL", "{tidemill}:counts"]);
    for (field, n) in counts {
        let (letter, queue) = field.split_once(':').unwrap();
        dump.counts.insert((queue.to_owned(), word(letter.as_bytes()[0]).to_owned()), n);
    }
    let queues: Vec<String> = server.command(&["SMEMBERS", "{tidemill}:queues"]);
    for queue in queues {
        let completed: Option<i64> = server.command(&["HGET", &format!("{{tidemill}}:q:{queue}"), "completed"]);
        dump.completed.insert(queue, completed.unwrap_or(0));
    }
    let alive: Vec<Bytes> = server.command(&["ZRANGE", "{tidemill}:alive", "0", "-1"]);
    dump.alive = alive.iter().map(hex::encode).collect();
}

/// A head, as `lua/head.lua` describes it.
fn job(head: &[u8]) -> Job {
    let number = |from: usize, bytes: usize| {
        let mut number = [0; 8];
        number[..bytes].copy_from_slice(&head[from..from + bytes]);
        i64::from_le_bytes(number)
    };
    let time = |from| Some(number(from, 6)).filter(|at| *at > 0);
    let holder = &head[15..31];
    Job {
        id: hex::encode(&head[66..82]),
        queue: String::from_utf8(head[82..].to_vec()).unwrap(),
        kind: String::new(),
        state: word(head[0]).to_owned(),
        attempt: number(35, 4),
        crashes: number(58, 2),
        epoch: number(31, 4),
        holder: holder.iter().any(|byte| *byte != 0).then(|| hex::encode(holder)),
        started_at: time(39),
        finished_at: time(3),
        about: String::new(),
    }
}

fn word(letter: u8) -> &'static str {
    let words = BTreeMap::from([
        (b's', "scheduled"),
        (b'r', "ready"),
        (b'u', "running"),
        (b'c', "completed"),
        (b'd', "dead"),
        (b'x', "cancelled"),
    ]);
    words[&letter]
}

/// Out of a body: unique key, version, attempts, then kind and payload, each with its length before it.
fn kind_and_subject(body: &[u8]) -> (String, String) {
    let key_len = usize::from(u16::from_le_bytes([body[0], body[1]]));
    let mut rest = &body[2 + key_len + 5..];
    let mut text = || {
        let (len, after) = rest.split_first_chunk().unwrap();
        let (text, after) = after.split_at(usize::try_from(u32::from_le_bytes(*len)).unwrap());
        rest = after;
        text
    };
    let kind = String::from_utf8(text().to_vec()).unwrap();
    let payload: Value = serde_json::from_slice(text()).unwrap();
    let subject = match kind.as_str() {
        "webhook.received" | "stripe.event" => &payload["event_id"],
        "webhook.fanout" => &payload["id"],
        "webhook.deliver" => &payload["message"],
        _ => &Value::Null,
    };
    let subject = subject.as_str().unwrap_or_default().to_owned();
    (kind, subject)
}
