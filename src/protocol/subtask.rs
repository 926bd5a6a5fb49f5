//! One subtask: inputs → operators → outputs, windows, cuts and commits, as a plain state machine.
//!
//! A driver (the actor in production, the simulator in tests) feeds it [`Event`]s and carries out its [`Command`]s;
//! it moves elements from the mailbox in while [`Subtask::takes`] says so, and from the outbox to the consumers'
//! mailboxes while these have room. Nothing here knows a clock, a thread or a disk.
//!
//! The life of a subtask: `Start` restores and opens the operators and asks for the source or sink to be opened; the
//! restored window is told as committed; [`Command::Ready`]. From then on, for every snapshot marker:
//!
//! ```text
//! end_window → before_checkpoint → (sink: prepare) → cut → marker goes on → write → checkpointed → Ack
//!                                                            … all acks, commit …  → Committed → committed → Told
//! ```
//!
//! After the first failure it does nothing any more: it is dropped and made anew by whoever restarts it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use piton_actors::host::{AnyOperator, AnySink, AnySource, Keyer, SinkCall};
use piton_actors::{Batch, Result as UserResult, Timestamp, WATERMARK_MIN, WindowId};

use crate::ids::{Fence, SubtaskId};
use crate::protocol::align::Aligner;
use crate::protocol::chain::{Chain, Tail};
use crate::protocol::element::{Behind, Element, Marker};
use crate::protocol::failure::Failure;
use crate::protocol::lineage::{Lineage, WriteRequest};
use crate::protocol::manifest::{ChunkRef, JoinedOutput, OperatorSnapshot, PendingOutput, SubtaskSnapshot};
use crate::protocol::mutant::{self, Mutant};
use crate::protocol::output::{OutputSpec, Outputs};
use crate::protocol::sink::{SinkNews, SinkTail};
use crate::protocol::source::{SourceAnswer, SourceCall, SourceHead, SourceNews};

/// What a subtask is made of.
pub struct SubtaskSpec {
    /// Its name: that of the head of its chain, and its index.
    pub id: SubtaskId,
    /// The region it belongs to.
    pub region: String,
    /// The life it is made for.
    pub fence: Fence,
    /// The source at the head, with its name and how late its records may come in event time (ms).
    pub source: Option<(String, Box<dyn AnySource>, i64)>,
    /// The operators, head first, with their names.
    pub operators: Vec<(String, Box<dyn AnyOperator>)>,
    /// The sink at the end, with its name.
    pub sink: Option<(String, Box<dyn AnySink>)>,
    /// What user code is told about itself; the name is filled in for each operator.
    pub info: piton_actors::Subtask,
    /// For each input channel: the port of the first operator (or sink) that it leads to.
    pub inputs: Vec<usize>,
    /// The output edges.
    pub outputs: Vec<OutputSpec>,
    /// How many rows a routed batch holds at most.
    pub batch_rows: usize,
    /// Whether snapshot markers block their channel (exactly-once) or not (at-least-once).
    pub aligned: bool,
}

/// What a subtask continues from.
pub struct Restored {
    /// The committed window.
    pub window: WindowId,
    /// Its snapshot.
    pub snapshot: SubtaskSnapshot,
    /// The chunks of each operator's state, in the order of the snapshot, oldest first.
    pub chunks: Vec<Vec<Vec<u8>>>,
    /// Operators that take over what belongs to them in the states of several subtasks, because the parallelism was
    /// changed: for each of those its chunks, oldest first. They have no chunks of their own.
    pub adopted: BTreeMap<String, Vec<Vec<Vec<u8>>>>,
    /// Pending outputs of windows that were rolled back: to be thrown away.
    pub abandoned: Vec<PendingOutput>,
}

