//! How far apart in event time the sources of a region may be.
//!
//! A source that is far ahead of others fills the state of whoever waits for both: joins and time windows keep its rows
//! until event time has come there. So one with a `max_drift` is not polled while its watermark is more than that ahead of
//! the slowest of the others. Whoever closes a window says how far it is ([`Pace`]), and hears with the next window how far
//! the slowest are ([`Slowest`]). What it has heard is old, but the slowest never goes back while it counts: nobody is ever
//! polled who should not be, and everybody who may be is so one window later.
//!
//! Nobody waits for ever: of those that count, the slowest is ahead of nobody, so it is polled as if there were no limit;
//! sources that are idle, have ended or give no event times do not count. One that cannot be reached counts, as its
//! watermark does.
//!
//! This decides when a source is polled and nothing else, neither what it gives nor in which order. So nothing of it is
//! in a snapshot or a journal: an attempt that begins has heard nothing yet, and learns it with the first windows. A marker
//! passes a source that is held, and so do the end of the job, a drain and what it reads again.

use piton_actors::{Timestamp, WATERMARK_MAX, WATERMARK_MIN};

/// How far the source of a subtask is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// Its watermark, which others are waited with for.
    At(Timestamp),
    /// Nobody waits for it: it is idle, has ended, or gives no event times.
    Apart,
}

impl Pace {
    /// What counts as said before anything was.
    pub(crate) const UNKNOWN: Pace = Pace::At(WATERMARK_MIN);
}

/// How far the two slowest of several sources are; the end of time where there are not so many that count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slowest {
    first: Timestamp,
    second: Timestamp,
}

impl Slowest {
    pub(crate) fn of(paces: impl Iterator<Item = Pace>) -> Slowest {
        let mut slowest = Slowest { first: WATERMARK_MAX, second: WATERMARK_MAX };
        for pace in paces {
            let Pace::At(watermark) = pace else { continue };
            slowest.second = slowest.second.min(watermark.max(slowest.first));
            slowest.first = slowest.first.min(watermark);
        }
        slowest
    }

    /// Returns how far the slowest is without one of them.
    fn without(&self, pace: Pace) -> Timestamp {
        if pace == Pace::At(self.first) { self.second } else { self.first }
    }
}

/// Whether a source waits for others.
pub(crate) struct Drift {
    /// How far it may be ahead, in ms; any distance if there is none.
    most: Option<i64>,
    /// What it has said last: what it hears next is made of that.
    said: Pace,
    /// Up to which watermark it is polled.
    limit: Timestamp,
}

impl Drift {
    pub(crate) fn new(most: Option<i64>) -> Drift {
        Drift { most, said: Pace::UNKNOWN, limit: WATERMARK_MIN }
    }

    /// Notes what it says of itself.
    pub(crate) fn say(&mut self, pace: Pace) -> Pace {
        self.said = pace;
        pace
    }

    /// Hears how far the slowest were, itself included as it has said last.
    pub(crate) fn hear(&mut self, slowest: Slowest) {
        self.limit = slowest.without(self.said).saturating_add(self.most.unwrap_or(i64::MAX));
    }

    /// Returns whether it is to wait, if its watermark is this.
    pub(crate) fn holds(&self, watermark: Timestamp) -> bool {
        self.most.is_some() && watermark > self.limit
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt as _, SeedableRng as _};
    use rand_pcg::Pcg64Mcg;

    use super::*;

    fn slowest(paces: &[Pace]) -> Slowest {
        Slowest::of(paces.iter().copied())
    }

    /// Lets a source that is so far hear of itself and of another.
    fn hear_of(source: &mut Drift, own: Pace, other: Pace) {
        let own = source.say(own);
        source.hear(slowest(&[own, other]));
    }

