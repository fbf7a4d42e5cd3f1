//! Where a POST may go: the URL's form, and every address its host has.
//!
//! The form is checked at registration and before each POST. Addresses are checked at registration, and again at each
//! connect: the name is resolved once, all its addresses are vetted, and the connection goes to one of exactly these, so
//! that a name can't change its mind in between. A literal address is checked in both places too. One bad address is
//! enough to refuse a name.

use std::fmt::Debug;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ipnet::IpNet;
use url::{Host, Url};

use super::address::is_public;
use crate::config::fanout::FanoutConfig;

const MAX_URL: usize = 2_048;
/// Registration waits no longer for DNS; a delivery has its own deadline.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a POST may not go there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlRefused {
    /// It does not read as a URL in one way only.
    #[error("the URL is malformed: {0}")]
    Malformed(String),
    /// Neither https nor, where that is allowed, http.
    #[error("the URL's scheme is `{scheme}`; allowed: {allowed}")]
    Scheme {
        /// What was given.
        scheme: String,
        /// What would be accepted.
        allowed: &'static str,
    },
    /// `user:password@` has no place in it.
    #[error("the URL holds a user name or password; endpoints are signed for, leave it out")]
    Userinfo,
    /// `#…` is never sent.
    #[error("the URL holds a fragment (`#…`), which is never sent; leave it out")]
    Fragment,
    /// The port is not one of the configured.
    #[error("port {port} is not allowed for endpoints; allowed: {allowed}")]
    Port {
        /// What was given.
        port: u16,
        /// What would be accepted.
        allowed: String,
    },
    /// It leads into a private network, to the machine itself or to some other special place.
    #[error("`{host}` leads to {address}, which is not a public address; see fanout.allow_addresses")]
    Address {
        /// The host of the URL.
        host: String,
        /// The first address that is not allowed.
        address: IpAddr,
    },
    /// The name has no address now.
    #[error("`{host}` can't be resolved: {detail}")]
    Unresolved {
        /// The host of the URL.
        host: String,
        /// The resolver's words.
        detail: String,
    },
}

/// Finds the addresses of a name.
#[async_trait]
pub trait Resolver: Debug + Send + Sync + 'static {
    /// All of them, in the order in which they are to be tried.
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>>;
}

/// The system's own.
#[derive(Debug)]
pub struct SystemResolver;

#[async_trait]
impl Resolver for SystemResolver {
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        Ok(tokio::net::lookup_host((name, 0)).await?.map(|a| a.ip()).collect())
    }
}

/// The rules, from the configuration.
#[derive(Clone, Debug)]
pub struct Guard {
    allow_http: bool,
    ports: Vec<u16>,
    allow: Vec<IpNet>,
    resolver: Arc<dyn Resolver>,
}

impl Guard {
    /// The rules of `config`, over the system's resolver.
    pub fn new(config: &FanoutConfig) -> Self {
        Self::over(config, Arc::new(SystemResolver))
    }

    /// The rules of `config`, over a resolver of one's own.
    pub fn over(config: &FanoutConfig, resolver: Arc<dyn Resolver>) -> Self {
        let mut ports = config.ports.clone();
        if config.allow_http && !ports.contains(&80) {
            ports.push(80);
        }
        Self { allow_http: config.allow_http, ports, allow: config.allow_addresses.clone(), resolver }
    }

    /// Checks all that can be checked without a resolver, and gives the URL in its one canonical form.
    ///
    /// # Errors
    /// The first rule it breaks.
    pub fn check(&self, text: &str) -> Result<Url, UrlRefused> {
        let url = parse(text)?;
        match url.scheme() {
            "https" => {}
            "http" if self.allow_http => {}
            other => {
                let allowed = if self.allow_http { "https, http" } else { "https" };
                return Err(UrlRefused::Scheme { scheme: other.to_owned(), allowed });
            }
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(UrlRefused::Userinfo);
        }
        if url.fragment().is_some() {
            return Err(UrlRefused::Fragment);
        }
        let literal = match url.host() {
            Some(Host::Ipv4(v4)) => Some(IpAddr::V4(v4)),
            Some(Host::Ipv6(v6)) => Some(IpAddr::V6(v6)),
            Some(Host::Domain(_)) => None,
            None => return Err(UrlRefused::Malformed("it has no host".to_owned())),
        };
        if let Some(address) = literal {
            self.check_address(url.host_str().unwrap_or_default(), address)?;
        }
        let port = url.port_or_known_default().unwrap_or(0);
        if !self.ports.contains(&port) && !literal.is_some_and(|a| self.is_listed(a)) {
            let allowed = self.ports.iter().map(u16::to_string).collect::<Vec<_>>().join(", ");
            return Err(UrlRefused::Port { port, allowed });
        }
        Ok(url)
    }

