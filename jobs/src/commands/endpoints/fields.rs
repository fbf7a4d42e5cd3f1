//! What an endpoint may be given, as options of `add` and `edit`.

use std::str::FromStr;

use clap::Args;
use tidemill::fanout::endpoints::{Texts, begun_name};
use tidemill::fanout::{Ordering, Rate, Sending, SendingChange};

use crate::cli::{Failure, Span};

/// What stands for "as configured", or for none.
const DEFAULT: &str = "default";

/// What goes with an endpoint beside its URL and types.
#[derive(Debug, Args)]
pub(super) struct Fields {
    /// For people, at most 500 bytes
    #[arg(long)]
    pub(super) description: Option<String>,
    /// Only events whose payload fits, like 'amount_minor >= 10000'; '' for all
    #[arg(long, value_name = "EXPRESSION")]
    pub(super) filter: Option<String>,
    /// A static header; may be given more than once, and all together stand in the place of those there were
    #[arg(long = "header", value_name = "NAME=VALUE")]
    headers: Vec<String>,
    /// The same with its value in a file, for credentials: it stays out of the shell's history
    #[arg(long = "header-file", value_name = "NAME=FILE")]
    header_files: Vec<String>,
    /// Send the signature's headers under this prefix too, like X-GPUScout; '' for no longer
    #[arg(long, value_name = "PREFIX")]
    pub(super) header_prefix: Option<String>,
    /// A note of your own; may be given more than once, and all together stand in the place of those there were
    #[arg(long = "note", value_name = "NAME=TEXT")]
    notes: Vec<String>,
    /// At most so many POSTs in a time, evenly spread: 100/60s; `default` for no limit
    #[arg(long, value_name = "N/TIME")]
    rate: Option<Or<RateText>>,
    /// POSTs under way at once, 1 to 1000; `default` for the configured number
    #[arg(long, value_name = "N")]
    concurrency: Option<Or<u32>>,
    /// `strict`: one at a time in the order of the events, a failing one holds up the next; `none`: as they come
    #[arg(long)]
    ordering: Option<OrderingText>,
    /// Waits after failed attempts, like 5s,5m,30m; `default` for the configured ones
    #[arg(long, value_name = "TIMES")]
    retry_waits: Option<Or<Waits>>,
}

/// Name and value. An error does not repeat them: one may be a credential.
fn pair<'a>(option: &str, text: &'a str) -> Result<(&'a str, &'a str), Failure> {
    let wrong = || Failure::Usage(format!("{option}: one of them has no `=` between name and value"));
    text.split_once('=').ok_or_else(wrong)
}

/// A value, or `default`.
#[derive(Clone, Debug)]
struct Or<T>(Option<T>);

impl<T: FromStr<Err: std::fmt::Display>> FromStr for Or<T> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == DEFAULT {
            return Ok(Self(None));
        }
        text.parse().map(|value| Self(Some(value))).map_err(|e: T::Err| format!("{e}; or `{DEFAULT}`"))
    }
}

#[derive(Clone, Copy, Debug)]
struct RateText(Rate);

impl FromStr for RateText {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "expected a number and a time, like 100/60s".to_owned();
        let (limit, window) = text.split_once('/').ok_or_else(wrong)?;
        let window: Span = window.parse().map_err(|_| wrong())?;
        let limit = limit.parse().map_err(|_| wrong())?;
        Ok(Self(Rate { limit, window_ms: ms(window) }))
    }
}

#[derive(Clone, Copy, Debug)]
struct OrderingText(Ordering);

impl FromStr for OrderingText {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        match text {
            "none" => Ok(Self(Ordering::None)),
            "strict" => Ok(Self(Ordering::Strict)),
            _ => Err("allowed: none, strict"),
        }
    }
}

#[derive(Clone, Debug)]
struct Waits(Vec<u64>);

impl FromStr for Waits {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wait = |one: &str| one.trim().parse().map(ms).map_err(|e: crate::cli::InvalidSpan| e.to_string());
        text.split(',').map(wait).collect::<Result<_, _>>().map(Self)
    }
}

impl Fields {
    /// Static headers, if any were named.
    pub(super) fn headers(&self) -> Result<Option<Texts>, Failure> {
        let mut all = Texts::new();
        for text in &self.headers {
            let (name, value) = pair("--header", text)?;
            add(&mut all, "--header", name, value.to_owned())?;
        }
        for text in &self.header_files {
            let (name, file) = pair("--header-file", text)?;
            add(&mut all, "--header-file", name, read_line(file)?)?;
        }
        Ok(Some(all).filter(|all| !all.is_empty()))
    }

    /// Notes, if any were named.
    pub(super) fn notes(&self) -> Result<Option<Texts>, Failure> {
        let mut all = Texts::new();
        for text in &self.notes {
            let (name, note) = pair("--note", text)?;
            add(&mut all, "--note", name, note.to_owned())?;
        }
        Ok(Some(all).filter(|all| !all.is_empty()))
    }

    /// How it shall be sent to, if anything was said of it.
    pub(super) fn sending(&self) -> Option<SendingChange> {
        let change = SendingChange {
            ordering: self.ordering.map(|ordering| Some(ordering.0)),
            max_concurrency: self.concurrency.as_ref().map(|n| n.0),
            rate: self.rate.as_ref().map(|rate| rate.0.map(|rate| rate.0)),
            retry_delays_ms: self.retry_waits.as_ref().map(|waits| waits.0.as_ref().map(|waits| waits.0.clone())),
        };
        Some(change).filter(|change| *change != SendingChange::default())
    }
}

/// A text of one line from a file: secrets don't belong on the command line.
pub(super) fn read_line(file: &str) -> Result<String, Failure> {
    let text = std::fs::read_to_string(file).map_err(|e| Failure::Usage(format!("{file} can't be read: {e}")))?;
    Ok(text.trim().to_owned())
}

/// How an endpoint is sent to, in words.
pub(super) fn in_words(sending: &Sending) -> String {
    let mut words = Vec::new();
    if sending.ordering == Ordering::Strict {
        words.push("one at a time, in order".to_owned());
    }
    words.extend(sending.max_concurrency.map(|n| format!("at most {n} at once")));
    words.extend(sending.rate.map(|rate| format!("at most {} in {} ms", rate.limit, rate.window_ms)));
    words.extend(sending.retry_delays_ms.as_ref().map(|waits| format!("tried again after {waits:?} ms")));
    if words.is_empty() { "as configured".to_owned() } else { words.join("; ") }
}

fn add(all: &mut Texts, option: &str, name: &str, value: String) -> Result<(), Failure> {
    match all.insert(name.to_owned(), value) {
        None => Ok(()),
        Some(_) => Err(Failure::Usage(format!("{option}: {} is given twice", begun_name(name)))),
    }
}

fn ms(span: Span) -> u64 {
    u64::try_from(span.0.as_millis()).unwrap_or(u64::MAX)
}
