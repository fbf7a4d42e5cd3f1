//! Buffr: hex HMAC-SHA256 of the body in `x-webhook-signature`, the id in `Idempotency-Key` or `x-idempotency-key`.
//!
//! Without a key an event goes by the SHA-256 of `voucher_id:status:timestamp`, as Buffr's own receivers have it. Its schedule of
//! retries is not published.

use super::{Answers, At, Encoding, Plan};
use crate::ingress::reply::{Greeting, Thanks};

/// What identifies an event without a key, each at the first place that has it.
const FIELDS: &[&[&str]] =
    &[&["/data/voucher_id", "/voucher_id"], &["/data/status", "/status"], &["/timestamp", "/data/timestamp"]];

pub(super) fn plan() -> Plan {
    let mut plan = Plan::simple("x-webhook-signature", "", Encoding::Hex)
        .found_at(
            vec![At::header("idempotency-key"), At::header("x-idempotency-key")],
            vec![At::body("/event"), At::body("/type")],
        )
        .answered(Answers { greeting: Greeting::None, thanks: Thanks::Buffr });
    plan.look.id_fields = FIELDS;
    plan
}