    /// [`Guard::check`], and resolves the host and vets all its addresses.
    ///
    /// # Errors
    /// The first rule it breaks.
    pub async fn vet(&self, text: &str) -> Result<Url, UrlRefused> {
        let url = self.check(text)?;
        if let Some(Host::Domain(name)) = url.host() {
            let unresolved = |_| UrlRefused::Unresolved {
                host: name.to_owned(),
                detail: format!("no answer within {} s", RESOLVE_TIMEOUT.as_secs()),
            };
            tokio::time::timeout(RESOLVE_TIMEOUT, self.resolve(name)).await.map_err(unresolved)??;
        }
        Ok(url)
    }

    /// Where a connection to `host` may go now, in the order in which to try: a literal address that is vetted, or all
    /// vetted addresses of a name.
    ///
    /// # Errors
    /// When the name has no address, or one address is not allowed.
    pub(super) async fn addresses(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, UrlRefused> {
        let literal = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host).parse::<IpAddr>();
        let found = match literal {
            Ok(address) => self.check_address(host, address).map(|()| vec![address])?,
            Err(_) => self.resolve(host).await?,
        };
        Ok(found.into_iter().map(|address| SocketAddr::new(address, port)).collect())
    }

    /// All addresses of `name`, each of them vetted.
    async fn resolve(&self, name: &str) -> Result<Vec<IpAddr>, UrlRefused> {
        let unresolved = |detail: String| UrlRefused::Unresolved { host: name.to_owned(), detail };
        let addresses = self.resolver.resolve(name).await.map_err(|e| unresolved(e.to_string()))?;
        if addresses.is_empty() {
            return Err(unresolved("it has no address".to_owned()));
        }
        addresses.iter().try_for_each(|address| self.check_address(name, *address))?;
        Ok(addresses)
    }

    fn check_address(&self, host: &str, address: IpAddr) -> Result<(), UrlRefused> {
        if is_public(address) || self.is_listed(address) {
            return Ok(());
        }
        Err(UrlRefused::Address { host: host.to_owned(), address })
    }

    fn is_listed(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.allow.iter().any(|net| net.contains(&address))
    }
}

