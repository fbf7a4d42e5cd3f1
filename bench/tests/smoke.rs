//! Every scenario, small, through the real binary: it ends well, loses nothing, and prints the fields that it promises.
#![expect(clippy::unwrap_used, reason = "a test that can't go on shall fail where it stands")]

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

/// The fields that every line has.
const ALWAYS: [&str; 11] = [
    "scenario",
    "system",
    "store",
    "jobs",
    "per_second",
    "p50_ms",
    "p99_ms",
    "p999_ms",
    "rss_mib",
    "durability",
    "lost",
];

fn bench(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tidemill-bench")).args(words).output().unwrap()
}

/// The lines of a run that must end well.
fn lines(words: &str) -> Vec<Value> {
    let mut words: Vec<&str> = words.split(' ').collect();
    words.push("--json");
    let output = bench(&words);
    let (text, errors) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{words:?}: {errors}");
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(!lines.is_empty(), "{words:?} printed nothing: {errors}");
    for line in &lines {
        for field in ALWAYS {
            assert!(line.get(field).is_some(), "{words:?}: {field} is missing in {line}");
        }
        assert_eq!(line["scenario"], words[0], "{line}");
        assert_eq!(line["store"], words[2], "{line}");
        assert_eq!(line["durability"], if words[2] == "redis" { "everysec" } else { "fsync" }, "{line}");
    }
    lines
}

/// Lines of ours, with nothing lost and the named figures above zero.
fn ours(words: &str, figures: &[&str]) -> Vec<Value> {
    let lines = lines(words);
    let ours: Vec<Value> = lines.into_iter().filter(|line| line["system"] == "tidemill").collect();
    assert!(!ours.is_empty(), "{words}: no line of ours");
    for line in &ours {
        assert_eq!(line["lost"], 0, "{line}");
        for figure in figures {
            assert!(line[figure].as_f64().is_some_and(|figure| figure > 0.0), "{figure} in {line}");
        }
    }
    ours
}

fn each_store(scenario: &str, rest: &str, figures: &[&str]) {
    for store in ["sqlite", "redis"] {
        ours(&format!("{scenario} --store {store} {rest}"), figures);
    }
}

#[test]
fn bulk_enqueue_says_how_fast_and_how_long_a_batch_took() {
    each_store("enqueue-bulk", "--jobs 1500", &["per_second", "p50_ms", "p999_ms", "rss_mib", "batch"]);
}

#[test]
fn single_enqueue_says_what_a_caller_waits() {
    each_store("enqueue-single", "--jobs 200", &["per_second", "p50_ms", "p999_ms", "concurrency"]);
}

