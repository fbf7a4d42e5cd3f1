//! Faults of a Redis server and of the way to it.

use std::fs::File;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use tidemill::store::{Store, StoreError};
use tidemill_testkit::{Direction, Mode, RedisServer};

use super::Stage;
use crate::event::What;

/// Keys that make a start slow.
const BALLAST: &str = "for i = 1, 20000 do redis.call('SET', 'ballast:' .. i, 'x') end";

/// Kills the server, leaves it away for a while, starts it again; once so that it must load for seconds; once it is only
/// stopped.
pub(super) async fn crash(stage: &mut Stage) -> anyhow::Result<()> {
    stage.cluster.start_all(&[])?;
    for n in 0..stage.rounds(4) {
        stage.cluster.pass(Duration::from_millis(1_500 + stage.entropy.below(1_500))).await?;
        let away = Duration::from_millis(100 + stage.entropy.below(2_500));
        match n % 4 {
            2 => slow_start(stage, away).await?,
            3 => pause(stage).await?,
            _ => {
                let name = "server killed";
                stage.cluster.log.write(What::Fault { name: name.into() });
                stage.place.server()?.kill();
                stage.cluster.pass(away).await?;
                stage.place.server()?.restart_without_waiting();
                answers(stage).await?;
                stage.cluster.log.write(What::Healed { name: name.into() });
            }
        }
    }
    stage.seconds(2).await
}

async fn slow_start(stage: &mut Stage, away: Duration) -> anyhow::Result<()> {
    let server = stage.place.server()?;
    server.try_command::<()>(&["EVAL", BALLAST, "0"])?;
    server.try_command::<String>(&["BGREWRITEAOF"])?;
    let until = Instant::now() + Duration::from_secs(20);
    while stage.place.server()?.info("aof_rewrite_in_progress").as_deref() != Some("0") {
        ensure!(Instant::now() < until, "the append-only file is not rewritten within 20 s");
        stage.cluster.pass(Duration::from_millis(50)).await?;
    }
    let server = stage.place.server()?;
    server.configure("key-load-delay 100");
    server.configure("loading-process-events-interval-bytes 1024");
    stage.cluster.log.write(What::Fault { name: "server loads slowly".into() });
    server.kill();
    stage.cluster.pass(away).await?;
    let (begun, mut loading) = (Instant::now(), 0);
    stage.place.server()?.restart_without_waiting();
    loop {
        match stage.place.server()?.try_command::<String>(&["PING"]) {
            Ok(_) => break,
            Err(error) if error.code() == Some("LOADING") => loading += 1,
            Err(_) => {}
        }
        ensure!(begun.elapsed() < Duration::from_secs(60), "the server is not back within 60 s");
        stage.cluster.pass(Duration::from_millis(50)).await?;
    }
    stage.cluster.log.write(What::Healed { name: "server loads slowly".into() });
    stage.cluster.log.write(What::Noticed { name: "answers of LOADING".into(), count: loading });
    stage.place.server()?.configure("key-load-delay 0");
    Ok(())
}

async fn pause(stage: &mut Stage) -> anyhow::Result<()> {
    let name = "server stopped";
    stage.cluster.log.write(What::Fault { name: name.into() });
    stage.place.server()?.stop();
    stage.cluster.pass(Duration::from_millis(3_500 + stage.entropy.below(2_500))).await?;
    stage.place.server()?.cont();
    stage.cluster.log.write(What::Healed { name: name.into() });
    Ok(())
}

async fn answers(stage: &mut Stage) -> anyhow::Result<()> {
    let until = Instant::now() + Duration::from_secs(60);
    while stage.place.server()?.try_command::<String>(&["PING"]).is_err() {
        ensure!(Instant::now() < until, "the server is not back within 60 s");
        stage.cluster.pass(Duration::from_millis(20)).await?;
    }
    Ok(())
}

/// The master dies and a replica takes its place; the old one comes back as a replica.
pub(super) async fn failover(stage: &mut Stage) -> anyhow::Result<()> {
    stage.cluster.start_all(&[])?;
    for _ in 0..stage.rounds(1) {
        stage.seconds(3).await?;
        let name = "lossy failover";
        stage.cluster.log.write(What::Fault { name: name.into() });
        let old = stage.place.set()?.master().port();
        stage.place.set()?.master().kill();
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            stage.cluster.pass(Duration::from_millis(100)).await?;
            let now = stage.place.set()?.master();
            let leads = now.port() != old && now.info("role").as_deref() == Some("master");
            if leads {
                break;
            }
            ensure!(Instant::now() < until, "no other master within 60 s");
        }
        stage.cluster.log.write(What::Healed { name: name.into() });
        stage.seconds(2).await?;
        let set = stage.place.set()?;
        let node = set.nodes().iter().find(|node| node.port() == old).context("the old master is one of the set")?;
        node.restart();
        stage.seconds(2).await?;
        if stage.long {
            // Nothing to take over with until all agree again.
            let set = stage.place.set()?;
            tokio::task::block_in_place(|| {
                if let Some(node) = set.nodes().iter().find(|node| node.port() == old) {
                    set.wait_until_replica(node, Duration::from_secs(60));
                }
                set.wait_until_agreed();
            });
        }
    }
    Ok(())
}

