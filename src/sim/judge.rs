//! What a world asks about a job: what it must give, and whether what it gives is that.

use std::collections::BTreeMap;

use piton_actors::WindowId;

use crate::chaos::invariants::Verdict;
use crate::protocol::ladder::LadderSettings;
use crate::protocol::manifest::{JoinedOutput, Manifest};

/// See the module.
pub(crate) trait Judge {
    /// The head of a region is now this checkpoint.
    fn head_moved(&mut self, region: usize, manifest: &Manifest);

    /// A joined output has become visible with the commit of a window.
    fn joined(&mut self, window: WindowId, joined: &JoinedOutput) -> Verdict;

    /// Every subtask of a region has seen its head through: all that this covers is visible.
    fn settled(&mut self, region: usize) -> Verdict;

    /// The job has ended; so often each record was set aside.
    fn ended(&mut self, set_aside: &BTreeMap<String, u64>, ladder: &LadderSettings) -> Verdict;

    /// Returns how many rows are visible, and how many of them beyond those of a run without faults.
    fn visible(&self) -> (u64, u64);

    /// Returns whether a chain may do something else when it is given the same again.
    fn is_fickle(&self, region: usize, chain: usize) -> bool;
}
