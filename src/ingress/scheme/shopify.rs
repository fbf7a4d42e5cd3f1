//! Shopify: `X-Shopify-Hmac-SHA256`, base64, over the body, with the app's client secret.

use super::{At, Encoding, Plan};

pub(super) fn plan() -> Plan {
    Plan::simple("x-shopify-hmac-sha256", "", Encoding::Base64)
        .found_at(
            vec![At::header("x-shopify-webhook-id"), At::header("x-shopify-event-id")],
            vec![At::header("x-shopify-topic")],
        )
        // Eight retries in four hours; the margin is for its queue.
        .remembered(24)
}
