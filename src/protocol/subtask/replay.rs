//! A subtask goes through what its operators have seen since its last cut again.
//!
//! Where others have what the operators emitted, a replay must give the same, and it is dropped; so it is where others have
//! no more than what went to a side output. Where only a sink of its own
//! has it, that can throw away what it has not prepared: a fresh one takes what the replay gives, so nothing has to be
//! kept of that, and nothing has to be the same. If there is a source of its own as well, one that can go back, nothing
//! of the subtask's input or output is kept at all: as a whole, it goes back to its cut.
//!
//! What is gone through so is kept until the next cut: if something fails again, sink and source are left alone.
//!
//! What of the input is in hand, read but not seen through, stays so. It is read again, too, to get behind it; should it
//! not be the same, it is not known any more what failed, and the region decides.

use std::sync::Arc;

use piton_actors::{Batch, Delivery};

use super::recovery::Phase;
use super::stream::Step;
use super::{Away, Subtask, SubtaskSpec};
use crate::protocol::chain::{ChainAnswer, Entry, First, MAIN, Routed, What, Work};
use crate::protocol::failure::{Failure, guard};
use crate::protocol::journal::{Replays, Seen};
use crate::protocol::ladder::Ladder;
use crate::protocol::mutant::{self, Mutant};
use crate::protocol::sink::{Redo, SinkTail};
use crate::protocol::source::{Again, SourceHead};

/// Returns how a subtask with this source goes through things again, if its sink delivers in this way.
pub(super) fn replays(spec: &SubtaskSpec, source: Option<&SourceHead>, sink: Option<Delivery>) -> Replays {
    let goes_nowhere_else = spec.outputs.is_empty();
    let takes_back = matches!(sink, Some(Delivery::Staged | Delivery::Joined))
        && goes_nowhere_else
        && Ladder::new(spec.ladder).replays();
    if takes_back && source.is_some_and(SourceHead::replayable) {
        Replays::ReadAgain
    } else if takes_back && !spec.operators.is_empty() {
        Replays::Delivered
    } else {
        Replays::Compared
    }
}

/// Returns what lets its sink have again what was not prepared.
pub(super) fn redo(spec: &SubtaskSpec, replays: Replays) -> Redo {
    match replays {
        Replays::Delivered | Replays::ReadAgain => Redo::MadeAgain,
        Replays::Compared if Ladder::new(spec.ladder).replays() => Redo::Kept(spec.ladder.journal),
        Replays::Compared => Redo::Nothing,
    }
}

impl Subtask {
    /// Puts fresh instances into the places of the sink and the source, where they are needed for a replay. Returns false
    /// as long as one of them is away.
    pub(super) fn rewind(&mut self) -> Result<bool, Failure> {
        let is_whole = self.sink.as_ref().is_none_or(|sink| !sink.is_being_given() && !sink.is_lost());
        if self.journal.is_complete() && is_whole {
            return Ok(true);
        }
        let sink_is_back = self.sink.as_mut().is_none_or(SinkTail::hold);
        let needs_source = self.journal.needs_source();
        let source = self.source.as_mut().filter(|_| needs_source);
        if !sink_is_back || source.as_ref().is_some_and(|source| !source.is_here()) {
            return Ok(false);
        }
        if let Some(source) = source {
            source.read_again(guard(&source.name, || self.workshop.source())?, self.base_position.clone());
        }
        if let Some(sink) = &mut self.sink {
            sink.rewind(self.base.window, guard(&sink.name, || self.workshop.sink())?);
        }
        if let Some(Step::Cut(marker, _)) = self.steps.front() {
            // It had prepared for this cut.
            self.steps.push_front(Step::Prepare(*marker));
        }
        (self.counters.written, self.drained) = (self.base_written, self.base_drained);
        self.journal.begin_again();
        Ok(true)
    }

