//! Every scheme against the senders' published vectors, and against everything that is nearly right.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use tidemill::config::ingress::{
    Encoding, Hash, HmacConfig, ListConfig, Place, SchemeName, SecretForm, SourceConfig, TimeUnit,
};
use tidemill::ingress::{Source, VerifyError};

use super::attempt::{Try, Verdict, accepted, source};

use VerifyError::{BadId, BadTime, Malformed, Mismatch, Missing, NoKnownVersion, Repeated, Stale, TooMany};

const STRIPE_TIME: i64 = 1_533_204_620;
const STRIPE_V1: &str = "f0bdba6d4eacbd8ad8a3bbadd7248e633ec1477f7899c124c51b39405fa36613";
const STRIPE_V0: &str = "63f3a72374a733066c4be69ed7f8e5ac85c22c9f0a6a612ab9a025a9e4ee7eef";
const STRIPE_EVENT: &str = r#"{"id":"evt_123","object":"event","account":"acct_123","api_version":"2017-05-25","created":1533204620,"data":{"object":{"id":"ii_123","object":"invoiceitem","amount":1000,"currency":"usd","customer":"cus_123","date":1533204620,"description":"Test Invoice Item","discountable":false,"invoice":"in_123","livemode":false,"metadata":{},"period":{"start":1533204620,"end":1533204620},"plan":null,"proration":false,"quantity":null,"subscription":null}},"livemode":false,"pending_webhooks":1,"request":{"id":"req_123","idempotency_key":"idempotency-key-123"},"type":"invoiceitem.created"}"#;

const STANDARD_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const STANDARD_ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
const STANDARD_TIME: i64 = 1_614_265_330;
const STANDARD_BODY: &str = r#"{"test": 2432232314}"#;
const STANDARD_V1: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

/// The event of the vector as its repository has it: two spaces of indentation and a final newline.
pub(super) fn stripe_body() -> Vec<u8> {
    let (mut out, mut depth, mut in_text) = (String::new(), 0, false);
    let mut chars = STRIPE_EVENT.chars().peekable();
    while let Some(c) = chars.next() {
        let line = |depth: usize| format!("\n{}", "  ".repeat(depth));
        in_text ^= c == '"';
        match c {
            ':' if !in_text => out.push_str(": "),
            ',' if !in_text => out.push_str(&format!(",{}", line(depth))),
            '{' if chars.next_if_eq(&'}').is_some() => out.push_str("{}"),
            '{' => {
                depth += 1;
                out.push_str(&format!("{{{}", line(depth)));
            }
            '}' => {
                depth -= 1;
                out.push_str(&format!("{}}}", line(depth)));
            }
            c => out.push(c),
        }
    }
    out.push('\n');
    assert_eq!(
        hex::encode(<Sha256 as sha2::Digest>::digest(&out)),
        "00589da53d8c43f7cabd6f30ecd2db5f0e746c5b99507b4776e4493bf21c27cf"
    );
    out.into_bytes()
}

fn stripe() -> Source {
    source(SourceConfig::new(SchemeName::Stripe, "0"), &["webhook_secret"])
}

fn stripe_try(header: impl Into<String>) -> Try {
    Try::new(&[("stripe-signature", &header.into())], stripe_body(), STRIPE_TIME)
}

fn hex_mac(key: &str, signed: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).unwrap();
    mac.update(signed);
    hex::encode(mac.finalize().into_bytes())
}

/// A Stripe header for any body, signed here.
fn stripe_signed(time: &str, body: &[u8]) -> String {
    format!("t={time},v1={}", hex_mac("webhook_secret", &[time.as_bytes(), b".", body].concat()))
}

#[test]
fn stripes_own_vector_is_accepted() {
    let verdict = stripe_try(format!("t={STRIPE_TIME},v1={STRIPE_V1},v0={STRIPE_V0}")).verdict(&stripe());
    assert_eq!(verdict, accepted("evt_123", "invoiceitem.created"));
}

