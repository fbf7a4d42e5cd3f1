//! Pages of one delivery: what was sent, every attempt, and sending it again.

use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE, HeaderValue};
use axum::http::{HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};

use super::super::PATH;
use super::super::form::Form;
use super::super::session::Consumer;
use super::super::trouble::Trouble;
use super::super::view::{BodyView, DeliveryPage, Frame, Inside, SentRow, attempt};
use super::{Asked, Id, go};
use crate::fanout::endpoints::EndpointState;
use crate::pages::{guarded, page};

const ATTEMPTS: u32 = 20;

pub(super) async fn show(consumer: Consumer, Id(id): Id, asked: Asked) -> Result<Response, Trouble> {
    let (now, ask) = (consumer.portal.0.clock.now(), asked.page(ATTEMPTS));
    let sent = consumer.delivery(&id).await?;
    let message = consumer.message(&sent).await?;
    let later = ask.cursor.is_some();
    let attempts = consumer.attempts(&sent, &ask).await?;
    // What was delivered stays known after its endpoint was removed.
    let endpoint = match consumer.endpoint(&sent.delivery.endpoint_id).await.map_err(Trouble::missing) {
        Ok(endpoint) => Some(endpoint),
        Err(Ok(())) => None,
        Err(Err(trouble)) => return Err(trouble),
    };
    Ok(page(
        StatusCode::OK,
        &DeliveryPage {
            frame: Frame::new(),
            inside: Inside::of(&consumer),
            message: sent.delivery.message_id.clone(),
            endpoint: sent.delivery.endpoint_id.clone(),
            can_resend: endpoint.as_ref().is_some_and(|endpoint| endpoint.state == EndpointState::Enabled),
            url: endpoint.map(|endpoint| endpoint.url),
            done: asked.done(),
            attempts: attempts.items.iter().map(|one| attempt(one, now)).collect(),
            next: attempts.next,
            later,
            body: BodyView::new(&message),
            row: SentRow::new(sent, now),
        },
    ))
}

/// The body as it was POSTed, to be saved: no browser is to show it as a page of ours.
pub(super) async fn payload(consumer: Consumer, Id(id): Id) -> Result<Response, Trouble> {
    let sent = consumer.delivery(&id).await?;
    let message = consumer.message(&sent).await?;
    let mut response = guarded(message.body.into_response());
    let headers = response.headers_mut();
    let name = format!("attachment; filename=\"{}.json\"", message.id);
    let as_file: [(HeaderName, Option<HeaderValue>); 2] = [
        (CONTENT_TYPE, Some(HeaderValue::from_static("application/json"))),
        (CONTENT_DISPOSITION, HeaderValue::from_str(&name).ok()),
    ];
    for (name, value) in as_file {
        if let Some(value) = value {
            headers.insert(name, value);
        }
    }
    Ok(response)
}

pub(super) async fn resend(Id(id): Id, Form { changer, fields }: Form) -> Result<Response, Trouble> {
    let sent = changer.consumer().delivery(&id).await?;
    changer.once(&fields).await?;
    changer.resend(&sent).await?;
    Ok(go(&format!("{PATH}/deliveries/{}?done=resent", sent.delivery.id)))
}
