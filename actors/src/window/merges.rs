//! The sums of sliding windows, from those of their slices, with three merges for each window however many slices it has.
//!
//! Slices are taken together in blocks as long as a window, so that a window is the end of one block and the beginning of
//! the next. Of the one block, the sums from each slice to the block's end are computed when it is complete, once; of the
//! next one a sum runs along. (This is van Herk's and Gil and Werman's way to a sliding minimum; stream engines know it
//! as two stacks, which here are turned over at fixed times.)
//!
//! Nothing of this is state. Which slices are merged in which order follows from where the windows lie, never from when
//! the cache was made: so it can be thrown away and computed again after a restart, and gives the same to the last bit,
//! also for floating-point sums. A window of which few slices have records is merged from these, in order; that, too,
//! follows from the slices alone.

use std::ops::ControlFlow;

use hashbrown::HashTable;

use super::descriptor::TimeWindow;
use super::grid::Grid;
use crate::Result;
use crate::key::Key;
use crate::time::Timestamp;

/// A window of which so few slices have records costs no more than to remember something about it.
const FEW_SLICES: usize = 6;

/// What was merged of the slices of each key.
pub(crate) struct Merges<S> {
    keys: HashTable<Merged<S>>,
}

impl<S> Default for Merges<S> {
    fn default() -> Self {
        Merges { keys: HashTable::new() }
    }
}

struct Merged<S> {
    key: Key,
    /// Where the block of the suffixes ends.
    block_end: Timestamp,
    /// The sum from each slice that has records to the end of the block, last slice first.
    suffixes: Vec<(Timestamp, S)>,
    /// The sum of the slices from the end of the block to `reached`, if there are records.
    prefix: Option<S>,
    reached: Timestamp,
}

/// Where the sums of the slices of the current key are.
pub(crate) trait Slices<S> {
    /// Calls `each` with the beginning and the sum of each slice that has records and begins within a window, in order,
    /// or in the opposite one, until it breaks off.
    fn each(&mut self, within: TimeWindow, order: Order, each: impl FnMut(Timestamp, &S) -> ControlFlow<()>) -> Result;
}

/// From which end slices are gone through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Forward,
    Backward,
}

