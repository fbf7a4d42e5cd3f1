//! Every scheme against its vectors, and against everything that is nearly right.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tidemill::config::ingress::{SchemeName, SourceConfig};
use tidemill::ingress::{Admitted, VerifyError};

use super::attempt::{Try, source};
use super::vectors::{self, Vector};

use VerifyError::{BadId, BadTime, Malformed, Mismatch, Missing, NoKnownVersion, Repeated, Stale, TooMany};

fn passes(attempt: &Try, source: &tidemill::ingress::Source) -> Result<(), VerifyError> {
    let admitted = futures_util::FutureExt::now_or_never(attempt.admitted(source)).expect("it waited for something");
    admitted.map(drop)
}

type Write = fn(&[u8]) -> String;

/// The signature's bytes, whether it is written in hexadecimal or base64, and how to write others.
fn decoded(signature: &str) -> (Vec<u8>, Write) {
    if let Ok(bytes) = hex::decode(signature) {
        return (bytes, |bytes| hex::encode(bytes));
    }
    (STANDARD.decode(signature).unwrap(), |bytes| STANDARD.encode(bytes))
}

#[test]
fn every_vector_is_accepted_as_the_event_that_it_is() {
    for vector in vectors::all() {
        let source = vector.source();
        match (vector.event, vector.good.headers.len()) {
            (Some((id, event_type)), _) => {
                let event = vector.good.event(&source).unwrap_or_else(|e| panic!("{}: {e}", vector.name));
                assert_eq!((event.event_id.as_str(), event.event_type.as_str()), (id, event_type), "{}", vector.name);
                assert_eq!(event.verified_with.as_deref(), Some("env:0"), "{}", vector.name);
            }
            (None, _) => {
                let admitted = futures_util::FutureExt::now_or_never(vector.good.admitted(&source)).unwrap();
                assert!(matches!(admitted, Ok(Admitted::Greeting(_))), "{}", vector.name);
            }
        }
    }
}

#[test]
fn one_other_bit_anywhere_in_the_body_is_refused() {
    for vector in vectors::all() {
        let source = vector.source();
        for at in 0..vector.good.body.len() {
            let mut body = vector.good.body.clone();
            body[at] ^= 1 << (at % 8);
            // Twilio signs a form's fields, not its bytes: `%2b` is `%2B`.
            let fields = |body: &[u8]| url::form_urlencoded::parse(body).into_owned().collect::<Vec<_>>();
            let same = vector.name.contains("form") && fields(&body) == fields(&vector.good.body);
            let expected = if same { Ok(()) } else { Err(Mismatch) };
            let verdict = passes(&vector.good.with_body(body), &source);
            assert_eq!(verdict, expected, "{}: byte {at}", vector.name);
        }
    }
}

#[test]
fn one_other_bit_anywhere_in_the_signature_is_refused() {
    for vector in vectors::all() {
        let source = vector.source();
        let (bytes, write) = decoded(&vector.signature());
        for bit in 0..bytes.len() * 8 {
            let mut other = bytes.clone();
            other[bit / 8] ^= 1 << (bit % 8);
            let verdict = passes(&vector.with_signature(&write(&other)), &source);
            assert_eq!(verdict, Err(Mismatch), "{}: bit {bit}", vector.name);
        }
    }
}

#[test]
fn a_body_or_signature_that_is_cut_or_longer_is_refused() {
    for vector in vectors::all() {
        let source = vector.source();
        let body = &vector.good.body;
        for body in
            [&body[..body.len() - 1], &body[1..], b"", &[body, &b"\n"[..]].concat(), &[b" ", &body[..]].concat()]
        {
            assert_eq!(passes(&vector.good.with_body(body), &source), Err(Mismatch), "{}", vector.name);
        }
        let signature = vector.signature();
        let (bytes, write) = decoded(&signature);
        let longer = [signature.clone() + "0", signature.clone() + "00", signature.clone() + "="];
        let doubled = [write(&[&bytes[..], &[0]].concat()), write(&[&bytes[..], &bytes[..]].concat())];
        let cut = (0..signature.len()).map(|n| signature[..n].to_owned());
        let cut = cut.chain((0..bytes.len()).map(|n| write(&bytes[..n])));
        for other in longer.into_iter().chain(doubled).chain(cut) {
            let verdict = passes(&vector.with_signature(&other), &source);
            assert_eq!(verdict, Err(Mismatch), "{}: {other}", vector.name);
        }
    }
}

#[test]
fn another_way_to_write_a_signature_is_refused() {
    for vector in vectors::all() {
        let source = vector.source();
        let signature = vector.signature();
        let others = [
            signature.to_uppercase(),
            signature.trim_end_matches('=').to_owned(),
            signature.replace('+', "-").replace('/', "_"),
            format!("\u{e9}{signature}"),
            format!(" {signature}"),
            "0".repeat(signature.len()),
        ];
        for other in others.iter().filter(|other| **other != signature) {
            let verdict = passes(&vector.with_signature(other), &source);
            assert!(matches!(verdict, Err(Mismatch | Malformed | NoKnownVersion)), "{}: {other}", vector.name);
        }
    }
}

