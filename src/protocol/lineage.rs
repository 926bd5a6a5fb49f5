//! The state of a subtask's operators as the store holds it: for each operator a base chunk and what changed since.
//!
//! A cut hands over only what changed since the cut before. Whether that earlier one became part of a committed
//! checkpoint does not matter: a chunk that is durable continues the lineage, whatever came of its checkpoint; one
//! that could not be written is written again, in front of the next. So an aborted checkpoint costs nothing, and
//! nothing that changed is ever left out.
//!
//! While nothing can be written, as on a full disk, the job goes on, and what waits is merged from time to time: it
//! takes no more memory than a few times the part of the state that has changed, however long it lasts.

use std::collections::VecDeque;
use std::sync::Arc;

use piton_actors::state::merge_chunks;

use crate::ids::{Fence, SubtaskId, WindowId};
use crate::protocol::fresh::FreshChunk;
use crate::protocol::manifest::{ChunkId, ChunkRef, InFlightSnapshot, JoinedOutput, OperatorSnapshot, SubtaskSnapshot};
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
    pub fresh: Vec<Arc<FreshChunk>>,
}

impl WriteRequest {
    /// Returns whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.operators.iter().all(|operator| operator.fresh.is_empty())
    }

    /// Returns about how many bytes there are to write.
    pub fn size(&self) -> usize {
        self.fresh().map(|chunk| chunk.size()).sum()
    }

    fn fresh(&self) -> impl Iterator<Item = &FreshChunk> {
        self.operators.iter().flat_map(|operator| &operator.fresh).map(|chunk| &**chunk)
    }
}

/// A cut that waits for its bytes to be durable.
pub(crate) struct Cut {
    window: WindowId,
    pub(crate) snapshot: SubtaskSnapshot,
    pub(crate) joined: Vec<JoinedOutput>,
    fresh: Vec<Arc<FreshChunk>>,
    /// What is under way to the subtask, as soon as it is known.
    in_flight: Collected,
}

/// What is known of what is under way to a subtask for a cut.
enum Collected {
    /// There is nothing.
    Nothing,
    /// It is still being collected: the cut waits.
    Waiting,
    /// It was.
    Bytes(Arc<FreshChunk>),
    /// It never will be: the cut's checkpoint cannot complete.
    GivenUp(String),
}

struct OperatorLineage {
    operator: String,
    chunks: Vec<ChunkRef>,
    /// Cut, but not yet durable, oldest first.
    unwritten: Vec<Arc<FreshChunk>>,
}

impl OperatorLineage {
    /// Merges what waits as soon as the newer parts outweigh the oldest one. So it is at most about twice as much as
    /// all that has changed since the last write, and the merging costs about as much as the cuts did.
    fn pack(&mut self) -> Result<(), String> {
        // The storage has tried to write them, and so they are chunks already.
        let chunks = self.unwritten.iter().map(|chunk| chunk.bytes()).collect::<Result<Vec<_>, String>>()?;
        let Some((oldest, newer)) = chunks.split_first() else { return Ok(()) };
        if newer.iter().map(|chunk| chunk.len()).sum::<usize>() <= oldest.len() {
            return Ok(());
        }
        let mut chunks: Vec<Vec<u8>> = chunks.into_iter().cloned().collect();
        if mutant::is(Mutant::UnwrittenCutShort) {
            chunks.pop();
        }
        let merged = merge_chunks(&chunks)
            .map_err(|error| format!("the state of {} could not be merged: {error}", self.operator))?;
        self.unwritten = vec![Arc::new(merged.into())];
        Ok(())
    }
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

    /// Returns the durable chunks of each operator, oldest first.
    pub(crate) fn durable(&self) -> Vec<Vec<ChunkRef>> {
        self.operators.iter().map(|lineage| lineage.chunks.clone()).collect()
    }

