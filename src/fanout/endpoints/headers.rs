//! Static headers at rest: sealed for their endpoint, because a header may be a credential. Their names stay readable.

use sqlx::FromRow;

use super::super::FanoutState;
use super::EndpointError;
use super::settings::Texts;
use crate::sealing::Sealed;

/// What stands in the place of a value.
const HIDDEN: &str = "…";

/// Static headers as a row keeps them; all `None` when there is no such endpoint.
#[derive(Clone, Debug, Default, PartialEq, FromRow)]
pub(in super::super) struct HeadersRow {
    /// Names, each with an empty text; with their values from before headers were sealed.
    pub(in super::super) headers: Option<String>,
    pub(in super::super) headers_key: Option<String>,
    pub(in super::super) headers_sealed: Option<Vec<u8>>,
}

/// Static headers as a row shall keep them.
#[derive(Debug)]
pub(in super::super) struct KeptHeaders {
    pub(in super::super) names: String,
    pub(in super::super) key_id: Option<String>,
    pub(in super::super) sealed: Option<Vec<u8>>,
}

impl HeadersRow {
    /// Values that anybody can read who can read the file.
    pub(in super::super) fn is_plain(&self) -> bool {
        self.headers_sealed.is_none()
    }

    /// The names; what the values are is not shown.
    pub(super) fn names(&self) -> Result<Texts, serde_json::Error> {
        let kept: Texts = serde_json::from_str(self.headers.as_deref().unwrap_or("{}"))?;
        Ok(kept.into_keys().map(|name| (name, HIDDEN.to_owned())).collect())
    }

    /// Names and values.
    pub(in super::super) fn open(&self, state: &FanoutState, endpoint: &str) -> Result<Texts, EndpointError> {
        let corrupt =
            |e: serde_json::Error| EndpointError::Corrupt { id: endpoint.into(), detail: format!("headers: {e}") };
        let (Some(key_id), Some(bytes)) = (&self.headers_key, &self.headers_sealed) else {
            return serde_json::from_str(self.headers.as_deref().unwrap_or("{}")).map_err(corrupt);
        };
        let sealed = Sealed { key_id: key_id.clone(), bytes: bytes.clone() };
        let opened = state.sealer().and_then(|s| s.open(&row_of(endpoint), &sealed));
        let opened = opened.map_err(|source| EndpointError::Sealed { id: named(endpoint), source })?;
        serde_json::from_str(secrecy::ExposeSecret::expose_secret(&opened)).map_err(corrupt)
    }
}

/// Seals them for their endpoint; none need no key.
pub(in super::super) fn seal_headers(
    state: &FanoutState,
    endpoint: &str,
    headers: &Texts,
) -> Result<KeptHeaders, EndpointError> {
    let names: Texts = headers.keys().map(|name| (name.clone(), String::new())).collect();
    let names = serde_json::json!(names).to_string();
    if headers.is_empty() {
        return Ok(KeptHeaders { names, key_id: None, sealed: None });
    }
    let text = serde_json::json!(headers).to_string().into();
    let sealed = state.sealer().and_then(|s| s.seal(&row_of(endpoint), &text, &state.entropy));
    let Sealed { key_id, bytes } = sealed.map_err(|source| EndpointError::Sealed { id: named(endpoint), source })?;
    Ok(KeptHeaders { names, key_id: Some(key_id), sealed: Some(bytes) })
}

/// What sealed headers are bound to: moved to another endpoint they do not open.
fn row_of(endpoint: &str) -> String {
    format!("endpoints.headers|{endpoint}")
}

fn named(endpoint: &str) -> String {
    format!("headers of {endpoint}")
}
