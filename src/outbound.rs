//! The HTTP client for all that goes out: rustls, timeouts that act, no redirects, no proxy from the environment.

use std::sync::{Arc, Once};
use std::time::Duration;

use reqwest::dns::Resolve;

static PROVIDER: Once = Once::new();

/// Builds a client whose calls take at most `timeout` from DNS to the last body byte.
///
/// # Errors
/// When the system's certificate store can't be read.
pub fn client(timeout: Duration) -> Result<reqwest::Client, reqwest::Error> {
    builder(timeout).build()
}

/// Builds a client for hosts that strangers name: it connects only to addresses that `resolver` gives out (a literal
/// address in a URL bypasses it, so check those first) and hands bodies on as they come, never decompressed.
///
/// # Errors
/// When the system's certificate store can't be read.
pub fn client_to_strangers(timeout: Duration, resolver: Arc<dyn Resolve>) -> Result<reqwest::Client, reqwest::Error> {
    builder(timeout).dns_resolver(resolver).no_gzip().build()
}

fn builder(timeout: Duration) -> reqwest::ClientBuilder {
    // An error here means that another provider is installed already, which serves as well.
    PROVIDER.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
    #[expect(clippy::disallowed_methods, reason = "the one place that builds HTTP clients")]
    reqwest::Client::builder()
        .timeout(timeout)
        .connect_timeout(timeout.min(Duration::from_secs(10)))
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .pool_max_idle_per_host(16)
        .pool_idle_timeout(Duration::from_secs(60))
        .user_agent(concat!("tidemill/", env!("CARGO_PKG_VERSION")))
}
