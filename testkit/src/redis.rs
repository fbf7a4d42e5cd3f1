//! A `redis-server` of one's own, in a temporary folder on free ports.

mod settings;
mod tls;

use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use redis::{ConnectionLike, FromRedisValue, RedisError, RedisResult};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::eventually::eventually;
use crate::process::Process;

pub use settings::{Fsync, Settings};
pub use tls::Tls;

/// How long a server may take to start; loading a large file counts.
const STARTING: Duration = Duration::from_secs(30);
/// How long an answer to an admin command may take.
const ANSWERING: Duration = Duration::from_secs(10);
/// Between choosing a free port and binding it somebody else may take it; so often we choose again.
const TRIES: u32 = 10;

/// A real server. Dropping it kills it and takes its folder away.
#[derive(Debug)]
pub struct RedisServer {
    /// Before the folder, so that the server is gone when that goes.
    process: Mutex<Option<Process>>,
    settings: Settings,
    port: u16,
    tls: Option<Tls>,
    folder: TempDir,
}

/// One server with the append-only file and `everysec` for all tests of this process; it goes with the process. Each test
/// keeps to keys of its own.
pub fn shared_redis() -> &'static RedisServer {
    static SHARED: OnceLock<RedisServer> = OnceLock::new();
    SHARED.get_or_init(RedisServer::start)
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0)).context("find a free port")?.local_addr()?.port())
}

impl RedisServer {
    /// Starts one with the default [`Settings`].
    pub fn start() -> Self {
        Settings::default().start()
    }

    /// What it shall be started with; ends in [`Settings::start`].
    pub fn with() -> Settings {
        Settings::default()
    }

    fn start_with(settings: Settings) -> Self {
        let mut last = None;
        for _ in 0..TRIES {
            match Self::try_start(settings.clone()) {
                Ok(server) => return server,
                Err(error) => last = Some(error),
            }
        }
        panic!("redis-server does not start: {last:?}");
    }