    /// Goes on with the replay behind so many entries of the journal, and so many records of the next. Returns whether
    /// there may be more to do.
    pub(super) fn replay(&mut self, number: usize, records: usize) -> Result<bool, Failure> {
        if self.has_lost_thread() {
            self.go_on_with(Phase::Load);
            return Ok(true);
        }
        self.go_on_with(Phase::Replay(number, records));
        if self.sink.as_ref().is_some_and(|sink| sink.is_being_given() && !sink.has_taken()) {
            return Ok(false);
        }
        let (entry, seen) = match self.journal.seen(number) {
            Some(Seen::Entry(entry)) => (entry, 0),
            Some(Seen::Records(all, now)) => match self.read_some_again(all - records) {
                Some(batch) => {
                    let seen = records + batch.len();
                    (Entry { now, what: What::Batch(0, batch) }, if seen < all { seen } else { 0 })
                }
                None => return Ok(false),
            },
            Some(Seen::SetAside(record)) => {
                if self.is_rereading() {
                    match self.read_some_again(1) {
                        Some(again) if again.same(&*record) => {}
                        Some(_) => self.is_another(),
                        None => return Ok(false),
                    }
                }
                self.journal.take_again(Seen::SetAside(record), &[]);
                self.go_on_with(Phase::Replay(number + 1, 0));
                return Ok(true);
            }
            None => {
                self.go_on_with(if self.is_rereading() { Phase::InHand(0) } else { Phase::Replayed });
                return Ok(true);
            }
        };
        let away = Away::Replay(number, seen);
        match &entry.what {
            // There are no operators that could see it.
            What::Batch(0, batch) if self.chain.as_ref().is_some_and(|chain| chain.is_empty()) => {
                let outputs = vec![Routed { exit: MAIN, batch: Batch::clone(batch), hashes: Vec::new() }];
                self.entered = Some(entry);
                self.replayed(number, seen, ChainAnswer { outputs, ..ChainAnswer::default() })?;
                Ok(true)
            }
            _ => {
                self.call(away, First::Nothing, Work::Entry(entry))?;
                Ok(false)
            }
        }
    }

    /// An entry of the journal was replayed, or of the next one this many records.
    pub(super) fn replayed(&mut self, number: usize, records: usize, answer: ChainAnswer) -> Result<(), Failure> {
        let Some(recovery) = &mut self.recovery else { return Ok(()) };
        recovery.phase = if records > 0 { Phase::Replay(number, records) } else { Phase::Replay(number + 1, 0) };
        let entry = self.entered.take();
        if let Some(Entry { what: What::Batch(_, batch), .. }) = &entry {
            recovery.report.replayed += batch.len() as u64;
        }
        if self.sink.as_ref().is_some_and(SinkTail::is_being_given) {
            if let Some(entry) = entry {
                self.journal.take_again(Seen::Entry(entry), &answer.outputs);
            }
            if !mutant::is(Mutant::TakenForgotten) {
                self.deliver(0, answer.outputs);
            }
            return Ok(());
        }
        if self.journal.compare(number, &answer.outputs).is_err() {
            if self.journal.replays() != Replays::Compared {
                // Nobody has seen it: a fresh sink may as well take something else.
                recovery.phase = Phase::Load;
                self.journal.keep_less();
                return Ok(());
            }
            let failure = recovery.report.failure.clone();
            let names = self.made_of.names.join("\", \"");
            let why = format!("a replay of \"{names}\" gave something else than before: it is not deterministic");
            self.give_up(failure, Some(why));
            return Ok(());
        }
        if mutant::is(Mutant::ReplaySent) {
            self.deliver(0, answer.outputs);
        } else if mutant::is(Mutant::SidesSentAgain) {
            let aside = answer.outputs.into_iter().filter(|routed| routed.exit != MAIN);
            self.deliver(0, aside.collect());
        }
        Ok(())
    }

    /// A replay has asked for something else than what was asked for: that cannot be taken back.
    pub(super) fn asks_otherwise(&mut self) {
        let Some(recovery) = &self.recovery else { return };
        let failure = recovery.report.failure.clone();
        let names = self.made_of.names.join("\", \"");
        let why = format!("a replay of \"{names}\" asked for something else than before: it is not deterministic");
        self.give_up(failure, Some(why));
    }

