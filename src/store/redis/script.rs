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

script!(DECLARE = "head" "front" "write" "declare");
script!(ENQUEUE = "head" "front" "write" "place" "enqueue");
script!(CLAIM = "head" "front" "write" "limits" "claim");
script!(SETTLE = "head" "front" "write" "place" "settle");
script!(HEARTBEAT = "head" "front" "heartbeat");
script!(SIGN_OFF = "head" "front" "write" "lives" "sign_off");
script!(RESCUE = "head" "front" "write" "lives" "rescue");
script!(REPAIR = "head" "front" "write" "drop" "repair");
script!(PROMOTE = "head" "front" "write" "promote");
script!(PROGRESS = "head" "front" "progress");
script!(LOG = "head" "front" "log");
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
script!(TICK = "head" "front" "write" "place" "schedule" "tick");
script!(CHANGE_SCHEDULE = "schedule" "change_schedule");
script!(CANCEL = "head" "front" "write" "job" "cancel");
script!(RETRY = "head" "front" "write" "job" "retry");
script!(DELETE = "head" "front" "write" "drop" "job" "delete");
script!(PAUSE = "head" "front" "write" "pause");
script!(PURGE = "head" "front" "write" "purge");
script!(DRAIN = "drain");
script!(GET = "head" "front" "job" "whole" "get");
script!(LINES = "head" "front" "job" "lines");
script!(COUNTS = "counts");
script!(WORKERS = "workers");
script!(EXPLAIN = "head" "front" "limits" "job" "explain");
script!(NOW = "now");
script!(SLICE = "head" "sift" "slice");
script!(NEWEST = "head" "front" "sift" "newest");
script!(HOLDERS = "holders");
script!(HELD = "held");
script!(RUNNING = "head" "front" "sift" "running");
script!(RECORDS = "head" "front" "whole" "records");
script!(PRUNE = "head" "front" "write" "drop" "prune");
script!(SWEEP = "head" "front" "write" "drop" "sweep");
