//! Promises that are looked after while a job runs, by the same predicates that simulations and tests ask.
//!
//! What is looked at costs nothing that a record would notice: which window the store says is the head of a region, and
//! which one is told as committed. A job in which a promise breaks goes on, because stopping mends nothing; it says so
//! at once (an error in the log, an event), counts it, and does not end well.

use std::collections::BTreeMap;

use super::Supervisor;
use crate::ids::{Fence, WindowId};
use crate::invariants::{CommittedOrder, HeadOrder, Verdict, Violation};
use crate::runtime::event::Event;

/// What is known of the regions of a job, and how often each promise was broken.
pub(super) struct Promises {
    regions: Vec<(HeadOrder, CommittedOrder)>,
    broken: BTreeMap<&'static str, u64>,
}

impl Promises {
    /// Begins with regions that go on from these windows.
    pub(super) fn new(begin: &[WindowId]) -> Promises {
        let region = |window: &WindowId| {
            let mut head = HeadOrder::default();
            head.seen(*window).expect("no head is before the first one that is seen");
            (head, CommittedOrder::default())
        };
        Promises { regions: begin.iter().map(region).collect(), broken: BTreeMap::new() }
    }

    /// The store says, or has acknowledged, that this is the head of a region.
    pub(super) fn head(&mut self, region: usize, head: WindowId) -> Verdict {
        self.regions[region].0.seen(head)
    }

    /// A window is about to be told as committed to the subtasks of a region.
    pub(super) fn committed(&mut self, region: usize, fence: Fence, window: WindowId) -> Verdict {
        let (head, told) = &mut self.regions[region];
        told.told(fence, window, head.head())
    }

    /// Counts a promise that was broken.
    pub(super) fn count(&mut self, violation: &Violation) {
        *self.broken.entry(violation.invariant.name()).or_default() += 1;
    }

    /// Returns how often each promise was broken, by its name; those that held are left out.
    pub(super) fn broken(&self) -> &BTreeMap<&'static str, u64> {
        &self.broken
    }
}

impl Supervisor {
    /// Says that a promise to a region was broken, if it was.
    pub(super) fn hold_to(&mut self, index: usize, verdict: Verdict) {
        let Err(violation) = verdict else { return };
        let region = self.regions[index].machine.name().to_string();
        tracing::error!(region, "a promise was broken: {violation}");
        self.promises.count(&violation);
        let (invariant, message) = (violation.invariant.name(), violation.message);
        self.tell(&Event::Violated { region, invariant, message });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::InvariantId;

    const FIRST: Fence = Fence { incarnation: 1, attempt: 0 };
    const SECOND: Fence = Fence { incarnation: 1, attempt: 1 };

    fn name(verdict: Verdict) -> Option<InvariantId> {
        verdict.err().map(|violation| violation.invariant)
    }

    #[test]
    fn what_a_sound_job_does_breaks_nothing() {
        let mut promises = Promises::new(&[WindowId(4), WindowId(0)]);
        for window in [5, 6] {
            assert_eq!(promises.head(0, WindowId(window)), Ok(()));
            assert_eq!(promises.committed(0, FIRST, WindowId(window)), Ok(()));
        }
        assert_eq!(promises.head(0, WindowId(6)), Ok(()), "a restart reads it");
        assert_eq!(promises.head(1, WindowId(1)), Ok(()), "regions are apart");
        assert_eq!(promises.committed(1, FIRST, WindowId(1)), Ok(()));
        assert_eq!(promises.head(0, WindowId(9)), Ok(()));
        assert_eq!(promises.committed(0, SECOND, WindowId(9)), Ok(()));
    }

    #[test]
    fn a_head_that_goes_back_and_what_is_told_too_early_or_again_is_found_and_counted() {
        let mut promises = Promises::new(&[WindowId(4)]);
        assert_eq!(name(promises.head(0, WindowId(3))), Some(InvariantId::HeadNeverBack));
        assert_eq!(name(promises.committed(0, FIRST, WindowId(5))), Some(InvariantId::CommittedIsDurable));
        assert_eq!(promises.head(0, WindowId(5)), Ok(()));
        assert_eq!(promises.committed(0, FIRST, WindowId(5)), Ok(()));
        let again = promises.committed(0, FIRST, WindowId(5)).unwrap_err();
        assert_eq!(again.invariant, InvariantId::CommittedIncreases);
        assert_eq!(name(promises.committed(0, SECOND, WindowId(4))), Some(InvariantId::CommittedIncreases));
        promises.count(&again);
        promises.count(&again);
        assert_eq!(promises.broken(), &BTreeMap::from([("committed-increases", 2)]));
    }
}
