//! Plaid's tokens: what is refused unseen, whose key is asked for, and what happens when it can't be.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tidemill::config::ingress::{SchemeName, SourceConfig};
use tidemill::ingress::{Admitted, Source, VerifyError};

use super::attempt::Try;
use super::fake_plaid::{BODY, Fake, HOUR, NOW, claims, header, key, part, sign, source, token};

use VerifyError::{
    ExpiredKey, KeyUnavailable, Malformed, Mismatch, Missing, Repeated, Stale, UnknownKey, WrongAlgorithm,
};

fn with(token: &str) -> Try {
    Try::new(&[("plaid-verification", token)], BODY, NOW)
}

async fn verdict(attempt: &Try, source: &Source) -> Result<String, VerifyError> {
    match attempt.admitted(source).await? {
        Admitted::Event(event) => Ok(event.get().verified_with.clone().unwrap()),
        Admitted::Greeting(_) => panic!("Plaid has no handshake"),
    }
}

/// The fake is served on this thread, beside the test.
fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(tokio::task::LocalSet::new().run_until(test));
}

#[test]
fn a_good_token_is_accepted_its_key_is_named_and_asked_for_once() {
    run(async {
        let (fake, source) = Fake::start().await;
        for _ in 0..3 {
            assert_eq!(verdict(&with(&token("key-1", 1)), &source).await.as_deref(), Ok("plaid:key-1"));
        }
        let Ok(Admitted::Event(event)) = with(&token("key-1", 1)).admitted(&source).await else { panic!() };
        let digest = format!("sha256:{}", hex::encode(Sha256::digest(BODY)));
        assert_eq!((&event.get().event_id, &*event.get().event_type), (&digest, "SYNC_UPDATES_AVAILABLE"));
        assert_eq!(fake.asked(), 1);
    });
}

#[test]
fn what_can_be_seen_without_a_key_is_refused_without_asking_for_one() {
    run(async {
        let (fake, source) = Fake::start().await;
        let good = token("key-1", 1);
        let (signed, signature) = good.rsplit_once('.').unwrap();
        let of = |header: Value, claims: Value| sign(&header, &claims, &key(1));
        let alg = |alg: &str| of(json!({ "alg": alg, "kid": "key-1" }), claims(BODY, NOW));
        let public = key(1).verifying_key().to_sec1_point(false).as_bytes().to_vec();
        let hs256 = {
            let signed = format!("{}.{}", part(&json!({ "alg": "HS256", "kid": "key-1" })), part(&claims(BODY, NOW)));
            let mac = super::vectors::mac_with(&public, signed.as_bytes());
            format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac))
        };
        let cases = [
            (alg("none"), WrongAlgorithm),
            (alg("es256"), WrongAlgorithm),
            (alg("ES384"), WrongAlgorithm),
            (alg(""), WrongAlgorithm),
            (hs256, WrongAlgorithm),
            (
                format!("{}.{}.", part(&json!({ "alg": "none", "kid": "key-1" })), part(&claims(BODY, NOW))),
                WrongAlgorithm,
            ),
            (of(json!({ "kid": "key-1" }), claims(BODY, NOW)), Malformed),
            (of(json!({ "alg": "ES256" }), claims(BODY, NOW)), Malformed),
            (of(header(""), claims(BODY, NOW)), Malformed),
            (of(header(&"k".repeat(101)), claims(BODY, NOW)), Malformed),
            (of(header("key 1\n"), claims(BODY, NOW)), Malformed),
            (of(json!({ "alg": "ES256", "kid": "key-1", "crit": ["b64"] }), claims(BODY, NOW)), Malformed),
            (of(header("key-1"), json!({ "iat": NOW })), Malformed),
            (of(header("key-1"), json!({ "request_body_sha256": hex::encode(Sha256::digest(BODY)) })), Malformed),
            (of(header("key-1"), claims(BODY, NOW - 301)), Stale),
            (of(header("key-1"), claims(BODY, NOW + 301)), Stale),
            (of(header("key-1"), claims(BODY, -1)), Malformed),
            (of(header("key-1"), claims(&format!("{BODY}\n"), NOW)), Mismatch),
            (of(header("key-1"), json!({ "iat": NOW, "request_body_sha256": "" })), Mismatch),
            (
                of(
                    header("key-1"),
                    json!({ "iat": NOW, "request_body_sha256": hex::encode_upper(Sha256::digest(BODY)) }),
                ),
                Mismatch,
            ),
            (String::new(), Malformed),
            ("..".to_owned(), Malformed),
            (signed.to_owned(), Malformed),
            (format!("{signed}."), Malformed),
            (format!("{signed}.{signature}="), Malformed),
            (format!("{signed}.{}", &signature[..80]), Malformed),
            (format!("{signed}.{signature}AA"), Malformed),
            (format!("{good}.{signature}"), Malformed),
            (format!(" {good}"), Malformed),
            (format!("{signed}.{}", URL_SAFE_NO_PAD.encode([0; 64])), Malformed),
            (format!("{signed}.{}", "A".repeat(3 * 1024 * 1024)), Malformed),
        ];
        for (token, wrong) in cases {
            let shown: String = token.chars().take(200).collect();
            assert_eq!(verdict(&with(&token), &source).await, Err(wrong), "{shown}");
        }
        let mut none = with(&good);
        none.headers.push(("plaid-verification", good.clone()));
        assert_eq!(verdict(&none, &source).await, Err(Repeated));
        none.headers.clear();
        assert_eq!(verdict(&none, &source).await, Err(Missing));
        assert_eq!(
            verdict(&with(&good).with_body(BODY.replace("  ", " ")), &source).await,
            Err(Mismatch),
            "indented otherwise"
        );
        assert_eq!(fake.asked(), 0);
    });
}

