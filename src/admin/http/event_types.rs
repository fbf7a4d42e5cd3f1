//! `/api/v1/event-types`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;

use crate::admin::{Admin, Desk, May, Viewer};
use crate::fanout::event_types::{Declaration, EventType};
use crate::problem::{self, Path, Problem};

type Named = (State<Arc<Desk>>, Path<String>);

/// All of them: there are few, so that there are no pages.
#[derive(Debug, Serialize)]
pub(super) struct All {
    items: Vec<EventType>,
}

pub(super) async fn list(may: May<Viewer>, State(desk): State<Arc<Desk>>) -> Result<Json<All>, Problem> {
    Ok(Json(All { items: desk.event_types(&may).await? }))
}

pub(super) async fn show(may: May<Viewer>, (State(desk), Path(name)): Named) -> Result<Json<EventType>, Problem> {
    Ok(Json(desk.event_type(&may, &name).await?))
}

pub(super) async fn declare(
    may: May<Admin>,
    (State(desk), Path(name), problem::Json(said)): (State<Arc<Desk>>, Path<String>, problem::Json<Declaration>),
) -> Result<Json<EventType>, Problem> {
    Ok(Json(desk.declare_event_type(&may, &name, said).await?))
}

pub(super) async fn delete(may: May<Admin>, (State(desk), Path(name)): Named) -> Result<StatusCode, Problem> {
    desk.delete_event_type(&may, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}
