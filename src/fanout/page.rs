//! Pages of endpoints, messages, deliveries and attempts: newest first, by id.
//!
//! Ids sort by time, so the last id of a page is where the next one begins. A filter looks at a bounded number of rows
//! for each page: a page may hold fewer items than asked for, even none, and still have a `next`.

use serde::Serialize;

/// A filter looks at no more rows than this for one page.
pub(super) const LOOK: usize = 1_000;
const MAX_LIMIT: u32 = 200;
const DEFAULT_LIMIT: u32 = 50;
/// Sorts after every id: the prefix's digits are hex, all below `g`.
const END: &str = "g";

/// Where a page begins and how long it may be.
#[derive(Clone, Debug, Default)]
pub struct PageRequest {
    /// `next` of the page before.
    pub cursor: Option<String>,
    /// At most so many, 1 to 200; 0 means 50, more means 200.
    pub limit: u32,
}

/// A page, newest first.
#[derive(Clone, Debug, Serialize)]
pub struct Page<T> {
    /// What is on it.
    pub items: Vec<T>,
    /// Where the next page begins; `None`: this was the last.
    pub next: Option<String>,
}

/// A cursor that no page of this list gave out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a cursor of this list; pass back `next` of the page before, or leave it out to start")]
pub struct InvalidCursor(String);

impl PageRequest {
    /// The id to go on below, for a list of ids with `prefix`.
    pub(super) fn below(&self, prefix: &str) -> Result<String, InvalidCursor> {
        let Some(cursor) = &self.cursor else { return Ok(format!("{prefix}{END}")) };
        let hex = cursor.strip_prefix(prefix).filter(|h| h.len() == 32 && h.bytes().all(|b| b.is_ascii_hexdigit()));
        hex.map(|_| cursor.clone()).ok_or_else(|| InvalidCursor(cursor.chars().take(80).collect()))
    }

    pub(super) fn limit(&self) -> usize {
        let limit = if self.limit == 0 { DEFAULT_LIMIT } else { self.limit.min(MAX_LIMIT) };
        limit as usize
    }

    /// Rows to read: one more than fit, so that the last page is known as such; more when a filter throws some away.
    pub(super) fn look(&self, filtered: bool) -> i64 {
        let rows = if filtered { LOOK } else { self.limit() + 1 };
        i64::try_from(rows).unwrap_or(i64::MAX)
    }
}

impl<T> Page<T> {
    /// Of the `rows` that were read (`look` of them if there were as many), those that `fit`.
    pub(super) fn of(
        rows: Vec<T>,
        request: &PageRequest,
        look: i64,
        id: fn(&T) -> &str,
        fit: impl Fn(&T) -> bool,
    ) -> Self {
        let full = i64::try_from(rows.len()).unwrap_or(i64::MAX) >= look;
        let last_seen = rows.last().map(|row| id(row).to_owned());
        let mut items: Vec<T> = rows.into_iter().filter(fit).collect();
        let next = if items.len() > request.limit() {
            items.truncate(request.limit());
            items.last().map(|item| id(item).to_owned())
        } else {
            last_seen.filter(|_| full)
        };
        Self { items, next }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_of_another_list_or_of_nobody_is_refused() {
        let request = |cursor: &str| PageRequest { cursor: Some(cursor.to_owned()), limit: 0 };
        let id = format!("ep_{}", "0a".repeat(16));
        assert_eq!(request(&id).below("ep_").unwrap(), id);
        for bad in ["", "ep_", "ep_xyz", "ep_' or 1=1", &id[..10], &format!("msg_{}", "0a".repeat(16))] {
            assert!(request(bad).below("ep_").is_err(), "{bad}");
        }
    }

    #[test]
    fn a_filtered_page_goes_on_where_it_stopped_looking() {
        let rows = |n: usize| (0..n).map(|i| format!("{i:04}")).collect::<Vec<_>>();
        let request = PageRequest { cursor: None, limit: 2 };
        let page = Page::of(rows(1_000), &request, 1_000, |s| s, |s| s == "0003");
        assert_eq!((page.items.len(), page.next.as_deref()), (1, Some("0999")));
        let page = Page::of(rows(10), &request, 1_000, |s| s, |_| true);
        assert_eq!((page.items.len(), page.next.as_deref()), (2, Some("0001")));
        let page = Page::of(rows(2), &request, 3, |s| s, |_| true);
        assert_eq!((page.items.len(), page.next), (2, None));
    }
}
