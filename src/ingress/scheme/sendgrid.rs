//! SendGrid's event webhook: ECDSA P-256 with SHA-256, DER in base64, over timestamp and body, its final line break included.
//!
//! A body holds many events, each with its `sg_event_id`; the request as a whole goes by its SHA-256. Whether a retry is signed
//! anew is not documented, so a timestamp may be as old as the last retry, and the window of ids keeps replays away.

use super::{Encoding, KeyForm, Piece, Plan};

const DAY_SECONDS: u64 = 24 * 3600;

pub(super) fn plan() -> Plan {
    let plan = Plan::simple("x-twilio-email-event-webhook-signature", "", Encoding::Base64)
        .checked_with(KeyForm::P256Spki)
        .signed_over(vec![Piece::Time, Piece::Body], Some("x-twilio-email-event-webhook-timestamp"))
        // It retries for a day.
        .remembered(48);
    Plan { tolerance_seconds: DAY_SECONDS, ..plan }
}
