//! Runs a service until a signal ends it: the first drains, the second exits at once.

use std::process::ExitCode;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::service::Service;

/// What a shell shows for a process that a signal has ended.
const EXIT_BY_SIGNAL: i32 = 130;

/// SIGINT and SIGTERM. Made before anything starts, so that none is missed.
#[derive(Debug)]
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// Begins to listen.
    ///
    /// # Errors
    /// When the system does not let it.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// The next of them.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Waits for a signal, or for the service to fail; then rings `stopping` and stops it in order. 0: a clean stop; 1: it
/// failed.
pub async fn until_signal(service: Service, mut signals: Signals, stopping: &CancellationToken) -> ExitCode {
    let failed = tokio::select! {
        () = signals.next() => false,
        () = service.failed().cancelled() => true,
    };
    stopping.cancel();
    tracing::info!(running = service.running(), "stopping: no more work is taken, what runs may finish");
    let stop = service.stop();
    let signed_off = tokio::select! {
        stopped = stop => match stopped {
            Ok(handed_back) => {
                tracing::info!(handed_back, "stopped");
                true
            }
            Err(error) => {
                tracing::error!(error = format!("{error:#}"), "stopped without a sign-off");
                false
            }
        },
        () = signals.next() => exit_now(),
    };
    if failed || !signed_off { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Somebody has asked twice and will not wait. Leases run out and others take the jobs.
#[expect(clippy::disallowed_methods, reason = "the second signal means now")]
fn exit_now() -> ! {
    eprintln!("stopped at once; unfinished jobs go to another worker when their lease has run out");
    std::process::exit(EXIT_BY_SIGNAL)
}

/// A runtime for everything but the heartbeat. More threads than cores, so that one handler that blocks does not hold
/// up the listeners.
///
/// # Errors
/// When the system gives no threads.
pub fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    let threads = std::thread::available_parallelism().map_or(4, std::num::NonZero::get).max(4);
    tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()
}

/// Ends the runtime without waiting for ever for a handler that blocks its thread.
pub fn end(runtime: tokio::runtime::Runtime) {
    runtime.shutdown_timeout(Duration::from_secs(1));
}