#[test]
fn a_drain_stands_beside_its_baselines() {
    let systems = |words: &str| -> Vec<String> {
        lines(words).iter().map(|line| line["system"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(systems("drain --store sqlite --jobs 600"), ["tidemill", "sqlite-loop"]);
    let redis = systems("drain --store redis --jobs 600 --rounds 2");
    assert_eq!(redis, ["tidemill", "apalis-redis", "apalis-redis-tuned"].repeat(2));
    each_store("drain", "--jobs 600 --systems tidemill", &["per_second", "rss_mib", "concurrency"]);
}

#[test]
fn a_steady_rate_is_offered_and_reached() {
    for store in ["sqlite", "redis"] {
        let lines = ours(&format!("steady --store {store} --rate 200 --jobs 100"), &["p50_ms", "achieved_per_second"]);
        assert_eq!(lines[0]["offered_per_second"].as_f64(), Some(200.0));
    }
}

#[test]
fn a_backlog_times_each_question() {
    for store in ["sqlite", "redis"] {
        let lines = ours(&format!("backlog --store {store} --jobs 1200 --calls 20"), &["waiting"]);
        let operations: Vec<_> = lines.iter().map(|line| line["operation"].as_str().unwrap()).collect();
        assert_eq!(operations, ["fill", "claim", "claim-200", "count", "list", "list-deep", "list-tenant", "explain"]);
        assert!(lines[0]["bytes_per_job"].as_f64().is_some_and(|bytes| bytes > 50.0), "{}", lines[0]);
        assert!(lines[1..].iter().all(|line| line["p99_ms"].as_f64().is_some_and(|ms| ms > 0.0)), "{lines:?}");
    }
}

#[test]
fn a_storm_is_promoted_and_run() {
    for store in ["sqlite", "redis"] {
        let lines = ours(&format!("schedule-storm --store {store} --jobs 500 --lead 3"), &["per_second"]);
        assert_eq!((&lines[0]["operation"], &lines[1]["operation"]), (&"promote".into(), &"run".into()));
        assert!(lines[1]["p99_ms"].as_f64().is_some(), "{}", lines[1]);
    }
}

#[test]
fn signed_webhooks_are_taken_and_all_of_them_are_there() {
    for store in ["sqlite", "redis"] {
        let lines =
            ours(&format!("ingress --store {store} --jobs 400 --seconds 0.5"), &["p50_ms", "p99_ms", "rss_mib"]);
        assert_eq!((&lines[0]["operation"], &lines[1]["operation"]), (&"saturate".into(), &"at-70".into()));
        let (found, offered) = (lines[0]["per_second"].as_f64().unwrap(), lines[1]["offered_per_second"].as_f64());
        assert!(offered.is_some_and(|offered| (offered - found * 0.7).abs() < 1.0), "{lines:?}");
    }
}

#[test]
fn jobs_of_a_killed_process_come_back_on_sqlite() {
    ours("recover --store sqlite --jobs 20 --rounds 1", &["p50_ms", "p99_ms", "max_ms"]);
}

#[test]
fn jobs_of_a_killed_process_come_back_on_redis() {
    ours("recover --store redis --jobs 20 --rounds 1", &["p50_ms", "p99_ms", "max_ms"]);
}

#[test]
fn a_curve_becomes_a_page_with_a_plot() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (plot, results, page) = (at("curve.svg"), at("results.jsonl"), at("page.md"));
    let lines = ours(&format!("curve --store sqlite --jobs 300 --runs 2 --calls 20 --plot {plot}"), &["waiting"]);
    assert_eq!(lines.len(), 2);
    assert!(std::fs::read_to_string(&plot).unwrap().contains("<circle"));

    std::fs::write(&results, lines.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
    std::fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/performance.md"), &page).unwrap();
    let refused = bench(&["report", &results, "--page", &page]);
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(cfg!(not(debug_assertions)) || told.contains("debug build"), "{told}");
    let written = bench(&["report", &results, "--page", &page, "--debug-builds"]);
    assert!(written.status.success(), "{}", String::from_utf8_lossy(&written.stderr));
    assert!(std::fs::read_to_string(&page).unwrap().contains("| curve: drain | tidemill | sqlite | 300 |"));
}

#[test]
fn a_run_that_lost_jobs_is_no_result() {
    let folder = tempfile::tempdir().unwrap();
    let results = folder.path().join("results.jsonl");
    let line = r#"{"scenario":"drain","system":"bullmq","store":"redis","jobs":10,"per_second":5.0,"p50_ms":null,"p99_ms":null,"p999_ms":null,"rss_mib":null,"durability":"everysec","lost":1}"#;
    std::fs::write(&results, line).unwrap();
    let refused = bench(&["report", results.to_str().unwrap()]);
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("lost jobs"));
}

#[test]
fn a_store_that_is_not_empty_is_left_alone() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let url = format!("sqlite:{}", file.path().display());
    let refused = bench(&["drain", "--store", &url, "--jobs", "1"]);
    assert!(!refused.status.success() && refused.stdout.is_empty());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("exists"));

    let server = tidemill_testkit::RedisServer::start();
    server.command::<()>(&["SET", "somebodys", "key"]);
    let refused = bench(&["drain", "--store", &server.url(), "--jobs", "1"]);
    assert!(!refused.status.success() && refused.stdout.is_empty());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("must be empty"));
    assert_eq!(server.command::<String>(&["GET", "somebodys"]), "key");
}

#[test]
fn the_findings_on_the_baseline_hold() {
    let lines = lines("apalis-findings --store redis");
    let held: Vec<_> = lines.iter().map(|line| (line["operation"].as_str().unwrap(), &line["holds"])).collect();
    let yes = &Value::Bool(true);
    assert_eq!(held, [("fetch", yes), ("attempts", yes), ("idempotency", yes), ("error", yes)]);
}
