//! Who this process is to the store, and how it becomes somebody new.

use tokio::sync::watch;

use crate::clock::Entropy;
use crate::job::Incarnation;

/// The present incarnation. Cheap to clone; all clones change together.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    sender: watch::Sender<Incarnation>,
    entropy: Entropy,
}

impl Identity {
    pub(super) fn new(entropy: Entropy) -> Self {
        Self { sender: watch::Sender::new(Incarnation::new(&entropy)), entropy }
    }

    pub(super) fn now(&self) -> Incarnation {
        *self.sender.borrow()
    }

    /// A name for the next life, which nobody sees yet.
    pub(super) fn next(&self) -> Incarnation {
        Incarnation::new(&self.entropy)
    }

    /// Goes on as `next`, which the store must know by now; claims that wait for it go on too.
    pub(super) fn go_on_as(&self, next: Incarnation) {
        self.sender.send_replace(next);
    }

    /// Waits until the present incarnation is not `dead`.
    pub(super) async fn reborn_after(&self, dead: Incarnation) {
        // The sender lives in self, so that the wait can't fail.
        drop(self.sender.subscribe().wait_for(|now| *now != dead).await);
    }
}
