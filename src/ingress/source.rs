//! One sender of webhooks, ready to verify: made from the configuration, or not at all.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use url::Url;

use super::describe::Look;
use super::key::Key;
use super::meter::Meter;
use super::pick::Pick;
use super::plaid::{Plaid, PlaidKeys};
use super::received::WebhookReceived;
use super::reply::Answers;
use super::scheme::{Way, plan};
use super::signature::{Signature, Wrong};
use crate::config::ingress::{BodyEncoding, IngressConfig, SchemeName, SourceConfig};
use crate::job::{JobKind as _, QueueName};

/// The variables that bring a source to life without any configuration, and the path that its sender brings along.
const BY_VARIABLE: [(&str, SchemeName, &str, Option<&str>); 2] = [
    ("stripe", SchemeName::Stripe, "STRIPE_WEBHOOK_SECRET", None),
    ("buffr", SchemeName::Buffr, "BUFFR_WEBHOOK_SECRET", Some("/api/v1/webhooks/buffr")),
];
/// Two while one is being rotated; more than a few are a mistake, and each costs a MAC a request.
const MAX_SECRETS: usize = 8;
const MAX_KINDS: usize = 256;
const HOUR: u64 = 3600;

type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

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
    pub(super) proof: Proof,
    pub(super) tolerance: Duration,
    pub(super) look: Look,
    /// What `look` and `answers` want of a JSON body.
    pub(super) pick: Pick,
    pub(super) answers: Answers,
    pub(super) queue: QueueName,
    pub(super) kinds: BTreeMap<String, String>,
    pub(super) remember: Duration,
    pub(super) body_bytes: usize,
    pub(super) allow_gzip: bool,
    pub(super) path: Option<String>,
    /// What its jobs say of who asked for them.
    pub(super) by: Arc<str>,
    pub(super) kind: Arc<str>,
    pub(super) meter: Arc<Meter>,
}

/// What it proves itself with.
#[derive(Clone, Debug)]
pub(super) enum Proof {
    Signature { signature: Signature, keys: Vec<Key> },
    Plaid(Plaid),
}

/// All senders, by name.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    pub(super) by_name: BTreeMap<String, Source>,
}

