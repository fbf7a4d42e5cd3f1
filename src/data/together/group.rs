//! A group of writes in a transaction: over the line's own connection where they can be, else through the driver.

use std::sync::atomic::Ordering;

use sqlx::pool::PoolConnection;
use sqlx::{Sqlite, SqlitePool};

use super::super::Tx;
use super::super::direct::{Direct, DirectError};
use super::member::{Kind, Member};
use super::{Line, Turn};

/// Groups that are written without asking the pool again, as long as nobody else may be waiting for it.
const HELD_MOST: u32 = 16;

/// Fewer go through the driver with whatever else is written: two connections that write in turns read their pages anew each time,
/// and two commits take longer than one.
const MANY: usize = 8;

/// The pool's writing connection, kept while the line writes over its own one: so nobody else of this process writes.
#[derive(Default)]
pub(super) struct Hold {
    conn: Option<PoolConnection<Sqlite>>,
    groups: u32,
    others: u64,
}

impl Hold {
    async fn take(&mut self, line: &Line, pool: &SqlitePool) -> Result<(), sqlx::Error> {
        let others = line.others.load(Ordering::Relaxed);
        if self.conn.is_none() || self.others != others || self.groups >= HELD_MOST {
            self.let_go();
            self.conn = Some(pool.acquire().await?);
            (self.groups, self.others) = (0, others);
        }
        self.groups += 1;
        Ok(())
    }

    pub(super) fn let_go(&mut self) {
        self.conn = None;
    }
}

/// Writes over the line's own connection what can be, if that is most of the group; the others come back.
pub(super) async fn directly(
    pool: &SqlitePool,
    mut group: Vec<Box<dyn Member>>,
    turn: &mut Turn<'_>,
    hold: &mut Hold,
) -> Vec<Box<dyn Member>> {
    if !is_worth_it(&group) {
        return group;
    }
    if let Err(error) = hold.take(turn.line, pool).await {
        refuse(group, &error);
        return Vec::new();
    }
    turn.fill_up(&mut group);
    if !is_worth_it(&group) {
        return group;
    }
    let (mut direct, mut rest): (Vec<_>, Vec<_>) = group.into_iter().partition(|member| member.is_direct());
    direct.sort_by_key(|member| member.kind());
    match turn.line.own.within(|tx| run(tx, &mut direct)) {
        Ok(Ok(())) => {
            for member in direct {
                if member.is_run() {
                    member.answer(Ok(()));
                } else {
                    rest.push(member);
                }
            }
            rest
        }
        Ok(Err(why)) => {
            if let Some(why) = why {
                tracing::warn!(error = %why, "writes were undone, and are written the other way");
            }
            direct.iter_mut().for_each(|member| member.forget());
            direct.extend(rest);
            direct
        }
        Err(error) => {
            refuse(direct.into_iter().chain(rest), &error);
            Vec::new()
        }
    }
}

/// A second transaction for a few others costs less than all of them the other way. What goes first must not be left for it.
fn is_worth_it(group: &[Box<dyn Member>]) -> bool {
    let others = group.iter().filter(|member| !member.is_direct());
    let (mut n, mut goes_first) = (0, false);
    for other in others {
        (n, goes_first) = (n + 1, goes_first || goes_first_of(other.kind()));
    }
    group.len() >= MANY && n * 4 <= group.len() && !goes_first
}

fn goes_first_of(kind: Kind) -> bool {
    !kind.0
}

/// An error: nothing of them was written, without a reason where something that goes first has to be written the other way.
fn run(on: Direct<'_>, group: &mut [Box<dyn Member>]) -> Result<(), Option<DirectError>> {
    for (kind, same) in kinds(group) {
        let Some((first, same)) = same.split_first_mut() else { break };
        first.run_directly(same, &on).map_err(Some)?;
        if goes_first_of(kind) && !(first.is_run() && same.iter().all(|member| member.is_run())) {
            return Err(None);
        }
    }
    on.commit().map_err(Some)
}

/// Those of each kind, in a group that is sorted by it.
fn kinds(group: &mut [Box<dyn Member>]) -> impl Iterator<Item = (Kind, &mut [Box<dyn Member>])> {
    group.chunk_by_mut(|a, b| a.kind() == b.kind()).filter_map(|same| Some((same.first()?.kind(), same)))
}

async fn begin(pool: &SqlitePool) -> Result<Tx, sqlx::Error> {
    Ok(Tx::Sqlite(pool.begin_with("begin immediate").await?))
}

/// All in one transaction; those that are to be run alone come back.
pub(super) async fn share(
    pool: &SqlitePool,
    mut group: Vec<Box<dyn Member>>,
    turn: &mut Turn<'_>,
) -> Vec<Box<dyn Member>> {
    let mut tx = match begin(pool).await {
        Ok(tx) => tx,
        Err(error) => {
            refuse(group, &error);
            return Vec::new();
        }
    };
    turn.fill_up(&mut group);
    group.sort_by_key(|member| member.kind());
    if !run_all(&mut group, &mut tx).await {
        return group;
    }
    if tx.commit().await.is_err() {
        return group;
    }
    for member in group {
        member.answer(Ok(()));
    }
    Vec::new()
}

async fn run_all(group: &mut [Box<dyn Member>], tx: &mut Tx) -> bool {
    for (_, same) in kinds(group) {
        let Some((first, same)) = same.split_first_mut() else { break };
        if !first.run(same, tx).await {
            return false;
        }
    }
    true
}

/// Told once for all: a database that lets nobody begin would let each of them wait for it again, one after the other.
pub(super) fn refuse(members: impl IntoIterator<Item = Box<dyn Member>>, why: &dyn std::fmt::Display) {
    for member in members {
        member.answer(Err(sqlx::Error::Protocol(format!("the transaction could not begin: {why}"))));
    }
}

/// Runs one by itself. An error: there was no transaction for it, and it has been told so.
pub(super) async fn alone(pool: &SqlitePool, mut member: Box<dyn Member>) -> Result<(), sqlx::Error> {
    let mut tx = match begin(pool).await {
        Ok(tx) => tx,
        Err(error) => {
            refuse([member], &error);
            return Err(error);
        }
    };
    let ended = if member.run_alone(&mut tx).await { tx.commit().await } else { Ok(()) };
    member.answer(ended);
    Ok(())
}
