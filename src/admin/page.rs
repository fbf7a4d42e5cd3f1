//! Pages of lists: at most 200 items, and an opaque place where the next page begins.
//!
//! A [`Place`] names the last item that was shown, not a number of items, so that pages neither repeat nor miss
//! anything while items come and go.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use super::Refusal;

const MARK: &str = "p0:";

/// One page.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Paged<T> {
    /// What is on it.
    pub items: Vec<T>,
    /// Pass it back as `cursor` for the next page; none: this was the last.
    pub next: Option<String>,
}

/// How many items a page may have: 1 to 200, 50 where nothing is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Limit(u32);

impl Limit {
    /// The bare number.
    pub fn get(self) -> u32 {
        self.0
    }

    fn items(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl Default for Limit {
    fn default() -> Self {
        Self(50)
    }
}

/// A limit that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a limit, expected a number from 1 to 200")]
pub struct InvalidLimit(String);

impl FromStr for Limit {
    type Err = InvalidLimit;

    fn from_str(text: &str) -> Result<Self, InvalidLimit> {
        let number = text.parse().ok().filter(|n| (1..=200).contains(n));
        number.map(Self).ok_or_else(|| InvalidLimit(text.chars().take(80).collect()))
    }
}

impl TryFrom<String> for Limit {
    type Error = InvalidLimit;

    fn try_from(text: String) -> Result<Self, InvalidLimit> {
        text.parse()
    }
}

/// A place in a list: after the item with this key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place(String);

impl Place {
    /// The place after the item with `key`.
    pub(super) fn after(key: impl fmt::Display) -> Self {
        Self(key.to_string())
    }

    /// The item's key, as the list's own type.
    pub(super) fn key<T: FromStr>(&self) -> Result<T, Refusal> {
        self.0.parse().map_err(|_| self.refused())
    }

    fn refused(&self) -> Refusal {
        Refusal::Invalid { field: "cursor", value: self.to_string(), allowed: InvalidPlace::ALLOWED.to_owned() }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(format!("{MARK}{}", self.0)))
    }
}

/// A cursor that no page gave out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a cursor, expected {allowed}", allowed = Self::ALLOWED)]
pub struct InvalidPlace(String);

impl InvalidPlace {
    const ALLOWED: &str = "the `next` of a page of this list, or nothing to start";
}

impl FromStr for Place {
    type Err = InvalidPlace;

    fn from_str(text: &str) -> Result<Self, InvalidPlace> {
        let decoded = URL_SAFE_NO_PAD.decode(text).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let key = decoded.as_deref().and_then(|t| t.strip_prefix(MARK)).filter(|key| key.len() <= 255);
        key.map(|key| Self(key.to_owned())).ok_or_else(|| InvalidPlace(text.chars().take(80).collect()))
    }
}

impl<'de> Deserialize<'de> for Place {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Which page of a list.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ask {
    /// Go on after the page that gave this.
    #[serde(default)]
    pub cursor: Option<Place>,
    /// At most so many.
    #[serde(default)]
    pub limit: Limit,
}

impl Ask {
    /// The page of a list that is short enough to be held whole.
    pub(super) fn of_all<T, K: Ord + FromStr + fmt::Display>(
        &self,
        mut all: Vec<T>,
        key: impl Fn(&T) -> K,
    ) -> Result<Paged<T>, Refusal> {
        all.sort_by_key(&key);
        if let Some(place) = &self.cursor {
            let after: K = place.key()?;
            all.retain(|item| key(item) > after);
        }
        Ok(self.of_rest(all, key))
    }

    /// The page of items that begin after the cursor; one more than the limit shows that there is a next page.
    pub(super) fn of_rest<T, K: fmt::Display>(&self, mut rest: Vec<T>, key: impl Fn(&T) -> K) -> Paged<T> {
        let more = rest.len() > self.limit.items();
        rest.truncate(self.limit.items());
        let next = rest.last().filter(|_| more).map(|item| Place::after(key(item)).to_string());
        Paged { items: rest, next }
    }
}
