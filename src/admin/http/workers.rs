//! `/api/v1/workers`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use crate::admin::{Ask, Desk, May, Operator, Paged, Viewer};
use crate::job::Incarnation;
use crate::problem::{Path, Problem, Query};
use crate::store::WorkerRecord;

pub(super) async fn list(
    may: May<Viewer>,
    (State(desk), Query(ask)): (State<Arc<Desk>>, Query<Ask>),
) -> Result<Json<Paged<WorkerRecord>>, Problem> {
    Ok(Json(desk.workers(&may, &ask).await?))
}

/// 202: the worker hears it with its next beat.
pub(super) async fn drain(
    may: May<Operator>,
    (State(desk), Path(id)): (State<Arc<Desk>>, Path<String>),
) -> Result<StatusCode, Problem> {
    desk.drain(&may, id.parse::<Incarnation>()?).await?;
    Ok(StatusCode::ACCEPTED)
}
