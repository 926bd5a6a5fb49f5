//! The world of one run: everything there is, and the clock.
//!
//! It drives the very state machines that production drives, on one thread, with time that passes only when the
//! schedule says so. The process of the job can end at any step; the disk and the outside outlive it.

mod process;
mod strike;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use piton_actors::WindowId;

use crate::chaos::invariants::{InvariantId, Verdict, Violation};
use crate::config::{Mode, OnPoison, Scope};
use crate::ids::{Fence, SubtaskId};
use crate::protocol::ladder::LadderSettings;
use crate::protocol::manifest::PendingOutput;
use crate::protocol::region::{self, Region};
use crate::runtime::build::Common;
use crate::sim::attempt::{Running, Targets};
use crate::sim::coverage::Coverage;
use crate::sim::data::Moved;
use crate::sim::faults::{CommitFailure, Planned};
use crate::sim::happening::Happening;
use crate::sim::history::Plain;
use crate::sim::job::{Job, Poison, Variant};
use crate::sim::judge::Judge;
use crate::sim::outside::Outside;
use crate::sim::patience::Patience;
use crate::sim::random::Random;
use crate::sim::settings::Settings;
use crate::sim::storage::Storage;
use crate::sim::trace::Trace;
use crate::sim::{Course, Stats};

/// The virtual time at which every run begins, in ms.
const BEGIN: i64 = 1_000_000;

/// After so long without a fault, in ms, nothing is slow any more.
const SETTLE_MS: i64 = 5_000;

/// See the module.
pub(crate) struct World<'a> {
    /// The job, with the parallelism that it has now.
    pub(crate) job: &'a Job,
    pub(crate) variants: &'a [Variant],
    /// Which of them it is.
    variant: usize,
    /// Whether it is to be another one when the process starts the next time.
    rescaling: bool,
    pub(crate) expected: &'a mut dyn Judge,
    pub(crate) settings: Settings,
    pub(crate) common: Common,
    pub(crate) outside: Outside,
    pub(crate) storage: Storage,
    pub(crate) trace: Trace,
    pub(crate) schedule: Random,
    pub(crate) now: i64,
    pub(crate) step: u64,
    pub(crate) regions: Vec<RegionRun>,
    pub(crate) stats: Stats,
    /// How many of the next storage jobs take so many ms.
    pub(crate) slow_storage: (u64, u64),
    /// How many of the next commits fail after so many ms, and how.
    pub(crate) failing_commits: Option<(u64, u64, CommitFailure)>,
    /// How many of the next snapshots cannot be written.
    pub(crate) refused_writes: u64,
    /// How many of the next messages take so many ms.
    pub(crate) slow_messages: (u64, u64),
    /// Which subtask loses its operators in the next call of them.
    pub(crate) losing: Option<(usize, usize)>,
    /// Which subtask gets no turn until when.
    pub(crate) stalled: Option<(usize, usize, i64)>,
    queue: BTreeMap<(i64, u64), Happening>,
    sequence: u64,
    /// The number of the last record that each subtask is known to have set aside.
    pub(crate) letters: BTreeMap<(usize, SubtaskId), u64>,
    /// The newest window that each sink's subtask has shown.
    pub(crate) shown: BTreeMap<SubtaskId, WindowId>,
    /// How often each record was set aside, as committed checkpoints say.
    pub(crate) set_aside: BTreeMap<String, u64>,
    faults: VecDeque<Planned>,
    pub(crate) coverage: Coverage,
    /// When something went wrong last, and at which step.
    pub(crate) last_fault: (i64, u64),
    /// When a record was taken last, and at which step.
    pub(crate) last_move: (i64, u64),
    patience: Patience,
    over: bool,
    refused: Option<String>,
    /// Whether it took more steps than patience lets it, although records were moving.
    pub(crate) is_exhausted: bool,
}

/// One region of the world.
pub(crate) struct RegionRun {
    /// Nothing while the process is down.
    pub(crate) machine: Option<Region>,
    pub(crate) attempt: Option<Attempt>,
    /// What the last attempt had prepared, by subtask: what of it is above the next attempt's window is aborted.
    pub(crate) unpublished: BTreeMap<usize, Vec<PendingOutput>>,
    /// The attempt that ran when the store was opened again: what it had kept since its last commit may be gone.
    pub(crate) bereft: Option<Fence>,
    /// Whether records may have been under way between subtasks at its head.
    pub(crate) under_way: bool,
    /// How many joined outputs the store is known to hold.
    pub(crate) joined: usize,
    pub(crate) ended: Ended,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    No,
    Stopped,
    Finished,
}