#[test]
fn a_stripe_header_is_accepted_only_with_a_whole_v1_of_this_body_in_its_own_form() {
    let t = format!("t={STRIPE_TIME}");
    let (good, short) = (format!("v1={STRIPE_V1}"), &STRIPE_V1[..63]);
    let flipped = STRIPE_V1.replacen('f', "e", 1);
    let ok = || accepted("evt_123", "invoiceitem.created");
    let cases: Vec<(String, Verdict)> = vec![
        (format!("{t},{good}"), ok()),
        (format!("{good},{t}"), ok()),
        (format!("{t}, {good}"), ok()),
        (format!("{t},v1={flipped},{good}"), ok()),
        (format!("{t},{good},v1={flipped}"), ok()),
        (format!("{t},v2=abc,{good}"), ok()),
        (format!("{t},v1={flipped}"), Err(Mismatch)),
        (format!("{t},v1={short}"), Err(Mismatch)),
        (format!("{t},v1={STRIPE_V1}00"), Err(Mismatch)),
        (format!("{t},v1={STRIPE_V1} "), Err(Mismatch)),
        (format!("{t},v1={}", STRIPE_V1.to_uppercase()), Err(Mismatch)),
        (format!("{t},v1="), Err(Mismatch)),
        (format!("{t},v1"), Err(NoKnownVersion)),
        (format!("{t},v0={STRIPE_V0}"), Err(NoKnownVersion)),
        (format!("{t},v0={STRIPE_V1}"), Err(NoKnownVersion)),
        (format!("{t},V1={STRIPE_V1}"), Err(NoKnownVersion)),
        (t.clone(), Err(NoKnownVersion)),
        (String::new(), Err(NoKnownVersion)),
        (",".repeat(8), Err(NoKnownVersion)),
        (format!("{t},{t},{good}"), Err(Malformed)),
        (format!("{t},{good},t=1"), Err(Malformed)),
        (format!("{t},{}", vec![good.as_str(); 15].join(",")), ok()),
        (format!("{t},{}", vec![good.as_str(); 16].join(",")), Err(TooMany)),
        (format!("{t},{}", vec![good.as_str(); 10_000].join(",")), Err(TooMany)),
        (format!("{t},v1=\u{e9}{STRIPE_V1}"), Err(Malformed)),
        (good.clone(), Err(BadTime)),
        (format!("t=,{good}"), Err(BadTime)),
        (format!("t=-{STRIPE_TIME},{good}"), Err(BadTime)),
        (format!("t=+{STRIPE_TIME},{good}"), Err(BadTime)),
        (format!("t= {STRIPE_TIME},{good}"), Err(BadTime)),
        (format!("t={STRIPE_TIME}.0,{good}"), Err(BadTime)),
        (format!("t=1e9,{good}"), Err(BadTime)),
        (format!("t={}9,{good}", i64::MAX), Err(BadTime)),
        (format!("t=999999999999,{good}"), Err(Mismatch)),
    ];
    for (header, expected) in cases {
        let shown: String = header.chars().take(120).collect();
        assert_eq!(stripe_try(header).verdict(&stripe()), expected, "{shown}");
    }
}

#[test]
fn a_missing_or_repeated_stripe_header_is_refused() {
    let good = format!("t={STRIPE_TIME},v1={STRIPE_V1}");
    let mut attempt = stripe_try(good.clone());
    attempt.headers.push(("stripe-signature", good));
    assert_eq!(attempt.verdict(&stripe()), Err(Repeated));
    attempt.headers.clear();
    assert_eq!(attempt.verdict(&stripe()), Err(Missing));
}

#[test]
fn any_other_byte_of_the_body_is_refused() {
    let mut attempt = stripe_try(format!("t={STRIPE_TIME},v1={STRIPE_V1}"));
    let whole = attempt.body.clone();
    attempt.body.pop();
    assert_eq!(attempt.verdict(&stripe()), Err(Mismatch), "without its final newline");
    attempt.body = STRIPE_EVENT.into();
    assert_eq!(attempt.verdict(&stripe()), Err(Mismatch), "indented otherwise");
    for at in [0, whole.len() / 2, whole.len() - 1] {
        attempt.body.clone_from(&whole);
        attempt.body[at] ^= 1;
        assert_eq!(attempt.verdict(&stripe()), Err(Mismatch), "one bit of byte {at}");
    }
}

#[test]
fn a_stripe_timestamp_may_be_five_minutes_off_to_either_side() {
    for (off, fresh) in [(0, true), (299, true), (-299, true), (300, true), (-300, true), (301, false), (-301, false)] {
        let mut attempt = stripe_try(format!("t={STRIPE_TIME},v1={STRIPE_V1}"));
        attempt.at += off;
        let expected = if fresh { accepted("evt_123", "invoiceitem.created") } else { Err(Stale) };
        assert_eq!(attempt.verdict(&stripe()), expected, "{off} s");
    }
}

