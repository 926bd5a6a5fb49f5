//! What a chain is asked to do, and what it answers.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use piton_actors::host::{Ask, AskId};
use piton_actors::state::Draft;
use piton_actors::{Batch, Timestamp, WindowId};

use super::Exit;
use crate::protocol::capture::InFlight;
use crate::protocol::failure::Failure;
use crate::protocol::manifest::SubtaskSnapshot;

/// Something that the operators see, in its order: what a replay repeats.
#[derive(Clone)]
pub struct Entry {
    /// The engine's time for all of it, in ms.
    pub now: Timestamp,
    /// What happens.
    pub what: What,
}

/// What happens to the operators of a chain.
#[derive(Clone)]
pub enum What {
    /// A batch arrives at an input port of the first operator.
    Batch(usize, Batch),
    /// A request of the last operator is answered, or given up.
    Answer(AskId, Option<Batch>),
    /// The watermark advances.
    Watermark(Timestamp),
    /// Timers of the engine's clock are due.
    Timers,
    /// A window begins.
    BeginWindow(WindowId),
    /// A window ends.
    EndWindow(WindowId),
    /// The end of this window is a checkpoint.
    BeforeCheckpoint(WindowId),
    /// All inputs have ended.
    Close,
}

/// A hook that neither emits nor changes state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The snapshot of this window is durable.
    Checkpointed(WindowId),
    /// The checkpoint of this window is true.
    Committed(WindowId),
}

/// What a chain is asked to do.
pub struct ChainCall {
    /// What has to be done before.
    pub first: First,
    /// What is asked for.
    pub work: Work,
    /// Whether the work must be possible to take back.
    pub undoable: bool,
}

/// What has to be done before the work of a call.
pub enum First {
    /// Nothing.
    Nothing,
    /// The last call has failed: take it back and go on with fresh instances.
    Undo(Renewal),
    /// Go on with fresh instances from a snapshot.
    Restore(Box<Base>, Renewal),
}

/// What fresh instances are told that others have heard before them.
#[derive(Clone, Copy, Debug)]
pub struct Renewal {
    /// The newest committed window that the operators were told.
    pub told: WindowId,
    /// The window that they are in, if it has begun.
    pub window: Option<WindowId>,
}

/// A snapshot of a chain.
#[derive(Clone, Default)]
pub struct Base {
    /// The window it was taken in; none if nothing was restored.
    pub window: WindowId,
    /// The chunks of each operator's state, oldest first.
    pub states: Vec<Vec<Vec<u8>>>,
    /// Operators that take over what belongs to them in the states of several subtasks instead: for each of those its
    /// chunks, oldest first.
    pub adopted: Arc<BTreeMap<String, Vec<Vec<Vec<u8>>>>>,
    /// The watermark, in ms.
    pub watermark: Timestamp,
    /// How many entries each operator has seen.
    pub entries: Vec<u64>,
}

/// The work of a call.
pub enum Work {
    /// None: only what has to be done before.
    Nothing,
    /// Open the operators, for the first time in this attempt; with their snapshot if there is one.
    Open {
        /// The snapshot.
        base: Option<Box<Base>>,
        /// Whether their input had ended: what they emit has nowhere to go.
        ended: bool,
        /// The time, in ms.
        now: Timestamp,
        /// What was under way to them.
        packed: Vec<Packed>,
    },
    /// Tell the operators that this window has begun, as others were told before them.
    BeginAgain(WindowId),
    /// Encode what is under way in each channel.
    Pack(Vec<Vec<InFlight>>),
    /// Let the operators see this.
    Entry(Entry),
    /// As an entry, but records of the output whose key cannot be computed are left out and handed back.
    Sifted(Entry),
    /// Take the snapshot of this window.
    Cut(WindowId),
    /// Call a hook.
    Tell(Notice),
}

/// A batch of output and, for each keyed edge of its way out in the order of the edges, the hashes of its records' keys.
pub struct Routed {
    /// By which way out it comes.
    pub exit: Exit,
    /// The records.
    pub batch: Batch,
    /// The hashes.
    pub hashes: Vec<Vec<u64>>,
}

/// A record of the output that its consumer cannot tell the key of.
pub struct Refused {
    /// By which way out it would have come.
    pub exit: Exit,
    /// The batch, of one record.
    pub batch: Batch,
    /// What its consumer's `key` did.
    pub failure: Failure,
}

/// What a call gives.
#[derive(Default)]
pub struct ChainAnswer {
    /// What came out of the chain: at its end first, then by its other ways out.
    pub outputs: Vec<Routed>,
    /// What has changed in each operator, after [`Work::Cut`]; empty where nothing has changed.
    pub chunks: Vec<Draft>,
    /// Records that were left out, after [`Work::Sifted`].
    pub refused: Vec<Refused>,
    /// What was under way, with its channel, after [`Work::Open`].
    pub unpacked: Vec<(usize, InFlight)>,
    /// What is under way, after [`Work::Pack`]; nothing if there is nothing.
    pub packed: Option<WrittenDown>,
    /// Requests that the last operator wants made.
    pub asks: Vec<Ask>,
}

/// What is under way in the channels of a subtask, written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrittenDown {
    /// All channels.
    pub bytes: Vec<u8>,
    /// How many records each holds.
    pub records: Vec<u64>,
}

/// What was under way to a subtask of a checkpoint, as far as it goes to this one now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packed {
    /// All that was under way to it.
    pub chunk: Arc<Vec<u8>>,
    /// The channels that are of interest.
    pub channels: Vec<PackedChannel>,
}

impl Packed {
    /// Returns what was under way to a subtask, for the same channels of the same subtask.
    pub(crate) fn same(chunk: Arc<Vec<u8>>, snapshot: &SubtaskSnapshot) -> Packed {
        let channels = snapshot.in_flight.iter().flat_map(|in_flight| in_flight.channels.iter().enumerate());
        let channels = channels.map(|(channel, held)| PackedChannel {
            was: channel,
            channel,
            port: held.origin.port,
            take: Take::All,
        });
        Packed { chunk, channels: channels.collect() }
    }
}

/// What was under way in one channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackedChannel {
    /// Which of the channels in the chunk it was.
    pub was: usize,
    /// The channel that it goes to now.
    pub channel: usize,
    /// The input port that this leads to.
    pub port: usize,
    /// What of it is taken.
    pub take: Take,
}

/// What is taken of what was under way in a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Take {
    /// Everything.
    All,
    /// Records, but neither watermarks nor markers: the channel holds what others held as well.
    Records,
    /// Records whose keys belong to these key groups, of so many in all.
    OfGroups(Range<u32>, u32),
}

/// Why a call gives nothing.
#[derive(Debug)]
pub struct ChainFailure {
    /// What failed.
    pub failure: Failure,
    /// Which record of the batch is to blame, if that is known.
    pub row: Option<usize>,
    /// Whether it failed before the work began.
    pub preparing: bool,
    /// Whether it was the key of a record of the output that could not be computed.
    pub routing: bool,
    /// Whether it is nothing but that the call before cannot be taken back: it has changed too much.
    pub irrevocable: bool,
}

impl ChainFailure {
    /// Makes a failure of which nothing more is known: the chain is lost.
    pub fn lost(failure: Failure) -> ChainFailure {
        ChainFailure { failure, row: None, preparing: false, routing: false, irrevocable: false }
    }
}

impl From<Failure> for ChainFailure {
    fn from(failure: Failure) -> Self {
        ChainFailure::lost(failure)
    }
}
