//! Whether code of the user's is running, and whether it gets anywhere: for whoever watches from another thread.
//!
//! A call that blocks cannot say so itself. Around each call of user code the engine writes down that it is made and
//! whose it is; within it, which record it has come to. Whoever looks twice and finds the same, has found a call that
//! did not get on in between. Writing costs a store, and nobody waits for anybody: what is read may be a moment old.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// The pulse of one subtask. One thread writes at a time; any may look.
#[derive(Debug, Default)]
pub struct Pulse {
    /// Changes with every call; odd while one is under way.
    call: AtomicU64,
    place: AtomicUsize,
    row: AtomicUsize,
}

/// What is seen of a call that is under way. Two that are equal are of the same call, which has not got on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beat {
    call: u64,
    /// Whose code it is, as given to [`Pulse::enter`].
    pub place: usize,
    /// Which record or timer of the call it has come to, counted from 1; 0 if it has not said.
    pub row: usize,
}

impl Pulse {
    /// Code of the user's is called now. `place` says whose.
    #[inline]
    pub fn enter(&self, place: usize) {
        self.place.store(place, Ordering::Relaxed);
        self.row.store(0, Ordering::Relaxed);
        // Released, so that whoever sees the call sees whose it is.
        self.call.store((self.call.load(Ordering::Relaxed) + 2) | 1, Ordering::Release);
    }

    /// The call has come to this record or timer, counted from 1.
    #[inline]
    pub fn advance(&self, row: usize) {
        self.row.store(row, Ordering::Relaxed);
    }

    /// Returns which record or timer the call has come to; after it, which one it had come to.
    #[inline]
    pub(crate) fn row(&self) -> usize {
        self.row.load(Ordering::Relaxed)
    }

    /// The call has come back.
    #[inline]
    pub fn leave(&self) {
        self.call.store((self.call.load(Ordering::Relaxed) + 1) & !1, Ordering::Release);
    }

    /// Returns what is to be seen of the call that is under way, if one is.
    pub fn look(&self) -> Option<Beat> {
        let call = self.call.load(Ordering::Acquire);
        let (place, row) = (self.place.load(Ordering::Relaxed), self.row.load(Ordering::Relaxed));
        (call % 2 == 1).then_some(Beat { call, place, row })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_call_that_gets_nowhere_looks_the_same_twice() {
        let pulse = Pulse::default();
        assert_eq!(pulse.look(), None);
        pulse.enter(7);
        let first = pulse.look().unwrap();
        assert_eq!((first.place, first.row), (7, 0));
        assert_eq!(pulse.look(), Some(first), "nothing has happened");
        pulse.advance(1);
        assert_ne!(pulse.look(), Some(first), "it has come to a record");
        pulse.leave();
        assert_eq!(pulse.look(), None);
        pulse.leave();
        assert_eq!(pulse.look(), None, "leaving twice is leaving");
        pulse.enter(7);
        assert_ne!(pulse.look(), Some(first), "the same place, but another call");
    }
}
