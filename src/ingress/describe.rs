//! What a verified event is called: the sender's id and type, found where the scheme or the configuration says.

use std::collections::BTreeMap;

use axum::http::header::{CONTENT_TYPE, USER_AGENT};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use url::form_urlencoded;

use super::signature::{Wrong, header_name, single};
use super::verify::Incoming;
use crate::config::ingress::Place;

const MAX_ID_BYTES: usize = 200;
const MAX_TYPE_CHARS: usize = 128;
/// Signature lists are the longest of the headers that are kept.
const MAX_HEADER_CHARS: usize = 1024;
/// A form's field that comes later is not found.
const MAX_PARAMS: usize = 2_000;

/// Where in a request something is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum At {
    Header(HeaderName),
    Body(String),
    Form(String),
}

/// Where an event's id and type are: the first place that has one.
#[derive(Clone, Debug, Default)]
pub(super) struct Look {
    pub(super) ids: Vec<At>,
    /// Where there is no id: the SHA-256 of these joined by colons, each the first pointer that finds something.
    pub(super) id_fields: &'static [&'static [&'static str]],
    pub(super) types: Vec<At>,
    /// Headers that are kept beside those that name places.
    pub(super) keep: Vec<HeaderName>,
}

impl At {
    pub(super) fn header(name: &'static str) -> Self {
        Self::Header(HeaderName::from_static(name))
    }

    pub(super) fn body(pointer: &str) -> Self {
        Self::Body(pointer.to_owned())
    }

    pub(super) fn form(name: &str) -> Self {
        Self::Form(name.to_owned())
    }

    pub(super) fn configured(key: &'static str, place: &Place) -> Result<Self, Wrong> {
        Ok(match place {
            Place::Header(name) => Self::Header(header_name(key, name)?),
            Place::Body(pointer) => Self::Body(pointer.clone()),
            Place::Form(name) => Self::Form(name.clone()),
        })
    }

    fn find(&self, incoming: Incoming<'_>, json: Option<&Value>) -> Option<String> {
        match self {
            Self::Header(name) => single(incoming.headers, name).ok().map(str::to_owned),
            Self::Body(pointer) => scalar(json?.pointer(pointer)?),
            Self::Form(name) => {
                let mut pairs = form_urlencoded::parse(incoming.body).take(MAX_PARAMS);
                pairs.find(|(given, _)| given == name).map(|(_, value)| value.into_owned())
            }
        }
    }
}

impl Look {
    /// What is looked for in a body that is JSON.
    pub(super) fn pointers(&self) -> impl Iterator<Item = &str> {
        let fields = self.id_fields.iter().flat_map(|pointers| pointers.iter().copied());
        fields.chain(self.ids.iter().chain(&self.types).filter_map(|at| match at {
            At::Body(pointer) => Some(pointer.as_str()),
            At::Header(_) | At::Form(_) => None,
        }))
    }

    /// The sender's id, or what stands for it.
    pub(super) fn id(&self, incoming: Incoming<'_>, json: Option<&Value>) -> String {
        if let Some(id) = self.ids.iter().find_map(|at| at.find(incoming, json)) {
            return usable_id(id);
        }
        let field = |pointers: &&[&str]| pointers.iter().find_map(|pointer| scalar(json?.pointer(pointer)?));
        match self.id_fields.iter().map(field).collect::<Option<Vec<_>>>() {
            Some(fields) if !fields.is_empty() => digest(fields.join(":").as_bytes()),
            _ => digest(incoming.body),
        }
    }

    /// The sender's word for what happened.
    pub(super) fn event_type(&self, incoming: Incoming<'_>, json: Option<&Value>) -> String {
        let found = self.types.iter().find_map(|at| at.find(incoming, json));
        found.and_then(usable_type).unwrap_or_else(|| "unknown".to_owned())
    }

    /// The few headers that are kept.
    pub(super) fn headers(&self, headers: &HeaderMap) -> BTreeMap<String, String> {
        let own = self.ids.iter().chain(&self.types).filter_map(|at| match at {
            At::Header(name) => Some(name),
            At::Body(_) | At::Form(_) => None,
        });
        let always = [CONTENT_TYPE, USER_AGENT, HeaderName::from_static("traceparent")];
        let mut kept = BTreeMap::new();
        for name in own.chain(&self.keep).chain(&always) {
            if let Some(value) = headers.get(name) {
                kept.insert(name.as_str().to_owned(), clipped(value));
            }
        }
        kept
    }
}

fn clipped(value: &HeaderValue) -> String {
    let text = String::from_utf8_lossy(value.as_bytes());
    // No character is shorter than a byte.
    if text.len() <= MAX_HEADER_CHARS { text.into_owned() } else { text.chars().take(MAX_HEADER_CHARS).collect() }
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

/// An id that can't be a key as it is becomes its digest, which tells events apart as well.
fn usable_id(id: String) -> String {
    let fits = (1..=MAX_ID_BYTES).contains(&id.len()) && !id.chars().any(char::is_control);
    if fits { id } else { digest(id.as_bytes()) }
}

fn usable_type(text: String) -> Option<String> {
    let clean: String = text.chars().filter(|c| !c.is_control()).take(MAX_TYPE_CHARS).collect();
    (!clean.is_empty()).then_some(clean)
}
