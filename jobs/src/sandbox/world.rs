//! The outside of a sandbox: a market, a bank, a payment provider and a receiver of webhooks, all on loopback.

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tidemill::clock::{Clock, Entropy};
use tidemill::fanout::PageRequest;
use tidemill::fanout::endpoints::{self, EndpointChange, NewEndpoint};

use crate::app::PlaidAccess;
use crate::events::DEFAULT_TENANT;
use crate::fakes::gpu_market::Market;
use crate::fakes::plaid::Bank;
use crate::fakes::receiver::Receiver;
use crate::fakes::stripe::Account;
use crate::fakes::{Fake, Trouble, gpu_market, plaid, receiver, stripe};
use crate::store::accounts::{self, NewItem};
use crate::wiring::Wiring;

const FILE: &str = "world.json";
/// What the receiver's endpoint is described as, and known by.
const RECEIVER: &str = "the sandbox's receiver";
/// The bank connection that the sandbox has.
pub(super) const ITEM: &str = "item-sandbox";
pub(super) const TOKEN: &str = "access-sandbox-1";

/// The fakes, and where their state is kept.
#[derive(Debug)]
pub(super) struct World {
    pub(super) market: Fake<Market>,
    pub(super) bank: Fake<Bank>,
    pub(super) stripe: Fake<Account>,
    pub(super) receiver: Fake<Receiver>,
    /// What Stripe signs its webhooks with.
    pub(super) stripe_secret: String,
    data_key: String,
    hook_secret: String,
    file: PathBuf,
    /// Held while this process lives: two sandboxes on one folder would be two worlds for one set of books.
    _lock: File,
}

impl World {
    /// Starts the fakes, with the state that an earlier run has left.
    pub(super) async fn start(folder: &Path, clock: &Clock, entropy: &Entropy) -> anyhow::Result<Self> {
        std::fs::create_dir_all(folder).with_context(|| format!("{} can't be made", folder.display()))?;
        let lock = lock(folder)?;
        let file = folder.join(FILE);
        let kept: Value = match std::fs::read_to_string(&file) {
            Ok(text) => serde_json::from_str(&text)
                .with_context(|| format!("{} is damaged: delete {} to begin anew", file.display(), folder.display()))?,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Value::Null,
            Err(e) => return Err(e).with_context(|| format!("{} can't be read", file.display())),
        };
        let text = |name: &str| kept[name].as_str().map(str::to_owned);
        let secret = || {
            let mut bytes = [0; 32];
            entropy.fill(&mut bytes);
            STANDARD.encode(bytes)
        };
        let port = kept["receiver_port"].as_u64().and_then(|port| port.try_into().ok()).unwrap_or(0);
        let world = Self {
            market: gpu_market::start(0, clock.clone()).await?,
            bank: plaid::start(0, clock.clone()).await?,
            stripe: stripe::start(0, clock.clone()).await?,
            receiver: match receiver::start(port, clock.clone()).await {
                // Somebody else has taken the port meanwhile; `introduce` tells the service of the new one.
                Err(_) if port != 0 => receiver::start(0, clock.clone()).await?,
                started => started?,
            },
            stripe_secret: text("stripe_secret").unwrap_or_else(|| format!("whsec_{}", secret())),
            data_key: text("data_key").unwrap_or_else(secret),
            hook_secret: text("hook_secret").unwrap_or_default(),
            file,
            _lock: lock,
        };
        if kept.is_null() {
            world.bank.state.add_item(ITEM, TOKEN);
        } else {
            world.stripe.state.restore(&kept["stripe"]);
            world.bank.state.restore(&kept["bank"]);
        }
        world.give_moods(entropy);
        Ok(world)
    }

    /// Some things fail, as they do.
    fn give_moods(&self, entropy: &Entropy) {
        let busy = || Trouble::TooManyRequests(Some("1"));
        self.market.state.drift(std::time::Duration::from_secs(6), entropy.clone());
        self.market.state.moods.at_rate(0.15, vec![Trouble::Status(502), Trouble::Garbled, busy()], entropy.clone());
        self.bank.state.moods.at_rate(0.05, vec![Trouble::Status(500)], entropy.clone());
        self.stripe.state.moods.at_rate(0.05, vec![Trouble::Status(503), busy()], entropy.clone());
        self.receiver.state.moods.at_rate(0.08, vec![Trouble::Status(500), busy()], entropy.clone());
    }

