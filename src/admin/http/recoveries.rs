//! `/api/v1/recoveries`, and the calls that begin one: resend, recover, replay; and test events.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::body::MaybeJson;
use crate::admin::{Desk, Limit, May, Operator, Paged, Viewer};
use crate::clock::Timestamp;
use crate::fanout::PageRequest;
use crate::fanout::recovery::{NewRecovery, Recovery, What};
use crate::problem::{self, Path, Problem, Query};

type Named = (State<Arc<Desk>>, Path<String>);
type Accepted = (StatusCode, Json<Recovery>);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RecoverOrder {
    what: Recoverable,
    since: Timestamp,
}

/// What may be asked for by name; one delivery and a backlog have ways of their own.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Recoverable {
    Failed,
    Missed,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReplayOrder {
    since: Timestamp,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TestOrder {
    #[serde(default)]
    event_type: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OfEndpoint {
    #[serde(default)]
    endpoint: Option<String>,
    #[serde(default)]
    cursor: Option<String>,
    #[serde(default)]
    limit: Limit,
}

pub(super) async fn resend(may: May<Operator>, (State(desk), Path(id)): Named) -> Result<Accepted, Problem> {
    Ok((StatusCode::ACCEPTED, Json(desk.resend(&may, &id).await?)))
}

pub(super) async fn recover(
    may: May<Operator>,
    (State(desk), Path(endpoint), problem::Json(order)): (State<Arc<Desk>>, Path<String>, problem::Json<RecoverOrder>),
) -> Result<Accepted, Problem> {
    let what = match order.what {
        Recoverable::Failed => What::Failed,
        Recoverable::Missed => What::Missed,
    };
    Ok((StatusCode::ACCEPTED, Json(desk.recover(&may, NewRecovery { endpoint, what, since: order.since }).await?)))
}

pub(super) async fn replay(
    may: May<Operator>,
    (State(desk), Path(endpoint), problem::Json(order)): (State<Arc<Desk>>, Path<String>, problem::Json<ReplayOrder>),
) -> Result<Accepted, Problem> {
    let new = NewRecovery { endpoint, what: What::All, since: order.since };
    Ok((StatusCode::ACCEPTED, Json(desk.recover(&may, new).await?)))
}

pub(super) async fn test(
    may: May<Operator>,
    (State(desk), Path(id), MaybeJson(order)): (State<Arc<Desk>>, Path<String>, MaybeJson<TestOrder>),
) -> Result<(StatusCode, Json<Value>), Problem> {
    let message = desk.test_endpoint(&may, &id, order.event_type.as_deref()).await?;
    Ok((StatusCode::ACCEPTED, Json(json!({ "message": message }))))
}

pub(super) async fn list(
    may: May<Viewer>,
    (State(desk), Query(ask)): (State<Arc<Desk>>, Query<OfEndpoint>),
) -> Result<Json<Paged<Recovery>>, Problem> {
    let page = PageRequest { cursor: ask.cursor, limit: ask.limit.get() };
    Ok(Json(desk.recoveries(&may, ask.endpoint.as_deref(), &page).await?))
}

pub(super) async fn show(may: May<Viewer>, (State(desk), Path(id)): Named) -> Result<Json<Recovery>, Problem> {
    Ok(Json(desk.recovery(&may, &id).await?))
}

pub(super) async fn cancel(may: May<Operator>, (State(desk), Path(id)): Named) -> Result<Json<Recovery>, Problem> {
    Ok(Json(desk.cancel_recovery(&may, &id).await?))
}
