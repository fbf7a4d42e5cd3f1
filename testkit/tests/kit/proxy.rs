//! Each manner of the proxy, seen by a plain client before a plain echo server.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use tidemill_testkit::{Direction, Mode, Proxy};

const SHORT: Duration = Duration::from_millis(150);
const LONG: Duration = Duration::from_secs(10);

/// A server that sends back what it gets, for as long as the process lives.
fn echo() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut from = stream.try_clone().unwrap();
                drop(std::io::copy(&mut from, &mut &stream));
                drop(stream.shutdown(std::net::Shutdown::Both));
            });
        }
    });
    port
}

fn proxy() -> Proxy {
    Proxy::to_port(echo())
}

fn connect(proxy: &Proxy) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", proxy.port())).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

fn say(stream: &mut TcpStream, words: &[u8]) -> std::io::Result<Vec<u8>> {
    stream.write_all(words)?;
    let mut back = vec![0; words.len()];
    stream.read_exact(&mut back)?;
    Ok(back)
}

fn silent(stream: &mut TcpStream) -> bool {
    stream.set_read_timeout(Some(SHORT)).unwrap();
    let read = stream.read(&mut [0; 64]);
    stream.set_read_timeout(Some(LONG)).unwrap();
    matches!(read, Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut))
}

fn was_reset<T: std::fmt::Debug>(result: std::io::Result<T>) -> bool {
    matches!(&result, Err(e) if matches!(e.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe))
}

#[test]
fn pass_forwards_everything_both_ways_and_passes_on_the_end() {
    let proxy = proxy();
    let mut stream = connect(&proxy);
    let big: Vec<u8> = (0..4 << 20).map(|n: u32| n.to_le_bytes()[1]).collect();
    let mut reader = stream.try_clone().unwrap();
    let sent = big.clone();
    let writer = std::thread::spawn(move || {
        stream.write_all(&sent).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        stream
    });
    let mut back = Vec::new();
    reader.read_to_end(&mut back).unwrap();
    assert!(back == big, "{} bytes of {} came back", back.len(), big.len());
    drop(writer.join().unwrap());
    assert_eq!(proxy.accepted(), 1);
}

#[test]
fn delay_takes_its_time_each_way_and_keeps_the_order() {
    let proxy = proxy();
    let mut stream = connect(&proxy);
    say(&mut stream, b"warm").unwrap();
    proxy.set(Mode::Delay(SHORT));
    let begin = Instant::now();
    assert_eq!(say(&mut stream, b"first").unwrap(), b"first");
    assert!(begin.elapsed() >= SHORT * 2, "{:?}", begin.elapsed());
    proxy.set(Mode::Pass);
    let begin = Instant::now();
    assert_eq!(say(&mut stream, b"second").unwrap(), b"second");
    assert!(begin.elapsed() < SHORT * 2, "{:?}", begin.elapsed());
}

#[test]
fn hold_stops_one_direction_and_lets_go_later() {
    let proxy = proxy();
    for way in [Direction::Up, Direction::Down, Direction::Both] {
        let mut stream = connect(&proxy);
        say(&mut stream, b"warm").unwrap();
        proxy.set(Mode::Hold(way));
        stream.write_all(b"held").unwrap();
        assert!(silent(&mut stream), "{way:?}");
        proxy.set(Mode::Pass);
        let mut back = [0; 4];
        stream.read_exact(&mut back).unwrap();
        assert_eq!(&back, b"held", "{way:?}");
    }
}