    /// Reads what is in hand again, behind so many records of it. Returns whether there may be more to do.
    pub(super) fn read_in_hand(&mut self, checked: usize) -> Result<bool, Failure> {
        if self.has_lost_thread() {
            self.go_on_with(Phase::Load);
            return Ok(true);
        }
        self.go_on_with(Phase::InHand(checked));
        let Some(held) = self.in_hand_behind(checked) else {
            return self.read_on();
        };
        let Some(again) = self.read_some_again(held.len()) else { return Ok(false) };
        let is_same = again.len() == held.len() && again.same(&*held) || again.same(&*held.slice(0..again.len()));
        if is_same {
            self.go_on_with(Phase::InHand(checked + again.len()));
        } else {
            self.is_another();
        }
        Ok(true)
    }

    /// Returns what is left of the batch that this record is in, counting those that are in hand.
    fn in_hand_behind(&self, checked: usize) -> Option<Batch> {
        let mut before = 0;
        for step in &self.steps {
            let (batch, first) = match step {
                Step::Run(What::Batch(_, batch)) => (batch, 0),
                Step::Rows { batch, next, .. } => (batch, *next),
                _ => continue,
            };
            let begin = first + checked - before;
            if begin < batch.len() {
                return Some(if begin == 0 { Arc::clone(batch) } else { batch.slice(begin..batch.len()) });
            }
            before += batch.len() - first;
        }
        None
    }

    /// The source has come to where it was: what it has read beyond that is new.
    fn read_on(&mut self) -> Result<bool, Failure> {
        self.go_on_with(Phase::Replayed);
        let Some(source) = &mut self.source else { return Ok(true) };
        let was_done = source.done;
        let Some((new, has_ended)) = source.read_on() else { return Ok(true) };
        if new.batches.is_empty() && !has_ended {
            return Ok(true);
        }
        // The position lies behind what is new: that has to come ahead of the next cut, and of the end.
        let is_cut = self.steps.iter().any(|step| matches!(step, Step::Prepare(_) | Step::Prepared(_) | Step::Cut(..)));
        if was_done || is_cut {
            self.is_another();
        } else {
            self.take_in(new, has_ended);
        }
        Ok(true)
    }

    /// Returns some records that the source reads again, if it has any.
    fn read_some_again(&mut self, most: usize) -> Option<Batch> {
        match self.source.as_mut().map_or(Again::Ended, |source| source.again(most)) {
            Again::Records(batch) => Some(batch),
            Again::NotYet => None,
            Again::Ended => {
                self.is_another();
                None
            }
        }
    }

    /// What the source reads again cannot be put into the place of what it had read.
    fn is_another(&mut self) {
        let Some(recovery) = &self.recovery else { return };
        let failure = recovery.report.failure.clone();
        let why = format!("\"{}\" reads something else than before", self.source_name());
        self.give_up(failure, Some(why));
    }

    /// Returns whether the source reads again what it has read since the cut.
    fn is_rereading(&self) -> bool {
        self.source.as_ref().is_some_and(SourceHead::is_rereading)
    }

    /// Returns whether the sink or the source has failed while it took part in the replay.
    fn has_lost_thread(&self) -> bool {
        self.sink.as_ref().is_some_and(SinkTail::is_lost)
            || self.source.as_ref().is_some_and(SourceHead::has_lost_thread)
    }

    pub(super) fn go_on_with(&mut self, phase: Phase) {
        if let Some(recovery) = &mut self.recovery {
            recovery.phase = phase;
        }
    }

    /// The replay is over: the sink goes on with what waits for it.
    pub(super) fn end_replay(&mut self, replayed: u64) {
        if let Some(sink) = self.sink.as_mut().filter(|sink| sink.is_being_given()) {
            sink.given();
            self.journal.end_again();
            self.sink_mended(replayed);
        }
    }
}
