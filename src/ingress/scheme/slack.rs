//! Slack: `X-Slack-Signature: v0=<hex>` over `v0:{timestamp}:{body}`; events, slash commands and interactions alike.
//!
//! `url_verification` gets its challenge back. A slash command shows a reply's body to people, so ours is empty.

use super::{Answers, At, Encoding, Piece, Plan};
use crate::ingress::reply::{Greeting, Thanks};

pub(super) fn plan() -> Plan {
    let template = vec![Piece::Text("v0:".to_owned()), Piece::Time, Piece::Text(":".to_owned()), Piece::Body];
    Plan::simple("x-slack-signature", "v0=", Encoding::Hex)
        .signed_over(template, Some("x-slack-request-timestamp"))
        .found_at(
            vec![At::body("/event_id"), At::form("trigger_id")],
            vec![At::body("/event/type"), At::body("/type"), At::form("command")],
        )
        .answered(Answers { greeting: Greeting::Slack, thanks: Thanks::silence() })
        // Three retries in six minutes; with delayed events, each hour for a day.
        .remembered(36)
}
