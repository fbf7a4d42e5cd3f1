//! `[[fanout.endpoints]]`: an endpoint that is there from the start.
//!
//! Secrets do not stand here but in the environment: the signing secret, and headers that are credentials. Values of
//! static headers are never shown all the same, because somebody will put one in the wrong place.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, Serializer};

use super::Sending;

/// Known by its tenant and URL.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndpointConfig {
    /// Whose events it gets.
    pub tenant: String,
    /// Where they are POSTed.
    pub url: String,
    /// Which ones; default `["*"]`, all.
    #[serde(default = "every_type")]
    pub event_types: Vec<String>,
    /// The environment variable that holds its `whsec_…` secret.
    pub secret_env: String,
    /// For people.
    #[serde(default)]
    pub description: String,
    /// Only events whose payload fits; empty, the default, for all.
    #[serde(default)]
    pub filter: String,
    /// Sent with every POST, for what is no secret.
    #[serde(default, serialize_with = "names_only")]
    pub headers: BTreeMap<String, String>,
    /// The same with values from the environment: a header's name and its variable.
    #[serde(default)]
    pub headers_env: BTreeMap<String, String>,
    /// With `X-Acme`, `X-Acme-Signature` and its like are sent beside the standard headers.
    #[serde(default)]
    pub header_prefix: Option<String>,
    /// Notes of one's own.
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
    /// Rate, concurrency, order and schedule.
    #[serde(default)]
    pub sending: Sending,
}

impl Default for EndpointConfig {
    fn default() -> Self {
        Self {
            tenant: String::new(),
            url: String::new(),
            event_types: every_type(),
            secret_env: String::new(),
            description: String::new(),
            filter: String::new(),
            headers: BTreeMap::new(),
            headers_env: BTreeMap::new(),
            header_prefix: None,
            metadata: BTreeMap::new(),
            sending: Sending::default(),
        }
    }
}

fn every_type() -> Vec<String> {
    vec!["*".to_owned()]
}

fn names_only<S: Serializer>(headers: &BTreeMap<String, String>, to: S) -> Result<S::Ok, S::Error> {
    to.collect_map(headers.keys().map(|name| (name, "…")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINIMAL: &str = r#"{"tenant": "acme", "url": "https://example.com/", "secret_env": "S""#;

    #[test]
    fn an_unknown_key_or_a_wrong_kind_is_refused_by_name() {
        for (more, named) in [
            (r#", "filtr": "a""#, "filtr"),
            (r#", "sending": {"speed": 1}"#, "speed"),
            (r#", "sending": {"ordering": "fifo"}"#, "fifo"),
            (r#", "sending": {"rate": {"limit": 1}}"#, "window_ms"),
        ] {
            let error = serde_json::from_str::<EndpointConfig>(&format!("{MINIMAL}{more}}}")).unwrap_err().to_string();
            assert!(error.contains(named), "{named}: {error}");
        }
    }

    #[test]
    fn a_static_headers_value_is_never_shown() {
        let text = format!(r#"{MINIMAL}, "headers": {{"X-Key": "s3cret"}}, "headers_env": {{"X-More": "VARIABLE"}}}}"#);
        let config: EndpointConfig = serde_json::from_str(&text).unwrap();
        assert_eq!((&*config.headers["X-Key"], &config.event_types), ("s3cret", &vec!["*".to_owned()]));
        let shown = serde_json::to_string(&config).unwrap();
        assert!(shown.contains(r#""X-Key":"…""#) && shown.contains("VARIABLE") && !shown.contains("s3cret"), "{shown}");
    }
}
