//! Pacing a source that should not run as fast as it can.
//!
//! A source has no clock. It emits what is due in one slice of time and then asks to be left alone for that long, so
//! that the rate is an upper bound: what the polls themselves take comes on top.

use crate::Progress;

/// How long a slice is, in ms, unless less than one row would be due in it.
const SLICE: f64 = 50.0;

/// Says how many rows may be emitted now.
#[derive(Clone, Debug)]
pub(super) struct Pace {
    limit: Option<Limit>,
}

#[derive(Clone, Debug)]
struct Limit {
    /// Rows due per slice.
    due: f64,
    /// The length of a slice in ms.
    slice: u64,
    /// What is left of the current slice; the fraction of a row goes over into the next.
    left: f64,
}

impl Pace {
    /// Makes the pace of one of `shares` sources that together emit so many rows a second, or as fast as they can.
    pub(super) fn new(per_second: Option<f64>, shares: u32) -> Pace {
        let limit = per_second.map(|rate| {
            let rate = rate / f64::from(shares.max(1));
            let slice = (1000.0 / rate).max(SLICE).round();
            let due = rate * slice / 1000.0;
            Limit { due, slice: slice as u64, left: due }
        });
        Pace { limit }
    }

    /// Returns how many rows to emit in this poll, out of what there is room for.
    pub(super) fn allow(&mut self, room: usize) -> usize {
        match &mut self.limit {
            None => room,
            Some(limit) => {
                if limit.left < 1.0 {
                    limit.left += limit.due;
                }
                room.min(limit.left as usize)
            }
        }
    }

    /// Takes note of how many were emitted, and says when to poll again.
    pub(super) fn took(&mut self, rows: usize) -> Progress {
        match &mut self.limit {
            None => Progress::More,
            Some(limit) => {
                limit.left -= rows as f64;
                if limit.left < 1.0 { Progress::Idle(limit.slice) } else { Progress::More }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a pace until so many ms have passed and returns how many rows were emitted.
    fn rows_in(mut pace: Pace, ms: u64) -> usize {
        let (mut now, mut rows) = (0, 0);
        while now < ms {
            let allowed = pace.allow(1024);
            rows += allowed;
            if let Progress::Idle(wait) = pace.took(allowed) {
                now += wait;
            }
        }
        rows
    }

    #[test]
    fn the_rate_is_kept_over_time() {
        for (rate, shares, expected) in
            [(5000.0, 1, 50_000), (333.0, 1, 3330), (10.0, 1, 100), (1_000_000.0, 4, 2_500_000)]
        {
            let rows = rows_in(Pace::new(Some(rate), shares), 10_000);
            assert!(rows.abs_diff(expected) <= expected / 100 + 1, "{rate}/{shares}: {rows}");
        }
    }

    #[test]
    fn without_a_rate_there_is_no_limit() {
        let mut pace = Pace::new(None, 1);
        assert_eq!(pace.allow(1024), 1024);
        assert_eq!(pace.took(1024), Progress::More);
    }
}
