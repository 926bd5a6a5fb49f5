//! What must hold whatever fails: named predicates over plain data.
//!
//! The simulator, the tests and whoever watches a real run ask the same questions here, so that a name in a report
//! means the same everywhere. None of the predicates knows how its data came about.

mod id;

use std::collections::BTreeMap;
use std::fmt;

pub use self::id::{InvariantId, Violation};
use crate::ids::{Fence, WindowId};

/// What a predicate answers.
pub type Verdict = Result<(), Violation>;

/// Follows the windows that one operator instance hears of.
#[derive(Clone, Copy, Debug, Default)]
pub struct CommittedOrder {
    last: Option<(Fence, WindowId)>,
}

impl CommittedOrder {
    /// `committed(window)` is told in the life of `fence`, while the store's head stands at `head`.
    ///
    /// # Errors
    /// [`InvariantId::CommittedIncreases`] or [`InvariantId::CommittedIsDurable`].
    pub fn told(&mut self, fence: Fence, window: WindowId, head: WindowId) -> Verdict {
        if window > head {
            let message = format!("window {window} was told as committed while the head is {head}");
            return Err(InvariantId::CommittedIsDurable.broken(message));
        }
        if let Some((before, last)) = self.last {
            let falls = if before == fence { window <= last } else { window < last };
            if falls {
                let message = format!("window {window} was told in {fence} after window {last} in {before}");
                return Err(InvariantId::CommittedIncreases.broken(message));
            }
        }
        self.last = Some((fence, window));
        Ok(())
    }
}

impl CommittedOrder {
    /// A fresh instance that goes on within the same life is told `window` again, as the newest it has missed.
    ///
    /// # Errors
    /// [`InvariantId::CommittedIncreases`] if nobody was told that window.
    pub fn again(&mut self, fence: Fence, window: WindowId) -> Verdict {
        let last = self.last.filter(|(before, _)| *before == fence).map_or(WindowId::NONE, |(_, last)| last);
        if window > last {
            let message = format!("window {window} was told again in {fence}, but the newest was {last}");
            return Err(InvariantId::CommittedIncreases.broken(message));
        }
        self.last = Some((fence, window));
        Ok(())
    }
}

/// Follows the head of one region as the store and its callers see it.
#[derive(Clone, Copy, Debug, Default)]
pub struct HeadOrder {
    head: WindowId,
}

impl HeadOrder {
    /// The head was read, or a commit was acknowledged.
    ///
    /// # Errors
    /// [`InvariantId::HeadNeverBack`].
    pub fn seen(&mut self, head: WindowId) -> Verdict {
        if head < self.head {
            let message = format!("the head is {head} after window {} was acknowledged", self.head);
            return Err(InvariantId::HeadNeverBack.broken(message));
        }
        self.head = head;
        Ok(())
    }

    /// Returns the newest head that was seen.
    pub fn head(&self) -> WindowId {
        self.head
    }
}

/// Follows how often each thing was seen, of a known set of things and times.
#[derive(Clone, Debug, Default)]
pub struct Times<T: Ord> {
    left: BTreeMap<T, u64>,
    wanted: u64,
    seen: u64,
}

impl<T: Ord + fmt::Debug> Times<T> {
    /// So many more of a thing are to be seen.
    pub fn want(&mut self, thing: T, times: u64) {
        if times > 0 {
            *self.left.entry(thing).or_default() += times;
            self.wanted += times;
        }
    }

    /// A thing was seen.
    ///
    /// # Errors
    /// [`InvariantId::OutputNotRepeated`], if it was not to be seen, or not that often.
    pub fn see(&mut self, thing: &T) -> Verdict {
        match self.left.get_mut(thing) {
            None => Err(InvariantId::OutputNotRepeated.broken(format!("{thing:?} should never be seen"))),
            Some(0) => Err(InvariantId::OutputNotRepeated.broken(format!("{thing:?} was seen too often"))),
            Some(left) => {
                *left -= 1;
                self.seen += 1;
                Ok(())
            }
        }
    }

    /// Returns how many were seen in all.
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// Everything must have been seen.
    ///
    /// # Errors
    /// [`InvariantId::OutputComplete`].
    pub fn complete(&self) -> Verdict {
        if self.seen == self.wanted {
            return Ok(());
        }
        let missing = self.left.iter().find(|(_, left)| **left > 0);
        let missing = missing.map(|(thing, left)| format!("; among what is missing is {thing:?}, {left} times"));
        let message = format!("{} of {} were seen{}", self.seen, self.wanted, missing.unwrap_or_default());
        Err(InvariantId::OutputComplete.broken(message))
    }
}

/// Follows how much was seen of each thing, of a known set of things of which there may be more than is wanted: what
/// at-least-once promises.
#[derive(Clone, Debug, Default)]
pub struct AtLeast<T: Ord> {
    /// What is wanted of each thing, and what was seen.
    of: BTreeMap<T, (u64, u64)>,
}

