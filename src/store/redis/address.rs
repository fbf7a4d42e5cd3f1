//! Where a Redis lies and how it is reached: `redis://`, `rediss://`, `redis+sentinel://`, `rediss+sentinel://`.
//!
//! `rediss://user:password@host:6380/0?ca=/etc/redis/ca.pem` · `redis+sentinel://user:password@s1:26379,s2:26379/mymaster/0`.
//! Secrets and certificates may stand in files: `password_file`, `sentinel_password_file`, `ca`, `cert`, `key`. A password is
//! never shown.

use std::fmt;
use std::path::{Path, PathBuf};

use redis::io::tcp::TcpSettings;
use redis::sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType};
use redis::{
    Client, ClientTlsConfig, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, ProtocolVersion, RedisConnectionInfo,
    TlsCertificates, TlsMode,
};
use secrecy::{ExposeSecret, SecretString};

/// Keys begin with it; tests and several Tidemills on one server take others.
const NAMESPACE: &str = "tidemill";
/// So many jobs that come together, and are alike, are kept together.
const PACK_FROM: usize = 20;
const PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;

/// A Redis, or the sentinels that know where it is.
#[derive(Clone)]
pub struct RedisAddress {
    servers: Vec<(String, u16)>,
    /// The master's name, when `servers` are sentinels.
    master: Option<String>,
    tls: bool,
    database: i64,
    login: Login,
    sentinel_login: Login,
    ca: Option<PathBuf>,
    certificate: Option<(PathBuf, PathBuf)>,
    namespace: String,
    pack_from: usize,
}

#[derive(Clone, Debug, Default)]
struct Login {
    user: Option<String>,
    password: Option<SecretString>,
}

/// A URL that does not say where a Redis is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the Redis URL is wrong: {0}")]
pub struct InvalidAddress(String);

/// How a connection is opened: a fixed server, or whichever the sentinels name.
#[expect(clippy::large_enum_variant, reason = "a connection has one")]
pub(super) enum Door {
    Server(Client),
    Sentinels(Box<SentinelClient>),
}

/// Without secrets.
impl fmt::Display for RedisAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown())
    }
}

impl fmt::Debug for RedisAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown())
    }
}

fn wrong(why: impl fmt::Display) -> InvalidAddress {
    InvalidAddress(why.to_string())
}

