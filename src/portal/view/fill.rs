//! The form of an endpoint: for a new one, for one that is there, and again with what was filled in and a word beside the
//! field that is wrong.

use askama::Template;

use super::super::change::Wanted;
use super::super::form::Fields;
use super::super::trouble::Fault;
use super::{Frame, Inside, fault_of};
use crate::fanout::endpoints::Endpoint;

/// The form's page.
#[derive(Debug, Template)]
#[template(path = "portal/templates/form.html")]
pub(in crate::portal) struct EndpointForm {
    pub(in crate::portal) frame: Frame,
    pub(in crate::portal) inside: Inside,
    /// None: it is a new one.
    pub(in crate::portal) id: Option<String>,
    pub(in crate::portal) filled: Filled,
    pub(in crate::portal) fault: Option<Fault>,
    pub(in crate::portal) offered: Vec<(String, String)>,
}

/// What stands in its fields.
#[derive(Clone, Debug, Default)]
pub(in crate::portal) struct Filled {
    pub(super) url: String,
    pub(super) description: String,
    pub(super) event_types: String,
    pub(super) filter: String,
}

impl EndpointForm {
    fn fault(&self, field: &str) -> Option<&str> {
        fault_of(self.fault.as_ref(), field)
    }
}

impl Filled {
    /// Of a new endpoint.
    pub(in crate::portal) fn empty() -> Self {
        Self { event_types: "*".to_owned(), ..Self::default() }
    }

    pub(in crate::portal) fn of(endpoint: &Endpoint) -> Self {
        Self {
            url: endpoint.url.clone(),
            description: endpoint.description.clone(),
            event_types: endpoint.event_types.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
            filter: endpoint.filter.as_ref().map(ToString::to_string).unwrap_or_default(),
        }
    }

    pub(in crate::portal) fn from_fields(fields: &Fields) -> Self {
        let text = |name: &str| fields.text(name).to_owned();
        Self {
            url: text("url"),
            description: text("description"),
            event_types: text("event_types"),
            filter: text("filter"),
        }
    }

    /// The same as it is asked for: patterns stand on lines of their own, or behind commas.
    pub(in crate::portal) fn wanted(&self) -> Wanted {
        let patterns = self.event_types.split(|c: char| c == ',' || c.is_whitespace()).filter(|p| !p.is_empty());
        Wanted {
            url: self.url.clone(),
            description: self.description.clone(),
            event_types: patterns.map(str::to_owned).collect(),
            filter: self.filter.clone(),
        }
    }
}
