//! What the configuration of sources may say, and that a source without its secret never starts.

use std::collections::BTreeMap;
use std::io::Write as _;

use figment::Figment;
use figment::providers::{Format as _, Toml};
use tidemill::config::ingress::IngressConfig;
use tidemill::ingress::{Sources, limits};

fn read(toml: &str) -> Result<IngressConfig, String> {
    Figment::from(Toml::string(toml)).extract().map_err(|e| e.to_string())
}

fn start(toml: &str, env: &[(&str, &str)]) -> Result<Vec<String>, String> {
    let env: BTreeMap<String, String> = env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let config = read(toml).unwrap();
    let sources = Sources::resolve(&config, &|name| env.get(name).cloned()).map_err(|e| e.to_string())?;
    Ok(sources.names().map(str::to_owned).collect())
}

const HMAC: &str = r#"
    [sources.vouchers]
    scheme = "hmac"
    secret_env = ["VOUCHERS_SECRET", "VOUCHERS_SECRET_BEFORE"]
    id = "body:/event/id"
    [sources.vouchers.hmac]
    signature_header = "X-Signature"
    encoding = "hex"
    template = "{ts}.{body}"
    timestamp_header = "x-time"
"#;

#[test]
fn stripe_is_there_when_its_variable_is_and_off_when_it_is_not() {
    assert_eq!(start("", &[]).unwrap(), Vec::<String>::new());
    assert_eq!(start("", &[("STRIPE_WEBHOOK_SECRET", "whsec_abc")]).unwrap(), ["stripe"]);
    let both = [("STRIPE_WEBHOOK_SECRET", "whsec_abc"), ("BUFFR_WEBHOOK_SECRET", "abc")];
    assert_eq!(start("", &both).unwrap(), ["buffr", "stripe"]);
}

#[test]
fn a_source_without_its_secret_refuses_to_start_and_names_source_and_variable() {
    let both = [("VOUCHERS_SECRET", "a"), ("VOUCHERS_SECRET_BEFORE", "b")];
    assert_eq!(start(HMAC, &both).unwrap(), ["vouchers"]);
    for (toml, env, source, place) in [
        ("", &[("STRIPE_WEBHOOK_SECRET", "")][..], "stripe", "STRIPE_WEBHOOK_SECRET"),
        ("", &[("STRIPE_WEBHOOK_SECRET", " \n")], "stripe", "STRIPE_WEBHOOK_SECRET"),
        (HMAC, &both[..1], "vouchers", "VOUCHERS_SECRET_BEFORE"),
        (HMAC, &[], "vouchers", "VOUCHERS_SECRET"),
        ("[sources.a]\nscheme = 'stripe'", &[], "a", "secret_env"),
        ("[sources.a]\nscheme = 'stripe'\nsecret_file = '/nowhere/at/all'", &[], "a", "/nowhere/at/all"),
        ("[sources.a]\nscheme = 'standard_webhooks'\nsecret_env = 'A'", &[("A", "whsec_")], "a", "A is empty"),
        ("[sources.a]\nscheme = 'standard_webhooks'\nsecret_env = 'A'", &[("A", "whsec_!!")], "a", "A is not"),
    ] {
        let error = start(toml, env).unwrap_err();
        assert!(error.contains(&format!("`{source}`")) && error.contains(place), "{error}");
    }
}

#[test]
fn a_secret_is_read_from_a_file_without_its_final_newline() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
    let toml = format!("[sources.a]\nscheme = 'standard_webhooks'\nsecret_file = '{}'", file.path().display());
    assert_eq!(start(&toml, &[]).unwrap(), ["a"]);
}

#[test]
fn a_wrong_setting_names_its_key() {
    for (toml, key) in [
        ("[sources.a]\nscheme = 'hmac'\nsecret_env = 'A'", "hmac"),
        (&HMAC.replace("{ts}.{body}", "{body}"), "hmac.template"),
        (&HMAC.replace("{ts}.{body}", "{ts}."), "hmac.template"),
        (&HMAC.replace("{ts}.{body}", "{ts}.{body}.{nonce}"), "hmac.template"),
        (&HMAC.replace("{ts}.{body}", "{ts}.{url}"), "hmac.template"),
        (&HMAC.replace("{ts}.{body}", "{ts}.{params}{body}"), "hmac.template"),
        (&HMAC.replace("{ts}.{body}", "{ts}.{body}.{url}"), "public_url"),
        (&HMAC.replace("id =", "public_url = 'https://a.example/x'\nid ="), "public_url"),
        ("[sources.a]\nscheme = 'twilio'\nsecret_env = 'A'", "public_url"),
        ("[sources.a]\nscheme = 'twilio'\nsecret_env = 'A'\npublic_url = 'hooks.example.com/x'", "public_url"),
        ("[sources.a]\nscheme = 'twilio'\nsecret_env = 'A'\npublic_url = 'https://a.example/x?y=1'", "public_url"),
        ("[sources.a]\nscheme = 'standard_webhooks'\nsecret_env = 'A'\nid = 'body:/id'", "id"),
        ("[sources.a]\nscheme = 'stripe'\nsecret_env = 'A'\n[sources.a.plaid]", "plaid"),
        ("[sources.a]\nscheme = 'stripe'\nsecret_env = 'A'\n[sources.a.reply]\nstatus = 404", "reply.status"),
        ("[sources.a]\nscheme = 'stripe'\nsecret_env = 'A'\n[sources.a.reply]\nbody = 'ok'", "reply.content_type"),
        ("[sources.a]\nscheme = 'stripe'\nsecret_env = 'A'\nkinds = { x = 'Not A Kind' }", "kinds"),
        ("[sources.a]\nscheme = 'stripe'\nsecret_env = 'A'\nkinds = { x = 'webhook.received' }", "kinds"),
        (&HMAC.replace("{ts}.{body}", "{ts}.{ts}.{body}"), "hmac.template"),
        (&HMAC.replace("{ts}.{body}", "{id}{ts}.{body}"), "hmac.template"),
        (&HMAC.replace("{ts}.{body}", "{id}.{ts}.{body}"), "id"),
        (&HMAC.replace("timestamp_header = \"x-time\"", ""), "hmac.timestamp_header"),
        (&HMAC.replace("X-Signature", "X Signature"), "hmac.signature_header"),
        (&HMAC.replace("scheme = \"hmac\"", "scheme = \"stripe\""), "hmac"),
        ("[sources.a]\nscheme = 'stripe'\nsecret_env = 'A'\npath = 'buffr'", "path"),
        ("[sources.a]\nscheme = 'stripe'\nsecret_env = 'A'\npath = '/{all}'", "path"),
        (
            "[sources.a]\nscheme = 'stripe'\nsecret_env = 'A'\npath = '/x'\n[sources.b]\nscheme = 'stripe'\nsecret_env = 'A'\npath = '/x'",
            "path",
        ),
        ("[sources.health]\nscheme = 'stripe'\nsecret_env = 'A'", "health"),
        ("[sources.'A B']\nscheme = 'stripe'\nsecret_env = 'A'", "A B"),
    ] {
        let env = [("A", "a"), ("VOUCHERS_SECRET", "a"), ("VOUCHERS_SECRET_BEFORE", "b")];
        let error = start(toml, &env).unwrap_err();
        assert!(error.contains(key), "{key}: {error}");
    }
}

