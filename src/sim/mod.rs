//! Deterministic simulation: the real protocol, store and operators on one thread, in virtual time, under faults.
//!
//! A seed decides everything: the job and its data, unless the job is given, its settings, the order in which things
//! happen, and what goes wrong when. The state machines driven are those of production; only the actors, the clock, the
//! disk and the sinks are replaced. At every step the world is held against the promises in
//! [`crate::chaos::invariants`]; a seed that breaks one can be cut down to the few faults that matter
//! ([`Simulation::shrink`]).

mod answers;
mod attempt;
mod coverage;
mod data;
mod delays;
mod drawn;
mod drive;
mod faults;
mod file;
mod given;
mod happening;
mod history;
mod job;
mod judge;
mod limited;
mod outside;
mod patience;
mod random;
mod recorder;
mod settings;
mod shrink;
mod storage;
mod trace;
mod watched;
mod world;

#[cfg(test)]
mod tests;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

pub use coverage::{Coverage, Phase};
pub use faults::{Act, CommitFailure, Fault, FaultPlan, Hook, Planned};
pub use file::{Found, check};

use crate::chaos::invariants::{InvariantId, Violation};
use crate::config::Mode;
use crate::error::{Error, Result};
use crate::protocol::failure::panic_message;
use crate::runtime::build::ChainBlueprint;
use crate::sim::drawn::Drawn;
use crate::sim::given::{ByHistory, Given};
use crate::sim::job::{Job, Variant};
use crate::sim::judge::Judge;
use crate::sim::outside::Outside;
use crate::sim::patience::Patience;
use crate::sim::random::Random;
use crate::sim::world::World;
use crate::topology::Plan;

/// What is simulated.
pub struct Simulation {
    subject: Subject,
    mode: Mode,
    /// How long most seeds take at most.
    patience: Patience,
}

enum Subject {
    MadeUp,
    Given(Given),
}

/// How a run of a seed differs from what the seed decides.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The faults, in place of those that the seed decides.
    pub faults: Option<FaultPlan>,
    /// Whether to keep every event in words, not only the last ones.
    pub trace: bool,
}

/// All that decides a run of a job.
pub(crate) struct Course {
    pub(crate) seed: u64,
    pub(crate) faults: FaultPlan,
    /// Whether to keep every event in words, not only the last ones.
    pub(crate) trace: bool,
    /// A job that has not ended by then counts as stuck.
    pub(crate) patience: Patience,
}

/// What was counted in a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Steps of the schedule.
    pub steps: u64,
    /// Faults that had an effect.
    pub faults: u64,
    /// Restarts of regions within a process.
    pub restarts: u64,
    /// Calls that were taken back and made again.
    pub batches: u64,
    /// Restarts of one subtask's operators, source or sink alone.
    pub operators: u64,
    /// Records that were replayed for that.
    pub replayed: u64,
    /// Ends of processes that were not asked for.
    pub crashes: u64,
    /// How often the store was opened again within a process.
    pub reopened: u64,
    /// Committed checkpoints.
    pub checkpoints: u64,
    /// Checkpoints that did not complete.
    pub failed_checkpoints: u64,
    /// How often all sinks had shown all that was committed, and it was compared.
    pub settled: u64,
    /// Rows that were visible in the end.
    pub rows: u64,
    /// What was visible beyond what there is without faults: nothing, but with at-least-once.
    pub doubled: u64,
    /// How much virtual time passed, in ms.
    pub virtual_ms: u64,
    /// How many steps a run that came to its end took behind its last fault; of several runs, the most.
    pub calm_steps: u64,
}