/// Refuses what other parsers might read in another way, before the URL standard's forgiving one sees it.
fn parse(text: &str) -> Result<Url, UrlRefused> {
    let malformed = |detail: String| UrlRefused::Malformed(detail);
    if text.is_empty() || text.len() > MAX_URL {
        return Err(malformed(format!("it has {} bytes; allowed: 1 to {MAX_URL}", text.len())));
    }
    if let Some(c) = text.chars().find(|c| !c.is_ascii_graphic() || *c == '\\') {
        return Err(malformed(format!("it holds {c:?}; write it percent-encoded, a name outside ASCII as punycode")));
    }
    let url = Url::parse(text).map_err(|e| malformed(e.to_string()))?;
    // `https:/host`, `https:host` and `https:///host` are one and the same to a browser and three things to others.
    let rest = text.split_once("://").map(|(_, rest)| rest);
    if url.has_host() && rest.is_none_or(|r| r.starts_with('/')) {
        return Err(malformed("write it as scheme://host/path".to_owned()));
    }
    // An empty user name leaves no trace in the parsed URL, and others stop at another `@`.
    let authority = rest.and_then(|r| r.split(['/', '?', '#']).next());
    if authority.is_some_and(|a| a.contains('@')) {
        return Err(UrlRefused::Userinfo);
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strict() -> Guard {
        Guard::new(&FanoutConfig::default())
    }

    fn open_to_loopback() -> Guard {
        let config = FanoutConfig {
            allow_http: true,
            allow_addresses: vec!["127.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()],
            ..FanoutConfig::default()
        };
        Guard::new(&config)
    }

    #[test]
    fn no_url_of_the_ssrf_lists_is_accepted() {
        let refused = [
            "",
            "hook",
            "https://",
            "https:///x",
            "https:example.com",
            "https:/example.com",
            "http://example.com/",
            "file:///etc/passwd",
            "gopher://example.com/",
            "dict://example.com/",
            "ftp://example.com/",
            "sftp://example.com/",
            "tftp://example.com/",
            "ldap://example.com/",
            "jar:https://example.com!/",
            "javascript:alert(1)",
            "https://127.0.0.1/",
            "https://127.1/",
            "https://127.0.1/",
            "https://0/",
            "https://0.0.0.0/",
            "https://127.127.127.127/",
            "https://2130706433/",
            "https://3232235521/",
            "https://2852039166/",
            "https://0177.0.0.1/",
            "https://0x7f000001/",
            "https://0x7f.1/",
            "https://169.254.169.254/latest/meta-data/",
            "https://168.63.129.16/",
            "https://[::]/",
            "https://[::1]/",
            "https://[0000::1]/",
            "https://[::1%lo]/",
            "https://[::1%25lo]/",
            "https://[127.0.0.1]/",
            "https://::1",
            "https://[::ffff:127.0.0.1]/",
            "https://[0:0:0:0:0:ffff:127.0.0.1]/",
            "https://[::7f00:1]/",
            "https://[::ffff:0:7f00:1]/",
            "https://[::5efe:7f00:1]/",
            "https://[64:ff9b::a9fe:a9fe]/",
            "https://[64:ff9b:1::1]/",
            "https://[2002:7f00:1::1]/",
            "https://[2001:0:7f00:1::]/",
            "https://[fd00:ec2::254]/",
            "https://[fe80::1]/",
            "https://[fec0::1]/",
            "https://[ff02::1]/",
            "https://user@example.com/",
            "https://user:pass@example.com/",
            "https://:pass@example.com/",
            "https://@example.com/",
            "https://1.1.1.1 &@2.2.2.2# @3.3.3.3/",
            "https://127.1.1.1:80\\@127.2.2.2:80/",
            "https://1:2@[::1]:9876/",
            "https://example.com/#top",
            "https://example.com#@127.0.0.1/",
            "https://exam\tple.com/",
            "https://example.com/\n",
            "https://example.com/\0",
            "https://example.com%00/",
            "https://exa%6dple .com/",
            "https://ⓔⓧⓐⓜⓟⓛⓔ.com/",
            "https://①②⑦.⓪.⓪.①/",
            "https://١٢٧.٠.٠.١/",
            "https://example.com:22/",
            "https://example.com:25/",
            "https://example.com:6379/",
            "https://example.com:80/",
            "https://example.com:0/",
            "https://example.com:99999/",
            "https://8.8.8.8:8080/",
        ];
        for text in refused {
            assert!(strict().check(text).is_err(), "{text:?} was accepted");
        }
        assert!(strict().check(&format!("https://example.com/{}", "a".repeat(2_048))).is_err());
    }

    #[test]
    fn ordinary_urls_are_accepted() {
        for text in
            ["https://example.com/hook?x=1", "https://example.com:8443/", "https://8.8.8.8/", "HTTPS://EXAMPLE.COM/"]
        {
            assert!(strict().check(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn a_network_of_the_allow_list_and_http_are_open_only_where_configured() {
        for text in ["http://127.0.0.1:4711/hook", "http://[::1]:4711/", "http://example.com/", "http://2130706433:9/"]
        {
            assert!(open_to_loopback().check(text).is_ok(), "{text}");
        }
        for text in ["http://10.0.0.1/", "http://example.com:4711/", "http://169.254.169.254/", "ftp://127.0.0.1/"] {
            assert!(open_to_loopback().check(text).is_err(), "{text}");
        }
    }

    #[tokio::test]
    async fn a_name_that_leads_to_loopback_is_refused_at_registration() {
        for text in ["https://localhost/", "https://localhost./"] {
            let refused = strict().vet(text).await.unwrap_err();
            assert!(matches!(refused, UrlRefused::Address { .. } | UrlRefused::Unresolved { .. }), "{text}: {refused}");
        }
        assert!(open_to_loopback().vet("https://localhost/").await.is_ok());
    }
}
