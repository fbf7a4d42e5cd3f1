//! `/api/v1/schedules`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::admin::{Ask, Desk, May, Operator, Paged, Viewer};
use crate::problem::{self, Path, Problem, Query};
use crate::schedule::ScheduleView;
use crate::store::HistoryEntry;

type Named = (State<Arc<Desk>>, Path<String>);

pub(super) async fn list(
    may: May<Viewer>,
    (State(desk), Query(ask)): (State<Arc<Desk>>, Query<Ask>),
) -> Result<Json<Paged<ScheduleView>>, Problem> {
    Ok(Json(desk.schedules(&may, &ask).await?))
}

pub(super) async fn history(
    may: May<Viewer>,
    (State(desk), Path(name)): Named,
) -> Result<Json<Paged<HistoryEntry>>, Problem> {
    // At most 100 entries are kept, so there is one page.
    Ok(Json(Paged { items: desk.schedule_history(&may, &name).await?, next: None }))
}

pub(super) async fn pause(may: May<Operator>, (State(desk), Path(name)): Named) -> Result<Json<ScheduleView>, Problem> {
    Ok(Json(desk.pause_schedule(&may, &name).await?))
}

pub(super) async fn resume(
    may: May<Operator>,
    (State(desk), Path(name)): Named,
) -> Result<Json<ScheduleView>, Problem> {
    Ok(Json(desk.resume_schedule(&may, &name).await?))
}

/// An empty object goes back to the declared plan.
pub(super) async fn change(
    may: May<Operator>,
    (State(desk), Path(name), problem::Json(plan)): (State<Arc<Desk>>, Path<String>, problem::Json<Value>),
) -> Result<Json<ScheduleView>, Problem> {
    let plan = Some(plan).filter(|plan| plan.as_object().is_none_or(|fields| !fields.is_empty()));
    Ok(Json(desk.change_plan(&may, &name, plan).await?))
}

pub(super) async fn run(
    may: May<Operator>,
    (State(desk), Path(name)): Named,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let job = desk.run_schedule(&may, &name).await?;
    Ok((StatusCode::ACCEPTED, Json(json!({ "job": job }))))
}