    #[test]
    fn the_two_slowest_are_found_among_those_that_count() {
        use Pace::{Apart, At};
        let table: &[(&[Pace], i64, i64)] = &[
            (&[], WATERMARK_MAX, WATERMARK_MAX),
            (&[Apart], WATERMARK_MAX, WATERMARK_MAX),
            (&[At(5)], 5, WATERMARK_MAX),
            (&[At(5), Apart, At(3)], 3, 5),
            (&[At(3), At(5), At(4)], 3, 4),
            (&[At(3), At(3), At(9)], 3, 3),
        ];
        for (paces, first, second) in table {
            assert_eq!(slowest(paces), Slowest { first: *first, second: *second }, "{paces:?}");
        }
    }

    #[test]
    fn a_source_waits_for_the_slowest_of_the_others_and_never_for_itself() {
        let mut ahead = Drift::new(Some(10));
        assert!(!ahead.holds(WATERMARK_MIN), "it has read nothing");
        assert!(ahead.holds(0), "nobody has said anything yet");
        hear_of(&mut ahead, Pace::At(30), Pace::At(15));
        assert!(!ahead.holds(25) && ahead.holds(26));
        hear_of(&mut ahead, Pace::At(12), Pace::At(15));
        assert!(!ahead.holds(25), "it is the slowest, and may pass the other by so much");
        hear_of(&mut ahead, Pace::At(15), Pace::At(15));
        assert!(!ahead.holds(25) && ahead.holds(26), "as slow as another");
        hear_of(&mut ahead, Pace::At(90), Pace::Apart);
        assert!(!ahead.holds(i64::MAX - 1), "there is no other");
        hear_of(&mut ahead, Pace::Apart, Pace::At(3));
        assert!(ahead.holds(14), "an idle one, too");
    }

    #[test]
    fn a_source_without_a_limit_never_waits() {
        let mut free = Drift::new(None);
        assert!(!free.holds(0));
        hear_of(&mut free, Pace::At(1_000), Pace::At(0));
        assert!(!free.holds(1_000));
    }

    /// Sources that are polled in any order, end and rest now and then: all come to their ends, and none that waits for
    /// others is ever further ahead than it may be by more than one poll.
    #[test]
    fn no_source_is_too_far_ahead_and_none_waits_for_ever() {
        for seed in 0..500 {
            let mut rng = Pcg64Mcg::seed_from_u64(seed);
            let sources = rng.random_range(1..=4);
            let most = rng.random_range(0..20);
            let mut drifts: Vec<Drift> = (0..sources).map(|_| Drift::new(Some(most))).collect();
            let steps: Vec<i64> = (0..sources).map(|_| rng.random_range(1..30)).collect();
            let ends: Vec<i64> = (0..sources).map(|_| rng.random_range(0..300)).collect();
            let mut watermarks = vec![WATERMARK_MIN; sources];
            let mut told = slowest(&vec![Pace::UNKNOWN; sources]);
            let mut windows = 0;
            while (0..sources).any(|source| watermarks[source] < ends[source]) {
                drifts.iter_mut().for_each(|drift| drift.hear(told));
                for _ in 0..rng.random_range(0..8) {
                    let source = rng.random_range(0..sources);
                    let others = (0..sources).filter(|other| *other != source && watermarks[*other] < ends[*other]);
                    let slowest = others.map(|other| watermarks[other]).min().unwrap_or(WATERMARK_MAX);
                    if watermarks[source] < ends[source] && !drifts[source].holds(watermarks[source]) {
                        let is_near = watermarks[source] <= slowest.saturating_add(most);
                        assert!(is_near, "seed {seed}: {watermarks:?} with {most}");
                        watermarks[source] = watermarks[source].max(0) + steps[source];
                    }
                }
                let pace = |source: usize| match watermarks[source] {
                    ended if ended >= ends[source] => Pace::Apart,
                    watermark => Pace::At(watermark),
                };
                told =
                    slowest(&drifts.iter_mut().enumerate().map(|(at, drift)| drift.say(pace(at))).collect::<Vec<_>>());
                windows += 1;
                assert!(windows < 5_000, "seed {seed}: {watermarks:?} of {ends:?} with {most}");
            }
        }
    }
}
