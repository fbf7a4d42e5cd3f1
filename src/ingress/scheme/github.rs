//! GitHub: `X-Hub-Signature-256: sha256=<hex>` over the body. The older `X-Hub-Signature` (SHA-1) does not count.

use super::{At, Encoding, Plan};

pub(super) fn plan() -> Plan {
    Plan::simple("x-hub-signature-256", "sha256=", Encoding::Hex)
        .found_at(vec![At::header("x-github-delivery")], vec![At::header("x-github-event")])
        // It never retries by itself; a delivery sent again by hand has the same id, for three days.
        .remembered(4 * 24)
}
