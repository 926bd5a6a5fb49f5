//! What a subtask does about failures of user code, as long as it can deal with them alone.
//!
//! The operators of a chain fail and recover together, the source and the sink each by themselves: a source goes on
//! behind what it has emitted, a sink takes again what it has not yet prepared.

use std::sync::Arc;

use piton_actors::{Timestamp, WindowId};

use super::stream::Step;
use super::{Away, Command, Subtask};
use crate::config::OnPoison;
use crate::protocol::chain::{Base, Chain, ChainFailure, First, Refused, Renewal, What, Work};
use crate::protocol::failure::{ErrorKindTag, Failure, FailureKind, guard};
use crate::protocol::fresh::FreshChunk;
use crate::protocol::journal::Replays;
use crate::protocol::ladder::{Decision, Possible, Purpose, Rung, Then};
use crate::protocol::manifest::{ChunkRef, DeadLetter};
use crate::protocol::mutant::{self, Mutant};
use crate::protocol::sink::SinkTail;

/// Something was restarted alone.
#[derive(Clone, Debug)]
pub struct Restart {
    /// How.
    pub rung: Rung,
    /// How often something of the subtask was restarted alone, this time included.
    pub attempt: u64,
    /// The window that it went back to: the one under way, or that of the snapshot.
    pub window: WindowId,
    /// How many records were replayed.
    pub replayed: u64,
    /// How long the snapshot took, in ns.
    pub restore_ns: u64,
    /// How long the replay took, in ns.
    pub replay_ns: u64,
    /// How long it took from the failure until what had failed was called again and had an answer, in ns.
    pub took_ns: u64,
    /// What had failed.
    pub failure: Failure,
}

/// A recovery of the operators under way.
pub(super) struct Recovery {
    pub(super) phase: Phase,
    then: Then,
    pub(super) report: Report,
}

/// How far it is.
pub(super) enum Phase {
    /// The call is to be taken back.
    Undo,
    /// The snapshot is to be read.
    Load,
    /// It is being read; what of it was not durable when it was asked for is here, for each operator.
    Loading(Vec<Vec<Arc<FreshChunk>>>),
    /// It is to be restored: the chunks of each operator.
    Restore(Vec<Vec<Vec<u8>>>),
    /// The journal is to be replayed from this entry on, and of that from this record on.
    Replay(usize, usize),
    /// What is in hand is to be read again from this record on.
    InHand(usize),
    /// The replay is over.
    Replayed,
    /// Something outside is given time.
    Pause(Timestamp),
    /// The operators are well again.
    Well,
}

/// What is known of a restart so far.
pub(super) struct Report {
    rung: Rung,
    pub(super) failure: Failure,
    window: WindowId,
    began: u64,
    /// When the present part of it began.
    part: u64,
    restore_ns: u64,
    replay_ns: u64,
    pub(super) replayed: u64,
    /// Whether nobody is told: it was nothing but the waiting for something outside, or others are told of it.
    quiet: bool,
}

impl Recovery {
    /// Makes one that nobody is told of.
    pub(super) fn quiet(phase: Phase, then: Then, report: Report) -> Recovery {
        Recovery { phase, then, report: Report { quiet: true, ..report } }
    }

    pub(super) fn waits_until(&self) -> Option<Timestamp> {
        match self.phase {
            Phase::Pause(until) => Some(until),
            _ => None,
        }
    }
}

/// Failures of the source and the sink.
#[derive(Default)]
pub(super) struct Outer {
    /// How often the source has failed in a row.
    pub(super) source: u32,
    /// How often the sink has failed in a row.
    pub(super) sink: u32,
    source_report: Option<Report>,
    sink_report: Option<Report>,
}

impl Subtask {
    /// Makes what stands for operators that are lost.
    pub(super) fn hollow(&self) -> Chain {
        Chain::hollow(self.made_of.clone(), Arc::clone(&self.workshop))
    }

