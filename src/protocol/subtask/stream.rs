//! What flows through a subtask, step by step.

use piton_actors::host::{AnySink, AnySource};
use piton_actors::{Batch, Result as UserResult, Timestamp, WindowId};

use super::{Away, Command, Subtask};
use crate::protocol::asking::{Answered, Held};
use crate::protocol::capture::InFlight;
use crate::protocol::chain::{
    Base, ChainAnswer, ChainCall, ChainFailure, Entry, First, MAIN, Packed, Routed, What, Work,
};
use crate::protocol::drift::Pace;
use crate::protocol::element::{Alignment, Element, Marker};
use crate::protocol::failure::Failure;
use crate::protocol::journal::Replays;
use crate::protocol::mutant::{self, Mutant};
use crate::protocol::sink::SinkNews;
use crate::protocol::source::{Reading, SourceAnswer, SourceNews};

/// Something that is to be done in its order.
pub(super) enum Step {
    /// Open the operators, with their snapshot if there is one.
    Open { base: Option<Box<Base>>, now: Timestamp, packed: Vec<Packed> },
    /// Let the operators see this.
    Run(What),
    /// Let the operators see a batch record by record, from this one on: as a whole it has failed.
    Rows { port: usize, batch: Batch, next: usize },
    /// Let them see what came of a request.
    Answer(Box<Answered>),
    /// Wait until no record waits for an answer.
    AwaitAnswers,
    /// Send a watermark on.
    Forward(Timestamp),
    /// Say that nobody need wait for a watermark from here.
    Idle,
    /// Ask the sink to prepare what it has taken so far.
    Prepare(Marker),
    /// Wait until it has.
    Prepared(Marker),
    /// Take the snapshot.
    Cut(Marker, Alignment),
    /// Take it without waiting for the end of its window, if that is possible.
    Overtake(WindowId),
    /// Send word of it ahead of everything that follows.
    Barrier(WindowId),
    /// Tell the operators that this window has begun, which others were told before them.
    BeginAgain(WindowId),
    /// Write down what is under way for it.
    Pack(WindowId, Vec<Vec<InFlight>>),
    /// Send the marker on, and word of the snapshot behind it if that has not waited: the next window begins.
    Proceed(Marker, Alignment),
    /// Send the end on.
    End,
    /// Say that the source has sent the marker of this window.
    Closed(WindowId),
    /// Say that all is open.
    Ready,
}

impl Step {
    pub(super) fn begin(window: WindowId) -> Step {
        Step::Run(What::BeginWindow(window))
    }
}

impl Subtask {
    /// Does the first step, or begins it; returns whether there may be more to do.
    pub(super) fn step(&mut self, now: Timestamp) -> Result<bool, Failure> {
        let Some(step) = self.steps.front_mut() else { return Ok(false) };
        let work = match step {
            Step::Open { base, now, packed } => {
                let (base, now, packed) = (base.take(), *now, std::mem::take(packed));
                Work::Open { base, ended: self.finished, now, packed }
            }
            Step::BeginAgain(window) => Work::BeginAgain(*window),
            Step::Pack(_, channels) => Work::Pack(channels.clone()),
            Step::Run(what) => {
                if self.chain.as_ref().is_some_and(|chain| chain.is_empty()) {
                    if let What::Batch(port, batch) = what {
                        let (port, batch) = (*port, Batch::clone(batch));
                        let outputs = vec![Routed { exit: MAIN, batch: Batch::clone(&batch), hashes: Vec::new() }];
                        if self.journal.replays() == Replays::ReadAgain {
                            self.journal.note(Entry { now, what: What::Batch(port, batch) }, &outputs);
                        }
                        self.deliver(port, outputs);
                    }
                    self.steps.pop_front();
                    return Ok(true);
                }
                Work::Entry(Entry { now, what: what.clone() })
            }
            Step::Rows { port, batch, next } => {
                let row = batch.slice(*next..*next + 1);
                Work::Entry(Entry { now, what: What::Batch(*port, row) })
            }
            Step::Answer(answered) => {
                Work::Entry(Entry { now, what: What::Answer(answered.id, answered.answer.clone()) })
            }
            Step::Cut(marker, _) => Work::Cut(marker.window),
            Step::Prepared(_) => return Ok(false),
            Step::AwaitAnswers
            | Step::Forward(_)
            | Step::Idle
            | Step::Prepare(_)
            | Step::Overtake(_)
            | Step::Barrier(_)
            | Step::Proceed(..)
            | Step::End
            | Step::Closed(_)
            | Step::Ready => {
                let step = self.steps.pop_front();
                return step.map_or(Ok(()), |step| self.pass(step)).map(|()| true);
            }
        };
        let work = match work {
            Work::Entry(entry) if self.sifting => Work::Sifted(entry),
            work => work,
        };
        self.call(Away::Step, First::Nothing, work)?;
        Ok(false)
    }

