//! A thousand silent and a thousand dribbling connections beside a sender that behaves.
//!
//! The attackers come back two seconds after they are cut, for as long as the test runs. Half of the dribblers dribble a
//! head, half a body. Once with the shipped cap, and once with one that they exceed four times, so that making room is
//! measured too.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::rig::{Rig, event};
use super::wire::PATIENCE;

const SILENT: usize = 1_000;
const DRIBBLING: usize = 1_000;
const SENDERS: usize = 4;
const REQUESTS: usize = 60;
/// Between two bytes of a dribbler, and before an attacker comes back.
const DRIBBLE: Duration = Duration::from_millis(500);
const COME_BACK: Duration = Duration::from_secs(2);
/// So long until all of them have come for the first time.
const GATHERING: Duration = Duration::from_secs(2);
const SIEGE: Duration = Duration::from_secs(4);

#[derive(Clone, Copy)]
enum Attack {
    Silence,
    Head,
    Body,
}

/// Connects again and again, and never makes a whole request.
async fn attack(at: std::net::SocketAddr, kind: Attack, stop: CancellationToken) {
    let one = || async {
        let Ok(mut stream) = TcpStream::connect(at).await else { return };
        let begin: &[u8] = match kind {
            Attack::Silence => b"",
            Attack::Head => b"POST /webhooks/stripe HTTP/1.1\r\nhost: t\r\nx-slow: ",
            Attack::Body => b"POST /webhooks/stripe HTTP/1.1\r\nhost: t\r\ncontent-length: 100000\r\n\r\n",
        };
        if stream.write_all(begin).await.is_err() {
            return;
        }
        let mut reply = [0; 256];
        loop {
            tokio::select! {
                read = stream.read(&mut reply) => if !matches!(read, Ok(1..)) { return },
                () = tokio::time::sleep(DRIBBLE) => {
                    if !matches!(kind, Attack::Silence) && stream.write_all(b"a").await.is_err() {
                        return;
                    }
                }
            }
        }
    };
    while stop.run_until_cancelled(one()).await.is_some() {
        if stop.run_until_cancelled(tokio::time::sleep(COME_BACK)).await.is_none() {
            break;
        }
    }
}

/// Sends signed events, each on its own connection as a stranger must; gives how long each took.
async fn send_events(rig: &Arc<Rig>, round: &str) -> Vec<Duration> {
    let mut senders = tokio::task::JoinSet::new();
    for sender in 0..SENDERS {
        let (rig, round) = (Arc::clone(rig), round.to_owned());
        senders.spawn(async move {
            let mut took = Vec::new();
            for n in 0..REQUESTS {
                let request = rig.signed("stripe", &event(&format!("evt_{round}_{sender}_{n}")));
                let begun = Instant::now();
                let reply = tokio::time::timeout(PATIENCE, rig.send(&request)).await.expect("no reply came");
                took.push(begun.elapsed());
                assert_eq!((reply.status, reply.json()["status"].as_str()), (200, Some("accepted")));
            }
            took
        });
    }
    senders.join_all().await.concat()
}

fn p99(mut took: Vec<Duration>) -> Duration {
    took.sort();
    took[took.len() * 99 / 100]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_silent_and_a_thousand_dribbling_peers_leave_normal_traffic_alone() {
    siege(Rig::start().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_they_do_when_there_is_room_for_a_quarter_of_them() {
    siege(Rig::with_connections(512).await).await;
}

/// Two sieges at once would measure each other.
static ONE_AT_A_TIME: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

async fn siege(rig: Rig) {
    let _alone = ONE_AT_A_TIME.lock().await;
    allow_many_files();
    let rig = Arc::new(rig);
    send_events(&rig, "warm").await;
    let calm = p99(send_events(&rig, "calm").await);

    let (attackers, stop) = (TaskTracker::new(), CancellationToken::new());
    for n in 0..SILENT + DRIBBLING {
        let kind = match n % 4 {
            0 | 2 => Attack::Silence,
            1 => Attack::Head,
            _ => Attack::Body,
        };
        attackers.spawn(attack(rig.served.at, kind, stop.clone()));
        if n % 50 == 0 {
            tokio::time::sleep(GATHERING / 40).await;
        }
    }
    attackers.close();
    let (begun, mut took) = (Instant::now(), Vec::new());
    while begun.elapsed() < SIEGE {
        took.append(&mut send_events(&rig, &format!("siege{}", took.len())).await);
    }
    stop.cancel();
    attackers.wait().await;
    let (count, under_siege) = (took.len(), p99(took));
    eprintln!("p99 of {count} requests under siege {under_siege:?}, calm {calm:?}");
    // Generous: both ends, the attackers and whatever else the machine does share its cores.
    let bound = calm * 10 + Duration::from_millis(500);
    assert!(under_siege <= bound, "p99 {under_siege:?} under siege, {calm:?} before");
}

/// Both ends of every connection are in this process.
fn allow_many_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.unwrap_or(u64::MAX).min(16_384);
    if limit.current.is_some_and(|current| current < wanted) {
        setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: limit.maximum }).unwrap();
    }
}
