//! What a tenant may change: its own endpoints, by a [`Changer`] alone, each change in the audit log before it is made.
//!
//! Whatever is changed was looked up as the tenant's own first; an endpoint never changes its tenant, so it still is. What
//! others have decided (the configuration, an operator's pause) a consumer does not undo.

use serde_json::{Value, json};

use super::form::Changer;
use super::trouble::Trouble;
use super::words::PAUSED_HERE;
use crate::audit::Change;
use crate::fanout::Secret;
use crate::fanout::endpoints::{
    self, Created, Endpoint, EndpointChange, EndpointState, HeaderChange, NewEndpoint, Rotation,
};
use crate::fanout::history::of_tenant::Sent;
use crate::fanout::recovery::{self, NewRecovery, What};

/// What a consumer fills in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) url: String,
    pub(super) description: String,
    pub(super) event_types: Vec<String>,
    pub(super) filter: String,
}

/// What may be done with an endpoint's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Switch {
    Pause,
    Resume,
    Enable,
}

impl Switch {
    /// The one that an endpoint offers now.
    pub(super) fn of(endpoint: &Endpoint) -> Option<Self> {
        match endpoint.state {
            EndpointState::Enabled => Some(Self::Pause),
            EndpointState::Paused if endpoint.reason.as_deref() == Some(PAUSED_HERE) => Some(Self::Resume),
            EndpointState::Disabled if endpoint.was_given_up() => Some(Self::Enable),
            EndpointState::Paused | EndpointState::Disabled => None,
        }
    }
}

impl Changer {
    /// Adds an endpoint. Its secret is in the answer, this once.
    pub(super) async fn add(&self, wanted: Wanted) -> Result<Created, Trouble> {
        let (fanout, tenant) = (&self.parts().fanout, self.tenant());
        let Wanted { url, description, event_types, filter } = wanted;
        let new =
            NewEndpoint { tenant: tenant.to_owned(), url, description, event_types, filter, ..NewEndpoint::default() };
        let act = async { Ok(endpoints::create_among(fanout, new, self.parts().max_endpoints).await?) };
        let after = |created: &Created| described(&created.endpoint);
        self.audited("endpoint.create", format!("endpoint of {tenant}"), None, after, act).await
    }

    /// Changes what an endpoint wants and where.
    pub(super) async fn edit(&self, endpoint: &Endpoint, wanted: Wanted) -> Result<Endpoint, Trouble> {
        not_declared(endpoint)?;
        let Wanted { url, description, event_types, filter } = wanted;
        let change = EndpointChange {
            url: (url != endpoint.url).then_some(url),
            description: Some(description),
            event_types: Some(event_types),
            filter: Some(filter),
            ..EndpointChange::default()
        };
        let act = async { Ok(endpoints::update(&self.parts().fanout, &endpoint.id, change).await?) };
        self.audited("endpoint.change", self.subject(endpoint)?, Some(described(endpoint)), described, act).await
    }

    /// Sets a static header or takes one away. Its value is in no answer and no log.
    pub(super) async fn header(&self, endpoint: &Endpoint, change: HeaderChange<'_>) -> Result<Endpoint, Trouble> {
        not_declared(endpoint)?;
        let act = async { Ok(endpoints::change_header(&self.parts().fanout, &endpoint.id, change).await?) };
        self.audited("endpoint.change", self.subject(endpoint)?, Some(described(endpoint)), described, act).await
    }

    /// Forgets an endpoint with its secrets; what was sent there stays known.
    pub(super) async fn delete(&self, endpoint: &Endpoint) -> Result<(), Trouble> {
        not_declared(endpoint)?;
        let act = async { Ok(endpoints::delete(self.parts().fanout.db(), &endpoint.id).await?) };
        let after = |_: &()| Value::from("deleted");
        self.audited("endpoint.delete", self.subject(endpoint)?, Some(described(endpoint)), after, act).await
    }

