//! What a world asks about a job: what it must give, and whether what it gives is that.

use std::collections::BTreeMap;

use piton_actors::{Batch, WindowId};

use crate::chaos::invariants::Verdict;
use crate::protocol::ladder::LadderSettings;
use crate::protocol::manifest::Manifest;
use crate::sim::history::History;

/// See the module.
pub(crate) trait Judge {
    /// The head of a region is now this checkpoint.
    fn head_moved(&mut self, region: usize, manifest: &Manifest);

    /// A sink of a region has made something visible.
    fn published(&mut self, region: usize, sink: &str, batches: &[Batch]) -> Verdict;

    /// Every subtask of a region has seen its head through: all that this covers is visible.
    fn settled(&mut self, region: usize) -> Verdict;

    /// The job has ended; so often each record was set aside.
    fn ended(&mut self, set_aside: &BTreeMap<String, u64>, ladder: &LadderSettings) -> Verdict;

    /// Returns how many rows are visible, and how many of them beyond those of a run without faults.
    fn visible(&self) -> (u64, u64);

    /// The regions go on from these checkpoints with another parallelism.
    fn rescaled(&mut self, heads: &[WindowId]);

    /// Returns what keeps the history of every subtask, if anybody does.
    fn history(&mut self) -> Option<&mut History>;

    /// Returns whether a chain may do something else when it is given the same again.
    fn is_fickle(&self, region: usize, chain: usize) -> bool;
}
