//! The one connection: opened when needed, dropped when it breaks, opened again by the next call.
//!
//! Guarantees: every call ends within a bounded time; nothing is sent twice behind the caller's back, except a script that
//! the server did not know and therefore did not run. Messages for this process arrive on the same connection, so whoever
//! can call can hear.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex as SyncMutex, PoisonError};
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, ErrorKind, Pipeline, PushInfo, PushKind, Script, ServerErrorKind, Value};
use tokio::sync::Mutex;

use super::address::{Door, RedisAddress};
use super::driver::Driver;
use super::failure::failure;
use super::promise::Promise;
use super::wake::Wakes;
use crate::clock::{Clock, Timestamp};
use crate::store::{Durability, StoreError};

const CONNECT_WITHIN: Duration = Duration::from_secs(2);
/// A server that has not answered after this is given up, and with it a connection that is only half open.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);
/// After a failed try the next callers are told the same for so long, instead of queueing up to connect.
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(50);
/// A script that is forgotten again between loading and calling it is loaded so often.
const LOADS: u32 = 5;
/// A connection that was silent for so long may lead to a master that hung meanwhile and was replaced. It would take writes
/// until it is told, and lose them.
const SILENT_MAX: Duration = Duration::from_secs(1);
/// So often the sentinels are asked who is master. A master that was replaced while it was well (on purpose, or because it was
/// cut off from the sentinels and not from us) takes writes until it is told, and loses them all.
const ASK_SENTINELS_EVERY: Duration = Duration::from_secs(1);
/// How long an acknowledgement of the disk is waited for.
const DISK_WITHIN_MS: u64 = 2_000;

/// The way to the server.
pub(super) struct Link {
    address: RedisAddress,
    prefix: String,
    durability: Durability,
    clock: Clock,
    /// Held from the first look to the last word, so that those who wait for it hear what became of the try before theirs.
    turn: Mutex<()>,
    door: Arc<Mutex<Door>>,
    driver: Driver,
    state: Arc<SyncMutex<State>>,
    wakes: Arc<Wakes>,
    /// Since when (on the store's clock) it could be reached without a gap.
    healthy_since: AtomicI64,
    /// It was reached, but took no writes: how long that lasted is to be seen.
    gap: AtomicBool,
}

#[derive(Default)]
struct State {
    open: Option<Open>,
    /// Counts connections, so that a late error does not drop a newer one.
    number: u64,
    refused: Option<(Instant, StoreError)>,
    /// When the server was last heard.
    answered: Option<Instant>,
    /// When the sentinels were last asked.
    asked: Option<Instant>,
    promise: Option<Promise>,
}

#[derive(Clone)]
struct Open {
    connection: MultiplexedConnection,
    number: u64,
    /// Where it leads.
    to: Arc<str>,
    /// Each durable write waits for the disk.
    wait_for_disk: bool,
}

