//! What became of each delivery: the rows of `messages`, `deliveries`, `delivery_posts` and `delivery_attempts` that handlers
//! write.
//!
//! A delivery that has succeeded stays so, whoever reports late. Any other report is kept out when it comes with an
//! older epoch than the row has seen, so a worker that lost its lease changes no state; the POST it made is logged all
//! the same.

mod content;
mod due;
mod line;
mod lines;
mod mend;
mod open;
mod straight;

pub(super) use content::{Content, Contents};
pub(super) use due::{Addressee, Due, load, number_of};
pub(super) use line::ahead;
pub(super) use lines::{Closing, Next, Opening, Said, cancel};
pub(super) use mend::{Found, begin_anew, end, interrupt, unsettled};
pub(super) use open::{BATCH, CloseMessage, OpenBatch, keep_message, open_delivery};
pub(super) use straight::{Begun, Straight};
