//! What a subtask's operators have seen since their last cut: their own way back.
//!
//! It begins with every cut, because the bytes of a cut stay at hand until they are durable: the newest snapshot of a
//! subtask can always be restored, whatever becomes of its checkpoint, so nothing older is ever replayed. Every entry
//! is noted with what came out of it. A replay gives the entries to fresh operators again and compares: what comes out
//! has been sent already, and must be the same.

use piton_actors::Batch;

use crate::protocol::chain::{Entry, Routed, What};
use crate::protocol::mutant::{self, Mutant};

/// An entry and what came out of it.
struct Noted {
    entry: Entry,
    outputs: Vec<Batch>,
}

/// See the module.
pub(crate) struct Journal {
    noted: Vec<Noted>,
    bytes: usize,
    limit: usize,
    /// Whether it became longer than it may: what it held is gone, until the next cut.
    overflowed: bool,
    asked: bool,
}

/// What a comparison has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Different;

impl Journal {
    /// Begins an empty journal of so many bytes at most.
    pub(crate) fn new(limit: usize) -> Journal {
        Journal { noted: Vec::new(), bytes: 0, limit, overflowed: false, asked: false }
    }

    /// Forgets everything: the operators' state was cut, or they have none.
    pub(crate) fn clear(&mut self) {
        self.noted.clear();
        self.bytes = 0;
        self.overflowed = false;
        self.asked = false;
    }

    /// Notes an entry that was seen through.
    pub(crate) fn note(&mut self, entry: Entry, outputs: &[Routed]) {
        if self.overflowed {
            return;
        }
        let input = match &entry.what {
            What::Batch(_, batch) => batch.memory(),
            _ => 0,
        };
        let outputs: Vec<Batch> = outputs.iter().map(|routed| Batch::clone(&routed.batch)).collect();
        self.bytes += input + outputs.iter().map(|batch| batch.memory()).sum::<usize>() + size_of::<Noted>();
        self.noted.push(Noted { entry, outputs });
        if self.bytes > self.limit {
            self.noted.clear();
            self.overflowed = true;
        }
    }

    /// Returns how many bytes it holds.
    pub(crate) fn bytes(&self) -> usize {
        if self.overflowed { 0 } else { self.bytes }
    }

    /// Returns, once between two cuts, whether it is time for the next one.
    pub(crate) fn wants_cut(&mut self) -> bool {
        let wants = !self.asked && self.bytes > self.limit / 2;
        self.asked |= wants;
        wants
    }

    /// Returns whether there is nothing in it, and nothing is missing.
    pub(crate) fn is_empty(&self) -> bool {
        self.noted.is_empty() && !self.overflowed
    }

    /// Returns whether a replay is possible.
    pub(crate) fn is_whole(&self) -> bool {
        !self.overflowed
    }

    /// Returns an entry, counted from the cut.
    pub(crate) fn entry(&self, number: usize) -> Option<Entry> {
        if mutant::is(Mutant::JournalCutShort) && number + 1 == self.noted.len() {
            return None;
        }
        self.noted.get(number).map(|noted| noted.entry.clone())
    }

    /// Compares what a replay gave with what was sent.
    pub(crate) fn compare(&self, number: usize, outputs: &[Routed]) -> Result<(), Different> {
        let sent = self.noted.get(number).map_or(&[][..], |noted| &noted.outputs);
        let same = sent.len() == outputs.len() && sent.iter().zip(outputs).all(|(sent, now)| sent.same(&*now.batch));
        if same || mutant::is(Mutant::ComparisonSkipped) { Ok(()) } else { Err(Different) }
    }
}
