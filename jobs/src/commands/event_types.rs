//! `tidemill event-types`: what may be listened to.

use std::io::Write;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use tidemill::admin::{Desk, Paged};
use tidemill::clock::Timestamp;
use tidemill::fanout::event_types::EventType;

use crate::cli::{Align, Common, EXIT_CODES, Exit, Failure, Screen};

/// Look at the types of events that go out, with schemas and examples
#[derive(Debug, Args)]
#[command(after_help = format!("\
Examples:
  tidemill event-types list
  tidemill event-types show billing.invoice.paid

{EXIT_CODES}"))]
pub struct EventTypes {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List all declared types by name
    List,
    /// Show one type with its schema and its example
    Show {
        /// The type's name
        name: String,
    },
}

impl EventTypes {
    /// Does what was asked.
    ///
    /// # Errors
    /// When nobody has declared the type, or the database did not answer.
    pub async fn run(self, desk: &Desk, now: Timestamp, out: &mut dyn Write) -> Result<ExitCode, Failure> {
        let may = self.common.may();
        let mut screen = Screen::new(out, self.common.json, now);
        match self.what {
            What::List => {
                let page = Paged { items: desk.event_types(&may).await?, next: None };
                let columns = ["TYPE", "SCHEMA", "EXAMPLE", "DESCRIPTION"].map(|name| (name, Align::Left));
                let yes = |is: bool| if is { "yes" } else { "no" }.to_owned();
                screen.page(&page, &columns, "no types are declared", |found, _| {
                    let (schema, example) = (yes(found.schema.is_some()), yes(found.example.is_some()));
                    vec![found.name.clone(), schema, example, found.description.clone()]
                })?;
            }
            What::Show { name } => show(&desk.event_type(&may, &name).await?, &mut screen)?,
        }
        Ok(Exit::Done.into())
    }
}

fn show(found: &EventType, screen: &mut Screen<'_>) -> std::io::Result<()> {
    if screen.is_json() {
        return screen.json(found);
    }
    screen.facts([("type", found.name.clone()), ("description", found.description.clone())])?;
    for (what, value) in [("schema", &found.schema), ("example", &found.example)] {
        let text = value.as_ref().map(|value| format!("{value:#}")).unwrap_or_default();
        for line in text.lines() {
            screen.facts([(what, line.to_owned())])?;
        }
    }
    Ok(())
}
