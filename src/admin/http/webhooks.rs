//! `/api/v1/events`, `/api/v1/endpoints`, `/api/v1/messages`, `/api/v1/deliveries`.

use std::sync::Arc;

use axum::Json;
use axum::extract::{FromRequest as _, Request, State};
use axum::http::StatusCode;
use axum::http::header::CACHE_CONTROL;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::once::once;
use crate::admin::{Admin, Desk, EndpointPatch, Limit, May, MessageInFull, MessageOnDesk, Operator, Paged, Viewer};
use crate::fanout::endpoints::{Endpoint, NewEndpoint, Texts};
use crate::fanout::history::{Delivery, DeliveryAttempt, DeliveryFilter, InvalidDeliveryState};
use crate::fanout::{Event, PageRequest, Scheme, Sending};
use crate::problem::{self, Path, Problem, Query};

type Named = (State<Arc<Desk>>, Path<String>);

/// A tenant's id where none is said.
const DEFAULT_TENANT: &str = "default";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EventOrder {
    id: String,
    event_type: String,
    #[serde(default)]
    tenant: Option<String>,
    payload: Value,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EndpointOrder {
    url: String,
    #[serde(default)]
    tenant: Option<String>,
    #[serde(default)]
    description: String,
    event_types: Vec<String>,
    #[serde(default)]
    secret: Option<String>,
    #[serde(default)]
    signature: Scheme,
    #[serde(default)]
    filter: String,
    #[serde(default)]
    headers: Texts,
    #[serde(default)]
    header_prefix: Option<String>,
    #[serde(default)]
    metadata: Texts,
    #[serde(default)]
    sending: Sending,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OfTenant {
    #[serde(default)]
    tenant: Option<String>,
    #[serde(default)]
    cursor: Option<String>,
    #[serde(default)]
    limit: Limit,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Deliveries {
    #[serde(default)]
    message: Option<String>,
    #[serde(default)]
    endpoint: Option<String>,
    #[serde(default)]
    tenant: Option<String>,
    #[serde(default)]
    state: Option<String>,
    #[serde(default)]
    cursor: Option<String>,
    #[serde(default)]
    limit: Limit,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OnePage {
    #[serde(default)]
    cursor: Option<String>,
    #[serde(default)]
    limit: Limit,
}

pub(super) async fn publish(
    may: May<Operator>,
    (State(desk), request): (State<Arc<Desk>>, Request),
) -> Result<Response, Problem> {
    once(&desk, &may, request, async |request, job| {
        let problem::Json(order) = problem::Json::<EventOrder>::from_request(request, &()).await?;
        let EventOrder { id, event_type, tenant, payload } = order;
        let event = Event { id, event_type, tenant: tenant.unwrap_or_else(|| DEFAULT_TENANT.to_owned()), payload };
        // Accepted, not done: the fan-out is a job.
        Ok((StatusCode::ACCEPTED, desk.publish_as(&may, event, job).await?))
    })
    .await
}

pub(super) async fn endpoints(
    may: May<Viewer>,
    (State(desk), Query(ask)): (State<Arc<Desk>>, Query<OfTenant>),
) -> Result<Json<Paged<Endpoint>>, Problem> {
    Ok(Json(desk.endpoints(&may, ask.tenant.as_deref(), &page(ask.cursor, ask.limit)).await?))
}

pub(super) async fn create(
    may: May<Admin>,
    (State(desk), problem::Json(order)): (State<Arc<Desk>>, problem::Json<EndpointOrder>),
) -> Result<impl IntoResponse, Problem> {
    let created = desk.create_endpoint(&may, order.into()).await?;
    let shown_once = json!({ "endpoint": created.endpoint, "secret": created.secret.handed_out() });
    Ok((StatusCode::CREATED, [(CACHE_CONTROL, "no-store")], Json(shown_once)))
}

impl From<EndpointOrder> for NewEndpoint {
    fn from(order: EndpointOrder) -> Self {
        Self {
            tenant: order.tenant.unwrap_or_else(|| DEFAULT_TENANT.to_owned()),
            url: order.url,
            description: order.description,
            event_types: order.event_types,
            secret: order.secret,
            scheme: order.signature,
            filter: order.filter,
            headers: order.headers,
            header_prefix: order.header_prefix,
            metadata: order.metadata,
            sending: order.sending,
        }
    }
}

pub(super) async fn endpoint(may: May<Viewer>, (State(desk), Path(id)): Named) -> Result<Json<Endpoint>, Problem> {
    Ok(Json(desk.endpoint(&may, &id).await?))
}

pub(super) async fn change(
    may: May<Admin>,
    (State(desk), Path(id), problem::Json(patch)): (State<Arc<Desk>>, Path<String>, problem::Json<EndpointPatch>),
) -> Result<Json<Endpoint>, Problem> {
    Ok(Json(desk.change_endpoint(&may, &id, patch).await?))
}

pub(super) async fn delete(may: May<Admin>, (State(desk), Path(id)): Named) -> Result<StatusCode, Problem> {
    desk.delete_endpoint(&may, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn messages(
    may: May<Viewer>,
    (State(desk), Query(ask)): (State<Arc<Desk>>, Query<OfTenant>),
) -> Result<Json<Paged<MessageOnDesk>>, Problem> {
    Ok(Json(desk.messages(&may, ask.tenant.as_deref(), &page(ask.cursor, ask.limit)).await?))
}

pub(super) async fn deliveries(
    may: May<Viewer>,
    (State(desk), Query(ask)): (State<Arc<Desk>>, Query<Deliveries>),
) -> Result<Json<Paged<Delivery>>, Problem> {
    let state = ask.state.as_deref().map(|text| {
        text.parse().map_err(|_: InvalidDeliveryState| {
            Problem::invalid("state", text, "pending, failed, succeeded, exhausted, cancelled")
        })
    });
    let Deliveries { message, endpoint, tenant, cursor, limit, .. } = ask;
    let filter = DeliveryFilter { message, endpoint, tenant, state: state.transpose()? };
    Ok(Json(desk.deliveries(&may, &filter, &page(cursor, limit)).await?))
}

pub(super) async fn message(may: May<Viewer>, (State(desk), Path(id)): Named) -> Result<Json<MessageInFull>, Problem> {
    Ok(Json(desk.message(&may, &id).await?))
}

pub(super) async fn delivery(may: May<Viewer>, (State(desk), Path(id)): Named) -> Result<Json<Delivery>, Problem> {
    Ok(Json(desk.delivery(&may, &id).await?))
}

pub(super) async fn attempts(
    may: May<Viewer>,
    (State(desk), Path(id), Query(ask)): (State<Arc<Desk>>, Path<String>, Query<OnePage>),
) -> Result<Json<Paged<DeliveryAttempt>>, Problem> {
    Ok(Json(desk.attempts(&may, &id, &page(ask.cursor, ask.limit)).await?))
}

fn page(cursor: Option<String>, limit: Limit) -> PageRequest {
    PageRequest { cursor, limit: limit.get() }
}
