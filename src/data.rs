//! Relational data: endpoints, messages, attempts, keys, audit, and the application's own tables.
//!
//! Owns the connection pools and the migrations. One SQL text per query, in the subset that SQLite and Postgres both
//! speak (`$1`, `on conflict`, `returning`); [`on_pool!`](crate::on_pool) and [`on_tx!`](crate::on_tx) give the text to
//! whichever database is configured, so that a query's author never asks which one it is. SQLite has one writing connection
//! (writers queue here instead of failing with BUSY) and several reading ones.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sqlx::SqlitePool;
use sqlx::migrate::{Migrate as _, MigrateError, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};

use together::Line;

mod direct;
mod rows;
mod together;

pub use direct::{Direct, DirectError, Prepared, values};
pub(crate) use rows::padded;
pub use together::Write;

const READERS: u32 = 4;
/// Prepared statements kept by each connection: all texts of the house, and those of lists in each of their few lengths.
const STATEMENTS: usize = 400;
/// Pages of the journal that are brought into the file at once.
const CHECKPOINT: u32 = 4_096;
/// Another process may hold the file for so long.
const BUSY: Duration = Duration::from_secs(5);

/// Why the database can't be used.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// It can't be opened or asked.
    #[error("the database {place} can't be used: {source}")]
    Sql {
        /// File or host.
        place: String,
        /// The driver's reason.
        source: sqlx::Error,
    },
    /// Its tables can't be brought up to date.
    #[error("the tables of {place} can't be brought up to date: {source}")]
    Migrate {
        /// File or host.
        place: String,
        /// The reason.
        source: MigrateError,
    },
    /// Its tables are of an older version.
    #[error("the tables of {place} are of version {found}, this program needs {needed}: run `tidemill migrate`")]
    TooOld {
        /// File or host.
        place: String,
        /// The newest migration that was applied.
        found: i64,
        /// The newest one this program has.
        needed: i64,
    },
}

/// The database. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Database {
    pools: Pools,
    place: String,
    line: Arc<Line>,
}

#[derive(Clone, Debug)]
enum Pools {
    Sqlite { read: SqlitePool, write: SqlitePool },
}

/// A pool for single statements; see [`on_pool!`](crate::on_pool).
#[derive(Debug)]
pub enum Pool<'a> {
    /// SQLite.
    Sqlite(&'a SqlitePool),
}

/// A transaction that may write; rolled back when dropped without [`Tx::commit`]. See [`on_tx!`](crate::on_tx).
#[derive(Debug)]
pub enum Tx {
    /// SQLite.
    Sqlite(sqlx::Transaction<'static, sqlx::Sqlite>),
}

impl Tx {
    /// Makes it durable.
    ///
    /// # Errors
    /// When the database did not take it.
    pub async fn commit(self) -> Result<(), sqlx::Error> {
        match self {
            Self::Sqlite(tx) => tx.commit().await,
        }
    }
}

/// Runs an expression with `$pool` bound to the configured database's pool.
///
/// ```no_run
/// # async fn f(db: tidemill::data::Database) -> Result<(), sqlx::Error> {
/// let n: i64 = tidemill::on_pool!(db.read(), pool => {
///     sqlx::query_scalar("select count(*) from api_keys where role = $1").bind("admin").fetch_one(pool).await
/// })?;
/// # Ok(()) }
/// ```
#[macro_export]
macro_rules! on_pool {
    ($from:expr, $pool:ident => $body:expr) => {
        match $from {
            $crate::data::Pool::Sqlite($pool) => $body,
        }
    };
}

/// Runs an expression with `$conn` bound to the transaction's connection (`&mut SqliteConnection`).
///
/// ```no_run
/// # async fn f(db: tidemill::data::Database) -> Result<(), sqlx::Error> {
/// let mut tx = db.begin().await?;
/// tidemill::on_tx!(&mut tx, conn => {
///     sqlx::query("delete from api_keys where id = $1").bind("k").execute(conn).await
/// })?;
/// tx.commit().await?;
/// # Ok(()) }
/// ```
#[macro_export]
macro_rules! on_tx {
    ($tx:expr, $conn:ident => $body:expr) => {
        match $tx {
            $crate::data::Tx::Sqlite(tx) => {
                let $conn: &mut sqlx::SqliteConnection = &mut *tx;
                $body
            }
        }
    };
}

impl Database {
    /// Opens (or makes) the SQLite file at `path`. Call [`Database::migrate`] or [`Database::check_schema`] next.
    ///
    /// # Errors
    /// When the file can't be opened.
    pub async fn open(path: &Path) -> Result<Self, DataError> {
        let place = path.display().to_string();
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .statement_cache_capacity(STATEMENTS)
            // The journal is brought into the file every 16 MiB instead of 4: pages that change all the time are copied less often.
            .pragma("wal_autocheckpoint", CHECKPOINT.to_string())
            .busy_timeout(BUSY);
        let pool = |n: u32| {
            SqlitePoolOptions::new()
                .max_connections(n)
                .acquire_timeout(Duration::from_secs(10))
                // A file does not hang up; asking it first would be a hand-over to its thread for each statement.
                .test_before_acquire(false)
        };
        let fail = |source| DataError::Sql { place: place.clone(), source };
        // The writer's own pages stay true, and it reads what it is about to change: 16 MiB of them instead of 2.
        let writing = options.clone().pragma("cache_size", "-16384");
        let write = pool(1).connect_with(writing).await.map_err(fail)?;
        let read = pool(READERS).connect_with(options.read_only(false)).await.map_err(fail)?;
        let line = Arc::new(Line::new(path, BUSY, CHECKPOINT).map_err(fail)?);
        Ok(Self { pools: Pools::Sqlite { read, write }, place, line })
    }

