//! The secrets of endpoints: listed without their texts, and revealed to an admin, with a row in the audit log.

use serde_json::Value;

use super::Desk;
use crate::admin::{Admin, AtLeast, May, Operator, Refusal};
use crate::fanout::endpoints::{self, SecretOnFile};
use crate::fanout::{self, Reseal, Secret};

impl Desk {
    /// An endpoint's unexpired secrets without their texts, the current one first.
    ///
    /// # Errors
    /// When there is no such endpoint, or one of them can't be opened.
    pub async fn endpoint_secrets(
        &self,
        _by: &May<impl AtLeast<Operator>>,
        id: &str,
    ) -> Result<Vec<SecretOnFile>, Refusal> {
        Ok(endpoints::secrets(&self.fanout, id).await?)
    }

    /// The current secret, for somebody who has lost it.
    ///
    /// # Errors
    /// When there is no such endpoint, or its secret can't be opened.
    pub async fn reveal_endpoint_secret(&self, by: &May<impl AtLeast<Admin>>, id: &str) -> Result<Secret, Refusal> {
        let subject = format!("endpoint:{}", super::webhooks::clipped(id));
        let act = async { Ok(endpoints::current_secret(&self.fanout, id).await?) };
        self.change(by.actor(), "endpoint.reveal", subject, None, |_: &Secret| Value::from("revealed"), act).await
    }

    /// Seals every secret with the current data key that another one has sealed; how many that were.
    ///
    /// # Errors
    /// When a secret can't be opened, or the database did not take a batch; those before it are sealed.
    pub async fn reseal_secrets(&self, by: &May<impl AtLeast<Admin>>) -> Result<u64, Refusal> {
        let act = async { Ok(fanout::reseal(&self.fanout, Reseal::All).await?) };
        self.change(by.actor(), "secrets.rotate", "secrets".to_owned(), None, |n: &u64| Value::from(*n), act).await
    }
}
