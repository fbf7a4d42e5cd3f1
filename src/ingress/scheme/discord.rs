//! Discord interactions: `X-Signature-Ed25519` (hex) over timestamp and body.
//!
//! Discord sends bad signatures on purpose and takes the address away unless they get 401. PING is answered with PONG, other
//! interactions with "wait for it": the handler answers through Discord's API.

use super::{Answers, At, Encoding, KeyForm, Piece, Plan};
use crate::ingress::reply::{Greeting, Thanks};

pub(super) fn plan() -> Plan {
    Plan::simple("x-signature-ed25519", "", Encoding::Hex)
        .checked_with(KeyForm::Ed25519Hex)
        .signed_over(vec![Piece::Time, Piece::Body], Some("x-signature-timestamp"))
        .found_at(vec![At::body("/id")], vec![At::body("/data/name"), At::body("/data/custom_id"), At::body("/type")])
        .answered(Answers { greeting: Greeting::Discord, thanks: Thanks::Discord })
        // It never retries.
        .remembered(24)
}