    /// For statements that only read.
    pub fn read(&self) -> Pool<'_> {
        match &self.pools {
            Pools::Sqlite { read, .. } => Pool::Sqlite(read),
        }
    }

    /// For single statements that write; more than one belong into [`Database::begin`].
    pub fn write(&self) -> Pool<'_> {
        self.line.make_way();
        match &self.pools {
            Pools::Sqlite { write, .. } => Pool::Sqlite(write),
        }
    }

    /// A transaction that may write from its first statement on.
    ///
    /// # Errors
    /// When the database is not reachable.
    pub async fn begin(&self) -> Result<Tx, sqlx::Error> {
        self.line.make_way();
        match &self.pools {
            Pools::Sqlite { write, .. } => Ok(Tx::Sqlite(write.begin_with("begin immediate").await?)),
        }
    }

    /// Writes in a transaction shared with all who write at the same time, and comes back when it is durable. For what many
    /// do at once: a commit waits for the disk, however little stands in it.
    ///
    /// # Errors
    /// What `work` fails with, or that the database did not take it; nothing of it is kept then.
    pub async fn together<W: Write>(&self, work: W) -> Result<W::Output, W::Error> {
        match &self.pools {
            Pools::Sqlite { write, .. } => self.line.write(write, work).await,
        }
    }

    /// Brings the engine's tables up to date, then those of `application`.
    ///
    /// # Errors
    /// When a migration fails; those before it stay.
    pub async fn migrate(&self, application: Option<Migrator>) -> Result<(), DataError> {
        let _alone = self.alone().await?;
        self.bring_up(application).await
    }

    /// SQLite has no lock over several migrations: processes that start together on an empty folder take turns by a file.
    async fn alone(&self) -> Result<std::fs::File, DataError> {
        let path = format!("{}.lock", self.place);
        let locked = tokio::task::spawn_blocking(move || {
            let file = std::fs::File::create(path)?;
            file.lock()?;
            Ok(file)
        });
        let locked = locked.await.unwrap_or_else(|e| Err(std::io::Error::other(e)));
        locked.map_err(|e| DataError::Sql { place: self.place.clone(), source: e.into() })
    }

    async fn bring_up(&self, application: Option<Migrator>) -> Result<(), DataError> {
        for mut migrator in std::iter::once(engine_migrations()).chain(application) {
            // Engine and application keep their versions in one table; each ignores the other's.
            migrator.set_ignore_missing(true);
            let done = match &self.pools {
                Pools::Sqlite { write, .. } => migrator.run(write).await,
            };
            done.map_err(|source| DataError::Migrate { place: self.place.clone(), source })?;
        }
        Ok(())
    }

    /// Makes the tables of an empty database; of one that has tables, only checks that they are not too old.
    ///
    /// # Errors
    /// [`DataError::TooOld`] when a migration is missing.
    pub async fn check_schema(&self, application: Option<Migrator>) -> Result<(), DataError> {
        let engine = engine_migrations();
        let all = || std::iter::once(&engine).chain(&application);
        let mut applied = self.applied().await?;
        let mut _alone = None;
        if all().any(|migrator| migrator.iter().any(|m| !applied.contains(&m.version))) {
            // Another process may be making them in this moment.
            _alone = Some(self.alone().await?);
            applied = self.applied().await?;
        }
        if applied.is_empty() {
            return self.bring_up(application).await;
        }
        for migrator in all() {
            let missing = migrator.iter().find(|m| !applied.contains(&m.version));
            if let Some(missing) = missing {
                let found = applied.iter().copied().filter(|v| *v < missing.version).max().unwrap_or(0);
                return Err(DataError::TooOld { place: self.place.clone(), found, needed: missing.version });
            }
        }
        Ok(())
    }

    async fn applied(&self) -> Result<Vec<i64>, DataError> {
        let fail = |source| DataError::Migrate { place: self.place.clone(), source };
        match &self.pools {
            Pools::Sqlite { write, .. } => {
                let mut conn = write.acquire().await.map_err(|e| fail(e.into()))?;
                conn.ensure_migrations_table("_sqlx_migrations").await.map_err(fail)?;
                let rows = conn.list_applied_migrations("_sqlx_migrations").await.map_err(fail)?;
                Ok(rows.into_iter().map(|m| m.version).collect())
            }
        }
    }

    /// Closes the pools; what is under way finishes first.
    pub async fn close(&self) {
        self.line.end().await;
        match &self.pools {
            Pools::Sqlite { read, write } => {
                read.close().await;
                write.close().await;
            }
        }
    }
}

fn engine_migrations() -> Migrator {
    sqlx::migrate!("migrations/data/sqlite")
}