/// What a call does to the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// Looks only, or writes what may be lost.
    Read,
    /// Must be as durable as was asked for when it returns.
    Write,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Link {
    pub(super) fn new(
        address: RedisAddress,
        durability: Durability,
        clock: Clock,
        wakes: Arc<Wakes>,
    ) -> Result<Self, StoreError> {
        let door =
            address.door().map_err(|e| StoreError::Unavailable { step: "read the address", detail: e.to_string() })?;
        let prefix = address.prefix();
        let healthy_since = AtomicI64::new(i64::MIN);
        Ok(Self {
            address,
            prefix,
            durability,
            clock,
            turn: Mutex::default(),
            door: Arc::new(Mutex::new(door)),
            driver: Driver::start()?,
            state: Arc::default(),
            wakes,
            healthy_since,
            gap: AtomicBool::new(false),
        })
    }

    /// Where it leads, without secrets.
    pub(super) fn shown(&self) -> String {
        self.address.shown()
    }

    /// So many jobs that come together, and are alike, are kept together.
    pub(super) fn pack_from(&self) -> usize {
        self.address.pack_from()
    }

    /// What keys and channels begin with.
    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// What the server can promise, as of the last connection.
    pub(super) fn promise(&self) -> Option<Promise> {
        self.lock().promise.clone()
    }

    /// Runs a script that judges others for their silence. `build` is told since when the store could be reached and written
    /// without a gap: a silence that began before proves nothing. The script goes by the connection of which that is true.
    pub(super) async fn judge(
        &self,
        step: &'static str,
        script: &Script,
        build: impl FnOnce(Timestamp) -> Cmd,
    ) -> Result<Value, StoreError> {
        let open = self.open(step).await?;
        if self.gap.swap(false, Ordering::Relaxed) {
            let mut connection = open.connection.clone();
            if let Err(error) = self.note_gap(&mut connection, None).await {
                self.gap.store(true, Ordering::Relaxed);
                return Err(error);
            }
        }
        let cmd = build(Timestamp::from_ms(self.healthy_since.load(Ordering::Relaxed)));
        self.run_by(&open, Access::Write, step, script, &cmd).await
    }

    /// The bells of this process.
    pub(super) fn wakes(&self) -> &Arc<Wakes> {
        &self.wakes
    }

    /// Begins a script's call: the namespace and the time stand in it already.
    pub(super) fn call(&self, script: &Script) -> Cmd {
        let mut cmd = redis::cmd("EVALSHA");
        let now = self.clock.by_hand().map_or(-1, Timestamp::as_ms);
        cmd.arg(script.get_hash()).arg(1).arg(&self.prefix).arg(now);
        cmd
    }

    /// Runs a script; loads it first where the server does not know it (any more).
    pub(super) async fn run(
        &self,
        access: Access,
        step: &'static str,
        script: &Script,
        cmd: &Cmd,
    ) -> Result<Value, StoreError> {
        let open = self.open(step).await?;
        self.run_by(&open, access, step, script, cmd).await
    }

    async fn run_by(
        &self,
        open: &Open,
        access: Access,
        step: &'static str,
        script: &Script,
        cmd: &Cmd,
    ) -> Result<Value, StoreError> {
        let mut answer = ask(open, access, cmd).await;
        for _ in 0..LOADS {
            if !answer.as_ref().is_err_and(|e| e.kind() == ErrorKind::Server(ServerErrorKind::NoScript)) {
                break;
            }
            let loaded = script.load_async(&mut open.connection.clone()).await;
            answer = match loaded {
                Ok(_) => ask(open, access, cmd).await,
                Err(e) => Err(e),
            };
        }
        self.heard(step, open, answer)
    }

    /// Sends a plain command.
    pub(super) async fn send(&self, step: &'static str, cmd: &Cmd) -> Result<Value, StoreError> {
        let open = self.open(step).await?;
        let answer = ask(&open, Access::Read, cmd).await;
        self.heard(step, &open, answer)
    }

    fn heard(&self, step: &'static str, open: &Open, answer: redis::RedisResult<Value>) -> Result<Value, StoreError> {
        let failure = match answer {
            Ok(value) => {
                if self.address.is_watched() {
                    self.lock().answered = Some(Instant::now());
                }
                return Ok(value);
            }
            Err(error) => failure(step, &error),
        };
        if failure.gap {
            self.gap.store(true, Ordering::Relaxed);
        }
        if failure.broken {
            let mut state = self.lock();
            if state.open.as_ref().is_some_and(|now| now.number == open.number) {
                state.open = None;
            }
        }
        Err(failure.error)
    }

    /// The connection; one caller at a time opens it.
    async fn open(&self, step: &'static str) -> Result<Open, StoreError> {
        if let Some(open) = self.known(step)? {
            return Ok(open);
        }
        let _turn = self.turn.lock().await;
        if let Some(open) = self.known(step)? {
            return Ok(open);
        }
        let number = self.lock().number + 1;
        let connected = tokio::time::timeout(CONNECT_WITHIN + ANSWER_WITHIN, self.connect()).await;
        let connected = connected.unwrap_or_else(|_| {
            Err(StoreError::Unavailable { step: "connect", detail: format!("no answer from {}", self.shown()) })
        });
        let mut state = self.lock();
        state.number = number;
        match connected {
            Ok((connection, to, promise)) => {
                let open = Open { connection, number, to, wait_for_disk: promise.wait_for_disk };
                state.open = Some(open.clone());
                state.refused = None;
                state.answered = Some(Instant::now());
                state.asked = state.answered;
                state.promise = Some(promise);
                drop(state);
                // What was said meanwhile was not heard.
                self.wakes.ring_all();
                Ok(open)
            }
            Err(error) => {
                state.refused = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }

    fn known(&self, step: &'static str) -> Result<Option<Open>, StoreError> {
        let mut state = self.lock();
        if self.address.is_watched() && state.answered.is_some_and(|at| at.elapsed() > SILENT_MAX) {
            state.open = None;
        }
        if let Some(open) = state.open.clone() {
            if self.address.is_watched() && state.asked.is_none_or(|at| at.elapsed() > ASK_SENTINELS_EVERY) {
                state.asked = Some(Instant::now());
                self.ask_sentinels(&open);
            }
            return Ok(Some(open));
        }
        match &state.refused {
            Some((at, StoreError::Unavailable { detail, .. })) if at.elapsed() < TRY_AGAIN_AFTER => {
                Err(StoreError::Unavailable { step, detail: detail.clone() })
            }
            Some((at, error)) if at.elapsed() < TRY_AGAIN_AFTER => Err(error.clone()),
            _ => Ok(None),
        }
    }

    /// Asks who is master while the caller goes on, and drops a connection that leads to another.
    fn ask_sentinels(&self, open: &Open) {
        let (door, state, wakes) = (Arc::clone(&self.door), Arc::clone(&self.state), Arc::clone(&self.wakes));
        let (number, to) = (open.number, Arc::clone(&open.to));
        self.driver.spawn(async move {
            let mut door = door.lock_owned().await;
            let Door::Sentinels(sentinels) = &mut *door else { return };
            let named = tokio::time::timeout(CONNECT_WITHIN, sentinels.async_get_client()).await;
            // Sentinels that are away name nobody else: the master that is known stays.
            let Ok(Ok(client)) = named else { return };
            let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
            if place_of(&client) != to && state.open.as_ref().is_some_and(|now| now.number == number) {
                tracing::warn!(from = %to, to = %place_of(&client), "the sentinels name another master");
                state.open = None;
                drop(state);
                wakes.ring_all();
            }
        });
    }

    async fn connect(&self) -> Result<(MultiplexedConnection, Arc<str>, Promise), StoreError> {
        let failed = |e: &redis::RedisError| failure("connect", e).error;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_WITHIN))
            .set_response_timeout(Some(ANSWER_WITHIN))
            .set_push_sender(hear(&self.wakes));
        // Free but for the end of a try that its caller gave up.
        let mut door = Arc::clone(&self.door).lock_owned().await;
        let opening = async move {
            let client = match &mut *door {
                Door::Server(client) => client.clone(),
                Door::Sentinels(sentinels) => sentinels.async_get_client().await?,
            };
            let to = place_of(&client);
            Ok((client.get_multiplexed_async_connection_with_config(&config).await?, to))
        };
        let (mut connection, to) = self.driver.run(opening).await.map_err(|e| failed(&e))?;
        let promise = Promise::of(&mut connection, self.durability).await?;
        connection.subscribe(format!("{}wake", self.prefix)).await.map_err(|e| failed(&e))?;
        // The first connection of a process has seen no gap but the server's own start.
        let up_ms = if self.lock().number == 0 { Some(promise.up_ms) } else { None };
        self.note_gap(&mut connection, up_ms).await?;
        Ok((connection, to, promise))
    }

    /// A server that was away can't have heard the beats of the living. `up_ms`: so long there was no gap. (A clock turned by
    /// hand knows no uptime.)
    async fn note_gap(&self, connection: &mut MultiplexedConnection, up_ms: Option<i64>) -> Result<(), StoreError> {
        if self.clock.by_hand().is_some() {
            return Ok(());
        }
        let time: (i64, i64) =
            redis::cmd("TIME").query_async(connection).await.map_err(|e| failure("read the time", &e).error)?;
        let now = time.0 * 1_000 + time.1 / 1_000;
        self.healthy_since.store(now.saturating_sub(up_ms.unwrap_or(0)), Ordering::Relaxed);
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn place_of(client: &redis::Client) -> Arc<str> {
    client.get_connection_info().addr().to_string().into()
}

/// Sends, and where it must be on disk waits for it on the same connection.
async fn ask(open: &Open, access: Access, cmd: &Cmd) -> redis::RedisResult<Value> {
    let mut connection = open.connection.clone();
    if access == Access::Read || !open.wait_for_disk {
        return match connection.send_packed_command(cmd).await? {
            Value::ServerError(error) => Err(error.into()),
            value => Ok(value),
        };
    }
    let mut both = Pipeline::with_capacity(2);
    both.add_command(cmd.clone()).cmd("WAITAOF").arg(1).arg(0).arg(DISK_WITHIN_MS);
    let mut answers = connection.send_packed_commands(&both, 0, 2).await?.into_iter();
    let value = match answers.next() {
        Some(Value::ServerError(error)) => return Err(error.into()),
        Some(value) => value,
        None => Value::Nil,
    };
    match answers.next() {
        Some(Value::ServerError(error)) => Err(error.into()),
        Some(Value::Array(synced)) if matches!(synced.first(), Some(Value::Int(1..))) => Ok(value),
        _ => Err((ErrorKind::Io, "the server did not say in time that it is on disk").into()),
    }
}

fn hear(wakes: &Arc<Wakes>) -> impl Fn(PushInfo) -> Result<(), std::convert::Infallible> + Send + Sync + 'static {
    let wakes = Arc::clone(wakes);
    move |push: PushInfo| {
        match push.kind {
            PushKind::Message => {
                if let Some(Value::BulkString(message)) = push.data.get(1) {
                    wakes.ring(message);
                }
            }
            // Waiting claims look again, and find out by that.
            PushKind::Disconnection => wakes.ring_all(),
            _ => {}
        }
        Ok(())
    }
}
