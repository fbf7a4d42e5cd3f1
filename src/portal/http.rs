//! The page's routes: each reads its request, asks what a tenant may ask, and shows the answer. Nothing here decides anything.

mod deliveries;
mod endpoints;
mod headers;

use axum::Router;
use axum::extract::{FromRequestParts, Path, State};
use axum::http::header::{LOCATION, SET_COOKIE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

use super::form::{Fields, Own};
use super::session;
use super::trouble::Trouble;
use super::{PATH, Portal};
use crate::fanout::PageRequest;
use crate::pages::{self, guarded};

/// The page, all of it below `/portal`; to be merged with what else its listener serves.
pub fn router(portal: Portal) -> Router {
    let slash = get(async || go(PATH));
    Router::new().nest(PATH, pages_of(portal)).route(&format!("{PATH}/"), slash)
}

fn pages_of(portal: Portal) -> Router {
    Router::new()
        .route("/", get(endpoints::list))
        .route("/open/{text}", get(open))
        .route("/leave", post(leave))
        .route("/assets/{name}", get(asset))
        .route("/endpoints", post(endpoints::add))
        .route("/endpoints/new", get(endpoints::new))
        .route("/endpoints/{id}", get(endpoints::show))
        .route("/endpoints/{id}/edit", get(endpoints::edit).post(endpoints::change))
        .route("/endpoints/{id}/pause", post(endpoints::pause))
        .route("/endpoints/{id}/resume", post(endpoints::resume))
        .route("/endpoints/{id}/enable", post(endpoints::enable))
        .route("/endpoints/{id}/rotate", get(endpoints::ask_rotate).post(endpoints::rotate))
        .route("/endpoints/{id}/test", post(endpoints::test))
        .route("/endpoints/{id}/headers", get(headers::show).post(headers::set))
        .route("/endpoints/{id}/headers/remove", post(headers::remove))
        .route("/endpoints/{id}/delete", get(endpoints::ask_delete).post(endpoints::delete))
        .route("/deliveries/{id}", get(deliveries::show))
        .route("/deliveries/{id}/payload", get(deliveries::payload))
        .route("/deliveries/{id}/resend", post(deliveries::resend))
        .fallback(missing)
        .method_not_allowed_fallback(wrong_method)
        .with_state(portal)
}

/// An id in the path; what can't be read names nothing.
#[derive(Debug)]
struct Id(String);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Trouble;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Trouble> {
        Path::<String>::from_request_parts(parts, state).await.map(|Path(id)| Self(id)).map_err(|_| Trouble::Missing)
    }
}

/// The query, for the few things that pages ask.
#[derive(Debug)]
struct Asked(Fields);

impl<S: Send + Sync> FromRequestParts<S> for Asked {
    type Rejection = Trouble;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Trouble> {
        Ok(Self(Fields::of_query(parts.uri.query().unwrap_or_default())))
    }
}

impl Asked {
    fn page(&self, limit: u32) -> PageRequest {
        let cursor = Some(self.0.text("after")).filter(|after| !after.is_empty()).map(str::to_owned);
        PageRequest { cursor, limit }
    }

    /// What has just been done, in words of ours: nothing of an address is repeated on a page.
    fn done(&self) -> Option<&'static str> {
        Some(match self.0.text("done") {
            "saved" => "The changes are saved. Deliveries under way follow at their next attempt.",
            "header-set" => "The header is saved. Deliveries under way follow at their next attempt.",
            "header-removed" => "The header is removed. Deliveries under way follow at their next attempt.",
            "deleted" => "The endpoint is deleted. Nothing more is sent there.",
            "paused" => "Paused. Events are kept and wait until you resume.",
            "resumed" => "Active again. What waited is being sent now.",
            "enabled" => "Active again. It gets events from now on.",
            "tested" => "A test event is on its way; it is at the top of the list below in a moment.",
            "resent" => "It is being sent again; the new attempt is listed below in a moment.",
            _ => return None,
        })
    }
}

/// Exchanges a link for a session; the address that stays in the browser holds nothing of it.
async fn open(State(portal): State<Portal>, Id(text): Id, headers: HeaderMap) -> Result<Response, Trouble> {
    let (link, cookie) = session::enter(&portal, &text, &headers).await?;
    tracing::info!(tenant = link.tenant, link = link.id, "a consumer came in");
    let mut response = go(PATH);
    if let Some(cookie) = cookie {
        response.headers_mut().insert(SET_COOKIE, cookie);
    }
    Ok(response)
}

/// Ends the session in this browser.
async fn leave(State(portal): State<Portal>, own: Own) -> Response {
    drop(own);
    let note = super::view::Note::new("You have left", "Open your link again to come back.".to_owned(), false);
    let mut response = pages::page(StatusCode::OK, &note);
    if let Some(cookie) = session::end(&portal) {
        response.headers_mut().insert(SET_COOKIE, cookie);
    }
    response
}

async fn asset(headers: HeaderMap, Id(name): Id) -> Result<Response, Trouble> {
    pages::asset(&name, &headers).ok_or(Trouble::Missing)
}

async fn missing() -> Trouble {
    Trouble::Missing
}

async fn wrong_method() -> Response {
    let text = "This address takes another kind of request.".to_owned();
    pages::page(StatusCode::METHOD_NOT_ALLOWED, &super::view::Note::new("Not like this", text, true))
}

/// After a change: the browser asks for a page that shows it, and a reload changes nothing.
fn go(to: &str) -> Response {
    let mut response = StatusCode::SEE_OTHER.into_response();
    // Ids that were found in the database and words of ours: always fit for a header.
    if let Ok(to) = HeaderValue::from_str(to) {
        response.headers_mut().insert(LOCATION, to);
    }
    guarded(response)
}