    /// Does a step that needs no operators.
    fn pass(&mut self, step: Step) -> Result<(), Failure> {
        match step {
            Step::Forward(watermark) => self.send_on(Held::Watermark(watermark)),
            Step::Idle => self.send_on(Held::Idle),
            Step::Prepare(marker) => match &mut self.sink {
                Some(sink) if !self.drained => {
                    self.drained = self.finished;
                    sink.prepare(marker.window);
                    self.steps.push_front(Step::Prepared(marker));
                }
                _ => {}
            },
            Step::Proceed(marker, alignment) => {
                if marker.window != self.window.next() {
                    let message = format!("asked to end window {} after window {}", marker.window, self.window);
                    return Err(Failure::engine(&*self.id.operator, message));
                }
                let overtakes = marker.snapshot && alignment == Alignment::Unaligned;
                self.outputs.send_marker(Marker { snapshot: marker.snapshot && !overtakes, ..marker });
                if overtakes {
                    self.outputs.send_barrier(marker.window);
                }
                self.window = marker.window;
                if !self.finished {
                    self.steps.push_front(Step::begin(marker.window.next()));
                }
            }
            Step::Overtake(window) => self.cut_or_decline(window),
            Step::Barrier(window) => self.outputs.send_barrier(window),
            Step::End => {
                self.outputs.send_end();
                self.finished = true;
                self.commands.push(Command::Finished);
            }
            Step::Closed(window) => {
                let (idle, has_read) = (self.idle, self.counters.read > 0);
                let pace = self.source.as_mut().map_or(Pace::Apart, |source| source.say_pace(idle, has_read));
                self.commands.push(Command::Closed(window, pace));
            }
            Step::Ready => {
                if self.chain.as_ref().is_some_and(|chain| chain.holds_nothing() == Err(None)) && !self.finished {
                    self.commands.push(Command::Unsure);
                }
                self.commands.push(Command::Ready);
            }
            Step::Open { .. } | Step::Run(_) | Step::Rows { .. } | Step::Prepared(_) | Step::Cut(..) => {}
            Step::BeginAgain(_) | Step::Pack(..) | Step::Answer(_) | Step::AwaitAnswers => {}
        }
        Ok(())
    }

    /// Gives the chain away with a call.
    pub(super) fn call(&mut self, away: Away, first: First, work: Work) -> Result<(), Failure> {
        let Some(chain) = self.chain.take() else {
            return Err(Failure::engine(&*self.id.operator, "the operators were called while they were away"));
        };
        if let Work::Entry(entry) | Work::Sifted(entry) = &work {
            self.entered = Some(entry.clone());
        }
        let undoable = self.ladder.undoes() && chain.is_undoable();
        self.away = Some(away);
        self.commands.push(Command::Chain(ChainCall { first, work, undoable }, chain));
        Ok(())
    }

    /// The first step, which needed the operators, is done.
    pub(super) fn step_done(&mut self, answer: ChainAnswer) -> Result<(), Failure> {
        let ChainAnswer { outputs, chunks, refused, unpacked, packed, asks: _ } = answer;
        let Some(step) = self.steps.front_mut() else {
            return Err(Failure::engine(&*self.id.operator, "the operators answered without having been asked"));
        };
        let (mut done, mut given_up) = (true, None);
        match step {
            // Opening counts, too.
            Step::Open { .. } => {
                self.base.entries = self.chain.as_ref().map(|chain| chain.entries()).unwrap_or_default();
                self.overtaking.restore(unpacked);
                if let Some(sink) = &mut self.sink {
                    let to_sink = outputs.iter().filter(|routed| routed.exit == MAIN);
                    to_sink.for_each(|routed| sink.keep(0, Batch::clone(&routed.batch)));
                }
            }
            Step::BeginAgain(window) => self.begun = Some(*window),
            Step::Pack(window, _) => {
                let window = *window;
                self.steps.pop_front();
                self.ladder.progressed();
                self.packed(window, packed);
                return Ok(());
            }
            Step::Run(what) => match what {
                What::BeginWindow(window) => self.begun = Some(*window),
                What::Watermark(watermark) => self.seen_watermark = *watermark,
                _ => {}
            },
            Step::Rows { batch, next, .. } => {
                self.ladder.row_progressed(*next);
                *next += 1;
                done = *next >= batch.len();
            }
            Step::Answer(answered) => {
                given_up = answered.failure.take().map(|failure| (answered.record.clone(), failure));
            }
            Step::Cut(marker, alignment) => {
                let (marker, alignment) = (*marker, *alignment);
                self.steps.pop_front();
                self.ladder.progressed();
                return self.cut(marker, alignment, chunks);
            }
            _ => {}
        }
        for refused in refused {
            self.refused(refused);
        }
        if let Some((record, failure)) = given_up {
            self.set_aside(&record, &failure);
        }
        if let Some(entry) = self.entered.take() {
            self.note(entry, &outputs);
        }
        self.sifting = false;
        self.retry.reset();
        if done {
            self.steps.pop_front();
            self.ladder.progressed();
        }
        self.deliver(0, outputs);
        Ok(())
    }

