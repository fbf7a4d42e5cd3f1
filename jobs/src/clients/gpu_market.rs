//! The GPU market: 500.farm's Vast.ai exporter, `GET /gpu-stats`.
//!
//! Asks conditionally (`If-None-Match`), believes a body only when its `url` names the endpoint, and accepts the
//! exporter's habits: statistics wrapped in one-element arrays, prices left out where nothing is on offer, `null` for
//! NaN. Prices stay decimal text from the wire to the database.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use tidemill::clock::{Clock, Timestamp};
use url::Url;

use super::wire::{Call, Reply};
use super::{CallError, Meaning};
use crate::config::GpuMarketConfig;
use crate::money::Exact;

const TIMEOUT: Duration = Duration::from_secs(30);
const CALL: Call = Call { system: "gpu market", name: "GET /gpu-stats", cap: 8 * 1024 * 1024 };

/// Asks the GPU market. Cheap to clone.
#[derive(Clone, Debug)]
pub struct GpuMarket {
    http: reqwest::Client,
    endpoint: Url,
    clock: Clock,
}

/// What the source answered.
#[derive(Clone, Debug, PartialEq)]
pub enum Fetched {
    /// What the ETag stands for is still true.
    Unchanged,
    /// New figures.
    Changed {
        /// To be sent with the next request.
        etag: Option<String>,
        /// The figures.
        stats: GpuStats,
    },
}

/// `/gpu-stats` as it is sent, the parts that are used.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct GpuStats {
    url: String,
    timestamp: DateTime<Utc>,
    /// From most to least popular.
    pub models: Vec<Model>,
}

impl GpuStats {
    /// When the source took the figures.
    pub fn observed_at(&self) -> Timestamp {
        self.timestamp.into()
    }
}

/// One GPU model.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Model {
    /// `RTX 4090`.
    pub name: String,
    /// Its figures.
    pub stats: Stats,
}

/// A model's figures.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Stats {
    /// What is rented out.
    pub rented: Group,
    /// What is on offer.
    pub available: Group,
    /// Both.
    pub all: Group,
}

/// Figures by verification; only the sum is used.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Group {
    /// Verified and unverified machines together.
    #[serde(deserialize_with = "one")]
    pub all: Figures,
}

/// Count and prices, USD per GPU-hour.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
pub struct Figures {
    /// GPUs.
    pub count: u32,
    /// Absent when there are none.
    pub price_median: Option<Exact>,
    /// Likewise.
    pub price_10th_percentile: Option<Exact>,
    /// Likewise.
    pub price_90th_percentile: Option<Exact>,
}

impl GpuMarket {
    /// A client for the exporter at `config.base`.
    ///
    /// # Errors
    /// When no HTTP client can be made or the address can't take a path.
    pub fn new(config: &GpuMarketConfig, clock: Clock) -> anyhow::Result<Self> {
        let http = tidemill::outbound::client(TIMEOUT)?;
        Ok(Self { http, endpoint: config.base.join("gpu-stats")?, clock })
    }

    /// Asks for the figures, unless they are still those of `etag`.
    ///
    /// # Errors
    /// When it can't be reached, refuses, or sends something else.
    pub async fn gpu_stats(&self, etag: Option<&str>) -> Result<Fetched, CallError> {
        let mut request = self.http.get(self.endpoint.clone());
        if let Some(etag) = etag {
            request = request.header("If-None-Match", etag);
        }
        let reply = CALL.send(request).await?;
        match reply.status {
            304 if etag.is_some() => Ok(Fetched::Unchanged),
            200 => {
                let stats: GpuStats = CALL.parse(&reply)?;
                if stats.url != "/gpu-stats" {
                    let shown: String = stats.url.chars().take(80).collect();
                    let detail = format!("the answer says it is `{shown}`, not `/gpu-stats`");
                    return Err(CallError { status: Some(200), ..CALL.fail(Meaning::Permanent, detail) });
                }
                Ok(Fetched::Changed { etag: reply.header("ETag").map(str::to_owned), stats })
            }
            _ => Err(self.refused(&reply)),
        }
    }

    fn refused(&self, reply: &Reply) -> CallError {
        let meaning = match reply.status {
            408 | 429 | 500..=599 => Meaning::Retryable { after: reply.retry_after(&self.clock) },
            _ => Meaning::Permanent,
        };
        let detail = format!("status {}", reply.status);
        CallError { status: Some(reply.status), ..CALL.fail(meaning, detail) }
    }
}

/// Takes `{…}` and `[{…}]` alike. Not `untagged`: that would buffer the numbers and lose their digits.
fn one<'de, D: Deserializer<'de>, T: DeserializeOwned>(deserializer: D) -> Result<T, D::Error> {
    struct One<T>(PhantomData<T>);

    impl<'de, T: DeserializeOwned> Visitor<'de> for One<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object, or an array of one object")
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
            T::deserialize(MapAccessDeserializer::new(map))
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<T, A::Error> {
            let value = seq.next_element()?.ok_or_else(|| A::Error::invalid_length(0, &self))?;
            if seq.next_element::<serde::de::IgnoredAny>()?.is_some() {
                return Err(A::Error::invalid_length(2, &self));
            }
            Ok(value)
        }
    }

    deserializer.deserialize_any(One(PhantomData))
}