impl Sources {
    /// Makes every configured source, and those whose variable is set. `env` looks up environment variables.
    ///
    /// # Errors
    /// At the first source that can't start.
    pub fn resolve(config: &IngressConfig, env: Env<'_>) -> Result<Self, SourceError> {
        let mut declared = config.sources.clone();
        for (name, scheme, variable, path) in BY_VARIABLE {
            if declared.contains_key(name) {
                continue;
            }
            if env(variable).is_some() {
                let path = path.map(str::to_owned);
                declared.insert(name.to_owned(), SourceConfig { path, ..SourceConfig::new(scheme, variable) });
            } else {
                tracing::info!("webhooks from {name} are off: {variable} is not set");
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
    pub fn new(name: &str, config: &SourceConfig, env: Env<'_>) -> Result<Self, SourceError> {
        if !is_name(name) {
            return Err(SourceError::Name(name.chars().take(80).collect()));
        }
        let wrong = |(key, why): Wrong| SourceError::Setting { source_name: name.to_owned(), key, why };
        let plan = plan(config).map_err(wrong)?;
        if let Some(path) = &config.path {
            check_path(path).map_err(wrong)?;
        }
        check_kinds(&config.kinds).map_err(wrong)?;
        let secrets = Secrets { name, config, env };
        let proof = match plan.way {
            Way::Signature(mut signature, form) => {
                let keys = secrets.read(|place, secret| Key::new(place, secret, form))?;
                signature.keep_versions_of(&keys);
                Proof::Signature { signature, keys }
            }
            Way::Plaid => Proof::Plaid(Plaid::new(secrets.plaid_keys()?)),
        };
        let own_queue = WebhookReceived::QUEUE.parse().map_err(|e| wrong(("queue", format!("{e}"))));
        Ok(Self {
            name: name.to_owned(),
            proof,
            tolerance: Duration::from_secs(plan.tolerance_seconds),
            pick: Pick::of(plan.look.pointers().chain(plan.answers.pointers().iter().copied())),
            look: plan.look,
            answers: plan.answers,
            queue: config.queue.clone().map_or(own_queue, Ok)?,
            kinds: config.kinds.clone(),
            remember: Duration::from_secs(plan.remember_hours * HOUR),
            body_bytes: usize::try_from(config.body_bytes).unwrap_or(usize::MAX),
            allow_gzip: config.allow_encoding == Some(BodyEncoding::Gzip),
            path: config.path.clone(),
            by: format!("webhook:{name}").into(),
            kind: WebhookReceived::KIND.into(),
            meter: Arc::default(),
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }
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

fn check_kinds(kinds: &BTreeMap<String, String>) -> Result<(), Wrong> {
    if kinds.len() > MAX_KINDS {
        return Err(("kinds", format!("names {} types; at most {MAX_KINDS} are allowed", kinds.len())));
    }
    for (event_type, kind) in kinds {
        let plain = (1..=64).contains(&kind.len())
            && kind.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b));
        if !plain || kind == WebhookReceived::KIND {
            let why = format!("`{event_type}` is `{kind}`; a kind is 1 to 64 of a-z, 0-9, `.`, `_`, `-`");
            return Err(("kinds", format!("{why}, and another one than `{}`", WebhookReceived::KIND)));
        }
    }
    Ok(())
}

/// Where a source's secrets are.
struct Secrets<'a> {
    name: &'a str,
    config: &'a SourceConfig,
    env: Env<'a>,
}

impl Secrets<'_> {
    fn fail(&self, place: String, why: &dyn Display) -> SourceError {
        SourceError::Secret { source_name: self.name.to_owned(), place, why: why.to_string() }
    }

    /// Each of them, made into something.
    fn read<T>(&self, make: impl Fn(String, &str) -> Result<T, &'static str>) -> Result<Vec<T>, SourceError> {
        let (variables, files) = (&self.config.secret_env, &self.config.secret_file);
        let count = variables.len() + files.len();
        if count == 0 || count > MAX_SECRETS {
            let why = format!("name {count} secrets; 1 to {MAX_SECRETS} are allowed");
            return Err(self.fail("`secret_env` and `secret_file` together".to_owned(), &why));
        }
        let mut made = Vec::new();
        for variable in variables {
            let secret = self.variable(variable)?;
            let place = format!("env:{variable}");
            made.push(make(place, &secret).map_err(|why| self.fail(said(variable), &why))?);
        }
        for file in files {
            let place = || format!("the file {}", file.display());
            let secret = std::fs::read_to_string(file);
            let secret = secret.map_err(|e| self.fail(place(), &format!("can't be read: {e}")))?;
            let made_of = make(format!("file:{}", file.display()), secret.trim());
            made.push(made_of.map_err(|why| self.fail(place(), &why))?);
        }
        Ok(made)
    }

    fn variable(&self, name: &str) -> Result<String, SourceError> {
        let text = (self.env)(name).ok_or_else(|| self.fail(said(name), &"is not set"))?;
        let text = text.trim();
        if text.is_empty() { Err(self.fail(said(name), &"is empty")) } else { Ok(text.to_owned()) }
    }

    /// Who may ask Plaid, and where.
    fn plaid_keys(&self) -> Result<PlaidKeys, SourceError> {
        let wrong = |why: String| SourceError::Setting { source_name: self.name.to_owned(), key: "plaid.api_url", why };
        let plaid = self.config.plaid.clone().unwrap_or_default();
        let mut secrets =
            self.read(|_, secret| if secret.is_empty() { Err("is empty") } else { Ok(SecretString::from(secret)) })?;
        let (Some(secret), true) = (secrets.pop(), secrets.is_empty()) else {
            return Err(self.fail("`secret_env` and `secret_file` together".to_owned(), &"must name one secret"));
        };
        let client_id = SecretString::from(self.variable(&plaid.client_id_env)?);
        let get = |name: &str| (self.env)(name).map(|v| v.trim().to_owned()).filter(|v| !v.is_empty());
        let text = match (plaid.api_url.or_else(|| get("PLAID_API_URL")), get("PLAID_ENV").as_deref()) {
            (Some(url), _) => url,
            (None, None | Some("sandbox")) => "https://sandbox.plaid.com".to_owned(),
            (None, Some("production")) => "https://production.plaid.com".to_owned(),
            (None, Some(_)) => return Err(wrong("is not set, and PLAID_ENV is neither sandbox nor production".into())),
        };
        // Joining drops what follows the last slash.
        let base = Url::parse(&format!("{}/", text.trim_end_matches('/'))).ok();
        let base = base.filter(|u| matches!(u.scheme(), "http" | "https") && u.has_host() && u.username().is_empty());
        let base = base.ok_or_else(|| wrong("is not an address like https://production.plaid.com".to_owned()))?;
        PlaidKeys::new(&base, client_id, secret).map_err(wrong)
    }
}

fn said(variable: &str) -> String {
    format!("the environment variable {variable}")
}
