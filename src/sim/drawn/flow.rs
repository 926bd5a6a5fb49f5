//! What comes by at one place of a made-up job, and how often, where some of it was sent aside.

use std::collections::BTreeMap;

/// What comes by at one place of a job.
#[derive(Clone, Debug, Default)]
pub(crate) struct Flow {
    /// How often each row of an origin comes by.
    pub(crate) origins: BTreeMap<u32, Often>,
    /// How often each count of a counter comes by.
    pub(crate) counters: BTreeMap<u32, u64>,
    /// Whether rows may be held back, so that a checkpoint does not show all of its prefix.
    pub(crate) lingers: bool,
    /// Whether rows may wait for answers from outside: as if they were held back, but watermarks stay behind them.
    pub(crate) waits: bool,
}

impl Flow {
    pub(crate) fn add(&mut self, other: &Flow) {
        for (origin, times) in &other.origins {
            let so_far = self.origins.entry(*origin).or_insert(Often::NEVER);
            *so_far = so_far.plus(*times);
        }
        for (counter, times) in &other.counters {
            *self.counters.entry(*counter).or_default() += times;
        }
        self.lingers |= other.lingers;
        self.waits |= other.waits;
    }

    pub(crate) fn times(&self, factor: u64) -> Flow {
        let origins = self.origins.iter().map(|(id, often)| (*id, often.times(factor)));
        let counters = self.counters.iter().map(|(id, times)| (*id, times * factor));
        Flow { origins: origins.collect(), counters: counters.collect(), ..self.clone() }
    }

    /// Returns what is left where some rows are sent aside, and what goes there. Counts are not told apart so.
    pub(crate) fn split(&self) -> (Flow, Flow) {
        let (mut kept, mut aside) = (self.clone(), self.clone());
        for (origin, often) in &self.origins {
            let (stays, goes) = often.split();
            kept.origins.insert(*origin, stays);
            aside.origins.insert(*origin, goes);
        }
        (kept, aside)
    }
}

/// How often the rows of an origin come by at one place of a job: those that a splitting operator keeps in the stream, and
/// those that it sends aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Often {
    kept: u64,
    aside: u64,
}

/// Returns whether a splitting operator sends a row aside: every third one.
pub(crate) fn goes_aside(number: u64) -> bool {
    number % 3 == 2
}

impl Often {
    /// Nothing comes by.
    pub(crate) const NEVER: Often = Often { kept: 0, aside: 0 };
    /// Every row comes by once.
    pub(crate) const ONCE: Often = Often { kept: 1, aside: 1 };

    /// Returns how often the row of a number comes by.
    pub(crate) fn of(self, number: u64) -> u64 {
        if goes_aside(number) { self.aside } else { self.kept }
    }

    /// Returns how often the first so many rows come by, all together.
    pub(crate) fn of_first(self, rows: u64) -> u64 {
        let aside = rows / 3;
        self.aside * aside + self.kept * (rows - aside)
    }

    pub(crate) fn plus(self, other: Often) -> Often {
        Often { kept: self.kept + other.kept, aside: self.aside + other.aside }
    }

    pub(crate) fn times(self, factor: u64) -> Often {
        Often { kept: self.kept * factor, aside: self.aside * factor }
    }

    /// Returns what is left where some rows are sent aside, and what comes by there.
    pub(crate) fn split(self) -> (Often, Often) {
        (Often { aside: 0, ..self }, Often { kept: 0, ..self })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rows_are_counted_as_one_by_one() {
        let (kept, aside) = Often::ONCE.times(2).plus(Often::ONCE).split();
        assert_eq!(kept.plus(aside), Often::ONCE.times(3));
        for often in [Often::NEVER, kept, aside, kept.plus(aside)] {
            for rows in 0..10 {
                assert_eq!(often.of_first(rows), (0..rows).map(|number| often.of(number)).sum::<u64>());
            }
        }
    }
}
