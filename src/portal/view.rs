//! What stands on each page, ready to be written. Templates decide how it looks, and escape all of it.

use askama::Template;

use super::change::Switch;
use super::session::Consumer;
use super::trouble::Fault;
use super::{PATH, payload, words};
use crate::clock::Timestamp;
use crate::fanout::endpoints::{Endpoint, SecretOnFile};
use crate::fanout::event_types::EventType;
use crate::fanout::history::of_tenant::{Pulse, Sent};
use crate::fanout::history::{DeliveryAttempt, DeliveryState, Message};
use crate::pages::{self, Moment, visible};

mod attempt;
mod fill;

pub(super) use attempt::AttemptView;
pub(super) use fill::{EndpointForm, Filled};

/// What every page has.
#[derive(Debug)]
pub(super) struct Frame {
    root: &'static str,
    style: &'static str,
    icon: &'static str,
}

/// What every page of a session has.
#[derive(Debug)]
pub(super) struct Inside {
    tenant: String,
    until: Moment,
    may_change: bool,
    /// The session's form code.
    code: String,
    /// A new number for a form that may be sent once.
    once: String,
}

/// A page with a message and nothing else.
#[derive(Debug, Template)]
#[template(path = "portal/templates/note.html")]
pub(super) struct Note {
    frame: Frame,
    title: &'static str,
    text: String,
    /// There is a page to go back to.
    inside: bool,
}

/// All endpoints.
#[derive(Debug, Template)]
#[template(path = "portal/templates/endpoints.html")]
pub(super) struct Endpoints {
    pub(super) frame: Frame,
    pub(super) inside: Inside,
    pub(super) done: Option<&'static str>,
    pub(super) rows: Vec<EndpointRow>,
    pub(super) next: Option<String>,
    /// It is not the first page.
    pub(super) later: bool,
}

/// One of them in the list.
#[derive(Debug)]
pub(super) struct EndpointRow {
    id: String,
    url: String,
    description: String,
    state: (&'static str, &'static str),
    events: String,
    last_success: Option<Moment>,
    last_failure: Option<Moment>,
    pulse: Pulse,
}

/// One endpoint with what it was sent.
#[derive(Debug, Template)]
#[template(path = "portal/templates/endpoint.html")]
pub(super) struct EndpointPage {
    pub(super) frame: Frame,
    pub(super) inside: Inside,
    pub(super) id: String,
    pub(super) endpoint: EndpointView,
    pub(super) done: Option<&'static str>,
    pub(super) filters: Vec<(&'static str, &'static str, bool)>,
    pub(super) picked: &'static str,
    pub(super) rows: Vec<SentRow>,
    pub(super) next: Option<String>,
    pub(super) later: bool,
}

/// An endpoint's settings for reading.
#[derive(Debug)]
pub(super) struct EndpointView {
    url: String,
    description: String,
    state: (&'static str, &'static str),
    why: Option<String>,
    active: bool,
    switch: Option<Switch>,
    declared: bool,
    events: Vec<String>,
    filter: Option<String>,
    headers: Vec<String>,
    prefix: Option<String>,
    secrets: Vec<SecretRow>,
    created: Moment,
    last_success: Option<Moment>,
    last_failure: Option<Moment>,
    pulse: Pulse,
}

#[derive(Debug)]
struct SecretRow {
    id: String,
    kind: &'static str,
    public_key: Option<String>,
    since: Moment,
    until: Option<Moment>,
}

/// A delivery in the list.
#[derive(Debug)]
pub(super) struct SentRow {
    id: String,
    event_type: String,
    event_id: String,
    state: (&'static str, &'static str),
    attempts: u32,
    result: String,
    /// Why it was not sent (any more).
    why: Option<String>,
    next: Option<Moment>,
    at: Moment,
}

/// One delivery with its payload and its attempts.
#[derive(Debug, Template)]
#[template(path = "portal/templates/delivery.html")]
pub(super) struct DeliveryPage {
    pub(super) frame: Frame,
    pub(super) inside: Inside,
    pub(super) row: SentRow,
    pub(super) message: String,
    pub(super) endpoint: String,
    /// None: it was removed.
    pub(super) url: Option<String>,
    pub(super) can_resend: bool,
    pub(super) done: Option<&'static str>,
    pub(super) attempts: Vec<AttemptView>,
    pub(super) next: Option<String>,
    pub(super) later: bool,
    pub(super) body: BodyView,
}

/// A payload, as much of it as fits.
#[derive(Debug)]
pub(super) struct BodyView {
    text: String,
    size: String,
    cut: Option<String>,
}

/// Asks before a secret is rotated.
#[derive(Debug, Template)]
#[template(path = "portal/templates/rotate.html")]
pub(super) struct RotatePage {
    pub(super) frame: Frame,
    pub(super) inside: Inside,
    pub(super) id: String,
    pub(super) url: String,
    pub(super) overlap: String,
    pub(super) old: usize,
}

/// Asks before an endpoint is deleted.
#[derive(Debug, Template)]
#[template(path = "portal/templates/delete.html")]
pub(super) struct DeletePage {
    pub(super) frame: Frame,
    pub(super) inside: Inside,
    pub(super) id: String,
    pub(super) url: String,
    pub(super) declared: bool,
}

/// An endpoint's static headers: the names.
#[derive(Debug, Template)]
#[template(path = "portal/templates/headers.html")]
pub(super) struct HeadersPage {
    pub(super) frame: Frame,
    pub(super) inside: Inside,
    pub(super) id: String,
    pub(super) url: String,
    pub(super) declared: bool,
    pub(super) names: Vec<String>,
    /// What stands in the form, after a mistake.
    pub(super) name: String,
    pub(super) fault: Option<String>,
    pub(super) done: Option<&'static str>,
}