    /// A call of the operators has failed.
    pub(super) fn chain_failed(&mut self, away: Away, failed: ChainFailure, now: Timestamp) -> Result<(), Failure> {
        self.mended();
        let is_opening = away == Away::Step && matches!(self.steps.front(), Some(Step::Open { .. }));
        if failed.failure.is_final() || is_opening {
            return Err(failed.failure);
        }
        if failed.irrevocable {
            return self.replay_instead(failed.failure);
        }
        let purpose = match (away, self.steps.front()) {
            (Away::Notice, _) => Purpose::Hook,
            (_, Some(Step::Run(What::Batch(_, batch)))) => Purpose::Batch(batch.len()),
            (_, Some(Step::Rows { next, .. })) => Purpose::Row(*next),
            (_, Some(Step::Answer(_))) => Purpose::Batch(1),
            _ => Purpose::Other,
        };
        let failed =
            ChainFailure { preparing: failed.preparing || !matches!(away, Away::Step | Away::Notice), ..failed };
        let undo = self.chain.as_ref().is_some_and(|chain| chain.can_undo());
        let possible = Possible { undo, replay: self.journal.is_whole() };
        match self.ladder.failed(&failed, purpose, possible) {
            Decision::Up(why) => self.give_up(failed.failure, why),
            Decision::BeyondJournal => {
                self.beyond_journal(failed.failure, matches!(purpose, Purpose::Batch(_) | Purpose::Row(_)));
            }
            Decision::Recover(rung, then) => {
                let then = match (then, self.recovery.take()) {
                    // It failed on the way back: what was to follow still is.
                    (Then::Again, Some(recovery)) => recovery.then,
                    (then, _) => then,
                };
                let phase = if rung == Rung::Batch { Phase::Undo } else { Phase::Load };
                if then == Then::Later {
                    self.retry.later(now);
                }
                let report = Report { quiet: then == Then::Later, ..self.report(rung, failed.failure) };
                self.recovery = Some(Recovery { phase, then, report });
            }
        }
        Ok(())
    }

    /// The call cannot be taken back: its snapshot and journal serve, too.
    fn replay_instead(&mut self, failure: Failure) -> Result<(), Failure> {
        self.ladder.cannot_undo();
        let Some(recovery) = &mut self.recovery else { return Err(failure) };
        (recovery.phase, recovery.report.rung, recovery.report.window) =
            (Phase::Load, Rung::Operator, self.base.window);
        if !self.journal.is_whole() {
            let failure = recovery.report.failure.clone();
            let front = self.steps.front().filter(|_| self.notices.is_empty());
            self.beyond_journal(failure, matches!(front, Some(Step::Run(What::Batch(..)) | Step::Rows { .. })));
        }
        Ok(())
    }

    /// There is no way back but that of the region.
    fn beyond_journal(&mut self, failure: Failure, for_records: bool) {
        let is_sought = for_records && self.ladder.on_poison() != OnPoison::Fail;
        let is_unavailable = failure.kind == FailureKind::Error(ErrorKindTag::Unavailable);
        let is_evidence = !is_unavailable && !failure.is_injected;
        let failure = Failure { beyond_journal: is_sought && is_evidence, ..failure };
        self.give_up(failure, Some("its journal is full (recovery.journal): it cannot be replayed".into()));
    }

    fn report(&self, rung: Rung, failure: Failure) -> Report {
        let began = (self.stopwatch)();
        let window = if rung == Rung::Batch { self.window.next() } else { self.base.window };
        Report { rung, failure, window, began, part: began, restore_ns: 0, replay_ns: 0, replayed: 0, quiet: false }
    }

    fn restarted(&mut self, report: Report) {
        if report.quiet {
            return;
        }
        self.restarts += 1;
        self.commands.push(Command::Restarted(Box::new(Restart {
            rung: report.rung,
            attempt: self.restarts,
            window: report.window,
            replayed: report.replayed,
            restore_ns: report.restore_ns,
            replay_ns: report.replay_ns,
            took_ns: (self.stopwatch)().saturating_sub(report.began),
            failure: report.failure,
        })));
    }

    /// What had failed was called again: the restart is over, however that call went.
    pub(super) fn mended(&mut self) {
        if let Some(report) = self.mending.take() {
            self.restarted(report);
        }
    }

