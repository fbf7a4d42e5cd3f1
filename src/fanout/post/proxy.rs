//! The configured proxy: asked for a tunnel to an address that the guard has vetted, never for a name.
//!
//! So the proxy resolves nothing, and can't be led elsewhere by what a name says a second later. What goes through the
//! tunnel is the same as without it: TLS is spoken with the receiver, by the name in the URL. `HTTP_PROXY` and its like in the
//! environment are not read.

use std::fmt;
use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::config::fanout::ProxyPlace;

/// The answer to CONNECT may be so long.
const HEAD_MAX: usize = 8 * 1024;

/// A proxy that makes tunnels.
pub(in super::super) struct Proxy {
    host: String,
    port: u16,
    /// `Basic …`
    authorization: Option<SecretString>,
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy").field("host", &self.host).field("port", &self.port).finish_non_exhaustive()
    }
}

impl Proxy {
    /// Reads its credentials, if it has any.
    pub(in super::super) fn read(place: ProxyPlace) -> Result<Self, String> {
        let ProxyPlace { host, port, credentials_file } = place;
        let authorization = match credentials_file {
            None => None,
            Some(file) => {
                let shown = file.display();
                let text = std::fs::read_to_string(&file).map_err(|e| format!("{shown} can't be read: {e}"))?;
                let text = text.trim();
                if !text.contains(':') || text.chars().any(char::is_control) {
                    return Err(format!("{shown} does not hold `user:password` on one line"));
                }
                Some(format!("Basic {}", STANDARD.encode(text)).into())
            }
        };
        Ok(Self { host, port, authorization })
    }

    /// A stream that ends at `address`.
    pub(super) async fn tunnel(&self, address: SocketAddr) -> Result<TcpStream, String> {
        let broken = |e: std::io::Error| format!("the proxy {}:{}: {e}", self.host, self.port);
        let mut stream = TcpStream::connect((self.host.as_str(), self.port)).await.map_err(broken)?;
        stream.set_nodelay(true).map_err(broken)?;
        let mut asked = format!("CONNECT {address} HTTP/1.1\r\nHost: {address}\r\n");
        if let Some(authorization) = &self.authorization {
            asked += &format!("Proxy-Authorization: {}\r\n", authorization.expose_secret());
        }
        asked += "\r\n";
        stream.write_all(asked.as_bytes()).await.map_err(broken)?;
        let head = read_head(&mut stream).await.map_err(broken)?;
        match status(&head) {
            Some(200..=299) => Ok(stream),
            Some(407) => Err("the proxy wants other credentials (407); see fanout.proxy_credentials_file".to_owned()),
            Some(other) => Err(format!("the proxy makes no tunnel, it answered {other}")),
            None => Err("the proxy's answer is not HTTP".to_owned()),
        }
    }
}

/// The head and not one byte more: what follows belongs to the receiver. A byte at a time, because the head is short and
/// comes once for each connection.
async fn read_head(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(256);
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= HEAD_MAX {
            return Err(std::io::Error::other("its answer does not end"));
        }
        head.push(stream.read_u8().await?);
    }
    Ok(head)
}

fn status(head: &[u8]) -> Option<u16> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut headers);
    match response.parse(head) {
        Ok(httparse::Status::Complete(_)) => response.code,
        Ok(httparse::Status::Partial) | Err(_) => None,
    }
}
