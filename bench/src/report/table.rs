//! All measurements as one table, and what they were made on.

use std::collections::BTreeSet;

use super::median;
use crate::measurement::Measurement;

/// Machine, versions, builds, durability: what a figure means nothing without.
pub fn made_on(all: &[Measurement]) -> String {
    let distinct = |of: fn(&Measurement) -> &str| {
        let values: BTreeSet<&str> = all.iter().flat_map(|m| of(m).split(", ")).filter(|v| !v.is_empty()).collect();
        values.into_iter().collect::<Vec<_>>().join(", ")
    };
    let machines: BTreeSet<&str> = all.iter().map(|m| m.machine.as_str()).filter(|m| !m.is_empty()).collect();
    let machines = machines.into_iter().collect::<Vec<_>>().join("; ");
    let stores: BTreeSet<String> = all.iter().map(|m| format!("{} `{}`", m.store, m.durability)).collect();
    let stores = stores.into_iter().collect::<Vec<_>>().join(", ");
    format!(
        "Machine: {machines}, shared by client and server. Versions: {}. Build: {}. Durability: {stores}.\n",
        distinct(|m| &m.versions),
        distinct(|m| &m.build),
    )
}

/// Measurements that are rounds of one.
fn same(a: &Measurement, b: &Measurement) -> bool {
    a.scenario == b.scenario
        && a.system == b.system
        && a.store == b.store
        && a.durability == b.durability
        && a.jobs == b.jobs
        && a.operation == b.operation
        && a.offered_per_second == b.offered_per_second
}

/// Every measurement, rounds put together.
pub fn results(all: &[Measurement]) -> String {
    let mut groups: Vec<Vec<&Measurement>> = Vec::new();
    for line in all {
        match groups.iter_mut().find(|group| same(group[0], line)) {
            Some(group) => group.push(line),
            None => groups.push(vec![line]),
        }
    }
    groups.sort_by_key(|group| (order(&group[0].scenario), group[0].store.clone()));
    let mut text = "| Scenario | System | Store | Jobs | per second | p50 ms | p99 ms | p99.9 ms | RSS MiB | Durability | Lost | Rounds | |\n\
                    |---|---|---|---|---|---|---|---|---|---|---|---|---|\n"
        .to_owned();
    for group in &groups {
        text += &result(group);
    }
    text
}

fn order(scenario: &str) -> usize {
    const ORDER: [&str; 9] = [
        "enqueue-bulk",
        "enqueue-single",
        "drain",
        "steady",
        "backlog",
        "recover",
        "schedule-storm",
        "curve",
        "apalis-findings",
    ];
    ORDER.iter().position(|known| *known == scenario).unwrap_or(ORDER.len())
}

fn result(group: &[&Measurement]) -> String {
    let first = group[0];
    let worst = |of: fn(&Measurement) -> Option<f64>| group.iter().filter_map(|m| of(m)).max_by(f64::total_cmp);
    let show = |value: Option<f64>, digits| value.map_or_else(String::new, |value| grouped(value, digits));
    let rate = median(group.iter().filter_map(|m| m.per_second).collect());
    let scenario = match &first.operation {
        Some(operation) => format!("{}: {operation}", first.scenario),
        None => first.scenario.clone(),
    };
    format!(
        "| {scenario} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |\n",
        first.system,
        first.store,
        count(first.jobs),
        show(rate, 0),
        show(worst(|m| m.p50_ms), 3),
        show(worst(|m| m.p99_ms), 3),
        show(worst(|m| m.p999_ms), 3),
        show(worst(|m| m.rss_mib), 0),
        first.durability,
        first.lost.map_or_else(String::new, count),
        group.len(),
        remark(first),
    )
}

/// What only some scenarios have, in words.
fn remark(m: &Measurement) -> String {
    let parts = [
        m.batch.filter(|n| *n > 1).map(|n| format!("batches of {}", count(n))),
        m.concurrency.map(|n| format!("{n} at once")),
        m.offered_per_second.zip(m.achieved_per_second).map(|(o, a)| format!("offered {o:.0}/s, reached {a:.1}/s")),
        m.bytes_per_job.map(|bytes| format!("{bytes:.0} bytes a job")),
        m.holds.map(|holds| if holds { "holds" } else { "does not hold" }.to_owned()),
        m.note.clone(),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join("; ").replace('|', "\\|").replace('\n', " ")
}

fn count(n: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    let n = n as f64;
    grouped(n, 0)
}

/// `12,345.68`.
pub fn grouped(value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$}");
    let (whole, fraction) = text.split_once('.').map_or((text.as_str(), None), |(whole, rest)| (whole, Some(rest)));
    let mut shown = String::new();
    for (n, digit) in whole.chars().enumerate() {
        if n > 0 && (whole.len() - n).is_multiple_of(3) && !shown.ends_with('-') {
            shown.push(',');
        }
        shown.push(digit);
    }
    fraction.map_or(shown.clone(), |fraction| format!("{shown}.{fraction}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        assert_eq!((grouped(1_234_567.0, 0), grouped(999.4, 1)), ("1,234,567".to_owned(), "999.4".to_owned()));
        assert_eq!((grouped(-1_234.5, 1), grouped(1_000.0, 2)), ("-1,234.5".to_owned(), "1,000.00".to_owned()));
    }

    #[test]
    fn rounds_are_one_row_with_the_median_rate_and_the_worst_percentile() {
        let line = |rate, p99| Measurement {
            scenario: "drain".into(),
            system: "tidemill".into(),
            store: "redis".into(),
            jobs: 7_000,
            per_second: Some(rate),
            p99_ms: Some(p99),
            durability: "everysec".into(),
            lost: Some(0),
            ..Measurement::default()
        };
        let text = results(&[line(10.0, 1.0), line(30.0, 9.0), line(20.0, 2.0)]);
        let rows: Vec<_> = text.lines().skip(2).collect();
        assert_eq!(rows, ["| drain | tidemill | redis | 7,000 | 20 |  | 9.000 |  |  | everysec | 0 | 3 |  |"]);
    }

    #[test]
    fn different_durability_is_never_one_row() {
        let line = |durability: &str| Measurement { durability: durability.into(), ..Measurement::default() };
        assert_eq!(results(&[line("everysec"), line("fsync")]).lines().count(), 4);
    }
}
