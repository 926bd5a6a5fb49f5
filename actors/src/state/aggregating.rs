//! What is computed of the values that were added to a key, of which only the sum is kept.

use std::fmt;

use super::declared::Declared;
use super::entry::ValueEntry;
use super::handle::{StateValue, ValueState};
use super::migration::Migration;
use super::ttl::Ttl;
use crate::Result;

/// Says what is kept of values, and what comes of it. What it does follows from its arguments alone.
///
/// For what is computed of time windows there is [`Aggregate`](crate::Aggregate).
pub trait Aggregating: 'static {
    /// What is added.
    type In: ?Sized;
    /// What is kept of it; it begins as the default.
    type Sum: StateValue + Default;
    /// What it comes to.
    type Out;

    /// Adds a value to a sum.
    fn add(sum: &mut Self::Sum, value: &Self::In);

    /// Returns what a sum comes to.
    fn result(sum: &Self::Sum) -> Self::Out;
}

/// Names what is computed per key of the values that are added: one sum is kept, however many there are.
///
/// ```
/// use piton_actors::harness::Harness;
/// use piton_actors::prelude::*;
///
/// struct Mean;
///
/// impl Aggregating for Mean {
///     type In = f64;
///     type Sum = (u64, f64);
///     type Out = f64;
///
///     fn add((count, sum): &mut (u64, f64), value: &f64) {
///         *count += 1;
///         *sum += value;
///     }
///     fn result((count, sum): &(u64, f64)) -> f64 {
///         sum / *count as f64
///     }
/// }
///
/// const MEAN: AggregatingState<Mean> = AggregatingState::new("mean");
///
/// /// Emits the mean of what was measured at a place so far.
/// struct Means;
///
/// impl Operator for Means {
///     type In = (String, f64);
///     type Out = (String, f64);
///
///     fn key(&self, (place, _): &(String, f64)) -> Key {
///         Key::from(place)
///     }
///     fn states(&self) -> Vec<piton_actors::state::Declared> {
///         vec![MEAN.into()]
///     }
///     fn process(&mut self, (place, degrees): &(String, f64), ctx: &mut Context<(String, f64)>) -> Result {
///         ctx.aggregating_state(MEAN).push(degrees)?;
///         let mean = ctx.aggregating_state(MEAN).get()?.unwrap_or_default();
///         ctx.emit((place.clone(), mean));
///         Ok(())
///     }
/// }
///
/// # fn main() -> Result {
/// let mut harness = Harness::new(|| Means);
/// for degrees in [10.0, 20.0] {
///     harness.push(("roof".into(), degrees))?;
/// }
/// assert_eq!(harness.output(), [("roof".to_string(), 10.0), ("roof".to_string(), 15.0)]);
/// # Ok(())
/// # }
/// ```
///
/// It is kept as a [`ValueState`] of this name: one may become the other.
pub struct AggregatingState<A: Aggregating> {
    pub(super) sum: ValueState<A::Sum>,
}

impl<A: Aggregating> AggregatingState<A> {
    /// Names a piece of state.
    pub const fn new(name: &'static str) -> Self {
        AggregatingState { sum: ValueState::new(name) }
    }

    /// Says how earlier versions of the sum become this one, as [`ValueState::migrations`] does.
    pub const fn migrations(self, migrations: &'static [Migration<A::Sum>]) -> Self {
        AggregatingState { sum: self.sum.migrations(migrations) }
    }

    /// Says how long a sum is kept; see [`Ttl`].
    #[must_use]
    pub const fn ttl(self, ttl: Ttl) -> Self {
        AggregatingState { sum: self.sum.ttl(ttl) }
    }
}

impl<A: Aggregating> Clone for AggregatingState<A> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<A: Aggregating> Copy for AggregatingState<A> {}

impl<A: Aggregating> fmt::Debug for AggregatingState<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AggregatingState").field(&self.sum).finish()
    }
}

impl<A: Aggregating> From<AggregatingState<A>> for Declared {
    fn from(handle: AggregatingState<A>) -> Declared {
        handle.sum.into()
    }
}

/// The sum of the current key.
#[must_use = "an entry does nothing until one of its methods is called"]
pub struct AggregatingEntry<'a, A: Aggregating> {
    pub(super) sum: ValueEntry<'a, A::Sum>,
}

