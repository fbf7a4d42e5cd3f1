//! A reply of a script, read part by part from the front. What is not as it must be is said, with the step that met it.

use redis::Value;

use super::failure::misread;
use crate::store::StoreError;

/// A reply's parts, read from the front.
pub(super) struct Parts {
    step: &'static str,
    rest: std::vec::IntoIter<Value>,
}

impl Parts {
    /// The reply, which must be an array.
    pub(super) fn of(step: &'static str, reply: Value) -> Result<Self, StoreError> {
        match reply {
            Value::Array(parts) => Ok(Self { step, rest: parts.into_iter() }),
            _ => Err(misread(step, "array")),
        }
    }

    /// The next part, a number.
    pub(super) fn number(&mut self) -> Result<i64, StoreError> {
        match self.rest.next() {
            Some(Value::Int(n)) => Ok(n),
            Some(Value::BulkString(text)) => {
                let number = std::str::from_utf8(&text).ok().and_then(|text| text.parse().ok());
                number.ok_or_else(|| misread(self.step, "number"))
            }
            _ => Err(misread(self.step, "number")),
        }
    }

    /// The next part, bytes.
    pub(super) fn bytes(&mut self) -> Result<Vec<u8>, StoreError> {
        self.next_bytes().ok_or_else(|| misread(self.step, "bytes"))
    }

    /// The next part, if there is one and it is bytes.
    pub(super) fn next_bytes(&mut self) -> Option<Vec<u8>> {
        match self.rest.next() {
            Some(Value::BulkString(bytes)) => Some(bytes),
            Some(Value::SimpleString(text)) => Some(text.into_bytes()),
            Some(Value::Okay) => Some(b"OK".to_vec()),
            _ => None,
        }
    }

    /// True when the next part is this word.
    pub(super) fn is_next(&self, word: &[u8]) -> bool {
        matches!(self.rest.as_slice().first(), Some(Value::BulkString(bytes)) if bytes == word)
    }

    /// True when all parts are read.
    pub(super) fn is_over(&self) -> bool {
        self.rest.len() == 0
    }

    /// The next part, itself an array.
    pub(super) fn parts(&mut self) -> Result<Self, StoreError> {
        Self::of(self.step, self.rest.next().unwrap_or_default())
    }
}
