//! Keys: list, make, revoke.

use secrecy::SecretString;
use serde_json::{Value, json};

use super::Desk;
use crate::admin::page::{Ask, Paged};
use crate::admin::{Admin, AtLeast, KeyId, KeyRecord, May, Refusal, Role};
use crate::clock::Timestamp;

impl Desk {
    /// A page of keys, in the order of their ids; secrets are not kept and can't be shown.
    ///
    /// # Errors
    /// When the cursor is none or the database did not answer.
    pub async fn keys(&self, _by: &May<impl AtLeast<Admin>>, ask: &Ask) -> Result<Paged<KeyRecord>, Refusal> {
        let after = ask.cursor.as_ref().map(|place| place.key::<KeyId>()).transpose()?;
        let rest = self.keys.list(after.as_ref(), ask.limit.get() + 1).await?;
        Ok(ask.of_rest(rest, |key| key.id.clone()))
    }

    /// Makes a key; its text is returned here once and never again.
    ///
    /// # Errors
    /// When the name or the expiry is not acceptable.
    pub async fn create_key(
        &self,
        by: &May<impl AtLeast<Admin>>,
        name: &str,
        role: Role,
        expires_at: Option<Timestamp>,
    ) -> Result<(KeyRecord, SecretString), Refusal> {
        let act = async { Ok(self.keys.create(name, role, expires_at).await?) };
        let after = |(key, _): &(KeyRecord, SecretString)| described(key);
        let subject = format!("key named {}", name.chars().filter(|c| !c.is_control()).take(100).collect::<String>());
        self.change(by.actor(), "key.create", subject, None, after, act).await
    }

    /// Takes a key back at once.
    ///
    /// # Errors
    /// When there is no such key, or it was revoked before.
    pub async fn revoke_key(&self, by: &May<impl AtLeast<Admin>>, id: &KeyId) -> Result<KeyRecord, Refusal> {
        let before = described(&self.keys.get(id).await?);
        let act = async { Ok(self.keys.revoke(id).await?) };
        self.change(by.actor(), "key.revoke", format!("key:{id}"), Some(before), described, act).await
    }
}

fn described(key: &KeyRecord) -> Value {
    json!({
        "id": key.id, "name": key.name, "role": key.role, "expires_at": key.expires_at, "revoked_at": key.revoked_at,
    })
}
