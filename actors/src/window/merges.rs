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

use hashbrown::HashTable;

use super::descriptor::TimeWindow;
use super::grid::Grid;
use super::timers::SlicesOf;
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

impl<S: Clone> Merges<S> {
    /// Returns the sum of a window of a key, if it has records. All of its slices must be complete; `merge` adds the
    /// records of a sum to another, which are all later.
    pub(crate) fn sum(
        &mut self,
        key: &Key,
        window: TimeWindow,
        grid: &Grid,
        slices: &SlicesOf<S>,
        merge: &impl Fn(&mut S, &S),
    ) -> Option<S> {
        if slices.len() <= FEW_SLICES || slices.range(window.start..window.end).nth(FEW_SLICES).is_none() {
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
            merged.fill(within, slices, merge);
        }
        merged.run_to(window.end, slices, merge);
        merged.sum_from(window.start, merge)
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
    fn fill(&mut self, within: TimeWindow, slices: &SlicesOf<S>, merge: &impl Fn(&mut S, &S)) {
        let mut sums: Vec<(Timestamp, S)> = Vec::new();
        for (start, slice) in slices.range(within.start..within.end).rev() {
            let mut sum = slice.clone();
            if let Some((_, later)) = sums.last() {
                merge(&mut sum, later);
            }
            sums.push((*start, sum));
        }
        (self.suffixes, self.reached) = (sums, self.block_end);
    }

    /// Adds the slices up to a moment to the sum that runs along.
    fn run_to(&mut self, end: Timestamp, slices: &SlicesOf<S>, merge: &impl Fn(&mut S, &S)) {
        for (_, slice) in slices.range(self.reached..end) {
            add(&mut self.prefix, slice, merge);
        }
        self.reached = end;
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
pub(crate) fn sum_of_all<S: Clone>(window: TimeWindow, slices: &SlicesOf<S>, merge: &impl Fn(&mut S, &S)) -> Option<S> {
    let mut whole = None;
    for (_, slice) in slices.range(window.start..window.end) {
        add(&mut whole, slice, merge);
    }
    whole
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
    fn texts(slices: &BTreeMap<Timestamp, String>) -> SlicesOf<String> {
        slices.iter().map(|(start, text)| (*start, text.clone())).collect()
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
            let mut slices = letters(-40..40);
            let mut kept = Merges::default();
            for start in -30..20 {
                let window = TimeWindow { start: start * 10, end: (start + count as i64) * 10 };
                // What is over is gone.
                slices.retain(|slice, _| *slice >= window.start);
                let texts = texts(&slices);
                let sum = kept.sum(&Key::from(1u64), window, &grid, &texts, &merge).unwrap();
                let anew = Merges::default().sum(&Key::from(1u64), window, &grid, &texts, &merge).unwrap();
                assert_eq!(sum, anew, "{count} slices from {start}");
                let letters: String = sum.chars().filter(|letter| letter.is_alphabetic()).collect();
                let expected: String = slices.range(window.start..window.end).map(|(_, sum)| &**sum).collect();
                assert_eq!(letters, expected, "in the order of time");
            }
        }
    }

    #[test]
    fn a_window_takes_three_merges_whatever_its_length() {
        let grid = grid(100);
        let slices: BTreeMap<Timestamp, String> = (0..1200).map(|slice| (slice * 10, String::new())).collect();
        let (mut merges, merged) = (Merges::default(), Cell::new(0));
        let counted = |_: &mut String, _: &String| merged.set(merged.get() + 1);
        for start in 0..1000 {
            let window = TimeWindow { start: start * 10, end: (start + 100) * 10 };
            let slices = slices.range(window.start..).map(|(start, sum)| (*start, sum.clone())).collect();
            merges.sum(&Key::from(1u64), window, &grid, &slices, &counted).unwrap();
        }
        assert!(merged.get() <= 3 * 1000, "{} merges", merged.get());
    }

    #[test]
    fn keys_are_kept_apart_and_forgotten() {
        let grid = grid(8);
        let mut ones = letters(0..20);
        let mut merges = Merges::default();
        let window = TimeWindow { start: 10, end: 90 };
        let one = merges.sum(&Key::from(1u64), window, &grid, &texts(&ones), &merge);
        assert_eq!(merges.sum(&Key::from(2u64), window, &grid, &SlicesOf::default(), &merge), None);
        assert_eq!(merges.sum(&Key::from(1u64), window, &grid, &texts(&ones), &merge), one);
        ones.insert(30, "x".to_string());
        merges.forget(&Key::from(1u64));
        assert!(merges.sum(&Key::from(1u64), window, &grid, &texts(&ones), &merge).unwrap().contains('x'));
        assert_eq!(merges.keys.len(), 1, "what has few slices is not remembered");
    }
}