    /// Goes on with the recovery; returns whether there may be more to do.
    pub(super) fn recover(&mut self, now: Timestamp) -> Result<bool, Failure> {
        let Some(recovery) = &mut self.recovery else { return Ok(true) };
        match std::mem::replace(&mut recovery.phase, Phase::Well) {
            Phase::Undo => {
                let window = if mutant::is(Mutant::WindowNotBegunAgain) { None } else { self.begun };
                let renewal = Renewal { told: self.told, window };
                self.call(Away::Restore, First::Undo(renewal), Work::Nothing)?;
                Ok(false)
            }
            Phase::Load => {
                if !self.rewind()? {
                    self.go_on_with(Phase::Load);
                    return Ok(false);
                }
                let Some(recovery) = &mut self.recovery else { return Ok(true) };
                let (refs, waiting) = (self.lineage.durable(), self.lineage.waiting());
                recovery.phase = Phase::Loading(waiting);
                if refs.iter().flatten().any(|chunk| matches!(chunk, ChunkRef::Blob { .. })) {
                    self.commands.push(Command::Load(refs));
                    return Ok(false);
                }
                let inline = |chunk: ChunkRef| match chunk {
                    ChunkRef::Inline { bytes } => Some(bytes),
                    ChunkRef::Blob { .. } => None,
                };
                let states = refs.into_iter().map(|chunks| chunks.into_iter().filter_map(inline).collect()).collect();
                self.loaded(Ok(states))?;
                Ok(true)
            }
            Phase::Loading(waiting) => {
                recovery.phase = Phase::Loading(waiting);
                Ok(false)
            }
            Phase::Restore(states) => {
                recovery.phase = Phase::Replay(0, 0);
                self.asking.begin_again();
                let base = Base { states, ..self.base.clone() };
                let renewal = Renewal { told: self.told, window: self.base_begun };
                self.call(Away::Restore, First::Restore(Box::new(base), renewal), Work::Nothing)?;
                Ok(false)
            }
            Phase::Replay(number, records) => self.replay(number, records),
            Phase::InHand(checked) => self.read_in_hand(checked),
            Phase::Replayed => {
                let now = (self.stopwatch)();
                recovery.report.replay_ns = now.saturating_sub(recovery.report.part);
                let replayed = recovery.report.replayed;
                if !self.asking.is_as_before() {
                    self.asks_otherwise();
                    return Ok(true);
                }
                self.end_replay(replayed);
                Ok(true)
            }
            Phase::Pause(until) => {
                if now < until {
                    recovery.phase = Phase::Pause(until);
                    return Ok(false);
                }
                recovery.then = Then::Again;
                Ok(true)
            }
            Phase::Well => {
                if recovery.then == Then::Later {
                    recovery.phase = Phase::Pause(self.retry.at().unwrap_or(now));
                    return Ok(true);
                }
                self.well();
                Ok(true)
            }
        }
    }

    /// The chunks of the snapshot have been read.
    pub(super) fn loaded(&mut self, result: Result<Vec<Vec<Vec<u8>>>, String>) -> Result<(), Failure> {
        let Some(recovery) = &mut self.recovery else { return Ok(()) };
        let Phase::Loading(waiting) = &mut recovery.phase else { return Ok(()) };
        let waiting = std::mem::take(waiting);
        let all = result.and_then(|mut states| {
            if !mutant::is(Mutant::UnwrittenForgotten) {
                for (state, waiting) in states.iter_mut().zip(waiting) {
                    for chunk in waiting {
                        state.push(FreshChunk::take(chunk)?);
                    }
                }
            }
            Ok(states)
        });
        match all {
            Ok(states) => {
                // Of the operators alone: the source stands before them, the sink behind.
                let first = usize::from(self.source.is_some());
                let operators = self.made_of.names.len();
                recovery.phase = Phase::Restore(states.into_iter().skip(first).take(operators).collect());
            }
            Err(reason) => {
                let failure = recovery.report.failure.clone();
                self.give_up(failure, Some(format!("its snapshot cannot be read: {reason}")));
            }
        }
        Ok(())
    }

    /// The operators stand where their snapshot does, or where they stood before the call that failed.
    pub(super) fn restored_again(&mut self) -> Result<(), Failure> {
        let Some(recovery) = &mut self.recovery else { return Ok(()) };
        let now = (self.stopwatch)();
        recovery.report.restore_ns = now.saturating_sub(recovery.report.part);
        recovery.report.part = now;
        Ok(())
    }

    /// The operators are well again: what has failed is called again, or left out.
    fn well(&mut self) {
        let Some(Recovery { then, report, .. }) = self.recovery.take() else { return };
        match then {
            Then::Again | Then::Later => {}
            Then::Nothing => return self.restarted(report),
            Then::Rows => {
                if let Some(Step::Run(What::Batch(port, batch))) = self.steps.front() {
                    let rows = Step::Rows { port: *port, batch: batch.clone(), next: 0 };
                    self.steps[0] = rows;
                }
            }
            Then::Sifted => self.sifting = true,
            Then::Poison => {
                let failure = report.failure.clone();
                if let Some(Step::Answer(answered)) = self.steps.front_mut() {
                    // It is given up instead.
                    (answered.answer, answered.failure) = (None, Some(failure));
                    self.mending = Some(report);
                    return;
                }
                let one = match self.steps.front_mut() {
                    Some(Step::Run(What::Batch(_, batch))) => batch.clone(),
                    Some(Step::Rows { batch, next, .. }) => batch.slice(*next..*next + 1),
                    _ => return,
                };
                let done = match self.steps.front_mut() {
                    Some(Step::Rows { batch, next, .. }) => {
                        *next += 1;
                        *next >= batch.len()
                    }
                    _ => true,
                };
                self.set_aside(&one, &failure);
                self.journal.note_set_aside(&one);
                if done {
                    self.steps.pop_front();
                    self.ladder.progressed();
                }
                self.restarted(report);
                return;
            }
        }
        self.mending = Some(report);
    }

