//! What must hold for any bytes at all: run by the suite with generated input, and by the fuzzers in `fuzz/`.
//!
//! No input makes the verifier panic; what is accepted keeps its body and is refused with one other bit in it; what a template
//! signs is what is checked.

use std::sync::OnceLock;

use axum::http::{HeaderMap, HeaderName, HeaderValue, Uri};
use bytes::Bytes;
use futures_util::FutureExt as _;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::json;
use sha2::Sha256;
use tidemill::clock::Timestamp;
use tidemill::config::ingress::SourceConfig;
use tidemill::ingress::{Admitted, Incoming, Source, VerifyError};

const NOW: Timestamp = Timestamp::from_ms(1_614_265_330_000);
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const DISCORD_KEY: &str = "c5568d0facd66bddee281dcb9c8ac02e169c5c20741b215b2539a96bb183c5d6";
const SENDGRID_KEY: &str = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE83T4O/n84iotIvIW4mdBgQ/7dAfSmpqIM8kF9mN1flpVKS3GRqe62gw+2fNNRaINXvVpiglSI8eNEc6wEA3F+g==";
const PUBLIC: &str = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=";

/// A source of each grammar, and the headers that it reads: signature, time, id.
pub(crate) fn grammars() -> &'static [(Source, [&'static str; 3])] {
    static ALL: OnceLock<Vec<(Source, [&'static str; 3])>> = OnceLock::new();
    ALL.get_or_init(|| {
        let list = json!({ "separator": ";", "joint": ":", "version": "sig", "timestamp": "at" });
        let hmac = json!({ "signature_header": "x-sig", "encoding": "base64", "hash": "sha512", "list": list,
            "template": "{id}|{ts}|{body}", "secret": "hex" });
        let url = "https://t.example/x";
        [
            (json!({ "scheme": "stripe" }), ["stripe-signature", "x-unused", "x-unused-2"]),
            (
                json!({ "scheme": "standard_webhooks", "secret_env": ["SECRET", "PUBLIC"] }),
                ["webhook-signature", "webhook-timestamp", "webhook-id"],
            ),
            (json!({ "scheme": "standard_webhooks" }), ["svix-signature", "svix-timestamp", "svix-id"]),
            (json!({ "scheme": "slack" }), ["x-slack-signature", "x-slack-request-timestamp", "x-unused"]),
            (json!({ "scheme": "github" }), ["x-hub-signature-256", "x-github-delivery", "x-github-event"]),
            (json!({ "scheme": "buffr" }), ["x-webhook-signature", "idempotency-key", "x-idempotency-key"]),
            (
                json!({ "scheme": "twilio", "public_url": url }),
                ["x-twilio-signature", "i-twilio-idempotency-token", "x-unused"],
            ),
            (
                json!({ "scheme": "discord", "secret_env": "DISCORD" }),
                ["x-signature-ed25519", "x-signature-timestamp", "x-unused"],
            ),
            (
                json!({ "scheme": "sendgrid", "secret_env": "SENDGRID" }),
                ["x-twilio-email-event-webhook-signature", "x-twilio-email-event-webhook-timestamp", "x-unused"],
            ),
            (
                json!({ "scheme": "hmac", "secret_env": "HEX", "hmac": hmac, "id": "header:x-id" }),
                ["x-sig", "x-unused", "x-id"],
            ),
        ]
        .map(|(mut config, names)| {
            let object = config.as_object_mut().unwrap();
            object.entry("secret_env").or_insert_with(|| "SECRET".into());
            (source(&serde_json::from_value(config).unwrap()).unwrap(), names)
        })
        .into()
    })
}

fn source(config: &SourceConfig) -> Option<Source> {
    let env = |name: &str| {
        let text = match name {
            "DISCORD" => DISCORD_KEY,
            "SENDGRID" => SENDGRID_KEY,
            "PUBLIC" => PUBLIC,
            "HEX" => "00ff00ff",
            "PLAID_CLIENT_ID" => "client",
            _ => SECRET,
        };
        Some(text.to_owned())
    };
    Source::new("any", config, &env).ok()
}

fn verify(source: &Source, headers: &HeaderMap, target: &str, body: &[u8]) -> Result<Option<Vec<u8>>, VerifyError> {
    let uri: Uri = target.parse().unwrap_or_default();
    let body = Bytes::copy_from_slice(body);
    let incoming = Incoming { headers, uri: &uri, body: &body };
    match source.verify(incoming, NOW).now_or_never() {
        Some(Ok(Admitted::Event(event))) => Ok(Some(event.get().body.as_bytes().to_vec())),
        Some(Ok(Admitted::Greeting(_))) => Ok(None),
        Some(Err(wrong)) => Err(wrong),
        // It has passed all that can be seen without asking for a key.
        None => Err(VerifyError::KeyUnavailable),
    }
}

fn headers_of<'a>(pairs: impl IntoIterator<Item = (&'static str, &'a [u8])>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, bytes) in pairs {
        if let Ok(value) = HeaderValue::from_bytes(bytes) {
            headers.append(HeaderName::from_static(name), value);
        }
    }
    headers
}

