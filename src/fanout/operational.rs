//! What we tell of endpoints themselves: the types that only this service publishes.

/// No more events go to the endpoint.
pub const ENDPOINT_DISABLED: &str = "endpoint.disabled";
/// Its deliveries have begun to fail.
pub const ENDPOINT_FAILING: &str = "endpoint.failing";
/// They succeed again.
pub const ENDPOINT_RECOVERED: &str = "endpoint.recovered";
/// Every attempt of a delivery was in vain.
pub const MESSAGE_EXHAUSTED: &str = "message.exhausted";
/// Somebody wants to see whether anything arrives.
pub const WEBHOOK_TEST: &str = "webhook.test";

/// All of them.
pub const OPERATIONAL: [&str; 5] =
    [ENDPOINT_DISABLED, ENDPOINT_FAILING, ENDPOINT_RECOVERED, MESSAGE_EXHAUSTED, WEBHOOK_TEST];

/// Says whether only this service publishes such events.
pub fn is_operational(event_type: &str) -> bool {
    OPERATIONAL.contains(&event_type)
}
