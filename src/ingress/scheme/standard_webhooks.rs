//! Standard Webhooks 1.0.0: `webhook-signature: v1,<base64>[ v1a,…]` over `{webhook-id}.{webhook-timestamp}.{body}`.
//!
//! `v1` is HMAC-SHA256 with a `whsec_` secret, `v1a` Ed25519 with a `whpk_` key; a source may hold both. Svix sends the same
//! under names of its own.

use axum::http::HeaderName;

use super::{At, Encoding, Grammar, KeyForm, Names, Piece, Plan, Version, Way};

pub(super) fn plan() -> Plan {
    let dot = || Piece::Text(".".to_owned());
    let mut plan = Plan::simple("webhook-signature", "", Encoding::Base64)
        .checked_with(KeyForm::Standard)
        .signed_over(vec![Piece::Id, dot(), Piece::Time, dot(), Piece::Body], None)
        .found_at(vec![At::header("webhook-id"), At::header("svix-id")], vec![At::body("/type")])
        // The specification's example of a schedule ends after 76 hours.
        .remembered(4 * 24);
    if let Way::Signature(signature, _) = &mut plan.way {
        signature.names =
            [["webhook-signature", "webhook-timestamp", "webhook-id"], ["svix-signature", "svix-timestamp", "svix-id"]]
                .map(|[signature, timestamp, id]| Names {
                    signature: HeaderName::from_static(signature),
                    timestamp: Some(HeaderName::from_static(timestamp)),
                    id: Some(HeaderName::from_static(id)),
                })
                .into();
        let labels = vec![("v1".to_owned(), Version::Shared), ("v1a".to_owned(), Version::Public)];
        signature.grammar = Grammar::List { separator: ' ', joint: ',', labels, timestamp: None };
    }
    plan
}
