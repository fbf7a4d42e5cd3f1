//! Webhooks out: publish; endpoints. What they mean, [`fanout`] knows.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Desk, Ordered};
use crate::admin::page::Paged;
use crate::admin::{Admin, AtLeast, May, Operator, Refusal, Role, Viewer};
use crate::fanout::endpoints::{self, Created, Endpoint, EndpointChange, EndpointState, NewEndpoint, Rotation, Texts};
use crate::fanout::recovery::{self, NewRecovery, What};
use crate::fanout::{self, Event, PageRequest, Secret, SendingChange, event_types};
use crate::job::JobId;
use crate::queue::EnqueueError;

/// What shall change of an endpoint: its fields, or its state with a reason, not both at once.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndpointPatch {
    /// Another URL.
    #[serde(default)]
    pub url: Option<String>,
    /// Another description.
    #[serde(default)]
    pub description: Option<String>,
    /// Other patterns.
    #[serde(default)]
    pub event_types: Option<Vec<String>>,
    /// Another payload filter; empty for none.
    #[serde(default)]
    pub filter: Option<String>,
    /// Other static headers instead of all there were.
    #[serde(default)]
    pub headers: Option<Texts>,
    /// Another prefix of the signature's headers; empty for none.
    #[serde(default)]
    pub header_prefix: Option<String>,
    /// Other notes instead of all there were.
    #[serde(default)]
    pub metadata: Option<Texts>,
    /// How it is sent to: what is named in it; null takes a setting back to its default.
    #[serde(default)]
    pub sending: Option<SendingChange>,
    /// `enabled`, `paused` or `disabled`.
    #[serde(default)]
    pub state: Option<String>,
    /// Why it is disabled or paused.
    #[serde(default)]
    pub reason: Option<String>,
}

impl Desk {
    /// Publishes an event to every endpoint of its tenant that asked for its type.
    ///
    /// # Errors
    /// When a field is not allowed or the store did not take it.
    pub async fn publish(&self, by: &May<impl AtLeast<Operator>>, event: Event) -> Result<Ordered, Refusal> {
        self.publish_as(by, event, None).await
    }

    /// The same under an id that the request has for its job.
    ///
    /// # Errors
    /// As [`Desk::publish`].
    pub async fn publish_as(
        &self,
        by: &May<impl AtLeast<Operator>>,
        event: Event,
        id: Option<JobId>,
    ) -> Result<Ordered, Refusal> {
        self.check_event(&event).await?;
        let subject = format!("event:{}/{}", event.tenant, event.id);
        let spec = event.into_spec().map_err(EnqueueError::from)?.by(&by.actor().enqueuer());
        self.enqueue(by.actor(), "event.publish", subject, spec, id).await
    }

    pub(super) async fn check_event(&self, event: &Event) -> Result<(), Refusal> {
        event.check().map_err(|e| invalid(e.field, e.value, e.allowed))?;
        Ok(event_types::check_published(self.fanout.db(), event).await?)
    }

    /// A page of endpoints, newest first; what their URLs hold behind the host is for operators.
    ///
    /// # Errors
    /// When the cursor is none or the database did not answer.
    pub async fn endpoints(
        &self,
        by: &May<impl AtLeast<Viewer>>,
        tenant: Option<&str>,
        page: &PageRequest,
    ) -> Result<Paged<Endpoint>, Refusal> {
        let page = endpoints::list(self.fanout.db(), tenant, page).await?;
        let items = page.items.into_iter().map(|endpoint| shown(endpoint, by.role())).collect();
        Ok(Paged { items, next: page.next })
    }

    /// One endpoint.
    ///
    /// # Errors
    /// When there is none.
    pub async fn endpoint(&self, by: &May<impl AtLeast<Viewer>>, id: &str) -> Result<Endpoint, Refusal> {
        Ok(shown(endpoints::get(self.fanout.db(), id).await?, by.role()))
    }

    /// Registers an endpoint; its secret is shown here and never again.
    ///
    /// # Errors
    /// When a field is not allowed or the URL leads where it may not.
    pub async fn create_endpoint(&self, by: &May<impl AtLeast<Admin>>, new: NewEndpoint) -> Result<Created, Refusal> {
        let subject = format!("endpoint of {}", clipped(&new.tenant));
        let act = async { Ok(endpoints::create(&self.fanout, new).await?) };
        let after = |created: &Created| described(&created.endpoint);
        self.change(by.actor(), "endpoint.create", subject, None, after, act).await
    }

