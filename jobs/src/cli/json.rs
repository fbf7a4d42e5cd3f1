//! JSON that is given on the command line: as it stands, from `@FILE`, or from `-`, standard input.

use std::io::Read;

use serde_json::value::RawValue;

use super::Failure;

/// Far above any limit of what takes it, which names itself.
const MAX_READ: u64 = 4 * 1024 * 1024;

/// Reads what `option` was given.
///
/// # Errors
/// [`Failure::Usage`], naming the option, when it can't be read or is no JSON.
pub fn read_json(option: &str, text: &str, input: &mut dyn Read) -> Result<Box<RawValue>, Failure> {
    let unreadable = |place: &str, e: std::io::Error| Failure::Usage(format!("{option}: {place} can't be read: {e}"));
    let json = if text == "-" {
        read_bounded(input).map_err(|e| unreadable("standard input", e))?
    } else if let Some(path) = text.strip_prefix('@') {
        std::fs::File::open(path).and_then(|mut file| read_bounded(&mut file)).map_err(|e| unreadable(path, e))?
    } else {
        text.to_owned()
    };
    RawValue::from_string(json.trim().to_owned()).map_err(|e| Failure::Usage(format!("{option} is no JSON: {e}")))
}

fn read_bounded(source: &mut dyn Read) -> std::io::Result<String> {
    let mut text = String::new();
    let read = source.take(MAX_READ + 1).read_to_string(&mut text)?;
    if u64::try_from(read).is_ok_and(|n| n <= MAX_READ) {
        return Ok(text);
    }
    Err(std::io::Error::other(format!("it is longer than {MAX_READ} bytes")))
}
