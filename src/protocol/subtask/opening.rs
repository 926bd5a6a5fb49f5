//! How a subtask begins.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use piton_actors::{Timestamp, WindowId};

use super::{Command, Restored, State, Step, Subtask, SubtaskSpec};
use crate::protocol::align::Aligner;
use crate::protocol::chain::{Base, ChainSpec, KeyedEdge, Notice};
use crate::protocol::failure::Failure;
use crate::protocol::mutant::{self, Mutant};
use crate::protocol::output::Partition;
use crate::protocol::sink::SinkTail;
use crate::protocol::source::SourceHead;

/// Returns what its chain is made of.
pub(super) fn made_of(spec: &SubtaskSpec) -> ChainSpec {
    let edges = spec.outputs.iter().enumerate();
    let keyed = edges.filter(|(_, edge)| matches!(edge.partition, Partition::Keyed { .. }) && edge.channels > 1);
    let keyed = keyed.map(|(index, edge)| KeyedEdge { edge: index, exit: edge.exit, consumer: edge.consumer.clone() });
    let (names, wires, sides) = (spec.operators.clone(), spec.wires.clone(), spec.sides.clone());
    ChainSpec { names, wires, sides, keyed: keyed.collect() }
}

impl Subtask {
    pub(super) fn start(&mut self, restored: Option<Box<Restored>>, now: Timestamp) -> Result<(), Failure> {
        self.state = State::Opening;
        let mut snapshots = VecDeque::new();
        let mut chunks = VecDeque::new();
        let mut abandoned = Vec::new();
        let mut adopted = BTreeMap::new();
        let mut packed = Vec::new();
        let is_restored = restored.is_some();
        if let Some(restored) = restored {
            let Restored { window, snapshot, chunks: kept, adopted: shared, abandoned: rolled_back, in_flight } =
                *restored;
            self.overtaking.begin(window, in_flight.1);
            packed = in_flight.0;
            adopted = shared;
            self.window = snapshot.within.as_ref().map_or(window, |within| within.ended);
            self.within = snapshot.within.is_some();
            self.restored = window;
            self.finished = snapshot.finished;
            self.drained = snapshot.finished;
            self.counters.read = snapshot.read;
            self.counters.written = snapshot.written;
            self.set_aside = snapshot.set_aside;
            self.aligner = Aligner::new(self.origins.len(), self.window, self.aligner.blocks());
            if let Some(within) = &snapshot.within {
                self.aligner.restore_windows(&within.channels);
            }
            self.asking.restore_told(snapshot.watermark_told());
            self.aligner.restore_watermarks(snapshot.watermark, &snapshot.channel_watermarks);
            self.outputs.restore_cursors(&snapshot.cursors);
            self.lineage.restore(&snapshot.operators);
            snapshots.extend(snapshot.operators);
            chunks.extend(kept);
            abandoned = rolled_back;
        }
        if let Some(source) = &mut self.source {
            let snapshot = snapshots.pop_front();
            chunks.pop_front();
            let kept = snapshot.as_ref().map(|snapshot| (snapshot.max_time, snapshot.partitions.clone()));
            source.done = self.finished;
            self.base_position = snapshot.and_then(|snapshot| snapshot.position);
            source.open(self.base_position.clone(), kept.unwrap_or_default());
        }
        let mut states = Vec::new();
        for _ in 0..self.chain.as_ref().map_or(0, |chain| chain.operators()) {
            snapshots.pop_front();
            states.push(chunks.pop_front().unwrap_or_default());
        }
        if let Some(sink) = &mut self.sink {
            let pending = snapshots.pop_front().map(|snapshot| snapshot.pending).unwrap_or_default();
            sink.open(pending, abandoned);
        }
        let watermark = self.aligner.combined_watermark();
        // Until the first cut, what was adopted is nowhere else.
        let window = self.restored;
        self.base = Base { window, watermark, adopted: Arc::new(adopted), ..Base::default() };
        (self.base_written, self.base_drained) = (self.counters.written, self.drained);
        self.base_begun = self.within.then(|| self.window.next());
        self.seen_watermark = watermark;
        let base = is_restored.then(|| Box::new(Base { states, ..self.base.clone() }));
        self.steps.push_back(Step::Open { base, now, packed });
        Ok(())
    }

    /// Once the source and the sink are open: tells the restored window, and begins the next.
    pub(super) fn see_opened(&mut self) -> Result<bool, Failure> {
        let opened =
            self.source.as_ref().is_none_or(SourceHead::is_quiet) && self.sink.as_ref().is_none_or(SinkTail::is_quiet);
        if !opened {
            return Ok(false);
        }
        self.state = State::Running;
        if self.restored > WindowId::NONE && !mutant::is(Mutant::RestoredNotTold) {
            if let Some(source) = &mut self.source {
                source.cut(self.restored);
            }
            self.tell_outside(self.restored);
            self.notices.push_back((Notice::Committed(self.restored), None));
        }
        if self.finished {
            // The channels are new: whoever reads them has to hear of the end again.
            if !mutant::is(Mutant::EndNotRepeated) {
                // A reader whose channels are others than before may not know the last watermark.
                self.outputs.send_watermark(self.aligner.combined_watermark());
                self.outputs.send_end();
            }
            self.commands.push(Command::Finished);
        } else if self.within {
            self.steps.push_back(Step::BeginAgain(self.window.next()));
        } else {
            self.steps.push_back(Step::begin(self.window.next()));
        }
        self.steps.push_back(Step::Ready);
        Ok(true)
    }
}
