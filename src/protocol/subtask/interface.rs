//! What a subtask is made of, what it is told and what it asks for.

use std::collections::BTreeMap;
use std::sync::Arc;

use piton_actors::host::{AnySink, AnySource, SinkCall};
use piton_actors::{Batch, Result as UserResult, Timestamp, WindowId};

use super::{Restart, Timing};
use crate::ids::{Fence, SubtaskId};
use crate::protocol::asking::{Asked, Attempt};
use crate::protocol::capture::InFlight;
use crate::protocol::chain::{Chain, ChainAnswer, ChainCall, ChainFailure, Packed, SideExit, Wire};
use crate::protocol::drift::{Pace, Slowest};
use crate::protocol::element::{Alignment, Behind, Element, Marker};
use crate::protocol::failure::Failure;
use crate::protocol::ladder::LadderSettings;
use crate::protocol::lineage::WriteRequest;
use crate::protocol::manifest::{ChunkRef, DeadLetter, JoinedOutput, Origin, PendingOutput, SubtaskSnapshot};
use crate::protocol::output::OutputSpec;
use crate::protocol::source::{EventTime, SourceAnswer, SourceCall};
use crate::protocol::workshop::Workshop;

/// What a subtask is made of.
pub struct SubtaskSpec {
    /// Its name: that of the head of its chain, and its index.
    pub id: SubtaskId,
    /// The region it belongs to.
    pub region: String,
    /// The life it is made for.
    pub fence: Fence,
    /// The name of the source at the head, and how its watermark follows from its records.
    pub source: Option<(String, EventTime)>,
    /// The names of the operators, each behind those that it reads.
    pub operators: Vec<String>,
    /// Who of them reads whom.
    pub wires: Vec<Wire>,
    /// The side outputs of the operators that somebody reads.
    pub sides: Vec<SideExit>,
    /// The name of the sink at the end.
    pub sink: Option<String>,
    /// Makes them.
    pub workshop: Arc<dyn Workshop>,
    /// What user code is told about itself; the name is filled in for each operator.
    pub info: piton_actors::Subtask,
    /// The input channels.
    pub inputs: Vec<Origin>,
    /// The output edges.
    pub outputs: Vec<OutputSpec>,
    /// How many rows a routed batch holds at most.
    pub batch_rows: usize,
    /// Whether snapshot markers block their channel (exactly-once) or not (at-least-once).
    pub aligned: bool,
    /// How failures are treated.
    pub ladder: LadderSettings,
    /// Measures how long a restart takes, in ns: for reports only, nothing is decided by it.
    pub stopwatch: Stopwatch,
}

/// Measures time, in ns since whenever.
pub type Stopwatch = Arc<dyn Fn() -> u64 + Send + Sync>;

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
    /// What was under way to it, and which watermark each channel has behind that, if it was spread anew, in ms.
    pub in_flight: (Vec<Packed>, Vec<(usize, Timestamp)>),
}

/// What happens to a subtask.
pub enum Event {
    /// It begins, from a checkpoint or from nothing.
    Start(Option<Box<Restored>>),
    /// An element of an input channel was taken from the mailbox; only while [`Subtask::takes`](super::Subtask::takes) it.
    Element(usize, Element),
    /// The coordinator closes a window; sources only. If it ends with a snapshot, this is how that is taken; and so far were
    /// the slowest of the region's sources at the end of the window before.
    CloseWindow(Marker, Behind, Alignment, Slowest),
    /// The mailbox has word of the checkpoint of this window, which does not wait for the end of it.
    Heard(WindowId),
    /// What is under way for the checkpoint of this window, in each channel, after [`Command::Capture`].
    Captured(WindowId, Vec<Vec<InFlight>>),
    /// The coordinator lets the checkpoint of this window wait no more.
    Overtake(WindowId),
    /// The input is to end here, as if there were no more of it; sources only.
    Drain,
    /// The operators are back. Without the chain if it is lost, which is always a failure.
    Chain(Option<Box<Chain>>, Result<ChainAnswer, ChainFailure>),
    /// What came of a request to the outside. `Err` if it panicked.
    Answered(Attempt, Result<UserResult<Batch>, Failure>),
    /// Every request that was under way is lost, for this reason.
    RequestsLost(Failure, Option<u64>),
    /// The source is back. `Err` if it is lost to a panic.
    Source(Option<Box<dyn AnySource>>, Result<SourceAnswer, Failure>),
    /// The sink is back. `Err` if it is lost to a panic.
    Sink(Option<Box<dyn AnySink>>, Result<UserResult<Option<Vec<u8>>>, Failure>),
    /// A cut was made durable, or not: the new lineage of each operator's state.
    Written(WindowId, Result<Vec<Vec<ChunkRef>>, String>),
    /// The chunks that were asked for, or why they cannot be read.
    Loaded(Result<Vec<Vec<Vec<u8>>>, String>),
    /// The checkpoint of this window is true.
    Committed(WindowId),
    /// Time has passed: something may be due.
    Wake,
    /// There is nothing to take and nothing to poll: what waits in the routers may go.
    Idle,
}