    /// Notes in the journal what the operators have seen, if that is what makes their state.
    fn note(&mut self, entry: Entry, outputs: &[Routed]) {
        let Some(chain) = &self.chain else { return };
        if !self.ladder.replays() || (mutant::is(Mutant::AnswerNotNoted) && matches!(entry.what, What::Answer(..))) {
            return;
        }
        if self.journal.is_empty() && !chain.remembers() && self.journal.replays() == Replays::Compared {
            // There is nothing to make anew: the way back begins here.
            (self.base.watermark, self.base.entries) = (self.seen_watermark, chain.entries());
            self.base_begun = self.begun;
            return;
        }
        self.journal.note(entry, outputs);
        if self.journal.wants_cut() {
            self.commands.push(Command::JournalFull);
        }
    }

    // What comes in.

    /// Returns how far the event time of an input channel is, if it takes an element of it now.
    pub(crate) fn reached(&self, channel: usize) -> Option<Timestamp> {
        self.takes(channel).then(|| self.aligner.reached(channel))
    }

    pub(super) fn element(&mut self, channel: usize, element: Element) -> Result<(), Failure> {
        match element {
            Element::Batch(batch) => {
                self.counters.taken += batch.len() as u64;
                self.aligner.active(channel);
                self.see_idle();
                self.steps.push_back(Step::Run(What::Batch(self.origins[channel].port, batch)));
                Ok(())
            }
            Element::Watermark(watermark) => {
                let combined = self.aligner.watermark(channel, watermark);
                self.advance_watermark_to(combined);
                Ok(())
            }
            Element::Idle => {
                let combined = self.aligner.idle(channel);
                self.advance_watermark_to(combined);
                Ok(())
            }
            Element::Barrier(window) => {
                self.overtaking.said(channel, window);
                self.overtaking.ask(window);
                Ok(())
            }
            Element::Marker(mut marker) => {
                if marker.snapshot {
                    self.overtaking.said(channel, marker.window);
                }
                marker.snapshot &= !self.overtaking.has_taken(marker.window);
                if marker.snapshot {
                    self.timings.heard(marker.window);
                }
                let id = &self.id;
                self.aligner.marker(channel, marker).map_err(|lost| Failure::engine(&*id.operator, lost))?;
                while let Some(ended) = self.aligner.next_ended() {
                    self.end_window(ended, Alignment::Aligned);
                }
                self.see_ended();
                Ok(())
            }
            Element::End => {
                self.aligner.end(channel);
                self.see_ended();
                Ok(())
            }
        }
    }

    fn advance_watermark_to(&mut self, combined: Option<Timestamp>) {
        if let Some(combined) = combined {
            self.advance_watermark(combined);
        }
        self.see_idle();
    }

    /// Says so if everything that comes in has become idle, or is so no more.
    fn see_idle(&mut self) {
        let idle = self.aligner.is_idle();
        if idle != self.idle && !self.finished {
            self.set_idle(idle);
        }
    }

    fn set_idle(&mut self, idle: bool) {
        self.idle = idle;
        self.steps.push_back(if idle { Step::Idle } else { Step::Forward(self.aligner.combined_watermark()) });
    }

    pub(super) fn advance_watermark(&mut self, watermark: Timestamp) {
        if !self.finished {
            self.steps.push_back(Step::Run(What::Watermark(watermark)));
            self.steps.push_back(Step::Forward(watermark));
        }
    }

