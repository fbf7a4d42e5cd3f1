//! The short way of a webhook: from the listener to its source, without the router.
//!
//! A router boxes, clones and looks up several times for each request, which at the rate of webhooks is a good part of a core.
//! What is posted to a source's own address goes straight to it; whatever else comes, right or wrong, takes the router's way,
//! which knows the sources too and answers them the same.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::extract::Request;
use axum::http::Method;
use axum::response::Response;
use tower::{Service, ServiceExt as _};

use super::receive::{Ingress, router};

/// What the public listener serves.
#[derive(Clone, Debug)]
pub struct Receiver {
    ingress: Arc<Ingress>,
    router: Router,
}

impl Receiver {
    /// Receives for the sources of `ingress`.
    pub fn new(ingress: Ingress) -> Self {
        Self { router: router(ingress.clone()), ingress: Arc::new(ingress) }
    }

    /// With more than webhooks beside them, or around all that is not one.
    #[must_use]
    pub fn with(self, change: impl FnOnce(Router) -> Router) -> Self {
        Self { router: change(self.router), ..self }
    }
}

impl Service<Request> for Receiver {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        if request.method() == Method::POST
            && let Some(source) = self.ingress.source_at(request.uri().path())
        {
            let ingress = Arc::clone(&self.ingress);
            return Box::pin(async move { Ok(ingress.serve(&source, request).await) });
        }
        Box::pin(self.router.clone().oneshot(request))
    }
}
