//! Twilio: `X-Twilio-Signature`, HMAC-SHA1 in base64, over the address that it calls and the form's fields; for JSON over the
//! address alone, whose query has the body's SHA-256.
//!
//! It signs the address with or without the scheme's own port, so both are tried. The fields are signed without marks between
//! name and value: that is Twilio's scheme, and only its token makes such a signature.

use url::Url;

use super::{Answers, At, Encoding, Hash, KeyForm, Piece, Plan, SecretForm};
use crate::ingress::reply::{Greeting, Thanks};

pub(super) fn plan() -> Plan {
    Plan::simple("x-twilio-signature", "", Encoding::Base64)
        .checked_with(KeyForm::Mac(SecretForm::Raw, Hash::Sha1))
        .signed_over(vec![Piece::Url, Piece::ParamsOrDigest], None)
        .found_at(
            vec![At::header("i-twilio-idempotency-token")],
            vec![At::form("MessageStatus"), At::form("SmsStatus"), At::form("CallStatus"), At::body("/0/type")],
        )
        .answered(Answers { greeting: Greeting::None, thanks: Thanks::empty_twiml() })
        // Event streams try for four hours.
        .remembered(24)
}

/// The same address with its port left out or spelled out, if that port is the scheme's own.
pub(super) fn other_port(text: &str, url: &Url) -> Option<String> {
    let port = if url.scheme() == "https" { ":443" } else { ":80" };
    let host_begins = text.find("://")? + 3;
    let host_ends = text[host_begins..].find('/').map_or(text.len(), |at| host_begins + at);
    let (before, path) = text.split_at(host_ends);
    match before.strip_suffix(port) {
        Some(without) => Some(format!("{without}{path}")),
        None if url.port().is_none() => Some(format!("{before}{port}{path}")),
        None => None,
    }
}