/// A byte for the grammar; then signature, time, id and body, a line each.
pub(crate) fn header_grammars(data: &[u8]) -> bool {
    let Some((pick, rest)) = data.split_first() else { return false };
    let all = grammars();
    let (source, names) = &all[usize::from(*pick) % all.len()];
    let mut lines = rest.splitn(4, |b| *b == b'\n');
    let mut line = || lines.next().unwrap_or_default();
    let values = [line(), line(), line()];
    let body = line();
    let mut headers = headers_of(names.iter().copied().zip(values));
    let Ok(kept) = verify(source, &headers, "/", body) else { return false };
    assert!(kept.is_none_or(|kept| kept == body), "another body was kept");
    if !body.is_empty() {
        let mut other = body.to_vec();
        other[body.len() / 2] ^= 1;
        assert_eq!(verify(source, &headers, "/", &other), Err(VerifyError::Mismatch), "one other bit was accepted");
    }
    headers.remove(names[0]);
    assert_eq!(verify(source, &headers, "/", body), Err(VerifyError::Missing));
    true
}

/// A token, before any key is asked for. The words that it may be refused with are few.
pub(crate) fn jwt_reader(data: &[u8]) -> bool {
    static PLAID: OnceLock<Source> = OnceLock::new();
    let source = PLAID.get_or_init(|| {
        let config = json!({ "scheme": "plaid", "secret_env": "SECRET", "plaid": { "api_url": "http://127.0.0.1:1" } });
        source(&serde_json::from_value(config).unwrap()).unwrap()
    });
    // Whoever asks for a key needs a runtime, even if the answer is not waited for.
    static RUNTIME: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
    let runtime = RUNTIME.get_or_init(|| tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap());
    let _inside = runtime.enter();
    let headers = headers_of([("plaid-verification", data)]);
    let wrong = verify(source, &headers, "/", b"{}").expect_err("nobody has signed this");
    use VerifyError::{BadTime, KeyUnavailable, Malformed, Mismatch, Missing, Stale, WrongAlgorithm};
    let known = [BadTime, KeyUnavailable, Malformed, Mismatch, Missing, Stale, WrongAlgorithm];
    assert!(known.contains(&wrong), "{wrong:?}");
    wrong == KeyUnavailable
}

/// A template, an id and a body, a line each: if the template is allowed, what it says is what is signed.
pub(crate) fn template_engine(data: &[u8]) -> bool {
    let mut lines = data.splitn(3, |b| *b == b'\n');
    let mut line = || lines.next().unwrap_or_default();
    let (template, id, body) = (String::from_utf8_lossy(line()), String::from_utf8_lossy(line()), line());
    let timed = template.contains("{ts}").then_some("x-time");
    let url = template.contains("{url}").then_some("https://t.example/x");
    let place = template.contains("{id}").then_some("header:x-id");
    let hmac =
        json!({ "signature_header": "x-mac", "encoding": "hex", "template": template, "timestamp_header": timed });
    let config = json!({ "scheme": "hmac", "secret_env": "SECRET", "hmac": hmac, "id": place, "public_url": url });
    let Some(source) = source(&serde_json::from_value(config).unwrap()) else { return false };
    let time = (NOW.as_ms() / 1000).to_string();
    let signed = written_out(&template, &id, &time, body);
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(&signed);
    let mac = hex::encode(mac.finalize().into_bytes());
    let headers = headers_of([("x-mac", mac.as_bytes()), ("x-time", time.as_bytes()), ("x-id", id.as_bytes())]);
    match verify(&source, &headers, "/y?n=1", body) {
        Ok(kept) => assert_eq!(kept.as_deref(), Some(body)),
        Err(wrong) => {
            assert!(matches!(wrong, VerifyError::BadId | VerifyError::TooMany), "{wrong:?}");
            return false;
        }
    }
    // A form goes by its fields, so another bit in it may be the same form.
    if template.contains("{body}") {
        let mut other = body.to_vec();
        other.push(b'.');
        assert_eq!(verify(&source, &headers, "/y?n=1", &other), Err(VerifyError::Mismatch));
    }
    true
}

/// What an allowed template says, by another way than the verifier's: letter by letter.
fn written_out(template: &str, id: &str, time: &str, body: &[u8]) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::new(), template);
    while let Some(first) = rest.chars().next() {
        let mut pairs: Vec<(String, String)> = url::form_urlencoded::parse(body).into_owned().collect();
        pairs.sort();
        pairs.dedup();
        let params: String = pairs.into_iter().map(|(name, value)| name + &value).collect();
        let parts: [(&str, &[u8]); 5] = [
            ("{id}", id.as_bytes()),
            ("{ts}", time.as_bytes()),
            ("{url}", b"https://t.example/x?n=1"),
            ("{params}", params.as_bytes()),
            ("{body}", body),
        ];
        let part = parts.iter().find(|(name, _)| rest.starts_with(name));
        let (bytes, used) =
            part.map_or((&rest.as_bytes()[..first.len_utf8()], first.len_utf8()), |(n, b)| (*b, n.len()));
        out.extend_from_slice(bytes);
        rest = &rest[used..];
    }
    out
}