#[test]
fn a_token_of_another_key_or_with_one_other_bit_is_refused() {
    run(async {
        let (_fake, source) = Fake::start().await;
        assert_eq!(verdict(&with(&token("key-1", 2)), &source).await, Err(Mismatch));
        assert_eq!(verdict(&with(&token("key-2", 1)), &source).await, Err(Mismatch));
        let good = token("key-1", 1);
        let (signed, signature) = good.rsplit_once('.').unwrap();
        let bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut other = bytes.clone();
            other[bit / 8] ^= 1 << (bit % 8);
            let attempt = with(&format!("{signed}.{}", URL_SAFE_NO_PAD.encode(other)));
            assert_eq!(verdict(&attempt, &source).await, Err(Mismatch), "bit {bit}");
        }
        for at in (0..BODY.len()).step_by(7) {
            let mut body = BODY.as_bytes().to_vec();
            body[at] ^= 1;
            assert_eq!(verdict(&with(&good).with_body(body), &source).await, Err(Mismatch), "byte {at}");
        }
        for (off, fresh) in [(-300, true), (300, true), (-301, false), (301, false)] {
            let attempt = Try { at: NOW + off, ..with(&good) };
            assert_eq!(verdict(&attempt, &source).await.is_ok(), fresh, "{off} s");
        }
    });
}

#[test]
fn many_at_once_with_a_new_key_ask_once() {
    run(async {
        let (fake, source) = Fake::start().await;
        let source = Arc::new(source);
        // The first call hangs until all others have come.
        fake.gate.forget_permits(1_000);
        let mut all = tokio::task::JoinSet::new();
        for _ in 0..50 {
            let source = Arc::clone(&source);
            all.spawn_local(async move { verdict(&with(&token("key-1", 1)), &source).await });
        }
        super::rig::until("the fake is asked", || async { fake.asked() == 1 }).await;
        fake.gate.add_permits(1_000);
        while let Some(done) = all.join_next().await {
            assert_eq!(done.unwrap().as_deref(), Ok("plaid:key-1"));
        }
        assert_eq!(fake.asked(), 1);
    });
}

#[test]
fn an_unknown_key_is_remembered_and_a_flood_of_them_is_a_few_calls() {
    run(async {
        let (fake, source) = Fake::start().await;
        assert_eq!(verdict(&with(&token("key-1", 1)), &source).await.as_deref(), Ok("plaid:key-1"));
        for _ in 0..5 {
            assert_eq!(verdict(&with(&token("nobody", 9)), &source).await, Err(UnknownKey));
        }
        assert_eq!(fake.asked(), 2, "once for each");
        let mut verdicts = BTreeMap::new();
        for n in 0..500 {
            let verdict = verdict(&with(&token(&format!("made-up-{n}"), 9)), &source).await.unwrap_err();
            *verdicts.entry(verdict.as_str()).or_insert(0) += 1;
        }
        assert_eq!(verdicts, BTreeMap::from([("key_unknown", 8), ("key_unavailable", 492)]));
        assert_eq!(fake.asked(), 10, "a burst of ten");
        assert_eq!(
            verdict(&with(&token("key-1", 1)), &source).await.as_deref(),
            Ok("plaid:key-1"),
            "the known one works on"
        );
        let later = |kid: &str, seed, seconds| {
            let token = sign(&header(kid), &claims(BODY, NOW + seconds), &key(seed));
            Try { at: NOW + seconds, ..with(&token) }
        };
        assert_eq!(verdict(&later("key-2", 2, 5), &source).await, Err(KeyUnavailable));
        assert_eq!(
            verdict(&later("key-2", 2, 6), &source).await.as_deref(),
            Ok("plaid:key-2"),
            "one more each six seconds"
        );
        fake.offer("nobody", &key(9), json!(null));
        assert_eq!(verdict(&later("nobody", 9, 59), &source).await, Err(UnknownKey));
        assert_eq!(
            verdict(&later("nobody", 9, 61), &source).await.as_deref(),
            Ok("plaid:nobody"),
            "asked again after a minute"
        );
    });
}

