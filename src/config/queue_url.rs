//! The queue store's URL. It may hold a password, so it never shows itself whole: not in `Debug`, not where the configuration is
//! printed, not in an error.

use std::fmt;

use serde::{Deserialize, Serialize, Serializer};

use crate::store::{InvalidLocation, Location};

/// A store's URL as it was configured; empty: the embedded store.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct QueueUrl(String);

impl QueueUrl {
    /// Nothing was configured.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What it names.
    ///
    /// # Errors
    /// When it names no store; says why, without secrets.
    pub fn location(&self) -> Result<Location, InvalidLocation> {
        self.0.parse()
    }

    fn shown(&self) -> String {
        match self.location() {
            _ if self.is_empty() => String::new(),
            Ok(location) => location.to_string(),
            // Whatever it is, it may hold a secret.
            Err(_) => "unusable".to_owned(),
        }
    }
}

impl<T: Into<String>> From<T> for QueueUrl {
    fn from(url: T) -> Self {
        Self(url.into())
    }
}

impl fmt::Debug for QueueUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown())
    }
}

impl Serialize for QueueUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.shown())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn config(url: &str) -> Config {
        Config { queue_url: url.into(), ..Config::default() }
    }

    #[test]
    fn a_password_shows_neither_in_the_printed_configuration_nor_in_an_error() {
        for url in
            ["redis://me:hush@h/0", "redis+sentinel://me:hush@a,b/main", "redis://me:hush@h/x", "http://me:hush@h"]
        {
            let config = config(url);
            let printed = format!("{} {config:?}", serde_json::to_string(&config).unwrap());
            assert!(!printed.contains("hush") && !printed.contains("me:"), "{printed}");
            if let Err(error) = config.complete() {
                let error = error.to_string();
                assert!(error.starts_with("queue_url") && !error.contains("hush"), "{error}");
            }
        }
    }

    #[test]
    fn a_url_is_shown_as_what_it_leads_to() {
        assert_eq!(format!("{:?}", QueueUrl::from("redis://me:hush@h/2")), "redis://h:6379/2");
        assert_eq!(format!("{:?}", QueueUrl::from("sqlite:///var/q.db")), "sqlite:/var/q.db");
        assert_eq!(format!("{:?}", QueueUrl::default()), "");
    }

    #[test]
    fn an_empty_url_is_the_embedded_store() {
        let Ok(Location::Sqlite(path)) = config("").queue_location() else { panic!("embedded") };
        assert_eq!(path, std::path::Path::new("data/queue.db"));
        assert!(matches!(config("rediss://h").queue_location(), Ok(Location::Redis(_))));
    }
}
