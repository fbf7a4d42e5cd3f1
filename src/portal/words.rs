//! What consumers are told in other words than operators: nothing of our configuration, nothing that a name server told us.

use std::time::Duration;

use crate::fanout::UrlRefused;
use crate::fanout::endpoints::{Endpoint, EndpointState};
use crate::fanout::history::{DeliveryAttempt, DeliveryState};

/// Why a consumer has paused an endpoint. What others have paused, a consumer does not resume.
pub(super) const PAUSED_HERE: &str = "paused on the consumers' page";

/// Why a URL is refused. An address that a name leads to is not repeated: it may be one of a private network.
pub(super) fn of_url(refused: &UrlRefused) -> String {
    match refused {
        UrlRefused::Address { host, .. } => {
            format!("`{host}` does not lead to a public address. Webhooks go to receivers on the public internet only.")
        }
        UrlRefused::Unresolved { host, .. } => format!("`{host}` has no address. Is the name written right?"),
        UrlRefused::Port { port, allowed } => format!("Port {port} is not allowed. Allowed: {allowed}."),
        UrlRefused::Malformed(_) | UrlRefused::Scheme { .. } | UrlRefused::Userinfo | UrlRefused::Fragment => {
            sentence(&refused.to_string())
        }
    }
}

/// Begins with a capital and ends with a full stop.
pub(super) fn sentence(text: &str) -> String {
    let mut rest = text.chars();
    let first = rest.next().map(char::to_uppercase).into_iter().flatten();
    format!("{}{}.", first.collect::<String>(), rest.as_str().trim_end_matches('.'))
}

/// A span in whole hours or minutes.
pub(super) fn span(span: Duration) -> String {
    match span.as_secs() / 60 {
        0 => "less than a minute".to_owned(),
        60 => "an hour".to_owned(),
        minutes if minutes % 60 == 0 => format!("{} hours", minutes / 60),
        minutes => format!("{minutes} minutes"),
    }
}

/// An endpoint's state as one word, and the class that colours it.
pub(super) const fn state(state: EndpointState) -> (&'static str, &'static str) {
    match state {
        EndpointState::Enabled => ("active", "good"),
        EndpointState::Paused => ("paused", "wait"),
        EndpointState::Disabled => ("disabled", "bad"),
    }
}

/// Why it is in that state, and what can be done about it.
pub(super) fn why(endpoint: &Endpoint) -> Option<String> {
    let reason = endpoint.reason.as_deref().unwrap_or_default();
    match endpoint.state {
        EndpointState::Enabled => None,
        EndpointState::Paused if reason == PAUSED_HERE => {
            Some("Deliveries are kept and wait. They are sent when you resume.".to_owned())
        }
        EndpointState::Paused => {
            Some(format!("Paused by the sender: {reason}. Deliveries are kept and wait; ask the sender to resume."))
        }
        EndpointState::Disabled if endpoint.was_given_up() => Some(format!(
            "{} Nothing is sent until you enable it again; what was not delivered stays listed below.",
            sentence(reason)
        )),
        EndpointState::Disabled => Some(format!("Disabled by the sender: {reason}. Ask the sender to enable it.")),
    }
}

/// A delivery's state in a word, and the class that colours it.
pub(super) const fn delivery(state: DeliveryState) -> (&'static str, &'static str) {
    match state {
        DeliveryState::Pending => ("waiting", "wait"),
        DeliveryState::Failed => ("retrying", "warn"),
        DeliveryState::Succeeded => ("delivered", "good"),
        DeliveryState::Exhausted => ("failed", "bad"),
        DeliveryState::Cancelled => ("cancelled", "off"),
    }
}

/// What became of a POST, in words for whoever runs its receiver, and the class that colours it.
pub(super) fn attempt(attempt: &DeliveryAttempt) -> (String, &'static str) {
    match (attempt.status, attempt.error_class.as_deref()) {
        (Some(status @ 200..=299), _) => (format!("answered {status}"), "good"),
        (Some(status), _) => (format!("answered {status}"), "bad"),
        (None, Some(class)) => (of_class(class).to_owned(), "bad"),
        (None, None) => ("under way".to_owned(), "wait"),
    }
}

fn of_class(class: &str) -> &'static str {
    match class {
        "timeout" => "no answer in time",
        "dns" => "name not found",
        "connect" => "no connection",
        "tls" => "TLS failed",
        "broken" => "the connection broke",
        "refused" => "not sent: not a public address",
        "stopped" => "stopped by the sender, sent again later",
        "interrupted" => "interrupted; it may have arrived",
        _ => "failed",
    }
}

/// The error's own text, where it tells of the receiver. What our guard says may name addresses of private networks.
pub(super) fn detail(attempt: &DeliveryAttempt) -> Option<&str> {
    attempt.error.as_deref().filter(|_| attempt.error_class.as_deref() != Some("refused"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_address_is_not_repeated() {
        let refused = UrlRefused::Address { host: "db.internal".into(), address: "10.1.2.3".parse().unwrap() };
        let words = of_url(&refused);
        assert!(words.contains("db.internal") && !words.contains("10.1.2.3") && !words.contains("fanout"), "{words}");
    }

    #[test]
    fn a_sentence_begins_with_a_capital_and_ends_once() {
        assert_eq!(sentence("the URL is wrong"), "The URL is wrong.");
        assert_eq!((sentence("über."), sentence("")), ("Über.".into(), ".".into()));
    }
}
