//! The house's rules that a reader relies on, as tests: which way imports point, where SQL may stand, how long a file may be.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Which modules of the engine a module may use. Read from top to bottom: nobody uses what stands above.
const MAY_USE: [(&str, &[&str]); 21] = [
    (
        "admin",
        &[
            "audit", "clock", "data", "fanout", "ingress", "job", "listener", "metrics", "portal", "problem", "queue",
            "schedule", "store", "worker",
        ],
    ),
    (
        "portal",
        &["audit", "clock", "config", "data", "fanout", "metrics", "pages", "problem", "queue", "sealing", "store"],
    ),
    ("ingress", &["clock", "config", "job", "listener", "metrics", "outbound", "problem", "queue", "store"]),
    ("fanout", &["clock", "config", "data", "job", "metrics", "outbound", "queue", "sealing", "store", "worker"]),
    ("schedule", &["clock", "config", "job", "metrics", "queue", "store"]),
    ("worker", &["clock", "job", "metrics", "queue", "store"]),
    ("upkeep", &["metrics", "store"]),
    ("listener", &["config", "metrics", "problem"]),
    ("problem", &["job", "queue", "store"]),
    ("queue", &["clock", "job", "metrics", "store"]),
    ("telemetry", &["config", "metrics"]),
    // Only the plain settings that a queue's section is turned into.
    ("config", &["clock", "job", "store"]),
    ("store", &["clock", "job"]),
    ("job", &["clock"]),
    ("pages", &["clock"]),
    ("audit", &["clock", "data"]),
    ("sealing", &["clock"]),
    ("clock", &[]),
    ("data", &[]),
    ("metrics", &[]),
    ("outbound", &[]),
];
const LINES_MAX: usize = 450;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// All Rust files below `folder`, with their text.
fn files(folder: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                found.push((path, text));
            }
        }
    }
    assert!(!found.is_empty(), "{folder} holds no Rust files");
    found
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

/// The lines that are code: a doc link may point anywhere.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.trim_start().starts_with("//"))
}

/// The engine's module that a file of `src` belongs to.
fn module(path: &Path) -> String {
    let below = path.strip_prefix(root().join("src")).unwrap();
    let first = below.components().next().unwrap().as_os_str().to_string_lossy().into_owned();
    first.trim_end_matches(".rs").to_owned()
}

#[test]
fn imports_point_one_way() {
    let mut wrong = BTreeSet::new();
    for (path, text) in files("src") {
        let from = module(&path);
        if from == "lib" {
            continue;
        }
        let (_, allowed) =
            MAY_USE.iter().find(|(name, _)| *name == from).unwrap_or_else(|| panic!("{from} has no line here"));
        for line in code(&text) {
            for used in line.split("crate::").skip(1) {
                let used: String = used.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
                let is_module = MAY_USE.iter().any(|(name, _)| *name == used);
                if is_module && used != from && !allowed.contains(&used.as_str()) {
                    wrong.insert(format!("{}: {from} uses {used}", shown(&path)));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_table_of_imports_has_no_way_back() {
    for (place, (from, allowed)) in MAY_USE.iter().enumerate() {
        for used in *allowed {
            let back = MAY_USE.iter().any(|(name, uses)| name == used && uses.contains(from));
            assert!(!back, "line {place}: {from} and {used} use each other");
        }
    }
}

#[test]
fn the_engine_knows_nothing_of_the_application() {
    for (path, text) in files("src") {
        assert!(!text.contains("tidemill_jobs::"), "{} names the application", shown(&path));
    }
}

#[test]
fn the_queues_sql_stands_only_in_its_store() {
    for (path, text) in files("src") {
        let in_store = path.starts_with(root().join("src/store/sqlite")) || path.ends_with("store/sqlite.rs");
        // The line's own connection to the data file.
        let direct = path.ends_with("src/data/direct.rs");
        assert!(
            in_store || direct || !code(&text).any(|line| line.contains("rusqlite")),
            "{} speaks to the queue's file",
            shown(&path)
        );
    }
}

#[test]
fn the_applications_sql_stands_only_in_its_store() {
    for (path, text) in files("jobs/src") {
        let in_store = path.starts_with(root().join("jobs/src/store")) || path.ends_with("src/store.rs");
        let asks = code(&text).any(|line| line.contains("sqlx::query"));
        assert!(in_store || !asks, "{} asks the database past jobs/src/store", shown(&path));
    }
}

/// A page that reached the tables past the two files that bind everything to the session's tenant could show another's.
#[test]
fn the_consumers_page_reaches_the_tables_in_two_files_only() {
    for (path, text) in files("src/portal") {
        let name = shown(&path);
        let bound = ["src/portal/consumer.rs", "src/portal/change.rs"].contains(&name.as_str());
        let reaches = code(&text).any(|line| line.contains(".fanout") || line.contains("of_tenant::deliver"));
        assert!(bound || !reaches, "{name} reaches webhooks out past the tenant");
        let asks = code(&text).any(|line| line.contains("sqlx::query"));
        assert!(!asks || name == "src/portal/links.rs", "{name} asks the database");
    }
}

/// A page of any length costs the same few statements.
#[test]
fn the_consumers_page_asks_no_database_in_a_loop() {
    for name in ["consumer.rs", "change.rs", "http/endpoints.rs", "http/headers.rs"] {
        let text = std::fs::read_to_string(root().join("src/portal").join(name)).unwrap();
        let begins = |line: &&str| ["for ", "while ", "loop "].iter().any(|word| line.trim_start().starts_with(word));
        assert_eq!(code(&text).find(begins), None, "{name} has a loop");
    }
}

/// What came in another way would not be counted.
#[test]
fn every_job_comes_in_through_the_queue() {
    for (path, text) in files("src").into_iter().chain(files("jobs/src")) {
        let in_store = path.starts_with(root().join("src/store"));
        let past = code(&text).any(|line| line.contains("store().enqueue(") || line.contains("store.enqueue("));
        assert!(!past || in_store || path.ends_with("src/queue.rs"), "{} enqueues past the queue", shown(&path));
    }
}

#[test]
fn every_metric_is_spelled_in_the_catalogue_only() {
    for (path, text) in files("src").into_iter().chain(files("jobs/src")) {
        let spelled = code(&text).any(|line| line.contains("\"tidemill_"));
        assert!(!spelled || path.ends_with("src/metrics.rs"), "{} spells a metric", shown(&path));
    }
}

#[test]
fn files_can_be_held_in_the_head() {
    for folder in
        ["src", "jobs/src", "tests", "jobs/tests", "testkit/src", "testkit/tests", "faults/src", "faults/tests"]
    {
        for (path, text) in files(folder) {
            let (name, lines) = (shown(&path), text.lines().count());
            assert!(lines <= LINES_MAX, "{name} has {lines} lines; {LINES_MAX} are allowed: cut it by role");
            let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
            assert!(!["mod", "util", "utils", "common", "helpers", "types", "misc"].contains(&stem.as_str()), "{name}");
            assert!(text.starts_with("//!") || text.starts_with("#!["), "{name} does not say what it is for");
        }
    }
}
