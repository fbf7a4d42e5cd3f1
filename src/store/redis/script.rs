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
script!(PROMOTE = "head" "write" "promote");
script!(PROGRESS = "head" "progress");
script!(LOG = "head" "log");