#[test]
fn another_key_is_refused_and_beside_the_right_one_it_does_no_harm() {
    for vector in vectors::all() {
        let wrong = source(vector.config.clone(), &[vector.wrong_secret]);
        assert_eq!(passes(&vector.good, &wrong), Err(Mismatch), "{}", vector.name);
        let both = source(vector.config.clone(), &[vector.wrong_secret, vector.secret]);
        assert_eq!(passes(&vector.good, &both), Ok(()), "{}", vector.name);
        if vector.event.is_some() {
            let with = vector.good.event(&both).unwrap().verified_with;
            assert_eq!(with.as_deref(), Some("env:1"), "{}: it is told which one fitted", vector.name);
        }
    }
}

#[test]
fn an_old_or_future_time_is_refused_where_there_is_a_time() {
    for vector in vectors::all() {
        let source = vector.source();
        let tolerance = vector.tolerance.unwrap_or(0);
        for (off, fresh) in [(-tolerance, true), (tolerance, true), (tolerance + 1, false), (-tolerance - 1, false)] {
            let attempt = Try { at: vector.good.at + off, ..vector.good.clone() };
            let expected = if fresh || vector.tolerance.is_none() { Ok(()) } else { Err(Stale) };
            assert_eq!(passes(&attempt, &source), expected, "{}: {off} s", vector.name);
        }
        let times = vector.good.headers.iter().filter(|(name, _)| name.ends_with("timestamp")).map(|(name, _)| *name);
        for name in times {
            for text in ["", "-1614265330", "+1614265330", "1614265330.0", "1e9", " 1614265330", "9999999999999"] {
                assert_eq!(passes(&vector.good.with(name, text), &source), Err(BadTime), "{}: {text}", vector.name);
            }
            let (_, good) = vector.good.headers.iter().find(|(n, _)| n == &name).unwrap();
            let other: String = good.chars().rev().collect();
            assert_eq!(passes(&vector.good.with(name, other), &source), Err(Mismatch), "{}", vector.name);
            let mut twice = vector.good.clone();
            twice.headers.push((name, good.clone()));
            assert_eq!(passes(&twice, &source), Err(BadTime), "{}", vector.name);
        }
    }
}

#[test]
fn a_header_that_is_missing_or_comes_twice_is_refused() {
    for vector in vectors::all() {
        let source = vector.source();
        let mut twice = vector.good.clone();
        twice.headers.push((vector.header, format!("{}{}", vector.prefix, vector.signature())));
        assert_eq!(passes(&twice, &source), Err(Repeated), "{}", vector.name);
        let mut without = vector.good.clone();
        without.headers.retain(|(name, _)| *name != vector.header);
        assert_eq!(passes(&without, &source), Err(Missing), "{}", vector.name);
        without.headers.clear();
        assert_eq!(passes(&without, &source), Err(Missing), "{}", vector.name);
    }
}

#[test]
fn only_versions_that_a_key_is_held_for_count_and_each_only_for_its_own() {
    let all = vectors::all();
    let of = |name: &str| all.iter().find(|v| v.name == name).unwrap();
    let (shared, public) = (of("V1 v1"), of("V4 v1a"));
    let (v1, v1a) = (shared.signature(), public.signature());
    let (mac, ed) = (shared.source(), public.source());
    let both = source(shared.config.clone(), &[shared.secret, public.secret]);
    let cases = [
        (format!("v1,{v1} v1a,{v1a}"), Ok(()), Ok(()), Ok(())),
        (format!("v1a,{v1a}"), Err(NoKnownVersion), Ok(()), Ok(())),
        (format!("v1,{v1}"), Ok(()), Err(NoKnownVersion), Ok(())),
        (format!("v1,{v1a}"), Err(Mismatch), Err(NoKnownVersion), Err(Mismatch)),
        (format!("v1a,{v1}"), Err(NoKnownVersion), Err(Mismatch), Err(Mismatch)),
        (format!("v0,{v1} v2,{v1a}"), Err(NoKnownVersion), Err(NoKnownVersion), Err(NoKnownVersion)),
        (format!("v1a,{v1a} {}", ["v1a,AAAA"; 3].join(" ")), Err(NoKnownVersion), Ok(()), Ok(())),
        (format!("v1a,{v1a} {}", ["v1a,AAAA"; 4].join(" ")), Err(NoKnownVersion), Err(TooMany), Err(TooMany)),
    ];
    for (header, by_mac, by_ed, by_both) in cases {
        let attempt = shared.good.with("webhook-signature", header.as_str());
        for (source, expected) in [(&mac, by_mac), (&ed, by_ed), (&both, by_both)] {
            assert_eq!(passes(&attempt, source), expected, "{header}");
        }
    }
}

