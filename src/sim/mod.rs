//! Deterministic simulation: the real protocol, store and operators on one thread, in virtual time, under faults.
//!
//! A seed decides everything: the job and its data, its settings, the order in which things happen, and what goes
//! wrong when. The state machines driven are those of production; only the actors, the clock and the disk are
//! replaced. At every step the world is held against the promises in [`crate::chaos::invariants`]; a seed that breaks
//! one can be cut down to the few faults that matter ([`shrink`]).

mod attempt;
mod drawn;
mod drive;
mod faults;
mod happening;
mod job;
mod judge;
mod outside;
mod random;
mod settings;
mod shrink;
mod storage;
mod trace;
mod watched;
mod world;

#[cfg(test)]
mod tests;

use std::panic::{AssertUnwindSafe, catch_unwind};

pub use faults::{Act, CommitFailure, Fault, Hook, Plan};
pub use shrink::shrink;

use crate::chaos::invariants::{InvariantId, Violation};
use crate::config::Mode;
use crate::protocol::failure::panic_message;
use crate::sim::drawn::Drawn;
use crate::sim::outside::Outside;
use crate::sim::random::Random;
use crate::sim::world::World;

/// How to run a seed.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The faults, in place of those that the seed decides.
    pub plan: Option<Plan>,
    /// Whether to keep every event in words, not only the last ones.
    pub trace: bool,
    /// What the job is asked for, whatever the seed. With at-least-once the weaker promise is checked: a run has the
    /// same job, settings and faults in both.
    pub mode: Mode,
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
    }
}

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// What it was asked for.
    pub mode: Mode,
    /// The faults it was run with.
    pub plan: Plan,
    /// The promise that was broken, if one was.
    pub violation: Option<Violation>,
    /// Why the store refused to go on, if it did: allowed only if more of it was damaged than it keeps copies.
    pub refused: Option<String>,
    /// What was counted.
    pub stats: Stats,
    /// Stands for everything that happened: the same seed and plan always give the same.
    pub trace_hash: u64,
    /// The last events in words, or all.
    pub events: Vec<String>,
}

/// Describes the job that a seed stands for, one line for each chain.
pub fn describe(seed: u64) -> String {
    drawn::describe(seed)
}

/// Runs a seed.
pub fn run(seed: u64, options: &Options) -> Outcome {
    let mut drawn = Drawn::new(seed, options.mode);
    let outside = Outside::new(drawn.regions());
    let job = drawn.job(&outside).fragile(&outside);
    let plan = match &options.plan {
        Some(plan) => plan.clone(),
        None => Plan::draw(&mut Random::new(seed, "faults"), &job),
    };
    let mut world = World::new(&job, &mut drawn, outside, seed, &plan, options);
    let ran = catch_unwind(AssertUnwindSafe(|| world.run()));
    let (violation, refused) = match ran {
        Ok(Ok(refused)) => (None, refused),
        Ok(Err(violation)) => (Some(violation), None),
        Err(payload) => (Some(InvariantId::EngineSound.broken(format!("panic: {}", panic_message(&*payload)))), None),
    };
    Outcome {
        seed,
        mode: options.mode,
        violation,
        refused,
        stats: world.stats(),
        trace_hash: world.trace.hash(),
        events: world.trace.lines(),
        plan,
    }
}
