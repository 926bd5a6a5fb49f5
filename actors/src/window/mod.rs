//! Time windows: what is computed of the records of each key in each stretch of event time.
//!
//! (A window without further words is a piece of the stream between two markers, see [`WindowId`](crate::WindowId).)
//!
//! A user says what is computed, by an [`Aggregate`], and when, by a [`Timing`]: [`Tumbling`], [`Sliding`], [`Session`] or
//! counted ([`Global`]) windows, how late records may come, whether windows emit early. [`Windowed`] is the operator that
//! both make together, and [`WindowedOf`] lets a topology file say when. The stock operator `aggregate` does the same on
//! Arrow batches.
//!
//! Promises: a window is `[start, end)` and emits once, when the watermark says that nothing up to its last millisecond is
//! expected any more; again only for records that come within its allowed lateness. What is kept of it then goes. A
//! record costs the same however many windows overlap, and so does, on the average, a window. What comes out follows
//! from the records and watermarks alone, to the last bit and in the same order, whatever restarts in between.
//!
//! `grid`, `panes` and `sessions` decide, and know neither state nor context; `windowed` does what they say.

mod aggregate;
mod clock;
mod descriptor;
mod few;
mod grid;
mod kind;
mod merges;
#[cfg(test)]
pub(crate) mod model;
mod panes;
mod rules;
mod sessions;
#[cfg(test)]
mod tests;
mod timers;
mod windowed;

pub use aggregate::Aggregate;
pub use clock::Time;
pub use descriptor::{Global, Session, Sliding, TimeWindow, TimeWindows, Tumbling};
pub use kind::WindowedOf;
pub use rules::Timing;
pub use windowed::Windowed;

/// What the stock operator `aggregate` shares with these.
#[cfg(feature = "sql")]
pub(crate) mod shared {
    pub(crate) use super::clock::no_event_time;
    pub(crate) use super::few::Few;
    pub(crate) use super::grid::in_range;
    pub(crate) use super::panes::{Arrival, Panes};
    pub(crate) use super::rules::{Kind, Rules, option_docs};
    pub(crate) use super::sessions::{Live, Sessions};
    pub(crate) use super::timers::{COUNTED, Counted, Emits, Kept, PANES, SESSIONS, SlicesOf};
}
