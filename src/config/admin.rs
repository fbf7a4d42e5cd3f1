//! The operators' listener (`[admin]`): the admin API and `/metrics`, on loopback unless configured otherwise.

use std::net::{Ipv4Addr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::ingress::{LimitsConfig, within};

/// `[admin]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdminConfig {
    /// Where it listens; `127.0.0.1:8081`. Every route but `/health` and `/ready` needs a key, on loopback too.
    pub listen: SocketAddr,
    /// What it puts up with.
    pub limits: LimitsConfig,
    /// How long an `Idempotency-Key` and the reply it got are kept, 24.
    #[serde(deserialize_with = "within::<_, 1, 720>")]
    pub idempotency_hours: u64,
}

impl Default for AdminConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8081)),
            limits: LimitsConfig::default(),
            idempotency_hours: 24,
        }
    }
}
