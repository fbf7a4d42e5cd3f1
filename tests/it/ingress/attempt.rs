//! One attempt to get in, and what a source says to it.

use axum::http::{HeaderMap, HeaderName, HeaderValue, Uri};
use bytes::Bytes;
use tidemill::clock::Timestamp;
use tidemill::config::ingress::SourceConfig;
use tidemill::ingress::{Admitted, Incoming, Source, VerifyError, WebhookReceived};

/// The event's id and type, or why not.
pub(super) type Verdict = Result<(String, String), VerifyError>;

/// Headers, body, target, and the second it comes in.
#[derive(Clone)]
pub(super) struct Try {
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Vec<u8>,
    pub(super) target: String,
    pub(super) at: i64,
}

impl Try {
    pub(super) fn new(headers: &[(&'static str, &str)], body: impl Into<Vec<u8>>, at: i64) -> Self {
        let headers = headers.iter().map(|(name, text)| (*name, (*text).to_owned())).collect();
        Self { headers, body: body.into(), target: "/webhooks/sender".to_owned(), at }
    }

    /// With another text in one header.
    pub(super) fn with(&self, name: &str, text: impl Into<String>) -> Self {
        let mut other = self.clone();
        let text = text.into();
        other.headers.iter_mut().filter(|(n, _)| *n == name).for_each(|(_, old)| old.clone_from(&text));
        other
    }

    pub(super) fn with_body(&self, body: impl Into<Vec<u8>>) -> Self {
        Self { body: body.into(), ..self.clone() }
    }

    pub(super) async fn admitted(&self, source: &Source) -> Result<Admitted, VerifyError> {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            headers.append(HeaderName::from_static(name), HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let (uri, body): (Uri, Bytes) = (self.target.parse().unwrap(), self.body.clone().into());
        let incoming = Incoming { headers: &headers, uri: &uri, body: &body };
        source.verify(incoming, Timestamp::from_ms(self.at * 1000)).await
    }

    /// For sources that need nobody's answer.
    pub(super) fn event(&self, source: &Source) -> Result<WebhookReceived, VerifyError> {
        let admitted = futures_util::FutureExt::now_or_never(self.admitted(source)).expect("it waited for something");
        match admitted? {
            Admitted::Event(event) => {
                assert_eq!(event.get().body.as_bytes(), self.body, "the body is kept byte for byte");
                Ok(event.get().clone())
            }
            Admitted::Greeting(reply) => panic!("a handshake: {reply:?}"),
        }
    }

    pub(super) fn verdict(&self, source: &Source) -> Verdict {
        self.event(source).map(|event| (event.event_id, event.event_type))
    }
}

pub(super) fn accepted(id: &str, event_type: &str) -> Verdict {
    Ok((id.to_owned(), event_type.to_owned()))
}

/// A source with these secrets, in variables named 0, 1, ….
pub(super) fn source(config: SourceConfig, secrets: &[&str]) -> Source {
    let secrets: Vec<String> = secrets.iter().map(ToString::to_string).collect();
    let variables = (0..secrets.len()).map(|n| n.to_string()).collect();
    let env = move |name: &str| secrets.get(name.parse::<usize>().unwrap()).cloned();
    Source::new("sender", &SourceConfig { secret_env: variables, ..config }, &env).unwrap()
}
