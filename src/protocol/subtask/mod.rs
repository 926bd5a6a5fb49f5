//! One subtask: inputs → operators → outputs, windows, cuts and commits, as a plain state machine.
//!
//! A driver (the actor in production, the simulator in tests) feeds it [`Event`]s and carries out its [`Command`]s;
//! it moves elements from the mailbox in while [`Subtask::takes`] says so, and from the outbox to the consumers'
//! mailboxes while these have room. Nothing here knows a clock, a thread or a disk, and no user code runs here: the
//! source, the chain of operators and the sink travel out with their calls and come back with the answers.
//!
//! The life of a subtask: `Start` restores and opens the operators and asks for the source or sink to be opened; the
//! restored window is told as committed; [`Command::Ready`]. From then on, for every snapshot marker:
//!
//! ```text
//! end_window → before_checkpoint → (sink: prepare) → cut → marker goes on → write → checkpointed → Ack
//!                                                            … all acks, commit …  → Committed → committed → Told
//! ```
//!
//! Whatever is to be done in order waits in `steps`; one that needs the operators is done when they have come
//! back from it. A failure of user code is dealt with here as long as the [ladder](super::ladder) says so; then
//! neighbours notice a pause, and nothing else. What goes beyond is [`Command::Failed`], after which the subtask does
//! nothing any more: it is dropped and made anew by whoever restarts its region.

mod answers;
mod checkpoint;
mod ending;
mod interface;
mod looks;
mod opening;
mod overtaking;
mod recovery;
mod replay;
mod stream;
mod timing;

use std::collections::VecDeque;
use std::sync::Arc;

use piton_actors::{Batch, Timestamp, WATERMARK_MIN, WindowId};

pub use self::interface::{Ack, Command, Counters, Declined, Event, Restored, Stopwatch, SubtaskSpec, Why};
use self::overtaking::Overtaking;
pub use self::recovery::Restart;
use self::recovery::{Outer, Recovery, Report};
use self::stream::Step;
pub use self::timing::Timing;
use self::timing::Timings;
use crate::ids::{Fence, SubtaskId};
use crate::protocol::align::Aligner;
use crate::protocol::asking::Asking;
use crate::protocol::chain::{Base, Chain, ChainSpec, Entry, MAIN, Notice, Routed};
use crate::protocol::element::{Alignment, Behind, Marker};
use crate::protocol::failure::{Failure, guard};
use crate::protocol::journal::{Journal, Replays};
use crate::protocol::ladder::Ladder;
use crate::protocol::lineage::{Cut, Lineage};
use crate::protocol::manifest::{DeadLetter, Origin};
use crate::protocol::mutant::{self, Mutant};
use crate::protocol::output::Outputs;
use crate::protocol::sink::{Retry, SinkTail};
use crate::protocol::source::SourceHead;
use crate::protocol::workshop::Workshop;

