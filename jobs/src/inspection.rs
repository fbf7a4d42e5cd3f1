//! What `tidemill check` looks at: every resolved setting, and everything outside that can be asked for a sign of life.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tidemill::clock::{Clock, Entropy};
use tidemill::config::{Config, ConfigError};
use tidemill::ingress::Sources;
use tidemill::{fanout, outbound};
use tokio::sync::Mutex;
use url::Url;

use crate::commands::{Connection, Setting};
use crate::config::IntegrationsConfig;
use crate::wiring::{Wiring, open_database, open_store};

/// Variables that hold secrets or switch integrations on; shown as set or not set.
const VARIABLES: [&str; 9] = [
    "STRIPE_SECRET_KEY",
    "STRIPE_WEBHOOK_SECRET",
    "BUFFR_WEBHOOK_SECRET",
    "PLAID_CLIENT_ID",
    "PLAID_SECRET",
    "TIDEMILL_DATA_KEY",
    "TIDEMILL_DATA_KEY_FILE",
    "TIDEMILL_DATA_KEY_PREVIOUS",
    "PLAID_ENV",
];
const TIMEOUT: Duration = Duration::from_secs(8);

/// All settings as they were resolved.
///
/// # Errors
/// When the configuration can't be written as JSON.
pub fn settings(config: &Config, lookup: &dyn Fn(&str) -> Option<String>) -> Result<Vec<Setting>, ConfigError> {
    let whole = serde_json::to_value(config).map_err(|e| ConfigError::invalid("configuration", "unprintable", e))?;
    let mut settings = Vec::new();
    flatten("", &whole, &mut settings);
    settings.extend(VARIABLES.into_iter().map(|name| {
        let set = lookup(name).is_some_and(|value| !value.trim().is_empty());
        Setting { name: name.to_owned(), value: if set { "set" } else { "not set" }.to_owned() }
    }));
    Ok(settings)
}

fn flatten(name: &str, value: &Value, settings: &mut Vec<Setting>) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (field, value) in fields {
                let name = if name.is_empty() { field.clone() } else { format!("{name}.{field}") };
                flatten(&name, value, settings);
            }
        }
        Value::String(text) => settings.push(Setting { name: name.to_owned(), value: text.clone() }),
        Value::Null => {}
        other => settings.push(Setting { name: name.to_owned(), value: other.to_string() }),
    }
}

/// Everything that the service would reach for.
pub fn connections<'a>(config: &'a Config, lookup: &'a (dyn Fn(&str) -> Option<String> + Sync)) -> Vec<Connection<'a>> {
    let store = async move {
        let health = open_store(config, Clock::system()).await?.health().await?;
        Ok(health.promise)
    };
    // On a fresh folder each of the two makes the tables; side by side one would find them half made.
    let turn = Arc::new(Mutex::new(()));
    let (databases_turn, declareds_turn) = (Arc::clone(&turn), turn);
    let database = async move {
        let _turn = databases_turn.lock().await;
        let path = config.database_path()?;
        let db = open_database(&path).await?;
        db.check_schema(Some(crate::store::migrations())).await?;
        db.close().await;
        Ok(format!("{}: tables up to date", path.display()))
    };
    let sources = async move {
        let sources = Sources::resolve(&config.ingress, &|name| lookup(name))?;
        let names: Vec<&str> = sources.names().collect();
        Ok(if names.is_empty() { "none: no sender is configured".to_owned() } else { names.join(", ") })
    };
    let declared = async move {
        let _turn = declareds_turn.lock().await;
        let wiring = Wiring::open(config, lookup, Clock::system(), Entropy::system()).await?;
        fanout::check_keys(&wiring.fanout).await?;
        let endpoints = fanout::check_declared(&wiring.fanout, lookup)?;
        let schedules = wiring.scheduler.declared();
        wiring.close().await;
        Ok(format!("{schedules} schedules, {endpoints} endpoints"))
    };
    let mut connections = vec![
        Connection::new("queue store", store),
        Connection::new("database", database),
        Connection::new("webhook sources", sources),
        Connection::new("declared", declared),
    ];
    match IntegrationsConfig::read(&|name| lookup(name)) {
        Err(error) => connections.push(Connection::new("integrations", async move { Err(error.into()) })),
        Ok(on) => {
            let bases = [
                ("Stripe", on.stripe.map(|c| c.base)),
                ("Plaid", on.plaid.map(|c| c.base)),
                ("GPU market", on.gpu_market.map(|c| c.base)),
            ];
            connections.extend(bases.into_iter().map(|(name, base)| Connection::new(name, reach(base))));
        }
    }
    connections
}

/// Any answer will do: it proves name, route and certificate. Credentials are not tried, they might cost something.
async fn reach(base: Option<Url>) -> anyhow::Result<String> {
    let Some(base) = base else { return Ok("off: no credentials are set".to_owned()) };
    let reply = outbound::client(TIMEOUT)?.get(base.clone()).send().await?;
    Ok(format!("{} answers ({})", base.host_str().unwrap_or("it"), reply.status().as_u16()))
}
