//! `/api/v1/jobs`.

use std::sync::Arc;

use axum::Json;
use axum::extract::{FromRequest as _, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};

use super::body::MaybeJson;
use super::once::once;
use crate::admin::{Admin, Desk, JobOnDesk, Limit, May, Operator, Order, Paged, Viewer};
use crate::job::{InvalidName, JobId, JobRecord, JobState, QueueName};
use crate::problem::{self, Path, Problem, Query};
use crate::store::{Cursor, ListQuery};

type Named = (State<Arc<Desk>>, Path<String>);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Filter {
    #[serde(default)]
    queue: Option<String>,
    #[serde(default)]
    state: Option<JobState>,
    #[serde(default)]
    kind: Option<String>,
    #[serde(default)]
    tenant: Option<String>,
    #[serde(default)]
    cursor: Option<String>,
    #[serde(default)]
    limit: Limit,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CancelOrder {
    #[serde(default)]
    reason: String,
}

pub(super) async fn list(
    may: May<Viewer>,
    (State(desk), Query(filter)): (State<Arc<Desk>>, Query<Filter>),
) -> Result<Json<Paged<JobRecord>>, Problem> {
    let query = ListQuery {
        queue: filter.queue.as_deref().map(queue_name).transpose()?,
        state: filter.state,
        kind: filter.kind.map(Into::into),
        tenant: filter.tenant.map(Into::into),
        cursor: filter.cursor.as_deref().map(str::parse::<Cursor>).transpose()?,
        limit: filter.limit.get(),
    };
    Ok(Json(desk.jobs(&may, query).await?))
}

fn queue_name(text: &str) -> Result<QueueName, Problem> {
    text.parse().map_err(|e: InvalidName| Problem::invalid("queue", e.value, e.allowed))
}

pub(super) async fn order(
    may: May<Operator>,
    (State(desk), request): (State<Arc<Desk>>, Request),
) -> Result<Response, Problem> {
    once(&desk, &may, request, async |request, id| {
        let problem::Json(order) = problem::Json::<Order>::from_request(request, &()).await?;
        let ordered = desk.order_as(&may, order, id).await?;
        Ok((if ordered.duplicate { StatusCode::OK } else { StatusCode::CREATED }, ordered))
    })
    .await
}

pub(super) async fn show(may: May<Viewer>, (State(desk), Path(id)): Named) -> Result<Json<JobOnDesk>, Problem> {
    Ok(Json(desk.job(&may, id.parse::<JobId>()?).await?))
}

pub(super) async fn retry(may: May<Operator>, (State(desk), Path(id)): Named) -> Result<Json<Value>, Problem> {
    let outcome = desk.retry(&may, id.parse::<JobId>()?).await?;
    Ok(Json(json!({ "outcome": outcome })))
}

pub(super) async fn cancel(
    may: May<Operator>,
    (State(desk), Path(id), MaybeJson(order)): (State<Arc<Desk>>, Path<String>, MaybeJson<CancelOrder>),
) -> Result<Json<Value>, Problem> {
    let outcome = desk.cancel(&may, id.parse::<JobId>()?, &order.reason).await?;
    Ok(Json(json!({ "outcome": outcome })))
}

pub(super) async fn delete(may: May<Admin>, (State(desk), Path(id)): Named) -> Result<StatusCode, Problem> {
    desk.delete(&may, id.parse::<JobId>()?).await?;
    Ok(StatusCode::NO_CONTENT)
}
