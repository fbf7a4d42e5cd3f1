//! What senders are told where they expect more than a 2xx: handshakes, and the reply to an event that is durable.
//!
//! A handshake is answered only after its signature was good, and becomes no job.

use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde_json::{Value, json};

use super::signature::Wrong;
use crate::config::ingress::ReplyConfig;

const MAX_BODY_BYTES: usize = 4096;
/// Slack's are 52 characters long.
const MAX_CHALLENGE_CHARS: usize = 512;

/// A whole reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    status: StatusCode,
    content_type: Option<HeaderValue>,
    body: Bytes,
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.body));
        *response.status_mut() = self.status;
        if let Some(content_type) = self.content_type {
            response.headers_mut().insert(CONTENT_TYPE, content_type);
        }
        response
    }
}

impl Reply {
    fn text(content_type: &'static str, body: impl Into<Bytes>) -> Self {
        let content_type = Some(HeaderValue::from_static(content_type));
        Self { status: StatusCode::OK, content_type, body: body.into() }
    }

    fn json(value: &Value) -> Self {
        Self::text("application/json", value.to_string())
    }

    fn configured(config: &ReplyConfig) -> Result<Self, Wrong> {
        let (status, empty) = (config.status, config.body.is_empty());
        let code = StatusCode::from_u16(status).ok().filter(|s| [200, 201, 202, 204].contains(&s.as_u16()));
        let code = code.ok_or_else(|| ("reply.status", format!("is {status}; allowed: 200, 201, 202 and 204")))?;
        if config.body.len() > MAX_BODY_BYTES || (code == StatusCode::NO_CONTENT && !empty) {
            return Err((
                "reply.body",
                format!("at most {MAX_BODY_BYTES} bytes are allowed, and none with status 204"),
            ));
        }
        let content_type = match (&config.content_type, empty) {
            (Some(text), false) => Some(
                HeaderValue::from_str(text).map_err(|_| ("reply.content_type", format!("`{text}` can't be sent")))?,
            ),
            (None, true) => None,
            (Some(_), true) => return Err(("reply.content_type", "there is no `reply.body`".to_owned())),
            (None, false) => return Err(("reply.content_type", "is missing, and there is a `reply.body`".to_owned())),
        };
        Ok(Self { status: code, content_type, body: config.body.clone().into() })
    }
}

/// How one source is answered.
#[derive(Clone, Debug)]
pub(super) struct Answers {
    pub(super) greeting: Greeting,
    pub(super) thanks: Thanks,
}

/// Requests that want an answer and are no events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Greeting {
    None,
    /// `url_verification` wants its challenge back.
    Slack,
    /// A PING wants a PONG.
    Discord,
}

/// The reply to an event that is durable.
#[derive(Clone, Debug)]
pub(super) enum Thanks {
    /// Our own JSON: anybody who reads the status alone.
    Plain,
    /// Always the same.
    Fixed(Reply),
    /// "Wait for it", in the words of the interaction's type: the handler answers through Discord's API.
    Discord,
    /// What Buffr's own receivers say.
    Buffr,
}

impl Answers {
    /// For a sender that reads the status alone.
    pub(super) const PLAIN: Self = Self { greeting: Greeting::None, thanks: Thanks::Plain };

    /// With what the configuration says in the place of the scheme's own reply.
    pub(super) fn or_configured(mut self, config: Option<&ReplyConfig>) -> Result<Self, Wrong> {
        if let Some(config) = config {
            self.thanks = Thanks::Fixed(Reply::configured(config)?);
        }
        Ok(self)
    }

    /// What a reply depends on in a body that is JSON.
    pub(super) fn pointers(&self) -> &'static [&'static str] {
        match (self.greeting, &self.thanks) {
            (Greeting::Slack, _) => &["/type", "/challenge"],
            (Greeting::Discord, _) | (Greeting::None, Thanks::Discord) => &["/type"],
            (Greeting::None, Thanks::Plain | Thanks::Fixed(_) | Thanks::Buffr) => &[],
        }
    }

    /// The answer to a handshake; `None`: the request is an event.
    pub(super) fn greet(&self, body: Option<&Value>) -> Option<Reply> {
        let body = body?;
        match self.greeting {
            Greeting::Slack if body["type"] == "url_verification" => {
                let challenge = body["challenge"].as_str()?;
                let fits = challenge.chars().count() <= MAX_CHALLENGE_CHARS;
                fits.then(|| Reply::json(&json!({ "challenge": challenge })))
            }
            Greeting::Discord if body["type"] == 1 => Some(Reply::json(&json!({ "type": 1 }))),
            Greeting::None | Greeting::Slack | Greeting::Discord => None,
        }
    }

    /// The reply to the event with this id; `None`: our own.
    pub(super) fn thank(&self, event_id: &str, body: Option<&Value>) -> Option<Reply> {
        match &self.thanks {
            Thanks::Plain => None,
            Thanks::Fixed(reply) => Some(reply.clone()),
            Thanks::Discord => Some(Reply::json(&match body.and_then(|b| b["type"].as_u64()) {
                // A component: the message may be changed later. Autocomplete can't wait: no choices.
                Some(3) => json!({ "type": 6 }),
                Some(4) => json!({ "type": 8, "data": { "choices": [] } }),
                _ => json!({ "type": 5 }),
            })),
            Thanks::Buffr => {
                let data = json!({ "idempotencyKey": event_id });
                Some(Reply::json(&json!({ "success": true, "message": "Webhook received", "data": data })))
            }
        }
    }
}

impl Thanks {
    /// An empty 200, for senders that would show a body to people.
    pub(super) fn silence() -> Self {
        Self::Fixed(Reply { status: StatusCode::OK, content_type: None, body: Bytes::new() })
    }

    /// TwiML that does nothing: Twilio reports any other reply to a call or a message as an error.
    pub(super) fn empty_twiml() -> Self {
        Self::Fixed(Reply::text("text/xml", "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Response></Response>"))
    }
}
