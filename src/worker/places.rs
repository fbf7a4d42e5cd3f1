//! A pool's places: who holds them, and who goes first when one is free.
//!
//! A claim holds the places that it will fill, also while it waits in the store for jobs that may not come for seconds.
//! An attempt that comes back to its place has a line in the log open and a receiver's turn taken: it goes first. It takes a
//! place of the waiting claim, and what the claim brings in place of that waits for the next free one.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The places of one pool.
#[derive(Debug)]
pub(super) struct Places {
    all: Arc<Semaphore>,
    width: usize,
    turns: Mutex<Turns>,
}

#[derive(Debug, Default)]
struct Turns {
    /// What the claim holds that waits in the store; there is one at most.
    claims: Option<OwnedSemaphorePermit>,
    /// So many wait to come back.
    back: usize,
}

/// Places of a claim that waits, less those that somebody comes back to meanwhile.
#[derive(Debug)]
pub(super) struct Waiting<'a>(&'a Places);

/// One of those who wait to come back.
struct Comes<'a>(&'a Places);

impl Places {
    pub(super) fn new(width: usize) -> Arc<Self> {
        let width = width.clamp(1, Semaphore::MAX_PERMITS);
        Arc::new(Self { all: Arc::new(Semaphore::new(width)), width, turns: Mutex::default() })
    }

    /// How many there are.
    pub(super) fn width(&self) -> usize {
        self.width
    }

    /// How many nobody holds.
    pub(super) fn free(&self) -> usize {
        self.all.available_permits()
    }

    /// At least one, and all others that are free, but no more than `most`; behind all who wait to come back. None when the
    /// pool is closed, which it never is.
    pub(super) async fn take(&self, most: usize) -> Option<OwnedSemaphorePermit> {
        loop {
            let mut places = Arc::clone(&self.all).acquire_owned().await.ok()?;
            self.turns().give_way(&mut places);
            if places.num_permits() > 0 {
                return Some(self.with_others(places, most.saturating_sub(1)));
            }
            // Those who come back have it as soon as they are looked at.
            tokio::task::yield_now().await;
        }
    }

    fn with_others(&self, mut places: OwnedSemaphorePermit, mut others: usize) -> OwnedSemaphorePermit {
        loop {
            // Somebody who comes back may take one between the look and the grip.
            others = others.min(self.free());
            let Some(fewer) = others.checked_sub(1) else { return places };
            let wanted = u32::try_from(others).unwrap_or(u32::MAX);
            if let Ok(others) = Arc::clone(&self.all).try_acquire_many_owned(wanted) {
                places.merge(others);
                return places;
            }
            others = fewer;
        }
    }

    /// Holds a claim's places while it waits, and says how many they are: none where as many wait to come back.
    pub(super) fn wait_with(&self, mut places: OwnedSemaphorePermit) -> (Waiting<'_>, usize) {
        let mut turns = self.turns();
        turns.give_way(&mut places);
        let left = places.num_permits();
        turns.claims = Some(places);
        (Waiting(self), left)
    }

    /// A place for one who comes back, before any claim.
    pub(super) async fn come_back(&self) -> Option<OwnedSemaphorePermit> {
        let _comes = {
            let mut turns = self.turns();
            let lent = || turns.claims.as_mut().and_then(|places| places.split(1));
            if let Some(place) = Arc::clone(&self.all).try_acquire_owned().ok().or_else(lent) {
                return Some(place);
            }
            turns.back += 1;
            Comes(self)
        };
        Arc::clone(&self.all).acquire_owned().await.ok()
    }

    fn turns(&self) -> MutexGuard<'_, Turns> {
        // Every change is one assignment: a panic elsewhere can't leave it half done.
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turns {
    /// Lets those go first who wait to come back: nobody else waits for the semaphore while a claim has what it waited for.
    fn give_way(&self, places: &mut OwnedSemaphorePermit) {
        drop(places.split(self.back.min(places.num_permits())));
    }
}

impl Waiting<'_> {
    /// The claim has been answered: what it still holds.
    pub(super) fn end(self) -> Option<OwnedSemaphorePermit> {
        self.0.turns().claims.take()
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let left = self.0.turns().claims.take();
        drop(left);
    }
}

impl Drop for Comes<'_> {
    fn drop(&mut self) {
        self.0.turns().back -= 1;
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::{FutureExt as _, poll};

    use super::*;

    #[tokio::test]
    async fn who_comes_back_takes_a_place_of_the_claim_that_waits() {
        let places = Places::new(2);
        let (waiting, left) = places.wait_with(places.take(9).await.unwrap());
        assert_eq!((left, places.free()), (2, 0));
        let first = places.come_back().now_or_never().flatten().unwrap();
        let second = places.come_back().now_or_never().flatten().unwrap();
        let mut third = pin!(places.come_back());
        assert!(poll!(third.as_mut()).is_pending(), "there are two");
        assert_eq!(waiting.end().unwrap().num_permits(), 0, "that is what the claim has left");
        drop(first);
        assert!(third.await.is_some());
        drop(second);
        assert_eq!(places.free(), 2);
    }

    #[tokio::test]
    async fn who_comes_back_goes_before_a_claim_that_stood_in_line_before() {
        let places = Places::new(1);
        let held = places.take(1).await.unwrap();
        let (mut claim, mut back) = (pin!(places.take(1)), pin!(places.come_back()));
        assert!(poll!(claim.as_mut()).is_pending() && poll!(back.as_mut()).is_pending());
        drop(held);
        assert!(poll!(claim.as_mut()).is_pending(), "it gives way");
        let place = back.await.unwrap();
        assert!(poll!(claim.as_mut()).is_pending());
        drop(place);
        let claimed = claim.await.unwrap();

        // One that comes between the grip and the wait.
        let mut back = pin!(places.come_back());
        assert!(poll!(back.as_mut()).is_pending());
        let (waiting, left) = places.wait_with(claimed);
        assert_eq!(left, 0);
        let place = back.await.unwrap();
        drop(waiting);
        assert_eq!(places.free(), 0);
        drop(place);
        assert_eq!(places.free(), 1);
    }

    #[tokio::test]
    async fn a_claim_that_is_dropped_frees_its_places_and_who_gives_up_coming_back_is_not_waited_for() {
        let places = Places::new(3);
        let held = places.take(3).await.unwrap();
        {
            let mut back = pin!(places.come_back());
            assert!(poll!(back.as_mut()).is_pending());
        }
        let (waiting, left) = places.wait_with(held);
        assert_eq!(left, 3);
        drop(waiting);
        assert_eq!(places.free(), 3);
    }

    #[tokio::test]
    async fn a_claim_takes_what_is_free_up_to_its_bound() {
        let places = Places::new(5);
        let first = places.take(2).await.unwrap();
        let second = places.take(9).await.unwrap();
        assert_eq!((first.num_permits(), second.num_permits()), (2, 3));
    }
}
