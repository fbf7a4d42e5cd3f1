//! What was made of an endpoint's row, kept for as long as the row says the same.
//!
//! The row is read with each delivery, in the transaction that opens its line; only what follows from it is kept here:
//! opened secrets, parsed headers, the checked URL. So nothing has to be told that an endpoint has changed, and no process
//! can go on with what another one has taken back.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hyper::Uri;

use super::super::guard::UrlRefused;
use super::super::ledger::Addressee;
use super::super::{FanoutState, Guard};
use super::dress::{Dress, dress};
use super::{EndpointError, SecretRow};

/// Endpoints kept at most; beyond, all are made anew.
const KEPT: usize = 10_000;

/// What a process has made of its endpoints' rows.
#[derive(Debug, Default)]
pub(in super::super) struct Wardrobe(Mutex<HashMap<String, Kept>>);

/// Where an endpoint's POSTs go.
#[derive(Clone, Debug)]
pub(in super::super) struct Target {
    pub(in super::super) uri: Uri,
    pub(in super::super) host: Arc<str>,
}

/// An endpoint that is ready to be sent to.
#[derive(Debug)]
pub(in super::super) struct Ready {
    /// Or why the guard does not let anything out to it.
    pub(in super::super) target: Result<Target, UrlRefused>,
    pub(in super::super) dress: Dress,
}

#[derive(Debug)]
struct Kept {
    /// As it was last read.
    to: Arc<Addressee>,
    /// The number of the last change of any endpoint, then.
    revision: i64,
    ready: Arc<Ready>,
}

impl Kept {
    /// What was made of it follows from these words alone.
    fn fits(&self, to: &Addressee) -> bool {
        self.to.url == to.url
            && self.to.headers == to.headers
            && self.to.header_prefix == to.header_prefix
            && self.to.secrets == to.secrets
    }
}

impl Wardrobe {
    /// The endpoint as `to` has it, and its `url`.
    pub(in super::super) fn ready(
        &self,
        state: &FanoutState,
        endpoint: &str,
        url: &str,
        to: &Arc<Addressee>,
        revision: i64,
    ) -> Result<Arc<Ready>, EndpointError> {
        if let Some(kept) = self.lock().get_mut(endpoint).filter(|kept| kept.fits(to)) {
            (kept.to, kept.revision) = (Arc::clone(to), revision);
            return Ok(Arc::clone(&kept.ready));
        }
        let target = target(&state.guard, url);
        let ready = Arc::new(Ready { target, dress: dress(state, endpoint, to)? });
        let mut map = self.lock();
        // From before secrets were sealed: not to be held longer than it takes to use it.
        if to.secrets.iter().any(SecretRow::is_plain) {
            map.remove(endpoint);
            return Ok(ready);
        }
        if map.len() >= KEPT && !map.contains_key(endpoint) {
            map.clear();
        }
        map.insert(endpoint.to_owned(), Kept { to: Arc::clone(to), revision, ready: Arc::clone(&ready) });
        Ok(ready)
    }

    /// The endpoint as it was at the last delivery; whoever goes by it must find out whether it still is.
    /// The number says under which change of the endpoints that was.
    pub(in super::super) fn known(&self, endpoint: &str) -> Option<(Arc<Addressee>, i64, Arc<Ready>)> {
        let map = self.lock();
        map.get(endpoint).map(|kept| (Arc::clone(&kept.to), kept.revision, Arc::clone(&kept.ready)))
    }

    /// Says that `to` was found unchanged under a later number.
    pub(in super::super) fn confirm(&self, endpoint: &str, to: &Arc<Addressee>, revision: i64) {
        if let Some(kept) = self.lock().get_mut(endpoint).filter(|kept| Arc::ptr_eq(&kept.to, to)) {
            kept.revision = kept.revision.max(revision);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Kept>> {
        // Every change is one insert, remove or assignment: a panic elsewhere can't leave it half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn target(guard: &Guard, url: &str) -> Result<Target, UrlRefused> {
    let url = guard.check(url)?;
    let uri = url.as_str().parse().map_err(|e| UrlRefused::Malformed(format!("it can't be asked for: {e}")))?;
    Ok(Target { uri, host: url.host_str().unwrap_or_default().into() })
}