impl<A: Aggregating> AggregatingEntry<'_, A> {
    /// Adds a value.
    ///
    /// # Errors
    /// As [`ValueEntry::get`]; so in every method.
    #[inline]
    pub fn push(self, value: &A::In) -> Result {
        self.sum.update(|sum| A::add(sum, value))
    }

    /// Returns what all that was added comes to, if anything was.
    ///
    /// # Errors
    /// As `push`.
    #[inline]
    pub fn get(self) -> Result<Option<A::Out>> {
        Ok(self.sum.get()?.map(A::result))
    }

    /// Forgets all that was added, and returns what it came to.
    ///
    /// # Errors
    /// As `push`.
    pub fn take(self) -> Result<Option<A::Out>> {
        Ok(self.sum.take()?.as_ref().map(A::result))
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_pcg::Pcg64Mcg;

    use super::super::StateStore;
    use super::*;
    use crate::Key;

    /// The two largest of some words, by length, and how many there were.
    struct Longest;

    impl Aggregating for Longest {
        type In = str;
        type Sum = (u64, Vec<String>);
        type Out = String;

        fn add((count, longest): &mut (u64, Vec<String>), word: &str) {
            *count += 1;
            let at = longest.partition_point(|other| other.len() >= word.len());
            longest.insert(at, word.to_string());
            longest.truncate(2);
        }

        fn result((count, longest): &(u64, Vec<String>)) -> String {
            format!("{count}: {}", longest.join(" "))
        }
    }

    const LONGEST: AggregatingState<Longest> = AggregatingState::new("longest");

    fn naive(words: &[String]) -> Option<String> {
        let mut sorted: Vec<&String> = words.iter().collect();
        // Stable: of those of one length, the earlier ones stay ahead.
        sorted.sort_by_key(|word| std::cmp::Reverse(word.len()));
        let longest: Vec<&str> = sorted.iter().take(2).map(|word| word.as_str()).collect();
        (!words.is_empty()).then(|| format!("{}: {}", words.len(), longest.join(" ")))
    }

    #[test]
    fn it_comes_to_the_same_as_all_that_was_added_through_crashes_and_undone_transactions() {
        for seed in 0..50 {
            let mut rng = Pcg64Mcg::seed_from_u64(seed);
            let mut store = StateStore::new(0..16, 16);
            let mut added: Vec<Vec<String>> = vec![Vec::new(); 4];
            let (mut chunks, mut at_cut) = (Vec::new(), added.clone());
            for step in 0..120 {
                let key = rng.random_range(0..added.len());
                store.enter(Key::from(key as u64));
                match rng.random_range(0..20) {
                    0 => {
                        chunks.push(store.cut().unwrap().write().unwrap());
                        at_cut.clone_from(&added);
                    }
                    1 => {
                        store = StateStore::new(0..16, 16);
                        store.restore(chunks.clone()).unwrap();
                        added.clone_from(&at_cut);
                    }
                    2 => {
                        store.begin();
                        store.aggregating(LONGEST).push("taken back").unwrap();
                        assert!(store.undo());
                    }
                    3 => {
                        assert_eq!(store.aggregating(LONGEST).take().unwrap(), naive(&added[key]), "seed {seed}");
                        added[key].clear();
                    }
                    length => {
                        let word = format!("{step:0length$}");
                        store.aggregating(LONGEST).push(&word).unwrap();
                        added[key].push(word);
                    }
                }
                store.enter(Key::from(key as u64));
                assert_eq!(store.aggregating(LONGEST).get().unwrap(), naive(&added[key]), "seed {seed}, step {step}");
            }
        }
    }

    #[test]
    fn its_sum_is_a_value_of_the_same_name() {
        let mut store = StateStore::new(0..16, 16);
        store.enter(Key::from(1u64));
        store.value(ValueState::<(u64, Vec<String>)>::new("longest")).set((7, vec!["seven".into()])).unwrap();
        store.aggregating(LONGEST).push("on").unwrap();
        assert_eq!(store.aggregating(LONGEST).get().unwrap().as_deref(), Some("8: seven on"));
        let declared = Declared::from(LONGEST);
        assert!(super::super::check_declared(&[declared], &[store.cut().unwrap().write().unwrap()], 16).is_ok());
    }
}
