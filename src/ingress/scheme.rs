//! The schemes there are, a closed set: how each sender signs, where its ids are, how long it retries, what it wants to hear.
//!
//! One file a sender, each of them a [`Plan`]: plain values, no code of its own in the check. The configuration may put
//! another id place, type place, tolerance, window or reply over a plan's, never another way to sign.

mod buffr;
mod discord;
mod github;
mod hmac;
mod plaid;
mod sendgrid;
mod shopify;
mod slack;
mod standard_webhooks;
mod stripe;
mod twilio;

use axum::http::HeaderName;

use super::describe::{At, Look};
use super::key::KeyForm;
use super::reply::Answers;
use super::signature::{Grammar, Names, Signature, Version, Wrong};
use super::template::{Piece, Template};
use crate::config::ingress::{Encoding, Hash, SchemeName, SecretForm, SourceConfig, TimeUnit};

/// What a scheme brings along.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) way: Way,
    pub(super) look: Look,
    pub(super) answers: Answers,
    pub(super) tolerance_seconds: u64,
    /// The sender's whole time of retries; 0: an id is known while its job is not finished.
    pub(super) remember_hours: u64,
}

/// How the sender proves itself.
#[derive(Debug)]
pub(super) enum Way {
    /// A signature in a header, checked with the source's keys.
    Signature(Signature, KeyForm),
    /// A token, checked with a key that Plaid's API gives out.
    Plaid,
}

/// The plan of a source's scheme.
pub(super) fn plan(config: &SourceConfig) -> Result<Plan, Wrong> {
    let scheme = config.scheme;
    if config.hmac.is_some() && scheme != SchemeName::Hmac {
        return Err(("hmac", "only scheme `hmac` can be described; this one is fixed".to_owned()));
    }
    if config.plaid.is_some() && scheme != SchemeName::Plaid {
        return Err(("plaid", format!("belongs to scheme `plaid`; this is `{}`", scheme.as_str())));
    }
    let plan = match scheme {
        SchemeName::Buffr => buffr::plan(),
        SchemeName::Discord => discord::plan(),
        SchemeName::Github => github::plan(),
        SchemeName::Hmac => hmac::plan(config)?,
        SchemeName::Plaid => plaid::plan(),
        SchemeName::Sendgrid => sendgrid::plan(),
        SchemeName::Shopify => shopify::plan(),
        SchemeName::Slack => slack::plan(),
        SchemeName::StandardWebhooks => standard_webhooks::plan(),
        SchemeName::Stripe => stripe::plan(),
        SchemeName::Twilio => twilio::plan(),
    };
    plan.configured(config)
}

impl Plan {
    /// A sender with one signature a header, an HMAC-SHA256 over the body, and no wishes.
    fn simple(header: &'static str, prefix: &str, encoding: Encoding) -> Self {
        let names = vec![Names { signature: HeaderName::from_static(header), timestamp: None, id: None }];
        let grammar = Grammar::Plain { prefix: prefix.to_owned(), version: Version::Shared };
        let template = Template(vec![Piece::Body]);
        let signature = Signature { names, grammar, encoding, template, unit: TimeUnit::Seconds, urls: Vec::new() };
        Self {
            way: Way::Signature(signature, KeyForm::Mac(SecretForm::Raw, Hash::Sha256)),
            look: Look::default(),
            answers: Answers::PLAIN,
            tolerance_seconds: 300,
            remember_hours: 4 * 24,
        }
    }

    fn signed_over(mut self, pieces: Vec<Piece>, timestamp: Option<&'static str>) -> Self {
        if let Way::Signature(signature, _) = &mut self.way {
            signature.template = Template(pieces);
            signature.names.iter_mut().for_each(|n| n.timestamp = timestamp.map(HeaderName::from_static));
        }
        self
    }

    fn checked_with(mut self, form: KeyForm) -> Self {
        if let Way::Signature(signature, key) = &mut self.way {
            *key = form;
            if let (Grammar::Plain { version, .. }, KeyForm::Ed25519Hex | KeyForm::P256Spki) =
                (&mut signature.grammar, form)
            {
                *version = Version::Public;
            }
        }
        self
    }

    fn found_at(mut self, ids: Vec<At>, types: Vec<At>) -> Self {
        (self.look.ids, self.look.types) = (ids, types);
        self
    }

    fn remembered(mut self, hours: u64) -> Self {
        self.remember_hours = hours;
        self
    }

    fn answered(mut self, answers: Answers) -> Self {
        self.answers = answers;
        self
    }

    /// With what the configuration says about this source.
    fn configured(mut self, config: &SourceConfig) -> Result<Self, Wrong> {
        if let Some(place) = &config.id {
            self.set_id(At::configured("id", place)?)?;
        }
        if let Some(place) = &config.event_type {
            self.look.types = vec![At::configured("event_type", place)?];
        }
        self.set_url(config.public_url.as_deref())?;
        self.keep_headers();
        self.answers = self.answers.or_configured(config.reply.as_ref())?;
        self.tolerance_seconds = config.tolerance_seconds.unwrap_or(self.tolerance_seconds);
        self.remember_hours = config.remember_hours.unwrap_or(self.remember_hours);
        Ok(self)
    }

    fn set_id(&mut self, at: At) -> Result<(), Wrong> {
        let signs_id = matches!(&self.way, Way::Signature(signature, _) if signature.template.has(&Piece::Id));
        if signs_id && !self.look.ids.contains(&at) {
            return Err(("id", "this scheme signs the id, so the event's id is the one that is signed".to_owned()));
        }
        (self.look.ids, self.look.id_fields) = (vec![at], &[]);
        Ok(())
    }

    fn set_url(&mut self, given: Option<&str>) -> Result<(), Wrong> {
        let key = "public_url";
        let (signature, twilio) = match &mut self.way {
            Way::Signature(signature, _) if signature.template.has(&Piece::Url) => {
                let twilio = signature.template.has(&Piece::ParamsOrDigest);
                (signature, twilio)
            }
            _ if given.is_some() => return Err((key, "the address is not part of what this source signs".to_owned())),
            _ => return Ok(()),
        };
        let Some(url) = given else {
            return Err((key, "is missing; the sender signs the address that it calls".to_owned()));
        };
        let parsed = url::Url::parse(url).ok().filter(|u| matches!(u.scheme(), "http" | "https") && u.has_host());
        let plain = url.bytes().all(|b| b.is_ascii_graphic()) && !url.contains(['?', '#', '@']);
        let parsed = parsed.filter(|_| plain).ok_or_else(|| {
            (key, format!("`{url}` is not a whole address without query, like https://hooks.example.com/webhooks/it"))
        })?;
        signature.urls = vec![url.to_owned()];
        if twilio {
            signature.urls.extend(twilio::other_port(url, &parsed));
        }
        Ok(())
    }

    /// What an investigator needs to check a signature again.
    fn keep_headers(&mut self) {
        if let Way::Signature(signature, _) = &self.way {
            let names = signature.names.iter();
            let all = names.flat_map(|n| [Some(n.signature.clone()), n.timestamp.clone(), n.id.clone()]);
            self.look.keep.extend(all.flatten());
        }
    }
}
