//! The bar: what is demanded, what was measured, and whether it is met. Every row is computed from measurements.

use serde::Serialize;

use super::median;
use crate::measurement::Measurement;

/// One demand and its answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// What is demanded.
    pub demand: &'static str,
    /// The least (or, for times and memory, the most).
    pub at_least: f64,
    /// What would be better.
    pub stretch: f64,
    /// `×`, `ms`, `s`, `MiB`, `jobs/s`.
    pub unit: &'static str,
    /// What was measured; `None`: not in these results.
    pub measured: Option<f64>,
    /// Which figures it was computed from.
    pub from: String,
    /// Whether the demand is met.
    pub met: Option<bool>,
}

/// Which way is better.
#[derive(Clone, Copy)]
enum Better {
    More,
    Less,
}

/// The bare loop's rate on the machine for which the demand on SQLite was written.
const LOOP_THERE: f64 = 130_000.0;

/// Picks measurements.
struct Pick<'m> {
    all: &'m [Measurement],
    scenario: &'static str,
    store: &'static str,
}

impl<'m> Pick<'m> {
    fn of(all: &'m [Measurement], scenario: &'static str, store: &'static str) -> Self {
        Self { all, scenario, store }
    }

    fn lines(&self, system: &'static str, operation: Option<&'static str>) -> impl Iterator<Item = &'m Measurement> {
        let (scenario, store) = (self.scenario, self.store);
        self.all.iter().filter(move |m| {
            m.scenario == scenario && m.store == store && m.system == system && m.operation.as_deref() == operation
        })
    }

    /// The median rate of `system`, over the rounds with `jobs` jobs.
    fn rate(&self, system: &'static str, jobs: u64) -> Option<f64> {
        median(self.lines(system, None).filter(|m| m.jobs == jobs).filter_map(|m| m.per_second).collect())
    }

    /// The largest number of jobs that both were measured with.
    fn common_jobs(&self, ours: &'static str, theirs: &'static str) -> Option<u64> {
        let of = |system| self.lines(system, None).map(|m| m.jobs).collect::<std::collections::BTreeSet<_>>();
        of(ours).intersection(&of(theirs)).last().copied()
    }

    /// Ours against theirs at the same number of jobs: the ratio, and what it was made of.
    fn ratio(&self, theirs: &'static str) -> (Option<f64>, String) {
        let Some(jobs) = self.common_jobs("tidemill", theirs) else { return (None, String::new()) };
        match (self.rate("tidemill", jobs), self.rate(theirs, jobs)) {
            (Some(a), Some(b)) if b > 0.0 => (Some(a / b), format!("{a:.0} / {b:.0} jobs/s at {jobs} jobs")),
            _ => (None, String::new()),
        }
    }

    fn worst(&self, operation: Option<&'static str>, of: impl Fn(&Measurement) -> Option<f64>) -> Option<f64> {
        self.lines("tidemill", operation).filter_map(of).max_by(f64::total_cmp)
    }
}

