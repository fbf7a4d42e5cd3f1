//! Pages of endpoints: all of them, one of them, its form, its secret.

use axum::http::StatusCode;
use axum::response::Response;

use super::super::PATH;
use super::super::change::Switch;
use super::super::form::Form;
use super::super::session::Consumer;
use super::super::trouble::{Fault, Trouble};
use super::super::view::{
    DeletePage, EndpointForm, EndpointPage, EndpointRow, EndpointView, Endpoints, Filled, Frame, Inside, RotatePage,
    SecretPage, SentRow, offered,
};
use super::super::words;
use super::{Asked, Id, go};
use crate::fanout::endpoints::Endpoint;
use crate::fanout::history::DeliveryState;
use crate::fanout::{Scheme, Secret};
use crate::pages::page;

const ENDPOINTS: u32 = 20;
const DELIVERIES: u32 = 25;

pub(super) async fn list(consumer: Consumer, asked: Asked) -> Result<Response, Trouble> {
    let (now, ask) = (consumer.portal.0.clock.now(), asked.page(ENDPOINTS));
    let later = ask.cursor.is_some();
    let found = consumer.endpoints(&ask).await?;
    let rows = found.items.into_iter().map(|(endpoint, pulse)| EndpointRow::new(endpoint, pulse, now)).collect();
    let (frame, inside, done) = (Frame::new(), Inside::of(&consumer), asked.done());
    Ok(page(StatusCode::OK, &Endpoints { frame, inside, done, rows, next: found.next, later }))
}

pub(super) async fn show(consumer: Consumer, Id(id): Id, asked: Asked) -> Result<Response, Trouble> {
    let (now, ask) = (consumer.portal.0.clock.now(), asked.page(DELIVERIES));
    let endpoint = consumer.endpoint(&id).await?;
    // A word that names no state shows all.
    let state: Option<DeliveryState> = asked.0.text("state").parse().ok();
    let later = ask.cursor.is_some();
    let found = consumer.deliveries(&endpoint, state, &ask).await?;
    let (secrets, pulse) = (consumer.secrets(&endpoint).await?, consumer.pulse(&endpoint).await?);
    let filters = std::iter::once(("", "all", state.is_none()))
        .chain(DeliveryState::ALL.map(|s| (s.as_str(), words::delivery(s).0, state == Some(s))));
    Ok(page(
        StatusCode::OK,
        &EndpointPage {
            frame: Frame::new(),
            inside: Inside::of(&consumer),
            id: endpoint.id.clone(),
            endpoint: EndpointView::new(endpoint, secrets, pulse, now),
            done: asked.done(),
            filters: filters.collect(),
            picked: state.map_or("", DeliveryState::as_str),
            rows: found.items.into_iter().map(|sent| SentRow::new(sent, now)).collect(),
            next: found.next,
            later,
        },
    ))
}

pub(super) async fn new(consumer: Consumer) -> Result<Response, Trouble> {
    if !consumer.session().may_change() {
        return Err(Trouble::ReadOnly);
    }
    form(&consumer, None, Filled::empty(), None).await
}

pub(super) async fn add(Form { changer, fields }: Form) -> Result<Response, Trouble> {
    changer.once(&fields).await?;
    let filled = Filled::from_fields(&fields);
    match changer.add(filled.wanted()).await.map_err(Trouble::fault) {
        Ok(created) => Ok(secret(changer.consumer(), &created.endpoint, &created.secret, false)),
        Err(Ok(fault)) => form(changer.consumer(), None, filled, Some(fault)).await,
        Err(Err(trouble)) => Err(trouble),
    }
}

pub(super) async fn edit(consumer: Consumer, Id(id): Id) -> Result<Response, Trouble> {
    let endpoint = consumer.endpoint(&id).await?;
    if !consumer.session().may_change() {
        return Err(Trouble::ReadOnly);
    }
    form(&consumer, Some(endpoint.id.clone()), Filled::of(&endpoint), None).await
}

