//! What is computed of the records of a time window.

use super::descriptor::TimeWindow;
use crate::key::Key;
use crate::record::Record;
use crate::state::StateValue;

/// What is computed of the records of each key in each time window. [`Windowed`](super::Windowed) makes an operator of it.
///
/// ```
/// use piton_actors::prelude::*;
/// use piton_actors::{Aggregate, TimeWindow};
///
/// #[derive(Clone, serde::Deserialize)]
/// struct Count {}
///
/// impl Aggregate for Count {
///     type In = String;
///     type Sum = u64;
///     type Out = (String, u64);
///
///     fn key(&self, word: &String) -> Key {
///         Key::from(word)
///     }
///     fn add(&self, count: &mut u64, _word: &String) {
///         *count += 1;
///     }
///     fn merge(&self, count: &mut u64, other: &u64) {
///         *count += other;
///     }
///     fn result(&self, word: &Key, _window: TimeWindow, count: &u64) -> (String, u64) {
///         (word.as_str().unwrap_or_default().to_string(), *count)
///     }
/// }
/// ```
///
/// As everywhere, a replay has to give the same again: what a method does follows from its arguments and the fields that
/// the options have set.
pub trait Aggregate: Send + 'static {
    /// What it reads.
    type In: Record;
    /// What it keeps of the records of a key in a window; it begins as the default.
    type Sum: StateValue + Default;
    /// What it emits for a key and a window.
    type Out: Record;

    /// Returns what records are grouped by. With [`Key::None`], all of them are one group.
    fn key(&self, record: &Self::In) -> Key;

    /// Adds a record to a sum.
    fn add(&self, sum: &mut Self::Sum, record: &Self::In);

    /// Adds the records of another sum to a sum: those of a slice of a sliding window, or of a session that has turned
    /// out to be the same. Which sums are merged with which is not defined, save that they are in the order of time.
    fn merge(&self, into: &mut Self::Sum, from: &Self::Sum);

    /// Returns what comes out for a key and a window.
    fn result(&self, key: &Key, window: TimeWindow, sum: &Self::Sum) -> Self::Out;
}
