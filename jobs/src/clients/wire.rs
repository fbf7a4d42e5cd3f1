//! One HTTP exchange: send, read the body up to a cap, tell transport failures from answers.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::header::{HeaderMap, RETRY_AFTER};
use serde::de::DeserializeOwned;
use tidemill::clock::Clock;
use tidemill::job::parse_retry_after;

use super::{CallError, Meaning, RETRY_AFTER_CAP};

/// Which call it is, for its errors.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    pub(super) system: &'static str,
    pub(super) name: &'static str,
    /// Longer bodies are refused.
    pub(super) cap: usize,
}

/// An answer, whatever its status.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Call {
    pub(super) fn fail(self, meaning: Meaning, detail: impl Into<String>) -> CallError {
        let detail: String = detail.into();
        let detail = detail.chars().filter(|c| !c.is_control()).take(300).collect();
        CallError { system: self.system, call: self.name, meaning, status: None, code: None, detail }
    }

    /// Sends and reads the whole answer.
    pub(super) async fn send(self, request: reqwest::RequestBuilder) -> Result<Reply, CallError> {
        let again = Meaning::Retryable { after: None };
        let transport = |e: reqwest::Error| self.fail(again, describe(e));
        let mut response = request.send().await.map_err(transport)?;
        let (status, headers) = (response.status().as_u16(), std::mem::take(response.headers_mut()));
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(transport)? {
            if body.len() + chunk.len() > self.cap {
                let detail = format!("the answer (status {status}) is longer than {} bytes", self.cap);
                return Err(CallError { status: Some(status), ..self.fail(Meaning::Permanent, detail) });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Reply { status, headers, body: body.freeze() })
    }

    /// Reads a body as JSON. One that is not JSON at all was cut or replaced on its way and is worth another try; one
    /// that has the wrong shape will have it again.
    pub(super) fn parse<T: DeserializeOwned>(self, reply: &Reply) -> Result<T, CallError> {
        serde_json::from_slice(&reply.body).map_err(|e| {
            let (meaning, what) = match e.classify() {
                serde_json::error::Category::Data => (Meaning::Permanent, "an unexpected shape"),
                _ => (Meaning::Retryable { after: None }, "not JSON"),
            };
            CallError { status: Some(reply.status), ..self.fail(meaning, format!("the answer is {what}: {e}")) }
        })
    }
}

impl Reply {
    /// The wait that the other side asked for.
    pub(super) fn retry_after(&self, clock: &Clock) -> Option<Duration> {
        let value = self.headers.get(RETRY_AFTER)?.to_str().ok()?;
        parse_retry_after(value, clock.now(), RETRY_AFTER_CAP)
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// A transport error with its causes, without the address.
fn describe(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}
