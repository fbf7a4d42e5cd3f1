//! Drain rate and claim latency against backlog size, as an SVG that needs nothing else: two panels, one line a store.

use std::fmt::Write as _;

use super::table::grouped;
use crate::measurement::Measurement;

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 330.0;
const PANEL: f64 = 320.0;
const TALL: f64 = 210.0;
const TOP: f64 = 56.0;
const LEFTS: [f64; 2] = [80.0, 500.0];
const STORES: [(&str, &str); 2] = [("sqlite", "#2563eb"), ("redis", "#dc2626")];

/// One panel's line: what it is called, its colour, its points (waiting, value), and whether it is dashed.
struct Line {
    name: String,
    colour: &'static str,
    points: Vec<(f64, f64)>,
    dashed: bool,
}

/// The plot of all `curve` lines in `all`.
pub fn svg(all: &[Measurement]) -> String {
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" \
         font-family=\"system-ui, sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
    );
    let rates = lines(all, "drain", "", false, |m| m.per_second);
    let mut waits = lines(all, "claim", " p50", false, |m| m.p50_ms);
    waits.extend(lines(all, "claim", " p99", true, |m| m.p99_ms));
    panel(&mut text, LEFTS[0], "Drain rate, jobs/s", &rates, 0);
    panel(&mut text, LEFTS[1], "Claim latency, ms", &waits, 2);
    text += "</svg>\n";
    text
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
fn lines(
    all: &[Measurement],
    operation: &str,
    suffix: &str,
    dashed: bool,
    value: fn(&Measurement) -> Option<f64>,
) -> Vec<Line> {
    let of = |(store, colour): (&str, &'static str)| {
        let ours =
            |m: &&Measurement| m.scenario == "curve" && m.store == store && m.operation.as_deref() == Some(operation);
        let mut points: Vec<(f64, f64)> =
            all.iter().filter(ours).filter_map(|m| Some((m.waiting? as f64, value(m)?))).collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        Line { name: format!("{store}{suffix}"), colour, points, dashed }
    };
    STORES.into_iter().map(of).filter(|line| !line.points.is_empty()).collect()
}

/// A panel from zero up, with the backlog on a logarithmic axis.
fn panel(text: &mut String, left: f64, title: &str, lines: &[Line], digits: usize) {
    let points = || lines.iter().flat_map(|line| line.points.iter().copied());
    let top = ceiling(points().map(|(_, y)| y).fold(0.0, f64::max));
    let (low, high) = points().fold((f64::MAX, 1.0_f64), |(low, high), (x, _)| (low.min(x), high.max(x)));
    let span = (high / low.min(high)).log10().max(1e-9);
    let at_x = |x: f64| left + PANEL * ((x / low).log10() / span).clamp(0.0, 1.0);
    let at_y = |y: f64| TOP + TALL * (1.0 - y / top);
    put(text, format_args!("<text x=\"{left}\" y=\"20\" font-weight=\"600\">{title}</text>"));
    for step in 0..=4 {
        let value = top * f64::from(step) / 4.0;
        let (y, label) = (at_y(value), grouped(value, digits));
        put(text, format_args!("<path d=\"M{left:.1} {y:.1}h{PANEL}\" stroke=\"#e5e7eb\"/>"));
        put(
            text,
            format_args!("<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>", left - 8.0, y + 4.0),
        );
    }
    let mut sizes: Vec<f64> = points().map(|(x, _)| x).collect();
    sizes.sort_by(f64::total_cmp);
    sizes.dedup();
    for size in sizes {
        let (x, y, label) = (at_x(size), TOP + TALL + 18.0, grouped(size, 0));
        put(text, format_args!("<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"middle\">{label}</text>"));
    }
    let (x, y) = (left + PANEL / 2.0, TOP + TALL + 38.0);
    put(text, format_args!("<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"middle\">jobs waiting</text>"));
    for (n, line) in lines.iter().enumerate() {
        draw(text, line, &at_x, &at_y);
        let (x, colour) = (left + 84.0 * f64::from(u32::try_from(n).unwrap_or(0)), line.colour);
        let dash = if line.dashed { " stroke-dasharray=\"4 3\"" } else { "" };
        put(text, format_args!("<path d=\"M{x:.1} 36h18\" stroke=\"{colour}\" stroke-width=\"2\"{dash}/>"));
        put(text, format_args!("<text x=\"{:.1}\" y=\"40\">{}</text>", x + 23.0, line.name));
    }
}

