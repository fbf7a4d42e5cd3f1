//! Stripe: `Stripe-Signature: t=<unix>,v1=<hex>[,v1=…][,v0=…]` over `{t}.{body}`.
//!
//! `v0` is a decoy that Stripe sends so that receivers prove they ignore it. The secret's text is the key, `whsec_` included.

use super::{At, Encoding, Grammar, Piece, Plan, Version, Way};

pub(super) fn plan() -> Plan {
    let mut plan = Plan::simple("stripe-signature", "", Encoding::Hex)
        .signed_over(vec![Piece::Time, Piece::Text(".".to_owned()), Piece::Body], None)
        .found_at(vec![At::body("/id")], vec![At::body("/type")])
        // It tries for three days, and undelivered events can be listed and sent again for thirty.
        .remembered(30 * 24);
    if let Way::Signature(signature, _) = &mut plan.way {
        signature.grammar = Grammar::List {
            separator: ',',
            joint: '=',
            labels: vec![("v1".to_owned(), Version::Shared)],
            timestamp: Some("t".to_owned()),
        };
    }
    plan
}
