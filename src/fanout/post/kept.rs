//! Connections that are kept to be used again: which, how many, for how long.

use std::collections::HashMap;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Context;
use std::time::{Duration, Instant};

use hyper::http::uri::Authority;
use hyper::rt::Executor as _;
use hyper_util::rt::TokioExecutor;

use super::wires::{One, Two, Wire};

/// One that nobody has used for so long is closed.
const IDLE: Duration = Duration::from_secs(60);
const IDLE_PER_HOST: usize = 64;
/// So many are kept, wherever they lead: each is a file that the process has open. Of more, the one is closed that nobody has used
/// for longest.
const KEPT_MOST: usize = 512;

/// Where connections lead.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Place {
    pub(super) secure: bool,
    pub(super) authority: Authority,
}

/// Connections that nobody uses now, and those that many use.
#[derive(Default)]
pub(super) struct Kept(Mutex<Places>);

#[derive(Default)]
struct Places {
    /// Each has something.
    of: HashMap<Place, Free>,
    /// How many connections that is.
    count: usize,
    /// Somebody looks after them.
    swept: bool,
}

#[derive(Default)]
#[expect(clippy::vec_box, reason = "they move in and out as they are")]
struct Free {
    /// The one used last is the last one.
    ones: Vec<Box<One>>,
    two: Option<Two>,
}

impl Free {
    /// One that can be used.
    fn take(&mut self, cx: &mut Context<'_>) -> Option<Wire> {
        if let Some(two) = &mut self.two {
            if !two.sender.is_closed() {
                two.used_at = Instant::now();
                return Some(Wire::Two(two.clone()));
            }
            self.two = None;
        }
        while let Some(mut one) = self.ones.pop() {
            // The receiver may have closed it, or said something that nobody asked for.
            one.drive(cx);
            if one.is_free() {
                return Some(Wire::One(one));
            }
        }
        None
    }

    fn count(&self) -> usize {
        self.ones.len() + usize::from(self.two.is_some())
    }

    /// Since when nobody has used the one that nobody has used for longest.
    fn idle_since(&self) -> Option<Instant> {
        let two = self.two.as_ref().map(|two| two.used_at);
        self.ones.first().map(|one| one.idle_since).into_iter().chain(two).min()
    }

    /// Takes that one out.
    fn oldest(&mut self) -> Option<Wire> {
        match (self.ones.first(), &self.two) {
            (Some(one), Some(two)) if two.used_at < one.idle_since => self.two.take().map(Wire::Two),
            (Some(_), _) => Some(Wire::One(self.ones.remove(0))),
            (None, _) => self.two.take().map(Wire::Two),
        }
    }
}

impl Places {
    /// Does something with what is kept for one place, and counts again.
    fn at<T>(&mut self, place: &Place, act: impl FnOnce(&mut Free) -> T) -> Option<T> {
        let free = self.of.get_mut(place)?;
        let before = free.count();
        let done = act(free);
        let after = free.count();
        if after == 0 {
            self.of.remove(place);
        }
        self.count = self.count + after - before;
        Some(done)
    }

    /// Takes out what is too many.
    fn too_many(&mut self) -> Option<Wire> {
        if self.count <= KEPT_MOST {
            return None;
        }
        let place = self.of.iter().min_by_key(|(_, free)| free.idle_since())?.0.clone();
        self.at(&place, Free::oldest)?
    }
}

impl Kept {
    /// One that can be used; those that have ended are let go.
    pub(super) fn take(&self, place: &Place, cx: &mut Context<'_>) -> Option<Wire> {
        self.lock().at(place, |free| free.take(cx))?
    }

    /// Lets this connection go that many use; those who wait for answers over it still do.
    pub(super) fn forget_two(&self, place: &Place, it: &Arc<AtomicUsize>) {
        self.lock().at(place, |free| free.two = free.two.take().filter(|two| !Arc::ptr_eq(&two.answers, it)));
    }

    pub(super) fn keep(self: &Arc<Self>, place: Place, wire: Wire) {
        let mut places = self.lock();
        places.of.entry(place.clone()).or_default();
        places.at(&place, |free| match wire {
            Wire::One(one) if free.ones.len() < IDLE_PER_HOST => free.ones.push(one),
            Wire::One(_) => {}
            Wire::Two(two) => free.two = Some(two),
        });
        let closed = places.too_many();
        if !std::mem::replace(&mut places.swept, true) {
            TokioExecutor::new().execute(sweep(Arc::downgrade(self)));
        }
        drop(places);
        drop(closed);
    }

    /// Closes what nobody has used for a while. False: nothing is left.
    fn tidy(&self) -> bool {
        let mut places = self.lock();
        places.of.retain(|_, free| {
            free.ones.retain(|one| one.idle_since.elapsed() < IDLE);
            free.two = free.two.take().filter(|two| !two.sender.is_closed() && two.used_at.elapsed() < IDLE);
            free.count() > 0
        });
        places.count = places.of.values().map(Free::count).sum();
        places.swept = !places.of.is_empty();
        places.swept
    }

    fn lock(&self) -> MutexGuard<'_, Places> {
        // A panic between two changes can only leave the count wrong until the next sweep.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks after kept connections for as long as there are any.
async fn sweep(kept: Weak<Kept>) {
    loop {
        tokio::time::sleep(IDLE / 2).await;
        let Some(kept) = kept.upgrade() else { return };
        if !kept.tidy() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;
    use std::task::Poll;

    use tokio::io::AsyncReadExt as _;

    use super::super::wires::tests::one;
    use super::*;

    #[tokio::test]
    async fn so_many_connections_are_kept_and_the_one_that_nobody_used_for_longest_is_closed() {
        let (kept, begun) = (Arc::<Kept>::default(), Instant::now());
        let place = |n: usize| Place { secure: false, authority: format!("host-{n}.example").parse().unwrap() };
        let (mut far_ends, over) = (Vec::new(), 50);
        for n in 0..KEPT_MOST + over {
            let (mut one, far) = one().await;
            one.idle_since = begun + Duration::from_millis(u64::try_from(n).unwrap());
            kept.keep(place(n), Wire::One(one));
            far_ends.push(far);
        }
        assert_eq!(kept.lock().of.values().map(Free::count).sum::<usize>(), KEPT_MOST);
        for (n, far) in far_ends.iter_mut().enumerate() {
            let mut byte = [0];
            let closed = futures_util::poll!(pin!(far.read(&mut byte))).is_ready();
            assert_eq!(closed, n < over, "{n}");
        }
        let mut count = KEPT_MOST;
        for n in 0..KEPT_MOST + over {
            let taken = poll_fn(|cx| Poll::Ready(kept.take(&place(n), cx))).await;
            count -= usize::from(taken.is_some());
            assert_eq!((taken.is_some(), kept.lock().count), (n >= over, count));
        }
        assert!(kept.lock().of.is_empty(), "nothing is remembered of places without a connection");
    }
}
