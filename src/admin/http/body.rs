//! A JSON body that may be left out.

use axum::body::HttpBody as _;
use axum::extract::{FromRequest, Request};
use axum::http::header::{CONTENT_TYPE, TRANSFER_ENCODING};
use serde::de::DeserializeOwned;

use crate::problem::{Json, Problem};

/// As [`Json`], but a request without a body has the default.
#[derive(Debug)]
pub(super) struct MaybeJson<T>(pub(super) T);

impl<T: DeserializeOwned + Default, S: Send + Sync> FromRequest<S> for MaybeJson<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let headers = request.headers();
        let none = request.body().is_end_stream() && !headers.contains_key(TRANSFER_ENCODING);
        if none && !headers.contains_key(CONTENT_TYPE) {
            return Ok(Self(T::default()));
        }
        Json::from_request(request, state).await.map(|Json(value)| Self(value))
    }
}