#[test]
fn a_withdrawn_key_is_refused_and_a_known_one_is_asked_for_again_when_another_turns_up() {
    run(async {
        let (fake, source) = Fake::start().await;
        fake.offer("old", &key(3), json!(1_700_000_000));
        assert_eq!(verdict(&with(&token("old", 3)), &source).await, Err(ExpiredKey));
        assert_eq!(verdict(&with(&token("key-1", 1)), &source).await.as_deref(), Ok("plaid:key-1"));
        fake.offer("key-1", &key(1), json!(NOW));
        assert!(verdict(&with(&token("key-1", 1)), &source).await.is_ok(), "from memory");
        assert_eq!(verdict(&with(&token("key-2", 2)), &source).await.as_deref(), Ok("plaid:key-2"));
        assert_eq!(
            verdict(&with(&token("key-1", 1)), &source).await,
            Err(ExpiredKey),
            "the new key was a reason to ask"
        );
        let asked = fake.asked();
        assert_eq!(verdict(&with(&token("key-1", 1)), &source).await, Err(ExpiredKey));
        assert_eq!(fake.asked(), asked, "for good");
    });
}

#[test]
fn while_plaid_can_not_be_asked_strangers_are_put_off_and_known_keys_work_for_a_day() {
    run(async {
        let (fake, source) = Fake::start().await;
        let at = |kid: &str, seed, seconds| {
            let token = sign(&header(kid), &claims(BODY, NOW + seconds), &key(seed));
            Try { at: NOW + seconds, ..with(&token) }
        };
        assert!(verdict(&at("key-1", 1, 0), &source).await.is_ok());
        for (n, (status, body)) in
            [(500, ""), (200, "{}"), (200, "[[["), (400, "no json"), (429, "{}"), (200, &"x".repeat(100_000))]
                .into_iter()
                .enumerate()
        {
            fake.reply_instead(Some((status, body)));
            let wrong = verdict(&at(&format!("new-{n}"), 2, 0), &source).await.unwrap_err();
            assert_eq!((wrong, wrong.is_temporary()), (KeyUnavailable, true), "{status} {n}");
        }
        let asked = fake.asked();
        assert!(verdict(&at("key-1", 1, HOUR + 1), &source).await.is_ok(), "asked again after an hour, in vain");
        assert!(verdict(&at("key-1", 1, HOUR + 2), &source).await.is_ok());
        assert_eq!(fake.asked(), asked + 1, "and not at every webhook");
        assert_eq!(verdict(&at("key-1", 1, 25 * HOUR), &source).await, Err(KeyUnavailable));
        fake.reply_instead(None);
        assert!(verdict(&at("key-1", 1, 25 * HOUR + 40), &source).await.is_ok());
    });
}

#[test]
fn a_key_that_is_another_or_of_another_sort_is_not_taken() {
    run(async {
        let (fake, source) = Fake::start().await;
        let good = fake.inner.lock().unwrap().keys["key-1"].clone();
        for (field, value) in [
            ("kid", "key-2"),
            ("alg", "ES384"),
            ("crv", "P-384"),
            ("kty", "RSA"),
            ("x", "AAAA"),
            ("y", "!"),
            ("y", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
        ] {
            let mut bad = good.clone();
            bad[field] = value.into();
            fake.inner.lock().unwrap().keys.insert("key-1".to_owned(), bad);
            assert_eq!(verdict(&with(&token("key-1", 1)), &source).await, Err(KeyUnavailable), "{field}: {value}");
        }
    });
}

#[test]
fn credentials_that_plaid_does_not_accept_prove_nobody() {
    run(async {
        let (fake, _) = Fake::start().await;
        let stranger = source(&fake.serve().await, "another-secret");
        assert_eq!(verdict(&with(&token("key-1", 1)), &stranger).await, Err(KeyUnavailable));
        assert_eq!(
            verdict(&with(&token("nobody", 1)), &stranger).await,
            Err(KeyUnavailable),
            "not taken for Plaid's word on a key"
        );
    });
}

#[test]
fn an_endpoint_that_hangs_is_given_up_in_bounded_time() {
    run(async {
        let (fake, source) = Fake::start().await;
        fake.gate.forget_permits(1_000);
        let begun = std::time::Instant::now();
        assert_eq!(verdict(&with(&token("key-1", 1)), &source).await, Err(KeyUnavailable));
        assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    });
}

#[test]
fn plaid_without_its_credentials_refuses_to_start() {
    let plaid = |set: &'static [&'static str]| {
        let config = SourceConfig::new(SchemeName::Plaid, "PLAID_SECRET");
        Source::new("plaid", &config, &|name| set.contains(&name).then(|| "a".to_owned())).map(drop)
    };
    assert!(plaid(&["PLAID_SECRET", "PLAID_CLIENT_ID"]).is_ok());
    for (set, missing) in [(&["PLAID_SECRET"][..], "PLAID_CLIENT_ID"), (&["PLAID_CLIENT_ID"], "PLAID_SECRET")] {
        let error = plaid(set).unwrap_err().to_string();
        assert!(error.contains(missing) && error.contains("is not set"), "{error}");
    }
    let error = plaid(&["PLAID_SECRET", "PLAID_CLIENT_ID", "PLAID_ENV"]).unwrap_err().to_string();
    assert!(error.contains("PLAID_ENV"), "{error}");
}