impl RedisAddress {
    /// Reads a URL; files it names are read when the store is opened.
    ///
    /// # Errors
    /// Says which part is wrong, without showing secrets.
    pub fn parse(text: &str) -> Result<Self, InvalidAddress> {
        let (scheme, rest) = text.split_once("://").ok_or_else(|| wrong("it has no `://`"))?;
        let (tls, sentinel) = match scheme {
            "redis" => (false, false),
            "rediss" => (true, false),
            "redis+sentinel" => (false, true),
            "rediss+sentinel" => (true, true),
            other => {
                return Err(wrong(format_args!("`{other}` is not redis, rediss, redis+sentinel or rediss+sentinel")));
            }
        };
        // Several hosts are no URL of the standard's; each part is read by itself.
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, hosts) = match authority.rsplit_once('@') {
            Some((login, hosts)) => (Login::parse(login)?, hosts),
            None => (Login::default(), authority),
        };
        let default = if sentinel { SENTINEL_PORT } else { PORT };
        let servers = hosts.split(',').map(|host| server(host, default)).collect::<Result<Vec<_>, _>>()?;
        if !sentinel && servers.len() > 1 {
            return Err(wrong("several hosts need redis+sentinel://"));
        }
        let mut path = path.split('/').filter(|part| !part.is_empty());
        let master = match (sentinel, path.next()) {
            (true, None) => return Err(wrong("the master's name is missing: redis+sentinel://host:26379/mymaster")),
            (true, Some(name)) => Some(name.to_owned()),
            (false, None) => None,
            (false, Some(number)) => {
                let address = Self::at(servers, None, tls, number, login)?;
                return address.with(query);
            }
        };
        Self::at(servers, master, tls, path.next().unwrap_or("0"), login)?.with(query)
    }

    fn at(
        servers: Vec<(String, u16)>,
        master: Option<String>,
        tls: bool,
        database: &str,
        login: Login,
    ) -> Result<Self, InvalidAddress> {
        let database = database.parse().map_err(|_| wrong(format_args!("`{database}` is no number of a database")))?;
        let (ca, certificate, sentinel_login) = (None, None, Login::default());
        let namespace = NAMESPACE.to_owned();
        let pack_from = PACK_FROM;
        Ok(Self { servers, master, tls, database, login, sentinel_login, ca, certificate, namespace, pack_from })
    }

    fn with(mut self, query: &str) -> Result<Self, InvalidAddress> {
        let (mut cert, mut key) = (None, None);
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            let value = value.into_owned();
            match &*name {
                "ca" => self.ca = Some(value.into()),
                "cert" => cert = Some(PathBuf::from(value)),
                "key" => key = Some(PathBuf::from(value)),
                "password_file" => self.login.password = Some(secret(Path::new(&value))?),
                "sentinel_user" => self.sentinel_login.user = Some(value),
                "sentinel_password_file" => self.sentinel_login.password = Some(secret(Path::new(&value))?),
                "namespace" => self.namespace = namespace(value)?,
                "pack_from" => {
                    let number = value.parse().ok().filter(|number| *number > 0);
                    self.pack_from =
                        number.ok_or_else(|| wrong(format_args!("pack_from=`{value}` is no number above 0")))?;
                }
                other => {
                    let known =
                        "ca, cert, key, password_file, sentinel_user, sentinel_password_file, namespace, pack_from";
                    return Err(wrong(format_args!("`{other}` is not known; known are {known}")));
                }
            }
        }
        self.certificate = match (cert, key) {
            (Some(cert), Some(key)) => Some((cert, key)),
            (None, None) => None,
            _ => return Err(wrong("`cert` and `key` belong together")),
        };
        if !self.tls && (self.ca.is_some() || self.certificate.is_some()) {
            return Err(wrong("`ca`, `cert` and `key` need rediss:// or rediss+sentinel://"));
        }
        Ok(self)
    }

    /// So many jobs that come together, and are alike, are kept together.
    pub(super) fn pack_from(&self) -> usize {
        self.pack_from
    }

    /// What all keys begin with. The braces make it a hash tag: a Cluster keeps all of it on one node.
    pub(super) fn prefix(&self) -> String {
        format!("{{{}}}:", self.namespace)
    }

    /// Sentinels watch over it: the master may be another one tomorrow.
    pub(super) fn is_watched(&self) -> bool {
        self.master.is_some()
    }

    /// Without secrets.
    pub(super) fn shown(&self) -> String {
        let s = if self.tls { "s" } else { "" };
        let hosts: Vec<_> = self.servers.iter().map(|(host, port)| format!("{host}:{port}")).collect();
        match &self.master {
            Some(master) => format!("redis{s}+sentinel://{}/{master}/{}", hosts.join(","), self.database),
            None => format!("redis{s}://{}/{}", hosts.join(","), self.database),
        }
    }

    /// The way in.
    ///
    /// # Errors
    /// When a certificate's file can't be read or is none.
    pub(super) fn door(&self) -> Result<Door, InvalidAddress> {
        let certificates = self.certificates()?;
        let addresses = self.servers.iter().map(|(host, port)| self.address(host, *port));
        let Some(master) = &self.master else {
            let address = addresses.into_iter().next().ok_or_else(|| wrong("it names no host"))?;
            let mut settings =
                RedisConnectionInfo::default().set_db(self.database).set_protocol(ProtocolVersion::RESP3);
            if let Some(user) = &self.login.user {
                settings = settings.set_username(user);
            }
            if let Some(password) = &self.login.password {
                settings = settings.set_password(password.expose_secret());
            }
            let info: ConnectionInfo = address.into_connection_info().map_err(wrong)?;
            let info = info.set_redis_settings(settings).set_tcp_settings(TcpSettings::default().set_nodelay(true));
            let client = match certificates {
                Some(certificates) => Client::build_with_tls(info, certificates),
                None => Client::open(info),
            };
            return Ok(Door::Server(client.map_err(wrong)?));
        };
        let mut sentinels = SentinelClientBuilder::new(addresses, master, SentinelServerType::Master).map_err(wrong)?;
        sentinels = sentinels
            .set_client_to_redis_db(self.database)
            .set_client_to_redis_protocol(ProtocolVersion::RESP3)
            .set_client_to_redis_tcp_settings(TcpSettings::default().set_nodelay(true));
        if let Some(user) = &self.login.user {
            sentinels = sentinels.set_client_to_redis_username(user);
        }
        if let Some(password) = &self.login.password {
            sentinels = sentinels.set_client_to_redis_password(password.expose_secret());
        }
        if let Some(user) = &self.sentinel_login.user {
            sentinels = sentinels.set_client_to_sentinel_username(user);
        }
        if let Some(password) = &self.sentinel_login.password {
            sentinels = sentinels.set_client_to_sentinel_password(password.expose_secret());
        }
        if let Some(certificates) = certificates {
            sentinels = sentinels
                .set_client_to_redis_tls_mode(TlsMode::Secure)
                .set_client_to_redis_certificates(certificates.clone())
                .set_client_to_sentinel_tls_mode(TlsMode::Secure)
                .set_client_to_sentinel_certificates(certificates);
        }
        Ok(Door::Sentinels(Box::new(sentinels.build().map_err(wrong)?)))
    }

    fn address(&self, host: &str, port: u16) -> ConnectionAddr {
        if self.tls {
            ConnectionAddr::TcpTls { host: host.to_owned(), port, insecure: false, tls_params: None }
        } else {
            ConnectionAddr::Tcp(host.to_owned(), port)
        }
    }

    fn certificates(&self) -> Result<Option<TlsCertificates>, InvalidAddress> {
        if !self.tls {
            return Ok(None);
        }
        let root_cert = self.ca.as_deref().map(read).transpose()?;
        let client_tls = match &self.certificate {
            Some((cert, key)) => Some(ClientTlsConfig { client_cert: read(cert)?, client_key: read(key)? }),
            None => None,
        };
        Ok(Some(TlsCertificates { client_tls, root_cert }))
    }
}

