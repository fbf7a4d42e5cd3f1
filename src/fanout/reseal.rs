//! Keeps what is sealed under the current key: rows from before secrets and headers were sealed, and rows
//! of an earlier key.
//!
//! Goes in bounded batches, each in one transaction; a process that dies in between has done whole rows, and the next
//! call goes on. Several at once do the same work twice and no harm.

use sqlx::FromRow;

use super::FanoutState;
use super::endpoints::{EndpointError, HeadersRow, SecretRow, seal, seal_headers, secret_columns};
use crate::data::{Database, Tx};
use crate::sealing::{SealError, Sealer};
use crate::{on_pool, on_tx};

/// Rows in one transaction.
const BATCH: i64 = 200;

/// What is sealed anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reseal {
    /// Only what lies there as plain text, from before secrets were sealed.
    Plain,
    /// Whatever the current key has not sealed.
    All,
}

/// Seals secrets and static headers with the current key; how many rows that were.
///
/// # Errors
/// When a secret can't be opened, or the database did not take a batch; those before it are sealed.
pub async fn reseal(state: &FanoutState, which: Reseal) -> Result<u64, EndpointError> {
    // A database without secrets needs no key.
    let key = state.sealer.as_ref().map_or("", Sealer::current_key);
    let (mut after, mut sealed, mut was_plain) = (String::new(), 0, false);
    loop {
        let mut tx = state.db.begin().await?;
        let rows = not_of(&mut tx, key, which, &after).await?;
        let Some(last) = rows.last() else { break };
        after.clone_from(&last.id);
        for row in &rows {
            was_plain |= row.is_plain();
            sealed += seal_row(&mut tx, state, row).await?;
        }
        tx.commit().await?;
    }
    after.clear();
    loop {
        let mut tx = state.db.begin().await?;
        let rows = headers_not_of(&mut tx, key, which, &after).await?;
        let Some(last) = rows.last() else { break };
        after.clone_from(&last.id);
        for row in &rows {
            was_plain |= row.headers.is_plain();
            sealed += seal_headers_of(&mut tx, state, row).await?;
        }
        tx.commit().await?;
    }
    if was_plain {
        scrub(&state.db).await?;
    }
    Ok(sealed)
}

/// Says whether every key is known that something is sealed with.
///
/// # Errors
/// Names the first one that is not, or says that the database did not answer.
pub async fn check_keys(state: &FanoutState) -> Result<(), EndpointError> {
    for key in keys(&state.db).await? {
        let id = format!("sealed with {key}");
        let sealer = state.sealer().map_err(|source| EndpointError::Sealed { id: id.clone(), source })?;
        if !sealer.knows(&key) {
            return Err(EndpointError::Sealed { id, source: SealError::UnknownKey(key) });
        }
    }
    Ok(())
}

/// True when there are secrets that only a data key opens.
///
/// # Errors
/// When the database did not answer.
pub async fn is_sealed(db: &Database) -> Result<bool, sqlx::Error> {
    Ok(!keys(db).await?.is_empty())
}

async fn keys(db: &Database) -> Result<Vec<String>, sqlx::Error> {
    on_pool!(db.read(), pool => {
        sqlx::query_scalar(
            "select key_id from endpoint_secrets where key_id is not null
             union select headers_key from endpoints where headers_key is not null and headers <> '{}'",
        )
        .fetch_all(pool)
        .await
    })
}

async fn not_of(tx: &mut Tx, key: &str, which: Reseal, after: &str) -> Result<Vec<SecretRow>, sqlx::Error> {
    on_tx!(tx, conn => {
        sqlx::query_as(concat!(
            "select ", secret_columns!(), " from endpoint_secrets
             where (key_id is null or ($4 and key_id <> $1)) and id > $2 order by id limit $3"
        ))
        .bind(key)
        .bind(after)
        .bind(BATCH)
        .bind(which == Reseal::All)
        .fetch_all(conn)
        .await
    })
}

async fn seal_row(tx: &mut Tx, state: &FanoutState, row: &SecretRow) -> Result<u64, EndpointError> {
    let sealed = seal(state, &row.id, &row.endpoint_id, &row.open(state)?)?;
    let rows = on_tx!(tx, conn => {
        sqlx::query("update endpoint_secrets set secret = null, key_id = $2, sealed = $3 where id = $1")
            .bind(&row.id)
            .bind(sealed.key_id)
            .bind(sealed.bytes)
            .execute(conn)
            .await?
            .rows_affected()
    });
    Ok(rows)
}

#[derive(FromRow)]
struct EndpointsHeaders {
    id: String,
    updated_at: i64,
    #[sqlx(flatten)]
    headers: HeadersRow,
}

async fn headers_not_of(
    tx: &mut Tx,
    key: &str,
    which: Reseal,
    after: &str,
) -> Result<Vec<EndpointsHeaders>, sqlx::Error> {
    on_tx!(tx, conn => {
        sqlx::query_as(
            "select id, updated_at, headers, headers_key, headers_sealed from endpoints
             where headers <> '{}' and (headers_key is null or ($4 and headers_key <> $1)) and id > $2
             order by id limit $3",
        )
        .bind(key)
        .bind(after)
        .bind(BATCH)
        .bind(which == Reseal::All)
        .fetch_all(conn)
        .await
    })
}

/// Zero when the endpoint was changed meanwhile: then it was sealed by that.
async fn seal_headers_of(tx: &mut Tx, state: &FanoutState, row: &EndpointsHeaders) -> Result<u64, EndpointError> {
    let kept = seal_headers(state, &row.id, &row.headers.open(state, &row.id)?)?;
    let rows = on_tx!(tx, conn => {
        sqlx::query(
            "update endpoints set headers = $2, headers_key = $3, headers_sealed = $4
             where id = $1 and updated_at = $5",
        )
        .bind(&row.id)
        .bind(kept.names)
        .bind(kept.key_id)
        .bind(kept.sealed)
        .bind(row.updated_at)
        .execute(conn)
        .await?
        .rows_affected()
    });
    Ok(rows)
}

/// What was plain would stay readable in free pages and in the log of the file. Once in a database's life, when its
/// secrets are sealed for the first time.
async fn scrub(db: &Database) -> Result<(), sqlx::Error> {
    on_pool!(db.write(), pool => {
        sqlx::query("vacuum").execute(pool).await?;
        sqlx::query("pragma wal_checkpoint(truncate)").execute(pool).await?;
    });
    Ok(())
}
