//! The public listener and the webhook sources (`[ingress]`).
//!
//! Secrets never stand here: a source names the environment variables or files that hold them, several while one is being
//! rotated. What a number may be is checked while it is read, so that the error names the key and the file or variable.

mod signing;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use serde::de::Unexpected;
use serde::{Deserialize, Deserializer, Serialize};

pub use self::signing::{
    BodyEncoding, Encoding, Hash, HmacConfig, ListConfig, Place, PlaidConfig, ReplyConfig, SchemeName, SecretForm,
    TimeUnit,
};
use crate::job::QueueName;

/// No source may accept more; [`WebhookReceived`](crate::ingress::WebhookReceived) is sized for it.
pub const MAX_BODY_BYTES: u64 = 1024 * 1024;

/// `[ingress]`: the public listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IngressConfig {
    /// Where it listens; `0.0.0.0:8080`.
    pub listen: SocketAddr,
    /// What it puts up with.
    pub limits: LimitsConfig,
    /// How many requests all senders together may make; 40,000 a second.
    pub rate: RateConfig,
    /// When a source counts as silent.
    pub silence: SilenceConfig,
    /// The senders, by the name in their URL: `POST /webhooks/{name}`. `stripe` and `buffr` are there by themselves when
    /// `STRIPE_WEBHOOK_SECRET` or `BUFFR_WEBHOOK_SECRET` is set.
    pub sources: BTreeMap<String, SourceConfig>,
}

impl Default for IngressConfig {
    fn default() -> Self {
        let listen = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 8080));
        let (limits, rate) = (LimitsConfig::default(), RateConfig::for_all());
        Self { listen, limits, rate, silence: SilenceConfig::default(), sources: BTreeMap::new() }
    }
}

/// `[ingress.limits]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsConfig {
    /// Open connections, 2048; fewer where the process may not open as many files.
    #[serde(deserialize_with = "within::<_, 1, 100_000>")]
    pub connections: u64,
    /// From the first byte to the end of a request's head, 10.
    #[serde(deserialize_with = "within::<_, 1, 600>")]
    pub head_timeout_seconds: u64,
    /// How long a connection may wait for its next request, 75.
    #[serde(deserialize_with = "within::<_, 1, 3_600>")]
    pub idle_timeout_seconds: u64,
    /// From the end of the head to the end of the reply, 30.
    #[serde(deserialize_with = "within::<_, 1, 600>")]
    pub request_timeout_seconds: u64,
    /// Request line and headers together, 16 KiB.
    #[serde(deserialize_with = "within::<_, 1_024, 262_144>")]
    pub head_bytes: u64,
    /// What is being served when the process stops may take so much longer, 5.
    #[serde(deserialize_with = "within::<_, 0, 600>")]
    pub shutdown_grace_seconds: u64,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            connections: 2_048,
            head_timeout_seconds: 10,
            idle_timeout_seconds: 75,
            request_timeout_seconds: 30,
            head_bytes: 16 * 1024,
            shutdown_grace_seconds: 5,
        }
    }
}

/// `[ingress.sources.<name>]`: one sender of webhooks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceConfig {
    /// How it signs; `hmac` is described in `[ingress.sources.<name>.hmac]`.
    pub scheme: SchemeName,
    /// The environment variables with its secrets; one name or a list. Any of the secrets will do.
    #[serde(default, deserialize_with = "one_or_more")]
    pub secret_env: Vec<String>,
    /// Files with its secrets; one path or a list.
    #[serde(default, deserialize_with = "one_or_more")]
    pub secret_file: Vec<PathBuf>,
    /// The particulars of scheme `hmac`.
    #[serde(default)]
    pub hmac: Option<HmacConfig>,
    /// The particulars of scheme `plaid`; all have defaults.
    #[serde(default)]
    pub plaid: Option<PlaidConfig>,
    /// The address that the sender calls, without a query, where that is part of what it signs.
    #[serde(default)]
    pub public_url: Option<String>,
    /// How far its timestamp may be off to either side; 300, for SendGrid a day. There is no way to switch this off.
    #[serde(default, deserialize_with = "maybe_within::<_, 1, 86_400>")]
    pub tolerance_seconds: Option<u64>,
    /// Where the sender's own id of the event is, `header:<name>`, `body:</json/pointer>` or `form:<name>`. Without one the
    /// body's SHA-256 serves.
    #[serde(default)]
    pub id: Option<Place>,
    /// Where the event's type is.
    #[serde(default)]
    pub event_type: Option<Place>,
    /// The queue of its jobs; `high_priority`.
    #[serde(default)]
    pub queue: Option<QueueName>,
    /// The kind of job that handles an event once it is recorded, by the event's type; `*` for all others.
    #[serde(default)]
    pub kinds: BTreeMap<String, String>,
    /// How long an id is remembered, at least the sender's whole time of retries; 0: while its job is not finished.
    #[serde(default, deserialize_with = "maybe_within::<_, 0, 8_760>")]
    pub remember_hours: Option<u64>,
    /// Larger bodies are refused, 1 MiB.
    #[serde(default = "default_body", deserialize_with = "within::<_, 1, MAX_BODY_BYTES>")]
    pub body_bytes: u64,
    /// The one `Content-Encoding` that is accepted; none by default.
    #[serde(default)]
    pub allow_encoding: Option<BodyEncoding>,
    /// A second path that it posts to, for senders that bring their own.
    #[serde(default)]
    pub path: Option<String>,
    /// What it is told in place of the scheme's own reply.
    #[serde(default)]
    pub reply: Option<ReplyConfig>,
    /// How many requests it may make, good or bad; 20,000 a second.
    #[serde(default = "RateConfig::for_a_source")]
    pub rate: RateConfig,
}

