//! One static header of an endpoint: set, or taken away, while the others stay.
//!
//! For whoever can't send all of them again, because values are never shown. What was sealed is opened inside the write, so
//! that two changes at once don't undo each other.

use super::super::FanoutState;
use super::{
    Endpoint, EndpointError, Row, begun_name, check_headers, check_together, endpoint_where, exists, invalid, missing,
    read, seal_headers,
};
use crate::on_tx;

/// What shall become of one header. Names are told apart without their case.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum HeaderChange<'a> {
    /// It is sent with every POST, instead of one with the same name.
    Set {
        /// Its name.
        name: &'a str,
        /// Its value; kept sealed.
        value: &'a str,
    },
    /// It is not sent any more.
    Remove {
        /// Its name.
        name: &'a str,
    },
}

/// A value may be a credential: it is not shown here either.
impl std::fmt::Debug for HeaderChange<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Set { name, .. } => f.debug_struct("Set").field("name", name).finish_non_exhaustive(),
            Self::Remove { name } => f.debug_struct("Remove").field("name", name).finish(),
        }
    }
}

/// Changes one static header. Deliveries under way follow at their next attempt.
///
/// # Errors
/// When the header is not allowed, there is none of the name to take away, or there is no such endpoint.
pub async fn change_header(state: &FanoutState, id: &str, change: HeaderChange<'_>) -> Result<Endpoint, EndpointError> {
    let now = state.clock.now();
    let mut tx = state.db.begin().await?;
    let row: Option<Row> = on_tx!(&mut tx, conn => {
        sqlx::query_as(endpoint_where!("e.id = $1")).bind(id).fetch_optional(conn).await?
    });
    let row = row.ok_or_else(|| missing(id))?;
    let mut headers = row.headers.open(state, id)?;
    let (HeaderChange::Set { name, .. } | HeaderChange::Remove { name }) = change;
    let before = headers.len();
    headers.retain(|kept, _| !kept.eq_ignore_ascii_case(name));
    match change {
        HeaderChange::Set { name, value } => {
            headers.insert(name.to_owned(), value.to_owned());
        }
        HeaderChange::Remove { name } if headers.len() == before => {
            return Err(invalid("headers", &begun_name(name), "the name of a header that the endpoint has"));
        }
        HeaderChange::Remove { .. } => {}
    }
    check_headers(&headers)?;
    check_together(&headers, Endpoint::try_from(row)?.header_prefix.as_deref())?;
    let kept = seal_headers(state, id, &headers)?;
    let rows = on_tx!(&mut tx, conn => {
        sqlx::query(
            "update endpoints set headers = $2, headers_key = $3, headers_sealed = $4, updated_at = $5 where id = $1",
        )
        .bind(id)
        .bind(kept.names)
        .bind(kept.key_id)
        .bind(kept.sealed)
        .bind(now.as_ms())
        .execute(conn)
        .await?
        .rows_affected()
    });
    exists(rows, id)?;
    let changed = read(&mut tx, id).await?;
    tx.commit().await?;
    Ok(changed)
}
