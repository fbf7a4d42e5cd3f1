//! `reconciliation_runs` and `reconciliation_differences`: what a comparison found.
//!
//! A run's findings replace those of an earlier attempt of the same run, in one transaction with its counts; a run
//! that is repeated does not report anything twice.

use serde::Serialize;
use tidemill::clock::Timestamp;
use tidemill::data::{Database, Tx};
use tidemill::{on_pool, on_tx};

/// Which comparison.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    /// The same for every attempt at it.
    pub id: &'a str,
    /// `stripe`
    pub system: &'a str,
    /// Objects made from here on …
    pub from: Timestamp,
    /// … to before here.
    pub until: Timestamp,
}

/// In what way an object differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DifferenceKind {
    /// They have it, we don't.
    Missing,
    /// We have it, they don't.
    Extra,
    /// A field differs.
    Differs,
}

impl DifferenceKind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Extra => "extra",
            Self::Differs => "differs",
        }
    }
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// `subscription`, `invoice`
    pub object: &'static str,
    /// The other side's id.
    pub object_id: String,
    /// In what way.
    pub kind: DifferenceKind,
    /// Which field; of a missing or extra object, the one with its amount.
    pub field: &'static str,
    /// What we have, as text.
    pub ours: Option<String>,
    /// What they have, as text.
    pub theirs: Option<String>,
    /// What we have, if it is an amount.
    pub ours_minor: Option<i64>,
    /// What they have, if it is an amount.
    pub theirs_minor: Option<i64>,
    /// The amounts' currency.
    pub currency: Option<String>,
}

/// How many objects ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// All objects looked at, ours and theirs.
    pub checked: u64,
    /// The same on both sides.
    pub matched: u64,
    /// They have it, we don't.
    pub missing: u64,
    /// We have it, they don't.
    pub extra: u64,
    /// At least one field differs.
    pub differing: u64,
    /// Changed here while the run was going on: looked at next time.
    pub in_flight: u64,
}

/// Says that a run has begun, or begins again.
///
/// # Errors
/// When the database did not take it.
pub async fn begin(db: &Database, run: Run<'_>, now: Timestamp) -> Result<(), sqlx::Error> {
    let done = on_pool!(db.write(), pool => {
        sqlx::query(
            "insert into reconciliation_runs (id, system, window_start, window_end, started_at)
             values ($1, $2, $3, $4, $5)
             on conflict (id) do update set started_at = excluded.started_at, finished_at = null",
        )
        .bind(run.id)
        .bind(run.system)
        .bind(run.from.as_ms())
        .bind(run.until.as_ms())
        .bind(now.as_ms())
        .execute(pool)
        .await?
        .rows_affected()
    });
    if done == 1 { Ok(()) } else { Err(sqlx::Error::RowNotFound) }
}

/// Keeps what a run has found, in place of what an earlier attempt at it found.
///
/// # Errors
/// When the database did not take it, or the run never began.
pub async fn finish(
    db: &Database,
    run: &str,
    tally: Tally,
    differences: &[Difference],
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    let mut tx = db.begin().await?;
    forget(&mut tx, run).await?;
    for difference in differences {
        add(&mut tx, run, difference).await?;
    }
    let n = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    let done = on_tx!(&mut tx, conn => {
        sqlx::query(
            "update reconciliation_runs set finished_at = $2, checked = $3, matched = $4, missing = $5, extra = $6,
                 differing = $7, in_flight = $8 where id = $1",
        )
        .bind(run)
        .bind(now.as_ms())
        .bind(n(tally.checked))
        .bind(n(tally.matched))
        .bind(n(tally.missing))
        .bind(n(tally.extra))
        .bind(n(tally.differing))
        .bind(n(tally.in_flight))
        .execute(conn)
        .await?
        .rows_affected()
    });
    if done != 1 {
        return Err(sqlx::Error::RowNotFound);
    }
    tx.commit().await
}

/// Takes away what an earlier attempt found; there may have been none, so any number of rows is right.
async fn forget(tx: &mut Tx, run: &str) -> Result<u64, sqlx::Error> {
    on_tx!(tx, conn => {
        sqlx::query("delete from reconciliation_differences where run_id = $1")
            .bind(run)
            .execute(conn)
            .await
            .map(|done| done.rows_affected())
    })
}

async fn add(tx: &mut Tx, run: &str, d: &Difference) -> Result<(), sqlx::Error> {
    let done = on_tx!(tx, conn => {
        sqlx::query(
            "insert into reconciliation_differences
                 (run_id, object, object_id, kind, field, ours, theirs, ours_minor, theirs_minor, currency)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        )
        .bind(run)
        .bind(d.object)
        .bind(&d.object_id)
        .bind(d.kind.as_str())
        .bind(d.field)
        .bind(d.ours.as_deref())
        .bind(d.theirs.as_deref())
        .bind(d.ours_minor)
        .bind(d.theirs_minor)
        .bind(d.currency.as_deref())
        .execute(conn)
        .await?
        .rows_affected()
    });
    if done == 1 { Ok(()) } else { Err(sqlx::Error::RowNotFound) }
}

/// A finding as it is kept: the words of [`Difference`], read back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub struct DifferenceRow {
    /// `subscription`, `invoice`
    pub object: String,
    /// The other side's id.
    pub object_id: String,
    /// `missing`, `extra`, `differs`
    pub kind: String,
    /// Which field.
    pub field: String,
    /// What we have.
    pub ours: Option<String>,
    /// What they have.
    pub theirs: Option<String>,
    /// What we have, if it is an amount.
    pub ours_minor: Option<i64>,
    /// What they have, if it is an amount.
    pub theirs_minor: Option<i64>,
    /// The amounts' currency.
    pub currency: Option<String>,
}

/// The findings of a run, at most `limit`, in the order of object, id and field.
///
/// # Errors
/// When the database did not answer.
pub async fn differences(db: &Database, run: &str, limit: u32) -> Result<Vec<DifferenceRow>, sqlx::Error> {
    on_pool!(db.read(), pool => {
        sqlx::query_as(
            "select object, object_id, kind, field, ours, theirs, ours_minor, theirs_minor, currency
             from reconciliation_differences where run_id = $1 order by object, object_id, field limit $2",
        )
        .bind(run)
        .bind(i64::from(limit))
        .fetch_all(pool)
        .await
    })
}