/// All demands, in their order.
pub fn rows(all: &[Measurement]) -> Vec<Row> {
    let drain = Pick::of(all, "drain", "redis");
    let mut rows = vec![
        ratio("Redis drain / BullMQ drain, concurrency 200", (10.0, 15.0), drain.ratio("bullmq")),
        ratio("Redis drain / apalis-redis drain", (15.0, 20.0), drain.ratio("apalis-redis")),
        ratio(
            "Redis bulk enqueue / BullMQ addBulk",
            (8.0, 12.0),
            Pick::of(all, "enqueue-bulk", "redis").ratio("bullmq"),
        ),
        sqlite_drain(all),
    ];
    for (store, demand) in [
        ("sqlite", "drain rate with 1 M waiting / with 10 k, SQLite"),
        ("redis", "drain rate with 1 M waiting / with 10 k, Redis"),
    ] {
        rows.push(ratio(demand, (0.9, 1.0), flatness(all, store)));
    }
    for (store, p50, p99) in [
        ("sqlite", "pick-up latency at 100 jobs/s, p50, SQLite", "pick-up latency at 100 jobs/s, p99, SQLite"),
        ("redis", "pick-up latency at 100 jobs/s, p50, Redis", "pick-up latency at 100 jobs/s, p99, Redis"),
    ] {
        let pick = Pick::of(all, "steady", store);
        let at_100 = |m: &&Measurement| m.offered_per_second == Some(100.0);
        let worst = |of: fn(&Measurement) -> Option<f64>| {
            pick.lines("tidemill", None).filter(at_100).filter_map(of).max_by(f64::total_cmp)
        };
        rows.push(row(p50, (1.0, 0.5), "ms", Better::Less, worst(|m| m.p50_ms), String::new()));
        rows.push(row(p99, (5.0, 2.0), "ms", Better::Less, worst(|m| m.p99_ms), String::new()));
    }
    for (store, demand) in
        [("sqlite", "recovery after kill -9, p99, SQLite"), ("redis", "recovery after kill -9, p99, Redis")]
    {
        let pick = Pick::of(all, "recover", store);
        let seconds = pick.worst(None, |m| m.p99_ms).map(|ms| ms / 1_000.0);
        rows.push(row(demand, (10.0, 6.0), "s", Better::Less, seconds, String::new()));
    }
    rows.push(reads(all, "sqlite", 10_000_000, "list, count, explain at 10 M jobs, p99, SQLite"));
    rows.push(reads(all, "redis", 1_000_000, "list, count, explain at 1 M jobs, p99, Redis"));
    for (store, demand) in
        [("sqlite", "worker memory while draining 1 M, SQLite"), ("redis", "worker memory while draining 1 M, Redis")]
    {
        rows.push(memory(all, store, demand));
    }
    let fastify = ("ingress", "saturate", "fastify-stripe-bullmq");
    rows.push(ratio("webhooks in, Redis / fastify + stripe + BullMQ", (7.0, 10.0), webhooks(all, fastify, "redis")));
    rows.push(ratio("webhooks in, SQLite / fastify + stripe + BullMQ", (4.0, 6.0), webhooks(all, fastify, "sqlite")));
    for (store, demand) in [
        ("sqlite", "webhooks in at 70 % of the highest rate, p99, SQLite"),
        ("redis", "webhooks in at 70 % of the highest rate, p99, Redis"),
    ] {
        let p99 = Pick::of(all, "ingress", store).worst(Some("at-70"), |m| m.p99_ms);
        rows.push(row(demand, (20.0, 10.0), "ms", Better::Less, p99, String::new()));
    }
    rows.extend(webhooks_out(all));
    rows
}

fn webhooks_out(all: &[Measurement]) -> Vec<Row> {
    let undici = ("fanout", "deliver", "bullmq");
    let mut rows = vec![
        ratio("webhooks out, Redis + SQLite / BullMQ + undici", (5.0, 8.0), webhooks(all, undici, "redis")),
        ratio("webhooks out, SQLite / BullMQ + undici", (3.0, 5.0), webhooks(all, undici, "sqlite")),
    ];
    for (store, publish, hanging, many) in [
        (
            "sqlite",
            "publish to receiver at 500/s, p99, SQLite",
            "healthy endpoints' p99, one of ten hanging / none, SQLite",
            "the same with 10,000 endpoints, SQLite",
        ),
        (
            "redis",
            "publish to receiver at 500/s, p99, Redis",
            "healthy endpoints' p99, one of ten hanging / none, Redis",
            "the same with 10,000 endpoints, Redis",
        ),
    ] {
        let p99 = |operation| Pick::of(all, "fanout", store).worst(Some(operation), |m| m.p99_ms);
        rows.push(row(publish, (20.0, 10.0), "ms", Better::Less, p99("publish"), String::new()));
        for (demand, calm, hung) in
            [(hanging, "all healthy", "one of ten hangs"), (many, "many healthy", "of many, one in ten hangs")]
        {
            let (calm, hung) = (p99(calm), p99(hung));
            let ratio = hung.zip(calm).filter(|(_, calm)| *calm > 0.0).map(|(hung, calm)| hung / calm);
            let from = hung.zip(calm).map_or_else(String::new, |(hung, calm)| format!("{hung:.1} / {calm:.1} ms"));
            rows.push(row(demand, (1.1, 1.0), "×", Better::Less, ratio, from));
        }
    }
    rows
}