impl Stats {
    /// Adds the counts of another run.
    pub fn add(&mut self, other: &Stats) {
        self.steps += other.steps;
        self.faults += other.faults;
        self.restarts += other.restarts;
        self.batches += other.batches;
        self.operators += other.operators;
        self.replayed += other.replayed;
        self.crashes += other.crashes;
        self.reopened += other.reopened;
        self.checkpoints += other.checkpoints;
        self.failed_checkpoints += other.failed_checkpoints;
        self.settled += other.settled;
        self.rows += other.rows;
        self.doubled += other.doubled;
        self.virtual_ms += other.virtual_ms;
        self.calm_steps = self.calm_steps.max(other.calm_steps);
    }
}

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// The faults it was run with.
    pub faults: FaultPlan,
    /// The promise that was broken, if one was.
    pub violation: Option<Violation>,
    /// Why the store refused to go on, if it did: allowed only if more of it was damaged than it keeps copies of.
    pub refused: Option<String>,
    /// What was counted.
    pub stats: Stats,
    /// Which faults struck while what was going on.
    pub coverage: Coverage,
    /// Stands for everything that happened: the same seed and faults always give the same.
    pub trace_hash: u64,
    /// The last events in words, or all.
    pub events: Vec<String>,
}

impl Simulation {
    /// Simulates made-up jobs, another for each seed. With at-least-once the weaker promise is checked: a run has the
    /// same job, settings and faults in both.
    pub fn made_up(mode: Mode) -> Simulation {
        Simulation { subject: Subject::MadeUp, mode, patience: Patience::FULL }
    }

    /// Simulates a job, of which each subtask of a source gives so many rows at most. Its sources and operators are
    /// its own; its sinks are replaced, so that nothing is left behind.
    ///
    /// # Errors
    /// If a source cannot go back to an earlier position, or if the job breaks a promise even when nothing fails.
    pub fn of(plan: Arc<Plan>, rows: u64) -> Result<Simulation> {
        let mode = plan.settings.checkpoint.mode;
        let given = Given::new(plan, rows)?;
        let size = given.size();
        let mut simulation = Simulation { subject: Subject::Given(given), mode, patience: Patience::quiet(size) };
        if let Subject::Given(given) = &simulation.subject {
            given.find_out();
        }
        let peace = simulation.in_peace(0, Patience::quiet(size));
        match peace.violation {
            None => {
                simulation.patience = Patience::of(size, peace.stats.steps);
                Ok(simulation)
            }
            Some(violation) => {
                Err(Error::failed(format!("the job does not keep its promises even when nothing fails: {violation}")))
            }
        }
    }

    /// Returns what has to be said of what is not simulated as it is.
    pub fn remarks(&self) -> Vec<String> {
        match &self.subject {
            Subject::MadeUp => Vec::new(),
            Subject::Given(given) => given.remarks(),
        }
    }

