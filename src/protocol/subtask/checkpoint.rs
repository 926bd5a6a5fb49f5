//! The ends of windows, snapshots and commits of a subtask.

use std::sync::Arc;

use piton_actors::WindowId;
use piton_actors::state::Draft;

use super::stream::Step;
use super::{Ack, Away, Command, Declined, State, Subtask, Why};
use crate::protocol::chain::{Base, First, Notice, What, Work};
use crate::protocol::element::{Alignment, Marker};
use crate::protocol::failure::Failure;
use crate::protocol::fresh::FreshChunk;
use crate::protocol::manifest::{ChunkRef, OperatorSnapshot, SubtaskSnapshot, Within};
use crate::protocol::mutant::{self, Mutant};

impl Subtask {
    /// Queues what belongs to the end of a window.
    pub(super) fn end_window(&mut self, marker: Marker, alignment: Alignment) {
        let window = marker.window;
        if !self.finished {
            self.steps.push_back(Step::Run(What::EndWindow(window)));
            if marker.snapshot {
                self.steps.push_back(Step::Run(What::BeforeCheckpoint(window)));
            }
        }
        if marker.snapshot {
            self.timings.aligned(marker.window);
            self.steps.push_back(Step::Prepare(marker));
            self.steps.push_back(Step::Cut(marker, alignment));
        }
        self.steps.push_back(Step::Proceed(marker, alignment));
    }

    /// Calls a hook of the operators.
    pub(super) fn tell(&mut self, notice: Notice) -> Result<(), Failure> {
        if self.chain.as_ref().is_some_and(|chain| chain.operators() == 0) {
            self.notice_done();
            return Ok(());
        }
        self.call(Away::Notice, First::Nothing, Work::Tell(notice))
    }

    /// Takes the snapshot: `chunks` is what has changed in the state of each operator. Nothing is written here: the
    /// bytes go to the storage with a command.
    pub(super) fn cut(&mut self, marker: Marker, alignment: Alignment, chunks: Vec<Draft>) -> Result<(), Failure> {
        let window = marker.window;
        // A source closes the window itself; whoever is within one stays there.
        let within = alignment == Alignment::Unaligned && !self.origins.is_empty();
        self.outputs.flush();
        let mut operators = Vec::new();
        let mut fresh: Vec<FreshChunk> = Vec::new();
        if let Some(source) = &mut self.source {
            source.cut(window);
            let (max_time, partitions) = source.kept_times();
            operators.push(OperatorSnapshot {
                position: source.position.clone(),
                max_time,
                partitions,
                ..OperatorSnapshot::empty(&source.name)
            });
            fresh.push(Draft::default().into());
        }
        let Some(chain) = &self.chain else {
            return Err(Failure::engine(&*self.id.operator, "a snapshot of operators that are away"));
        };
        for (name, chunk) in chain.names().iter().zip(chunks) {
            operators.push(OperatorSnapshot::empty(name));
            fresh.push(chunk.into());
        }
        self.base = Base { window, watermark: self.seen_watermark, entries: chain.entries(), ..Base::default() };
        self.base_begun = self.begun.filter(|_| within);
        self.base_position = self.source.as_ref().and_then(|source| source.position.clone());
        (self.base_written, self.base_drained) = (self.counters.written, self.drained);
        self.journal.clear();
        self.asking.cut();
        if let Some(sink) = &mut self.sink {
            sink.cut();
            operators.push(OperatorSnapshot { pending: sink.listed(), ..OperatorSnapshot::empty(&sink.name) });
            fresh.push(Draft::default().into());
        }
        for (listed, _) in &mut self.letters {
            listed.get_or_insert(window);
        }
        let snapshot = SubtaskSnapshot {
            subtask: self.id.clone(),
            finished: self.finished,
            watermark: self.aligner.combined_watermark(),
            told: self.asking.told(),
            channel_watermarks: self.aligner.watermarks(),
            cursors: self.outputs.cursors(),
            read: self.counters.read,
            written: self.counters.written,
            set_aside: self.set_aside,
            letters: self.letters.iter().map(|(_, letter)| letter.clone()).collect(),
            operators,
            within: within.then(|| Within { ended: self.window, channels: self.aligner.windows() }),
            in_flight: None,
        };
        self.timings.taken(window, fresh.iter().map(|chunk| chunk.size() as u64).sum());
        let joined = self.sink.as_ref().map(|sink| sink.joined(&self.id, window)).unwrap_or_default();
        self.lineage.cut(window, snapshot, joined, fresh.into_iter().map(Arc::new).collect(), within);
        self.taken(window, within);
        self.write_next();
        Ok(())
    }

    pub(super) fn write_next(&mut self) {
        while let Some(request) = self.lineage.next_write() {
            if !request.is_empty() {
                self.commands.push(Command::Write(request));
                return;
            }
            // Nothing has changed: what is durable already is all there is.
            let window = request.window;
            let unchanged = request.operators.into_iter().map(|operator| operator.lineage).collect();
            self.acknowledge(window, Ok(unchanged));
        }
    }

    pub(super) fn written(
        &mut self,
        window: WindowId,
        result: Result<Vec<Vec<ChunkRef>>, String>,
    ) -> Result<(), Failure> {
        self.acknowledge(window, result);
        self.write_next();
        Ok(())
    }

    fn acknowledge(&mut self, window: WindowId, result: Result<Vec<Vec<ChunkRef>>, String>) {
        match self.lineage.written(window, result) {
            Ok(Some(mut cut)) => {
                if mutant::is(Mutant::PositionAhead)
                    && let (Some(source), Some(head)) = (&self.source, cut.snapshot.operators.first_mut())
                {
                    head.position.clone_from(&source.position);
                }
                self.notices.push_back((Notice::Checkpointed(window), Some(Box::new(cut))));
            }
            Ok(None) => {}
            Err(reason) => self.decline(window, Why::NotKept(reason)),
        }
    }

    pub(super) fn decline(&mut self, window: WindowId, why: Why) {
        self.commands.push(Command::Declined(Declined { window, ended: self.window, why }));
    }

    pub(super) fn committed(&mut self, window: WindowId) {
        if self.state == State::Running {
            self.tell_outside(window);
            self.notices.push_back((Notice::Committed(window), None));
        }
    }

    /// Tells the source and the sink of a commit.
    pub(super) fn tell_outside(&mut self, window: WindowId) {
        self.ladder.committed();
        self.letters.retain(|(listed, _)| listed.is_none_or(|listed| listed > window));
        if let Some(source) = &mut self.source {
            source.committed(window);
        }
        if let Some(sink) = &mut self.sink {
            sink.committed(window);
        }
    }

    /// The operators have heard the first of the notices.
    pub(super) fn notice_done(&mut self) {
        match self.notices.pop_front() {
            Some((Notice::Checkpointed(window), Some(cut))) => {
                let timing = self.timings.kept(window);
                let ack = Ack { fence: self.fence, window, snapshot: cut.snapshot, joined: cut.joined, timing };
                self.commands.push(Command::Ack(Box::new(ack)));
            }
            Some((Notice::Committed(window), _)) => {
                self.told = window;
                self.publishing.push_back(window);
            }
            Some((Notice::Checkpointed(_), None)) | None => {}
        }
        self.ladder.hook_done();
    }

    pub(super) fn see_published(&mut self) {
        while let Some(window) = self.publishing.front().copied() {
            if self.sink.as_ref().is_some_and(|sink| !sink.has_published(window)) {
                return;
            }
            self.publishing.pop_front();
            self.commands.push(Command::Told(window));
        }
    }
}
