//! The HTTP client for all that goes out: rustls, timeouts that act, no redirects, no proxy from the environment.

use std::path::Path;
use std::sync::{Arc, Once};
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls_platform_verifier::Verifier;

static PROVIDER: Once = Once::new();

/// Builds a client whose calls take at most `timeout` from DNS to the last body byte.
///
/// # Errors
/// When the system's certificate store can't be read.
pub fn client(timeout: Duration) -> Result<reqwest::Client, reqwest::Error> {
    builder(timeout).build()
}

/// Why TLS can't be spoken.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file of certificates is none.
    #[error("the certificates in {path} can't be read: {detail}")]
    Roots {
        /// Which file.
        path: String,
        /// What is wrong.
        detail: String,
    },
    /// The system's certificates can't be used.
    #[error("the system's certificates can't be used: {0}")]
    System(#[from] rustls::Error),
}

/// TLS as a client that trusts the system's authorities and those in the PEM file `extra`, and offers HTTP/2. For
/// connections that are made by hand, because a stranger has named the host.
///
/// # Errors
/// When the certificates can't be read.
pub fn tls(extra: Option<&Path>) -> Result<rustls::ClientConfig, TlsError> {
    let unreadable = |path: &Path, detail: String| TlsError::Roots { path: path.display().to_string(), detail };
    let roots = match extra {
        None => Vec::new(),
        Some(path) => {
            let found = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
            let found = found.map_err(|e| unreadable(path, e.to_string()))?;
            if found.is_empty() {
                return Err(unreadable(path, "it holds none".to_owned()));
            }
            found
        }
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = Verifier::new_with_extra_roots(roots, Arc::clone(&provider))?;
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
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