#[test]
fn swallow_takes_everything_and_resets_what_it_spoiled_when_it_ends() {
    let proxy = proxy();
    let (mut idle, mut old) = (connect(&proxy), connect(&proxy));
    say(&mut idle, b"warm").unwrap();
    say(&mut old, b"warm").unwrap();
    proxy.set(Mode::Swallow);
    let mut new = connect(&proxy);
    for stream in [&mut old, &mut new] {
        stream.write_all(b"lost").unwrap();
        assert!(silent(stream));
    }
    proxy.set(Mode::Pass);
    assert!(was_reset(old.read(&mut [0; 4])) && was_reset(new.read(&mut [0; 4])));
    assert_eq!(say(&mut idle, b"whole").unwrap(), b"whole", "a connection that lost nothing goes on");
    assert_eq!(say(&mut connect(&proxy), b"hello").unwrap(), b"hello");
}

#[test]
fn refuse_turns_new_ones_away_resets_open_ones_and_keeps_its_port() {
    let proxy = proxy();
    for _ in 0..3 {
        let mut stream = connect(&proxy);
        say(&mut stream, b"warm").unwrap();
        proxy.set(Mode::Refuse);
        assert!(was_reset(stream.read(&mut [0; 4])));
        let refused = TcpStream::connect(("127.0.0.1", proxy.port())).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        proxy.set(Mode::Pass);
        assert_eq!(say(&mut connect(&proxy), b"back").unwrap(), b"back");
    }
}

#[test]
fn reset_all_resets_what_is_open_and_nothing_after() {
    let proxy = proxy();
    let mut stream = connect(&proxy);
    say(&mut stream, b"warm").unwrap();
    proxy.reset_all();
    assert!(was_reset(stream.read(&mut [0; 4])));
    assert_eq!(say(&mut connect(&proxy), b"hello").unwrap(), b"hello");
}

#[test]
fn a_reply_is_cut_after_so_many_bytes_once() {
    let proxy = proxy();
    for after in [0, 3] {
        let mut stream = connect(&proxy);
        say(&mut stream, b"warm").unwrap();
        let before = proxy.cuts();
        proxy.cut_next_reply(after);
        stream.write_all(b"123456").unwrap();
        let mut got = Vec::new();
        let mut byte = [0];
        let end = loop {
            match stream.read(&mut byte) {
                Ok(1) => got.push(byte[0]),
                end => break end,
            }
        };
        assert!(was_reset(end));
        // A reset may overtake bytes that were sent before it; more than these never come.
        assert!(b"123456".starts_with(&got) && got.len() <= after, "{got:?}");
        assert_eq!(proxy.cuts(), before + 1);
        assert_eq!(say(&mut connect(&proxy), b"whole").unwrap(), b"whole");
    }
}

#[test]
fn only_the_reply_to_the_named_request_is_cut() {
    let proxy = proxy();
    proxy.cut_reply_to(b"EVIL", 0);
    let (mut one, mut two) = (connect(&proxy), connect(&proxy));
    assert_eq!(say(&mut one, b"good").unwrap(), b"good");
    two.write_all(b"an EVIL request").unwrap();
    assert!(was_reset(two.read(&mut [0; 64])));
    assert_eq!(say(&mut one, b"EVIL").unwrap(), b"EVIL", "once");
}

#[test]
fn slice_cuts_into_small_writes_and_loses_nothing() {
    let proxy = proxy();
    proxy.set(Mode::Slice(1));
    let mut stream = connect(&proxy);
    let words: Vec<u8> = (0..2_000).map(|n: u32| n.to_le_bytes()[0]).collect();
    stream.write_all(&words).unwrap();
    let (mut back, mut reads) = (Vec::new(), 0);
    let mut piece = [0; 4_096];
    while back.len() < words.len() {
        let n = stream.read(&mut piece).unwrap();
        back.extend_from_slice(&piece[..n]);
        reads += 1;
    }
    assert_eq!(back, words);
    assert!(reads > 3, "{reads} reads: one piece would have come with one");
}

#[test]
fn a_server_that_is_not_there_resets_the_client() {
    // Never given out: one that was free a moment ago may be somebody's by now.
    let mut stream = connect(&Proxy::to_port(1));
    assert!(was_reset(stream.read(&mut [0; 4])));
}