    /// Changes an endpoint's fields or its state.
    ///
    /// # Errors
    /// When there is none, a field is not allowed, or both are asked for at once.
    pub async fn change_endpoint(
        &self,
        by: &May<impl AtLeast<Admin>>,
        id: &str,
        patch: EndpointPatch,
    ) -> Result<Endpoint, Refusal> {
        let EndpointPatch { url, description, event_types, filter, headers, header_prefix, .. } = patch;
        let EndpointPatch { metadata, sending, state, reason, .. } = patch;
        let change =
            EndpointChange { url, description, event_types, filter, headers, header_prefix, metadata, sending };
        let (fields, says_why) = (change != EndpointChange::default(), reason.is_some());
        let reason = reason.unwrap_or_default();
        let switch = match (state.as_deref(), fields) {
            (Some("enabled"), false) => Some(Switch::On),
            (Some("paused"), false) => Some(Switch::Wait),
            (Some("disabled"), false) => Some(Switch::Off),
            (Some(state), true) => {
                return Err(invalid("state", clipped(state), "alone or with `reason`; change fields apart"));
            }
            (Some(state), false) => return Err(invalid("state", clipped(state), "enabled, paused, disabled")),
            (None, _) if says_why => return Err(invalid("reason", reason, "only with `state`")),
            (None, _) => None,
        };
        let found = endpoints::get(self.fanout.db(), id).await?;
        let before = described(&found);
        let act = async {
            Ok(match switch {
                Some(Switch::On) => self.enable(&found).await?,
                Some(Switch::Wait) => endpoints::pause(&self.fanout, id, &reason).await?,
                Some(Switch::Off) => {
                    let disabled = endpoints::disable(&self.fanout, id, &reason).await?;
                    // What can't be told now, the next round of mending tells.
                    if let Err(error) = fanout::tell(&self.fanout, &self.queue).await {
                        tracing::warn!(%error, "that an endpoint is disabled is told later");
                    }
                    disabled
                }
                None => endpoints::update(&self.fanout, id, change).await?,
            })
        };
        let subject = format!("endpoint:{}", clipped(id));
        self.change(by.actor(), "endpoint.change", subject, Some(before), described, act).await
    }

    /// After a pause, what waited gets its jobs.
    async fn enable(&self, found: &Endpoint) -> Result<Endpoint, Refusal> {
        let enabled = endpoints::enable(&self.fanout, &found.id).await?;
        if found.state == EndpointState::Paused {
            let backlog = NewRecovery { endpoint: found.id.clone(), what: What::Backlog, since: found.created_at };
            recovery::start(&self.fanout, &self.queue, backlog).await?;
        }
        Ok(enabled)
    }

    /// Forgets an endpoint; what was delivered to it stays known.
    ///
    /// # Errors
    /// When there is none.
    pub async fn delete_endpoint(&self, by: &May<impl AtLeast<Admin>>, id: &str) -> Result<(), Refusal> {
        let before = described(&endpoints::get(self.fanout.db(), id).await?);
        let act = async { Ok(endpoints::delete(self.fanout.db(), id).await?) };
        let (subject, after) = (format!("endpoint:{}", clipped(id)), |_: &()| Value::from("deleted"));
        self.change(by.actor(), "endpoint.delete", subject, Some(before), after, act).await
    }

    /// Gives an endpoint a new secret, shown here and never again; the old one signs beside it for the overlap.
    ///
    /// # Errors
    /// When there is none, the secret is none, or too many are alive.
    pub async fn rotate_endpoint_secret(
        &self,
        by: &May<impl AtLeast<Admin>>,
        id: &str,
        rotation: Rotation,
    ) -> Result<Secret, Refusal> {
        let act = async { Ok(endpoints::rotate_secret(&self.fanout, id, rotation).await?) };
        let (subject, after) = (format!("endpoint:{}", clipped(id)), |_: &Secret| Value::from("rotated"));
        self.change(by.actor(), "endpoint.rotate", subject, None, after, act).await
    }
}

/// Between what an endpoint may be switched.
#[derive(Clone, Copy)]
enum Switch {
    On,
    Wait,
    Off,
}

/// Whoever knows such a URL may often post to it: to viewers it ends with its host.
fn shown(mut endpoint: Endpoint, role: Role) -> Endpoint {
    if role < Role::Operator {
        let host_ends = url::Url::parse(&endpoint.url).map_or(0, |url| url[..url::Position::BeforePath].len());
        endpoint.url.truncate(host_ends);
    }
    endpoint
}

fn described(endpoint: &Endpoint) -> Value {
    json!({
        "url": endpoint.url, "description": endpoint.description, "event_types": endpoint.event_types,
        "state": endpoint.state, "reason": endpoint.reason, "filter": endpoint.filter,
        "headers": endpoint.headers.keys().collect::<Vec<_>>(), "header_prefix": endpoint.header_prefix,
        "metadata": endpoint.metadata, "sending": endpoint.sending,
    })
}

fn invalid(field: &'static str, value: impl Into<String>, allowed: &str) -> Refusal {
    Refusal::Invalid { field, value: value.into(), allowed: allowed.to_owned() }
}

pub(super) fn clipped(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(80).collect()
}
