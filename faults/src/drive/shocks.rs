//! Faults of the embedded store's file: its lock held, a long reader, a full disk, a lost log.

use std::fs::File;
use std::io::Write as _;
use std::time::Duration;

use anyhow::{Context as _, ensure};

use super::Stage;
use crate::event::What;
use crate::place::Place;

/// Other processes hold the write lock for longer than the engine waits for it, and read for long.
pub(super) async fn busy(stage: &mut Stage) -> anyhow::Result<()> {
    let file = stage.place.file()?.display().to_string();
    stage.cluster.start_all(&[])?;
    stage.seconds(2).await?;
    for _ in 0..stage.rounds(2) {
        let ms = 4_000 + stage.entropy.below(3_000);
        hold(stage, &file, ms, false).await?;
        stage.seconds(2).await?;
    }
    hold(stage, &file, 5_000, true).await?;
    stage.seconds(1).await
}

async fn hold(stage: &mut Stage, file: &str, ms: u64, read: bool) -> anyhow::Result<()> {
    let name = if read { "long reader" } else { "write lock held" };
    stage.cluster.log.write(What::Fault { name: name.into() });
    let time = ms.to_string();
    let mut args = vec!["hold", "--file", file, "--ms", &time];
    if read {
        args.push("--read");
    }
    let mut holder = stage.cluster.tool(&args)?;
    while holder.try_wait()?.is_none() {
        stage.cluster.pass(Duration::from_millis(50)).await?;
    }
    let held = holder.wait()?;
    ensure!(held.success(), "the holder has failed: {held}");
    stage.cluster.log.write(What::Healed { name: name.into() });
    Ok(())
}

/// Fills the store's own small file system to the last byte, and frees it again.
pub(super) async fn full(stage: &mut Stage) -> anyhow::Result<()> {
    let ballast = stage.place.file()?.with_file_name("ballast");
    stage.cluster.start_all(&[])?;
    stage.seconds(3).await?;
    for _ in 0..stage.rounds(2) {
        stage.cluster.log.write(What::Fault { name: "disk full".into() });
        let mut file = File::create(&ballast)?;
        let until = std::time::Instant::now() + Duration::from_secs(5);
        // Also what is freed meanwhile (a checkpoint) is taken.
        while std::time::Instant::now() < until {
            let block = vec![0_u8; 4_096];
            while file.write_all(&block).is_ok() {}
            stage.cluster.pass(Duration::from_millis(20)).await?;
        }
        drop(file);
        std::fs::remove_file(&ballast)?;
        stage.cluster.log.write(What::Healed { name: "disk full".into() });
        stage.seconds(3).await?;
    }
    Ok(())
}

/// Cuts the last writes off, as a power failure would that nothing had been synced for.
pub(super) fn cut_tail(place: &Place) -> anyhow::Result<()> {
    let file = place.file()?;
    let wal = file.with_file_name("queue.db-wal");
    // All since the last checkpoint.
    std::fs::remove_file(&wal).context("the write-ahead log is there")?;
    // Made anew from the log when it is not there.
    std::fs::remove_file(file.with_file_name("queue.db-shm"))?;
    Ok(())
}