    /// A record was left out, because its consumer cannot tell its key.
    pub(super) fn refused(&mut self, refused: Refused) {
        self.set_aside(&refused.batch, &refused.failure);
    }

    pub(super) fn set_aside(&mut self, one: &piton_actors::Batch, failure: &Failure) {
        self.set_aside += 1;
        let letter = DeadLetter {
            operator: failure.operator.clone(),
            subtask: self.id.clone(),
            number: self.set_aside,
            window: self.window.next(),
            position: self.counters.taken.max(self.counters.read),
            reason: failure.message.clone(),
            record: one.show(0),
            kept: self.ladder.on_poison() == OnPoison::DeadLetter,
        };
        if letter.kept && !mutant::is(Mutant::LetterForgotten) {
            self.letters.push((None, letter.clone()));
        }
        self.commands.push(Command::SetAside(Box::new(letter)));
    }

    // The source and the sink.

    pub(super) fn source_failed(&mut self, failure: Failure) -> Result<(), Failure> {
        if let Some(report) = self.outer.source_report.take() {
            self.restarted(report);
        }
        let Some(head) = &mut self.source else { return Err(failure) };
        if failure.is_final() || !head.replayable() {
            return Err(failure);
        }
        self.outer.source += 1;
        match self.ladder.outer_failed(self.outer.source) {
            Decision::Up(why) => self.give_up(failure, why),
            Decision::BeyondJournal => self.give_up(failure, None),
            Decision::Recover(rung, _) => {
                if head.is_rereading() {
                    head.lose_thread();
                } else {
                    head.renew(guard(&head.name, || self.workshop.source())?);
                }
                self.outer.source_report = Some(self.report(rung, failure));
            }
        }
        Ok(())
    }

    pub(super) fn source_mended(&mut self) {
        if let Some(report) = self.outer.source_report.take() {
            self.restarted(report);
        }
    }

    pub(super) fn sink_failed(&mut self, failure: Failure) -> Result<(), Failure> {
        if let Some(report) = self.outer.sink_report.take() {
            self.restarted(report);
        }
        let Some(tail) = &mut self.sink else { return Err(failure) };
        let can_be_made = self.journal.replays() == Replays::Compared || self.journal.is_whole();
        if failure.is_final() || !tail.can_renew() || !can_be_made {
            return Err(failure);
        }
        self.outer.sink += 1;
        match self.ladder.outer_failed(self.outer.sink) {
            Decision::Up(why) => self.give_up(failure, why),
            Decision::BeyondJournal => self.give_up(failure, None),
            Decision::Recover(rung, _) => {
                // Without entries, the operators stand where it does.
                let is_made_again = self.journal.replays() != Replays::Compared;
                if is_made_again && (!self.journal.is_empty() || tail.is_being_given()) {
                    tail.lose();
                    self.outer.sink_report = Some(self.report(rung, failure));
                    return Ok(());
                }
                let replayed = tail.renew(guard(&tail.name, || self.workshop.sink())?);
                let report = self.report(rung, failure);
                self.outer.sink_report = Some(Report { replayed, ..report });
            }
        }
        Ok(())
    }

    /// A sink was lost that only the operators can give again what it had taken: they do, as soon as they are well.
    pub(super) fn see_sink(&mut self) {
        if self.recovery.is_none() && self.sink.as_ref().is_some_and(SinkTail::is_lost) {
            let failure = self.outer.sink_report.as_ref().map(|report| report.failure.clone());
            let name = self.sink_name().to_string();
            let failure = failure.unwrap_or_else(|| Failure::engine(name, "the sink is lost"));
            let report = self.report(Rung::Operator, failure);
            self.recovery = Some(Recovery::quiet(Phase::Load, Then::Nothing, report));
        }
    }

    /// A fresh sink is open, and was given again so many records in a replay.
    pub(super) fn sink_mended(&mut self, replayed: u64) {
        if let Some(report) = self.outer.sink_report.take() {
            let replayed = report.replayed + replayed;
            self.restarted(Report { replayed, ..report });
        }
    }
}
