//! Types of events that publishers have declared: what they mean, what their payload must look like, and an example.
//!
//! A type with a schema refuses events that don't fit it. A type that nobody has declared may be published all the same:
//! declaring is for those who want the promise kept, and it can come later.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::FromRow;

use super::event::{MAX_TYPE, is_event_type};
use super::operational::is_operational;
use super::schema::{MAX_BYTES, Misfit, Schema};
use super::{Event, FanoutState};
use crate::clock::Timestamp;
use crate::data::Database;
use crate::job::JobError;
use crate::{on_pool, on_tx};

const MAX_DESCRIPTION: usize = 2_000;
/// All of them are listed at once.
const MAX_TYPES: i64 = 1_000;

macro_rules! columns {
    () => {
        "name, description, schema, example, created_at, updated_at"
    };
}

/// What a publisher declares.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Declaration {
    /// For people, 1 to 2,000 bytes.
    pub description: String,
    /// What a payload must look like; see `docs/api.md` for the keywords. None: anything.
    #[serde(default)]
    pub schema: Option<Value>,
    /// A payload that fits.
    #[serde(default)]
    pub example: Option<Value>,
}

impl Declaration {
    /// Says whether a payload fits the schema, if there is one.
    ///
    /// # Errors
    /// Says where it does not fit, or where the schema is none.
    pub fn check_payload(&self, event_type: &str, payload: &Value) -> Result<(), EventTypeError> {
        let Some(schema) = &self.schema else { return Ok(()) };
        let misfit = |misfit| EventTypeError::Payload { event_type: event_type.to_owned(), misfit };
        Schema::read(schema.clone()).map_err(EventTypeError::Schema)?.check(payload).map_err(misfit)
    }
}

/// A declared type.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EventType {
    /// `invoice.paid`.
    pub name: String,
    /// For people.
    pub description: String,
    /// What a payload must look like.
    pub schema: Option<Value>,
    /// A payload that fits.
    pub example: Option<Value>,
    /// When it was declared.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// Why a declaration or an event was refused.
