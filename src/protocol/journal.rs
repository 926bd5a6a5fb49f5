//! What a subtask's operators have seen since their last cut: their own way back.
//!
//! It begins with every cut, because the bytes of a cut stay at hand until they are durable: the newest snapshot of a
//! subtask can always be restored, whatever becomes of its checkpoint, so nothing older is ever replayed.
//!
//! What has to be kept depends on who else could tell ([`Replays`]). Batches that nobody else can give again are kept,
//! and so is what was made of them if others have it already: a replay must then make the same. Where a source can go
//! back, and a sink throws away what was not yet prepared, nothing is kept but the order of things.

use piton_actors::{Batch, Timestamp};

use crate::protocol::chain::{Entry, Routed, What};
use crate::protocol::mutant::{self, Mutant};
use crate::protocol::room::Room;

/// How a subtask goes through what its operators saw again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Replays {
    /// With the batches that were kept; what comes out was sent already, and must be the same.
    Compared,
    /// With the batches that were kept; what comes out is given to a fresh sink, because nobody else has it.
    Delivered,
    /// The same, but the source reads its records again: none is kept.
    ReadAgain,
}

/// An entry and what came out of it.
struct Noted {
    seen: Seen,
    /// Empty where a replay is not compared.
    outputs: Vec<Batch>,
}

/// What is noted of something that the operators saw.
#[derive(Clone)]
pub(crate) enum Seen {
    /// The thing itself.
    Entry(Entry),
    /// That the source has read so many records, and when.
    Records(usize, Timestamp),
    /// A record that was read and set aside: they have not seen it.
    SetAside(Batch),
}

/// See the module.
pub(crate) struct Journal {
    /// Nothing, until the next cut, if there was no room for all.
    noted: Vec<Noted>,
    room: Room,
    replays: Replays,
}

/// What a comparison has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Different;

impl Journal {
    /// Begins an empty journal of so many bytes at most.
    pub(crate) fn new(limit: usize, replays: Replays) -> Journal {
        Journal { noted: Vec::new(), room: Room::new(limit), replays }
    }

    /// Returns how it is gone through again.
    pub(crate) fn replays(&self) -> Replays {
        self.replays
    }

    /// Forgets everything: the operators' state was cut, or they have none.
    pub(crate) fn clear(&mut self) {
        self.noted.clear();
        self.room.clear();
    }

    /// Notes an entry that was seen through.
    pub(crate) fn note(&mut self, entry: Entry, outputs: &[Routed]) {
        let seen = match entry.what {
            What::Batch(_, batch) if self.replays == Replays::ReadAgain => Seen::Records(batch.len(), entry.now),
            _ => Seen::Entry(entry),
        };
        let outputs = if self.replays == Replays::Compared { outputs } else { &[] };
        self.push(seen, outputs);
    }

    /// Notes that a record was set aside, if it would be read again.
    pub(crate) fn note_set_aside(&mut self, one: &Batch) {
        if self.replays == Replays::ReadAgain && !mutant::is(Mutant::SetAsideReadAgain) {
            self.push(Seen::SetAside(Batch::clone(one)), &[]);
        }
    }

    fn push(&mut self, seen: Seen, outputs: &[Routed]) {
        let input = match &seen {
            Seen::Entry(Entry { what: What::Batch(_, batch), .. }) | Seen::SetAside(batch) => batch.memory(),
            Seen::Entry(_) | Seen::Records(..) => 0,
        };
        let output: usize = outputs.iter().map(|routed| routed.batch.memory()).sum();
        if self.room.add(input + output + size_of::<Noted>()) {
            let outputs = outputs.iter().map(|routed| Batch::clone(&routed.batch)).collect();
            self.noted.push(Noted { seen, outputs });
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

    /// Returns what was noted, counted from the cut.
    pub(crate) fn seen(&self, number: usize) -> Option<Seen> {
        if mutant::is(Mutant::JournalCutShort) && number + 1 == self.noted.len() {
            return None;
        }
        self.noted.get(number).map(|noted| noted.seen.clone())
    }

    /// Compares what a replay gave with what was sent.
    pub(crate) fn compare(&self, number: usize, outputs: &[Routed]) -> Result<(), Different> {
        let sent = self.noted.get(number).map_or(&[][..], |noted| &noted.outputs);
        let same = sent.len() == outputs.len() && sent.iter().zip(outputs).all(|(sent, now)| sent.same(&*now.batch));
        if same || mutant::is(Mutant::ComparisonSkipped) { Ok(()) } else { Err(Different) }
    }
}