    /// Returns what was cut of each operator and is not durable yet, oldest first: together with the durable chunks it
    /// is the state as of the newest cut.
    pub(crate) fn waiting(&self) -> Vec<Vec<Arc<FreshChunk>>> {
        let of = |(index, lineage): (usize, &OperatorLineage)| {
            let queued = self.cuts.iter().filter_map(|cut| cut.fresh.get(index)).filter(|chunk| !chunk.is_empty());
            lineage.unwritten.iter().chain(queued).map(Arc::clone).collect()
        };
        self.operators.iter().enumerate().map(of).collect()
    }

    /// Takes a cut: `fresh` is what changed in each operator, empty where nothing did. If what is under way has to be
    /// `collected` first, the cut is not written before [`Lineage::collected`] or [`Lineage::give_up`].
    pub(crate) fn cut(
        &mut self,
        window: WindowId,
        snapshot: SubtaskSnapshot,
        joined: Vec<JoinedOutput>,
        fresh: Vec<Arc<FreshChunk>>,
        collect: bool,
    ) {
        let in_flight = if collect { Collected::Waiting } else { Collected::Nothing };
        self.cuts.push_back(Cut { window, snapshot, joined, fresh, in_flight });
    }

    /// What is under way for a cut is known: nothing, or a chunk and what is in it.
    pub(crate) fn collected(&mut self, window: WindowId, in_flight: Option<(InFlightSnapshot, Vec<u8>)>) {
        let Some(cut) = self.waiting_for(window) else { return };
        cut.in_flight = match in_flight {
            None => Collected::Nothing,
            Some((snapshot, bytes)) => {
                cut.snapshot.in_flight = Some(snapshot);
                Collected::Bytes(Arc::new(bytes.into()))
            }
        };
    }

    /// What is under way for a cut will not be known any more.
    pub(crate) fn give_up(&mut self, window: WindowId, why: &str) {
        if let Some(cut) = self.waiting_for(window) {
            cut.in_flight = Collected::GivenUp(why.into());
        }
    }

    /// Returns the cut of a window, as long as what is under way for it is not known.
    fn waiting_for(&mut self, window: WindowId) -> Option<&mut Cut> {
        let mut cuts = self.cuts.iter_mut();
        cuts.find(|cut| cut.window == window && matches!(cut.in_flight, Collected::Waiting))
    }

    /// Returns the next write, if there is a cut to write and none is under way.
    pub(crate) fn next_write(&mut self) -> Option<WriteRequest> {
        if self.in_flight {
            return None;
        }
        let cut = self.cuts.front_mut()?;
        if matches!(cut.in_flight, Collected::Waiting) {
            return None;
        }
        self.in_flight = true;
        let mut operators = Vec::with_capacity(self.operators.len() + 1);
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
        if let Collected::Bytes(bytes) = &cut.in_flight {
            self.sequence += 1;
            operators.push(OperatorWrite {
                id: ChunkId {
                    region: self.region.clone(),
                    // No operator can be called so.
                    operator: format!("{}@mailbox", self.subtask.operator),
                    index: self.subtask.index,
                    fence: self.fence,
                    sequence: self.sequence,
                },
                lineage: Vec::new(),
                fresh: vec![Arc::clone(bytes)],
            });
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
        let mut lineages = match result {
            Ok(lineages) => lineages,
            Err(reason) => {
                for lineage in &mut self.operators {
                    lineage.pack().map_err(|merging| format!("{reason}; {merging}"))?;
                }
                return Err(reason);
            }
        };
        if let Some(in_flight) = &mut cut.snapshot.in_flight {
            in_flight.chunks = lineages.drain(self.operators.len()..).flatten().collect();
        }
        for ((lineage, chunks), snapshot) in self.operators.iter_mut().zip(lineages).zip(&mut cut.snapshot.operators) {
            lineage.unwritten.clear();
            lineage.chunks.clone_from(&chunks);
            snapshot.chunks = chunks;
        }
        if let Collected::GivenUp(reason) = cut.in_flight {
            return Err(reason);
        }
        Ok(Some(cut))
    }
}

#[cfg(test)]
mod tests {
    use piton_actors::state::StateStore;
    use piton_actors::{Key, ValueState};

