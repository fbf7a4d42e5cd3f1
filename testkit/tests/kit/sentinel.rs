//! Sentinels: a master that dies or hangs is replaced, and follows the new one when it comes back.

use std::time::Duration;

use tidemill_testkit::{SentinelSettings, Sentinels};

const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn a_killed_master_is_replaced_and_comes_back_as_a_replica() {
    let set = Sentinels::start_with(SentinelSettings { password: Some("secret".into()), ..Default::default() });
    assert!(set.url().starts_with("redis+sentinel://:secret@127.0.0.1:") && set.url().ends_with("/mymaster"));
    let old = set.master();
    old.command::<String>(&["SET", "k", "kept"]);
    assert_eq!(old.command::<u32>(&["WAIT", "2", "10000"]), 2);
    old.kill();
    let new = set.wait_for_new_master(old, PATIENCE);
    assert_ne!(new.port(), old.port());
    assert_eq!(new.command::<String>(&["GET", "k"]), "kept");
    old.restart();
    set.wait_until_replica(old, PATIENCE);
    let refused = old.try_command::<String>(&["SET", "k", "other"]).unwrap_err();
    assert!(refused.to_string().contains("READONLY") || refused.to_string().contains("read only"), "{refused}");
}

#[test]
fn a_stopped_master_is_replaced_too() {
    let set = Sentinels::start();
    let old = set.master();
    old.stop();
    set.wait_for_new_master(old, PATIENCE);
    old.cont();
    set.wait_until_replica(old, PATIENCE);
}
