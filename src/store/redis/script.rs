//! The scripts: constant texts put together from their parts in `lua/`, known to the server by their hash.

use std::sync::LazyLock;

use redis::Script;

/// Text of the named files in `lua/`, after what every script begins with.
macro_rules! script {
    ($name:ident = $($part:literal)+) => {
        pub(super) static $name: LazyLock<Script> = LazyLock::new(|| {
            Script::new(concat!(
                include_str!("lua/base.lua"),
                $(include_str!(concat!("lua/", $part, ".lua"))),+
            ))
        });
    };
}

script!(DECLARE = "head" "front" "pack" "member" "write" "declare");
script!(ENQUEUE = "head" "front" "pack" "member" "write" "number" "place" "enqueue");
script!(ENQUEUE_PACK = "head" "front" "pack" "member" "write" "number" "enqueue_pack");
script!(CLAIM = "head" "front" "pack" "member" "write" "limits" "claim");
script!(SETTLE = "head" "front" "pack" "member" "write" "number" "place" "complete" "settle");
script!(SETTLE_RUNS = "head" "front" "pack" "complete" "settle_runs");
script!(HEARTBEAT = "head" "front" "pack" "member" "heartbeat");
script!(SIGN_OFF = "head" "front" "pack" "member" "write" "lives" "sign_off");
script!(RESCUE = "head" "front" "pack" "member" "write" "lives" "rescue");
script!(REPAIR = "head" "front" "pack" "member" "write" "drop" "repair");
script!(PROMOTE = "head" "front" "pack" "member" "write" "promote");
script!(PROGRESS = "head" "front" "pack" "member" "progress");
script!(LOG = "head" "front" "pack" "member" "log");
script!(TAKE = "limits" "take");
script!(BUDGET = "limits" "budget");
script!(CACHE_GET = "cache_get");
script!(CACHE_PUT = "cache_put");
script!(CACHE_DROP = "cache_drop");
script!(RESERVE = "reserve");
script!(REMEMBER = "remember");
script!(RELEASE = "release");
script!(BREAKER = "breaker" "breaker_ask");
script!(BREAKER_REPORT = "breaker" "breaker_report");
script!(DECLARE_SCHEDULES = "declare_schedules");
script!(SCHEDULES = "schedules");
script!(HISTORY = "schedule" "history");
script!(TICK = "head" "front" "pack" "member" "write" "number" "place" "schedule" "tick");
script!(CHANGE_SCHEDULE = "schedule" "change_schedule");
script!(CANCEL = "head" "front" "pack" "member" "write" "job" "cancel");
script!(RETRY = "head" "front" "pack" "member" "write" "job" "retry");
script!(DELETE = "head" "front" "pack" "member" "write" "drop" "job" "delete");
script!(PAUSE = "head" "front" "pack" "member" "write" "pause");
script!(PURGE = "head" "front" "pack" "member" "write" "purge");
script!(DRAIN = "drain");
script!(GET = "head" "front" "pack" "member" "job" "whole" "get");
script!(LINES = "head" "front" "pack" "member" "job" "lines");
script!(COUNTS = "counts");
script!(WORKERS = "workers");
script!(EXPLAIN = "head" "front" "pack" "member" "limits" "job" "explain");
script!(NOW = "now");
script!(SLICE = "head" "front" "pack" "member" "sift" "slice");
script!(NEWEST = "head" "front" "pack" "member" "sift" "newest");
script!(HOLDERS = "holders");
script!(HELD = "head" "front" "pack" "held");
script!(RUNNING = "head" "front" "pack" "member" "sift" "running");
script!(RECORDS = "head" "front" "pack" "member" "whole" "records");
script!(PRUNE = "head" "front" "pack" "member" "write" "drop" "prune");
script!(SWEEP = "head" "front" "pack" "member" "write" "drop" "sweep");
