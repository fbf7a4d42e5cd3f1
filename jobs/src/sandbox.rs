//! `tidemill sandbox`: the real service, on embedded stores unless told otherwise, with a small world around it on loopback.
//!
//! The same code as `serve`: only the configuration differs (short schedules, short retries, loopback allowed) and the
//! variables that name the outside (fakes). [`world`] is that outside, [`story`] what happens in it, [`summary`] what the
//! terminal shows. Stopped and started again it goes on where it was: the world is kept beside the stores.

mod story;
mod summary;
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use secrecy::ExposeSecret as _;
use tidemill::admin::{Ask, May, Role as AdminRole};
use tidemill::clock::{Clock, Entropy};
use tidemill::config::Config;
use tidemill::config::schedules::PlanText;
use tidemill::portal::NewLink;
use tidemill::telemetry;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::story::Story;
use self::summary::Summary;
use self::world::World;
use crate::events::DEFAULT_TENANT;
use crate::serve::{Signals, until_signal};
use crate::service::{Role, Service};
use crate::wiring::Wiring;

/// How long the operator's key shown at start is good.
const KEY_FOR: Duration = Duration::from_secs(24 * 3600);
/// And the consumer's link.
const LINK_HOURS: u64 = 24;
/// How much of the world's story a `kill -9` may cost.
const KEEP_EVERY: Duration = Duration::from_secs(10);

/// Where the sandbox lives.
#[derive(Clone, Debug)]
pub struct SandboxOptions {
    /// Its stores and its world.
    pub data_dir: PathBuf,
    /// The queue store's URL; none: a file in `data_dir`.
    pub queue_url: Option<String>,
    /// The public listener's port on loopback; 0: a free one.
    pub port: u16,
    /// The operators' listener's port on loopback; 0: a free one.
    pub admin_port: u16,
}

/// Runs until a signal.
///
/// # Errors
/// When something can't start; says what.
pub async fn run(options: SandboxOptions) -> anyhow::Result<ExitCode> {
    let signals = Signals::listen().context("signals can't be listened for")?;
    let recorder = telemetry::collect()?;
    let (clock, entropy) = (Clock::system(), Entropy::system());
    let mut world = World::start(&options.data_dir, &clock, &entropy).await?;
    let variables = world.variables();
    let lookup = move |name: &str| variables.get(name).cloned();
    let config = config(&options)?;
    let wiring = Wiring::open(&config, &lookup, clock.clone(), entropy.clone()).await?;
    wiring.declare(&config, &lookup).await?;
    world.introduce(&wiring).await?;
    let key = operator_key(&wiring).await?;
    let service =
        Service::start(wiring.clone(), &config, &BTreeSet::from(Role::ALL), &lookup, recorder.clone()).await?;
    let public = service.public.context("the sandbox has no public listener")?;
    let operators = service.operators.context("the sandbox has no operators' listener")?;
    let link = consumers_link(&service.wiring).await?;
    summary::introduce(&options, public, operators, &world, &key, &link);

    let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
    let story = Arc::new(Story::new(&world, public, clock.clone(), entropy)?);
    let summary = Summary::new(Arc::clone(&wiring.store), recorder, &world, Arc::clone(&story), clock);
    let (telling, showing) = (stop.clone(), stop.clone());
    tasks.spawn({
        let story = Arc::clone(&story);
        async move { story.tell(telling).await }
    });
    tasks.spawn(async move { summary.show(showing).await });
    tasks.close();
    let code = tokio::select! {
        code = until_signal(service, signals, &stop) => code,
        never = keep_on(&world) => match never {},
    };
    tasks.wait().await;
    world.stop().await?;
    Ok(code)
}

/// Writes the world down now and then: the stores survive a crash, and the world they know of must not fall far behind.
async fn keep_on(world: &World) -> Infallible {
    loop {
        tokio::time::sleep(KEEP_EVERY).await;
        if let Err(error) = world.keep() {
            tracing::warn!(error = format!("{error:#}"), "the sandbox's world was not written down");
        }
    }
}

/// The shipped defaults, but for what a minute in front of a terminal needs.
fn config(options: &SandboxOptions) -> anyhow::Result<Config> {
    let every =
        |interval: &str| PlanText { every: Some(interval.into()), jitter: Some("0s".into()), ..PlanText::default() };
    let mut config = Config { data_dir: options.data_dir.clone(), ..Config::default() };
    config.queue_url = options.queue_url.clone().unwrap_or_default().into();
    config.log.filter = "warn".into();
    config.ingress.listen = SocketAddr::from((Ipv4Addr::LOCALHOST, options.port));
    config.admin.listen = SocketAddr::from((Ipv4Addr::LOCALHOST, options.admin_port));
    config.fanout.allow_http = true;
    config.fanout.allow_addresses = vec!["127.0.0.0/8".parse()?];
    config.fanout.retry_delays_ms = vec![500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000];
    config.portal.enabled = true;
    config.portal.private_receivers = true;
    config.schedules.0 = BTreeMap::from([
        ("market.poll".into(), every("3s")),
        ("accounts.sync_all".into(), every("5s")),
        ("reconcile.stripe".into(), PlanText { catch_up: Some("latest".into()), ..every("15s") }),
        ("maintenance.prune".into(), every("20s")),
    ]);
    Ok(config.complete()?)
}

/// A key for this run; those of earlier runs are good for nothing any more.
async fn operator_key(wiring: &Wiring) -> anyhow::Result<String> {
    let desk = wiring.desk();
    let by = May::local("sandbox");
    for key in desk.keys(&by, &Ask::default()).await?.items {
        if key.revoked_at.is_none() {
            desk.revoke_key(&by, &key.id).await?;
        }
    }
    let expires_at = wiring.clock.now().after(KEY_FOR);
    let (_, key) = desk.create_key(&by, "sandbox", AdminRole::Admin, Some(expires_at)).await?;
    Ok(key.expose_secret().to_owned())
}

/// A link to the consumers' page for this run; those of earlier runs are good for nothing any more.
async fn consumers_link(wiring: &Wiring) -> anyhow::Result<String> {
    let (desk, by) = (wiring.desk(), May::local("sandbox"));
    desk.revoke_portal_links(&by, DEFAULT_TENANT).await?;
    let link = NewLink { tenant: DEFAULT_TENANT.into(), hours: Some(LINK_HOURS), read_only: false };
    Ok(desk.make_portal_link(&by, &link).await?.url.expose_secret().to_owned())
}
