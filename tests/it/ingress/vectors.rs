//! Public test vectors, and signatures made here where a sender has published none.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use tidemill::config::ingress::{SchemeName, SourceConfig};
use tidemill::ingress::Source;

use super::attempt::{Try, source};

/// A request that must be accepted, and all that is needed to spoil it.
pub(super) struct Vector {
    pub(super) name: &'static str,
    pub(super) config: SourceConfig,
    pub(super) secret: &'static str,
    /// As good a key as the other, but not the sender's.
    pub(super) wrong_secret: &'static str,
    pub(super) good: Try,
    pub(super) header: &'static str,
    /// What stands before the signature in its header.
    pub(super) prefix: &'static str,
    pub(super) tolerance: Option<i64>,
    /// Id and type; `None`: it is a handshake.
    pub(super) event: Option<(&'static str, &'static str)>,
}

impl Vector {
    pub(super) fn source(&self) -> Source {
        source(self.config.clone(), &[self.secret])
    }

    pub(super) fn signature(&self) -> String {
        let (_, text) = self.good.headers.iter().find(|(name, _)| *name == self.header).unwrap();
        text[self.prefix.len()..].to_owned()
    }

    pub(super) fn with_signature(&self, signature: &str) -> Try {
        self.good.with(self.header, format!("{}{signature}", self.prefix))
    }
}

pub(super) const STANDARD_ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
pub(super) const SENDGRID_KEY: &str = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE83T4O/n84iotIvIW4mdBgQ/7dAfSmpqIM8kF9mN1flpVKS3GRqe62gw+2fNNRaINXvVpiglSI8eNEc6wEA3F+g==";
const SENDGRID_OTHER: &str = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEaxfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpZP40Li/hp/m47n60p8D54WK84zV2sxXs7LtkBoN79R9Q==";
pub(super) const DISCORD_BODY: &str = r#"{"application_id":"827290144020496384","id":"995105663481028770","token":"aW50ZXJhY3Rpb246OTk1MTA1NjYzNDgxMDI4NzcwOmlReEtWOXNxMTJWYXF4UlRkc2RyVEp0MDdDMlVyem1na0FTT21xNTZQNHR0MUlORDU1bmNCUTZZdTI5akJkb3FycjBuUDltNVp3VVVJbnA0UUkzMG13cVBGWE5qZFQyb1dkZEpqVVFEdmZEcGE2UHV5dFAyTE5rS2c2a2lZNDlx","type":1,"user":{"avatar":"27aeb42cc902f7d8712aa64ff15bfb7d","avatar_decoration":null,"discriminator":"6969","id":"170531778354741248","public_flags":576,"username":"miles"},"version":1}"#;
const DISCORD_KEY: &str = "c5568d0facd66bddee281dcb9c8ac02e169c5c20741b215b2539a96bb183c5d6";
const DISCORD_OTHER: &str = "d4a203ca1f3c4ea5e2f9f5f0a2f8d2ab5aa2f6cc0d7f8d4f5c0b1e7ef1a7c0de";
const SLACK_BODY: &str = "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";
const SENDGRID_BODY: &str = "[{\"email\":\"hello@world.com\",\"event\":\"dropped\",\"reason\":\"Bounced Address\",\"sg_event_id\":\"ZHJvcC0xMDk5NDkxOS1MUnpYbF9OSFN0T0doUTRrb2ZTbV9BLTA\",\"sg_message_id\":\"LRzXl_NHStOGhQ4kofSm_A.filterdrecv-p3mdw1-756b745b58-kmzbl-18-5F5FC76C-9.0\",\"smtp-id\":\"<LRzXl_NHStOGhQ4kofSm_A@ismtpd0039p1iad1.sendgrid.net>\",\"timestamp\":1600112492}]\r\n";
pub(super) const TWILIO_FORM: &str =
    "Digits=1234&To=%2B18005551212&From=%2B12349013030&Caller=%2B12349013030&CallSid=CA1234567890ABCDE";