/// What happens to a subtask.
pub enum Event {
    /// It begins, from a checkpoint or from nothing.
    Start(Option<Box<Restored>>),
    /// An element of an input channel was taken from the mailbox; only while [`Subtask::takes`] it.
    Element(usize, Element),
    /// The coordinator closes a window; sources only.
    CloseWindow(Marker, Behind),
    /// The input is to end here, as if there were no more of it; sources only.
    Drain,
    /// The source is back. `Err` if it is lost to a panic.
    Source(Option<Box<dyn AnySource>>, Result<SourceAnswer, Failure>),
    /// The sink is back. `Err` if it is lost to a panic.
    Sink(Option<Box<dyn AnySink>>, Result<UserResult<Option<Vec<u8>>>, Failure>),
    /// A cut was made durable, or not: the new lineage of each operator's state.
    Written(WindowId, Result<Vec<Vec<ChunkRef>>, String>),
    /// The checkpoint of this window is true.
    Committed(WindowId),
    /// Time has passed: something may be due.
    Wake,
    /// There is nothing to take and nothing to poll: what waits in the routers may go.
    Idle,
}

/// What a subtask asks of its driver.
pub enum Command {
    /// Make this call on the source and bring both back with [`Event::Source`].
    Source(SourceCall, Box<dyn AnySource>),
    /// Make this call on the sink and bring both back with [`Event::Sink`].
    Sink(SinkCall, Box<dyn AnySink>),
    /// Make this cut durable and answer with [`Event::Written`].
    Write(WriteRequest),
    /// Tell the coordinator: opened, and told the restored window.
    Ready,
    /// Tell the coordinator: the source has sent the marker of this window.
    Closed(WindowId),
    /// Tell the coordinator: the snapshot of this window is durable.
    Ack(Box<Ack>),
    /// Tell the coordinator: the snapshot of this window could not be made durable.
    Declined(WindowId, String),
    /// Tell the coordinator: `committed` of this window was seen through, outputs published.
    Told(WindowId),
    /// Tell the coordinator: all inputs have ended and the operators are closed.
    Finished,
    /// Tell the supervisor: it has failed and does nothing any more.
    Failed(Failure),
}

/// The acknowledgement of a checkpoint.
#[derive(Clone, Debug)]
pub struct Ack {
    /// The life that took the snapshot.
    pub fence: Fence,
    /// The checkpoint.
    pub window: WindowId,
    /// The snapshot.
    pub snapshot: SubtaskSnapshot,
    /// What takes part in the commit.
    pub joined: Vec<JoinedOutput>,
}

/// What a subtask has counted; what its source read and its sink wrote, since the job began and without what was rolled
/// back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Records that its source has emitted.
    pub read: u64,
    /// Records that its sink has taken.
    pub written: u64,
    /// Records that it has taken from its inputs.
    pub taken: u64,
}

/// The state machine. See the module.
pub struct Subtask {
    id: SubtaskId,
    fence: Fence,
    source: Option<SourceHead>,
    chain: Chain,
    sink: Option<SinkTail>,
    ports: Vec<usize>,
    aligner: Aligner,
    outputs: Outputs,
    state: State,
    /// The last window that has ended.
    window: WindowId,
    /// The restored window, until it was told.
    restored: WindowId,
    /// Whether the operators are closed.
    finished: bool,
    /// Whether the sink was asked to prepare what it took up to its end: it is not asked again.
    drained: bool,
    /// Markers of the coordinator that a source has not yet sent.
    closes: VecDeque<(Marker, Behind)>,
    /// Whether its source is to read nothing more.
    held: bool,
    /// Whether its source is to come to its end.
    draining: bool,
    /// The snapshot marker whose cut waits for the sink.
    cutting: Option<Marker>,
    lineage: Lineage,
    /// Windows that were told as committed and whose outputs are not yet all published.
    publishing: VecDeque<WindowId>,
    commands: Vec<Command>,
    counters: Counters,
    key_groups: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Created,
    Opening,
    Running,
    Failed,
}

/// What the chain's output goes into.
struct Downstream<'a> {
    outputs: &'a mut Outputs,
    sink: Option<&'a mut SinkTail>,
    port: usize,
    written: &'a mut u64,
}

impl Tail for Downstream<'_> {
    fn take(&mut self, batch: Batch) -> Result<(), Failure> {
        match &mut self.sink {
            Some(sink) => {
                *self.written += batch.len() as u64;
                sink.write(self.port, batch);
                Ok(())
            }
            None => self.outputs.send(&batch),
        }
    }
}

/// Splits the borrow of a subtask into its chain and what lies behind it.
macro_rules! downstream {
    ($self:ident, $port:expr) => {
        Downstream {
            outputs: &mut $self.outputs,
            sink: $self.sink.as_mut(),
            port: $port,
            written: &mut $self.counters.written,
        }
    };
}

