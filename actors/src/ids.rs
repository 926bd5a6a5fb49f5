//! The numbers an operator meets: its subtask and the windows of its stream.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The number of a streaming window: a numbered slice of the stream, closed by an in-band marker.
///
/// Windows are numbered from 1 per region, without gaps within one attempt. 0 stands for "before the first window".
/// (The idea and the name come from Apache Apex; a checkpoint has no other number than the window it closes.)
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WindowId(pub u64);

impl WindowId {
    /// Before the first window.
    pub const NONE: WindowId = WindowId(0);

    /// Returns the window after this one.
    #[must_use]
    pub fn next(self) -> WindowId {
        WindowId(self.0 + 1)
    }
}

impl fmt::Display for WindowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A part of what a source reads that has event times of its own, as the partitions of a topic have. Which number is whose is
/// the source's own affair.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PartitionId(pub u64);

impl fmt::Display for PartitionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which of an operator's parallel instances this is, and which life it is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subtask {
    /// The operator's name in the topology: its stable id.
    pub operator: Arc<str>,
    /// The index of this instance, in `0..parallelism`.
    pub index: u32,
    /// How many instances the operator has.
    pub parallelism: u32,
    /// How many key groups the job has: the unit in which keyed state is spread over subtasks.
    pub key_groups: u32,
    /// How often this job was started from its state directory, from 1. Names of temporary files carry it, so that
    /// a process that was thought dead cannot touch what its successor makes.
    pub incarnation: u64,
    /// How often this region was restarted within the process, from 0.
    pub attempt: u64,
    /// The seed of the job; everything random in an operator comes from it.
    pub seed: u64,
}

impl Subtask {
    /// Returns a lone subtask with the usual number of key groups, as tests want it.
    pub fn single(operator: &str) -> Subtask {
        Subtask {
            operator: operator.into(),
            index: 0,
            parallelism: 1,
            key_groups: DEFAULT_KEY_GROUPS,
            incarnation: 1,
            attempt: 0,
            seed: 0,
        }
    }

    /// Returns the key groups whose state this subtask owns.
    pub fn own_key_groups(&self) -> std::ops::Range<u32> {
        crate::key::groups_of(self.index, self.parallelism, self.key_groups)
    }
}

impl fmt::Display for Subtask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]", self.operator, self.index)
    }
}

/// The number of key groups of a job that does not say otherwise.
pub const DEFAULT_KEY_GROUPS: u32 = 1024;
