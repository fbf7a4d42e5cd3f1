//! Certificates of a server, made on the spot: an authority of its own and a certificate for `localhost` and `127.0.0.1`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};

/// Where a server's certificates lie, as PEM files.
#[derive(Clone, Debug)]
pub struct Tls {
    /// The TLS port.
    pub port: u16,
    /// The authority that signed; a client must be told of it.
    pub ca: PathBuf,
    /// The server's certificate.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

impl Tls {
    pub(super) fn make(folder: &Path, port: u16) -> Result<Self> {
        let at = |name: &str| folder.join(name);
        let tls = Self { port, ca: at("ca.pem"), cert: at("cert.pem"), key: at("key.pem") };
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "an authority for one test");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        let authority = params.self_signed(&key)?;
        let issuer = Issuer::new(params, key);
        let key = KeyPair::generate()?;
        let cert =
            CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()])?.signed_by(&key, &issuer)?;
        for (path, pem) in [(&tls.ca, authority.pem()), (&tls.cert, cert.pem()), (&tls.key, key.serialize_pem())] {
            std::fs::write(path, pem).with_context(|| format!("write {}", path.display()))?;
        }
        Ok(tls)
    }

    /// The lines of the configuration.
    pub(super) fn text(&self) -> String {
        format!(
            "tls-port {}\ntls-ca-cert-file {}\ntls-cert-file {}\ntls-key-file {}\ntls-auth-clients no\n",
            self.port,
            self.ca.display(),
            self.cert.display(),
            self.key.display()
        )
    }
}
