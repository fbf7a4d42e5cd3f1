//! The consumers' page (`[portal]`), off unless it is switched on: where consumers reach it, and what they may do.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use url::Url;

use super::ConfigError;
use super::ingress::within;

/// `[portal]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PortalConfig {
    /// Whether the page is served, below `/portal` on the public listener; false.
    pub enabled: bool,
    /// How consumers' browsers reach the public listener: `https://hooks.example.com`, without a path. Plain `http` is taken
    /// on loopback only. Where the listener itself is on loopback, its address stands in for it.
    pub public_url: String,
    /// A link ends after so many hours where its maker says nothing, 1; at most 168, which is 7 days.
    #[serde(deserialize_with = "within::<_, 1, 168>")]
    pub link_hours: u64,
    /// A consumer adds no endpoint when its tenant has so many, 50. The operators' API has its own limit.
    #[serde(deserialize_with = "within::<_, 1, 10_000>")]
    pub max_endpoints: u64,
    /// So many changes a minute may be made with one link, 30; a change is also a test event or a resend.
    #[serde(deserialize_with = "within::<_, 1, 10_000>")]
    pub changes_per_minute: u64,
    /// So many requests a minute may be made with one link, 300: pages, and forms with them.
    #[serde(deserialize_with = "within::<_, 1, 10_000>")]
    pub looks_per_minute: u64,
    /// Consumers, too, may send to `fanout.allow_addresses`; false. Those are private networks, and a consumer sees what
    /// answers there: without this, the page does not start beside such a list.
    pub private_receivers: bool,
}

impl Default for PortalConfig {
    fn default() -> Self {
        Self {
            enabled: false,
            public_url: String::new(),
            link_hours: 1,
            max_endpoints: 50,
            changes_per_minute: 30,
            looks_per_minute: 300,
            private_receivers: false,
        }
    }
}

impl PortalConfig {
    /// Where the page is reached; `None`: it is off. `listen`: the public listener's address.
    ///
    /// # Errors
    /// When `public_url` is not such an address.
    pub fn base(&self, listen: SocketAddr) -> Result<Option<Url>, ConfigError> {
        if !self.enabled {
            return Ok(None);
        }
        let bad = |why: &str| ConfigError::invalid("portal.public_url", &self.public_url, why);
        if self.public_url.is_empty() {
            if !listen.ip().is_loopback() {
                return Err(bad("say how consumers reach the public listener, like https://hooks.example.com"));
            }
            let own = Url::parse(&format!("http://{listen}"));
            return own.map(Some).map_err(|e| bad(&e.to_string()));
        }
        let url = Url::parse(&self.public_url).map_err(|e| bad(&e.to_string()))?;
        let bare = matches!(url.path(), "" | "/") && url.query().is_none() && url.fragment().is_none();
        if !bare || !url.username().is_empty() || url.password().is_some() {
            return Err(bad("only scheme, host and port may stand in it, like https://hooks.example.com"));
        }
        let loopback = match url.host() {
            Some(url::Host::Ipv4(v4)) => v4.is_loopback(),
            Some(url::Host::Ipv6(v6)) => v6.is_loopback(),
            Some(url::Host::Domain(name)) => name == "localhost",
            None => return Err(bad("it has no host")),
        };
        match url.scheme() {
            "https" => Ok(Some(url)),
            "http" if loopback => Ok(Some(url)),
            _ => Err(bad("it must be https; http is for loopback")),
        }
    }
}