impl SourceConfig {
    /// A source of a scheme with its defaults, its secret in the variable `secret_env`.
    pub fn new(scheme: SchemeName, secret_env: &str) -> Self {
        Self {
            scheme,
            secret_env: vec![secret_env.to_owned()],
            secret_file: Vec::new(),
            hmac: None,
            plaid: None,
            public_url: None,
            tolerance_seconds: None,
            id: None,
            event_type: None,
            queue: None,
            kinds: BTreeMap::new(),
            remember_hours: None,
            body_bytes: default_body(),
            allow_encoding: None,
            path: None,
            reply: None,
            rate: RateConfig::for_a_source(),
        }
    }
}

/// `[ingress.silence]`: when a source that used to speak counts as silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SilenceConfig {
    /// After so many times its usual gap, the longest of late; 3.
    #[serde(deserialize_with = "within::<_, 1, 1_000>")]
    pub times_usual: u64,
    /// And not before so many minutes; 10.
    #[serde(deserialize_with = "within::<_, 1, 100_000>")]
    pub at_least_minutes: u64,
}

impl Default for SilenceConfig {
    fn default() -> Self {
        Self { times_usual: 3, at_least_minutes: 10 }
    }
}

/// `[ingress.rate]` and `[ingress.sources.<name>.rate]`: more than this is answered with 429, before a body is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateConfig {
    /// So many a second for as long as one likes.
    #[serde(deserialize_with = "within::<_, 1, 1_000_000>")]
    pub per_second: u64,
    /// So many at once; twice `per_second` where nothing is said.
    #[serde(default, deserialize_with = "maybe_within::<_, 1, 2_000_000>")]
    pub burst: Option<u64>,
}

impl RateConfig {
    /// A source's own.
    pub const fn for_a_source() -> Self {
        Self { per_second: 20_000, burst: None }
    }

    const fn for_all() -> Self {
        Self { per_second: 40_000, burst: None }
    }

    /// How many at once.
    pub fn burst(&self) -> u64 {
        self.burst.unwrap_or(self.per_second * 2)
    }
}

const fn default_body() -> u64 {
    MAX_BODY_BYTES
}

pub(super) fn within<'de, D: Deserializer<'de>, const MIN: u64, const MAX: u64>(
    deserializer: D,
) -> Result<u64, D::Error> {
    check_within::<D::Error>(u64::deserialize(deserializer)?, MIN, MAX)
}

fn maybe_within<'de, D: Deserializer<'de>, const MIN: u64, const MAX: u64>(
    deserializer: D,
) -> Result<Option<u64>, D::Error> {
    let n = Option::<u64>::deserialize(deserializer)?;
    n.map(|n| check_within::<D::Error>(n, MIN, MAX)).transpose()
}

fn check_within<E: serde::de::Error>(n: u64, min: u64, max: u64) -> Result<u64, E> {
    if (min..=max).contains(&n) {
        return Ok(n);
    }
    Err(E::invalid_value(Unexpected::Unsigned(n), &format!("{min} to {max}").as_str()))
}

fn one_or_more<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "one text or a list of texts")]
    enum OneOrMore<T> {
        One(T),
        More(Vec<T>),
    }
    Ok(match OneOrMore::deserialize(deserializer)? {
        OneOrMore::One(one) => vec![one],
        OneOrMore::More(more) => more,
    })
}
