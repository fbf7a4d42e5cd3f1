//! Event types: what publishers have declared.

use serde_json::{Value, json};

use super::Desk;
use super::webhooks::clipped;
use crate::admin::{Admin, AtLeast, May, Refusal, Viewer};
use crate::fanout::event_types::{self, Declaration, EventType};

impl Desk {
    /// All declared types, by name.
    ///
    /// # Errors
    /// When the database did not answer.
    pub async fn event_types(&self, _by: &May<impl AtLeast<Viewer>>) -> Result<Vec<EventType>, Refusal> {
        Ok(event_types::list(self.fanout.db()).await?)
    }

    /// One declared type.
    ///
    /// # Errors
    /// When nobody has declared it.
    pub async fn event_type(&self, _by: &May<impl AtLeast<Viewer>>, name: &str) -> Result<EventType, Refusal> {
        Ok(event_types::get(self.fanout.db(), name).await?)
    }

    /// Declares a type, or declares it anew.
    ///
    /// # Errors
    /// When a field is not allowed, the schema is none, or the example does not fit it.
    pub async fn declare_event_type(
        &self,
        by: &May<impl AtLeast<Admin>>,
        name: &str,
        said: Declaration,
    ) -> Result<EventType, Refusal> {
        let before = event_types::get(self.fanout.db(), name).await.ok().map(|found| described(&found));
        let act = async { Ok(event_types::declare(&self.fanout, name, said).await?) };
        let subject = format!("event_type:{}", clipped(name));
        self.change(by.actor(), "event_type.declare", subject, before, described, act).await
    }

    /// Forgets a type; events of it may say anything from now on.
    ///
    /// # Errors
    /// When nobody has declared it.
    pub async fn delete_event_type(&self, by: &May<impl AtLeast<Admin>>, name: &str) -> Result<(), Refusal> {
        let before = described(&event_types::get(self.fanout.db(), name).await?);
        let act = async { Ok(event_types::delete(self.fanout.db(), name).await?) };
        let (subject, after) = (format!("event_type:{}", clipped(name)), |_: &()| Value::from("deleted"));
        self.change(by.actor(), "event_type.delete", subject, Some(before), after, act).await
    }
}

fn described(found: &EventType) -> Value {
    json!({ "description": found.description, "schema": found.schema, "example": found.example })
}