    pub(super) fn fire_timers(&mut self, now: Timestamp) {
        let due = self.chain.as_ref().and_then(|chain| chain.next_timer()).is_some_and(|at| at <= now);
        if due && self.is_free() && !self.finished {
            self.steps.push_back(Step::Run(What::Timers));
        }
    }

    // What comes back.

    pub(super) fn chain_answered(
        &mut self,
        chain: Option<Box<crate::protocol::chain::Chain>>,
        answer: Result<ChainAnswer, ChainFailure>,
        now: Timestamp,
    ) -> Result<(), Failure> {
        let Some(away) = self.away.take() else {
            return Err(Failure::engine(&*self.id.operator, "operators came back that were not away"));
        };
        self.chain = Some(chain.unwrap_or_else(|| Box::new(self.hollow())));
        match answer {
            Ok(mut answer) => match away {
                Away::Step => {
                    self.mended();
                    let opens = matches!(self.steps.front(), Some(Step::Open { .. }));
                    let asks = std::mem::take(&mut answer.asks);
                    self.step_done(answer)?;
                    self.asked(asks, opens, now);
                    Ok(())
                }
                Away::Notice => {
                    self.mended();
                    self.notice_done();
                    Ok(())
                }
                Away::Restore => self.restored_again(),
                Away::Replay(number, records) => {
                    if !self.asking.ask_again(&answer.asks) {
                        self.asks_otherwise();
                        return Ok(());
                    }
                    self.replayed(number, records, answer)
                }
            },
            Err(failed) => {
                self.entered = None;
                self.chain_failed(away, failed, now)
            }
        }
    }

    pub(super) fn source_answered(
        &mut self,
        source: Option<Box<dyn AnySource>>,
        answer: Result<SourceAnswer, Failure>,
        now: Timestamp,
    ) -> Result<(), Failure> {
        let Some(head) = &mut self.source else {
            return Err(Failure::engine(&*self.id.operator, "a source answered that is not here"));
        };
        let polled = match head.answered(source, answer, now) {
            Ok(SourceNews::Nothing) => return Ok(()),
            Ok(SourceNews::Opened) => {
                self.source_mended();
                return Ok(());
            }
            Ok(SourceNews::Polled(polled)) => polled,
            Err(failure) => return self.source_failed(failure),
        };
        self.outer.source = 0;
        let (done, idle) = (head.done, head.is_idle());
        self.take_in(polled, done);
        if idle != self.idle && !done && !self.finished {
            self.set_idle(idle);
        }
        Ok(())
    }

    /// Queues what the source has read, and perhaps the end.
    pub(super) fn take_in(&mut self, reading: Reading, done: bool) {
        if self.idle && !reading.batches.is_empty() {
            self.set_idle(false);
        }
        for (batch, behind) in reading.batches {
            self.counters.read += batch.len() as u64;
            self.steps.push_back(Step::Run(What::Batch(0, batch)));
            self.advance_source_to(behind);
        }
        self.advance_source_to(reading.behind);
        if done && !self.finished {
            self.ends();
        }
    }

    /// The source has come so far in event time, unless it was further before.
    fn advance_source_to(&mut self, watermark: Timestamp) {
        if watermark > self.aligner.combined_watermark() {
            self.aligner.set_watermark(watermark);
            self.advance_watermark(watermark);
        }
    }

    pub(super) fn sink_answered(
        &mut self,
        sink: Option<Box<dyn AnySink>>,
        answer: Result<UserResult<Option<Vec<u8>>>, Failure>,
        now: Timestamp,
    ) -> Result<(), Failure> {
        let Some(tail) = &mut self.sink else {
            return Err(Failure::engine(&*self.id.operator, "a sink answered that is not here"));
        };
        match tail.answered(sink, answer, now) {
            Ok(SinkNews::Opened) => {
                if !tail.is_being_given() {
                    self.sink_mended(0);
                }
                Ok(())
            }
            Ok(SinkNews::Nothing) => {
                if !tail.is_redoing() {
                    self.outer.sink = 0;
                }
                if tail.wants_cut() {
                    self.commands.push(Command::JournalFull);
                }
                Ok(())
            }
            Ok(SinkNews::Prepared(window)) => match self.steps.front() {
                Some(Step::Prepared(marker)) if marker.window == window => {
                    self.outer.sink = 0;
                    self.steps.pop_front();
                    Ok(())
                }
                _ => Err(Failure::engine(&*self.id.operator, "the sink has prepared a window that was not asked for")),
            },
            Err(failure) => self.sink_failed(failure),
        }
    }
}
