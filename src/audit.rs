//! The audit log: who changed what, from where, before and after.
//!
//! The row is written before the change and completed after it, so there is no change without a row: when the log
//! can't be written, nothing is changed. A row without `after` says that the process ended in between. Rows are never
//! deleted here. Every edge that lets people change things makes its changes through [`AuditLog::around`].

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use serde::Serialize;
use serde_json::{Value, json};

use crate::clock::{Clock, Timestamp};
use crate::data::{Database, Tx, Write};
use crate::{on_pool, on_tx};

/// Who acts, and from where, as the audit log shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// `key:<id>`, `cli:<name>` or `tenant:<tenant> via link <id>`.
    pub name: Arc<str>,
    /// The peer's address, or `local`.
    pub source: Arc<str>,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AuditEntry {
    /// Its number; later changes have higher ones.
    pub id: i64,
    /// When it was asked for.
    pub at: Timestamp,
    /// Who: `key:<id>`, `cli:<name>` or `tenant:<tenant> via link <id>`.
    pub actor: String,
    /// From where: an address, or `local`.
    pub source: String,
    /// What: `queue.pause`.
    pub action: String,
    /// Of what: `queue:reports`.
    pub subject: String,
    /// How it was.
    pub before: Option<Value>,
    /// How it is, or `{"refused": …}`; none: the outcome was never written.
    pub after: Option<Value>,
}

/// One change that is about to be made.
#[derive(Clone, Debug)]
pub struct Change<'a> {
    /// Who makes it.
    pub by: &'a Actor,
    /// What it is: `queue.pause`.
    pub action: &'static str,
    /// Of what: `queue:reports`.
    pub subject: String,
    /// How that is now.
    pub before: Option<Value>,
}

/// A change that is under way and whose outcome must still be written.
#[derive(Debug)]
struct OpenEntry(i64);

/// A row that is to be written; many changes at once share a commit.
struct Line {
    at: Timestamp,
    actor: String,
    source: String,
    action: &'static str,
    subject: String,
    before: Option<String>,
}

impl Write for Line {
    /// Its number.
    type Output = i64;
    type Error = sqlx::Error;

    async fn write(&self, tx: &mut Tx) -> Result<i64, sqlx::Error> {
        on_tx!(tx, conn => {
            sqlx::query_scalar(
                "insert into audit_log (at, actor, source, action, subject, before) values ($1, $2, $3, $4, $5, $6)
                 returning id",
            )
            .bind(self.at.as_ms())
            .bind(&self.actor)
            .bind(&self.source)
            .bind(self.action)
            .bind(&self.subject)
            .bind(&self.before)
            .fetch_one(conn)
            .await
        })
    }
}

/// What became of a change.
struct Outcome {
    entry: i64,
    after: String,
}

impl Write for Outcome {
    type Output = ();
    type Error = sqlx::Error;

    async fn write(&self, tx: &mut Tx) -> Result<(), sqlx::Error> {
        let written = on_tx!(tx, conn => {
            sqlx::query("update audit_log set after = $1 where id = $2 and after is null")
                .bind(&self.after)
                .bind(self.entry)
                .execute(conn)
                .await?
                .rows_affected()
        });
        if written == 1 { Ok(()) } else { Err(sqlx::Error::RowNotFound) }
    }
}

/// Writes and reads the log. Cheap to clone.
#[derive(Clone, Debug)]
pub struct AuditLog {
    db: Database,
    clock: Clock,
}

impl AuditLog {
    /// The log in `db`.
    pub fn new(db: Database, clock: Clock) -> Self {
        Self { db, clock }
    }

    /// The one road of every change: the row is written, the change is made, its outcome is written.
    ///
    /// # Errors
    /// When the row can't be written (then nothing was changed), and what `act` fails with.
    pub async fn around<T, E: From<sqlx::Error> + fmt::Display>(
        &self,
        change: Change<'_>,
        after: impl FnOnce(&T) -> Value,
        act: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let entry = self.open(&change).await?;
        let done = act.await;
        let outcome = match &done {
            Ok(value) => after(value),
            Err(refusal) => json!({ "refused": refusal.to_string() }),
        };
        // The change is made and its row stands: refusing now would tell the caller something untrue.
        if let Err(error) = self.close(entry, &outcome).await {
            let Change { by, action, subject, .. } = change;
            tracing::error!(actor = %by.name, action, subject, %outcome, %error, "an outcome is missing in the audit log");
        }
        done
    }

    /// Says who is about to change what.
    async fn open(&self, change: &Change<'_>) -> Result<OpenEntry, sqlx::Error> {
        let line = Line {
            at: self.clock.now(),
            actor: change.by.name.to_string(),
            source: change.by.source.to_string(),
            action: change.action,
            subject: change.subject.clone(),
            before: change.before.as_ref().map(Value::to_string),
        };
        Ok(OpenEntry(self.db.together(line).await?))
    }

    /// Says what became of it; once.
    async fn close(&self, entry: OpenEntry, after: &Value) -> Result<(), sqlx::Error> {
        self.db.together(Outcome { entry: entry.0, after: after.to_string() }).await
    }

    /// At most `limit` entries, newest first, below `below`.
    ///
    /// # Errors
    /// When the database did not answer.
    pub async fn list(&self, below: Option<i64>, limit: u32) -> Result<Vec<AuditEntry>, sqlx::Error> {
        type Row = (i64, i64, String, String, String, String, Option<String>, Option<String>);
        let rows: Vec<Row> = on_pool!(self.db.read(), pool => {
            sqlx::query_as(
                "select id, at, actor, source, action, subject, before, after from audit_log
                 where id < $1 order by id desc limit $2",
            )
            .bind(below.unwrap_or(i64::MAX))
            .bind(i64::from(limit))
            .fetch_all(pool)
            .await?
        });
        // Text that is no JSON is shown as text rather than not at all.
        let value = |text: Option<String>| text.map(|t| serde_json::from_str(&t).unwrap_or(Value::String(t)));
        let entry = |(id, at, actor, source, action, subject, before, after): Row| AuditEntry {
            id,
            at: Timestamp::from_ms(at),
            actor,
            source,
            action,
            subject,
            before: value(before),
            after: value(after),
        };
        Ok(rows.into_iter().map(entry).collect())
    }
}