impl Subtask {
    /// Makes a subtask; it begins with [`Event::Start`].
    pub fn new(spec: SubtaskSpec) -> Subtask {
        let named = |name: &str| piton_actors::Subtask { operator: name.into(), ..spec.info.clone() };
        let mut names: Vec<String> = Vec::new();
        let chain = Chain::new(spec.operators);
        let rows = spec.batch_rows;
        let outputs = Outputs::new(spec.outputs, |channels| match (chain.scatter(channels, rows), &spec.source) {
            (Some(scatter), _) => scatter,
            (None, Some((_, source, _))) => source.scatter(channels, rows),
            (None, None) => unreachable!("only a sink can be without operators and source, and it has no outputs"),
        });
        let source = spec.source.map(|(name, source, out_of_order)| {
            names.push(name.clone());
            SourceHead::new(name.clone(), source, named(&name), out_of_order)
        });
        names.extend(chain.links.iter().map(|link| link.name.clone()));
        let sink = spec.sink.map(|(name, sink)| {
            names.push(name.clone());
            SinkTail::new(name.clone(), sink, named(&name))
        });
        Subtask {
            lineage: Lineage::new(spec.id.clone(), spec.region, spec.fence, names),
            id: spec.id,
            fence: spec.fence,
            source,
            chain,
            sink,
            aligner: Aligner::new(spec.inputs.len(), WindowId::NONE, spec.aligned),
            ports: spec.inputs,
            outputs,
            state: State::Created,
            window: WindowId::NONE,
            restored: WindowId::NONE,
            finished: false,
            drained: false,
            closes: VecDeque::new(),
            held: false,
            draining: false,
            cutting: None,
            publishing: VecDeque::new(),
            commands: Vec::new(),
            counters: Counters::default(),
            key_groups: spec.info.key_groups,
        }
    }

    /// Takes an event; what is to be done about it is in [`Subtask::commands`] afterwards.
    ///
    /// Every input of a subtask passes through here, in the order in which user code sees it: this is where a journal
    /// of consumed entries belongs.
    pub fn on(&mut self, event: Event, now: Timestamp) {
        if self.state == State::Failed {
            return;
        }
        let done = self.handle(event, now).and_then(|()| self.advance(now));
        if let Err(failure) = done {
            self.state = State::Failed;
            self.commands.push(Command::Failed(failure));
        }
    }

