//! What `list` and `show` say of endpoints.

use serde_json::json;
use tidemill::admin::{Admin, Desk, May};
use tidemill::clock::Timestamp;
use tidemill::fanout::endpoints::{Endpoint, EndpointState};

use super::fields::in_words;
use crate::cli::{Align, Failure, Pages, Screen};

/// A table of endpoints.
pub(super) async fn list(
    desk: &Desk,
    may: &May<Admin>,
    tenant: Option<&str>,
    pages: Pages<String>,
    screen: &mut Screen<'_>,
) -> Result<(), Failure> {
    let page = desk.endpoints(may, tenant, &pages.into()).await?;
    let columns = ["ID", "TENANT", "STATE", "URL", "EVENTS", "MADE", "WHY"].map(|name| (name, Align::Left));
    let none = "no endpoints yet: `tidemill endpoints add URL --event '*'` registers one";
    Ok(screen.page(&page, &columns, none, |endpoint, screen| {
        vec![
            endpoint.id.clone(),
            endpoint.tenant.clone(),
            word(endpoint.state).to_owned(),
            endpoint.url.clone(),
            types(endpoint),
            screen.relative(endpoint.created_at),
            endpoint.reason.clone().unwrap_or_default(),
        ]
    })?)
}

/// All that is known of one, but no secret and no header's value.
pub(super) async fn show(desk: &Desk, may: &May<Admin>, id: &str, screen: &mut Screen<'_>) -> Result<(), Failure> {
    let endpoint = desk.endpoint(may, id).await?;
    let secrets = desk.endpoint_secrets(may, id).await?;
    if screen.is_json() {
        return Ok(screen.json(&json!({ "endpoint": endpoint, "secrets": secrets }))?);
    }
    let time = |at: Timestamp| format!("{at} ({})", screen.relative(at));
    let why = endpoint.reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default();
    let facts = [
        ("id", endpoint.id.clone()),
        ("tenant", endpoint.tenant.clone()),
        ("url", endpoint.url.clone()),
        ("state", format!("{}{why}", word(endpoint.state))),
        ("description", endpoint.description.clone()),
        ("events", types(&endpoint)),
        ("filter", endpoint.filter.as_ref().map(ToString::to_string).unwrap_or_default()),
        ("sending", in_words(&endpoint.sending)),
        ("headers", endpoint.headers.keys().cloned().collect::<Vec<_>>().join(", ")),
        ("prefix", endpoint.header_prefix.clone().unwrap_or_default()),
        ("configured", if endpoint.declared { "yes: the file is followed at each start" } else { "" }.to_owned()),
        ("made", time(endpoint.created_at)),
        ("changed", time(endpoint.updated_at)),
    ];
    let secrets: Vec<String> = secrets
        .into_iter()
        .map(|secret| {
            let until = secret.expires_at.map_or("signs now".to_owned(), |at| format!("signs too until {at}"));
            let public = secret.public_key.map(|key| format!(", public key {key}")).unwrap_or_default();
            format!(
                "{} {}, made {}, {until}{public}",
                secret.id,
                secret.scheme.as_str(),
                screen.relative(secret.created_at)
            )
        })
        .collect();
    screen.facts(facts)?;
    for (name, text) in &endpoint.metadata {
        screen.facts([("note", format!("{name}: {text}"))])?;
    }
    for secret in secrets {
        screen.facts([("secret", secret)])?;
    }
    Ok(())
}

fn types(endpoint: &Endpoint) -> String {
    endpoint.event_types.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn word(state: EndpointState) -> &'static str {
    match state {
        EndpointState::Enabled => "enabled",
        EndpointState::Paused => "paused",
        EndpointState::Disabled => "disabled",
    }
}
