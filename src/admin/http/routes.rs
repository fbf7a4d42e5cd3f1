//! The table of all routes: method, path, role, and one line that says what it does.

use axum::handler::Handler;
use axum::routing::{self, MethodRouter};
use serde::Serialize;

use super::{
    Operators, audit, event_types, inbox, jobs, keys, probes, queues, recoveries, schedules, secrets, webhooks, workers,
};
use crate::admin::{May, Rank, Role};

/// One route, for those who list them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RouteEntry {
    /// `GET`.
    pub method: &'static str,
    /// `/api/v1/jobs/{id}`.
    pub path: &'static str,
    /// The role it needs; none: it is open.
    pub role: Option<Role>,
    /// What it does.
    pub summary: &'static str,
}

/// One route with its handler.
pub(super) struct Route {
    pub(super) entry: RouteEntry,
    pub(super) answer: MethodRouter<Operators>,
}

#[derive(Clone, Copy)]
enum Verb {
    Get,
    Post,
    Put,
    Patch,
    Delete,
}
use Verb::{Delete, Get, Patch, Post, Put};

/// All routes, without their handlers.
pub fn inventory() -> Vec<RouteEntry> {
    all().into_iter().map(|route| route.entry).collect()
}

pub(super) fn all() -> Vec<Route> {
    vec![
        open(Get, "/health", "Is the process alive?", probes::health),
        open(Get, "/ready", "Should it get work?", probes::ready),
        keyed(Get, "/health/detailed", "Every check, with its reason", probes::detailed),
        keyed(Get, "/metrics", "Metrics in Prometheus' text format", probes::metrics),
        keyed(Get, "/api/v1/queues", "All queues with their counters", queues::list),
        keyed(Post, "/api/v1/queues/{queue}/pause", "Give out no more jobs", queues::pause),
        keyed(Post, "/api/v1/queues/{queue}/resume", "Give them out again", queues::resume),
        keyed(Post, "/api/v1/queues/{queue}/purge", "Cancel all waiting jobs", queues::purge),
        keyed(Get, "/api/v1/jobs", "Jobs by queue, state, kind, tenant", jobs::list),
        keyed(Post, "/api/v1/jobs", "Enqueue a job", jobs::order),
        keyed(Get, "/api/v1/jobs/{id}", "One job, its log, and why it is not running", jobs::show),
        keyed(Post, "/api/v1/jobs/{id}/retry", "Run a dead or scheduled job now", jobs::retry),
        keyed(Post, "/api/v1/jobs/{id}/cancel", "Cancel a job, or ask its holder to", jobs::cancel),
        keyed(Delete, "/api/v1/jobs/{id}", "Take a finished job away", jobs::delete),
        keyed(Get, "/api/v1/schedules", "All schedules", schedules::list),
        keyed(Put, "/api/v1/schedules/{name}", "Follow another plan", schedules::change),
        keyed(Post, "/api/v1/schedules/{name}/run", "Enqueue its job now", schedules::run),
        keyed(Get, "/api/v1/schedules/{name}/history", "What happened to a schedule", schedules::history),
        keyed(Post, "/api/v1/schedules/{name}/pause", "Stop firing", schedules::pause),
        keyed(Post, "/api/v1/schedules/{name}/resume", "Fire again, from now on", schedules::resume),
        keyed(Get, "/api/v1/workers", "The live workers", workers::list),
        keyed(Post, "/api/v1/workers/{id}/drain", "Let a worker take no more jobs", workers::drain),
        keyed(Post, "/api/v1/events", "Publish an event", webhooks::publish),
        keyed(Get, "/api/v1/event-types", "All declared event types", event_types::list),
        keyed(Get, "/api/v1/event-types/{name}", "One declared event type", event_types::show),
        keyed(Put, "/api/v1/event-types/{name}", "Declare an event type", event_types::declare),
        keyed(Delete, "/api/v1/event-types/{name}", "Forget an event type", event_types::delete),
        keyed(Get, "/api/v1/endpoints", "Endpoints for webhooks out, newest first", webhooks::endpoints),
        keyed(Post, "/api/v1/endpoints", "Register an endpoint; its secret is shown once", webhooks::create),
        keyed(Get, "/api/v1/endpoints/{id}", "One endpoint", webhooks::endpoint),
        keyed(Patch, "/api/v1/endpoints/{id}", "Change, enable or disable an endpoint", webhooks::change),
        keyed(Delete, "/api/v1/endpoints/{id}", "Forget an endpoint", webhooks::delete),
        keyed(Post, "/api/v1/endpoints/{id}/rotate", "Give it a new secret, shown once", secrets::rotate),
        keyed(Get, "/api/v1/endpoints/{id}/secrets", "Its secrets, without their texts", secrets::list),
        keyed(Post, "/api/v1/endpoints/{id}/reveal", "Show its current secret again", secrets::reveal),
        keyed(Get, "/api/v1/messages", "Published messages, newest first", webhooks::messages),
        keyed(Get, "/api/v1/messages/{id}", "One message with its body", webhooks::message),
        keyed(Get, "/api/v1/deliveries", "Deliveries, newest first", webhooks::deliveries),
        keyed(Get, "/api/v1/deliveries/{id}", "One delivery", webhooks::delivery),
        keyed(Get, "/api/v1/deliveries/{id}/attempts", "The POSTs of one delivery", webhooks::attempts),
        keyed(Post, "/api/v1/deliveries/{id}/resend", "Send one delivery again", recoveries::resend),
        keyed(Post, "/api/v1/endpoints/{id}/test", "Send it a test event", recoveries::test),
        keyed(Post, "/api/v1/endpoints/{id}/recover", "Send it again what failed or was missed", recoveries::recover),
        keyed(Post, "/api/v1/endpoints/{id}/replay", "Send it everything again since a time", recoveries::replay),
        keyed(Get, "/api/v1/recoveries", "What is being sent again, newest first", recoveries::list),
        keyed(Get, "/api/v1/recoveries/{id}", "How far one of them is", recoveries::show),
        keyed(Post, "/api/v1/recoveries/{id}/cancel", "End one; what was sent stays sent", recoveries::cancel),
        keyed(Get, "/api/v1/webhooks/events", "Webhooks that came in, newest first", inbox::list),
        keyed(Get, "/api/v1/webhooks/events/{source}/{id}", "One webhook that came in", inbox::show),
        keyed(Post, "/api/v1/webhooks/events/{source}/{id}/redeliver", "Process it again", inbox::redeliver),
        keyed(Get, "/api/v1/webhooks/sources", "How each source of webhooks does", inbox::sources),
        keyed(Get, "/api/v1/keys", "All API keys", keys::list),
        keyed(Post, "/api/v1/keys", "Make a key; it is shown once", keys::create),
        keyed(Post, "/api/v1/keys/{id}/revoke", "Take a key back at once", keys::revoke),
        keyed(Get, "/api/v1/audit", "Who changed what, newest first", audit::list),
    ]
}

/// A route with a key: the role in the table is the one that the handler's own type demands.
fn keyed<R, E, M, H>(verb: Verb, path: &'static str, summary: &'static str, handler: H) -> Route
where
    R: Rank,
    E: 'static,
    M: 'static,
    H: Handler<(M, May<R>, E), Operators>,
{
    route(verb, path, Some(R::ROLE), summary, handler)
}

/// A route that needs no key.
fn open<T, H>(verb: Verb, path: &'static str, summary: &'static str, handler: H) -> Route
where
    T: 'static,
    H: Handler<T, Operators>,
{
    route(verb, path, None, summary, handler)
}

fn route<T, H>(verb: Verb, path: &'static str, role: Option<Role>, summary: &'static str, handler: H) -> Route
where
    T: 'static,
    H: Handler<T, Operators>,
{
    let (method, answer) = match verb {
        Get => ("GET", routing::get(handler)),
        Post => ("POST", routing::post(handler)),
        Put => ("PUT", routing::put(handler)),
        Patch => ("PATCH", routing::patch(handler)),
        Delete => ("DELETE", routing::delete(handler)),
    };
    Route { entry: RouteEntry { method, path, role, summary }, answer }
}
