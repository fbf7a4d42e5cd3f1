//! One sender of webhooks, ready to verify: made from the configuration, or not at all.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::time::Duration;

use axum::http::HeaderName;

use super::secret::Key;
use super::signature::{Signature, header_name};
use crate::config::ingress::{Hash, IngressConfig, Place, SchemeName, SecretForm, SourceConfig};

/// The variable that brings the source `stripe` to life without any configuration.
const STRIPE_SECRET: &str = "STRIPE_WEBHOOK_SECRET";
/// Two while one is being rotated; more than a few are a mistake, and each costs a MAC a request.
const MAX_SECRETS: usize = 8;
const HOUR: u64 = 3600;

/// Why a source can't start. It never starts without its secret.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The name can't be one.
    #[error("webhook source `{0}`: a name is 1 to 32 of a-z, 0-9, - and _, starting with a letter, and not `health`")]
    Name(String),
    /// A secret is missing or unusable.
    #[error("webhook source `{source_name}`: {place} {why}; without its secret it can't start")]
    Secret {
        /// The source.
        source_name: String,
        /// The variable or file.
        place: String,
        /// What is wrong, without the secret.
        why: String,
    },
    /// A setting is wrong.
    #[error("webhook source `{source_name}`: {key}: {why}")]
    Setting {
        /// The source.
        source_name: String,
        /// The key below `ingress.sources.<name>`.
        key: &'static str,
        /// What is wrong.
        why: String,
    },
}

/// One sender.
#[derive(Clone, Debug)]
pub struct Source {
    pub(super) name: String,
    pub(super) signature: Signature,
    pub(super) keys: Vec<Key>,
    pub(super) tolerance: Duration,
    pub(super) id: Option<At>,
    pub(super) event_type: Option<At>,
    pub(super) remember: Duration,
    pub(super) body_bytes: usize,
    pub(super) path: Option<String>,
}

/// Where in a request something is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum At {
    Header(HeaderName),
    Body(String),
}

/// All senders, by name.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    pub(super) by_name: BTreeMap<String, Source>,
}

impl Sources {
    /// Makes every configured source, and `stripe` when its variable is set. `env` looks up environment variables.
    ///
    /// # Errors
    /// At the first source that can't start.
    pub fn resolve(config: &IngressConfig, env: &dyn Fn(&str) -> Option<String>) -> Result<Self, SourceError> {
        let mut declared = config.sources.clone();
        if !declared.contains_key("stripe") {
            if env(STRIPE_SECRET).is_some() {
                declared.insert("stripe".to_owned(), SourceConfig::new(SchemeName::Stripe, STRIPE_SECRET));
            } else {
                tracing::info!("webhooks from Stripe are off: {STRIPE_SECRET} is not set");
            }
        }
        let mut sources = Self::default();
        for (name, config) in &declared {
            let source = Source::new(name, config, env)?;
            if let Some(other) = sources.by_name.values().find(|s| s.path.is_some() && s.path == source.path) {
                let why = format!("`{}` has this path already", other.name);
                return Err(SourceError::Setting { source_name: name.clone(), key: "path", why });
            }
            sources.by_name.insert(name.clone(), source);
        }
        Ok(sources)
    }

    /// The source of this name.
    pub fn get(&self, name: &str) -> Option<&Source> {
        self.by_name.get(name)
    }

    /// The names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(String::as_str)
    }
}

