//! Generated input for the properties: arbitrary bytes, and good requests with a few bytes of them changed.
//!
//! `HOSTILE_CASES` sets how many of each (2,000 where nothing is said); proptest prints the seed of a failure.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::properties::{grammars, header_grammars, jwt_reader, template_engine};

/// Good requests, in the form that the properties read. The first byte is the grammar.
const SEEDS: [&str; 5] = [
    "\u{1}v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=\n1614265330\nmsg_p5jXN8AQM9LWM0D4loKWxJek\n{\"test\": 2432232314}",
    "\u{1}v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg== v1,AAAA\n1614265330\nmsg_p5jXN8AQM9LWM0D4loKWxJek\n{\"test\": 2432232314}",
    "\u{0}t=1614265330,v1=00,v1=11,v0=22\n\n\n{\"id\": \"evt_1\"}",
    "\u{9}at:1614265330;sig:AAAA;sig:BBBB\n\nid-1\nbody",
    "\u{6}AAAA\ntoken\n\na=b&a=b&c=%2B",
];
const TEMPLATES: [&str; 6] = [
    "{id}.{ts}.{body}\nmsg_1\n{}",
    "v0:{ts}:{body}\n\na=b",
    "{ts}{body}\n\n0",
    "{url}{params}\n\nb=2&a=1&a=1",
    "{url}|{body}\n\nx",
    "{{body}}\n\nx",
];

type Property = fn(&[u8]) -> bool;

fn cases() -> u32 {
    #[expect(clippy::disallowed_methods, reason = "how long the suite runs is not configuration")]
    let asked = std::env::var("HOSTILE_CASES");
    asked.ok().map_or(2_000, |text| text.parse().expect("HOSTILE_CASES is a number"))
}

/// Runs a property over arbitrary bytes and over spoiled seeds; says how often it came through to the end.
fn run(seeds: Vec<Vec<u8>>, property: Property) -> u32 {
    let edits = prop::collection::vec((any::<prop::sample::Index>(), 0..4_u8, any::<u8>()), 0..4);
    let spoiled = (prop::sample::select(seeds), edits).prop_map(|(mut bytes, edits)| {
        for (at, how, byte) in edits {
            let at = at.index(bytes.len() + 1);
            match how {
                0 => bytes.insert(at, byte),
                1 => bytes.truncate(at.max(1)),
                _ if at < bytes.len() && how == 2 => bytes[at] = byte,
                _ if at < bytes.len() => drop(bytes.remove(at)),
                _ => {}
            }
        }
        bytes
    });
    let any =
        prop_oneof![prop::collection::vec(any::<u8>(), 0..300), "[\\PC\n=,.;:{}]{0,200}".prop_map(String::into_bytes)];
    let through = std::cell::Cell::new(0);
    let config = Config { failure_persistence: None, ..Config::with_cases(cases()) };
    let mut runner = TestRunner::new(config);
    let done = runner.run(&prop_oneof![3 => spoiled, 1 => any], |bytes| {
        through.set(through.get() + u32::from(property(&bytes)));
        Ok(())
    });
    if let Err(error) = done {
        panic!("{error}\n{runner}");
    }
    through.get()
}

#[test]
fn no_header_gets_past_the_grammars() {
    let mut seeds: Vec<Vec<u8>> = SEEDS.iter().map(|seed| seed.as_bytes().to_vec()).collect();
    seeds.extend(
        (0..grammars().len())
            .map(|pick| [&[u8::try_from(pick).unwrap()], &b"sha256=00\n1614265330\nid\n{}"[..]].concat()),
    );
    assert!(run(seeds, header_grammars) > 0, "no good request was among them");
}

#[test]
fn no_token_gets_past_the_reader() {
    let part = |json: &str| base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, json);
    let digest = hex::encode(<sha2::Sha256 as sha2::Digest>::digest("{}"));
    let good = |header: &str| {
        let claims = part(&format!("{{\"iat\":1614265330,\"request_body_sha256\":\"{digest}\"}}"));
        format!("{}.{claims}.{}", part(header), part(&"s".repeat(64))).into_bytes()
    };
    let headers =
        [r#"{"alg":"ES256","kid":"k"}"#, r#"{"alg":"none","kid":"k"}"#, r#"{"alg":"HS256","kid":"k"}"#, "[]", "{"];
    assert!(run(headers.map(good).into(), jwt_reader) > 0, "no token came as far as asking for its key");
}

#[test]
fn what_a_template_says_is_what_is_signed() {
    let seeds = TEMPLATES.iter().map(|seed| seed.as_bytes().to_vec()).collect();
    assert!(run(seeds, template_engine) > 0, "no template was allowed");
}

#[test]
fn what_the_fuzzers_have_found_holds_here_too() {
    let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    let properties: [Property; 3] = [header_grammars, jwt_reader, template_engine];
    for (name, property) in ["header_grammars", "jwt_reader", "template_engine"].into_iter().zip(properties) {
        let inputs: Vec<_> = std::fs::read_dir(corpus.join(name)).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(inputs.len() > 100, "{name} has {} inputs", inputs.len());
        let through = inputs.iter().filter(|path| property(&std::fs::read(path).unwrap())).count();
        assert!(through > 0, "{name}: no input came through to the end");
    }
}
