//! `/api/v1/schedules`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use crate::admin::{Ask, Desk, May, Operator, Paged, Viewer};
use crate::problem::{Path, Problem, Query};
use crate::store::{HistoryEntry, ScheduleRecord};

type Named = (State<Arc<Desk>>, Path<String>);

pub(super) async fn list(
    may: May<Viewer>,
    (State(desk), Query(ask)): (State<Arc<Desk>>, Query<Ask>),
) -> Result<Json<Paged<ScheduleRecord>>, Problem> {
    Ok(Json(desk.schedules(&may, &ask).await?))
}

pub(super) async fn history(
    may: May<Viewer>,
    (State(desk), Path(name)): Named,
) -> Result<Json<Paged<HistoryEntry>>, Problem> {
    // At most 100 entries are kept, so there is one page.
    Ok(Json(Paged { items: desk.schedule_history(&may, &name).await?, next: None }))
}

pub(super) async fn pause(
    may: May<Operator>,
    (State(desk), Path(name)): Named,
) -> Result<Json<ScheduleRecord>, Problem> {
    Ok(Json(desk.pause_schedule(&may, &name).await?))
}

pub(super) async fn resume(
    may: May<Operator>,
    (State(desk), Path(name)): Named,
) -> Result<Json<ScheduleRecord>, Problem> {
    Ok(Json(desk.resume_schedule(&may, &name).await?))
}