    /// Returns the commands given since the last call.
    pub fn commands(&mut self) -> std::vec::Drain<'_, Command> {
        self.commands.drain(..)
    }

    /// Returns its name.
    pub fn id(&self) -> &SubtaskId {
        &self.id
    }

    /// Returns the life it was made for.
    pub fn fence(&self) -> Fence {
        self.fence
    }

    /// Returns whether it has failed.
    pub fn has_failed(&self) -> bool {
        self.state == State::Failed
    }

    /// Returns whether it is ready to work: everything before it is seen through.
    pub fn is_free(&self) -> bool {
        self.state == State::Running
            && self.cutting.is_none()
            && self.outputs.is_clear()
            && self.sink.as_ref().is_none_or(SinkTail::is_quiet)
    }

    /// Returns whether it takes an element of this input channel now.
    pub fn takes(&self, channel: usize) -> bool {
        self.is_free() && self.aligner.is_open(channel)
    }

    /// Returns the name of its source, or its own if it has none.
    pub fn source_name(&self) -> &str {
        self.source.as_ref().map_or(&*self.id.operator, |source| &source.name)
    }

    /// Returns the name of its sink, or its own if it has none.
    pub fn sink_name(&self) -> &str {
        self.sink.as_ref().map_or(&*self.id.operator, |sink| &sink.name)
    }

    /// Returns the number of input channels.
    pub fn inputs(&self) -> usize {
        self.ports.len()
    }

    /// Returns the number of output channels, over all edges.
    pub fn output_channels(&self) -> usize {
        self.outputs.channels()
    }

    /// Returns the next element for an output channel, without taking it.
    pub fn peek_output(&self, channel: usize) -> Option<&Element> {
        self.outputs.peek(channel)
    }

    /// Takes the next element for an output channel. After the last one, a [`Event::Wake`] lets work go on.
    pub fn take_output(&mut self, channel: usize) -> Option<Element> {
        self.outputs.take(channel)
    }

    /// Returns whether nothing waits to be sent.
    pub fn outbox_is_clear(&self) -> bool {
        self.outputs.is_clear()
    }

    /// Returns when it wants a [`Event::Wake`] at the latest, if it does.
    pub fn wake_at(&self) -> Option<Timestamp> {
        // While it is not free, whatever frees it lets work go on; a time that is over would wake it for nothing.
        let is_free = self.is_free();
        let source = self.source.as_ref().and_then(|source| source.wake_at(is_free && !self.held));
        let sink = self.sink.as_ref().and_then(SinkTail::retry_at);
        let timer = self.chain.next_timer().filter(|_| is_free && !self.finished);
        [source, sink, timer].into_iter().flatten().min()
    }

    /// Returns the pending outputs of windows above this one: what a rollback to it must abort.
    pub fn pending_above(&self, window: WindowId) -> Vec<PendingOutput> {
        self.sink.as_ref().map(|sink| sink.above(window)).unwrap_or_default()
    }

    /// Returns what it has counted.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Returns the last window that has ended here.
    pub fn window(&self) -> WindowId {
        self.window
    }

    /// Returns the combined watermark of its inputs, or of its source.
    pub fn watermark(&self) -> Timestamp {
        self.aligner.combined_watermark()
    }

    /// Makes what computes keys for edges that lead to an input port of this subtask.
    pub fn keyer(&self, port: usize) -> Option<Box<dyn Keyer>> {
        self.chain.keyer(port)
    }

    /// Returns how many key groups the job has.
    pub fn key_groups(&self) -> u32 {
        self.key_groups
    }

    fn handle(&mut self, event: Event, now: Timestamp) -> Result<(), Failure> {
        match event {
            Event::Start(restored) => self.start(restored, now),
            Event::Element(channel, element) => self.element(channel, element, now),
            Event::CloseWindow(marker, behind) => {
                self.closes.push_back((marker, behind));
                Ok(())
            }
            Event::Drain => {
                self.draining = true;
                Ok(())
            }
            Event::Source(source, answer) => self.source_answered(source, answer, now),
            Event::Sink(sink, answer) => self.sink_answered(sink, answer, now),
            Event::Written(window, result) => self.written(window, result),
            Event::Committed(window) => self.committed(window),
            Event::Wake => self.fire_timers(now),
            Event::Idle => {
                if self.state == State::Running && self.cutting.is_none() {
                    self.outputs.flush();
                }
                Ok(())
            }
        }
    }

    /// Goes on with whatever has become possible.
    fn advance(&mut self, now: Timestamp) -> Result<(), Failure> {
        if self.state == State::Created {
            return Ok(());
        }
        // A poll under way belongs to the window that it began in: its rows come before the marker.
        while self.is_free()
            && (self.source.as_ref().is_none_or(SourceHead::is_here) || mutant::is(Mutant::PollBeyondMarker))
        {
            let Some((marker, behind)) = self.closes.pop_front() else { break };
            self.held = behind == Behind::Hold;
            self.end_window(marker, now)?;
            self.commands.push(Command::Closed(marker.window));
        }
        if self.draining
            && self.is_free()
            && !self.finished
            && let Some(source) = self.source.as_mut().filter(|source| source.is_here())
        {
            source.done = true;
            self.end_source(now)?;
        }
        if let Some(sink) = &mut self.sink
            && let Some((call, sink)) = sink.next_call(now)
        {
            self.commands.push(Command::Sink(call, sink));
        }
        let may_poll = self.is_free() && !self.held;
        if let Some(source) = &mut self.source
            && let Some((call, source)) = source.next_call(now, may_poll)
        {
            self.commands.push(Command::Source(call, source));
        }
        self.see_published();
        self.see_opened(now)
    }

    // Opening.

    fn start(&mut self, restored: Option<Box<Restored>>, now: Timestamp) -> Result<(), Failure> {
        self.state = State::Opening;
        let mut snapshots = VecDeque::new();
        let mut chunks = VecDeque::new();
        let mut abandoned = Vec::new();
        let mut adopted = BTreeMap::new();
        if let Some(restored) = restored {
            let Restored { window, snapshot, chunks: kept, adopted: shared, abandoned: rolled_back } = *restored;
            adopted = shared;
            self.window = window;
            self.restored = window;
            self.finished = snapshot.finished;
            self.drained = snapshot.finished;
            self.counters.read = snapshot.read;
            self.counters.written = snapshot.written;
            self.aligner = Aligner::new(self.ports.len(), window, self.aligner.blocks());
            self.aligner.restore_watermarks(snapshot.watermark, &snapshot.channel_watermarks);
            self.outputs.restore_cursors(&snapshot.cursors);
            self.lineage.restore(&snapshot.operators);
            snapshots.extend(snapshot.operators);
            chunks.extend(kept);
            abandoned = rolled_back;
        }
        let watermark = self.aligner.combined_watermark();
        if let Some(source) = &mut self.source {
            let snapshot = snapshots.pop_front();
            chunks.pop_front();
            let max_time = snapshot.as_ref().and_then(|snapshot| snapshot.max_time);
            source.done = self.finished;
            source.open(snapshot.and_then(|snapshot| snapshot.position), max_time);
        }
        for link in &mut self.chain.links {
            snapshots.pop_front();
            let mut chunks = chunks.pop_front().unwrap_or_default();
            if mutant::is(Mutant::BaseForgotten) && chunks.len() > 1 {
                chunks.drain(..chunks.len() - 1);
            }
            crate::protocol::failure::guard(&link.name, || match adopted.get(&link.name) {
                Some(states) => link.operator.adopt(states, watermark),
                None => link.operator.restore(chunks, watermark),
            })?;
        }
        if let Some(sink) = &mut self.sink {
            let pending = snapshots.pop_front().map(|snapshot| snapshot.pending).unwrap_or_default();
            sink.open(pending, abandoned);
        }
        if self.finished {
            return self.chain.open_ended(now);
        }
        let mut tail = downstream!(self, 0);
        self.chain.open(now, &mut tail)
    }

    /// Once the source and the sink are open: tells the restored window, and begins the next.
    fn see_opened(&mut self, now: Timestamp) -> Result<(), Failure> {
        let opened =
            self.source.as_ref().is_none_or(SourceHead::is_quiet) && self.sink.as_ref().is_none_or(SinkTail::is_quiet);
        if self.state != State::Opening || !opened {
            return Ok(());
        }
        self.state = State::Running;
        if self.restored > WindowId::NONE && !mutant::is(Mutant::RestoredNotTold) {
            if let Some(source) = &mut self.source {
                source.cut(self.restored);
            }
            self.tell_committed(self.restored)?;
        }
        if self.finished {
            // The channels are new: whoever reads them has to hear of the end again.
            if !mutant::is(Mutant::EndNotRepeated) {
                // A reader whose channels are others than before may not know the last watermark.
                self.outputs.send_watermark(self.aligner.combined_watermark());
                self.outputs.send_end();
            }
            self.commands.push(Command::Finished);
        } else {
            let next = self.window.next();
            let mut tail = downstream!(self, 0);
            self.chain.each(now, &mut tail, |operator| operator.begin_window(next))?;
        }
        self.commands.push(Command::Ready);
        self.advance(now)
    }

    // Data.

    fn element(&mut self, channel: usize, element: Element, now: Timestamp) -> Result<(), Failure> {
        debug_assert!(self.takes(channel), "an element was delivered that is not taken");
        match element {
            Element::Batch(batch) => {
                self.counters.taken += batch.len() as u64;
                let port = self.ports[channel];
                self.process(port, batch, now)
            }
            Element::Watermark(watermark) => match self.aligner.watermark(channel, watermark) {
                Some(combined) => self.advance_watermark(combined, now),
                None => Ok(()),
            },
            Element::Marker(marker) => {
                let id = &self.id;
                self.aligner.marker(channel, marker).map_err(|lost| Failure::engine(&*id.operator, lost))?;
                while let Some(ended) = self.aligner.next_ended() {
                    self.end_window(ended, now)?;
                }
                Ok(())
            }
            Element::End => {
                if self.aligner.end(channel) && !self.finished {
                    self.finish(now)?;
                }
                Ok(())
            }
        }
    }

    fn process(&mut self, port: usize, batch: Batch, now: Timestamp) -> Result<(), Failure> {
        let mut tail = downstream!(self, if self.chain.links.is_empty() { port } else { 0 });
        self.chain.process(port, batch, now, &mut tail)
    }

    fn advance_watermark(&mut self, watermark: Timestamp, now: Timestamp) -> Result<(), Failure> {
        if self.finished {
            return Ok(());
        }
        let mut tail = downstream!(self, 0);
        self.chain.advance_watermark(watermark, now, &mut tail)?;
        self.outputs.send_watermark(watermark);
        Ok(())
    }

    fn fire_timers(&mut self, now: Timestamp) -> Result<(), Failure> {
        if !self.is_free() || self.finished || self.chain.next_timer().is_none_or(|at| at > now) {
            return Ok(());
        }
        let mut tail = downstream!(self, 0);
        self.chain.each(now, &mut tail, |operator| operator.fire_processing_timers())
    }

    fn finish(&mut self, now: Timestamp) -> Result<(), Failure> {
        let mut tail = downstream!(self, 0);
        self.chain.each(now, &mut tail, |operator| operator.close())?;
        self.outputs.send_end();
        self.finished = true;
        self.commands.push(Command::Finished);
        Ok(())
    }

    fn source_answered(
        &mut self,
        source: Option<Box<dyn AnySource>>,
        answer: Result<SourceAnswer, Failure>,
        now: Timestamp,
    ) -> Result<(), Failure> {
        let Some(head) = &mut self.source else {
            return Err(Failure::engine(&*self.id.operator, "a source answered that is not here"));
        };
        let polled = match head.answered(source, answer, now)? {
            SourceNews::Nothing | SourceNews::Opened => return Ok(()),
            SourceNews::Polled(polled) => polled,
        };
        let done = head.done;
        for batch in polled.batches {
            self.counters.read += batch.len() as u64;
            let watermark = self.source.as_mut().and_then(|head| head.watermark_behind(&*batch));
            self.process(0, batch, now)?;
            if let Some(watermark) = watermark {
                self.aligner.set_watermark(watermark);
                self.advance_watermark(watermark, now)?;
            }
        }
        if done && !self.finished { self.end_source(now) } else { Ok(()) }
    }

    /// Nothing more comes from the source: time runs to its end.
    fn end_source(&mut self, now: Timestamp) -> Result<(), Failure> {
        let last = self.source.as_ref().map_or(WATERMARK_MIN, SourceHead::last_watermark);
        self.aligner.set_watermark(last);
        self.advance_watermark(last, now)?;
        self.finish(now)
    }

    fn sink_answered(
        &mut self,
        sink: Option<Box<dyn AnySink>>,
        answer: Result<UserResult<Option<Vec<u8>>>, Failure>,
        now: Timestamp,
    ) -> Result<(), Failure> {
        let Some(tail) = &mut self.sink else {
            return Err(Failure::engine(&*self.id.operator, "a sink answered that is not here"));
        };
        match tail.answered(sink, answer, now)? {
            SinkNews::Nothing | SinkNews::Opened => Ok(()),
            SinkNews::Prepared(window) => match self.cutting.take() {
                Some(marker) if marker.window == window => self.cut(marker, now),
                _ => Err(Failure::engine(&*self.id.operator, "the sink has prepared a window that was not asked for")),
            },
        }
    }

    // Windows and checkpoints.

    fn end_window(&mut self, marker: Marker, now: Timestamp) -> Result<(), Failure> {
        let window = marker.window;
        if window != self.window.next() {
            let message = format!("asked to end window {window} after window {}", self.window);
            return Err(Failure::engine(&*self.id.operator, message));
        }
        if !self.finished {
            let mut tail = downstream!(self, 0);
            self.chain.each(now, &mut tail, |operator| operator.end_window(window))?;
            if marker.snapshot {
                self.chain.each(now, &mut tail, |operator| operator.before_checkpoint(window))?;
            }
        }
        match &mut self.sink {
            Some(sink) if marker.snapshot && !self.drained => {
                self.drained = self.finished;
                self.cutting = Some(marker);
                sink.prepare(window);
                Ok(())
            }
            _ if marker.snapshot => self.cut(marker, now),
            _ => self.begin_next_window(marker, now),
        }
    }

    /// Takes the snapshot. Nothing is written here: the bytes go to the storage with a command.
    fn cut(&mut self, marker: Marker, now: Timestamp) -> Result<(), Failure> {
        let window = marker.window;
        self.outputs.flush();
        let mut operators = Vec::new();
        let mut fresh = Vec::new();
        if let Some(source) = &mut self.source {
            source.cut(window);
            operators.push(OperatorSnapshot {
                position: source.position.clone(),
                max_time: Some(source.max_time()),
                ..OperatorSnapshot::empty(&source.name)
            });
            fresh.push(Vec::new());
        }
        for link in &mut self.chain.links {
            let chunk = crate::protocol::failure::guard(&link.name, || link.operator.cut())?;
            operators.push(OperatorSnapshot::empty(&link.name));
            fresh.push(chunk);
        }
        if let Some(sink) = &self.sink {
            operators.push(OperatorSnapshot { pending: sink.listed(), ..OperatorSnapshot::empty(&sink.name) });
            fresh.push(Vec::new());
        }
        let snapshot = SubtaskSnapshot {
            subtask: self.id.clone(),
            finished: self.finished,
            watermark: self.aligner.combined_watermark(),
            channel_watermarks: self.aligner.watermarks(),
            cursors: self.outputs.cursors(),
            read: self.counters.read,
            written: self.counters.written,
            operators,
        };
        let joined = self.sink.as_ref().map(|sink| sink.joined(&self.id, window)).unwrap_or_default();
        self.lineage.cut(window, snapshot, joined, fresh.into_iter().map(Arc::new).collect());
        self.begin_next_window(marker, now)?;
        self.write_next()
    }

    fn begin_next_window(&mut self, marker: Marker, now: Timestamp) -> Result<(), Failure> {
        self.outputs.send_marker(marker);
        self.window = marker.window;
        self.aligner.unblock();
        if self.finished {
            return Ok(());
        }
        let next = self.window.next();
        let mut tail = downstream!(self, 0);
        self.chain.each(now, &mut tail, |operator| operator.begin_window(next))
    }

    fn write_next(&mut self) -> Result<(), Failure> {
        while let Some(request) = self.lineage.next_write() {
            if !request.is_empty() {
                self.commands.push(Command::Write(request));
                return Ok(());
            }
            // Nothing has changed: what is durable already is all there is.
            let window = request.window;
            let unchanged = request.operators.into_iter().map(|operator| operator.lineage).collect();
            self.acknowledge(window, Ok(unchanged))?;
        }
        Ok(())
    }

    fn written(&mut self, window: WindowId, result: Result<Vec<Vec<ChunkRef>>, String>) -> Result<(), Failure> {
        self.acknowledge(window, result)?;
        self.write_next()
    }

    fn acknowledge(&mut self, window: WindowId, result: Result<Vec<Vec<ChunkRef>>, String>) -> Result<(), Failure> {
        match self.lineage.written(window, result) {
            Ok(Some(mut cut)) => {
                if mutant::is(Mutant::PositionAhead)
                    && let (Some(source), Some(head)) = (&self.source, cut.snapshot.operators.first_mut())
                {
                    head.position.clone_from(&source.position);
                }
                self.chain.tell(|operator| operator.checkpointed(window))?;
                let ack = Ack { fence: self.fence, window, snapshot: cut.snapshot, joined: cut.joined };
                self.commands.push(Command::Ack(Box::new(ack)));
            }
            Ok(None) => {}
            Err(reason) => self.commands.push(Command::Declined(window, reason)),
        }
        Ok(())
    }

    fn committed(&mut self, window: WindowId) -> Result<(), Failure> {
        if self.state == State::Running { self.tell_committed(window) } else { Ok(()) }
    }

    fn tell_committed(&mut self, window: WindowId) -> Result<(), Failure> {
        self.chain.tell(|operator| operator.committed(window))?;
        if let Some(source) = &mut self.source {
            source.committed(window);
        }
        if let Some(sink) = &mut self.sink {
            sink.committed(window);
        }
        self.publishing.push_back(window);
        Ok(())
    }

    fn see_published(&mut self) {
        while let Some(window) = self.publishing.front().copied() {
            if self.sink.as_ref().is_some_and(|sink| !sink.has_published(window)) {
                return;
            }
            self.publishing.pop_front();
            self.commands.push(Command::Told(window));
        }
    }
}