/// V1, V4 (both under both families of names), V6, V7, V9, V10a, V11, V12; Shopify, Buffr and Twilio's JSON signed here.
pub(super) fn all() -> Vec<Vector> {
    let mut all = standard();
    all.push(stripe());
    let plain = [
        (
            "V7 GitHub",
            SchemeName::Github,
            ["It's a Secret to Everybody", "It's a Secret to Nobody"],
            "Hello, World!",
            [("x-github-delivery", "72d3162e"), ("x-github-event", "push")],
            ("x-hub-signature-256", "sha256=", "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"),
            ("72d3162e", "push"),
        ),
        (
            "Shopify",
            SchemeName::Shopify,
            ["hush", "hush-hush"],
            r#"{"id": 820982911946154508}"#,
            [("x-shopify-webhook-id", "b54557e4"), ("x-shopify-topic", "orders/create")],
            ("x-shopify-hmac-sha256", "", "dm3Ld9ErOGTrvtXw05Vq8OpEfKMyqbvvDTn4l/l7iKY="),
            ("b54557e4", "orders/create"),
        ),
        (
            "Buffr",
            SchemeName::Buffr,
            ["buffr_secret", "buffr_secrets"],
            BUFFR_BODY,
            [("idempotency-key", "key-1"), ("content-type", "application/json")],
            ("x-webhook-signature", "", ""),
            ("key-1", "voucher.redeemed"),
        ),
    ];
    for (name, scheme, [secret, wrong_secret], body, more, (header, prefix, signature), event) in plain {
        let mac = mac(secret, body.as_bytes());
        let made = if scheme == SchemeName::Shopify { STANDARD.encode(&mac) } else { hex::encode(&mac) };
        if scheme == SchemeName::Github {
            assert_eq!(made, signature, "the published one");
        }
        let headers = [(header, &*format!("{prefix}{made}")), more[0], more[1]];
        let (config, good) = (SourceConfig::new(scheme, "0"), Try::new(&headers, body, 0));
        let event = Some(event);
        all.push(Vector { name, config, secret, wrong_secret, good, header, prefix, tolerance: None, event });
    }
    all.extend([slack(), twilio_form(), twilio_json(), sendgrid(), discord()]);
    all
}

pub(super) const BUFFR_BODY: &str = r#"{"event":"voucher.redeemed","data":{"voucher_id":"v-1","status":"redeemed","redemption_method":"qr"},"timestamp":"2026-02-07T19:11:04Z"}"#;

pub(super) fn mac(secret: &str, signed: &[u8]) -> Vec<u8> {
    mac_with(secret.as_bytes(), signed)
}

pub(super) fn mac_with(key: &[u8], signed: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(signed);
    mac.finalize().into_bytes().to_vec()
}

fn standard() -> Vec<Vector> {
    let secret = ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSx"];
    let public =
        ["whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=", "whpk_11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="];
    let v1 = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
    let v1a = "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg==";
    let names = ["webhook-id", "webhook-timestamp", "webhook-signature"];
    let svix = ["svix-id", "svix-timestamp", "svix-signature"];
    [
        ("V1 v1", names, "v1,", v1, secret),
        ("V1 v1 of Svix", svix, "v1,", v1, secret),
        ("V4 v1a", names, "v1a,", v1a, public),
        ("V4 v1a of Svix", svix, "v1a,", v1a, public),
    ]
    .map(|(name, [id, time, header], prefix, signature, [secret, wrong_secret])| Vector {
        name,
        config: SourceConfig::new(SchemeName::StandardWebhooks, "0"),
        secret,
        wrong_secret,
        good: Try::new(
            &[(id, STANDARD_ID), (time, "1614265330"), (header, signature)],
            r#"{"test": 2432232314}"#,
            1_614_265_330,
        ),
        header,
        prefix,
        tolerance: Some(300),
        event: Some((STANDARD_ID, "unknown")),
    })
    .into()
}

fn stripe() -> Vector {
    let signature = "f0bdba6d4eacbd8ad8a3bbadd7248e633ec1477f7899c124c51b39405fa36613";
    Vector {
        name: "V6 Stripe",
        config: SourceConfig::new(SchemeName::Stripe, "0"),
        secret: "webhook_secret",
        wrong_secret: "webhook_secrets",
        good: Try::new(
            &[("stripe-signature", &format!("t=1533204620,v1={signature}"))],
            super::signatures::stripe_body(),
            1_533_204_620,
        ),
        header: "stripe-signature",
        prefix: "t=1533204620,v1=",
        tolerance: Some(300),
        event: Some(("evt_123", "invoiceitem.created")),
    }
}

