//! Real servers and hostile networks for tests. Knows nothing of Tidemill, so that everything may use it.
//!
//! - [`RedisServer`]: a `redis-server` of one's own in a temporary folder, to kill, stop, restart and reconfigure;
//!   [`shared_redis`] is one for all tests of a process that only need some Redis.
//! - [`Sentinels`]: one master, two replicas and three sentinels that fail over within seconds.
//! - [`Proxy`]: a TCP proxy that delays, holds, swallows, refuses, resets, slices and cuts replies short.
//!
//! All of it is blocking and needs no runtime of the caller; the proxy brings its own thread. Processes are stopped by
//! their own id, and go when the process that started them goes, however it goes. What can't be started panics
//! with the server's own words: a test without its server has nothing to say.

mod eventually;
mod process;
mod proxy;
mod redis;
mod sentinel;

pub use eventually::eventually;
pub use proxy::{Direction, Mode, Proxy};
pub use redis::{Fsync, RedisServer, Settings, Tls, shared_redis};
pub use sentinel::{SentinelSettings, Sentinels};
