//! The state of a subtask's operators as the store holds it: for each operator a base chunk and what changed since.
//!
//! A cut hands over only what changed since the cut before. Whether that earlier one became part of a committed
//! checkpoint does not matter: a chunk that is durable continues the lineage, whatever came of its checkpoint; one
//! that could not be written is written again, in front of the next. So an aborted checkpoint costs nothing, and
//! nothing that changed is ever left out.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::ids::{Fence, SubtaskId, WindowId};
use crate::protocol::manifest::{ChunkId, ChunkRef, JoinedOutput, OperatorSnapshot, SubtaskSnapshot};
use crate::protocol::mutant::{self, Mutant};

/// What the storage is asked to make durable for one checkpoint of one subtask.
#[derive(Clone, Debug)]
pub struct WriteRequest {
    /// The checkpoint.
    pub window: WindowId,
    /// For each operator of the chain, source and sink included: what is there and what is new.
    pub operators: Vec<OperatorWrite>,
}

/// One operator's part of a [`WriteRequest`].
#[derive(Clone, Debug)]
pub struct OperatorWrite {
    /// The name of the next chunk; its sequence number is free up to that of the next request.
    pub id: ChunkId,
    /// The chunks that are durable, oldest first.
    pub lineage: Vec<ChunkRef>,
    /// What has to be added, oldest first; none of them is empty.
    pub fresh: Vec<Arc<Vec<u8>>>,
}

impl WriteRequest {
    /// Returns whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.operators.iter().all(|operator| operator.fresh.is_empty())
    }
}

/// A cut that waits for its bytes to be durable.
pub(crate) struct Cut {
    window: WindowId,
    pub(crate) snapshot: SubtaskSnapshot,
    pub(crate) joined: Vec<JoinedOutput>,
    fresh: Vec<Arc<Vec<u8>>>,
}

struct OperatorLineage {
    operator: String,
    chunks: Vec<ChunkRef>,
    /// Cut, but not yet durable, oldest first.
    unwritten: Vec<Arc<Vec<u8>>>,
}

/// The lineages of all operators of a subtask.
pub(crate) struct Lineage {
    subtask: SubtaskId,
    region: String,
    fence: Fence,
    sequence: u64,
    operators: Vec<OperatorLineage>,
    cuts: VecDeque<Cut>,
    in_flight: bool,
}

impl Lineage {
    pub(crate) fn new(subtask: SubtaskId, region: String, fence: Fence, operators: Vec<String>) -> Lineage {
        let lineage = |operator| OperatorLineage { operator, chunks: Vec::new(), unwritten: Vec::new() };
        Lineage {
            subtask,
            region,
            fence,
            sequence: 0,
            operators: operators.into_iter().map(lineage).collect(),
            cuts: VecDeque::new(),
            in_flight: false,
        }
    }

    /// Continues the lineages of a snapshot.
    pub(crate) fn restore(&mut self, snapshots: &[OperatorSnapshot]) {
        if mutant::is(Mutant::LineageForgotten) {
            return;
        }
        for (lineage, snapshot) in self.operators.iter_mut().zip(snapshots) {
            lineage.chunks.clone_from(&snapshot.chunks);
        }
    }

    /// Takes a cut: `fresh` is what changed in each operator, empty where nothing did.
    pub(crate) fn cut(
        &mut self,
        window: WindowId,
        snapshot: SubtaskSnapshot,
        joined: Vec<JoinedOutput>,
        fresh: Vec<Arc<Vec<u8>>>,
    ) {
        self.cuts.push_back(Cut { window, snapshot, joined, fresh });
    }

    /// Returns the next write, if there is a cut to write and none is under way.
    pub(crate) fn next_write(&mut self) -> Option<WriteRequest> {
        if self.in_flight {
            return None;
        }
        let cut = self.cuts.front_mut()?;
        self.in_flight = true;
        let mut operators = Vec::with_capacity(self.operators.len());
        for (lineage, fresh) in self.operators.iter_mut().zip(cut.fresh.drain(..)) {
            if !fresh.is_empty() {
                lineage.unwritten.push(fresh);
            }
            self.sequence += 1;
            operators.push(OperatorWrite {
                id: ChunkId {
                    region: self.region.clone(),
                    operator: lineage.operator.clone(),
                    index: self.subtask.index,
                    fence: self.fence,
                    sequence: self.sequence,
                },
                lineage: lineage.chunks.clone(),
                fresh: lineage.unwritten.clone(),
            });
            self.sequence += lineage.unwritten.len() as u64;
        }
        Some(WriteRequest { window: cut.window, operators })
    }

    /// Takes the outcome of the write under way; returns the cut with its snapshot complete.
    ///
    /// # Errors
    /// The reason, if it did not become durable; its bytes go in front of the next write's.
    pub(crate) fn written(
        &mut self,
        window: WindowId,
        result: Result<Vec<Vec<ChunkRef>>, String>,
    ) -> Result<Option<Cut>, String> {
        if !self.in_flight || self.cuts.front().is_none_or(|cut| cut.window != window) {
            return Ok(None);
        }
        self.in_flight = false;
        let Some(mut cut) = self.cuts.pop_front() else { return Ok(None) };
        if mutant::is(Mutant::FailedWriteForgotten) {
            self.operators.iter_mut().for_each(|lineage| lineage.unwritten.clear());
        }
        let lineages = result?;
        for ((lineage, chunks), snapshot) in self.operators.iter_mut().zip(lineages).zip(&mut cut.snapshot.operators) {
            lineage.unwritten.clear();
            lineage.chunks.clone_from(&chunks);
            snapshot.chunks = chunks;
        }
        Ok(Some(cut))
    }
}
