//! `fanout`, small, through the real binary: each measurement, nothing lost, each with the figures that it promises.
#![expect(clippy::unwrap_used, reason = "a test that can't go on shall fail where it stands")]

use std::process::Command;

use serde_json::Value;

fn fanout(words: &str) -> Vec<Value> {
    let output = Command::new(env!("CARGO_BIN_EXE_tidemill-bench")).args(words.split(' ')).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words}: {errors}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn webhooks_out_are_measured_on_both_stores_and_nothing_is_lost() {
    for store in ["sqlite", "redis"] {
        let lines =
            fanout(&format!("fanout --store {store} --jobs 200 --rate 40 --seconds 1 --rounds 2 --many 40 --json"));
        let operations: Vec<_> = lines.iter().map(|line| line["operation"].as_str().unwrap()).collect();
        let expected = [
            "deliver",
            "publish",
            "all healthy",
            "one of ten hangs",
            "many healthy",
            "of many, one in ten hangs",
            "endless replies",
        ];
        assert_eq!(operations, expected);
        for line in &lines {
            assert_eq!(
                (&line["lost"], &line["store"], &line["system"]),
                (&0.into(), &store.into(), &"tidemill".into())
            );
        }
        let above_zero = |line: &Value, field: &str| line[field].as_f64().is_some_and(|figure| figure > 0.0);
        assert!(above_zero(&lines[0], "per_second") && above_zero(&lines[0], "rss_mib"), "{}", lines[0]);
        assert!(lines[1..6].iter().all(|line| above_zero(line, "p99_ms")), "{lines:?}");
        let endless = &lines[6];
        assert!(above_zero(endless, "rss_start_mib") && above_zero(endless, "rss_mib"), "{endless}");
        let grown = endless["rss_mib"].as_f64().unwrap() - endless["rss_start_mib"].as_f64().unwrap();
        assert!(grown < 16.0, "a receiver that streams without end costs {grown} MiB");
    }
}
