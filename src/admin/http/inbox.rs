//! `/api/v1/webhooks/events` and `/api/v1/webhooks/sources`: webhooks in.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CACHE_CONTROL;
use axum::response::IntoResponse;
use serde::Deserialize;

use crate::admin::{Ask, Desk, Inbound, InboxFilter, Limit, May, Operator, Ordered, Paged, Place, Viewer};
use crate::clock::Timestamp;
use crate::ingress::SenderReport;
use crate::problem::{Path, Problem, Query};

type Named = (State<Arc<Desk>>, Path<(String, String)>);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Events {
    #[serde(default)]
    source: Option<String>,
    #[serde(default, rename = "type")]
    event_type: Option<String>,
    #[serde(default)]
    state: Option<String>,
    #[serde(default)]
    since: Option<Timestamp>,
    #[serde(default)]
    until: Option<Timestamp>,
    #[serde(default)]
    cursor: Option<Place>,
    #[serde(default)]
    limit: Limit,
}

pub(super) async fn list(
    may: May<Viewer>,
    (State(desk), Query(ask)): (State<Arc<Desk>>, Query<Events>),
) -> Result<Json<Paged<Inbound>>, Problem> {
    let Events { source, event_type, state, since, until, cursor, limit } = ask;
    let filter = InboxFilter { source, event_type, state, since, until };
    Ok(Json(desk.inbox(&may, &filter, &Ask { cursor, limit }).await?))
}

pub(super) async fn show(
    may: May<Viewer>,
    (State(desk), Path((source, id))): Named,
) -> Result<impl IntoResponse, Problem> {
    let shown = desk.inbound(&may, &source, &id).await?;
    Ok(([(CACHE_CONTROL, "no-store")], Json(shown)))
}

pub(super) async fn redeliver(
    may: May<Operator>,
    (State(desk), Path((source, id))): Named,
) -> Result<(StatusCode, Json<Ordered>), Problem> {
    Ok((StatusCode::ACCEPTED, Json(desk.redeliver(&may, &source, &id).await?)))
}

pub(super) async fn sources(may: May<Viewer>, State(desk): State<Arc<Desk>>) -> Json<Paged<SenderReport>> {
    // As many as the configuration names: one page.
    Json(Paged { items: desk.senders(&may), next: None })
}
