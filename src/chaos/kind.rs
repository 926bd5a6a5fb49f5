//! The kinds of faults that a real run can be given.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::config::{ChaosAction, ChaosWeights};

/// A kind of fault. The names are those of `[chaos.weights]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// A call of user code panics.
    Panic,
    /// A call of user code returns an error.
    Fail,
    /// A call of user code does not come back until it was given up.
    Hang,
    /// Every call of an operator takes long, for a while.
    Slow,
    /// An actor vanishes.
    KillActor,
    /// The supervisor vanishes, and the process with it.
    KillSupervisor,
    /// The process is killed.
    ProcessKill9,
    /// The process stands still for a while.
    ProcessPause,
    /// An acknowledgement of a snapshot is lost.
    DropAck,
    /// A subtask is told twice that a window is committed.
    DupCommit,
    /// Writes of the store fail.
    StoreEio,
    /// The disk is full for a while.
    StoreEnospc,
    /// The disk is slow for a while.
    StoreSlow,
    /// The process is killed, and a bit of what the store holds flips meanwhile.
    Bitflip,
}

/// Whom a kind of fault hits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// One subtask of an operator, source or sink, in one of its calls.
    Call,
    /// One subtask.
    Subtask,
    /// The store, and so all regions.
    Store,
    /// The whole process.
    Process,
}

impl FaultKind {
    /// All of them, in the order of reports.
    pub const ALL: [FaultKind; 14] = [
        FaultKind::Panic,
        FaultKind::Fail,
        FaultKind::Hang,
        FaultKind::Slow,
        FaultKind::KillActor,
        FaultKind::KillSupervisor,
        FaultKind::ProcessKill9,
        FaultKind::ProcessPause,
        FaultKind::DropAck,
        FaultKind::DupCommit,
        FaultKind::StoreEio,
        FaultKind::StoreEnospc,
        FaultKind::StoreSlow,
        FaultKind::Bitflip,
    ];

    /// Returns its name as files and reports have it.
    pub fn name(self) -> &'static str {
        match self {
            FaultKind::Panic => "panic",
            FaultKind::Fail => "fail",
            FaultKind::Hang => "hang",
            FaultKind::Slow => "slow",
            FaultKind::KillActor => "kill_actor",
            FaultKind::KillSupervisor => "kill_supervisor",
            FaultKind::ProcessKill9 => "process_kill9",
            FaultKind::ProcessPause => "process_pause",
            FaultKind::DropAck => "drop_ack",
            FaultKind::DupCommit => "dup_commit",
            FaultKind::StoreEio => "store_eio",
            FaultKind::StoreEnospc => "store_enospc",
            FaultKind::StoreSlow => "store_slow",
            FaultKind::Bitflip => "bitflip",
        }
    }

    /// Returns whom it hits.
    pub fn reach(self) -> Reach {
        match self {
            FaultKind::Panic | FaultKind::Fail | FaultKind::Hang | FaultKind::Slow => Reach::Call,
            FaultKind::KillActor | FaultKind::DropAck | FaultKind::DupCommit => Reach::Subtask,
            FaultKind::StoreEio | FaultKind::StoreEnospc | FaultKind::StoreSlow => Reach::Store,
            FaultKind::KillSupervisor | FaultKind::ProcessKill9 | FaultKind::ProcessPause | FaultKind::Bitflip => {
                Reach::Process
            }
        }
    }

    /// Returns whether it is the end of the process.
    pub fn is_deadly(self) -> bool {
        matches!(self, FaultKind::KillSupervisor | FaultKind::ProcessKill9 | FaultKind::Bitflip)
    }

    /// Returns whether something has to be put back after it: the others only hold things up.
    pub fn breaks(self) -> bool {
        match self {
            FaultKind::Panic
            | FaultKind::Fail
            | FaultKind::Hang
            | FaultKind::KillActor
            | FaultKind::KillSupervisor
            | FaultKind::ProcessKill9
            | FaultKind::StoreEio
            | FaultKind::Bitflip => true,
            FaultKind::Slow
            | FaultKind::ProcessPause
            | FaultKind::DropAck
            | FaultKind::DupCommit
            | FaultKind::StoreEnospc
            | FaultKind::StoreSlow => false,
        }
    }

    /// Returns whether it goes on for a while that can be said.
    pub fn takes_time(self) -> bool {
        matches!(
            self,
            FaultKind::Hang | FaultKind::Slow | FaultKind::ProcessPause | FaultKind::StoreEnospc | FaultKind::StoreSlow
        )
    }

    /// Returns how often it is chosen, in proportion to the others.
    pub fn weight(self, weights: &ChaosWeights) -> u32 {
        match self {
            FaultKind::Panic => weights.panic,
            // Returning an error is treated like a panic; it is there for exact points.
            FaultKind::Fail => 0,
            FaultKind::Hang => weights.hang,
            FaultKind::Slow => weights.slow,
            FaultKind::KillActor => weights.kill_actor,
            FaultKind::KillSupervisor => weights.kill_supervisor,
            FaultKind::ProcessKill9 => weights.process_kill9,
            FaultKind::ProcessPause => weights.process_pause,
            FaultKind::DropAck => weights.drop_ack,
            FaultKind::DupCommit => weights.dup_commit,
            FaultKind::StoreEio => weights.store_eio,
            FaultKind::StoreEnospc => weights.store_enospc,
            FaultKind::StoreSlow => weights.store_slow,
            FaultKind::Bitflip => weights.bitflip,
        }
    }
}

impl From<ChaosAction> for FaultKind {
    fn from(action: ChaosAction) -> FaultKind {
        match action {
            ChaosAction::Panic => FaultKind::Panic,
            ChaosAction::Fail => FaultKind::Fail,
            ChaosAction::Hang => FaultKind::Hang,
            ChaosAction::Slow => FaultKind::Slow,
            ChaosAction::ProcessKill9 => FaultKind::ProcessKill9,
        }
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_files_use() {
        for kind in FaultKind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
        }
        let weights = toml::Table::try_from(ChaosWeights::default()).unwrap();
        for name in weights.keys() {
            assert!(FaultKind::ALL.iter().any(|kind| kind.name() == name), "{name}");
        }
    }
}
