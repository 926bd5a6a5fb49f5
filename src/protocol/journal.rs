//! What a subtask's operators have seen since their last cut: their own way back.
//!
//! It begins with every cut, because the bytes of a cut stay at hand until they are durable: the newest snapshot of a
//! subtask can always be restored, whatever becomes of its checkpoint, so nothing older is ever replayed.
//!
//! What has to be kept depends on who else could tell ([`Replays`]). Batches that nobody else can give again are kept,
//! and so is what was made of them if others have it already: a replay must then make the same. Where a source can go
//! back, and a sink throws away what was not yet prepared, nothing is kept but the order of things. Until something
//! fails: what was gone through again is kept, up to the next cut, because what has failed once often fails again, and
//! the sink need not take everything anew each time.

use piton_actors::{Batch, Timestamp};

use crate::protocol::chain::{Entry, Exit, Routed, What};
use crate::protocol::mutant::{self, Mutant};
use crate::protocol::room::Room;
use crate::protocol::spent::Spent;

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

/// Something that the operators saw, and what came out of it, if that is kept.
struct Noted {
    seen: Seen,
    outputs: Option<Vec<(Exit, Batch)>>,
}

impl Noted {
    fn new(seen: Seen, outputs: Option<&[Routed]>) -> Noted {
        let kept = |routed: &Routed| (routed.exit, Batch::clone(&routed.batch));
        let outputs = outputs.map(|outputs| outputs.iter().map(kept).collect());
        Noted { seen, outputs }
    }

    /// Returns about how many bytes it keeps from being used again.
    fn memory(&self) -> usize {
        let input = match &self.seen {
            Seen::Entry(Entry { what: What::Batch(_, batch) | What::Answer(_, Some(batch)), .. })
            | Seen::SetAside(batch) => batch.memory(),
            Seen::Entry(_) | Seen::Records(..) => 0,
        };
        let outputs = self.outputs.iter().flatten().map(|(_, batch)| batch.memory()).sum::<usize>();
        size_of::<Noted>() + input + outputs
    }
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
    /// What it held before the last cut.
    spent: Spent<Noted>,
    room: Room,
    replays: Replays,
    /// Whether it keeps what goes in and what comes out until the next cut, whoever else could tell.
    keeps: bool,
    /// What a replay has gone through so far, and how many bytes that is; nothing if there is no room for it.
    again: Option<(Vec<Noted>, usize)>,
}

/// What a comparison has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Different;

impl Journal {
    /// Begins an empty journal of so many bytes at most.
    pub(crate) fn new(limit: usize, replays: Replays) -> Journal {
        let keeps = replays == Replays::Compared;
        Journal { noted: Vec::new(), spent: Spent::new(), room: Room::new(limit), replays, keeps, again: None }
    }

    /// Returns how it is gone through again.
    pub(crate) fn replays(&self) -> Replays {
        self.replays
    }

    /// Forgets everything: the operators' state was cut, or they have none.
    pub(crate) fn clear(&mut self) {
        self.spent.take_over(&mut self.noted);
        self.room.clear();
        self.keeps = self.replays == Replays::Compared;
    }

    /// Notes an entry that was seen through.
    pub(crate) fn note(&mut self, entry: Entry, outputs: &[Routed]) {
        let seen = Seen::Entry(entry);
        let seen = if self.keeps { seen } else { self.leave_out(seen) };
        self.push(Noted::new(seen, self.keeps.then_some(outputs)));
    }

    /// Notes that a record was set aside, if it would be read again.
    pub(crate) fn note_set_aside(&mut self, one: &Batch) {
        if self.replays == Replays::ReadAgain {
            self.push(Noted::new(Seen::SetAside(Batch::clone(one)), Some(&[])));
        }
    }

    fn push(&mut self, noted: Noted) {
        let bytes = noted.memory();
        self.spent.let_go();
        self.noted.push(noted);
        if self.keeps && self.replays != Replays::Compared && !self.room.has_room(bytes) {
            self.keep_less();
        } else if !self.room.add(bytes) {
            self.noted.clear();
        }
    }

    /// Leaves out what a source can tell.
    fn leave_out(&self, seen: Seen) -> Seen {
        match seen {
            Seen::Entry(Entry { now, what: What::Batch(_, batch) }) if self.replays == Replays::ReadAgain => {
                Seen::Records(batch.len(), now)
            }
            seen => seen,
        }
    }

    /// Keeps no more than what nobody else could tell.
    pub(crate) fn keep_less(&mut self) {
        self.keeps = false;
        for Noted { seen, outputs } in std::mem::take(&mut self.noted) {
            let outputs = outputs.filter(|_| matches!(seen, Seen::SetAside(_)));
            self.noted.push(Noted { seen: self.leave_out(seen), outputs });
        }
        if !self.room.set(self.noted.iter().map(Noted::memory).sum()) {
            self.noted.clear();
        }
    }

    /// Returns whether it holds whatever went in and came out, so that a replay needs neither source nor sink.
    pub(crate) fn is_complete(&self) -> bool {
        self.replays == Replays::Compared || self.noted.iter().all(|noted| noted.outputs.is_some())
    }

    /// Returns whether the source has to read records again.
    pub(crate) fn needs_source(&self) -> bool {
        self.replays == Replays::ReadAgain && !self.is_complete()
    }

    /// Begins to be gone through again.
    pub(crate) fn begin_again(&mut self) {
        self.again = Some((Vec::new(), 0));
    }

    /// Takes an entry that a replay has gone through, with what came out.
    pub(crate) fn take_again(&mut self, seen: Seen, outputs: &[Routed]) {
        let Some((again, bytes)) = &mut self.again else { return };
        again.push(Noted::new(seen, Some(outputs)));
        *bytes += again.last().map_or(0, Noted::memory);
        if *bytes > self.room.limit() / 2 {
            self.again = None;
        }
    }

    /// All of it was gone through again: from now on it holds what there was this time.
    pub(crate) fn end_again(&mut self) {
        if let Some((again, bytes)) = self.again.take()
            && self.replays != Replays::Compared
            && self.room.set(bytes)
        {
            (self.noted, self.keeps) = (again, true);
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
        let sent = self.noted.get(number).and_then(|noted| noted.outputs.as_deref()).unwrap_or_default();
        let is_same = |((exit, sent), now): (&(Exit, Batch), &Routed)| *exit == now.exit && sent.same(&*now.batch);
        let same = sent.len() == outputs.len() && sent.iter().zip(outputs).all(is_same);
        if same || mutant::is(Mutant::ComparisonSkipped) { Ok(()) } else { Err(Different) }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use piton_actors::Rows;

    use super::*;
    use crate::protocol::chain::MAIN;

    fn routed(exit: Exit, records: &[u64]) -> Routed {
        Routed { exit, batch: Arc::new(Rows::new(records.to_vec())), hashes: Vec::new() }
    }

    #[test]
    fn a_replay_must_give_the_same_by_every_way_out() {
        let mut journal = Journal::new(1 << 20, Replays::Compared);
        journal.note(Entry { now: 0, what: What::Timers }, &[routed(MAIN, &[1]), routed(1, &[2])]);
        let same = |outputs: &[Routed]| journal.compare(0, outputs).is_ok();
        assert!(same(&[routed(MAIN, &[1]), routed(1, &[2])]));
        assert!(!same(&[routed(MAIN, &[1])]), "less was sent aside");
        assert!(!same(&[routed(MAIN, &[1]), routed(1, &[3])]), "something else");
        assert!(!same(&[routed(MAIN, &[1]), routed(2, &[2])]), "to another output");
    }
}
