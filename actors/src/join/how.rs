//! Which rows find each other: arithmetic on event times, and nothing else.

use std::ops::RangeInclusive;

use crate::time::{Timestamp, WATERMARK_MAX};

/// Which rows of two inputs find each other, of those with the same key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct How {
    pub(crate) pairing: Pairing,
    /// Whether left rows without a partner come, too.
    pub(crate) outer: bool,
}

/// Which rows of a key are partners. All lengths are in ms of event time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pairing {
    /// Those whose right row is at most so much earlier, and at most so much later, than the left one.
    Interval { before: i64, after: i64 },
    /// Those of the same time window.
    Tumbling { size: i64, offset: i64 },
    /// All.
    Whole,
    /// For each left row the newest right row as of its time.
    Newest,
}

impl How {
    /// Rows whose event times are at most so many ms apart, whichever comes first.
    pub const fn within(distance: i64) -> How {
        How::interval(distance, distance)
    }

    /// Rows of which the right one is at most `before` ms earlier and at most `after` ms later than the left one. One of
    /// the two may be negative: `interval(-1, 10)` takes right rows that are 1 to 10 ms later.
    pub const fn interval(before: i64, after: i64) -> How {
        How { pairing: Pairing::Interval { before, after }, outer: false }
    }

    /// Rows of the same time window: windows are `size` ms long and begin at multiples of that since 1970.
    pub const fn tumbling(size: i64) -> How {
        How::tumbling_from(size, 0)
    }

    /// Rows of the same time window, where windows begin `offset` ms later than at multiples of their size.
    pub const fn tumbling_from(size: i64, offset: i64) -> How {
        How { pairing: Pairing::Tumbling { size, offset }, outer: false }
    }

    /// Each left row with the newest right row that is not later than it. It waits until the watermark has reached it.
    /// Of several right rows of the same time the one that came last counts.
    ///
    /// A left row without event time does not wait: it gets the newest right row that has come so far. A right row
    /// without event time is older than any other, and replaces the one before it.
    pub const fn newest() -> How {
        How { pairing: Pairing::Newest, outer: false }
    }

    /// All rows. Everything is kept for ever, because a partner may always come.
    pub const fn whole() -> How {
        How { pairing: Pairing::Whole, outer: false }
    }

    /// The same, and left rows without a partner, too: a left outer join.
    #[must_use]
    pub const fn left(self) -> How {
        How { outer: true, ..self }
    }

    /// Returns what is wrong with it, if anything is.
    ///
    /// # Errors
    /// In words.
    pub(crate) fn check(&self) -> Result<(), String> {
        match self.pairing {
            Pairing::Interval { before, after } if before.saturating_add(after) < 0 => Err(format!(
                "no right row can be at most {before} ms earlier and at most {after} ms later than a left one"
            )),
            Pairing::Tumbling { size, .. } if size <= 0 => {
                Err(format!("a time window of {size} ms holds nothing; make it longer"))
            }
            _ => Ok(()),
        }
    }
}

impl Pairing {
    /// Returns at which times the right partners of a left row lie.
    pub(crate) fn rights_of(&self, left: Timestamp) -> RangeInclusive<Timestamp> {
        match *self {
            Pairing::Interval { before, after } => left.saturating_sub(before)..=left.saturating_add(after),
            Pairing::Tumbling { size, offset } => window(left, size, offset),
            Pairing::Whole => Timestamp::MIN..=Timestamp::MAX,
            Pairing::Newest => Timestamp::MIN..=left,
        }
    }

    /// Returns at which times the left partners of a right row lie.
    pub(crate) fn lefts_of(&self, right: Timestamp) -> RangeInclusive<Timestamp> {
        match *self {
            Pairing::Interval { before, after } => right.saturating_sub(after)..=right.saturating_add(before),
            Pairing::Tumbling { size, offset } => window(right, size, offset),
            Pairing::Whole => Timestamp::MIN..=Timestamp::MAX,
            Pairing::Newest => right..=Timestamp::MAX,
        }
    }

    /// Returns which watermark says that no partner of a left row can come any more.
    pub(crate) fn left_until(&self, left: Timestamp) -> Timestamp {
        (*self.rights_of(left).end()).max(left)
    }

    /// Returns which watermark says that no partner of a right row can come any more.
    pub(crate) fn right_until(&self, right: Timestamp) -> Timestamp {
        (*self.lefts_of(right).end()).max(right)
    }

    /// Returns whether left rows may be late, and whether right rows may.
    pub(crate) fn late(&self) -> (bool, bool) {
        match self {
            Pairing::Whole => (false, false),
            Pairing::Newest => (true, false),
            Pairing::Interval { .. } | Pairing::Tumbling { .. } => (true, true),
        }
    }

    /// Returns whether event time decides about partners, so that every row needs one and may be late.
    pub(crate) fn is_timed(&self) -> bool {
        matches!(self, Pairing::Interval { .. } | Pairing::Tumbling { .. })
    }
}

/// Returns the first and the last moment of the time window that a moment lies in.
fn window(at: Timestamp, size: i64, offset: i64) -> RangeInclusive<Timestamp> {
    let into = (i128::from(at) - i128::from(offset)).rem_euclid(i128::from(size));
    let start = i128::from(at) - into;
    let clamped = |at: i128| at.clamp(i128::from(Timestamp::MIN), i128::from(WATERMARK_MAX)) as Timestamp;
    clamped(start)..=clamped(start + i128::from(size) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partners_see_each_other() {
        let all = [
            How::within(3),
            How::interval(-1, 4),
            How::interval(5, -2),
            How::tumbling(7),
            How::tumbling_from(7, 3),
            How::whole(),
            How::newest(),
        ];
        for How { pairing, .. } in all {
            for left in -20..20 {
                for right in -20..20 {
                    let found = pairing.rights_of(left).contains(&right);
                    assert_eq!(found, pairing.lefts_of(right).contains(&left), "{pairing:?}: {left} and {right}");
                    assert!(!found || pairing.left_until(left) >= right, "{pairing:?}: {left} and {right}");
                    assert!(!found || pairing.right_until(right) >= left, "{pairing:?}: {left} and {right}");
                }
            }
        }
    }

    #[test]
    fn windows_lie_side_by_side_on_both_sides_of_zero() {
        assert_eq!(window(-1, 10, 0), -10..=-1);
        assert_eq!(window(0, 10, 0), 0..=9);
        assert_eq!(window(2, 10, 3), -7..=2);
        assert_eq!(window(3, 10, 3), 3..=12);
        assert_eq!(window(i64::MAX, 10, 0).end(), &i64::MAX);
        assert_eq!(window(i64::MIN, 10, -1).start(), &i64::MIN);
    }

    #[test]
    fn what_can_find_nothing_is_refused() {
        assert!(How::interval(5, -5).check().is_ok() && How::tumbling(1).check().is_ok());
        assert!(How::interval(5, -6).check().is_err());
        assert!(How::tumbling(0).check().unwrap_err().contains("0 ms"));
        assert!(How::within(-1).check().is_err());
    }
}
