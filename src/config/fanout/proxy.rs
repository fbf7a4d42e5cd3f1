//! The proxy that webhooks go out through, where there is one.

use std::path::PathBuf;

use url::Url;

use super::{FanoutConfig, InvalidFanoutConfig};

/// Where the configured proxy is, and how it knows us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyPlace {
    /// Name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// A file with `user:password`.
    pub credentials_file: Option<PathBuf>,
}

impl FanoutConfig {
    /// The proxy, if one is configured.
    ///
    /// # Errors
    /// When `proxy` is not a plain `http://host:port`, or there are credentials without it.
    pub fn proxy_place(&self) -> Result<Option<ProxyPlace>, InvalidFanoutConfig> {
        let Some(text) = &self.proxy else {
            return match &self.proxy_credentials_file {
                None => Ok(None),
                Some(file) => Err(InvalidFanoutConfig {
                    field: "proxy_credentials_file",
                    value: file.display().to_string(),
                    allowed: "only together with proxy",
                }),
            };
        };
        let place = Url::parse(text).ok().filter(is_plain).and_then(|url| {
            let host = url.host_str()?.trim_start_matches('[').trim_end_matches(']').to_owned();
            let port = url.port_or_known_default()?;
            Some(ProxyPlace { host, port, credentials_file: self.proxy_credentials_file.clone() })
        });
        let invalid = InvalidFanoutConfig {
            field: "proxy",
            // It may hold a password.
            value: "another text".to_owned(),
            allowed: "http://host:port; a user and password stand in the file that proxy_credentials_file names",
        };
        place.map(Some).ok_or(invalid)
    }
}

fn is_plain(url: &Url) -> bool {
    url.scheme() == "http"
        && url.username().is_empty()
        && url.password().is_none()
        && url.path() == "/"
        && url.query().is_none()
        && url.fragment().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_a_plain_http_url_and_what_it_holds_is_not_repeated() {
        let of = |proxy: &str| FanoutConfig { proxy: Some(proxy.to_owned()), ..FanoutConfig::default() }.proxy_place();
        let place = of("http://proxy.internal:3128").unwrap().unwrap();
        assert_eq!((place.host.as_str(), place.port), ("proxy.internal", 3128));
        assert_eq!(of("http://[fd00::1]:3128").unwrap().unwrap().host, "fd00::1");
        assert_eq!(of("http://proxy.internal").unwrap().unwrap().port, 80);
        for wrong in [
            "",
            "proxy:3128",
            "https://p:1",
            "socks5://p:1",
            "http://u:s3cret@p:1",
            "http://p:1/x",
            "http://p:1/?s3cret",
        ] {
            let error = of(wrong).unwrap_err();
            assert!(error.field == "proxy" && !error.to_string().contains("s3cret"), "{wrong}: {error}");
        }
        let alone = FanoutConfig { proxy_credentials_file: Some("/run/x".into()), ..FanoutConfig::default() };
        assert_eq!(alone.check().unwrap_err().field, "proxy_credentials_file");
        assert_eq!(FanoutConfig::default().proxy_place(), Ok(None));
    }
}