impl Source {
    /// Makes a source with its secrets.
    ///
    /// # Errors
    /// When a secret is missing or a setting is wrong.
    pub fn new(name: &str, config: &SourceConfig, env: &dyn Fn(&str) -> Option<String>) -> Result<Self, SourceError> {
        if !is_name(name) {
            return Err(SourceError::Name(name.chars().take(80).collect()));
        }
        let wrong =
            |(key, why): (&'static str, String)| SourceError::Setting { source_name: name.to_owned(), key, why };
        let plan = plan(config).map_err(wrong)?;
        let id = place("id", config.id.as_ref()).map_err(wrong)?.or(plan.id);
        if plan.signature.signs_id() && !matches!(id, Some(At::Header(_))) {
            return Err(wrong(("id", "must be a `header:…`, because the template signs `{id}`".to_owned())));
        }
        if let Some(path) = &config.path {
            check_path(path).map_err(wrong)?;
        }
        Ok(Self {
            name: name.to_owned(),
            keys: read_secrets(name, config, env, plan.secret, plan.hash)?,
            signature: plan.signature,
            tolerance: Duration::from_secs(config.tolerance_seconds),
            id,
            event_type: place("event_type", config.event_type.as_ref()).map_err(wrong)?.or(plan.event_type),
            remember: Duration::from_secs(config.remember_hours.unwrap_or(plan.remember_hours) * HOUR),
            body_bytes: usize::try_from(config.body_bytes).unwrap_or(usize::MAX),
            path: config.path.clone(),
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// What a scheme brings along.
struct Plan {
    signature: Signature,
    secret: SecretForm,
    hash: Hash,
    id: Option<At>,
    event_type: Option<At>,
    remember_hours: u64,
}

fn plan(config: &SourceConfig) -> Result<Plan, (&'static str, String)> {
    let body = |pointer: &str| Some(At::Body(pointer.to_owned()));
    let plan = match (config.scheme, &config.hmac) {
        // Stripe tries for three days, and undelivered events can be listed and sent again for thirty.
        (SchemeName::Stripe, None) => Plan {
            signature: Signature::stripe(),
            secret: SecretForm::Raw,
            hash: Hash::Sha256,
            id: body("/id"),
            event_type: body("/type"),
            remember_hours: 30 * 24,
        },
        // The specification's example of a schedule ends after 76 hours.
        (SchemeName::StandardWebhooks, None) => Plan {
            signature: Signature::standard_webhooks(),
            secret: SecretForm::Whsec,
            hash: Hash::Sha256,
            id: Some(At::Header(HeaderName::from_static("webhook-id"))),
            event_type: body("/type"),
            remember_hours: 4 * 24,
        },
        (SchemeName::Hmac, Some(hmac)) => Plan {
            signature: Signature::configured(hmac)?,
            secret: hmac.secret,
            hash: hmac.hash,
            id: None,
            event_type: None,
            remember_hours: 4 * 24,
        },
        (SchemeName::Hmac, None) => return Err(("hmac", "is missing; scheme `hmac` is described there".to_owned())),
        (SchemeName::Stripe | SchemeName::StandardWebhooks, Some(_)) => {
            return Err(("hmac", "only scheme `hmac` can be described; this one is fixed".to_owned()));
        }
    };
    Ok(plan)
}

fn place(key: &'static str, place: Option<&Place>) -> Result<Option<At>, (&'static str, String)> {
    Ok(match place {
        None => None,
        Some(Place::Header(name)) => Some(At::Header(header_name(key, name)?)),
        Some(Place::Body(pointer)) => Some(At::Body(pointer.clone())),
    })
}

fn is_name(name: &str) -> bool {
    (1..=32).contains(&name.len())
        && name != "health"
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-')
}

fn check_path(path: &str) -> Result<(), (&'static str, String)> {
    let plain = path.len() > 1 && path.starts_with('/') && path.len() <= 200;
    let plain = plain && path.bytes().all(|b| b.is_ascii_alphanumeric() || b"/-_.".contains(&b));
    if !plain || path == "/health" || path.starts_with("/webhooks/") {
        let why =
            format!("`{path}`; allowed: a path of letters, digits, `-`, `_`, `.`, not `/health` or below `/webhooks/`");
        return Err(("path", why));
    }
    Ok(())
}

fn read_secrets(
    name: &str,
    config: &SourceConfig,
    env: &dyn Fn(&str) -> Option<String>,
    form: SecretForm,
    hash: Hash,
) -> Result<Vec<Key>, SourceError> {
    let fail = |place: String, why: &dyn Display| SourceError::Secret {
        source_name: name.to_owned(),
        place,
        why: why.to_string(),
    };
    let count = config.secret_env.len() + config.secret_file.len();
    if count == 0 || count > MAX_SECRETS {
        let why = format!("name {count} secrets; 1 to {MAX_SECRETS} are allowed");
        return Err(fail("`secret_env` and `secret_file` together".to_owned(), &why));
    }
    let mut keys = Vec::new();
    for variable in &config.secret_env {
        let place = || format!("the environment variable {variable}");
        let secret = env(variable).ok_or_else(|| fail(place(), &"is not set"))?;
        keys.push(Key::new(secret.trim(), form, hash).map_err(|why| fail(place(), &why))?);
    }
    for file in &config.secret_file {
        let place = || format!("the file {}", file.display());
        let secret = std::fs::read_to_string(file).map_err(|e| fail(place(), &format!("can't be read: {e}")))?;
        keys.push(Key::new(secret.trim(), form, hash).map_err(|why| fail(place(), &why))?);
    }
    Ok(keys)
}