pub(super) async fn change(Id(id): Id, Form { changer, fields }: Form) -> Result<Response, Trouble> {
    let endpoint = changer.consumer().endpoint(&id).await?;
    let filled = Filled::from_fields(&fields);
    match changer.edit(&endpoint, filled.wanted()).await.map_err(Trouble::fault) {
        Ok(endpoint) => Ok(go(&format!("{PATH}/endpoints/{}?done=saved", endpoint.id))),
        Err(Ok(fault)) => form(changer.consumer(), Some(endpoint.id), filled, Some(fault)).await,
        Err(Err(trouble)) => Err(trouble),
    }
}

pub(super) async fn pause(id: Id, form: Form) -> Result<Response, Trouble> {
    switch(id, form, Switch::Pause, "paused").await
}

pub(super) async fn resume(id: Id, form: Form) -> Result<Response, Trouble> {
    switch(id, form, Switch::Resume, "resumed").await
}

pub(super) async fn enable(id: Id, form: Form) -> Result<Response, Trouble> {
    switch(id, form, Switch::Enable, "enabled").await
}

pub(super) async fn ask_rotate(consumer: Consumer, Id(id): Id) -> Result<Response, Trouble> {
    let endpoint = consumer.endpoint(&id).await?;
    if !consumer.session().may_change() {
        return Err(Trouble::ReadOnly);
    }
    let old = consumer.secrets(&endpoint).await?.len().saturating_sub(1);
    let (overlap, inside) = (words::span(consumer.overlap()), Inside::of(&consumer));
    let Endpoint { id, url, .. } = endpoint;
    Ok(page(StatusCode::OK, &RotatePage { frame: Frame::new(), inside, id, url, overlap, old }))
}

pub(super) async fn rotate(Id(id): Id, Form { changer, fields }: Form) -> Result<Response, Trouble> {
    let endpoint = changer.consumer().endpoint(&id).await?;
    changer.once(&fields).await?;
    let made = changer.rotate(&endpoint).await?;
    Ok(secret(changer.consumer(), &endpoint, &made, true))
}

pub(super) async fn test(Id(id): Id, Form { changer, fields }: Form) -> Result<Response, Trouble> {
    let endpoint = changer.consumer().endpoint(&id).await?;
    changer.once(&fields).await?;
    changer.test(&endpoint).await?;
    Ok(go(&format!("{PATH}/endpoints/{}?done=tested", endpoint.id)))
}

pub(super) async fn ask_delete(consumer: Consumer, Id(id): Id) -> Result<Response, Trouble> {
    let endpoint = consumer.endpoint(&id).await?;
    if !consumer.session().may_change() {
        return Err(Trouble::ReadOnly);
    }
    let (frame, inside) = (Frame::new(), Inside::of(&consumer));
    let Endpoint { id, url, declared, .. } = endpoint;
    Ok(page(StatusCode::OK, &DeletePage { frame, inside, id, url, declared }))
}

pub(super) async fn delete(Id(id): Id, Form { changer, .. }: Form) -> Result<Response, Trouble> {
    let endpoint = changer.consumer().endpoint(&id).await?;
    changer.delete(&endpoint).await?;
    Ok(go(&format!("{PATH}?done=deleted")))
}

async fn switch(Id(id): Id, Form { changer, .. }: Form, to: Switch, done: &'static str) -> Result<Response, Trouble> {
    let endpoint = changer.consumer().endpoint(&id).await?;
    changer.switch(&endpoint, to).await?;
    Ok(go(&format!("{PATH}/endpoints/{}?done={done}", endpoint.id)))
}

async fn form(
    consumer: &Consumer,
    id: Option<String>,
    filled: Filled,
    fault: Option<Fault>,
) -> Result<Response, Trouble> {
    let status = if fault.is_some() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    let (frame, inside, offered) = (Frame::new(), Inside::of(consumer), offered(consumer.event_types().await?));
    Ok(page(status, &EndpointForm { frame, inside, id, filled, fault, offered }))
}

fn secret(consumer: &Consumer, endpoint: &Endpoint, made: &Secret, rotated: bool) -> Response {
    let page_of = SecretPage {
        frame: Frame::new(),
        inside: Inside::of(consumer),
        id: endpoint.id.clone(),
        url: endpoint.url.clone(),
        secret: made.handed_out().to_owned(),
        public: made.scheme() == Scheme::V1a,
        overlap: rotated.then(|| words::span(consumer.overlap())),
    };
    page(if rotated { StatusCode::OK } else { StatusCode::CREATED }, &page_of)
}