#[test]
fn an_unknown_key_or_a_number_out_of_range_is_named() {
    for (toml, key) in [
        ("lisen = '0.0.0.0:1'", "lisen"),
        ("listen = 'here'", "listen"),
        ("[limits]\nconnections = 0", "limits.connections"),
        ("[limits]\nhead_timeout_seconds = 601", "limits.head_timeout_seconds"),
        ("[sources.a]\nscheme = 'rot13'\nsecret_env = 'A'", "sources.a.scheme"),
        ("[sources.a]\nscheme = 'stripe'\nsecret = 'inline'", "secret"),
        ("[sources.a]\nscheme = 'stripe'\nsecret_env = 'A'\ntolerance_seconds = 0", "tolerance_seconds"),
        ("[sources.a]\nscheme = 'stripe'\nsecret_env = 'A'\nid = 'cookie:a'", "sources.a.id"),
        ("[sources.a]\nscheme = 'stripe'\nsecret_env = 'A'\nbody_bytes = 1048577", "body_bytes"),
        ("[rate]\nper_second = 0", "rate.per_second"),
        ("[sources.a]\nscheme = 'stripe'\nsecret_env = 'A'\n[sources.a.rate]\nper_second = 9\nburst = 0", "burst"),
    ] {
        let error = read(toml).unwrap_err();
        assert!(error.contains(key), "{key}: {error}");
    }
}

#[test]
fn a_queue_that_is_not_configured_is_named() {
    let with = |queue: &str| {
        let toml = format!("[sources.a]\nscheme = 'stripe'\nsecret_env = 'A'\nqueue = '{queue}'");
        let config = tidemill::config::Config { ingress: read(&toml).unwrap(), ..Default::default() };
        config.complete().map(drop).map_err(|e| e.to_string())
    };
    assert_eq!(with("reports"), Ok(()));
    let error = with("repotrs").unwrap_err();
    assert!(error.contains("ingress.sources.a.queue") && error.contains("repotrs"), "{error}");
}

#[test]
fn the_manuals_examples_start() {
    let manual = include_str!("../../../docs/sources.md");
    let examples: Vec<&str> = manual.split("```toml").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert_eq!(examples.len(), 2);
    for example in examples {
        let config: IngressConfig = Figment::from(Toml::string(example)).extract_inner("ingress").unwrap();
        let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned();
        let sources = Sources::resolve(&config, &|_| Some(secret.clone())).unwrap();
        assert_eq!(sources.names().count(), 3, "the one that is described, and the two that are there by themselves");
    }
}

#[test]
fn every_scheme_refuses_to_start_without_its_secret_or_with_an_empty_one() {
    let schemes = [
        "buffr",
        "discord",
        "github",
        "plaid",
        "sendgrid",
        "shopify",
        "slack",
        "standard_webhooks",
        "stripe",
        "twilio",
    ];
    for scheme in schemes {
        let url = if scheme == "twilio" { "public_url = 'https://t.example/x'" } else { "" };
        let toml = format!("[sources.a]\nscheme = '{scheme}'\nsecret_env = 'A'\n{url}");
        for secret in [None, Some(""), Some(" \n")] {
            let config = read(&toml).unwrap();
            let env = |name: &str| if name == "A" { secret.map(str::to_owned) } else { None };
            let error = Sources::resolve(&config, &env).unwrap_err().to_string();
            assert!(error.contains("`a`") && error.contains("variable A is"), "{scheme}: {error}");
        }
        let none = format!("[sources.a]\nscheme = '{scheme}'\n{url}");
        assert!(start(&none, &[]).unwrap_err().contains("secret_env"), "{scheme}");
    }
}

#[test]
fn the_shipped_limits_are_the_listeners_own() {
    let ours = limits(&IngressConfig::default());
    let theirs = tidemill::listener::ListenerLimits { body_bytes: 1024 * 1024, ..Default::default() };
    assert_eq!(ours, theirs);
}

#[test]
fn a_configuration_written_out_reads_the_same() {
    let config = read(HMAC).unwrap();
    let text = serde_json::to_string(&config).unwrap();
    assert_eq!(serde_json::from_str::<IngressConfig>(&text).unwrap(), config);
}