/// Ours on `store` against the peer, which has its queue in Redis.
fn webhooks(
    all: &[Measurement],
    (scenario, operation, peer): (&'static str, &'static str, &'static str),
    store: &'static str,
) -> (Option<f64>, String) {
    let rate = |system, store| {
        let pick = Pick::of(all, scenario, store);
        median(pick.lines(system, Some(operation)).filter_map(|m| m.per_second).collect())
    };
    match (rate("tidemill", store), rate(peer, "redis")) {
        (Some(ours), Some(theirs)) if theirs > 0.0 => {
            (Some(ours / theirs), format!("{ours:.0} / {theirs:.0} a second"))
        }
        _ => (None, String::new()),
    }
}

fn row(
    demand: &'static str,
    (at_least, stretch): (f64, f64),
    unit: &'static str,
    better: Better,
    measured: Option<f64>,
    from: String,
) -> Row {
    let met = measured.map(|measured| match better {
        Better::More => measured >= at_least,
        Better::Less => measured <= at_least,
    });
    Row { demand, at_least, stretch, unit, measured, from, met }
}

fn ratio(demand: &'static str, bounds: (f64, f64), (measured, from): (Option<f64>, String)) -> Row {
    row(demand, bounds, "×", Better::More, measured, from)
}

/// The demand is for a machine where the bare loop does 130,000: ours is scaled by what the loop does here.
fn sqlite_drain(all: &[Measurement]) -> Row {
    let pick = Pick::of(all, "drain", "sqlite");
    let jobs = pick.common_jobs("tidemill", "sqlite-loop");
    let rates = jobs.and_then(|jobs| pick.rate("tidemill", jobs).zip(pick.rate("sqlite-loop", jobs)));
    let measured = rates.map(|(ours, bare)| ours * LOOP_THERE / bare);
    let from =
        rates.map_or_else(String::new, |(ours, bare)| format!("{ours:.0} jobs/s where the bare loop does {bare:.0}"));
    let demand = "SQLite drain, synchronous=FULL, where the bare loop does 130,000";
    row(demand, (50_000.0, 80_000.0), "jobs/s", Better::More, measured, from)
}

fn flatness(all: &[Measurement], store: &'static str) -> (Option<f64>, String) {
    let pick = Pick::of(all, "curve", store);
    let at = |waiting| {
        median(
            pick.lines("tidemill", Some("drain"))
                .filter(|m| m.waiting == Some(waiting))
                .filter_map(|m| m.per_second)
                .collect(),
        )
    };
    match (at(1_000_000), at(10_000)) {
        (Some(many), Some(few)) if few > 0.0 => (Some(many / few), format!("{many:.0} / {few:.0} jobs/s")),
        _ => (None, String::new()),
    }
}

fn reads(all: &[Measurement], store: &'static str, waiting: u64, demand: &'static str) -> Row {
    let pick = Pick::of(all, "backlog", store);
    let mut worst: Option<(f64, &str)> = None;
    for operation in ["list", "list-deep", "list-tenant", "count", "explain"] {
        let p99 = pick.worst(Some(operation), |m| m.p99_ms.filter(|_| m.waiting == Some(waiting)));
        if let Some(p99) = p99.filter(|p99| worst.is_none_or(|(worst, _)| *p99 > worst)) {
            worst = Some((p99, operation));
        }
    }
    let from = worst.map_or_else(String::new, |(_, operation)| format!("the slowest is {operation}"));
    row(demand, (50.0, 10.0), "ms", Better::Less, worst.map(|(p99, _)| p99), from)
}

fn memory(all: &[Measurement], store: &'static str, demand: &'static str) -> Row {
    let of_million = |m: &&Measurement| m.jobs >= 1_000_000 && m.rss_mib.is_some();
    let drains = Pick::of(all, "drain", store);
    let peak = drains
        .lines("tidemill", None)
        .filter(of_million)
        .max_by(|a, b| a.rss_mib.unwrap_or_default().total_cmp(&b.rss_mib.unwrap_or_default()));
    let from = peak.map_or_else(String::new, |m| {
        format!(
            "{:.0} MiB at the start, {:.0} at the end",
            m.rss_start_mib.unwrap_or_default(),
            m.rss_end_mib.unwrap_or_default()
        )
    });
    row(demand, (120.0, 80.0), "MiB", Better::Less, peak.and_then(|m| m.rss_mib), from)
}

/// The rows as a table.
pub fn table(rows: &[Row]) -> String {
    let mut text =
        "| Demand | at least | first stretch | measured | from | met |\n|---|---|---|---|---|---|\n".to_owned();
    for row in rows {
        let show = |value: f64| number(value, row.unit);
        let measured = row.measured.map_or_else(|| "not measured".to_owned(), show);
        let met = row.met.map_or("", |met| if met { "yes" } else { "**no**" });
        let (at_least, stretch) = (show(row.at_least), show(row.stretch));
        text += &format!("| {} | {at_least} | {stretch} | {measured} | {} | {met} |\n", row.demand, row.from);
    }
    text
}

/// A figure with its unit: as many digits as mean something.
fn number(value: f64, unit: &str) -> String {
    let digits = if value >= 100.0 {
        0
    } else if value >= 10.0 {
        1
    } else {
        2
    };
    let bare = super::table::grouped(value, digits);
    if unit == "×" { format!("{bare} ×") } else { format!("{bare} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn webhooks_in_are_compared_at_the_highest_rate_on_either_store() {
        let line = |system: &str, store: &str, operation: &str, rate: f64, p99: f64| Measurement {
            scenario: "ingress".into(),
            operation: Some(operation.into()),
            p99_ms: Some(p99),
            ..drain(system, store, 100, rate)
        };
        let all = [
            line("tidemill", "redis", "saturate", 14_000.0, 90.0),
            line("tidemill", "sqlite", "saturate", 6_000.0, 90.0),
            line("tidemill", "redis", "at-70", 9_800.0, 21.0),
            line("fastify-stripe-bullmq", "redis", "saturate", 2_000.0, 90.0),
        ];
        let rows = rows(&all);
        let of = |demand: &str| {
            let row = rows.iter().find(|row| row.demand.starts_with(demand)).unwrap();
            (row.measured, row.met)
        };
        assert_eq!(of("webhooks in, Redis"), (Some(7.0), Some(true)));
        assert_eq!(of("webhooks in, SQLite"), (Some(3.0), Some(false)));
        assert_eq!(of("webhooks in at 70 % of the highest rate, p99, Redis"), (Some(21.0), Some(false)));
        assert_eq!(of("webhooks in at 70 % of the highest rate, p99, SQLite"), (None, None));
    }

    #[test]
    fn a_hanging_endpoint_is_judged_by_what_the_healthy_ones_feel() {
        let line = |system: &str, operation: &str, rate: f64, p99: f64| Measurement {
            scenario: "fanout".into(),
            operation: Some(operation.into()),
            p99_ms: Some(p99),
            ..drain(system, "redis", 100, rate)
        };
        let all = [
            line("tidemill", "deliver", 10_000.0, 0.0),
            line("bullmq", "deliver", 2_000.0, 0.0),
            line("tidemill", "publish", 500.0, 19.0),
            line("tidemill", "all healthy", 500.0, 10.0),
            line("tidemill", "one of ten hangs", 500.0, 12.0),
        ];
        let rows = rows(&all);
        let of = |demand: &str| (find(&rows, demand).measured, find(&rows, demand).met);
        assert_eq!(of("webhooks out, Redis + SQLite"), (Some(5.0), Some(true)));
        assert_eq!(of("webhooks out, SQLite"), (None, None));
        assert_eq!(of("publish to receiver at 500/s, p99, Redis"), (Some(19.0), Some(true)));
        assert_eq!(of("healthy endpoints' p99, one of ten hanging / none, Redis"), (Some(1.2), Some(false)));
    }

    fn drain(system: &str, store: &str, jobs: u64, rate: f64) -> Measurement {
        Measurement {
            scenario: "drain".into(),
            system: system.into(),
            store: store.into(),
            jobs,
            per_second: Some(rate),
            ..Measurement::default()
        }
    }

    fn find<'r>(rows: &'r [Row], start: &str) -> &'r Row {
        rows.iter().find(|row| row.demand.starts_with(start)).unwrap()
    }

    #[test]
    fn a_ratio_is_of_medians_at_the_same_number_of_jobs() {
        let all = [
            drain("tidemill", "redis", 100_000, 999_999.0),
            drain("tidemill", "redis", 7_000, 40_000.0),
            drain("tidemill", "redis", 7_000, 60_000.0),
            drain("tidemill", "redis", 7_000, 50_000.0),
            drain("apalis-redis", "redis", 7_000, 2_000.0),
            drain("apalis-redis", "redis", 7_000, 90_000.0),
            drain("apalis-redis", "redis", 7_000, 4_000.0),
        ];
        let rows = rows(&all);
        let row = find(&rows, "Redis drain / apalis");
        assert_eq!((row.measured, row.met), (Some(12.5), Some(false)));
        assert_eq!(find(&rows, "Redis drain / BullMQ").measured, None);
    }

    #[test]
    fn the_sqlite_drain_is_scaled_by_the_bare_loop() {
        let all = [drain("tidemill", "sqlite", 1_000, 30_000.0), drain("sqlite-loop", "sqlite", 1_000, 65_000.0)];
        let rows = rows(&all);
        let row = find(&rows, "SQLite drain");
        assert_eq!((row.measured, row.met), (Some(60_000.0), Some(true)));
    }

    #[test]
    fn of_percentiles_the_worst_run_stands() {
        let steady = |p99: f64, rate: f64| Measurement {
            scenario: "steady".into(),
            p50_ms: Some(0.4),
            p99_ms: Some(p99),
            offered_per_second: Some(rate),
            ..drain("tidemill", "redis", 100, 0.0)
        };
        let rows = rows(&[steady(1.0, 100.0), steady(5.5, 100.0), steady(80.0, 5_000.0)]);
        let row = find(&rows, "pick-up latency at 100 jobs/s, p99, Redis");
        assert_eq!((row.measured, row.met), (Some(5.5), Some(false)));
        assert_eq!(find(&rows, "pick-up latency at 100 jobs/s, p50, Redis").met, Some(true));
        assert!(table(&rows).contains("| 5.00 ms | 2.00 ms | 5.50 ms |"), "{}", table(&rows));
    }
}
