//! `/api/v1/endpoints/{id}/{rotate,secrets,reveal}`: an endpoint's signing secrets.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::header::CACHE_CONTROL;
use axum::response::IntoResponse;
use serde::Deserialize;
use serde_json::{Value, json};

use super::body::MaybeJson;
use crate::admin::{Admin, Desk, May, Operator};
use crate::fanout::endpoints::{Rotation, SecretOnFile};
use crate::fanout::{Scheme, Secret};
use crate::problem::{Path, Problem};

type Named = (State<Arc<Desk>>, Path<String>);

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RotationOrder {
    #[serde(default)]
    secret: Option<String>,
    #[serde(default)]
    signature: Option<Scheme>,
    #[serde(default)]
    overlap_seconds: Option<u64>,
}

pub(super) async fn rotate(
    may: May<Admin>,
    (State(desk), Path(id), MaybeJson(order)): (State<Arc<Desk>>, Path<String>, MaybeJson<RotationOrder>),
) -> Result<impl IntoResponse, Problem> {
    let RotationOrder { secret, signature, overlap_seconds } = order;
    let rotation = Rotation { secret, scheme: signature, overlap: overlap_seconds.map(Duration::from_secs) };
    Ok(shown_once(&desk.rotate_endpoint_secret(&may, &id, rotation).await?))
}

pub(super) async fn list(
    may: May<Operator>,
    (State(desk), Path(id)): Named,
) -> Result<Json<Vec<SecretOnFile>>, Problem> {
    Ok(Json(desk.endpoint_secrets(&may, &id).await?))
}

pub(super) async fn reveal(may: May<Admin>, (State(desk), Path(id)): Named) -> Result<impl IntoResponse, Problem> {
    Ok(shown_once(&desk.reveal_endpoint_secret(&may, &id).await?))
}

fn shown_once(secret: &Secret) -> ([(axum::http::HeaderName, &'static str); 1], Json<Value>) {
    ([(CACHE_CONTROL, "no-store")], Json(json!({ "secret": secret.handed_out(), "signature": secret.scheme() })))
}
