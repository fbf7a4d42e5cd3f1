//! 500.farm's exporter: `GET /gpu-stats` with ETags, one-element arrays and absent prices.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tidemill::clock::{Clock, Entropy, Timestamp};

use super::server::{Fake, FakeError};
use super::trouble::{Moods, meet};

/// One GPU model's figures. Prices are cents per GPU-hour, as whole numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FakeModel {
    /// `RTX 4090`
    pub name: String,
    /// GPUs rented out.
    pub rented: u32,
    /// GPUs on offer.
    pub available: u32,
    /// Median price.
    pub cents: u32,
}

impl FakeModel {
    /// A model.
    pub fn new(name: &str, rented: u32, available: u32, cents: u32) -> Self {
        Self { name: name.to_owned(), rented, available, cents }
    }
}

/// Quirks of the body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quirks {
    /// Statistics come as `[{…}]`, as they do today; false: as `{…}`.
    pub arrays: bool,
    /// What the body says it is.
    pub url: String,
    /// Percentiles are `null` (NaN at the source) instead of a number.
    pub null_percentiles: bool,
}

impl Default for Quirks {
    fn default() -> Self {
        Self { arrays: true, url: "/gpu-stats".to_owned(), null_percentiles: false }
    }
}

/// The market behind the fake. Cheap to clone; clones share it.
#[derive(Clone, Debug)]
pub struct Market {
    inner: Arc<Mutex<Inner>>,
    clock: Clock,
    /// How it feels.
    pub moods: Moods,
}

#[derive(Debug)]
struct Inner {
    models: Vec<FakeModel>,
    taken_at: Timestamp,
    quirks: Quirks,
    not_modified: u64,
    drift: Option<(Duration, Entropy)>,
}

/// Starts the fake on `port` (0: a free one) with four models. The exporter's base is its `url`.
///
/// # Errors
/// When the port can't be had.
pub async fn start(port: u16, clock: Clock) -> Result<Fake<Market>, FakeError> {
    let market = Market::new(clock);
    let router = Router::new()
        .route("/gpu-stats", get(gpu_stats))
        .with_state(market.clone())
        .layer(from_fn_with_state(market.moods.clone(), meet));
    Fake::start("gpu market", port, market, router).await
}

impl Market {
    fn new(clock: Clock) -> Self {
        let models = vec![
            FakeModel::new("RTX 4090", 4174, 272, 39),
            FakeModel::new("RTX 3090", 1950, 410, 21),
            FakeModel::new("H100 SXM", 880, 64, 187),
            FakeModel::new("GTX 1070", 0, 0, 5),
        ];
        let taken_at = clock.now();
        let (quirks, drift) = (Quirks::default(), None);
        let inner = Inner { models, taken_at, quirks, not_modified: 0, drift };
        Self { inner: Arc::new(Mutex::new(inner)), clock, moods: Moods::default() }
    }

    /// Puts other models in the place of those it has, taken now.
    pub fn set(&self, models: Vec<FakeModel>) {
        let now = self.clock.now();
        self.with(|m| (m.models, m.taken_at) = (models, now));
    }

    /// Changes how the body is written.
    pub fn quirks(&self, quirks: Quirks) {
        self.with(|m| m.quirks = quirks);
    }

    /// Prices and rentals move a little, at most once in `every`.
    pub fn drift(&self, every: Duration, entropy: Entropy) {
        self.with(|m| m.drift = Some((every, entropy)));
    }

    /// How often it answered 304.
    pub fn not_modified(&self) -> u64 {
        self.with(|m| m.not_modified)
    }

    fn with<T>(&self, f: impl FnOnce(&mut Inner) -> T) -> T {
        f(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Inner {
    fn move_on(&mut self, now: Timestamp) {
        let Some((every, entropy)) = &self.drift else { return };
        if now.since(self.taken_at) < *every {
            return;
        }
        for model in &mut self.models {
            let step = |n: u32, by: u64| {
                let up = u32::try_from(entropy.below(2 * by + 1)).unwrap_or(0);
                (n + up).saturating_sub(u32::try_from(by).unwrap_or(0))
            };
            if model.rented > 0 {
                (model.rented, model.cents) = (step(model.rented, 20).max(1), step(model.cents, 2).max(1));
            }
        }
        self.taken_at = now;
    }

    fn body(&self) -> Value {
        let models: Vec<Value> = self.models.iter().map(|m| self.model(m)).collect();
        json!({
            "url": self.quirks.url, "timestamp": self.taken_at, "notes": ["Sorted from most to least popular."],
            "models": models,
        })
    }

    fn model(&self, m: &FakeModel) -> Value {
        let group = |count| {
            json!({
                "verified": self.figures(count, m.cents),
                "unverified": self.figures(0, m.cents),
                "all": self.figures(count, m.cents),
            })
        };
        json!({
            "name": m.name,
            "stats": { "rented": group(m.rented), "available": group(m.available), "all": group(m.rented + m.available) },
            "info": { "vram": 24, "dlperf": 110.5, "tflops": 82.6 },
        })
    }

    fn figures(&self, count: u32, cents: u32) -> Value {
        let mut figures = json!({ "count": count });
        if count > 0 {
            figures["price_median"] = dollars(cents);
            for (name, value) in [("price_10th_percentile", cents * 3 / 4), ("price_90th_percentile", cents * 5 / 4)] {
                figures[name] = if self.quirks.null_percentiles { Value::Null } else { dollars(value) };
            }
        }
        if self.quirks.arrays { json!([figures]) } else { figures }
    }
}

/// Cents as a JSON number of dollars, without a float on the way.
fn dollars(cents: u32) -> Value {
    serde_json::from_str(&format!("{}.{:02}", cents / 100, cents % 100)).unwrap_or(Value::Null)
}

async fn gpu_stats(State(market): State<Market>, headers: HeaderMap) -> Response {
    let now = market.clock.now();
    let body = market.with(|m| {
        m.move_on(now);
        m.body().to_string()
    });
    let etag = format!("\"{}\"", hex::encode(&Sha256::digest(&body)[..12]));
    if headers.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == etag.as_bytes()) {
        market.with(|m| m.not_modified += 1);
        return (StatusCode::NOT_MODIFIED, [(header::ETAG, etag)]).into_response();
    }
    ([(header::ETAG, etag), (header::CONTENT_TYPE, "application/json".to_owned())], body).into_response()
}