impl<S: Clone> Merges<S> {
    /// Returns the sum of a window of a key, if it has records. All of its slices must be complete; `merge` adds the
    /// records of a sum to another, which are all later.
    pub(crate) fn sum(
        &mut self,
        key: &Key,
        window: TimeWindow,
        grid: &Grid,
        slices: &mut impl Slices<S>,
        merge: &impl Fn(&mut S, &S),
    ) -> Result<Option<S>> {
        let mut count = 0;
        slices.each(window, Order::Forward, |_, _| {
            count += 1;
            if count > FEW_SLICES { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        if count <= FEW_SLICES {
            return sum_of_all(window, slices, merge);
        }
        let block = grid.number(window.start).div_euclid(grid.slices());
        let block_end = grid.start_of((block + 1) * grid.slices());
        let merged = self.of(key, block_end);
        if merged.block_end != block_end {
            *merged = Merged::new(key.clone(), block_end);
        }
        if merged.reached == Timestamp::MIN {
            let within = TimeWindow { start: window.start, end: block_end };
            merged.fill(within, slices, merge)?;
        }
        merged.run_to(window.end, slices, merge)?;
        Ok(merged.sum_from(window.start, merge))
    }

    /// Forgets a key: a slice that was complete has changed, or there are none any more.
    pub(crate) fn forget(&mut self, key: &Key) {
        if self.keys.is_empty() {
            return;
        }
        if let Ok(entry) = self.keys.find_entry(key.hash(), |merged| merged.key == *key) {
            entry.remove();
        }
    }

    fn of(&mut self, key: &Key, block_end: Timestamp) -> &mut Merged<S> {
        let same = |merged: &Merged<S>| merged.key == *key;
        let entry = self.keys.entry(key.hash(), same, |merged| merged.key.hash());
        entry.or_insert_with(|| Merged::new(key.clone(), block_end)).into_mut()
    }
}

impl<S: Clone> Merged<S> {
    fn new(key: Key, block_end: Timestamp) -> Merged<S> {
        Merged { key, block_end, suffixes: Vec::new(), prefix: None, reached: Timestamp::MIN }
    }

    /// Computes the sums from each slice within a block to its end.
    fn fill(&mut self, within: TimeWindow, slices: &mut impl Slices<S>, merge: &impl Fn(&mut S, &S)) -> Result {
        let mut sums: Vec<(Timestamp, S)> = Vec::new();
        slices.each(within, Order::Backward, |start, slice| {
            let mut sum = slice.clone();
            if let Some((_, later)) = sums.last() {
                merge(&mut sum, later);
            }
            sums.push((start, sum));
            ControlFlow::Continue(())
        })?;
        (self.suffixes, self.reached) = (sums, self.block_end);
        Ok(())
    }

    /// Adds the slices up to a moment to the sum that runs along.
    fn run_to(&mut self, end: Timestamp, slices: &mut impl Slices<S>, merge: &impl Fn(&mut S, &S)) -> Result {
        let within = TimeWindow { start: self.reached, end };
        slices.each(within, Order::Forward, |_, slice| {
            add(&mut self.prefix, slice, merge);
            ControlFlow::Continue(())
        })?;
        self.reached = end;
        Ok(())
    }

    /// Returns the sum of the slices from a moment on, and forgets what lies before it.
    fn sum_from(&mut self, start: Timestamp, merge: &impl Fn(&mut S, &S)) -> Option<S> {
        while self.suffixes.last().is_some_and(|(suffix, _)| *suffix < start) {
            self.suffixes.pop();
        }
        let mut sum = self.suffixes.last().map(|(_, sum)| sum.clone());
        if let Some(prefix) = &self.prefix {
            add(&mut sum, prefix, merge);
        }
        sum
    }
}

/// Returns the sum of a window, slice after slice.
pub(crate) fn sum_of_all<S: Clone>(
    window: TimeWindow,
    slices: &mut impl Slices<S>,
    merge: &impl Fn(&mut S, &S),
) -> Result<Option<S>> {
    let mut whole = None;
    slices.each(window, Order::Forward, |_, slice| {
        add(&mut whole, slice, merge);
        ControlFlow::Continue(())
    })?;
    Ok(whole)
}

#[inline]
fn add<S: Clone>(whole: &mut Option<S>, sum: &S, merge: &impl Fn(&mut S, &S)) {
    match whole {
        Some(whole) => merge(whole, sum),
        None => *whole = Some(sum.clone()),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::super::descriptor::Sliding;
    use super::*;

    /// Slices whose sums are texts, so that it shows in which order they were merged.
    #[derive(Default)]
    struct Texts {
        slices: BTreeMap<Timestamp, String>,
    }

    impl Slices<String> for Texts {
        fn each(
            &mut self,
            within: TimeWindow,
            order: Order,
            mut each: impl FnMut(Timestamp, &String) -> ControlFlow<()>,
        ) -> Result {
            let mut range: Vec<_> = self.slices.range(within.start..within.end).collect();
            if order == Order::Backward {
                range.reverse();
            }
            let _ = range.into_iter().try_for_each(|(start, sum)| each(*start, sum));
            Ok(())
        }
    }

    fn merge(into: &mut String, from: &String) {
        *into = format!("({into}{from})");
    }

    fn grid(slices: u64) -> Grid {
        let [size, every] = [slices * 10, 10].map(Duration::from_millis);
        Grid::of(&Sliding::of(size, every).into()).unwrap().unwrap()
    }

    fn letters(range: std::ops::Range<i64>) -> BTreeMap<Timestamp, String> {
        let letter = |number: i64| char::from(b'a' + (number.rem_euclid(26)) as u8).to_string();
        // Every seventh slice is empty.
        range.filter(|number| number % 7 != 3).map(|number| (number * 10, letter(number))).collect()
    }

    #[test]
    fn a_window_is_the_same_however_much_is_remembered() {
        for count in [2, 5, 7, 8, 9, 12] {
            let grid = grid(count);
            let mut texts = Texts { slices: letters(-40..40), ..Texts::default() };
            let mut kept = Merges::default();
            for start in -30..20 {
                let window = TimeWindow { start: start * 10, end: (start + count as i64) * 10 };
                // What is over is gone.
                texts.slices.retain(|slice, _| *slice >= window.start);
                let sum = kept.sum(&Key::from(1u64), window, &grid, &mut texts, &merge).unwrap().unwrap();
                let anew = Merges::default().sum(&Key::from(1u64), window, &grid, &mut texts, &merge).unwrap().unwrap();
                assert_eq!(sum, anew, "{count} slices from {start}");
                let letters: String = sum.chars().filter(|letter| letter.is_alphabetic()).collect();
                let expected: String = texts.slices.range(window.start..window.end).map(|(_, sum)| &**sum).collect();
                assert_eq!(letters, expected, "in the order of time");
            }
        }
    }

    #[test]
    fn a_window_takes_three_merges_whatever_its_length() {
        let grid = grid(100);
        let mut texts =
            Texts { slices: (0..1200).map(|slice| (slice * 10, String::new())).collect(), ..Texts::default() };
        let (mut merges, merged) = (Merges::default(), Cell::new(0));
        let counted = |into: &mut String, from: &String| {
            merged.set(merged.get() + 1);
            merge(into, from);
        };
        for start in 0..1000 {
            let window = TimeWindow { start: start * 10, end: (start + 100) * 10 };
            texts.slices.retain(|slice, _| *slice >= window.start);
            // The texts become long, and are not what this is about.
            texts.slices.values_mut().for_each(String::clear);
            merges.sum(&Key::from(1u64), window, &grid, &mut texts, &counted).unwrap();
        }
        assert!(merged.get() <= 3 * 1000, "{} merges", merged.get());
    }

    #[test]
    fn keys_are_kept_apart_and_forgotten() {
        let grid = grid(8);
        let (mut ones, mut twos) = (Texts { slices: letters(0..20), ..Texts::default() }, Texts::default());
        let mut merges = Merges::default();
        let window = TimeWindow { start: 10, end: 90 };
        let one = merges.sum(&Key::from(1u64), window, &grid, &mut ones, &merge).unwrap();
        assert_eq!(merges.sum(&Key::from(2u64), window, &grid, &mut twos, &merge).unwrap(), None);
        assert_eq!(merges.sum(&Key::from(1u64), window, &grid, &mut ones, &merge).unwrap(), one);
        ones.slices.insert(30, "x".to_string());
        merges.forget(&Key::from(1u64));
        assert!(merges.sum(&Key::from(1u64), window, &grid, &mut ones, &merge).unwrap().unwrap().contains('x'));
        assert_eq!(merges.keys.len(), 1, "what has few slices is not remembered");
    }
}
