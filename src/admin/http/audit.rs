//! `/api/v1/audit`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use crate::admin::{Admin, Ask, AuditEntry, Desk, May, Paged};
use crate::problem::{Problem, Query};

pub(super) async fn list(
    may: May<Admin>,
    (State(desk), Query(ask)): (State<Arc<Desk>>, Query<Ask>),
) -> Result<Json<Paged<AuditEntry>>, Problem> {
    Ok(Json(desk.audit(&may, &ask).await?))
}