/// A secret, this once.
#[derive(Debug, Template)]
#[template(path = "portal/templates/secret.html")]
pub(super) struct SecretPage {
    pub(super) frame: Frame,
    pub(super) inside: Inside,
    pub(super) id: String,
    pub(super) url: String,
    pub(super) secret: String,
    /// It is a public key, and no secret.
    pub(super) public: bool,
    /// None: the endpoint is new.
    pub(super) overlap: Option<String>,
}

impl Frame {
    pub(super) fn new() -> Self {
        Self { root: PATH, style: pages::style().name(), icon: pages::icon().name() }
    }
}

impl Inside {
    pub(super) fn of(consumer: &Consumer) -> Self {
        let (session, parts) = (consumer.session(), &consumer.portal.0);
        Self {
            tenant: consumer.tenant().to_owned(),
            until: Moment { at: session.ends_at(), now: parts.clock.now() },
            may_change: session.may_change(),
            code: consumer.form_code(),
            once: parts.entropy.uuid().simple().to_string(),
        }
    }
}

impl Note {
    pub(super) fn new(title: &'static str, text: String, inside: bool) -> Self {
        Self { frame: Frame::new(), title, text, inside }
    }
}

impl EndpointRow {
    pub(super) fn new(endpoint: Endpoint, pulse: Pulse, now: Timestamp) -> Self {
        let mut events: Vec<String> = endpoint.event_types.iter().take(3).map(ToString::to_string).collect();
        if endpoint.event_types.len() > events.len() {
            events.push(format!("and {} more", endpoint.event_types.len() - events.len()));
        }
        Self {
            state: words::state(endpoint.state),
            id: endpoint.id,
            url: endpoint.url,
            description: visible(&endpoint.description),
            events: events.join(", "),
            last_success: pulse.last_success.map(|at| Moment { at, now }),
            last_failure: pulse.last_failure.map(|at| Moment { at, now }),
            pulse,
        }
    }
}

impl EndpointView {
    pub(super) fn new(endpoint: Endpoint, secrets: Vec<SecretOnFile>, pulse: Pulse, now: Timestamp) -> Self {
        let moment = |at| Moment { at, now };
        let secret = |secret: SecretOnFile| SecretRow {
            kind: if secret.public_key.is_some() { "Ed25519 (v1a)" } else { "HMAC-SHA256 (v1)" },
            id: secret.id,
            public_key: secret.public_key,
            since: moment(secret.created_at),
            until: secret.expires_at.map(moment),
        };
        Self {
            state: words::state(endpoint.state),
            why: words::why(&endpoint).map(|why| visible(&why)),
            active: endpoint.state == crate::fanout::endpoints::EndpointState::Enabled,
            switch: Switch::of(&endpoint),
            declared: endpoint.declared,
            events: endpoint.event_types.iter().map(ToString::to_string).collect(),
            filter: endpoint.filter.map(|filter| filter.to_string()),
            // A value may be a credential.
            headers: endpoint.headers.into_keys().collect(),
            prefix: endpoint.header_prefix,
            secrets: secrets.into_iter().map(secret).collect(),
            created: moment(endpoint.created_at),
            last_success: pulse.last_success.map(moment),
            last_failure: pulse.last_failure.map(moment),
            url: endpoint.url,
            description: visible(&endpoint.description),
            pulse,
        }
    }

    fn switch_word(&self) -> Option<(&'static str, &'static str)> {
        self.switch.map(|switch| match switch {
            Switch::Pause => ("pause", "Pause"),
            Switch::Resume => ("resume", "Resume"),
            Switch::Enable => ("enable", "Enable again"),
        })
    }
}

impl SentRow {
    pub(super) fn new(sent: Sent, now: Timestamp) -> Self {
        let delivery = sent.delivery;
        let result = match (delivery.last_status, &delivery.last_error, delivery.state) {
            (Some(status), ..) => format!("answered {status}"),
            (None, Some(_), DeliveryState::Cancelled) => "not sent".to_owned(),
            (None, Some(_), _) => "no answer".to_owned(),
            (None, None, _) => String::new(),
        };
        let cancelled = delivery.state == DeliveryState::Cancelled;
        Self {
            why: delivery.last_error.filter(|_| cancelled).map(|why| visible(&words::sentence(&why))),
            id: delivery.id,
            event_type: sent.event_type,
            event_id: visible(&sent.event_id),
            state: words::delivery(delivery.state),
            attempts: delivery.attempts,
            result,
            next: delivery.next_at.map(|at| Moment { at, now }),
            at: Moment { at: delivery.created_at, now },
        }
    }
}

impl BodyView {
    pub(super) fn new(message: &Message) -> Self {
        let (text, whole) = (payload::readable(&message.body), message.body.len());
        let cut = (text.len() >= payload::SHOWN).then(|| payload::size(payload::SHOWN));
        Self { text: visible(&text), size: payload::size(whole), cut }
    }
}

/// The types that may be subscribed to, for the form.
pub(super) fn offered(types: Vec<EventType>) -> Vec<(String, String)> {
    types.into_iter().map(|t| (t.name, visible(&t.description))).collect()
}

/// An attempt for its delivery's page.
pub(super) fn attempt(attempt: &DeliveryAttempt, now: Timestamp) -> AttemptView {
    AttemptView::new(attempt, now)
}

/// What is wrong with a field, if anything.
fn fault_of<'a>(fault: Option<&'a Fault>, field: &str) -> Option<&'a str> {
    fault.filter(|fault| fault.field == field).map(|fault| fault.says.as_str())
}