/// The state machine. See the module.
pub struct Subtask {
    id: SubtaskId,
    fence: Fence,
    workshop: Arc<dyn Workshop>,
    source: Option<SourceHead>,
    /// Nothing while a call is under way.
    chain: Option<Box<Chain>>,
    /// What the chain is away for.
    away: Option<Away>,
    sink: Option<SinkTail>,
    origins: Vec<Origin>,
    aligner: Aligner,
    asking: Asking,
    outputs: Outputs,
    state: State,
    /// What is to be done next, in order.
    steps: VecDeque<Step>,
    /// Hooks that are to be called as soon as the chain is here, whatever waits in `steps`.
    notices: VecDeque<(Notice, Option<Box<Cut>>)>,
    /// What the chain is made of.
    made_of: ChainSpec,
    /// Where the way back of the operators begins, but for the chunks.
    base: Base,
    /// The window that the operators were in there, if one had begun.
    base_begun: Option<WindowId>,
    /// Where the source was there, how many records the sink had been given, and whether up to its end.
    base_position: Option<Vec<u8>>,
    base_written: u64,
    base_drained: bool,
    /// Whether its consumers were told that they need not wait for its watermark.
    idle: bool,
    /// The last watermark that the operators have seen.
    seen_watermark: Timestamp,
    /// What the operators see at the moment.
    entered: Option<Entry>,
    /// Whether records of the output whose key cannot be computed are left out, for this step.
    sifting: bool,
    /// Counts the waiting of operators for something that is unavailable.
    retry: Retry,
    /// The newest committed window that the operators were told.
    told: WindowId,
    /// The window that has begun last at the operators.
    begun: Option<WindowId>,
    journal: Journal,
    ladder: Ladder,
    recovery: Option<Recovery>,
    /// A restart after which what had failed has not been called again yet.
    mending: Option<Report>,
    /// Failures of the source and of the sink that are not mended yet.
    outer: Outer,
    /// How often something was restarted alone.
    restarts: u64,
    /// Records that were set aside, as long as no committed checkpoint holds them, with the first one that lists them.
    letters: Vec<(Option<WindowId>, DeadLetter)>,
    /// How many records were set aside since the job began.
    set_aside: u64,
    /// The last window that has ended.
    window: WindowId,
    /// The restored window, until it was told.
    restored: WindowId,
    /// Whether its snapshot was taken within a window.
    within: bool,
    /// Whether the operators are closed.
    finished: bool,
    /// Whether the sink was asked to prepare what it took up to its end: it is not asked again.
    drained: bool,
    /// Markers of the coordinator that a source has not yet sent.
    closes: VecDeque<(Marker, Behind, Alignment)>,
    overtaking: Overtaking,
    /// Whether its source is to read nothing more.
    held: bool,
    /// Whether its source is to come to its end.
    draining: bool,
    /// Whether its input has ended, and its operators hear of that when no record waits for an answer.
    ending: bool,
    lineage: Lineage,
    /// Windows that were told as committed and whose outputs are not yet all published.
    publishing: VecDeque<WindowId>,
    commands: Vec<Command>,
    counters: Counters,
    timings: Timings,
    key_groups: u32,
    stopwatch: Stopwatch,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Created,
    Opening,
    Running,
    Failed,
}

/// What a chain is away for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Away {
    /// The first of the steps.
    Step,
    /// The first of the notices.
    Notice,
    /// The snapshot is restored.
    Restore,
    /// This entry of the journal, or of it the records up to this number, if that is not 0.
    Replay(usize, usize),
}

impl Subtask {
    /// Makes a subtask; it begins with [`Event::Start`].
    ///
    /// # Errors
    /// If something cannot be made.
    pub fn new(spec: SubtaskSpec) -> Result<Subtask, Failure> {
        let workshop = Arc::clone(&spec.workshop);
        let named = |name: &str| piton_actors::Subtask { operator: name.into(), ..spec.info.clone() };
        let source = match &spec.source {
            None => None,
            Some((name, event_time)) => {
                let source = guard(name, || workshop.source())?;
                Some(SourceHead::new(name.clone(), source, named(name), *event_time))
            }
        };
        let made_of = opening::made_of(&spec);
        let chain = Chain::new(made_of.clone(), Arc::clone(&workshop))?;
        let mut replays = Replays::Compared;
        let sink = match &spec.sink {
            None => None,
            Some(name) => Some({
                let sink = guard(name, || workshop.sink())?;
                replays = replay::replays(&spec, source.as_ref(), Some(sink.delivery()));
                SinkTail::new(name.clone(), sink, named(name), replay::redo(&spec, replays))
            }),
        };
        let rows = spec.batch_rows;
        let outputs = Outputs::new(spec.outputs, |exit, channels| {
            let side = exit.checked_sub(MAIN + 1).map(|side| spec.sides[side].output.scatter(channels, rows));
            let end = || chain.scatter(channels, rows).or(source.as_ref().map(|source| source.scatter(channels, rows)));
            let scatter = side.or_else(end);
            scatter.expect("only a sink can be without operators and source, and it has no outputs")
        });
        let asking = Asking::new(spec.operators.last().map_or("", String::as_str));
        let names = spec.source.iter().map(|(name, _)| name.clone()).chain(spec.operators).chain(spec.sink);
        Ok(Subtask {
            lineage: Lineage::new(spec.id.clone(), spec.region, spec.fence, names.collect()),
            id: spec.id,
            fence: spec.fence,
            workshop,
            source,
            chain: Some(Box::new(chain)),
            away: None,
            sink,
            aligner: Aligner::new(spec.inputs.len(), WindowId::NONE, spec.aligned),
            overtaking: Overtaking::new(spec.inputs.len()),
            asking,
            origins: spec.inputs,
            outputs,
            state: State::Created,
            steps: VecDeque::new(),
            notices: VecDeque::new(),
            made_of,
            base: Base { watermark: WATERMARK_MIN, ..Base::default() },
            base_begun: None,
            base_position: None,
            base_written: 0,
            base_drained: false,
            idle: false,
            seen_watermark: WATERMARK_MIN,
            entered: None,
            sifting: false,
            retry: Retry::default(),
            told: WindowId::NONE,
            begun: None,
            journal: Journal::new(spec.ladder.journal, replays),
            ladder: Ladder::new(spec.ladder),
            recovery: None,
            mending: None,
            outer: Outer::default(),
            restarts: 0,
            letters: Vec::new(),
            set_aside: 0,
            window: WindowId::NONE,
            restored: WindowId::NONE,
            within: false,
            finished: false,
            drained: false,
            closes: VecDeque::new(),
            held: false,
            draining: false,
            ending: false,
            publishing: VecDeque::new(),
            commands: Vec::new(),
            counters: Counters::default(),
            timings: Timings::default(),
            key_groups: spec.info.key_groups,
            stopwatch: spec.stopwatch,
        })
    }