/// No memory for more; then there is again.
pub(super) async fn full(stage: &mut Stage) -> anyhow::Result<()> {
    stage.cluster.start_all(&[])?;
    stage.seconds(2).await?;
    for _ in 0..stage.rounds(2) {
        let used: u64 = stage.place.server()?.info("used_memory").context("INFO names used_memory")?.parse()?;
        stage.cluster.log.write(What::Fault { name: "store full".into() });
        limit(stage.place.server()?, used - 200_000)?;
        stage.seconds(5).await?;
        limit(stage.place.server()?, 0)?;
        stage.cluster.log.write(What::Healed { name: "store full".into() });
        stage.seconds(2).await?;
    }
    Ok(())
}

fn limit(server: &RedisServer, bytes: u64) -> anyhow::Result<()> {
    Ok(server.try_command(&["CONFIG", "SET", "maxmemory", &bytes.to_string()])?)
}

/// The network in all its moods, and the server's memory of scripts gone.
pub(super) async fn net(stage: &mut Stage) -> anyhow::Result<()> {
    let ms = Duration::from_millis;
    stage.cluster.start_all(&[])?;
    stage.seconds(1).await?;
    let moods = [
        ("delay", Mode::Delay(ms(150)), 2_500),
        ("answers held", Mode::Hold(Direction::Down), 3_800),
        ("requests held", Mode::Hold(Direction::Up), 3_800),
        ("black hole", Mode::Swallow, 3_800),
        ("refused", Mode::Refuse, 1_500),
        ("slices of one byte", Mode::Slice(1), 2_000),
        ("half-open for a moment", Mode::Hold(Direction::Both), 700),
    ];
    for _ in 0..stage.rounds(1) {
        for (name, mode, time) in moods {
            stage.cluster.log.write(What::Fault { name: name.into() });
            stage.place.proxy()?.set(mode);
            stage.cluster.pass(ms(time)).await?;
            stage.place.proxy()?.set(Mode::Pass);
            stage.cluster.log.write(What::Healed { name: name.into() });
            stage.cluster.pass(ms(300 + stage.entropy.below(700))).await?;
        }
        cuts(stage).await?;
        stage.place.server()?.try_command::<String>(&["SCRIPT", "FLUSH"])?;
        stage.seconds(1).await?;
    }
    Ok(())
}

/// Leases, indexes and jobs are deleted by hand, and one of the workers that held them dies with it.
pub(super) async fn keys(stage: &mut Stage) -> anyhow::Result<()> {
    stage.cluster.start_all(&[])?;
    for n in 0..stage.rounds(3) {
        stage.seconds(2).await?;
        let name = "keys deleted";
        stage.cluster.log.write(What::Fault { name: name.into() });
        let (entries, jobs) = stage.place.delete_keys()?;
        stage.cluster.log.write(What::Noticed { name: "entries deleted by hand".into(), count: entries });
        for job in jobs {
            stage.cluster.log.write(What::Deleted { job });
        }
        let victim = format!("w{}", n % usize::try_from(stage.shape.workers)?);
        stage.cluster.kill(&victim)?;
        stage.cluster.tend_lost()?;
        stage.seconds(4).await?;
        stage.cluster.log.write(What::Healed { name: name.into() });
    }
    Ok(())
}

/// What a minute's upkeep would find in the end: leftovers of jobs that are no more.
pub(super) async fn swept(store: &dyn Store) -> Result<(), StoreError> {
    // A whole pass begins where the last slice has ended.
    for _ in 0..40 {
        store.prune(1_000).await?;
    }
    Ok(())
}

/// Connections reset in the middle of replies, or all at once.
async fn cuts(stage: &mut Stage) -> anyhow::Result<()> {
    let name = "replies cut";
    stage.cluster.log.write(What::Fault { name: name.into() });
    let before = stage.place.proxy()?.cuts();
    for n in 0..20 {
        if n % 7 == 6 {
            stage.place.proxy()?.reset_all();
        } else {
            let after = usize::try_from(stage.entropy.below(40))?;
            stage.place.proxy()?.cut_next_reply(after);
        }
        stage.cluster.pass(Duration::from_millis(60 + stage.entropy.below(120))).await?;
    }
    let cuts = stage.place.proxy()?.cuts() - before;
    stage.cluster.log.write(What::Healed { name: name.into() });
    stage.cluster.log.write(What::Noticed { name: "replies cut in the middle".into(), count: cuts });
    Ok(())
}

/// Cuts off what had been written last, as a power failure would under `everysec`.
pub(super) fn cut_tail(server: &RedisServer) -> anyhow::Result<()> {
    server.kill();
    let folder = server.folder().join("appendonlydir");
    let newest = std::fs::read_dir(&folder)?
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .filter(|path| path.to_string_lossy().ends_with(".incr.aof"))
        .max()
        .context("the append-only file is there")?;
    let len = std::fs::metadata(&newest)?.len();
    File::options().write(true).open(&newest)?.set_len(len / 2)?;
    server.restart();
    Ok(())
}