    /// Pauses, resumes or enables, whichever the endpoint offers now.
    pub(super) async fn switch(&self, endpoint: &Endpoint, to: Switch) -> Result<Endpoint, Trouble> {
        if Switch::of(endpoint) != Some(to) {
            return Err(Trouble::NotNow(
                "The endpoint is in another state meanwhile, or this is for the sender to do.",
            ));
        }
        let (fanout, id) = (&self.parts().fanout, endpoint.id.as_str());
        let act = async {
            Ok(match to {
                Switch::Pause => endpoints::pause(fanout, id, PAUSED_HERE).await?,
                Switch::Enable => endpoints::enable(fanout, id).await?,
                Switch::Resume => {
                    let enabled = endpoints::enable(fanout, id).await?;
                    // What waited gets its jobs.
                    let (endpoint, since) = (id.to_owned(), endpoint.created_at);
                    let backlog = NewRecovery { endpoint, what: What::Backlog, since };
                    recovery::start(fanout, &self.parts().queue, backlog).await?;
                    enabled
                }
            })
        };
        self.audited("endpoint.change", self.subject(endpoint)?, Some(described(endpoint)), described, act).await
    }

    /// Gives an endpoint a new secret, in the answer, this once. The old one signs beside it for the overlap.
    pub(super) async fn rotate(&self, endpoint: &Endpoint) -> Result<Secret, Trouble> {
        not_declared(endpoint)?;
        let act =
            async { Ok(endpoints::rotate_secret(&self.parts().fanout, &endpoint.id, Rotation::default()).await?) };
        let after = |_: &Secret| Value::from("rotated");
        self.audited("endpoint.rotate", self.subject(endpoint)?, None, after, act).await
    }

    /// Sends a test event.
    pub(super) async fn test(&self, endpoint: &Endpoint) -> Result<String, Trouble> {
        let (fanout, queue) = (&self.parts().fanout, &self.parts().queue);
        let act = async { Ok(recovery::test(fanout, queue, &endpoint.id, None).await?) };
        let after = |message: &String| json!({ "message": message });
        self.audited("endpoint.test", self.subject(endpoint)?, None, after, act).await
    }

    /// Sends one delivery again.
    pub(super) async fn resend(&self, sent: &Sent) -> Result<(), Trouble> {
        let (fanout, queue, id) = (&self.parts().fanout, &self.parts().queue, sent.delivery.id.as_str());
        let act = async { Ok(recovery::resend(fanout, queue, id).await?) };
        let after = |run: &recovery::Recovery| json!({ "recovery": run.id, "endpoint": run.endpoint_id });
        self.audited("delivery.resend", format!("delivery:{id}"), None, after, act).await.map(drop)
    }

    async fn audited<T>(
        &self,
        action: &'static str,
        subject: String,
        before: Option<Value>,
        after: impl FnOnce(&T) -> Value,
        act: impl Future<Output = Result<T, Trouble>>,
    ) -> Result<T, Trouble> {
        let by = self.consumer().session().actor();
        self.parts().audit.around(Change { by: &by, action, subject, before }, after, act).await
    }

    /// What the audit log calls an endpoint; that it is the tenant's own is looked at once more, right before the change.
    fn subject(&self, endpoint: &Endpoint) -> Result<String, Trouble> {
        if endpoint.tenant != self.tenant() {
            return Err(Trouble::Missing);
        }
        Ok(format!("endpoint:{}", endpoint.id))
    }

    fn parts(&self) -> &super::Parts {
        &self.consumer().portal.0
    }

    fn tenant(&self) -> &str {
        self.consumer().tenant()
    }
}

/// The configuration would set it back at the next start.
fn not_declared(endpoint: &Endpoint) -> Result<(), Trouble> {
    if endpoint.declared {
        return Err(Trouble::NotNow("This endpoint is set up by the sender, who alone can change it."));
    }
    Ok(())
}

fn described(endpoint: &Endpoint) -> Value {
    json!({
        "url": endpoint.url, "description": endpoint.description, "event_types": endpoint.event_types,
        "filter": endpoint.filter, "headers": endpoint.headers.keys().collect::<Vec<_>>(), "state": endpoint.state,
        "reason": endpoint.reason,
    })
}