#[derive(Debug, thiserror::Error)]
pub enum EventTypeError {
    /// A field is out of range.
    #[error("{field} is {value}; allowed: {allowed}")]
    Invalid {
        /// Which field.
        field: &'static str,
        /// What was given, cut at 80 characters.
        value: String,
        /// What would be accepted.
        allowed: &'static str,
    },
    /// The schema is none.
    #[error("schema: {0}")]
    Schema(Misfit),
    /// The example does not fit the schema beside it.
    #[error("example: {0}")]
    Example(Misfit),
    /// An event does not fit its type's schema.
    #[error("the payload does not fit the schema of `{event_type}` at {misfit}")]
    Payload {
        /// Its type.
        event_type: String,
        /// Where and how.
        misfit: Misfit,
    },
    /// Only this service tells of endpoints.
    #[error("`{0}` is a type that only this service publishes; choose another name")]
    Reserved(String),
    /// Nobody has declared it.
    #[error("there is no event type `{0}`")]
    NoSuchType(String),
    /// There are as many as are allowed.
    #[error("there are {MAX_TYPES} event types, which is the limit; delete some first")]
    TooMany,
    /// The database did not answer.
    #[error("the database did not answer: {0}")]
    Data(#[from] sqlx::Error),
    /// A row that can't be read.
    #[error("event type `{name}` is unreadable in the database: {detail}")]
    Corrupt {
        /// Which one.
        name: String,
        /// What is wrong.
        detail: String,
    },
}

impl EventTypeError {
    /// What becomes of a job that carries such an event: trying again helps only where the database is at fault.
    pub(super) fn into_job_error(self) -> JobError {
        match self {
            Self::Data(_) | Self::Corrupt { .. } => JobError::retry(self),
            _ => JobError::dead(self),
        }
    }
}

#[derive(FromRow)]
struct Row {
    name: String,
    description: String,
    schema: Option<String>,
    example: Option<String>,
    created_at: i64,
    updated_at: i64,
}

/// Declares a type, or declares it anew.
///
/// # Errors
/// When a field is not allowed, the schema is none, or the example does not fit it.
pub async fn declare(state: &FanoutState, name: &str, said: Declaration) -> Result<EventType, EventTypeError> {
    check(name, &said)?;
    let text = |value: &Option<Value>| value.as_ref().map(Value::to_string);
    let mut tx = state.db.begin().await?;
    let (row, count): (Row, i64) = on_tx!(&mut tx, conn => {
        let row = sqlx::query_as(concat!(
            "insert into event_types (name, description, schema, example, created_at, updated_at)
             values ($1, $2, $3, $4, $5, $5)
             on conflict (name) do update
             set description = excluded.description, schema = excluded.schema, example = excluded.example,
                 updated_at = case when event_types.description = excluded.description
                                    and coalesce(event_types.schema, '') = coalesce(excluded.schema, '')
                                    and coalesce(event_types.example, '') = coalesce(excluded.example, '')
                              then event_types.updated_at else excluded.updated_at end
             returning ",
            columns!()
        ))
        .bind(name)
        .bind(&said.description)
        .bind(text(&said.schema))
        .bind(text(&said.example))
        .bind(state.clock.now().as_ms())
        .fetch_one(&mut *conn)
        .await?;
        let count = sqlx::query_scalar("select count(*) from event_types").fetch_one(conn).await?;
        (row, count)
    });
    if count > MAX_TYPES {
        return Err(EventTypeError::TooMany);
    }
    tx.commit().await?;
    row.try_into()
}

/// All of them, by name.
///
/// # Errors
/// When the database did not answer.
pub async fn list(db: &Database) -> Result<Vec<EventType>, EventTypeError> {
    let rows: Vec<Row> = on_pool!(db.read(), pool => {
        sqlx::query_as(concat!("select ", columns!(), " from event_types order by name limit $1"))
            .bind(MAX_TYPES)
            .fetch_all(pool)
            .await?
    });
    rows.into_iter().map(EventType::try_from).collect()
}

/// One of them.
///
/// # Errors
/// When nobody has declared it.
pub async fn get(db: &Database, name: &str) -> Result<EventType, EventTypeError> {
    find(db, name).await?.ok_or_else(|| unknown(name))
}

/// Forgets a type; events of it may say anything from now on.
///
/// # Errors
/// When nobody has declared it.
pub async fn delete(db: &Database, name: &str) -> Result<(), EventTypeError> {
    let rows = on_pool!(db.write(), pool => {
        sqlx::query("delete from event_types where name = $1").bind(name).execute(pool).await?.rows_affected()
    });
    if rows == 1 { Ok(()) } else { Err(unknown(name)) }
}

/// Says whether an event's payload fits its type's schema.
///
/// # Errors
/// Says where it does not fit.
pub async fn check_event(db: &Database, event: &Event) -> Result<(), EventTypeError> {
    let declared = find(db, &event.event_type).await?;
    let Some(schema) = declared.and_then(|found| found.schema) else { return Ok(()) };
    let corrupt =
        |misfit: Misfit| EventTypeError::Corrupt { name: event.event_type.clone(), detail: misfit.to_string() };
    let misfit = |misfit| EventTypeError::Payload { event_type: event.event_type.clone(), misfit };
    Schema::read(schema).map_err(corrupt)?.check(&event.payload).map_err(misfit)
}

/// Says whether a publisher may publish the event: its type is not ours alone, and its payload fits.
///
/// # Errors
/// Says which of the two it is, and where it does not fit.
pub async fn check_published(db: &Database, event: &Event) -> Result<(), EventTypeError> {
    if is_operational(&event.event_type) {
        return Err(EventTypeError::Reserved(event.event_type.clone()));
    }
    check_event(db, event).await
}

async fn find(db: &Database, name: &str) -> Result<Option<EventType>, EventTypeError> {
    let row: Option<Row> = on_pool!(db.read(), pool => {
        sqlx::query_as(concat!("select ", columns!(), " from event_types where name = $1"))
            .bind(name)
            .fetch_optional(pool)
            .await?
    });
    row.map(EventType::try_from).transpose()
}

fn check(name: &str, said: &Declaration) -> Result<(), EventTypeError> {
    let invalid = |field, value: &str, allowed| {
        let value = format!("`{}`", value.chars().take(80).collect::<String>());
        Err(EventTypeError::Invalid { field, value, allowed })
    };
    const { assert!(MAX_TYPE == 128, "the message and the table say so") };
    if !is_event_type(name) {
        return invalid("name", name, "words of a-z A-Z 0-9 _ - joined by dots, at most 128 bytes");
    }
    if is_operational(name) {
        return Err(EventTypeError::Reserved(name.to_owned()));
    }
    if !(1..=MAX_DESCRIPTION).contains(&said.description.len()) || said.description.contains('\0') {
        return invalid("description", &said.description, "1 to 2000 bytes without NUL");
    }
    for (field, value) in [("schema", &said.schema), ("example", &said.example)] {
        let bytes = value.as_ref().map_or(0, |value| value.to_string().len());
        if bytes > MAX_BYTES {
            return invalid(field, &format!("{bytes} bytes"), "at most 32768 bytes");
        }
    }
    let Some(schema) = &said.schema else { return Ok(()) };
    let schema = Schema::read(schema.clone()).map_err(EventTypeError::Schema)?;
    said.example.as_ref().map_or(Ok(()), |example| schema.check(example)).map_err(EventTypeError::Example)
}

fn unknown(name: &str) -> EventTypeError {
    EventTypeError::NoSuchType(name.chars().take(80).collect())
}

impl TryFrom<Row> for EventType {
    type Error = EventTypeError;

    fn try_from(row: Row) -> Result<Self, EventTypeError> {
        let parse = |text: Option<String>| text.map(|text| serde_json::from_str(&text)).transpose();
        let corrupt = |e: serde_json::Error| EventTypeError::Corrupt { name: row.name.clone(), detail: e.to_string() };
        let (schema, example) = (parse(row.schema).map_err(corrupt)?, parse(row.example).map_err(corrupt)?);
        Ok(Self {
            name: row.name,
            description: row.description,
            schema,
            example,
            created_at: Timestamp::from_ms(row.created_at),
            updated_at: Timestamp::from_ms(row.updated_at),
        })
    }
}