fn slack() -> Vector {
    let signature = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503";
    Vector {
        name: "V9 Slack",
        config: SourceConfig::new(SchemeName::Slack, "0"),
        secret: "8f742231b10e8888abcd99yyyzzz85a5",
        wrong_secret: "8f742231b10e8888abcd99yyyzzz85a6",
        good: Try::new(
            &[("x-slack-signature", signature), ("x-slack-request-timestamp", "1531420618")],
            SLACK_BODY,
            1_531_420_618,
        ),
        header: "x-slack-signature",
        prefix: "v0=",
        tolerance: Some(300),
        event: Some(("398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c", "/webhook-collect")),
    }
}

fn twilio(
    name: &'static str,
    target: &str,
    body: &str,
    signature: &str,
    event: (&'static str, &'static str),
) -> Vector {
    let public_url = Some("https://mycompany.com/myapp.php".to_owned());
    let headers = [("x-twilio-signature", signature), ("i-twilio-idempotency-token", "token-1")];
    Vector {
        name,
        config: SourceConfig { public_url, ..SourceConfig::new(SchemeName::Twilio, "0") },
        secret: "12345",
        wrong_secret: "12346",
        good: Try { target: target.to_owned(), ..Try::new(&headers, body, 0) },
        header: "x-twilio-signature",
        prefix: "",
        tolerance: None,
        event: Some(event),
    }
}

fn twilio_form() -> Vector {
    let signature = "0/KCTR6DLpKmkAf8muzZqo1nDgQ=";
    twilio("V10a Twilio form", "/webhooks/sender?foo=1&bar=2", TWILIO_FORM, signature, ("token-1", "unknown"))
}

fn twilio_json() -> Vector {
    let body = r#"[{"type": "com.twilio.messaging.message.sent"}]"#;
    let digest = hex::encode(<Sha256 as sha2::Digest>::digest(body));
    let query = format!("?bodySHA256={digest}");
    let mut mac = Hmac::<sha1::Sha1>::new_from_slice(b"12345").unwrap();
    mac.update(format!("https://mycompany.com/myapp.php{query}").as_bytes());
    let signature = STANDARD.encode(mac.finalize().into_bytes());
    let event = ("token-1", "com.twilio.messaging.message.sent");
    twilio("Twilio JSON", &format!("/webhooks/sender{query}"), body, &signature, event)
}

fn sendgrid() -> Vector {
    let signature = "MEUCIGHQVtGj+Y3LkG9fLcxf3qfI10QysgDWmMOVmxG0u6ZUAiEAyBiXDWzM+uOe5W0JuG+luQAbPIqHh89M15TluLtEZtM=";
    let header = "x-twilio-email-event-webhook-signature";
    Vector {
        name: "V11 SendGrid",
        config: SourceConfig::new(SchemeName::Sendgrid, "0"),
        secret: SENDGRID_KEY,
        wrong_secret: SENDGRID_OTHER,
        good: Try::new(
            &[(header, signature), ("x-twilio-email-event-webhook-timestamp", "1600112502")],
            SENDGRID_BODY,
            1_600_112_502,
        ),
        header,
        prefix: "",
        tolerance: Some(86_400),
        event: Some(("sha256:ef3e4606385ea6adbc55fceb6117cf2784040cf145a010e5ef4afc2bc7c70452", "unknown")),
    }
}

fn discord() -> Vector {
    let signature = "28b4ab5f09cce30c7f7f4ab4b47c311f0ce83dd8fec06d34e402c44d64223be5016f95339e64bdabcbd395e9147afe3f8cd024868330ab41014ae51b5573a009";
    Vector {
        name: "V12 Discord",
        config: SourceConfig::new(SchemeName::Discord, "0"),
        secret: DISCORD_KEY,
        wrong_secret: DISCORD_OTHER,
        good: Try::new(
            &[("x-signature-ed25519", signature), ("x-signature-timestamp", "1657322078")],
            DISCORD_BODY,
            1_657_322_078,
        ),
        header: "x-signature-ed25519",
        prefix: "",
        tolerance: Some(300),
        event: None,
    }
}
