//! `/api/v1/queues`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use crate::admin::{Admin, Ask, Desk, May, Operator, Paged, Purged, Toggled, Viewer};
use crate::job::QueueName;
use crate::problem::{Path, Problem, Query};
use crate::store::QueueCounts;

type Named = (State<Arc<Desk>>, Path<String>);

pub(super) async fn list(
    may: May<Viewer>,
    (State(desk), Query(ask)): (State<Arc<Desk>>, Query<Ask>),
) -> Result<Json<Paged<QueueCounts>>, Problem> {
    Ok(Json(desk.queues(&may, &ask).await?))
}

pub(super) async fn pause(may: May<Operator>, (State(desk), Path(queue)): Named) -> Result<Json<Toggled>, Problem> {
    Ok(Json(desk.pause(&may, &queue.parse::<QueueName>()?).await?))
}

pub(super) async fn resume(may: May<Operator>, (State(desk), Path(queue)): Named) -> Result<Json<Toggled>, Problem> {
    Ok(Json(desk.resume(&may, &queue.parse::<QueueName>()?).await?))
}

pub(super) async fn purge(may: May<Admin>, (State(desk), Path(queue)): Named) -> Result<Json<Purged>, Problem> {
    Ok(Json(desk.purge(&may, &queue.parse::<QueueName>()?).await?))
}
