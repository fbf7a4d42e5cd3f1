//! How a sender signs and how it is answered: the parts of a source's section that schemes bring along or `hmac` describes.

use serde::{Deserialize, Serialize};

/// The schemes there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SchemeName {
    /// Hex HMAC in `x-webhook-signature`, id in `Idempotency-Key`.
    Buffr,
    /// Discord interactions: Ed25519; a PING is answered at once.
    Discord,
    /// `X-Hub-Signature-256`.
    Github,
    /// Any HMAC over a template.
    Hmac,
    /// `Plaid-Verification`: a JWT whose key Plaid gives out.
    Plaid,
    /// The event webhook: ECDSA P-256.
    Sendgrid,
    /// `X-Shopify-Hmac-SHA256`.
    Shopify,
    /// `X-Slack-Signature`; `url_verification` is answered at once.
    Slack,
    /// Standard Webhooks 1.0.0, `v1` and `v1a`; also under Svix' header names.
    StandardWebhooks,
    /// `Stripe-Signature`, `v1` only.
    Stripe,
    /// `X-Twilio-Signature` over the URL that Twilio calls, with form or JSON.
    Twilio,
}

impl SchemeName {
    /// As it is written in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Buffr => "buffr",
            Self::Discord => "discord",
            Self::Github => "github",
            Self::Hmac => "hmac",
            Self::Plaid => "plaid",
            Self::Sendgrid => "sendgrid",
            Self::Shopify => "shopify",
            Self::Slack => "slack",
            Self::StandardWebhooks => "standard_webhooks",
            Self::Stripe => "stripe",
            Self::Twilio => "twilio",
        }
    }
}

/// `[ingress.sources.<name>.hmac]`: how a sender signs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HmacConfig {
    /// The header with the signature.
    pub signature_header: String,
    /// What stands before the signature: `sha256=`, `v0=`; nothing by default. Not together with `list`.
    #[serde(default)]
    pub prefix: String,
    /// The header holds several labelled values.
    #[serde(default)]
    pub list: Option<ListConfig>,
    /// How the signature is written.
    pub encoding: Encoding,
    /// `sha256` unless said otherwise.
    #[serde(default)]
    pub hash: Hash,
    /// How the secret is written.
    #[serde(default)]
    pub secret: SecretForm,
    /// What is signed, made of `{id}`, `{ts}`, `{url}`, `{body}` or `{params}` (a form's names and values, sorted), and text
    /// between; `{body}` by default.
    #[serde(default = "default_template")]
    pub template: String,
    /// The header with the time, where it is not in the list.
    #[serde(default)]
    pub timestamp_header: Option<String>,
    /// What the time is counted in since 1970.
    #[serde(default)]
    pub timestamp_unit: TimeUnit,
}

/// `…hmac.list`: a header like `t=1,v1=a,v1=b` or `v1,a v1,b`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListConfig {
    /// Between the items.
    pub separator: char,
    /// Between an item's label and its value.
    pub joint: char,
    /// The label of the signatures that count; others are passed over.
    pub version: String,
    /// The label of the time, if it is in the list.
    #[serde(default)]
    pub timestamp: Option<String>,
}

/// How bytes are written as text. Exactly this form is accepted: lower case, or with padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    /// Lower-case hexadecimal.
    Hex,
    /// Standard base64, padded.
    Base64,
}

/// The hash below the HMAC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hash {
    /// SHA-1, for senders that know no better: no attack on HMAC-SHA1 is known.
    Sha1,
    /// SHA-256.
    #[default]
    Sha256,
    /// SHA-512.
    Sha512,
}

/// How a secret is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecretForm {
    /// Its text is the key.
    #[default]
    Raw,
    /// Base64 of the key.
    Base64,
    /// Hexadecimal of the key.
    Hex,
    /// `whsec_` and base64 of the key, or the base64 alone.
    Whsec,
}

/// What a time is counted in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimeUnit {
    /// Seconds.
    #[default]
    Seconds,
    /// Milliseconds.
    Milliseconds,
}

/// Where in a request something is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Place {
    /// In a header.
    Header(String),
    /// In the JSON body, at a pointer (RFC 6901).
    Body(String),
    /// In the body as a form, under a name.
    Form(String),
}

impl TryFrom<String> for Place {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("header", name)) if !name.is_empty() => Ok(Self::Header(name.to_owned())),
            Some(("body", pointer)) if pointer.starts_with('/') => Ok(Self::Body(pointer.to_owned())),
            Some(("form", name)) if !name.is_empty() => Ok(Self::Form(name.to_owned())),
            _ => {
                let allowed = "`header:<name>`, `body:</json/pointer>` or `form:<name>`";
                Err(format!("`{text}` names no place; allowed: {allowed}"))
            }
        }
    }
}

impl From<Place> for String {
    fn from(place: Place) -> Self {
        match place {
            Place::Header(name) => format!("header:{name}"),
            Place::Body(pointer) => format!("body:{pointer}"),
            Place::Form(name) => format!("form:{name}"),
        }
    }
}

/// `[ingress.sources.<name>.plaid]`: whom to ask for Plaid's keys. The secret is the source's `secret_env` or `secret_file`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PlaidConfig {
    /// The variable with the client id, `PLAID_CLIENT_ID`.
    pub client_id_env: String,
    /// The API's base address; `PLAID_API_URL`, or what `PLAID_ENV` (`sandbox`, `production`) stands for.
    pub api_url: Option<String>,
}

impl Default for PlaidConfig {
    fn default() -> Self {
        Self { client_id_env: "PLAID_CLIENT_ID".to_owned(), api_url: None }
    }
}

/// `[ingress.sources.<name>.reply]`: what the sender is told once its event is durable, in place of the scheme's own reply.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplyConfig {
    /// 200, 201, 202 or 204; 200.
    #[serde(default = "default_status")]
    pub status: u16,
    /// `Content-Type`, for a body.
    #[serde(default)]
    pub content_type: Option<String>,
    /// The body, at most 4 KiB; none by default.
    #[serde(default)]
    pub body: String,
}

/// A `Content-Encoding` that a source accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BodyEncoding {
    /// gzip. What was signed is the body without it; `body_bytes` caps that too.
    Gzip,
}

fn default_template() -> String {
    "{body}".to_owned()
}

const fn default_status() -> u16 {
    200
}