    use super::*;

    const SEEN: ValueState<u64> = ValueState::new("seen");

    fn lineage() -> Lineage {
        Lineage::new(SubtaskId::new("count", 0), "region".into(), Fence::default(), vec!["count".into()])
    }

    fn snapshot() -> SubtaskSnapshot {
        SubtaskSnapshot {
            subtask: SubtaskId::new("count", 0),
            finished: false,
            watermark: 0,
            told: None,
            channel_watermarks: Vec::new(),
            cursors: Vec::new(),
            read: 0,
            written: 0,
            set_aside: 0,
            letters: Vec::new(),
            operators: vec![OperatorSnapshot::empty("count")],
            within: None,
            in_flight: None,
        }
    }

    fn set(state: &mut StateStore, key: u64, value: u64) {
        state.enter(Key::from(key));
        state.value(SEEN).set(value).unwrap();
    }

    /// Asks for the write of a cut of what has changed.
    fn ask(lineage: &mut Lineage, window: u64, state: &mut StateStore) -> OperatorWrite {
        lineage.cut(WindowId(window), snapshot(), Vec::new(), vec![Arc::new(state.cut().unwrap().into())], false);
        lineage.next_write().unwrap().operators.remove(0)
    }

    fn inline(chunks: &[Arc<FreshChunk>]) -> Vec<ChunkRef> {
        chunks.iter().map(|chunk| ChunkRef::Inline { bytes: chunk.bytes().unwrap().clone() }).collect()
    }

    #[test]
    fn what_waits_for_a_full_disk_is_bounded_by_what_has_changed() {
        let (mut lineage, mut state) = (lineage(), StateStore::new(0..8, 8));
        for key in 0..1_000 {
            set(&mut state, key, 0);
        }
        let base = ask(&mut lineage, 1, &mut state);
        let written = inline(&base.fresh);
        let size = base.fresh[0].bytes().unwrap().len();
        assert!(lineage.written(WindowId(1), Ok(vec![written.clone()])).unwrap().is_some());

        // The disk is full for 5,000 checkpoints, in each of which 20 of 500 keys change.
        let mut waiting = 0;
        for window in 2..5_000 {
            for key in 0..20 {
                set(&mut state, (window * 7 + key * 25) % 500, window);
            }
            let write = ask(&mut lineage, window, &mut state);
            waiting = waiting.max(write.fresh.iter().map(|chunk| chunk.bytes().unwrap().len()).sum());
            let declined = lineage.written(WindowId(window), Err("the disk is full".into()));
            assert_eq!(declined.err().unwrap(), "the disk is full");
        }
        // Half of the keys, twice, and the last cut.
        assert!(waiting < size + size / 10, "{waiting} bytes wait for a state of {size}");

        set(&mut state, 999, 77);
        let write = ask(&mut lineage, 5_000, &mut state);
        assert_eq!(write.lineage, written);
        let fresh = base.fresh.iter().chain(&write.fresh);
        let chunks: Vec<Vec<u8>> = fresh.map(|chunk| chunk.bytes().unwrap().clone()).collect();
        let mut restored = StateStore::new(0..8, 8);
        restored.restore(chunks).unwrap();
        for key in 0..1_000 {
            state.enter(Key::from(key));
            restored.enter(Key::from(key));
            let (was, is) = (state.value(SEEN).get().unwrap(), restored.value(SEEN).get().unwrap());
            assert_eq!(is, was, "key {key}");
        }
        let all = vec![[written, inline(&write.fresh)].concat()];
        assert!(lineage.written(WindowId(5_000), Ok(all)).unwrap().is_some());
        assert!(ask(&mut lineage, 5_001, &mut state).fresh.is_empty(), "nothing waits any more");
    }
}
