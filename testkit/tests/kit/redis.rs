//! Real servers: kept data, passwords, TLS, limits, signals, and nothing left behind.

use std::process::Command;
use std::time::Duration;

use tidemill_testkit::{Fsync, RedisServer, eventually, shared_redis};

#[test]
fn a_server_killed_and_restarted_keeps_what_it_wrote_to_its_file() {
    let server = RedisServer::with().appendfsync(Fsync::Always).start();
    let (port, pid) = (server.port(), server.pid());
    server.command::<String>(&["SET", "k", "kept"]);
    server.kill();
    assert!(server.try_command::<String>(&["PING"]).is_err(), "it is gone");
    server.restart();
    assert_eq!(server.port(), port);
    assert_ne!(server.pid(), pid);
    assert_eq!(server.command::<String>(&["GET", "k"]), "kept");
}

#[test]
fn a_server_without_the_file_forgets() {
    let server = RedisServer::with().appendonly(false).start();
    server.command::<String>(&["SET", "k", "gone"]);
    server.restart();
    assert_eq!(server.command::<Option<String>>(&["GET", "k"]), None);
}

#[test]
fn settings_reach_the_server() {
    let server = RedisServer::with()
        .appendfsync(Fsync::No)
        .maxmemory("64mb", "allkeys-lru")
        .password("root-word")
        .user("ann", "on >ann-word ~a:* +@all -config")
        .line("hz 50")
        .start();
    let get = |key: &str| server.command::<(String, String)>(&["CONFIG", "GET", key]).1;
    assert_eq!(get("appendfsync"), "no");
    assert_eq!(get("maxmemory"), (64 * 1024 * 1024).to_string());
    assert_eq!(get("maxmemory-policy"), "allkeys-lru");
    assert_eq!(get("hz"), "50");
    let open = |url: String| redis::Client::open(url).unwrap().get_connection();
    assert!(open(format!("redis://127.0.0.1:{}", server.port())).map(|mut c| ping(&mut c)).is_ok_and(|p| p.is_err()));
    assert_eq!(ping(&mut open(server.url()).unwrap()).unwrap(), "PONG");
    let mut ann = open(format!("redis://ann:ann-word@127.0.0.1:{}", server.port())).unwrap();
    let refused = redis::cmd("SET").arg("b:1").arg(1).query::<()>(&mut ann).unwrap_err();
    assert!(refused.to_string().contains("permission"), "{refused}");
    redis::cmd("SET").arg("a:1").arg(1).query::<()>(&mut ann).unwrap();
    server.configure("hz 60");
    server.restart();
    assert_eq!(get("hz"), "60");
}

fn ping(connection: &mut redis::Connection) -> redis::RedisResult<String> {
    redis::cmd("PING").query(connection)
}

#[test]
fn tls_speaks_with_the_certificate_that_its_own_authority_signed() {
    let (server, other) = (RedisServer::with().tls().start(), RedisServer::with().tls().start());
    assert!(server.url().starts_with("rediss://"));
    let connect = |ca: &std::path::Path| {
        let root_cert = Some(std::fs::read(ca).unwrap());
        let certificates = redis::TlsCertificates { client_tls: None, root_cert };
        // Only the first of the process can be installed; it is the same one.
        drop(rustls::crypto::ring::default_provider().install_default());
        redis::Client::build_with_tls(server.url(), certificates).unwrap().get_connection()
    };
    assert_eq!(ping(&mut connect(&server.tls().ca).unwrap()).unwrap(), "PONG");
    assert!(connect(&other.tls().ca).is_err(), "another authority's");
}

#[test]
fn a_stopped_server_answers_nothing_and_goes_on_later() {
    let server = RedisServer::start();
    let mut connection = server.connection().unwrap();
    connection.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    server.stop();
    assert!(ping(&mut connection).is_err());
    server.cont();
    assert_eq!(server.command::<String>(&["PING"]), "PONG");
}

#[test]
fn a_server_that_is_still_loading_says_so() {
    let server = RedisServer::start();
    let many = "for n = 1, 2000 do redis.call('SET', 'k' .. n, 'v') end";
    server.command::<()>(&["EVAL", many, "0"]);
    server.command::<String>(&["BGREWRITEAOF"]);
    eventually("the file to be rewritten", Duration::from_secs(20), || {
        (server.info("aof_rewrite_in_progress")? == "0" && server.info("aof_rewrite_scheduled")? == "0").then_some(())
    });
    server.configure("key-load-delay 1000");
    server.configure("loading-process-events-interval-bytes 1024");
    server.restart_without_waiting();
    let said = eventually("it to take connections", Duration::from_secs(20), || {
        match server.try_command::<Option<String>>(&["GET", "k1"]) {
            Err(error) if error.is_connection_refusal() => None,
            said => Some(said),
        }
    });
    let error = said.unwrap_err().to_string();
    assert!(error.contains("LOADING") || error.contains("loading"), "{error}");
}

#[test]
fn dropping_a_server_leaves_nothing_behind() {
    let server = RedisServer::start();
    let (pid, folder) = (server.pid(), server.folder().to_owned());
    assert!(alive(pid) && folder.is_dir());
    drop(server);
    assert!(!alive(pid) && !folder.exists());
}

#[test]
fn a_server_goes_with_the_process_that_started_it_however_that_ends() {
    // This test binary once more, for the ignored test below only.
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["redis::waits_to_be_killed", "--exact", "--ignored", "--nocapture"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = std::io::BufReader::new(child.stdout.take().unwrap());
    let (pid, folder) = loop {
        let mut line = String::new();
        assert_ne!(std::io::BufRead::read_line(&mut output, &mut line).unwrap(), 0, "it ended early");
        if let Some((_, rest)) = line.split_once("STARTED ") {
            let (pid, folder) = rest.trim().split_once(' ').unwrap();
            break (pid.parse::<u32>().unwrap(), std::path::PathBuf::from(folder));
        }
    };
    assert!(alive(pid) && folder.is_dir());
    child.kill().unwrap();
    child.wait().unwrap();
    eventually("the server to go after its starter", Duration::from_secs(10), || (!alive(pid)).then_some(()));
    eventually("its folder to go", Duration::from_secs(10), || (!folder.exists()).then_some(()));
}

#[test]
#[ignore = "only for the test above"]
fn waits_to_be_killed() {
    let server = RedisServer::start();
    println!("STARTED {} {}", server.pid(), server.folder().display());
    std::thread::park_timeout(Duration::from_secs(60));
}

/// Running, and not only waiting to be reaped.
fn alive(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

#[test]
fn the_shared_server_is_one() {
    assert!(std::ptr::eq(shared_redis(), shared_redis()));
    assert_eq!(shared_redis().command::<(String, String)>(&["CONFIG", "GET", "appendfsync"]).1, "everysec");
}
