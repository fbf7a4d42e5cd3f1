//! A publisher: `POST /api/v1/events` with an API key, over kept connections, to the operators' listener as it is shipped.

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, ensure};
use async_trait::async_trait;
use serde_json::Value;
use tidemill::admin::{Inbound, InboundContent, Inbox, InboxFilter, InboxPage, InboxPlace};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::receiver::whole;

/// Publishes to one listener.
#[derive(Debug)]
pub(super) struct Publisher {
    address: SocketAddr,
    key: String,
    idle: Mutex<Vec<TcpStream>>,
}

impl Publisher {
    pub(super) fn new(address: SocketAddr, key: String) -> Self {
        Self { address, key, idle: Mutex::default() }
    }

    /// Publishes one event and waits until it is accepted.
    ///
    /// # Errors
    /// When it is not.
    pub(super) async fn publish(&self, event: &Value) -> anyhow::Result<()> {
        let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = idle().pop();
        let mut stream = match kept {
            Some(stream) => stream,
            None => {
                let stream = TcpStream::connect(self.address).await.context("connect to the operators' listener")?;
                stream.set_nodelay(true)?;
                stream
            }
        };
        let (body, key) = (event.to_string(), &self.key);
        let head = format!(
            "POST /api/v1/events HTTP/1.1\r\nhost: localhost\r\nx-api-key: {key}\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all((head + &body).as_bytes()).await?;
        let mut bytes = Vec::with_capacity(1_024);
        loop {
            if let Some((_, all)) = whole(&bytes) {
                let text = String::from_utf8_lossy(&bytes[..all]);
                ensure!(text.starts_with("HTTP/1.1 202"), "an event was not accepted: {text}");
                idle().push(stream);
                return Ok(());
            }
            ensure!(stream.read_buf(&mut bytes).await? > 0, "the operators' listener has hung up");
        }
    }
}

/// Nothing comes in here.
#[derive(Debug)]
pub(super) struct NoInbox;

#[async_trait]
impl Inbox for NoInbox {
    fn states(&self) -> &'static [&'static str] {
        &[]
    }

    async fn list(&self, _: &InboxFilter, _: Option<&InboxPlace>, _: u32) -> Result<InboxPage, sqlx::Error> {
        Ok(InboxPage::default())
    }

    async fn find(&self, _: &str, _: &str) -> Result<Option<Inbound>, sqlx::Error> {
        Ok(None)
    }

    async fn content(&self, _: &str, _: &str) -> Result<Option<InboundContent>, sqlx::Error> {
        Ok(None)
    }
}
