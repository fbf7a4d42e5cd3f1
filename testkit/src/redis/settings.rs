//! What a server is started with, as the lines of its configuration file.

use super::RedisServer;

/// `appendfsync`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fsync {
    /// With every write.
    Always,
    /// Once a second.
    Everysec,
    /// When the system likes.
    No,
}

/// What a server is started with. By default: append-only file, `everysec`, no snapshots, no limit, no password.
#[derive(Clone, Debug)]
pub struct Settings {
    appendonly: bool,
    appendfsync: Fsync,
    pub(super) password: Option<String>,
    pub(super) tls: bool,
    lines: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { appendonly: true, appendfsync: Fsync::Everysec, password: None, tls: false, lines: Vec::new() }
    }
}

impl Settings {
    /// With or without the append-only file.
    pub fn appendonly(mut self, on: bool) -> Self {
        self.appendonly = on;
        self
    }

    /// When the append-only file is synced.
    pub fn appendfsync(mut self, fsync: Fsync) -> Self {
        self.appendfsync = fsync;
        self
    }

    /// A limit like `8mb` and what happens there, like `noeviction`.
    pub fn maxmemory(self, limit: &str, policy: &str) -> Self {
        self.line(&format!("maxmemory {limit}")).line(&format!("maxmemory-policy {policy}"))
    }

    /// The default user's password.
    pub fn password(mut self, password: &str) -> Self {
        self.password = Some(password.to_owned());
        self
    }

    /// One more user, with rules as in `ACL SETUSER`: `on >secret ~prefix* +@all`.
    pub fn user(self, name: &str, rules: &str) -> Self {
        self.line(&format!("user {name} {rules}"))
    }

    /// A TLS port beside the plain one, with certificates made on the spot.
    pub fn tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// Any line of `redis.conf`; it overrides what stands before it.
    pub fn line(mut self, line: &str) -> Self {
        self.lines.push(line.to_owned());
        self
    }

    /// Starts the server and waits until it answers.
    ///
    /// # Panics
    /// When it can't be started.
    pub fn start(self) -> RedisServer {
        RedisServer::start_with(self)
    }

    /// The file, but for ports and folder.
    pub(super) fn text(&self) -> String {
        let fsync = match self.appendfsync {
            Fsync::Always => "always",
            Fsync::Everysec => "everysec",
            Fsync::No => "no",
        };
        let appendonly = if self.appendonly { "yes" } else { "no" };
        let mut text = format!("bind 127.0.0.1\nsave \"\"\nappendonly {appendonly}\nappendfsync {fsync}\n");
        if let Some(password) = &self.password {
            // Both, so that nodes of one set can replicate each other whoever is master.
            text += &format!("requirepass {password}\nmasterauth {password}\n");
        }
        for line in &self.lines {
            text += line;
            text.push('\n');
        }
        text
    }
}