/// What a subtask asks of its driver.
pub enum Command {
    /// Make this call on the operators, at once, and bring both back with [`Event::Chain`].
    Chain(ChainCall, Box<Chain>),
    /// Make a request to the outside, or give one up; what comes of it is told with [`Event::Answered`].
    Ask(Asked),
    /// Make this call on the source and bring both back with [`Event::Source`].
    Source(SourceCall, Box<dyn AnySource>),
    /// Make this call on the sink and bring both back with [`Event::Sink`].
    Sink(SinkCall, Box<dyn AnySink>),
    /// Collect at once what is under way for the checkpoint of this window, and bring it with [`Event::Captured`] when
    /// that is known. The channels for which this is true have delivered their sender's word already.
    Capture(WindowId, Vec<bool>),
    /// Let the mailbox bring word of the checkpoint of this window as soon as there is any: it waits no more.
    Overtake(WindowId),
    /// Make this cut durable and answer with [`Event::Written`].
    Write(WriteRequest),
    /// Read these chunks and answer with [`Event::Loaded`].
    Load(Vec<Vec<ChunkRef>>),
    /// Tell the coordinator: whether a snapshot can be taken within a window is not known before a window has ended.
    Unsure,
    /// Tell the coordinator: opened, and told the restored window.
    Ready,
    /// Tell the coordinator: the source has sent the marker of this window, and is so far.
    Closed(WindowId, Pace),
    /// Tell the coordinator: the snapshot of this window is durable.
    Ack(Box<Ack>),
    /// Tell the coordinator: the snapshot of this window could not be made durable.
    Declined(Declined),
    /// Tell the coordinator: `committed` of this window was seen through, outputs published.
    Told(WindowId),
    /// Tell the coordinator: all inputs have ended and the operators are closed.
    Finished,
    /// Tell the coordinator: the journal is half full, and only a checkpoint makes it shorter.
    JournalFull,
    /// Report: something was restarted alone.
    Restarted(Box<Restart>),
    /// Report: a record was set aside or left out.
    SetAside(Box<DeadLetter>),
    /// Tell the supervisor: it has failed and does nothing any more. Says why it was not dealt with here, if there is
    /// more to say than the failure does.
    Failed(Failure, Option<String>),
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
    /// When it got how far.
    pub timing: Timing,
}

/// Why there is no snapshot of a window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declined {
    /// The window.
    pub window: WindowId,
    /// The last window that has ended at the subtask.
    pub ended: WindowId,
    /// Why.
    pub why: Why,
}

/// What keeps a subtask from a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// It was taken, but could not be made durable, for this reason.
    NotKept(String),
    /// An operator holds rows in its fields until a window ends, so that it cannot be taken within one; without its name
    /// if it is only not known that none does.
    HoldsRows(Option<String>),
}

impl std::fmt::Display for Why {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Why::NotKept(reason) => write!(f, "could not be kept: {reason}"),
            Why::HoldsRows(Some(operator)) => {
                write!(f, "has to wait for the end of a window: until then \"{operator}\" holds rows in its fields")
            }
            Why::HoldsRows(None) => {
                f.write_str("has to wait for the end of a window: whether an operator holds rows is not known before")
            }
        }
    }
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
