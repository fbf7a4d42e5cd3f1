//! A fake's listener: bound to loopback, stopped by hand or when dropped.

use std::net::SocketAddr;

use axum::Router;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A fake that can't listen.
#[derive(Debug, thiserror::Error)]
#[error("the fake {name} can't listen on 127.0.0.1:{port}: {source}")]
pub struct FakeError {
    name: &'static str,
    port: u16,
    source: std::io::Error,
}

/// A running fake with the state behind it.
#[derive(Debug)]
pub struct Fake<S> {
    /// `http://127.0.0.1:<port>`
    pub url: String,
    /// What it knows and how it behaves.
    pub state: S,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl<S> Fake<S> {
    /// Listens on `port` of loopback; 0 takes a free one.
    pub(super) async fn start(name: &'static str, port: u16, state: S, router: Router) -> Result<Self, FakeError> {
        let fail = |source| FakeError { name, port, source };
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], port))).await.map_err(fail)?;
        let url = format!("http://{}", listener.local_addr().map_err(fail)?);
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let stopped = stop.clone();
        tasks.spawn(async move {
            let serving = axum::serve(listener, router).with_graceful_shutdown(stopped.cancelled_owned());
            if let Err(error) = serving.await {
                tracing::error!(fake = name, %error, "fake stopped");
            }
        });
        tasks.close();
        Ok(Self { url, state, stop, tasks })
    }

    /// Takes no more requests, finishes those under way, and frees the port.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.wait().await;
    }
}

impl<S> Drop for Fake<S> {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
