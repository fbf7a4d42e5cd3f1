//! `/health`, `/ready`, `/health/detailed`, `/metrics`.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::IntoResponse;
use serde_json::json;

use crate::admin::scrape::Scrape;
use crate::admin::{Health, May, Viewer};

const NO_STORE: [(axum::http::HeaderName, &str); 1] = [(CACHE_CONTROL, "no-store")];

pub(super) async fn health() -> impl IntoResponse {
    (NO_STORE, axum::Json(json!({ "status": "ok" })))
}

/// Open to anybody, so it names what is not ready but not why.
pub(super) async fn ready(State(health): State<Arc<Health>>) -> impl IntoResponse {
    let report = health.report().await;
    let failing: Vec<_> = report.checks.iter().filter(|c| !c.ok).map(|c| c.check).collect();
    (status(report.ready), NO_STORE, axum::Json(json!({ "ready": report.ready, "failing": failing })))
}

pub(super) async fn detailed(_: May<Viewer>, State(health): State<Arc<Health>>) -> impl IntoResponse {
    let report = health.report().await;
    (status(report.ready), NO_STORE, axum::Json(report))
}

pub(super) async fn metrics(_: May<Viewer>, State(scrape): State<Arc<Scrape>>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], scrape.render().await)
}

fn status(ready: bool) -> StatusCode {
    if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}
