//! An endpoint's static headers: their names, setting one, taking one away. Values go in and never come out.

use axum::http::StatusCode;
use axum::response::Response;

use super::super::PATH;
use super::super::form::Form;
use super::super::session::Consumer;
use super::super::trouble::{Fault, Trouble};
use super::super::view::{Frame, HeadersPage, Inside};
use super::{Asked, Id, go};
use crate::fanout::endpoints::{Endpoint, HeaderChange, begun_name};
use crate::pages::page;

pub(super) async fn show(consumer: Consumer, Id(id): Id, asked: Asked) -> Result<Response, Trouble> {
    let endpoint = consumer.endpoint(&id).await?;
    if !consumer.session().may_change() {
        return Err(Trouble::ReadOnly);
    }
    Ok(list(&consumer, endpoint, String::new(), None, asked.done()))
}

pub(super) async fn set(Id(id): Id, Form { changer, fields }: Form) -> Result<Response, Trouble> {
    let endpoint = changer.consumer().endpoint(&id).await?;
    let (name, value) = (fields.text("name"), fields.text("value"));
    match changer.header(&endpoint, HeaderChange::Set { name, value }).await.map_err(Trouble::fault) {
        Ok(changed) => Ok(go(&format!("{PATH}/endpoints/{}/headers?done=header-set", changed.id))),
        // The name stays filled in; a value is not repeated, wherever it stood.
        Err(Ok(fault)) => {
            let name = begun_name(name).trim_end_matches('…').to_owned();
            Ok(list(changer.consumer(), endpoint, name, Some(fault), None))
        }
        Err(Err(trouble)) => Err(trouble),
    }
}

pub(super) async fn remove(Id(id): Id, Form { changer, fields }: Form) -> Result<Response, Trouble> {
    let endpoint = changer.consumer().endpoint(&id).await?;
    let change = HeaderChange::Remove { name: fields.text("name") };
    match changer.header(&endpoint, change).await.map_err(Trouble::fault) {
        Ok(changed) => Ok(go(&format!("{PATH}/endpoints/{}/headers?done=header-removed", changed.id))),
        Err(Ok(_)) => Err(Trouble::NotNow("The endpoint has no such header; it may have been removed meanwhile.")),
        Err(Err(trouble)) => Err(trouble),
    }
}

fn list(
    consumer: &Consumer,
    endpoint: Endpoint,
    name: String,
    fault: Option<Fault>,
    done: Option<&'static str>,
) -> Response {
    let status = if fault.is_some() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    let (frame, inside) = (Frame::new(), Inside::of(consumer));
    let Endpoint { id, url, declared, headers, .. } = endpoint;
    let names = headers.into_keys().collect();
    page(status, &HeadersPage { frame, inside, id, url, declared, names, name, fault: fault.map(|f| f.says), done })
}
