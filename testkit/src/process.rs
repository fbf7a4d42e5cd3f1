//! One server process that can't outlive us.
//!
//! It is started by a shell that reads a pipe from us: when the pipe closes, because we let go or because we died of
//! whatever, even `kill -9`, the shell kills the server by its id and takes its folder away. The shell is the
//! server's parent and reaps it only after that, so the id can't belong to anybody else by then.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};

/// `$1` is where its output goes, `$2` the folder; then the command. A line on the pipe means: keep the folder.
const WATCH: &str = r#"
out=$1; folder=$2; shift 2
"$@" >"$out" 2>&1 &
pid=$!
echo "$pid"
exec >&-
if read -r keep; then kill -9 "$pid"; wait "$pid"; else kill -9 "$pid"; wait "$pid"; rm -rf "$folder"; fi
"#;

/// A running server and the shell that watches over it.
#[derive(Debug)]
pub(crate) struct Process {
    pid: Pid,
    shell: Child,
    pipe: Option<ChildStdin>,
}

impl Process {
    /// Starts `command` with its output in `folder/output`.
    pub(crate) fn start(folder: &Path, command: &[&str]) -> Result<Self> {
        let mut shell = Command::new("sh")
            .args(["-c", WATCH, "watch"])
            .args([&folder.join("output"), folder])
            .args(command)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            // A Ctrl-C at the terminal is for the tests; the watcher then sees the pipe close.
            .process_group(0)
            .spawn()
            .context("start a shell")?;
        let pipe = shell.stdin.take();
        let mut line = String::new();
        let stdout = shell.stdout.take().context("the shell's output")?;
        BufReader::new(stdout).read_line(&mut line).context("read the server's process id")?;
        let pid = line.trim().parse().ok().and_then(Pid::from_raw).with_context(|| format!("`{line}` is no id"))?;
        Ok(Self { pid, shell, pipe })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        kill_process(self.pid, signal).with_context(|| format!("send {signal:?} to {}", self.pid()))
    }
}

impl Drop for Process {
    /// SIGKILL; returns when it is gone.
    fn drop(&mut self) {
        if let Some(mut pipe) = self.pipe.take() {
            // Fails only when the shell is gone, and then there is nobody to tell.
            drop(pipe.write_all(b"keep\n"));
        }
        drop(self.shell.wait());
    }
}
