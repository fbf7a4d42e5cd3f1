//! What the handlers share: the database, time and chance, and a client for every integration that is on.

use anyhow::Context as _;
use tidemill::clock::{Clock, Entropy};
use tidemill::data::Database;
use tidemill::job::JobError;
use tidemill::sealing::Sealer;

use crate::clients::gpu_market::GpuMarket;
use crate::clients::plaid::Plaid;
use crate::clients::stripe::Stripe;
use crate::config::IntegrationsConfig;

/// Every handler's state.
#[derive(Clone, Debug)]
pub struct App {
    /// The application's tables.
    pub db: Database,
    /// What time it is.
    pub clock: Clock,
    /// Random numbers.
    pub entropy: Entropy,
    /// `None`: off.
    pub gpu_market: Option<GpuMarket>,
    /// `None`: off.
    pub plaid: Option<PlaidAccess>,
    /// `None`: off.
    pub stripe: Option<Stripe>,
}

/// Plaid, and the key to the access tokens in the database.
#[derive(Clone, Debug)]
pub struct PlaidAccess {
    /// The client.
    pub client: Plaid,
    /// Opens and seals tokens.
    pub sealer: Sealer,
}

/// An outside system that can be off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Integration {
    /// The GPU market.
    GpuMarket,
    /// Plaid.
    Plaid,
    /// Stripe.
    Stripe,
}

impl Integration {
    /// Its name, and what turns it on.
    const fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::GpuMarket => ("GPU market", "GPU_MARKET_URL"),
            Self::Plaid => ("Plaid", "PLAID_CLIENT_ID, PLAID_SECRET and TIDEMILL_DATA_KEY"),
            Self::Stripe => ("Stripe", "STRIPE_SECRET_KEY"),
        }
    }

    fn off(self) -> JobError {
        let (name, variables) = self.words();
        JobError::dead(anyhow::anyhow!("the integration {name} is off: set {variables}, restart, and retry this job"))
    }
}

impl App {
    /// Makes a client for every integration that `config` turns on. `db` is migrated already.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub fn build(config: &IntegrationsConfig, db: Database, clock: Clock, entropy: Entropy) -> anyhow::Result<Self> {
        let gpu_market = config.gpu_market.as_ref().map(|c| GpuMarket::new(c, clock.clone())).transpose();
        let stripe = config.stripe.as_ref().map(|c| Stripe::new(c, clock.clone())).transpose();
        let plaid = config.plaid.as_ref().map(|c| {
            let client = Plaid::new(c, clock.clone())?;
            Ok::<_, anyhow::Error>(PlaidAccess { client, sealer: c.sealer.clone() })
        });
        Ok(Self {
            gpu_market: gpu_market.context("GPU market")?,
            plaid: plaid.transpose().context("Plaid")?,
            stripe: stripe.context("Stripe")?,
            db,
            clock,
            entropy,
        })
    }

    /// Says whether an integration is on.
    pub fn has(&self, integration: Integration) -> bool {
        match integration {
            Integration::GpuMarket => self.gpu_market.is_some(),
            Integration::Plaid => self.plaid.is_some(),
            Integration::Stripe => self.stripe.is_some(),
        }
    }

    /// The client, or the decision of a job that can't do without it.
    ///
    /// # Errors
    /// When the integration is off.
    pub fn gpu_market(&self) -> Result<&GpuMarket, JobError> {
        self.gpu_market.as_ref().ok_or_else(|| Integration::GpuMarket.off())
    }

    /// The client, or the decision of a job that can't do without it.
    ///
    /// # Errors
    /// When the integration is off.
    pub fn plaid(&self) -> Result<&PlaidAccess, JobError> {
        self.plaid.as_ref().ok_or_else(|| Integration::Plaid.off())
    }

    /// The client, or the decision of a job that can't do without it.
    ///
    /// # Errors
    /// When the integration is off.
    pub fn stripe(&self) -> Result<&Stripe, JobError> {
        self.stripe.as_ref().ok_or_else(|| Integration::Stripe.off())
    }
}
