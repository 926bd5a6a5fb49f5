//! A source reads again what it has read since the last cut, for operators that are restored from there.
//!
//! A fresh instance begins at the position of the cut. Its records are handed out in the pieces that are asked for:
//! how many of them a poll gives is its own affair, and may be another number this time. What the last poll gives
//! beyond that is new, and the instance simply goes on behind it.

use std::collections::VecDeque;

use piton_actors::host::AnySource;
use piton_actors::{Batch, Timestamp};

use super::{Reading, SourceHead};
use crate::protocol::mutant::{self, Mutant};

/// What a source reads again.
#[derive(Default)]
pub(super) struct Rereading {
    /// What was read and not handed out, with the watermark behind it.
    batches: VecDeque<(Batch, Timestamp)>,
    /// The watermark behind all of it.
    behind: Timestamp,
    /// How many records of the first were.
    first: usize,
    /// Whether more is asked for than is here.
    is_short: bool,
    /// Whether there is no more.
    has_ended: bool,
    /// Whether the instance has failed, so that all of it begins again.
    is_lost: bool,
}

/// What a source has handed out again.
pub(crate) enum Again {
    /// These records, at most as many as were asked for.
    Records(Batch),
    /// Nothing yet.
    NotYet,
    /// There are fewer than there were.
    Ended,
}

impl Rereading {
    /// Returns whether the source is to be polled.
    pub(super) fn wants_more(&self) -> bool {
        self.is_short && !self.has_ended
    }

    pub(super) fn end(&mut self) {
        self.has_ended = true;
    }

    pub(super) fn take(&mut self, reading: Reading) {
        self.is_short = false;
        self.batches.extend(reading.batches.into_iter().filter(|(batch, _)| !batch.is_empty()));
        self.behind = reading.behind;
    }

    fn give(&mut self, most: usize) -> Again {
        let Some((batch, _)) = self.batches.front() else {
            self.is_short = true;
            return if self.has_ended { Again::Ended } else { Again::NotYet };
        };
        let end = batch.len().min(self.first + most);
        let is_whole = self.first == 0 && end == batch.len();
        let records = if is_whole { Batch::clone(batch) } else { batch.slice(self.first..end) };
        self.first = end;
        if end == batch.len() {
            self.batches.pop_front();
            self.first = 0;
        }
        Again::Records(records)
    }
}

impl SourceHead {
    /// Begins to read again from a position, with a fresh instance.
    pub(crate) fn read_again(&mut self, source: Box<dyn AnySource>, from: Option<Vec<u8>>) {
        if !mutant::is(Mutant::ReadAgainTooLate) {
            self.position = from;
        }
        self.watermarks.go_back();
        self.renew_at(source, self.position.clone());
        self.rereading = Some(Rereading::default());
    }

    /// Returns whether it is reading again.
    pub(crate) fn is_rereading(&self) -> bool {
        self.rereading.is_some()
    }

    /// The instance that reads again has failed: another has to begin.
    pub(crate) fn lose_thread(&mut self) {
        if let Some(rereading) = &mut self.rereading {
            rereading.is_lost = true;
        }
    }

    /// Returns whether it was reading again and has failed.
    pub(crate) fn has_lost_thread(&self) -> bool {
        self.rereading.as_ref().is_some_and(|rereading| rereading.is_lost)
    }

    /// Hands out some of what it reads again. If there is nothing yet, it is polled.
    pub(crate) fn again(&mut self, most: usize) -> Again {
        self.rereading.as_mut().map_or(Again::Ended, |rereading| rereading.give(most))
    }

    /// Goes on with what is new. Returns what was read of that, and whether it was found only now that there is no more;
    /// nothing if it was not reading again.
    pub(crate) fn read_on(&mut self) -> Option<(Reading, bool)> {
        let Rereading { batches, behind, first, has_ended, .. } = self.rereading.take()?;
        let mut new: Vec<(Batch, Timestamp)> = batches.into();
        if let Some((batch, _)) = new.first_mut().filter(|_| first > 0) {
            *batch = batch.slice(first..batch.len());
        }
        if mutant::is(Mutant::ReadBeyondLost) {
            new.clear();
        }
        let was_done = self.done;
        self.done |= has_ended;
        Some((Reading { batches: new, behind }, has_ended && !was_done))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use piton_actors::Rows;

    use super::*;

    fn rereading(batches: &[&[u64]]) -> Rereading {
        let mut rereading = Rereading::default();
        let batches = batches.iter().map(|rows| (Arc::new(Rows::new(rows.to_vec())) as Batch, 0));
        rereading.take(Reading { batches: batches.collect(), behind: 0 });
        rereading
    }

    fn given(rereading: &mut Rereading, most: usize) -> Option<Vec<u64>> {
        match rereading.give(most) {
            Again::Records(batch) => Some(piton_actors::rows::<u64>(&batch).unwrap().to_vec()),
            Again::NotYet | Again::Ended => None,
        }
    }

    #[test]
    fn records_are_given_in_the_pieces_that_are_asked_for() {
        let mut again = rereading(&[&[1, 2, 3], &[], &[4, 5]]);
        assert_eq!(given(&mut again, 2), Some(vec![1, 2]));
        assert_eq!(given(&mut again, 2), Some(vec![3]), "no piece is of two batches");
        assert_eq!(given(&mut again, 2), Some(vec![4, 5]));
        assert!(!again.wants_more());
        assert_eq!(given(&mut again, 2), None);
        assert!(again.wants_more(), "more was asked for than there is");
        again.take(Reading { batches: Vec::new(), behind: 0 });
        assert!(!again.wants_more() && given(&mut again, 1).is_none() && again.wants_more(), "a poll may give nothing");
        again.end();
        assert!(matches!(again.give(1), Again::Ended) && !again.wants_more());
    }
}
