//! `/api/v1/keys`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CACHE_CONTROL;
use axum::response::IntoResponse;
use secrecy::ExposeSecret as _;
use serde::Deserialize;
use serde_json::json;

use crate::admin::{Admin, Ask, Desk, InvalidKeyId, KeyId, KeyRecord, May, Paged, Role};
use crate::clock::Timestamp;
use crate::problem::{self, Path, Problem, Query};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KeyOrder {
    name: String,
    role: Role,
    #[serde(default)]
    expires_at: Option<Timestamp>,
}

pub(super) async fn list(
    may: May<Admin>,
    (State(desk), Query(ask)): (State<Arc<Desk>>, Query<Ask>),
) -> Result<Json<Paged<KeyRecord>>, Problem> {
    Ok(Json(desk.keys(&may, &ask).await?))
}

pub(super) async fn create(
    may: May<Admin>,
    (State(desk), problem::Json(order)): (State<Arc<Desk>>, problem::Json<KeyOrder>),
) -> Result<impl IntoResponse, Problem> {
    let (record, text) = desk.create_key(&may, &order.name, order.role, order.expires_at).await?;
    let shown_once = json!({ "key": text.expose_secret(), "record": record });
    Ok((StatusCode::CREATED, [(CACHE_CONTROL, "no-store")], Json(shown_once)))
}

pub(super) async fn revoke(
    may: May<Admin>,
    (State(desk), Path(id)): (State<Arc<Desk>>, Path<String>),
) -> Result<Json<KeyRecord>, Problem> {
    let id: KeyId = id.parse().map_err(|_| Problem::invalid("key id", id.as_str(), InvalidKeyId::ALLOWED))?;
    Ok(Json(desk.revoke_key(&may, &id).await?))
}