#[test]
fn a_good_signature_over_a_strange_body_is_an_event_all_the_same() {
    for (body, id, event_type) in [
        (&b"not json"[..], None, "unknown"),
        (b"\xff\xfe\x00", None, "unknown"),
        (b"", None, "unknown"),
        (b"[]", None, "unknown"),
        (br#"{"id": {"a": 1}, "type": 7}"#, None, "7"),
        (
            br#"{"id": "", "type": "a\nb"}"#,
            Some("sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
            "ab",
        ),
        (br#"{"id": 12345678901234567890123, "type": "x"}"#, Some("12345678901234567890123"), "x"),
    ] {
        let header = stripe_signed(&STRIPE_TIME.to_string(), body);
        let attempt = Try::new(&[("stripe-signature", &header)], body, STRIPE_TIME);
        let (found, kind) = attempt.verdict(&stripe()).unwrap();
        let digest = format!("sha256:{}", hex::encode(<Sha256 as sha2::Digest>::digest(body)));
        assert_eq!(
            (found.as_str(), kind.as_str()),
            (id.unwrap_or(&digest), event_type),
            "{}",
            String::from_utf8_lossy(body)
        );
    }
}

#[test]
fn while_a_secret_is_rotated_either_one_will_do_and_no_third() {
    let config = SourceConfig::new(SchemeName::Stripe, "0");
    let attempt = stripe_try(format!("t={STRIPE_TIME},v1={STRIPE_V1}"));
    let both = source(config.clone(), &["new_secret", "webhook_secret"]);
    assert!(attempt.verdict(&both).is_ok());
    assert_eq!(attempt.verdict(&source(config, &["new_secret", "newer_secret"])), Err(Mismatch));
}

fn standard_try(signature: impl Into<String>) -> Try {
    let (time, signature) = (STANDARD_TIME.to_string(), signature.into());
    let headers = [("webhook-id", STANDARD_ID), ("webhook-timestamp", &time), ("webhook-signature", &signature)];
    Try::new(&headers, STANDARD_BODY, STANDARD_TIME)
}

/// The scheme as it is built in, and the same described axis by axis.
fn standard_sources() -> [Source; 2] {
    let list = ListConfig { separator: ' ', joint: ',', version: "v1".to_owned(), timestamp: None };
    let described = SourceConfig {
        hmac: Some(HmacConfig {
            signature_header: "webhook-signature".to_owned(),
            prefix: String::new(),
            list: Some(list),
            encoding: Encoding::Base64,
            hash: Hash::Sha256,
            secret: SecretForm::Whsec,
            template: "{id}.{ts}.{body}".to_owned(),
            timestamp_header: Some("webhook-timestamp".to_owned()),
            timestamp_unit: TimeUnit::Seconds,
        }),
        id: Some(Place::Header("webhook-id".to_owned())),
        event_type: Some(Place::Body("/type".to_owned())),
        ..SourceConfig::new(SchemeName::Hmac, "0")
    };
    let built_in = SourceConfig::new(SchemeName::StandardWebhooks, "0");
    [source(built_in, &[STANDARD_SECRET]), source(described, &[STANDARD_SECRET])]
}

#[test]
fn standard_webhooks_vector_and_its_negatives() {
    let bare = STANDARD_V1.trim_start_matches("v1,");
    let ed25519 = "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg==";
    let url_safe = bare.replace('+', "-").replace('/', "_");
    let cases = [
        (STANDARD_V1.to_owned(), accepted(STANDARD_ID, "unknown")),
        (format!("v1,AAAA {STANDARD_V1}"), accepted(STANDARD_ID, "unknown")),
        (format!("{ed25519} {STANDARD_V1}"), accepted(STANDARD_ID, "unknown")),
        ("v1,".to_owned(), Err(Mismatch)),
        ("v1".to_owned(), Err(NoKnownVersion)),
        (bare.to_owned(), Err(NoKnownVersion)),
        (format!("v2,{bare}"), Err(NoKnownVersion)),
        (ed25519.to_owned(), Err(NoKnownVersion)),
        (format!("v1,{}", bare.trim_end_matches('=')), Err(Mismatch)),
        (format!("v1,{url_safe}"), Err(Mismatch)),
        (format!("v1,{}", &bare[..20]), Err(Mismatch)),
        (format!("{STANDARD_V1}="), Err(Mismatch)),
        (vec![STANDARD_V1; 10_000].join(" "), Err(TooMany)),
    ];
    for source in &standard_sources() {
        for (signature, expected) in &cases {
            let shown: String = signature.chars().take(100).collect();
            assert_eq!(standard_try(signature.as_str()).verdict(source), *expected, "{shown}");
        }
        for (name, value, wrong) in [
            ("webhook-id", "msg_other", Mismatch),
            ("webhook-id", "", BadId),
            ("webhook-id", "msg.1", BadId),
            ("webhook-id", "msg 1", BadId),
            ("webhook-timestamp", "1614265331", Mismatch),
            ("webhook-timestamp", "-1614265330", BadTime),
            ("webhook-timestamp", "1614265330.5", BadTime),
        ] {
            let mut attempt = standard_try(STANDARD_V1);
            for header in attempt.headers.iter_mut().filter(|(n, _)| *n == name) {
                header.1 = value.to_owned();
            }
            assert_eq!(attempt.verdict(source), Err(wrong), "{name}: {value}");
            attempt.headers.retain(|(n, _)| *n != name);
            let missing = if name == "webhook-id" { BadId } else { BadTime };
            assert_eq!(attempt.verdict(source), Err(missing), "no {name}");
        }
        for (off, fresh) in [(299, true), (-299, true), (301, false), (-301, false)] {
            let mut attempt = standard_try(STANDARD_V1);
            attempt.at += off;
            assert_eq!(attempt.verdict(source).is_ok(), fresh, "{off} s");
        }
    }
}

#[test]
fn githubs_vector_by_description() {
    let config = SourceConfig {
        hmac: Some(plain("x-hub-signature-256", "sha256=", "{body}", None)),
        id: Some(Place::Header("x-github-delivery".to_owned())),
        event_type: Some(Place::Header("x-github-event".to_owned())),
        ..SourceConfig::new(SchemeName::Hmac, "0")
    };
    let source = source(config, &["It's a Secret to Everybody"]);
    let good = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    let attempt = |signature: &str| {
        let headers =
            [("x-hub-signature-256", signature), ("x-github-delivery", "72d3162e"), ("x-github-event", "push")];
        Try::new(&headers, "Hello, World!", 0)
    };
    assert_eq!(attempt(good).verdict(&source), accepted("72d3162e", "push"));
    for (signature, wrong) in [
        (&good[7..], Malformed),
        (&good.replace("sha256", "sha1"), Malformed),
        (&good.replace("sha256", "SHA256"), Malformed),
        (&good[..70], Mismatch),
        ("sha256=", Mismatch),
        ("", Malformed),
        (&format!("sha256={}", good[7..].to_uppercase()), Mismatch),
        (&format!("{good},{good}"), Mismatch),
    ] {
        assert_eq!(attempt(signature).verdict(&source), Err(wrong), "{signature}");
    }
}

#[test]
fn slacks_vector_by_description() {
    let body = "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";
    let config = SourceConfig {
        hmac: Some(plain("x-slack-signature", "v0=", "v0:{ts}:{body}", Some("x-slack-request-timestamp"))),
        ..SourceConfig::new(SchemeName::Hmac, "0")
    };
    let source = source(config, &["8f742231b10e8888abcd99yyyzzz85a5"]);
    let headers = [
        ("x-slack-signature", "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"),
        ("x-slack-request-timestamp", "1531420618"),
    ];
    let mut attempt = Try::new(&headers, body, 1_531_420_618);
    let (id, _) = attempt.verdict(&source).unwrap();
    assert_eq!(
        id,
        format!("sha256:{}", hex::encode(<Sha256 as sha2::Digest>::digest(body))),
        "it has no id of its own"
    );
    attempt.at += 301;
    assert_eq!(attempt.verdict(&source), Err(Stale));
    attempt.headers.push(("x-slack-request-timestamp", "1531420618".to_owned()));
    assert_eq!(attempt.verdict(&source), Err(BadTime), "two timestamps");
}

#[test]
fn sha512_and_base64_secrets_are_described_too() {
    let hmac = HmacConfig {
        hash: Hash::Sha512,
        secret: SecretForm::Base64,
        encoding: Encoding::Base64,
        ..plain("x-signature", "", "{body}", None)
    };
    let config = SourceConfig { hmac: Some(hmac), ..SourceConfig::new(SchemeName::Hmac, "0") };
    // RFC 4231, test case 2: key `Jefe`, data `what do ya want for nothing?`.
    let mac = hex::decode("164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea2505549758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737").unwrap();
    let header = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, mac);
    let body = b"what do ya want for nothing?".to_vec();
    let attempt = Try::new(&[("x-signature", &header)], body, 0);
    assert!(attempt.verdict(&source(config.clone(), &["SmVmZQ=="])).is_ok());
    assert_eq!(attempt.verdict(&source(config, &["SmVmZg=="])), Err(Mismatch));
}

#[test]
fn sha1_and_hexadecimal_secrets_are_described_too() {
    // RFC 2202, test case 2: key `Jefe`.
    let mac = "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79";
    let hmac =
        HmacConfig { hash: Hash::Sha1, secret: SecretForm::Hex, ..plain("x-signature", "sha1=", "{body}", None) };
    let config = SourceConfig { hmac: Some(hmac), ..SourceConfig::new(SchemeName::Hmac, "0") };
    let attempt = Try::new(&[("x-signature", &format!("sha1={mac}"))], "what do ya want for nothing?", 0);
    assert!(attempt.verdict(&source(config.clone(), &["4a656665"])).is_ok());
    assert_eq!(attempt.verdict(&source(config, &["4a656666"])), Err(Mismatch));
}

#[test]
fn a_time_in_milliseconds_is_one_and_the_tolerance_is_the_sources_own() {
    let hmac = HmacConfig {
        timestamp_unit: TimeUnit::Milliseconds,
        ..plain("x-signature", "", "{ts}|{body}", Some("x-time"))
    };
    let config =
        SourceConfig { hmac: Some(hmac), tolerance_seconds: Some(10), ..SourceConfig::new(SchemeName::Hmac, "0") };
    let source = source(config, &["secret"]);
    let at = |time: &str, off: i64| {
        let headers = [("x-signature", &*hex_mac("secret", format!("{time}|{{}}").as_bytes())), ("x-time", time)];
        Try::new(&headers, "{}", STRIPE_TIME + off).verdict(&source).map(drop)
    };
    let time = format!("{STRIPE_TIME}999");
    for (off, expected) in [(0, Ok(())), (10, Ok(())), (11, Err(Stale)), (-9, Ok(())), (-10, Err(Stale))] {
        assert_eq!(at(&time, off), expected, "{off} s");
    }
    assert_eq!(at(&STRIPE_TIME.to_string(), 0), Err(Stale), "seconds, read as milliseconds, are in 1970");
    assert_eq!(at(&"9".repeat(16), 0), Err(BadTime));
}

#[test]
fn a_signed_address_has_the_requests_query_and_a_signed_form_its_fields() {
    let of = |template: &str| {
        let public_url = Some("https://hooks.example.com/acme".to_owned());
        let hmac = Some(plain("x-signature", "", template, None));
        source(SourceConfig { hmac, public_url, ..SourceConfig::new(SchemeName::Hmac, "0") }, &["secret"])
    };
    let attempt = |signed: &str, target: &str, body: &str| Try {
        target: target.to_owned(),
        ..Try::new(&[("x-signature", &hex_mac("secret", signed.as_bytes()))], body, 0)
    };
    let (address, form) = (of("{url}\n{body}"), of("{url}{params}"));
    let signed = "https://hooks.example.com/acme?a=%20b\nhello";
    assert!(attempt(signed, "/webhooks/acme?a=%20b", "hello").verdict(&address).is_ok());
    for (target, body) in
        [("/webhooks/acme?a=+b", "hello"), ("/webhooks/acme", "hello"), ("/webhooks/acme?a=%20b", "hallo")]
    {
        assert_eq!(attempt(signed, target, body).verdict(&address), Err(Mismatch), "{target} {body}");
    }
    let signed = "https://hooks.example.com/acmea1b 2";
    assert!(attempt(signed, "/webhooks/acme", "b=+2&a=1").verdict(&form).is_ok());
    assert_eq!(attempt(signed, "/webhooks/acme", "b=+2&a=1&c=").verdict(&form), Err(Mismatch));
}

fn plain(header: &str, prefix: &str, template: &str, timestamp: Option<&str>) -> HmacConfig {
    HmacConfig {
        signature_header: header.to_owned(),
        prefix: prefix.to_owned(),
        list: None,
        encoding: Encoding::Hex,
        hash: Hash::Sha256,
        secret: SecretForm::Raw,
        template: template.to_owned(),
        timestamp_header: timestamp.map(str::to_owned),
        timestamp_unit: TimeUnit::Seconds,
    }
}