/// One attempt of a region, whose subtasks are made.
pub(crate) struct Attempt {
    pub(crate) fence: Fence,
    pub(crate) subtasks: Vec<Running>,
    /// Of each subtask.
    pub(crate) targets: Vec<Targets>,
    /// When the last message from each subtask to its coordinator arrives: messages do not overtake each other.
    pub(crate) upward: Vec<i64>,
    /// When the last message to each subtask arrives.
    pub(crate) downward: Vec<i64>,
}

impl<'a> World<'a> {
    pub(crate) fn new(
        variants: &'a [Variant],
        expected: &'a mut dyn Judge,
        outside: Outside,
        course: &Course,
        mode: Mode,
    ) -> World<'a> {
        let (job, seed) = (&variants[0].job, course.seed);
        let mut settings = Settings::draw(&mut Random::new(seed, "settings"), mode);
        settings.checkpoint.timeout_ms = settings.checkpoint.timeout_ms.max(job.waits_ms());
        let common = Common {
            key_groups: job.key_groups,
            seed: job.seed,
            batch_rows: settings.batch_rows,
            mailbox_capacity: settings.mailbox,
            aligned: settings.mode == Mode::ExactlyOnce,
            overtakes: settings.checkpoint.aligned_timeout_ms.is_some(),
            ladder: ladder(settings.ladder, job.poison),
            stopwatch: Arc::new(|| 0),
        };
        let region = |_| RegionRun {
            machine: None,
            attempt: None,
            unpublished: BTreeMap::new(),
            bereft: None,
            joined: 0,
            under_way: false,
            ended: Ended::No,
        };
        World {
            settings,
            common,
            outside,
            storage: Storage::new(seed),
            trace: Trace::new(course.trace),
            schedule: Random::new(seed, "schedule"),
            now: BEGIN,
            step: 0,
            regions: job.regions.iter().map(region).collect(),
            stats: Stats::default(),
            slow_storage: (0, 0),
            failing_commits: None,
            refused_writes: 0,
            slow_messages: (0, 0),
            losing: None,
            stalled: None,
            queue: BTreeMap::new(),
            sequence: 0,
            letters: BTreeMap::new(),
            shown: BTreeMap::new(),
            set_aside: BTreeMap::new(),
            faults: course.faults.faults.iter().cloned().collect(),
            coverage: Coverage::default(),
            last_fault: (BEGIN, 0),
            last_move: (BEGIN, 0),
            patience: course.patience,
            over: false,
            refused: None,
            is_exhausted: false,
            job,
            variants,
            variant: 0,
            rescaling: false,
            expected,
        }
    }

    /// Runs until the job has ended, a promise was broken or the store has refused.
    ///
    /// # Errors
    /// The promise that was broken.
    pub(crate) fn run(&mut self) -> Result<Option<String>, Violation> {
        self.at(self.now, Happening::Boot);
        while !self.over {
            self.step += 1;
            self.strike();
            self.one_step();
            self.look()?;
        }
        if self.refused.is_some() {
            return Ok(self.refused.take());
        }
        self.stats.calm_steps = self.step - self.last_fault.1;
        self.look()?;
        self.expected.ended(&self.set_aside, &self.common.ladder)?;
        let skips = self.common.ladder.on_poison == OnPoison::Skip;
        let is_excused = |row: &str| skips || self.set_aside.contains_key(row);
        if let Some(history) = self.expected.history() {
            history.ended(&Plain { variants: self.variants, common: &self.common, is_excused: &is_excused })?;
        }
        self.verify()?;
        Ok(None)
    }

    /// Returns what was counted.
    pub(crate) fn stats(&self) -> Stats {
        let (rows, doubled) = self.expected.visible();
        Stats { steps: self.step, rows, doubled, virtual_ms: (self.now - BEGIN) as u64, ..self.stats }
    }

    fn verify(&mut self) -> Verdict {
        if self.storage.may_refuse() {
            return Ok(());
        }
        match self.storage.verify() {
            Ok(()) => Ok(()),
            Err(damage) => Err(InvariantId::CheckpointRestorable.broken(damage)),
        }
    }

    /// Breaks off if a promise was broken, or if nothing moves any more.
    fn look(&mut self) -> Verdict {
        self.look_at_shown()?;
        let mut state = self.outside.lock();
        if let Some(violation) = state.violation.take() {
            return Err(violation);
        }
        let struck = std::mem::take(&mut state.struck);
        drop(state);
        if !struck.is_empty() {
            self.stats.faults += struck.len() as u64;
            self.last_fault = (self.now, self.step);
            let phases = self.phases();
            struck.into_iter().for_each(|act| self.coverage.note(act.kind(), &phases));
        }
        if let Some(message) = self.is_stuck() {
            if self.storage.may_refuse() {
                // A checkpoint that needs what is damaged never completes.
                self.refuse(&message);
                return Ok(());
            }
            return Err(InvariantId::Liveness.broken(message));
        }
        Ok(())
    }

    /// Returns in which way nothing comes of the run any more, if patience is at its end.
    fn is_stuck(&mut self) -> Option<String> {
        let (since_fault, since_move) = (self.step - self.last_fault.1, self.step - self.last_move.1);
        let since_ms = self.now - self.last_fault.0.max(self.last_move.0);
        let Patience { idle_ms, idle, total, restarts, regions } = self.patience;
        if self.stats.restarts + self.stats.operators + self.stats.batches > restarts {
            return Some(format!("it was restarted more than {restarts} times by itself, and the job has not ended"));
        }
        if self.stats.restarts > regions {
            return Some(format!("regions were restarted more than {regions} times, and the job has not ended"));
        }
        self.is_exhausted = since_fault > total;
        let is_idle = since_ms > idle_ms || since_fault.min(since_move) > idle;
        (self.is_exhausted || is_idle)
            .then(|| format!("{} ms after the last fault the job has not ended", self.now - self.last_fault.0))
    }

    /// Returns whether it is long enough ago that something went wrong for everything to be fast again.
    pub(crate) fn is_settled(&self) -> bool {
        self.now > self.last_fault.0 + SETTLE_MS
    }

    // Time.

    /// Lets something happen at a time.
    pub(crate) fn at(&mut self, at: i64, happening: Happening) {
        self.sequence += 1;
        self.queue.insert((at, self.sequence), happening);
    }

    fn one_step(&mut self) {
        if self.schedule.percent(self.settings.ms_percent) && !self.is_settled() {
            self.now += 1;
        }
        let due = self.queue.first_key_value().is_some_and(|((at, _), _)| *at <= self.now);
        if due && self.schedule.percent(self.settings.due_percent) {
            return self.next_happening();
        }
        if self.tick() {
            return;
        }
        match self.data_step() {
            Moved::Yes => {}
            Moved::Later => self.now += 1,
            Moved::No if due => self.next_happening(),
            Moved::No => self.pass_time(),
        }
    }

    fn next_happening(&mut self) {
        if let Some((_, happening)) = self.queue.pop_first() {
            self.happen(happening);
        }
    }

    /// Lets what an attempt that is over has sent to its region arrive later still.
    pub(crate) fn delay_messages(&mut self, region: usize, fence: Fence) {
        let late = self.schedule.pick(&[0, 70, 110, 150, 250, 450]);
        if late < 50 {
            return;
        }
        let of_attempt = |happening: &Happening| match happening {
            Happening::ToRegion(of, event) => {
                *of == region && matches!(**event, region::Event::Coordinator(sender, _) if sender == fence)
            }
            _ => false,
        };
        let sent: Vec<(i64, u64)> =
            self.queue.iter().filter(|(_, happening)| of_attempt(happening)).map(|(key, _)| *key).collect();
        for (at, sequence) in sent {
            if let Some(message) = self.queue.remove(&(at, sequence)) {
                self.queue.insert((at + late - 50, sequence), message);
            }
        }
    }

    /// Nothing can move: goes to when the next thing happens.
    fn pass_time(&mut self) {
        let queued = self.queue.first_key_value().map(|((at, _), _)| *at);
        let mut next = queued;
        for region in &self.regions {
            let wake = region.machine.as_ref().and_then(Region::wake_at);
            let attempt = region.attempt.iter().flat_map(|attempt| &attempt.subtasks);
            let wakes = attempt.filter_map(|running| running.machine.wake_at().filter(|at| *at > running.woken));
            next = [next, wake].into_iter().flatten().chain(wakes).min();
        }
        match next {
            Some(next) => self.now = self.now.max(next),
            None => {
                let message = "nothing can happen any more, and the job has not ended";
                self.judge(Err(InvariantId::Liveness.broken(message)));
            }
        }
    }

    /// Lets regions know of the time.
    fn tick(&mut self) -> bool {
        for region in 0..self.regions.len() {
            let wake = self.regions[region].machine.as_ref().and_then(Region::wake_at);
            if wake.is_some_and(|at| at <= self.now) {
                self.tell_region(region, region::Event::Tick);
                return true;
            }
        }
        false
    }

    // What the other half of the world needs.

    pub(crate) fn judge(&self, verdict: Verdict) {
        self.outside.judge(verdict);
    }
}

/// Without poison, a record that fails too often has to fail. With it, nobody would ever get past the record but by a
/// rung that sets it aside.
fn ladder(drawn: LadderSettings, poison: Poison) -> LadderSettings {
    let on_poison = match poison {
        Poison::None => return LadderSettings { on_poison: OnPoison::Fail, ..drawn },
        Poison::Drawn => drawn.on_poison,
        Poison::As(on_poison) => on_poison,
    };
    LadderSettings { scope: drawn.scope.min(Scope::Operator), journal: 1 << 26, on_poison, ..drawn }
}
