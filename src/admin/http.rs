//! The routes of the operators' listener: each reads its request, asks the [`Desk`], and shows the answer.
//!
//! Every handler has the shape `(May<R>, input)`, and [`routes`] makes the table from the handlers: the role that the
//! table shows is the one that the handler's type demands. Nothing here decides anything.

mod audit;
mod body;
mod event_types;
mod inbox;
mod jobs;
mod keys;
mod once;
mod portal;
mod probes;
mod queues;
mod recoveries;
pub(super) mod routes;
mod schedules;
mod secrets;
mod webhooks;
mod workers;

use std::sync::Arc;

use axum::Router;
use axum::extract::FromRef;
use metrics_exporter_prometheus::PrometheusHandle;

use super::auth::Gate;
use super::scrape::Scrape;
use super::{Desk, Health};
use crate::clock::Clock;
use crate::problem::{unknown_method, unknown_route};

/// What the routes stand on. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Operators {
    pub(super) desk: Arc<Desk>,
    pub(super) gate: Arc<Gate>,
    pub(super) health: Arc<Health>,
    pub(super) scrape: Arc<Scrape>,
}

impl Operators {
    /// Puts the parts together; `recorder` is the process's metrics recorder.
    pub fn new(desk: Arc<Desk>, health: Health, recorder: PrometheusHandle, clock: Clock) -> Self {
        let gate = Arc::new(Gate::new(desk.api_keys().clone(), clock));
        let scrape = Arc::new(Scrape::new(Arc::clone(desk.store()), recorder));
        Self { desk, gate, health: Arc::new(health), scrape }
    }
}

/// The operators' router, for [`listener::serve`](crate::listener).
pub fn router(operators: Operators) -> Router {
    let all =
        routes::all().into_iter().fold(Router::new(), |router, route| router.route(route.entry.path, route.answer));
    all.fallback(unknown_route).method_not_allowed_fallback(unknown_method).with_state(operators)
}

impl FromRef<Operators> for Arc<Desk> {
    fn from_ref(operators: &Operators) -> Self {
        Arc::clone(&operators.desk)
    }
}

impl FromRef<Operators> for Arc<Health> {
    fn from_ref(operators: &Operators) -> Self {
        Arc::clone(&operators.health)
    }
}

impl FromRef<Operators> for Arc<Scrape> {
    fn from_ref(operators: &Operators) -> Self {
        Arc::clone(&operators.scrape)
    }
}
