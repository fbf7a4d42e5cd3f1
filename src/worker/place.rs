//! An attempt's place in its pool, and the seat outside that it may take instead while it waits for somebody else.
//!
//! Places bound what a pool works at. An attempt that only waits for a stranger's answer works at nothing: it may leave its
//! place to the next job, and then holds one of a bounded number of seats. So a few dozen strangers that don't answer hold
//! up nobody, and what a process holds stays bounded.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::places::Places;

/// Attempts of one pool that wait outside before they begin their work with a stranger: as many as this times the pool's places,
/// those that wait for other reasons counted in.
const EARLY: usize = 2;

/// Attempts of one pool that may wait outside of their places at once.
pub(super) const SEATS: usize = 1_000;

/// Cheap to clone; what it holds is free again when it is taken or the last one goes.
#[derive(Clone, Debug)]
pub(super) struct Place(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    held: Mutex<Option<OwnedSemaphorePermit>>,
    places: Arc<Places>,
    seats: Arc<Semaphore>,
    /// It goes out early only while more seats than this are free.
    spare: usize,
}

impl Place {
    /// One of a pool's places.
    pub(super) fn new(place: OwnedSemaphorePermit, places: Arc<Places>, seats: Arc<Semaphore>) -> Self {
        let spare = SEATS.saturating_sub(places.width().saturating_mul(EARLY));
        Self(Arc::new(Shared { held: Mutex::new(Some(place)), places, seats, spare }))
    }

    /// Changes the place for a seat for a while, if not many have done so. False: nothing has changed.
    pub(super) fn step_out(&self) -> bool {
        self.0.seats.available_permits() > self.0.spare && self.leave()
    }

    /// Waits for a place again, before the next job gets one; nothing where it holds one, or has ended.
    pub(super) async fn step_in(&self) {
        if !self.has_seat() {
            return;
        }
        // Never closed.
        let Some(place) = self.0.places.come_back().await else { return };
        let mut held = self.lock();
        if held.is_some() {
            *held = Some(place);
        }
    }

    fn has_seat(&self) -> bool {
        self.lock().as_ref().is_some_and(|held| Arc::ptr_eq(held.semaphore(), &self.0.seats))
    }

    fn lock(&self) -> MutexGuard<'_, Option<OwnedSemaphorePermit>> {
        // Every change is one assignment: a panic elsewhere can't leave it half done.
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the place for a seat. False: there is none, or this is done already; nothing has changed.
    pub(super) fn leave(&self) -> bool {
        let mut held = self.lock();
        if held.as_ref().is_none_or(|place| Arc::ptr_eq(place.semaphore(), &self.0.seats)) {
            return false;
        }
        let Ok(seat) = Arc::clone(&self.0.seats).try_acquire_owned() else { return false };
        *held = Some(seat);
        true
    }

    /// What it holds, place or seat, to be freed by the caller; once.
    pub(super) fn take(&self) -> Option<OwnedSemaphorePermit> {
        self.lock().take()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn place(places: &Arc<Places>, seats: &Arc<Semaphore>) -> Place {
        let place = places.take(1).now_or_never().unwrap().unwrap();
        Place::new(place, Arc::clone(places), Arc::clone(seats))
    }

    #[test]
    fn who_leaves_a_place_frees_it_and_holds_a_seat_and_seats_are_bounded() {
        let (places, seats) = (Places::new(2), Arc::new(Semaphore::new(1)));
        let (first, second) = (place(&places, &seats), place(&places, &seats));
        assert_eq!(places.free(), 0);
        assert!(first.leave());
        assert_eq!((places.free(), seats.available_permits()), (1, 0));
        assert!(!first.leave(), "once");
        assert!(!second.leave(), "all seats are taken: it keeps its place");
        assert_eq!(places.free(), 1);
        drop(first.take());
        assert_eq!(seats.available_permits(), 1);
        assert!(!first.leave() && first.take().is_none(), "it has ended");
        drop(second);
        assert_eq!(places.free(), 2);
    }

    #[tokio::test]
    async fn who_steps_out_waits_for_a_place_to_come_back_and_few_may() {
        let (places, seats) = (Places::new(1), Arc::new(Semaphore::new(SEATS)));
        let place = || place(&places, &seats);
        let first = place();
        first.step_in().await;
        assert_eq!(places.free(), 0, "it is in");
        assert!(first.step_out());
        let second = place();
        assert!(futures_util::poll!(std::pin::pin!(first.step_in())).is_pending(), "the other one has the place");
        assert!(second.step_out());
        first.step_in().await;
        assert_eq!((places.free(), seats.available_permits()), (0, SEATS - 1));
        assert!(first.step_out());
        let third = place();
        assert!(!third.step_out(), "twice as many as there are places are outside");
        assert!(third.leave(), "who waits for a stranger still may");
        drop(second.take());
        second.step_in().await;
        assert_eq!(places.free(), 1, "it has ended: it takes none");
    }
}