#[test]
fn names_of_two_families_are_not_mixed() {
    let all = vectors::all();
    let vector = all.iter().find(|v| v.name == "V1 v1 of Svix").unwrap();
    let mut mixed = vector.good.clone();
    mixed.headers.iter_mut().filter(|(name, _)| *name == "svix-id").for_each(|(name, _)| *name = "webhook-id");
    assert_eq!(passes(&mixed, &vector.source()), Err(BadId));
}

#[test]
fn twilio_signs_the_address_with_its_query_and_with_or_without_the_port() {
    let all = vectors::all();
    for name in ["V10a Twilio form", "Twilio JSON"] {
        let vector: &Vector = all.iter().find(|v| v.name == name).unwrap();
        let at = |url: &str| {
            let config = SourceConfig { public_url: Some(url.to_owned()), ..vector.config.clone() };
            passes(&vector.good, &source(config, &[vector.secret]))
        };
        assert_eq!(at("https://mycompany.com/myapp.php"), Ok(()), "{name}");
        assert_eq!(at("https://mycompany.com:443/myapp.php"), Ok(()), "{name}: it signed the address without the port");
        for url in [
            "http://mycompany.com/myapp.php",
            "https://mycompany.com/myapp.php/",
            "https://mycompany.com:8443/myapp.php",
            "https://mycompany.com.evil.example/myapp.php",
        ] {
            assert_eq!(at(url), Err(Mismatch), "{name}: {url}");
        }
        for query in ["", "?foo=1", "?foo=1&bar=2&baz=3", "?bar=2&foo=1"] {
            let attempt = Try { target: format!("/webhooks/sender{query}"), ..vector.good.clone() };
            assert_eq!(passes(&attempt, &vector.source()), Err(Mismatch), "{name}: {query}");
        }
    }
}

#[test]
fn a_form_goes_by_its_fields_in_any_order_and_equal_ones_count_once() {
    let all = vectors::all();
    let vector = all.iter().find(|v| v.name == "V10a Twilio form").unwrap();
    let mut fields: Vec<&str> = vectors::TWILIO_FORM.split('&').collect();
    fields.reverse();
    fields.push(fields[0]);
    assert_eq!(passes(&vector.good.with_body(fields.join("&")), &vector.source()), Ok(()));
    fields.push("Digits=1235");
    assert_eq!(passes(&vector.good.with_body(fields.join("&")), &vector.source()), Err(Mismatch));
    let flood = format!("{}{}", vectors::TWILIO_FORM, "&Digits=1234".repeat(2_000));
    assert_eq!(passes(&vector.good.with_body(flood), &vector.source()), Err(TooMany));
}

#[test]
fn buffr_without_a_key_goes_by_voucher_status_and_time() {
    let all = vectors::all();
    let vector = all.iter().find(|v| v.name == "Buffr").unwrap();
    let signed = |body: &str, key: Option<(&'static str, &str)>| {
        let mac = hex::encode(vectors::mac(vector.secret, body.as_bytes()));
        let mut headers = vec![("x-webhook-signature", mac.as_str())];
        headers.extend(key);
        Try::new(&headers, body, 0).event(&vector.source()).unwrap().event_id
    };
    let digest = |text: &str| format!("sha256:{}", hex::encode(<sha2::Sha256 as sha2::Digest>::digest(text)));
    let body = vectors::BUFFR_BODY;
    assert_eq!(signed(body, Some(("idempotency-key", "a"))), "a");
    assert_eq!(signed(body, Some(("x-idempotency-key", "b"))), "b");
    assert_eq!(signed(body, None), digest("v-1:redeemed:2026-02-07T19:11:04Z"));
    let respelled = body.replace("\"qr\"", "\"code\"");
    assert_eq!(signed(&respelled, None), signed(body, None), "the same voucher, status and time");
    let without = body.replace("\"status\"", "\"state\"");
    assert_eq!(signed(&without, None), digest(&without), "a field is missing: the whole body stands for it");
}

#[test]
fn keys_that_are_none_are_refused_at_start_without_a_word_of_them() {
    let cases = [
        (
            SchemeName::StandardWebhooks,
            "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg==",
            "whpk_",
        ),
        (SchemeName::StandardWebhooks, "whpk_AAAA", "32 bytes"),
        (SchemeName::StandardWebhooks, "whpk_AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "anybody"),
        (SchemeName::Discord, "zz-hush", "hexadecimal"),
        (SchemeName::Discord, "c5568d0f", "32 bytes"),
        (SchemeName::Sendgrid, "AAAA", "P-256"),
        (SchemeName::Sendgrid, "no base64!", "base64"),
    ];
    for (scheme, secret, part) in cases {
        let error =
            tidemill::ingress::Source::new("a", &SourceConfig::new(scheme, "KEY"), &|_| Some(secret.to_owned()));
        let error = error.unwrap_err().to_string();
        assert!(error.contains("`a`") && error.contains("KEY") && error.contains(part), "{error}");
        assert!(!error.contains(secret), "{error}");
    }
}
