//! Watches a connection's bytes for a request with both `Content-Length` and `Transfer-Encoding`.
//!
//! Such a request is how a body is smuggled past a proxy that reads the length differently. hyper goes by the chunks and
//! drops the length before anybody sees it, so the bytes are looked at on their way in. Only heads are parsed, with the
//! parser that hyper uses; bodies are skipped by their length; what can't be followed is left to hyper, which refuses it
//! or, after chunks, is made to close.

/// As many as hyper takes; one more is its 431.
const MAX_HEADERS: usize = 100;

#[derive(Debug)]
pub(super) struct Framing {
    state: State,
    heads: u64,
    head_bytes: usize,
}

#[derive(Debug)]
enum State {
    /// Inside a head, of which this much has come.
    Head(Vec<u8>),
    /// Inside a body that has so many bytes to come.
    Body(u64),
    /// Chunked or malformed: no further head can be told apart.
    Lost,
}

enum Length {
    Known(u64),
    Chunked,
    Twice,
    Unclear,
}

impl Framing {
    pub(super) fn new(head_bytes: usize) -> Self {
        Self { state: State::Head(Vec::new()), heads: 0, head_bytes }
    }

    /// Looks at the next bytes; `Some(n)`: request number `n` (from 1) states its length twice.
    pub(super) fn feed(&mut self, mut bytes: &[u8]) -> Option<u64> {
        while !bytes.is_empty() {
            match &mut self.state {
                State::Lost => return None,
                State::Body(left) => {
                    let here = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                    bytes = &bytes[here..];
                    *left -= here as u64;
                    if *left == 0 {
                        self.state = State::Head(Vec::new());
                    }
                }
                State::Head(kept) => {
                    let before = kept.len();
                    // Most heads come in one piece, and none of it is kept.
                    let whole = if kept.is_empty() { parse(bytes) } else { None };
                    let found = whole.or_else(|| {
                        kept.extend_from_slice(bytes);
                        if before == 0 { None } else { read_head(kept, before) }
                    });
                    let (length, end) = match found {
                        Some(found) => found,
                        None if kept.len() > self.head_bytes => (Length::Unclear, kept.len()),
                        None => return None,
                    };
                    bytes = &bytes[end.saturating_sub(before).min(bytes.len())..];
                    self.heads += 1;
                    self.state = match length {
                        Length::Known(0) => State::Head(Vec::new()),
                        Length::Known(left) => State::Body(left),
                        Length::Chunked | Length::Unclear => State::Lost,
                        Length::Twice => {
                            self.state = State::Lost;
                            return Some(self.heads);
                        }
                    };
                }
            }
        }
        None
    }
}

/// The body's length and where the head ends, once the head is complete. `before`: so much was there at the last look.
fn read_head(head: &[u8], before: usize) -> Option<(Length, usize)> {
    // A blank line ends it; the parser is only asked when one has come, or dribbled heads would cost the square.
    let tail = &head[before.saturating_sub(3)..];
    if !tail.windows(2).any(|w| w == b"\n\n") && !tail.windows(3).any(|w| w == b"\n\r\n") {
        return None;
    }
    parse(head)
}

fn parse(head: &[u8]) -> Option<(Length, usize)> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(head) {
        Ok(httparse::Status::Complete(end)) => Some((length_of(&request), end)),
        Ok(httparse::Status::Partial) => None,
        Err(_) => Some((Length::Unclear, head.len())),
    }
}

fn length_of(request: &httparse::Request<'_, '_>) -> Length {
    let (mut chunked, mut length) = (false, None);
    for header in request.headers.iter() {
        if header.name.eq_ignore_ascii_case("transfer-encoding") {
            chunked = true;
        } else if header.name.eq_ignore_ascii_case("content-length") {
            length = Some(std::str::from_utf8(header.value).ok().and_then(|v| v.trim().parse::<u64>().ok()));
        }
    }
    match (chunked, length) {
        (true, Some(_)) => Length::Twice,
        (true, None) => Length::Chunked,
        (false, None) => Length::Known(0),
        (false, Some(Some(n))) => Length::Known(n),
        (false, Some(None)) => Length::Unclear,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWICE: &[u8] = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\nTransfer-Encoding: chunked\r\n\r\n";
    const PLAIN: &[u8] = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc";

    #[test]
    fn a_length_stated_twice_is_found_wherever_the_bytes_are_cut() {
        for cut in 1..TWICE.len() {
            let mut framing = Framing::new(1024);
            assert_eq!(framing.feed(&TWICE[..cut]), None, "cut at {cut}");
            assert_eq!(framing.feed(&TWICE[cut..]), Some(1), "cut at {cut}");
        }
    }

    #[test]
    fn it_is_found_behind_requests_with_bodies_in_any_slices() {
        let all = [PLAIN, b"GET / HTTP/1.1\r\n\r\n", PLAIN, TWICE].concat();
        for size in 1..all.len() {
            let mut framing = Framing::new(1024);
            let found: Vec<u64> = all.chunks(size).filter_map(|c| framing.feed(c)).collect();
            assert_eq!(found, [4], "slices of {size}");
        }
    }

    #[test]
    fn a_body_that_looks_like_such_a_head_is_not_one() {
        let head = format!("POST / HTTP/1.1\r\ncontent-length: {}\r\n\r\n", TWICE.len());
        let mut framing = Framing::new(1024);
        assert_eq!(framing.feed(&[head.as_bytes(), TWICE, PLAIN].concat()), None);
    }

    #[test]
    fn what_is_kept_of_an_endless_head_is_bounded() {
        let mut framing = Framing::new(1024);
        for _ in 0..10_000 {
            assert_eq!(framing.feed(b"x-more: more\r\n"), None);
        }
        assert!(matches!(framing.state, State::Lost));
    }
}
