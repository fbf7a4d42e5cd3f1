//! Failed attempts to get in, counted per address, so that guessing and misconfigured clients stay cheap.
//!
//! After [`MAX_FAILURES`] in a minute an address is refused before any key is looked up, for the rest of that minute.
//! The table is bounded: when it is full of fresh entries, further addresses share one.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::{Clock, Timestamp};

/// So many wrong keys in a minute are a mistake; more are a habit.
const MAX_FAILURES: u32 = 30;
const WINDOW: Duration = Duration::from_secs(60);
/// About 200 KiB when full.
const MAX_ADDRESSES: usize = 4096;
/// Stands for all addresses that found no room.
const REST: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

#[derive(Debug)]
pub(super) struct FailedAttempts {
    clock: Clock,
    windows: Mutex<HashMap<IpAddr, Window>>,
}

#[derive(Clone, Copy, Debug)]
struct Window {
    began: Timestamp,
    failures: u32,
}

impl FailedAttempts {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, windows: Mutex::default() }
    }

    /// How long `address` must wait before its next try; none: it may try.
    pub(super) fn wait(&self, address: IpAddr) -> Option<Duration> {
        let now = self.clock.now();
        let windows = self.lock();
        let window = windows.get(&network(address)).or_else(|| windows.get(&REST))?;
        let waited = now.since(window.began);
        (window.failures >= MAX_FAILURES && waited < WINDOW).then(|| WINDOW - waited)
    }

    /// Counts a wrong key.
    pub(super) fn failed(&self, address: IpAddr) {
        let now = self.clock.now();
        let mut windows = self.lock();
        let mut address = network(address);
        if windows.len() >= MAX_ADDRESSES && !windows.contains_key(&address) {
            windows.retain(|_, window| now.since(window.began) < WINDOW);
            if windows.len() >= MAX_ADDRESSES {
                address = REST;
            }
        }
        let window = windows.entry(address).or_insert(Window { began: now, failures: 0 });
        if now.since(window.began) >= WINDOW {
            *window = Window { began: now, failures: 0 };
        }
        window.failures = window.failures.saturating_add(1);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, Window>> {
        // Counters can't be left half changed by a panic.
        self.windows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whoever has one IPv6 address has the 2^64 around it.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempts() -> (Clock, FailedAttempts) {
        let clock = Clock::manual(Timestamp::from_ms(1_000_000));
        (clock.clone(), FailedAttempts::new(clock))
    }

    fn address(n: u32) -> IpAddr {
        IpAddr::V4(n.into())
    }

    #[test]
    fn an_address_waits_out_the_minute_after_too_many_failures() {
        let (clock, attempts) = attempts();
        for _ in 0..MAX_FAILURES {
            assert_eq!(attempts.wait(address(1)), None);
            attempts.failed(address(1));
        }
        clock.advance(Duration::from_secs(20));
        assert_eq!(attempts.wait(address(1)), Some(Duration::from_secs(40)));
        assert_eq!(attempts.wait(address(2)), None, "another address is not concerned");
        clock.advance(Duration::from_secs(40));
        assert_eq!(attempts.wait(address(1)), None);
    }

    #[test]
    fn a_full_table_stays_bounded_and_still_counts() {
        let (clock, attempts) = attempts();
        for n in 0..10_000 {
            attempts.failed(address(n));
        }
        assert!(attempts.lock().len() <= MAX_ADDRESSES + 1);
        assert!(attempts.wait(address(20_000)).is_some(), "newcomers share one full entry");
        assert_eq!(attempts.wait(address(7)), None, "an address with an entry of its own is judged by it");
        clock.advance(WINDOW);
        attempts.failed(address(30_000));
        assert_eq!(attempts.lock().len(), 1, "old entries made room");
    }

    #[test]
    fn an_ipv6_network_is_one_address() {
        let (_, attempts) = attempts();
        for n in 0..MAX_FAILURES {
            attempts.failed(IpAddr::V6(format!("2001:db8::{n:x}").parse().unwrap()));
        }
        assert!(attempts.wait(IpAddr::V6("2001:db8::ffff".parse().unwrap())).is_some());
        assert_eq!(attempts.wait(IpAddr::V6("2001:db8:0:1::1".parse().unwrap())), None);
    }
}