    /// Takes an event; what is to be done about it is in [`Subtask::commands`] afterwards.
    pub fn on(&mut self, event: Event, now: Timestamp) {
        if self.state == State::Failed {
            return;
        }
        self.timings.at(now);
        let done = self.handle(event, now).and_then(|()| self.advance(now));
        self.commands.extend(self.asking.commands().map(Command::Ask));
        if let Err(failure) = done {
            self.give_up(failure, None);
        }
    }

    fn give_up(&mut self, failure: Failure, why: Option<String>) {
        self.state = State::Failed;
        self.commands.push(Command::Failed(failure, why));
    }

    /// Returns the commands given since the last call.
    pub fn commands(&mut self) -> std::vec::Drain<'_, Command> {
        self.commands.drain(..)
    }

    /// Returns its name.
    pub fn id(&self) -> &SubtaskId {
        &self.id
    }

    /// Returns the life it was made for.
    pub fn fence(&self) -> Fence {
        self.fence
    }

    /// Returns whether it has failed.
    pub fn has_failed(&self) -> bool {
        self.state == State::Failed
    }

    /// Returns whether it is ready to work: everything before it is seen through.
    pub fn is_free(&self) -> bool {
        self.state == State::Running
            && self.steps.is_empty()
            && self.is_at_rest()
            && self.outputs.is_clear()
            && !self.overtaking.is_asked()
            && self.sink.as_ref().is_none_or(SinkTail::is_quiet)
    }

    /// Returns whether the operators are here and well.
    fn is_at_rest(&self) -> bool {
        self.away.is_none() && self.notices.is_empty() && self.recovery.is_none()
    }

    /// Returns whether its source may be polled, as far as it goes for the rest of it.
    fn may_poll(&self) -> bool {
        self.is_free() && !self.held && !self.asking.is_full()
    }

    /// Returns whether it takes an element of this input channel now.
    pub fn takes(&self, channel: usize) -> bool {
        self.is_free() && self.aligner.is_open(channel) && !self.overtaking.has_restored() && !self.asking.is_full()
    }

    fn handle(&mut self, event: Event, now: Timestamp) -> Result<(), Failure> {
        match event {
            Event::Start(restored) => self.start(restored, now),
            Event::Element(channel, element) => {
                debug_assert!(self.takes(channel), "an element was delivered that is not taken");
                self.element(channel, element)
            }
            Event::CloseWindow(marker, behind, alignment, slowest) => {
                if let Some(source) = &mut self.source {
                    source.drift.hear(slowest);
                }
                if marker.snapshot {
                    self.timings.heard(marker.window);
                }
                self.closes.push_back((marker, behind, alignment));
                Ok(())
            }
            Event::Heard(window) => {
                self.timings.heard(window);
                self.overtaking.ask(window);
                Ok(())
            }
            Event::Captured(window, channels) => {
                self.captured(window, channels);
                Ok(())
            }
            Event::Overtake(window) => {
                self.wait_no_more(window);
                Ok(())
            }
            Event::Drain => {
                self.draining = true;
                Ok(())
            }
            Event::Chain(chain, answer) => self.chain_answered(chain, answer, now),
            Event::Answered(attempt, answer) => self.asking.answered(attempt, answer, now),
            Event::RequestsLost(failure, culprit) => self.asking.lost(&failure, culprit, now),
            Event::Source(source, answer) => self.source_answered(source, answer, now),
            Event::Sink(sink, answer) => self.sink_answered(sink, answer, now),
            Event::Written(window, result) => self.written(window, result),
            Event::Loaded(result) => self.loaded(result),
            Event::Committed(window) => {
                self.committed(window);
                Ok(())
            }
            Event::Wake => {
                self.asking.wake(now)?;
                self.fire_timers(now);
                Ok(())
            }
            Event::Idle => {
                if self.state == State::Running && self.steps.is_empty() {
                    self.outputs.flush();
                }
                Ok(())
            }
        }
    }

    /// Goes on with whatever has become possible.
    fn advance(&mut self, now: Timestamp) -> Result<(), Failure> {
        if self.state == State::Created {
            return Ok(());
        }
        while self.state != State::Failed && self.next(now)? {}
        if self.state == State::Failed {
            return Ok(());
        }
        if let Some(sink) = &mut self.sink
            && let Some((call, sink)) = sink.next_call(now)
        {
            self.commands.push(Command::Sink(call, sink));
        }
        let may_poll = self.may_poll();
        if let Some(source) = &mut self.source
            && let Some((call, source)) = source.next_call(now, may_poll)
        {
            self.commands.push(Command::Source(call, source));
        }
        self.see_published();
        Ok(())
    }

    /// Does the next thing there is to do; returns whether there may be more.
    fn next(&mut self, now: Timestamp) -> Result<bool, Failure> {
        if self.away.is_some() {
            return Ok(false);
        }
        self.see_sink();
        if self.recovery.is_some() {
            return self.recover(now);
        }
        if let Some((notice, _)) = self.notices.front() {
            let notice = *notice;
            self.tell(notice)?;
            return Ok(true);
        }
        if !self.steps.is_empty() {
            return if self.awaits_answers() { Ok(self.take_answer()) } else { self.step(now) };
        }
        if self.state == State::Opening {
            return self.see_opened();
        }
        if let Some(window) = self.overtaking.asked()
            && self.may_cut()
        {
            self.overtake(window);
            return Ok(true);
        }
        if self.take_answer() {
            return Ok(true);
        }
        if self.ending && self.is_free() && !self.asking.is_waiting() {
            self.end();
            return Ok(true);
        }
        if self.is_free()
            && !self.asking.is_full()
            && let Some((channel, element)) = self.overtaking.next_restored()
        {
            self.element(channel, element.into())?;
            return Ok(true);
        }
        // A poll under way belongs to the window that it began in: its rows come before the marker.
        let is_here = self.source.as_ref().is_none_or(SourceHead::is_here) || mutant::is(Mutant::PollBeyondMarker);
        let waits = self.closes.front().is_none_or(|(.., alignment)| *alignment == Alignment::Aligned);
        if (self.is_free() || (!waits && self.may_cut()))
            && is_here
            && !self.source.as_ref().is_some_and(|source| source.is_owed_turn(now, self.may_poll()))
            && let Some((marker, behind, alignment)) = self.closes.pop_front()
        {
            if let Some(source) = &mut self.source {
                source.closed();
            }
            self.held = behind == Behind::Hold;
            self.end_window(marker, alignment);
            self.steps.push_back(Step::Closed(marker.window));
            return Ok(true);
        }
        if self.draining
            && self.is_free()
            && !self.finished
            && !self.ending
            && let Some(source) = self.source.as_mut().filter(|source| source.is_here())
        {
            source.done = true;
            self.ends();
            return Ok(true);
        }
        Ok(false)
    }

    /// Sends what has come out of the operators on its way: to the sink, or to others.
    fn deliver(&mut self, port: usize, outputs: Vec<Routed>) {
        for mut routed in outputs {
            match &mut self.sink {
                Some(sink) if routed.exit == MAIN => {
                    self.counters.written += routed.batch.len() as u64;
                    sink.write(port, Batch::clone(&routed.batch));
                }
                _ => self.outputs.send(&routed),
            }
            if let Some(chain) = &mut self.chain {
                chain.recycle(routed.hashes.drain(..));
            }
        }
    }
}
