//! What every story needs: a database, a clock turned by hand, and the application wired to fakes.

use std::collections::BTreeMap;

use tidemill::clock::{Clock, Entropy, Timestamp};
use tidemill::data::Database;
use tidemill::job::JobError;
use tidemill_jobs::app::App;
use tidemill_jobs::clients::{CallError, Meaning};
use tidemill_jobs::config::IntegrationsConfig;
use tidemill_jobs::fakes::{Fake, gpu_market::Market, plaid, plaid::Bank, stripe, stripe::Account};
use tidemill_jobs::store;

/// 2026-04-11T12:00:00Z
pub(crate) const NOON: Timestamp = Timestamp::from_ms(1_775_908_800_000);
const DATA_KEY: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";

pub(crate) struct Rig {
    pub(crate) app: App,
    pub(crate) clock: Clock,
    pub(crate) dir: tempfile::TempDir,
}

/// The addresses and credentials of the fakes that take part.
#[derive(Default)]
pub(crate) struct Outside(BTreeMap<&'static str, String>);

impl Outside {
    pub(crate) fn market(mut self, fake: &Fake<Market>) -> Self {
        self.0.insert("GPU_MARKET_URL", fake.url.clone());
        self
    }

    pub(crate) fn plaid(mut self, fake: &Fake<Bank>) -> Self {
        self.0.insert("PLAID_API_URL", fake.url.clone());
        self.0.insert("PLAID_CLIENT_ID", plaid::CLIENT_ID.to_owned());
        self.0.insert("PLAID_SECRET", plaid::SECRET.to_owned());
        self.0.insert("TIDEMILL_DATA_KEY", DATA_KEY.to_owned());
        self
    }

    pub(crate) fn stripe(mut self, fake: &Fake<Account>) -> Self {
        self.0.insert("STRIPE_API_URL", fake.url.clone());
        self.0.insert("STRIPE_SECRET_KEY", stripe::SECRET_KEY.to_owned());
        self
    }

    pub(crate) fn with(mut self, name: &'static str, value: &str) -> Self {
        self.0.insert(name, value.to_owned());
        self
    }

    pub(crate) fn config(mut self) -> IntegrationsConfig {
        // No test may reach the real one.
        self.0.entry("GPU_MARKET_URL").or_insert_with(|| "off".to_owned());
        IntegrationsConfig::read(&|name| self.0.get(name).cloned()).unwrap()
    }
}

impl Rig {
    pub(crate) async fn new(clock: Clock, outside: Outside) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let db = Database::open(&dir.path().join("tidemill.db")).await.unwrap();
        db.migrate(Some(store::migrations())).await.unwrap();
        let app = App::build(&outside.config(), db, clock.clone(), Entropy::seeded(5)).unwrap();
        Self { app, clock, dir }
    }

    pub(crate) async fn count(&self, table: &'static str) -> i64 {
        let sql = format!("select count(*) from {table}");
        tidemill::on_pool!(self.app.db.read(), pool => {
            sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_one(pool).await.unwrap()
        })
    }
}

pub(crate) fn noon() -> Clock {
    Clock::manual(NOON)
}

#[track_caller]
pub(crate) fn assert_retryable(error: &CallError) {
    assert!(matches!(error.meaning, Meaning::Retryable { .. }), "{error:?}");
}

#[track_caller]
pub(crate) fn assert_permanent(error: &CallError) {
    assert_eq!(error.meaning, Meaning::Permanent, "{error:?}");
}

/// The decision's one word and its text.
pub(crate) fn decided(error: JobError) -> (&'static str, String) {
    match error {
        JobError::Retry { error, .. } => ("retry", format!("{error:#}")),
        JobError::Snooze { reason, .. } => ("snooze", reason),
        JobError::Dead { error } => ("dead", format!("{error:#}")),
        JobError::Cancelled { reason } => ("cancelled", reason),
    }
}
