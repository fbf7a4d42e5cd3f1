//! What is published: an [`Event`], and the `webhook.fanout` job that carries it.
//!
//! An event is checked where it becomes a job and again where the job is run, so nothing malformed reaches a table or
//! a receiver. One event id is fanned out once for each tenant: by the job's unique key while that is kept, by the
//! `messages` table for as long as the message is kept.

use std::time::Duration;

use serde::ser::Error as _;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::job::{JobKind, JobSpec, PayloadError};

/// How long the queue itself keeps a second publication of the same event away.
const UNIQUE_FOR: Duration = Duration::from_secs(7 * 24 * 3600);
/// Bounds that keep the unique key `fanout:<tenant>:<event id>` under the store's 255 bytes.
const MAX_ID: usize = 128;
pub(super) const MAX_TENANT: usize = 64;
pub(super) const MAX_TYPE: usize = 128;

/// Something that happened and that others may want to hear of.
///
/// ```
/// use serde_json::json;
/// use tidemill::fanout::Event;
///
/// let event = Event {
///     id: "evt_1".into(),
///     event_type: "invoice.paid".into(),
///     tenant: "acme".into(),
///     payload: json!({ "invoice": "in_1", "amount_minor": 1200, "currency": "EUR" }),
/// };
/// let job = event.into_spec()?;
/// assert_eq!(&*job.kind, "webhook.fanout");
/// # Ok::<(), tidemill::job::PayloadError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// The publisher's id for it; the same id again is the same event and is not sent twice. 1 to 128 printable
    /// ASCII characters.
    pub id: String,
    /// Words of `a-z A-Z 0-9 _ -` joined by dots, like `invoice.paid`; at most 128 bytes.
    pub event_type: String,
    /// Whose event it is; only this tenant's endpoints get it. 1 to 64 of `a-z A-Z 0-9 _ - .`.
    pub tenant: String,
    /// What receivers get as `data`.
    pub payload: Value,
}

/// An event with a field that is not allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the event's {field} is `{value}`; allowed: {allowed}")]
pub struct InvalidEvent {
    /// Which field.
    pub field: &'static str,
    /// What was given, cut at 80 characters.
    pub value: String,
    /// What would be accepted.
    pub allowed: &'static str,
}

impl Event {
    /// The `webhook.fanout` job that brings it to every matching endpoint. Publishing the same event again is a
    /// duplicate.
    ///
    /// # Errors
    /// When a field is not allowed ([`Event::check`]) or the payload is too large for a job.
    pub fn into_spec(self) -> Result<JobSpec, PayloadError> {
        self.check().map_err(|e| PayloadError::Encode {
            kind: <Self as JobKind>::KIND.to_owned(),
            source: serde_json::Error::custom(e),
        })?;
        let key = format!("fanout:{}:{}", self.tenant, self.id);
        Ok(JobSpec::of(&self)?.tenant(&self.tenant).unique_for(&key, UNIQUE_FOR).tag(&tag(&self.event_type)))
    }

    /// Says whether every field is allowed.
    ///
    /// # Errors
    /// Names the first field that is not.
    pub fn check(&self) -> Result<(), InvalidEvent> {
        let invalid =
            |field, value: &str, allowed| Err(InvalidEvent { field, value: value.chars().take(80).collect(), allowed });
        if !(1..=MAX_ID).contains(&self.id.len()) || !self.id.bytes().all(|b| b.is_ascii_graphic()) {
            return invalid("id", &self.id, "1 to 128 printable ASCII characters without spaces");
        }
        if !is_event_type(&self.event_type) {
            return invalid(
                "event_type",
                &self.event_type,
                "words of a-z A-Z 0-9 _ - joined by dots, at most 128 bytes",
            );
        }
        if !is_tenant(&self.tenant) {
            return invalid("tenant", &self.tenant, "1 to 64 of a-z A-Z 0-9 _ - .");
        }
        Ok(())
    }
}

impl JobKind for Event {
    const KIND: &'static str = "webhook.fanout";
    const QUEUE: &'static str = "notifications";
}

/// Says whether this may name a tenant: 1 to 64 of `a-z A-Z 0-9 _ - .`.
pub fn is_tenant(text: &str) -> bool {
    // No colon, so that tenant and event id can't run into each other in the unique key.
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    (1..=MAX_TENANT).contains(&text.len()) && text.bytes().all(allowed)
}

pub(super) fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
}

pub(super) fn is_event_type(text: &str) -> bool {
    text.len() <= MAX_TYPE && text.split('.').all(is_word)
}

/// A job's tag has at most 64 bytes.
fn tag(event_type: &str) -> String {
    event_type.chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event() -> Event {
        Event { id: "evt_1".into(), event_type: "invoice.paid".into(), tenant: "acme".into(), payload: json!({}) }
    }

    #[test]
    fn an_event_becomes_a_fanout_job_of_its_tenant_with_a_key_that_outlives_it() {
        let spec = event().into_spec().unwrap();
        assert_eq!((&*spec.kind, spec.queue.as_str()), ("webhook.fanout", "notifications"));
        assert_eq!(spec.tenant.as_deref(), Some("acme"));
        let unique = spec.unique.unwrap();
        assert_eq!(&*unique.key, "fanout:acme:evt_1");
        assert!(unique.keep_for >= Duration::from_secs(3 * 24 * 3600));
    }

    #[test]
    fn the_longest_event_still_fits_the_stores_key_and_tag() {
        let long = Event { id: "i".repeat(128), tenant: "t".repeat(64), event_type: "e".repeat(128), ..event() };
        let spec = long.into_spec().unwrap();
        assert!(spec.unique.unwrap().key.len() <= 255);
        assert!(spec.tags.iter().all(|t| t.len() <= 64));
    }

    #[test]
    fn a_field_that_is_not_allowed_is_refused_by_name() {
        let cases = [
            (Event { id: String::new(), ..event() }, "id"),
            (Event { id: "evt 1".into(), ..event() }, "id"),
            (Event { id: "é".into(), ..event() }, "id"),
            (Event { id: "i".repeat(129), ..event() }, "id"),
            (Event { event_type: "invoice..paid".into(), ..event() }, "event_type"),
            (Event { event_type: "invoice.*".into(), ..event() }, "event_type"),
            (Event { event_type: String::new(), ..event() }, "event_type"),
            (Event { tenant: "a:b".into(), ..event() }, "tenant"),
            (Event { tenant: "t".repeat(65), ..event() }, "tenant"),
        ];
        for (bad, field) in cases {
            assert_eq!(bad.check().unwrap_err().field, field, "{bad:?}");
            let message = bad.into_spec().unwrap_err().to_string();
            assert!(message.contains(field), "{message}");
        }
    }

    #[test]
    fn a_payload_above_the_limit_is_refused() {
        let big = Event { payload: json!("x".repeat(300 * 1024)), ..event() };
        assert!(matches!(big.into_spec(), Err(PayloadError::TooLarge { .. })));
    }
}
