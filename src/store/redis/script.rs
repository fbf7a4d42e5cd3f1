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

script!(DECLARE = "head" "write" "declare");
script!(ENQUEUE = "head" "write" "place" "enqueue");
script!(CLAIM = "head" "write" "limits" "claim");
script!(SETTLE = "head" "write" "place" "settle");
script!(HEARTBEAT = "head" "heartbeat");
script!(SIGN_OFF = "head" "write" "lives" "sign_off");
script!(RESCUE = "head" "write" "lives" "rescue");
script!(REPAIR = "head" "write" "drop" "repair");
script!(PROMOTE = "head" "write" "promote");
script!(PROGRESS = "head" "progress");
script!(LOG = "head" "log");
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
script!(TICK = "head" "write" "place" "schedule" "tick");
script!(CHANGE_SCHEDULE = "schedule" "change_schedule");
script!(CANCEL = "head" "write" "job" "cancel");
script!(RETRY = "head" "write" "job" "retry");
script!(DELETE = "head" "write" "drop" "job" "delete");
script!(PAUSE = "head" "write" "pause");
script!(PURGE = "head" "write" "purge");
script!(DRAIN = "drain");
script!(GET = "head" "job" "whole" "get");
script!(LINES = "job" "lines");
script!(COUNTS = "counts");
script!(WORKERS = "workers");
script!(EXPLAIN = "head" "limits" "job" "explain");
script!(NOW = "now");
script!(SLICE = "head" "sift" "slice");
script!(NEWEST = "head" "sift" "newest");
script!(HOLDERS = "holders");
script!(HELD = "held");
script!(RUNNING = "head" "sift" "running");
script!(RECORDS = "head" "whole" "records");
script!(PRUNE = "head" "write" "drop" "prune");
script!(SWEEP = "head" "write" "drop" "sweep");
