//! Joins: rows of two inputs brought together by their key.
//!
//! A user says what the keys are, which rows find each other and what a pair becomes; this module keeps the rows that
//! wait for a partner, as long as one can come and no longer. There are four ways ([`How`]):
//!
//! - [`How::interval`]: rows whose event times are near each other;
//! - [`How::tumbling`]: rows of the same time window;
//! - [`How::newest`]: each left row with the newest right row as of its event time, as in a table that changes;
//! - [`How::whole`]: all rows of a key, whenever they come. What is kept grows with the input.
//!
//! ```
//! use piton_actors::harness::Harness;
//! use piton_actors::join::{How, Join, Joining};
//! use piton_actors::prelude::*;
//!
//! /// Orders (number, article) with the payments (number, amount) that come within a minute of them.
//! #[derive(Clone)]
//! struct Paid;
//!
//! impl Join for Paid {
//!     type Left = (u64, String);
//!     type Right = (u64, u64);
//!     type Out = (String, Option<u64>);
//!
//!     fn how(&self) -> How {
//!         How::within(60_000).left()
//!     }
//!     fn left_key(&self, order: &(u64, String)) -> Key {
//!         order.0.into()
//!     }
//!     fn right_key(&self, payment: &(u64, u64)) -> Key {
//!         payment.0.into()
//!     }
//!     fn join(&self, order: &(u64, String), payment: Option<&(u64, u64)>) -> (String, Option<u64>) {
//!         (order.1.clone(), payment.map(|payment| payment.1))
//!     }
//! }
//!
//! # fn main() -> Result {
//! let mut harness = Harness::new(|| Joining(Paid));
//! harness.push_left_at(1_000, (7, "tea".into()))?.push_left_at(2_000, (8, "cups".into()))?;
//! harness.checkpoint()?.crash()?;
//! harness.push_right_at(30_000, (7, 12))?.watermark(62_000)?;
//! assert_eq!(harness.output(), [("tea".into(), Some(12)), ("cups".into(), None)]);
//! # Ok(())
//! # }
//! ```
//!
//! Promises: each pair comes exactly once, when its second row does, with the later of the two event times. With
//! [`How::left`], a left row that has found nobody comes once no partner can come any more, exactly once, and never
//! behind the watermark that those downstream have seen. For rows that are not late, the result is a function of the
//! two inputs alone, not of how they were interleaved. State is dropped as the watermark advances.
//!
//! **Late rows**, those at or before the watermark, find nobody: what could have been their partners may be gone. They are
//! counted (local state `late`) and leave by the side outputs `late_left` and `late_right`, of which each carries what its
//! input does. Two are never late: rows of [`How::whole`], and right rows of [`How::newest`], which count for the left
//! rows that are still to come.
//!
//! A row whose key is [`Key::None`](crate::Key::None) finds nobody, as NULL does in SQL.

mod how;
mod matcher;
mod newest;
mod operator;
mod pairs;
mod store;
#[cfg(test)]
mod tests;

pub use how::How;
#[cfg(test)]
use how::Pairing;
pub use operator::{Join, JoinOf, Joining};
#[cfg(feature = "sql")]
pub(crate) use {
    matcher::{Found, Matcher},
    store::Place,
};