    /// The variables by which the service finds it.
    pub(super) fn variables(&self) -> BTreeMap<String, String> {
        let pairs = [
            ("STRIPE_SECRET_KEY", stripe::SECRET_KEY.to_owned()),
            ("STRIPE_API_URL", self.stripe.url.clone()),
            ("STRIPE_WEBHOOK_SECRET", self.stripe_secret.clone()),
            ("PLAID_API_URL", self.bank.url.clone()),
            ("PLAID_CLIENT_ID", plaid::CLIENT_ID.to_owned()),
            ("PLAID_SECRET", plaid::SECRET.to_owned()),
            ("TIDEMILL_DATA_KEY", self.data_key.clone()),
            ("GPU_MARKET_URL", self.market.url.clone()),
        ];
        pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// Makes the service and the world known to each other: a bank connection, an endpoint for webhooks out.
    pub(super) async fn introduce(&mut self, wiring: &Wiring) -> anyhow::Result<()> {
        let PlaidAccess { sealer, .. } = wiring.app.plaid.as_ref().context("Plaid is off in the sandbox")?;
        let now = wiring.clock.now();
        let item = NewItem { item_id: ITEM, tenant: DEFAULT_TENANT, institution: Some("ins_3"), token: &TOKEN.into() };
        accounts::add_item(&wiring.db, sealer, &wiring.entropy, &item, now).await?;
        let url = format!("{}/hooks", self.receiver.url);
        let known = endpoints::list(&wiring.db, Some(DEFAULT_TENANT), &PageRequest::default()).await?;
        match known.items.iter().find(|endpoint| endpoint.description == RECEIVER) {
            Some(known) if !self.hook_secret.is_empty() => {
                if known.url != url {
                    let moved = EndpointChange { url: Some(url), ..EndpointChange::default() };
                    endpoints::update(&wiring.fanout, &known.id, moved).await?;
                }
            }
            _ => {
                let new = NewEndpoint {
                    tenant: DEFAULT_TENANT.into(),
                    url,
                    description: RECEIVER.into(),
                    event_types: vec!["*".into()],
                    ..NewEndpoint::default()
                };
                self.hook_secret = endpoints::create(&wiring.fanout, new).await?.secret.reveal().to_owned();
            }
        }
        self.receiver.state.trust(&self.hook_secret);
        self.keep()
    }

    /// Writes its state beside the stores; the old file stays until the new one is whole.
    pub(super) fn keep(&self) -> anyhow::Result<()> {
        let port = self.receiver.url.rsplit(':').next().and_then(|port| port.parse::<u16>().ok());
        let state = json!({
            "stripe": self.stripe.state.snapshot(),
            "bank": self.bank.state.snapshot(),
            "stripe_secret": self.stripe_secret,
            "data_key": self.data_key,
            "hook_secret": self.hook_secret,
            "receiver_port": port,
        });
        let new = self.file.with_extension("new");
        std::fs::write(&new, state.to_string()).with_context(|| format!("{} can't be written", new.display()))?;
        std::fs::rename(&new, &self.file).with_context(|| format!("{} can't be replaced", self.file.display()))
    }

    /// Keeps its state and stops.
    pub(super) async fn stop(self) -> anyhow::Result<()> {
        self.keep()?;
        self.market.stop().await;
        self.bank.stop().await;
        self.stripe.stop().await;
        self.receiver.stop().await;
        Ok(())
    }
}

fn lock(folder: &Path) -> anyhow::Result<File> {
    let path = folder.join("lock");
    let file = File::create(&path).with_context(|| format!("{} can't be made", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            anyhow::bail!("a sandbox runs in {} already; give this one its own with --data-dir", folder.display())
        }
        Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("{} can't be locked", path.display())),
    }
}
