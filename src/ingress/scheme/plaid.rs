//! Plaid: a JWT in `Plaid-Verification`, signed with ES256 by a key that Plaid's API gives out.
//!
//! Its deliveries carry no id, and two real events may have equal bodies (two `SYNC_UPDATES_AVAILABLE` for one item). So an
//! event is a duplicate only while the job of an equal one is not finished: nothing is lost, and a handler pulls what is true
//! by then.

use super::{Answers, At, Look, Plan, Way};
use crate::ingress::plaid::HEADER;

pub(super) fn plan() -> Plan {
    let look = Look { types: vec![At::body("/webhook_code")], keep: vec![HEADER], ..Look::default() };
    Plan { way: Way::Plaid, look, answers: Answers::PLAIN, tolerance_seconds: 300, remember_hours: 0 }
}
