//! Which faults struck while what was going on: a simulator that never gets somewhere finds nothing there.
//!
//! After Antithesis' and FoundationDB's habit of proving that rare states are reached.

use std::collections::BTreeMap;

/// What a job is at when a fault strikes; often several things at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Records are under way, and nothing else.
    Flowing,
    /// Markers are under way: some subtasks have ended a window, others not.
    Aligning,
    /// Snapshots are written.
    Writing,
    /// A checkpoint is about to become true.
    Committing,
    /// It is true, and not all sinks have shown it.
    Publishing,
    /// A region is started from a checkpoint.
    Restoring,
    /// A subtask restarts alone.
    Replaying,
}

impl Phase {
    /// All of them.
    pub const ALL: &'static [Phase] = &[
        Phase::Flowing,
        Phase::Aligning,
        Phase::Writing,
        Phase::Committing,
        Phase::Publishing,
        Phase::Restoring,
        Phase::Replaying,
    ];

    /// Returns its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Flowing => "flowing",
            Phase::Aligning => "aligning",
            Phase::Writing => "writing",
            Phase::Committing => "committing",
            Phase::Publishing => "publishing",
            Phase::Restoring => "restoring",
            Phase::Replaying => "replaying",
        }
    }
}

/// How often a fault of each kind struck in each phase.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    cells: BTreeMap<(&'static str, Phase), u64>,
}

impl Coverage {
    /// A fault of this kind has struck in these phases.
    pub(crate) fn note(&mut self, kind: &'static str, phases: &[Phase]) {
        for phase in phases {
            *self.cells.entry((kind, *phase)).or_default() += 1;
        }
    }

    /// Adds what another run has reached.
    pub fn add(&mut self, other: &Coverage) {
        for (cell, times) in &other.cells {
            *self.cells.entry(*cell).or_default() += times;
        }
    }

    /// Returns how often a kind struck in a phase.
    pub fn times(&self, kind: &str, phase: Phase) -> u64 {
        let cell = self.cells.iter().find(|((of, at), _)| *of == kind && *at == phase);
        cell.map_or(0, |(_, times)| *times)
    }
}