    /// One try on ports that were free a moment ago. Fails when somebody else got one of them; panics when it can't work.
    fn try_start(settings: Settings) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("redis-").tempdir().context("a temporary folder")?;
        let port = free_port()?;
        let tls = if settings.tls { Some(Tls::make(folder.path(), free_port()?)?) } else { None };
        let mut text = format!("port {port}\ndir {}\n", folder.path().display());
        text += &tls.as_ref().map(Tls::text).unwrap_or_default();
        text += &settings.text();
        std::fs::write(folder.path().join("redis.conf"), text).context("write redis.conf")?;
        let server = Self { process: Mutex::new(None), settings, port, tls, folder };
        server.launch()?;
        server.wait_until_ready()?;
        Ok(server)
    }

    /// Starts the process without waiting until it answers: what it then says may be `LOADING`.
    fn launch(&self) -> Result<()> {
        let conf = self.path("redis.conf");
        let process = Process::start(self.folder.path(), &["redis-server", &conf.to_string_lossy()])?;
        *self.process() = Some(process);
        Ok(())
    }

    /// An error means: another port may help.
    fn wait_until_ready(&self) -> Result<()> {
        let pid = self.pid();
        eventually(&format!("redis-server {pid} to answer on port {}", self.port), STARTING, || {
            let output = self.output();
            if output.contains("Failed listening on port") || output.contains("Address already in use") {
                return Some(Err(anyhow::anyhow!("port {} was taken by somebody else", self.port)));
            }
            let failed = output.contains("FATAL") || output.contains("Fatal error") || output.contains("not found");
            assert!(!failed, "redis-server does not start:\n{output}");
            let pong: String = self.try_command(&["PING"]).ok()?;
            let info: String = self.try_command(&["INFO", "server"]).ok()?;
            // Somebody else's server on our port would answer as well.
            (pong == "PONG" && info.contains(&format!("process_id:{pid}\r\n"))).then_some(Ok(()))
        })
    }

    fn process(&self) -> MutexGuard<'_, Option<Process>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `redis://127.0.0.1:port`, or `rediss://127.0.0.1:port` when it has TLS; with the default user's password if there is
    /// one.
    pub fn url(&self) -> String {
        match &self.tls {
            None => self.plain_url(),
            Some(tls) => format!("rediss://{}127.0.0.1:{}", self.userinfo(), tls.port),
        }
    }

    /// The same without TLS; that port is always open.
    pub fn plain_url(&self) -> String {
        format!("redis://{}127.0.0.1:{}", self.userinfo(), self.port)
    }

    fn userinfo(&self) -> String {
        self.settings.password.as_ref().map(|password| format!(":{password}@")).unwrap_or_default()
    }

    /// The plain port; it stays the same over restarts.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The TLS port and the certificates.
    ///
    /// # Panics
    /// When it was started without [`Settings::tls`].
    pub fn tls(&self) -> &Tls {
        self.tls.as_ref().expect("a server started with Settings::tls")
    }

    /// The process's id.
    ///
    /// # Panics
    /// When it was killed and not restarted.
    pub fn pid(&self) -> u32 {
        self.process().as_ref().expect("a running server").pid()
    }

    /// Its folder: data, `redis.conf`, `output`.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// All it has written to its log since its last start.
    pub fn output(&self) -> String {
        std::fs::read_to_string(self.path("output")).unwrap_or_default()
    }

    /// Kills it with SIGKILL, and returns when it is gone. Its folder stays.
    pub fn kill(&self) {
        *self.process() = None;
    }

    /// Kills it if it runs and starts it again on the same port and folder; returns when it answers.
    pub fn restart(&self) {
        self.restart_without_waiting();
        self.wait_until_ready().expect("the server restarts on its own port");
    }

    /// The same, but returns at once, while it may still be loading.
    pub fn restart_without_waiting(&self) {
        self.kill();
        self.launch().expect("start the server again");
    }

    /// Adds a line to its configuration file for the next start; it overrides what stands before it.
    pub fn configure(&self, line: &str) {
        let mut file = std::fs::OpenOptions::new().append(true).open(self.path("redis.conf")).expect("redis.conf");
        writeln!(file, "{line}").expect("write redis.conf");
    }

    /// Waits until all it has acknowledged is written to its file. With `everysec` a write may wait up to two seconds for the
    /// disk to finish the last sync, and what waits is lost with the process.
    ///
    /// # Panics
    /// When that takes very long.
    pub fn wait_until_written(&self) {
        eventually("the append-only file to be written", STARTING, || {
            (self.info("aof_buffer_length")? == "0").then_some(())
        });
    }

    /// SIGSTOP: it holds its connections and answers nothing.
    pub fn stop(&self) {
        self.signal(Signal::STOP);
    }

    /// SIGCONT.
    pub fn cont(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        self.process().as_ref().expect("a running server").signal(signal).expect("a signal to our own process");
    }

    /// A plain blocking connection as the default user.
    pub fn connection(&self) -> RedisResult<redis::Connection> {
        let connection = redis::Client::open(self.plain_url())?.get_connection_with_timeout(ANSWERING)?;
        connection.set_read_timeout(Some(ANSWERING))?;
        connection.set_write_timeout(Some(ANSWERING))?;
        Ok(connection)
    }

    /// Runs one command as the default user: `server.command::<String>(&["CONFIG", "GET", "dir"])`.
    ///
    /// # Panics
    /// When it fails.
    pub fn command<T: FromRedisValue>(&self, words: &[&str]) -> T {
        self.try_command(words).unwrap_or_else(|error| panic!("{words:?}: {error}"))
    }

    /// The same for a command that may fail.
    pub fn try_command<T: FromRedisValue>(&self, words: &[&str]) -> RedisResult<T> {
        let mut command = redis::Cmd::new();
        for word in words {
            command.arg(*word);
        }
        let value = self.connection()?.req_command(&command)?.extract_error()?;
        redis::from_redis_value(value).map_err(RedisError::from)
    }

    /// One field of `INFO`, if it is there.
    pub fn info(&self, field: &str) -> Option<String> {
        let info: String = self.try_command(&["INFO", "everything"]).ok()?;
        info.lines().find_map(|line| Some(line.strip_prefix(field)?.strip_prefix(':')?.to_owned()))
    }
}