impl<T: Ord + fmt::Debug> AtLeast<T> {
    /// So much more of a thing is to be seen.
    pub fn want(&mut self, thing: T, amount: u64) {
        if amount > 0 {
            self.of.entry(thing).or_default().0 += amount;
        }
    }

    /// So much of a thing was seen.
    ///
    /// # Errors
    /// [`InvariantId::OutputNotRepeated`], if it was not to be seen at all.
    pub fn see(&mut self, thing: &T, amount: u64) -> Verdict {
        match self.of.get_mut(thing) {
            None => Err(InvariantId::OutputNotRepeated.broken(format!("{thing:?} should never be seen"))),
            Some((_, seen)) => {
                *seen += amount;
                Ok(())
            }
        }
    }

    /// What counts must have been seen as often as it is wanted.
    ///
    /// # Errors
    /// `broken`, of the first thing of which too little was seen.
    pub fn complete(&self, broken: InvariantId, counts: impl Fn(&T) -> bool) -> Verdict {
        match self.of.iter().find(|(thing, (wanted, seen))| seen < wanted && counts(thing)) {
            None => Ok(()),
            Some((thing, (wanted, seen))) => {
                Err(broken.broken(format!("{seen} were seen of {thing:?}, of which there are {wanted}")))
            }
        }
    }

    /// Nothing may have been seen more often than it was made `times`, for each that is wanted.
    ///
    /// # Errors
    /// [`InvariantId::OutputNotRepeated`].
    pub fn at_most(&self, times: impl Fn(&T) -> Option<u64>) -> Verdict {
        for (thing, (wanted, seen)) in &self.of {
            if let Some(times) = times(thing)
                && *seen > wanted * times
            {
                let message =
                    format!("{seen} were seen of {thing:?}: {wanted} for each of the {times} times it was made");
                return Err(InvariantId::OutputNotRepeated.broken(message));
            }
        }
        Ok(())
    }

    /// Returns how much was seen in all.
    pub fn seen(&self) -> u64 {
        self.of.values().map(|(_, seen)| seen).sum()
    }

    /// Returns how much was seen beyond what is wanted.
    pub fn doubled(&self) -> u64 {
        self.of.values().map(|(wanted, seen)| seen.saturating_sub(*wanted)).sum()
    }
}

/// Follows the numbers that a counter gave to the records of each key.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// For each counter and key, how often each number was seen, from 1 on.
    seen: BTreeMap<(u32, u64), Vec<u64>>,
}

impl Counts {
    /// A number was seen, and may be seen so many times.
    ///
    /// # Errors
    /// [`InvariantId::StateExactlyOnce`].
    pub fn see(&mut self, counter: u32, key: u64, number: u64, times: u64) -> Verdict {
        let seen = self.seen.entry((counter, key)).or_default();
        let Some(index) = number.checked_sub(1).and_then(|index| usize::try_from(index).ok()) else {
            return Err(InvariantId::StateExactlyOnce.broken(format!("operator {counter}, key {key}: number 0")));
        };
        if seen.len() <= index {
            seen.resize(index + 1, 0);
        }
        seen[index] += 1;
        if seen[index] > times {
            let message = format!("operator {counter} counted record {number} of key {key} more than once");
            return Err(InvariantId::StateExactlyOnce.broken(message));
        }
        Ok(())
    }

    /// The numbers seen must be a prefix of 1, 2, 3, …, each seen as often as it comes by.
    ///
    /// # Errors
    /// [`InvariantId::StateExactlyOnce`].
    pub fn are_prefixes(&self, times: impl Fn(u32) -> u64) -> Verdict {
        for ((counter, key), seen) in &self.seen {
            let wanted = times(*counter);
            if let Some(hole) = seen.iter().position(|seen| *seen != wanted) {
                let message = format!(
                    "operator {counter}, key {key}: number {} was seen {} times of {wanted}",
                    hole + 1,
                    seen[hole]
                );
                return Err(InvariantId::StateExactlyOnce.broken(message));
            }
        }
        Ok(())
    }

    /// Each number up to this one must have been seen, as often as it comes by at least.
    ///
    /// # Errors
    /// [`InvariantId::StateExactlyOnce`].
    pub fn reach(&self, counter: u32, key: u64, number: u64, times: u64) -> Verdict {
        let seen = self.seen.get(&(counter, key)).map_or(&[][..], Vec::as_slice);
        for index in 0..usize::try_from(number).unwrap_or(usize::MAX) {
            let seen = seen.get(index).copied().unwrap_or_default();
            if seen < times {
                let message =
                    format!("operator {counter}, key {key}: number {} was seen {seen} times of {times}", index + 1);
                return Err(InvariantId::StateExactlyOnce.broken(message));
            }
        }
        Ok(())
    }

    /// Returns the highest number seen of a counter and key.
    pub fn highest(&self, counter: u32, key: u64) -> u64 {
        self.seen.get(&(counter, key)).map_or(0, |seen| seen.len() as u64)
    }
}

#[cfg(test)]
mod tests;
