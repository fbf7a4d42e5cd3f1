//! Sending again: one delivery, what failed or was missed, everything; and test events.

use serde_json::{Value, json};

use super::Desk;
use super::webhooks::clipped;
use crate::admin::page::Paged;
use crate::admin::{AtLeast, May, Operator, Refusal, Viewer};
use crate::fanout::PageRequest;
use crate::fanout::recovery::{self, NewRecovery, Recovery};

impl Desk {
    /// Begins to send again what an endpoint did not get, or shall get again.
    ///
    /// # Errors
    /// When there is no such endpoint, it is not enabled, or the time lies ahead.
    pub async fn recover(&self, by: &May<impl AtLeast<Operator>>, new: NewRecovery) -> Result<Recovery, Refusal> {
        let subject = format!("endpoint:{}", clipped(&new.endpoint));
        let act = async { Ok(recovery::start(&self.fanout, &self.queue, new).await?) };
        self.change(by.actor(), "endpoint.recover", subject, None, described, act).await
    }

    /// Sends one delivery again, whatever has become of it.
    ///
    /// # Errors
    /// When there is no such delivery, or its endpoint is not enabled.
    pub async fn resend(&self, by: &May<impl AtLeast<Operator>>, delivery: &str) -> Result<Recovery, Refusal> {
        let subject = format!("delivery:{}", clipped(delivery));
        let act = async { Ok(recovery::resend(&self.fanout, &self.queue, delivery).await?) };
        self.change(by.actor(), "delivery.resend", subject, None, described, act).await
    }

    /// Sends an endpoint a test event, or the example of a declared type; answers the message's id.
    ///
    /// # Errors
    /// When there is no such endpoint, it is not enabled, or the type has no example.
    pub async fn test_endpoint(
        &self,
        by: &May<impl AtLeast<Operator>>,
        id: &str,
        event_type: Option<&str>,
    ) -> Result<String, Refusal> {
        let act = async { Ok(recovery::test(&self.fanout, &self.queue, id, event_type).await?) };
        let after = |message: &String| json!({ "message": message });
        self.change(by.actor(), "endpoint.test", format!("endpoint:{}", clipped(id)), None, after, act).await
    }

    /// A page of recoveries, newest first.
    ///
    /// # Errors
    /// When the cursor is none or the database did not answer.
    pub async fn recoveries(
        &self,
        _by: &May<impl AtLeast<Viewer>>,
        endpoint: Option<&str>,
        page: &PageRequest,
    ) -> Result<Paged<Recovery>, Refusal> {
        let page = recovery::list(self.fanout.db(), endpoint, page).await?;
        Ok(Paged { items: page.items, next: page.next })
    }

    /// One recovery.
    ///
    /// # Errors
    /// When there is none.
    pub async fn recovery(&self, _by: &May<impl AtLeast<Viewer>>, id: &str) -> Result<Recovery, Refusal> {
        Ok(recovery::get(self.fanout.db(), id).await?)
    }

    /// Ends a recovery; what it has sent stays sent.
    ///
    /// # Errors
    /// When there is none, or it is over.
    pub async fn cancel_recovery(&self, by: &May<impl AtLeast<Operator>>, id: &str) -> Result<Recovery, Refusal> {
        let act = async { Ok(recovery::cancel(&self.fanout, id).await?) };
        self.change(by.actor(), "recovery.cancel", format!("recovery:{}", clipped(id)), None, described, act).await
    }
}

fn described(run: &Recovery) -> Value {
    json!({
        "recovery": run.id, "endpoint": run.endpoint_id, "what": run.what, "since": run.since, "state": run.state,
        "sent_again": run.sent_again,
    })
}