    /// Returns the kinds of faults that can strike, as [`Fault::kind`] names them.
    pub fn kinds(&self) -> impl Iterator<Item = &'static str> + use<> {
        let can_rescale = match &self.subject {
            Subject::MadeUp => true,
            Subject::Given(given) => given.can_rescale(),
        };
        Fault::KINDS.iter().copied().filter(move |kind| *kind != "rescale" || can_rescale)
    }

    /// Describes the job that a seed stands for, one line for each chain; nothing if it is always the same.
    pub fn describe(&self, seed: u64) -> String {
        match &self.subject {
            Subject::MadeUp => drawn::describe(seed),
            Subject::Given(_) => String::new(),
        }
    }

    /// Runs a seed.
    pub fn run(&self, seed: u64, options: &Options) -> Outcome {
        let (outcome, is_exhausted) = self.run_for(seed, options, self.patience);
        let Some((patience, _)) = is_exhausted.then(|| self.patience_with(seed)).flatten() else { return outcome };
        if patience.total <= self.patience.total {
            return outcome;
        }
        // This seed decides on settings that make it take longer than others.
        self.run_for(seed, options, patience).0
    }

    fn in_peace(&self, seed: u64, patience: Patience) -> Outcome {
        self.run_for(seed, &Options { faults: Some(FaultPlan::default()), trace: false }, patience).0
    }

    /// Returns the patience with a seed of a job that was given, and what is enough for a guess: as it takes without
    /// faults. Nothing, if that is stuck, too.
    fn patience_with(&self, seed: u64) -> Option<(Patience, Patience)> {
        let Subject::Given(given) = &self.subject else { return None };
        let size = given.size();
        let peace = self.in_peace(seed, Patience::quiet(size));
        let steps = peace.stats.steps;
        peace.violation.is_none().then(|| (Patience::of(size, steps), Patience::short(size, steps)))
    }

    /// Runs a seed with this patience; returns also whether it took more steps than that.
    fn run_for(&self, seed: u64, options: &Options, patience: Patience) -> (Outcome, bool) {
        match &self.subject {
            Subject::MadeUp => {
                let mut drawn = Drawn::new(seed, self.mode);
                let outside = Outside::new(drawn.regions());
                let may = |chain: &ChainBlueprint| drawn.may_rescale(chain);
                let variants = variants(seed, || drawn.job(&outside), may, &outside);
                let draw = |random: &mut Random| {
                    FaultPlan::draw(random, &variants[0].job, variants.len() > 1, &[0, 1, 2, 4, 6, 8, 12, 16])
                };
                let faults = options.faults.clone().unwrap_or_else(|| draw(&mut Random::new(seed, "faults")));
                let job = &variants[0].job;
                let patience = patience.made_up(job.channels(), job.waits_ms() > 0);
                let course = Course { seed, faults, trace: options.trace, patience };
                self.play(&variants, &mut drawn, outside, course)
            }
            Subject::Given(given) => {
                let outside = given.outside();
                let variants = variants(seed, || given.job(seed, &outside), |_| true, &outside);
                let draw = |random: &mut Random| {
                    given.allow(FaultPlan::draw(random, &variants[0].job, variants.len() > 1, &[0, 4, 12, 24, 48]))
                };
                let faults = options.faults.clone().unwrap_or_else(|| draw(&mut Random::new(seed, "faults")));
                let course = Course { seed, faults, trace: options.trace, patience };
                self.play(&variants, &mut ByHistory::new(self.mode), outside, course)
            }
        }
    }

    fn play(
        &self,
        variants: &[Variant],
        expected: &mut dyn Judge,
        outside: Outside,
        course: Course,
    ) -> (Outcome, bool) {
        let mut world = World::new(variants, expected, outside, &course, self.mode);
        let ran = catch_unwind(AssertUnwindSafe(|| world.run()));
        let (violation, refused) = match ran {
            Ok(Ok(refused)) => (None, refused),
            Ok(Err(violation)) => (Some(violation), None),
            Err(payload) => {
                (Some(InvariantId::EngineSound.broken(format!("panic: {}", panic_message(&*payload)))), None)
            }
        };
        let is_exhausted = violation.is_some() && world.is_exhausted;
        let outcome = Outcome {
            seed: course.seed,
            violation,
            refused,
            stats: world.stats(),
            coverage: std::mem::take(&mut world.coverage),
            trace_hash: world.trace.hash(),
            events: world.trace.lines(),
            faults: course.faults,
        };
        (outcome, is_exhausted)
    }

    /// Cuts the faults of a failing run down to those that matter; returns the last failing run, and how many runs
    /// that took.
    pub fn shrink(&self, failing: Outcome) -> (Outcome, u32) {
        shrink::shrink(self, failing)
    }
}

/// Makes the job of a seed with the parallelism that it has, and with another one if it can have one.
fn variants(
    seed: u64,
    plan: impl Fn() -> Job,
    may: impl Fn(&ChainBlueprint) -> bool,
    outside: &Outside,
) -> Vec<Variant> {
    let job = plan();
    let to = job.draw_parallelism(&mut Random::new(seed, "parallelism"), may);
    let mut variants = vec![Variant { job: job.fragile(outside), plain: plan() }];
    if !to.is_empty() {
        let plain = plan().rescaled(&to);
        variants.push(Variant { job: plan().rescaled(&to).fragile(outside), plain });
    }
    variants
}