fn draw(text: &mut String, line: &Line, at_x: &dyn Fn(f64) -> f64, at_y: &dyn Fn(f64) -> f64) {
    let mut path = String::new();
    for (n, (x, y)) in line.points.iter().enumerate() {
        let step = if n == 0 { 'M' } else { 'L' };
        put(&mut path, format_args!("{step}{:.1} {:.1}", at_x(*x), at_y(*y)));
        let (cx, cy, colour) = (at_x(*x), at_y(*y), line.colour);
        put(text, format_args!("<circle cx=\"{cx:.1}\" cy=\"{cy:.1}\" r=\"3\" fill=\"{colour}\"/>"));
    }
    let dash = if line.dashed { " stroke-dasharray=\"4 3\"" } else { "" };
    let (colour, path) = (line.colour, path.trim_end().replace('\n', " "));
    put(text, format_args!("<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"{dash}/>"));
}

fn put(text: &mut String, what: std::fmt::Arguments<'_>) {
    // A string takes everything.
    let _ = writeln!(text, "{what}");
}

/// The next round number: 1, 2 or 5 times a power of ten.
fn ceiling(value: f64) -> f64 {
    if value <= 0.0 {
        return 1.0;
    }
    let power = 10_f64.powf(value.log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|step| step * power).find(|round| *round >= value).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(store: &str, operation: &str, waiting: u64, value: f64) -> Measurement {
        Measurement {
            scenario: "curve".into(),
            system: "tidemill".into(),
            store: store.into(),
            operation: Some(operation.into()),
            waiting: Some(waiting),
            per_second: Some(value),
            p50_ms: Some(value),
            p99_ms: Some(value * 2.0),
            ..Measurement::default()
        }
    }

    #[test]
    fn the_axis_ends_at_a_round_number_above_all_points() {
        for (value, round) in [(0.0, 1.0), (0.03, 0.05), (1.0, 1.0), (7.0, 10.0), (43_000.0, 50_000.0)] {
            assert!((ceiling(value) - round).abs() < 1e-9, "{value} ends at {}", ceiling(value));
        }
    }

    #[test]
    fn each_store_is_a_line_in_each_panel_and_every_point_lies_inside() {
        let all: Vec<_> = [1_000, 10_000, 1_000_000]
            .into_iter()
            .flat_map(|n| {
                [
                    point("sqlite", "drain", n, 50_000.0),
                    point("redis", "drain", n, 61_000.0),
                    point("redis", "claim", n, 0.4),
                ]
            })
            .collect();
        let text = svg(&all);
        assert_eq!(text.matches("<circle").count(), 3 * 2 + 3 * 2);
        for circle in text.lines().filter(|line| line.starts_with("<circle")) {
            let number = |name: &str| -> f64 {
                circle.split(&format!("{name}=\"")).nth(1).unwrap().split('"').next().unwrap().parse().unwrap()
            };
            assert!(
                (LEFTS[0]..=WIDTH).contains(&number("cx")) && (TOP..=TOP + TALL).contains(&number("cy")),
                "{circle}"
            );
        }
        assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
    }

    #[test]
    fn without_points_it_is_still_a_picture() {
        let text = svg(&[]);
        assert!(text.starts_with("<svg") && !text.contains("NaN") && !text.contains("inf"), "{text}");
    }
}
