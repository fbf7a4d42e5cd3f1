//! Every connection is an open file: asks the system for enough of them, or makes do with fewer connections.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// For everything else in the process: stores, outgoing requests, other listeners.
const RESERVE: u64 = 1_024;

/// As many of `connections` as the process may have. Raises the soft limit of open files where the hard one allows it.
pub(super) fn fit(connections: usize, listener: &'static str) -> usize {
    let wanted = (connections as u64).saturating_add(RESERVE);
    let limit = getrlimit(Resource::Nofile);
    let Some(mut current) = limit.current.filter(|current| *current < wanted) else { return connections };
    let raised = limit.maximum.map_or(wanted, |maximum| wanted.min(maximum));
    if raised > current && setrlimit(Resource::Nofile, Rlimit { current: Some(raised), ..limit }).is_ok() {
        current = raised;
    }
    if current >= wanted {
        return connections;
    }
    let fitting = usize::try_from(current / 2).unwrap_or(connections).min(connections);
    tracing::warn!(
        listener,
        files = current,
        wanted = connections,
        connections = fitting,
        "the process may open too few files"
    );
    fitting
}
