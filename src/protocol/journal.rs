//! What a subtask's operators have seen since their last cut: their own way back.
//!
//! It begins with every cut, because the bytes of a cut stay at hand until they are durable: the newest snapshot of a
//! subtask can always be restored, whatever becomes of its checkpoint, so nothing older is ever replayed. Every entry
//! is noted with what came out of it. A replay gives the entries to fresh operators again and compares: what comes out
//! has been sent already, and must be the same.

use piton_actors::Batch;

use crate::protocol::chain::{Entry, Routed, What};
use crate::protocol::mutant::{self, Mutant};
use crate::protocol::room::Room;

/// An entry and what came out of it.
struct Noted {
    entry: Entry,
    outputs: Vec<Batch>,
}

/// See the module.
pub(crate) struct Journal {
    /// Nothing, until the next cut, if there was no room for all.
    noted: Vec<Noted>,
    room: Room,
}

/// What a comparison has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Different;

impl Journal {
    /// Begins an empty journal of so many bytes at most.
    pub(crate) fn new(limit: usize) -> Journal {
        Journal { noted: Vec::new(), room: Room::new(limit) }
    }

    /// Forgets everything: the operators' state was cut, or they have none.
    pub(crate) fn clear(&mut self) {
        self.noted.clear();
        self.room.clear();
    }

    /// Notes an entry that was seen through.
    pub(crate) fn note(&mut self, entry: Entry, outputs: &[Routed]) {
        let input = match &entry.what {
            What::Batch(_, batch) => batch.memory(),
            _ => 0,
        };
        let output: usize = outputs.iter().map(|routed| routed.batch.memory()).sum();
        if self.room.add(input + output + size_of::<Noted>()) {
            let outputs = outputs.iter().map(|routed| Batch::clone(&routed.batch)).collect();
            self.noted.push(Noted { entry, outputs });
        } else {
            self.noted.clear();
        }
    }

    /// Returns how many bytes it holds.
    pub(crate) fn bytes(&self) -> usize {
        if self.room.is_kept() { self.room.bytes() } else { 0 }
    }

    /// Returns, once between two cuts, whether it is time for the next one.
    pub(crate) fn wants_cut(&mut self) -> bool {
        self.room.wants_cut()
    }

    /// Returns whether there is nothing in it, and nothing is missing.
    pub(crate) fn is_empty(&self) -> bool {
        self.noted.is_empty() && self.room.is_kept()
    }

    /// Returns whether a replay is possible.
    pub(crate) fn is_whole(&self) -> bool {
        self.room.is_kept()
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
