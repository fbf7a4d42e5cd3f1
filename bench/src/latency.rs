//! Latencies in one histogram: recorded one by one, merged whole. Percentiles are never averaged.

use std::time::Duration;

use hdrhistogram::Histogram;

/// An hour, in microseconds: what is longer is kept as that.
const LONGEST_US: u64 = 3_600_000_000;

/// Latencies to three digits, from a microsecond to an hour.
#[derive(Clone, Debug)]
pub struct Latencies(Histogram<u64>);

impl Latencies {
    /// None yet.
    ///
    /// # Errors
    /// Never for these bounds; the histogram's own check is passed on.
    pub fn new() -> anyhow::Result<Self> {
        Ok(Self(Histogram::new_with_bounds(1, LONGEST_US, 3)?))
    }

    /// All of `samples`.
    ///
    /// # Errors
    /// As [`Latencies::new`].
    pub fn of(samples: impl IntoIterator<Item = Duration>) -> anyhow::Result<Self> {
        let mut all = Self::new()?;
        samples.into_iter().for_each(|sample| all.record(sample));
        Ok(all)
    }

    /// Adds one.
    pub fn record(&mut self, latency: Duration) {
        self.0.saturating_record(u64::try_from(latency.as_micros()).unwrap_or(LONGEST_US).max(1));
    }

    /// Adds all of another.
    ///
    /// # Errors
    /// Never for histograms of the same bounds.
    pub fn merge(&mut self, other: &Self) -> anyhow::Result<()> {
        Ok(self.0.add(&other.0)?)
    }

    /// How many there are.
    pub fn len(&self) -> u64 {
        self.0.len()
    }

    /// True for none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The latency in milliseconds that `percent` of all don't exceed; `None` without any.
    #[expect(clippy::cast_precision_loss, reason = "below 2^53 by the bound")]
    pub fn at(&self, percent: f64) -> Option<f64> {
        (!self.is_empty()).then(|| self.0.value_at_quantile(percent / 100.0) as f64 / 1_000.0)
    }

    /// The longest, in milliseconds.
    #[expect(clippy::cast_precision_loss, reason = "below 2^53 by the bound")]
    pub fn max(&self) -> Option<f64> {
        (!self.is_empty()).then(|| self.0.max() as f64 / 1_000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: Option<f64>, expected: f64) -> bool {
        found.is_some_and(|found| (found - expected).abs() <= expected * 0.001 + 0.001)
    }

    #[test]
    fn percentiles_are_those_of_the_sorted_samples() {
        let mut samples: Vec<u64> = (0..5_000).map(|n| (n * 7_919) % 100_003 + 1).collect();
        let all = Latencies::of(samples.iter().map(|us| Duration::from_micros(*us))).unwrap();
        samples.sort_unstable();
        for percent in [50.0, 99.0, 99.9] {
            let exact = samples[((percent / 100.0 * 5_000_f64).ceil() as usize) - 1] as f64 / 1_000.0;
            assert!(close(all.at(percent), exact), "p{percent}: {:?} is not {exact}", all.at(percent));
        }
        assert!(close(all.max(), *samples.last().unwrap() as f64 / 1_000.0));
    }

    #[test]
    fn merging_is_not_averaging() {
        let fast = Latencies::of((0..990).map(|_| Duration::from_millis(1))).unwrap();
        let mut both = Latencies::of((0..10).map(|_| Duration::from_millis(100))).unwrap();
        both.merge(&fast).unwrap();
        assert_eq!(both.len(), 1_000);
        assert!(close(both.at(50.0), 1.0));
        assert!(close(both.at(99.0), 1.0));
        assert!(close(both.at(99.9), 100.0));
    }

    #[test]
    fn what_is_too_long_is_kept_as_the_longest_and_nothing_as_nothing() {
        let long = Latencies::of([Duration::from_secs(100_000)]).unwrap();
        assert!(close(long.max(), 3_600_000.0));
        assert_eq!(Latencies::new().unwrap().at(50.0), None);
    }
}
