//! An attempt's place in its pool, and the seat outside that it may take instead while it waits for somebody else.
//!
//! Places bound what a pool works at. An attempt that only waits for a stranger's answer works at nothing: it may leave its
//! place to the next job, and then holds one of a bounded number of seats. So a few dozen strangers that don't answer hold
//! up nobody, and what a process holds stays bounded.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Attempts of one pool that may wait outside of their places at once.
pub(super) const SEATS: usize = 1_000;

/// Cheap to clone; what it holds is free again when it is taken or the last one goes.
#[derive(Clone, Debug)]
pub(super) struct Place(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    held: Mutex<Option<OwnedSemaphorePermit>>,
    seats: Arc<Semaphore>,
}

impl Place {
    pub(super) fn new(place: OwnedSemaphorePermit, seats: Arc<Semaphore>) -> Self {
        Self(Arc::new(Shared { held: Mutex::new(Some(place)), seats }))
    }

    /// Changes the place for a seat. False: there is none, or this is done already; nothing has changed.
    pub(super) fn leave(&self) -> bool {
        let mut held = self.0.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.as_ref().is_none_or(|place| Arc::ptr_eq(place.semaphore(), &self.0.seats)) {
            return false;
        }
        let Ok(seat) = Arc::clone(&self.0.seats).try_acquire_owned() else { return false };
        *held = Some(seat);
        true
    }

    /// What it holds, place or seat, to be freed by the caller; once.
    pub(super) fn take(&self) -> Option<OwnedSemaphorePermit> {
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_leaves_a_place_frees_it_and_holds_a_seat_and_seats_are_bounded() {
        let (places, seats) = (Arc::new(Semaphore::new(2)), Arc::new(Semaphore::new(1)));
        let place = || Place::new(Arc::clone(&places).try_acquire_owned().unwrap(), Arc::clone(&seats));
        let (first, second) = (place(), place());
        assert_eq!(places.available_permits(), 0);
        assert!(first.leave());
        assert_eq!((places.available_permits(), seats.available_permits()), (1, 0));
        assert!(!first.leave(), "once");
        assert!(!second.leave(), "all seats are taken: it keeps its place");
        assert_eq!(places.available_permits(), 1);
        drop(first.take());
        assert_eq!(seats.available_permits(), 1);
        assert!(!first.leave() && first.take().is_none(), "it has ended");
        drop(second);
        assert_eq!(places.available_permits(), 2);
    }
}