impl Login {
    fn parse(text: &str) -> Result<Self, InvalidAddress> {
        let (user, password) = text.split_once(':').unwrap_or((text, ""));
        let plain = |part: &str| {
            let part = percent(part).ok_or_else(|| wrong("user or password is not percent-encoded text"))?;
            Ok(if part.is_empty() { None } else { Some(part) })
        };
        Ok(Self { user: plain(user)?, password: plain(password)?.map(Into::into) })
    }
}

fn percent(text: &str) -> Option<String> {
    // What form decoding would take for something else.
    let text = text.replace('+', "%2B").replace('=', "%3D").replace('&', "%26");
    let (decoded, _) = url::form_urlencoded::parse(text.as_bytes()).next().unwrap_or_default();
    (!decoded.contains('\u{fffd}')).then(|| decoded.into_owned())
}

fn server(text: &str, default: u16) -> Result<(String, u16), InvalidAddress> {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().map_err(|_| wrong("a port is no number"))?),
        _ => (text, default),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if host.is_empty() { Err(wrong("a host is missing")) } else { Ok((host.to_owned(), port)) }
}

fn namespace(text: String) -> Result<String, InvalidAddress> {
    let fits = (1..=40).contains(&text.len()) && text.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c));
    if fits { Ok(text) } else { Err(wrong("a namespace has 1 to 40 of the characters a-z A-Z 0-9 _ - .")) }
}

fn read(path: &Path) -> Result<Vec<u8>, InvalidAddress> {
    std::fs::read(path).map_err(|e| wrong(format_args!("{}: {e}", path.display())))
}

fn secret(path: &Path) -> Result<SecretString, InvalidAddress> {
    let text = String::from_utf8(read(path)?).map_err(|_| wrong(format_args!("{}: not text", path.display())))?;
    Ok(text.trim_end().to_owned().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_url_is_read() {
        let shown = |url: &str| RedisAddress::parse(url).unwrap().shown();
        assert_eq!(shown("redis://localhost"), "redis://localhost:6379/0");
        assert_eq!(shown("rediss://u:p%40w@cache.example:6380/3?ca=/ca.pem"), "rediss://cache.example:6380/3");
        assert_eq!(shown("redis://[::1]:7000"), "redis://::1:7000/0");
        assert_eq!(
            shown("redis+sentinel://:pw@a,b:2,c/mymaster/1?namespace=books"),
            "redis+sentinel://a:26379,b:2,c:26379/mymaster/1"
        );
        let address = RedisAddress::parse("redis://u+1:p%40w+%3A@h").unwrap();
        assert_eq!(address.login.user.as_deref(), Some("u+1"));
        assert_eq!(address.login.password.unwrap().expose_secret(), "p@w+:");
        assert_eq!(RedisAddress::parse("redis://h").unwrap().prefix(), "{tidemill}:");
    }

    #[test]
    fn a_wrong_url_says_which_part_is_wrong_and_shows_no_secret() {
        for (url, part) in [
            ("redis:", "://"),
            ("http://h", "http"),
            ("redis://", "host"),
            ("redis://a,b", "sentinel"),
            ("redis://h:port", "port"),
            ("redis://h/x", "database"),
            ("redis+sentinel://h", "master"),
            ("redis://h?what=1", "what"),
            ("redis://h?ca=/x", "rediss"),
            ("rediss://h?cert=/x", "belong"),
            ("redis://h?namespace=a b", "namespace"),
            ("redis://h?password_file=/nowhere", "/nowhere"),
        ] {
            let error = RedisAddress::parse(&url.replace("://", "://me:hush@")).unwrap_err().to_string();
            assert!(error.contains(part) && !error.contains("hush"), "{url}: {error}");
        }
    }

    #[test]
    fn a_debug_print_shows_no_secret() {
        let address = RedisAddress::parse("redis://me:hush@h").unwrap();
        assert!(!format!("{address:?}").contains("hush"));
    }
}
