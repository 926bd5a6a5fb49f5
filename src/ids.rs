//! Names of things in a running job.

use std::fmt;
use std::sync::Arc;

pub use piton_actors::WindowId;
use serde::{Deserialize, Serialize};

/// One parallel instance of an operator, or of a chain, which goes by the name of its head.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SubtaskId {
    /// The operator's name in the topology.
    pub operator: Arc<str>,
    /// The index of the instance, from 0.
    pub index: u32,
}

impl SubtaskId {
    /// Names instance `index` of an operator.
    pub fn new(operator: impl Into<Arc<str>>, index: u32) -> SubtaskId {
        SubtaskId { operator: operator.into(), index }
    }
}

impl fmt::Display for SubtaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]", self.operator, self.index)
    }
}

/// Which life of a region something belongs to: the fence of every message, chunk and commit.
///
/// Ordered: a later incarnation of the process is above every attempt of an earlier one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Fence {
    /// How often the job was started from its state directory, from 1.
    pub incarnation: u64,
    /// How often the region was restarted within this process, from 0.
    pub attempt: u64,
}

impl fmt::Display for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.incarnation, self.attempt)
    }
}
