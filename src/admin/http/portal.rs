//! `/api/v1/tenants/{tenant}/portal-links` and `/api/v1/portal-links/{id}`: links to the consumers' page.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CACHE_CONTROL;
use axum::response::IntoResponse;
use secrecy::ExposeSecret as _;
use serde::Deserialize;
use serde_json::{Value, json};

use super::body::MaybeJson;
use crate::admin::{Admin, Ask, Desk, May, Operator, Paged};
use crate::portal::{Link, NewLink};
use crate::problem::{Path, Problem, Query};

type Named = (State<Arc<Desk>>, Path<String>);

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LinkOrder {
    #[serde(default)]
    hours: Option<u64>,
    #[serde(default)]
    read_only: bool,
}

pub(super) async fn make(
    may: May<Admin>,
    (State(desk), Path(tenant), MaybeJson(order)): (State<Arc<Desk>>, Path<String>, MaybeJson<LinkOrder>),
) -> Result<impl IntoResponse, Problem> {
    let LinkOrder { hours, read_only } = order;
    let made = desk.make_portal_link(&may, &NewLink { tenant, hours, read_only }).await?;
    let shown_once = json!({ "url": made.url.expose_secret(), "link": made.link });
    Ok((StatusCode::CREATED, [(CACHE_CONTROL, "no-store")], Json(shown_once)))
}

pub(super) async fn list(
    may: May<Operator>,
    (State(desk), Path(tenant), Query(ask)): (State<Arc<Desk>>, Path<String>, Query<Ask>),
) -> Result<Json<Paged<Link>>, Problem> {
    Ok(Json(desk.portal_links(&may, &tenant, &ask).await?))
}

pub(super) async fn revoke_all(may: May<Admin>, (State(desk), Path(tenant)): Named) -> Result<Json<Value>, Problem> {
    Ok(Json(json!({ "revoked": desk.revoke_portal_links(&may, &tenant).await? })))
}

pub(super) async fn revoke(may: May<Admin>, (State(desk), Path(id)): Named) -> Result<Json<Link>, Problem> {
    Ok(Json(desk.revoke_portal_link(&may, &id).await?))
}
