//! What a checkpoint is made of: the manifest of a region, the snapshots of its subtasks, the chunks of their state.
//!
//! A manifest is self-contained: whoever holds it and the chunks it lists can restore the region, without any other
//! file. It lists positions of sources and pending outputs of sinks, so there is nothing to agree on beside it.

use std::fmt;

use piton_actors::PartitionId;
use serde::{Deserialize, Serialize};

use crate::ids::{Fence, SubtaskId, WindowId};

/// The complete checkpoint of a region as of the end of one window.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The name of the job.
    pub job: String,
    /// The name of the region: its first operator's.
    pub region: String,
    /// The window that the checkpoint closes; its only number.
    pub window: WindowId,
    /// The life of the region that took it.
    pub fence: Fence,
    /// When it was triggered, in ms since 1970.
    pub triggered_ms: i64,
    /// When the last acknowledgement came in, in ms since 1970.
    pub completed_ms: i64,
    /// Whether every subtask had finished and its commits were seen through: nothing is left to run.
    pub finished: bool,
    /// What the topology looked like, as the topology itself encodes it.
    pub topology: Vec<u8>,
    /// The window of the older checkpoint of which this one is a copy, made because somebody had the region go back to
    /// it: what was committed between the two was given up. Nothing for a checkpoint that was taken.
    #[serde(default)]
    pub copy_of: WindowId,
    /// One snapshot for each subtask of the region, in the order of the plan.
    pub subtasks: Vec<SubtaskSnapshot>,
}

impl Manifest {
    /// Returns the snapshot of a subtask, if the manifest has one.
    pub fn subtask(&self, subtask: &SubtaskId) -> Option<&SubtaskSnapshot> {
        self.subtasks.iter().find(|snapshot| snapshot.subtask == *subtask)
    }

    /// Returns all chunks that it refers to.
    pub fn chunks(&self) -> impl Iterator<Item = &ChunkRef> {
        self.subtasks.iter().flat_map(SubtaskSnapshot::parts).flatten()
    }

    /// Returns the number of bytes of state that it refers to or holds; as many as a number can tell, if the lengths that
    /// it lists are no true ones.
    pub fn bytes(&self) -> u64 {
        self.chunks().map(ChunkRef::len).fold(0, u64::saturating_add)
    }
}

/// One subtask's part of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubtaskSnapshot {
    /// Whose it is.
    pub subtask: SubtaskId,
    /// Whether its inputs had ended and it was closed: it stays so when it is restored.
    pub finished: bool,
    /// The combined watermark at the cut, in ms.
    pub watermark: i64,
    /// That which its consumers were told, in ms, if it is another one because records wait for answers.
    #[serde(default)]
    pub told: Option<i64>,
    /// The watermark each input channel had delivered, in ms, in the order of the channels.
    pub channel_watermarks: Vec<i64>,
    /// How many rows were sent so far by each routed output edge, in the order of the edges: round robin goes by it.
    pub cursors: Vec<u64>,
    /// How many records its source has emitted since the job began.
    pub read: u64,
    /// How many records its sink has taken since the job began.
    pub written: u64,
    /// How many records it has set aside or left out since the job began.
    #[serde(default)]
    pub set_aside: u64,
    /// Records that were set aside since the last checkpoint that is known to be committed: their numbers tell those
    /// that an earlier one has listed already.
    #[serde(default)]
    pub letters: Vec<DeadLetter>,
    /// The operators of the chain, head first.
    pub operators: Vec<OperatorSnapshot>,
    /// Where it was, if it was taken without waiting for the end of the checkpoint's window.
    #[serde(default)]
    pub within: Option<Within>,
    /// What was under way to it, if it did not wait and there was anything.
    #[serde(default)]
    pub in_flight: Option<InFlightSnapshot>,
}

impl SubtaskSnapshot {
    /// Returns the watermark that its consumers were told, in ms.
    pub fn watermark_told(&self) -> i64 {
        self.told.unwrap_or(self.watermark)
    }

    /// Returns how many records were under way to it.
    pub fn under_way(&self) -> u64 {
        let channels = self.in_flight.iter().flat_map(|in_flight| &in_flight.channels);
        channels.map(|channel| channel.records).fold(0, u64::saturating_add)
    }

    /// Returns the chunks of each operator, and then those of what was under way, if anything was.
    pub fn parts(&self) -> impl Iterator<Item = &[ChunkRef]> {
        let in_flight = self.in_flight.iter().map(|in_flight| &in_flight.chunks[..]);
        self.operators.iter().map(|operator| &operator.chunks[..]).chain(in_flight)
    }
}

/// Where a subtask was when it took its snapshot within a window.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Within {
    /// The last window that had ended; the next had begun.
    pub ended: WindowId,
    /// For each input channel: the last window whose marker it had delivered.
    pub channels: Vec<WindowId>,
}

/// What was under way to a subtask when it took its snapshot: the state of its input channels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InFlightSnapshot {
    /// All its input channels, in their order.
    pub channels: Vec<InFlightChannel>,
    /// The elements: one chunk.
    pub chunks: Vec<ChunkRef>,
}

/// What was under way in one channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InFlightChannel {
    /// Where the channel comes from.
    pub origin: Origin,
    /// How many records were under way.
    pub records: u64,
}

/// Where an input channel of a subtask comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The operator that sends: the last one of its chain, unless it is a side output.
    pub operator: String,
    /// The side output, if it is one; checkpoints of earlier versions know none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// The index of its subtask.
    pub index: u32,
    /// The input port of the receiver.
    pub port: usize,
    /// How records are spread over the channels of the edge.
    pub spread: Spread,
}

/// How records are spread over the channels of an edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Spread {
    /// From each subtask to the one of the same index.
    Forward,
    /// To the subtask that owns the key.
    Keyed,
    /// To one subtask after the other.
    Rebalance,
    /// To all subtasks.
    Broadcast,
}

/// One operator's part of a subtask's snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorSnapshot {
    /// The operator's name in the topology.
    pub operator: String,
    /// Its state: a base and what changed since, oldest first.
    pub chunks: Vec<ChunkRef>,
    /// Where a source is, as the source encodes it.
    pub position: Option<Vec<u8>>,
    /// The newest event time that a source has seen, in ms; nothing if it has named its partitions.
    pub max_time: Option<i64>,
    /// The newest event time that it has seen of each of these, in ms; checkpoints of earlier versions know none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub partitions: Vec<(PartitionId, i64)>,
    /// What a sink has prepared and not yet seen committed, oldest first.
    pub pending: Vec<PendingOutput>,
}

impl OperatorSnapshot {
    /// Returns the snapshot of an operator without state.
    pub fn empty(operator: impl Into<String>) -> OperatorSnapshot {
        OperatorSnapshot {
            operator: operator.into(),
            chunks: Vec::new(),
            position: None,
            max_time: None,
            partitions: Vec::new(),
            pending: Vec::new(),
        }
    }
}

/// A record that was set aside because it is poison.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// The operator that it is poison to.
    pub operator: String,
    /// The subtask that set it aside.
    pub subtask: SubtaskId,
    /// Counts the records that the subtask has set aside, from 1.
    pub number: u64,
    /// The window that it was part of.
    pub window: WindowId,
    /// How many records the subtask had taken up to the end of the batch that it was in, since its attempt began; if it
    /// waited for an answer, up to the batch that was last when it was given up.
    pub position: u64,
    /// What the operator said.
    pub reason: String,
    /// The record as JSON.
    pub record: String,
    /// Whether it is kept, rather than only left out.
    pub kept: bool,
}

/// An output that a sink has made durable but not visible.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingOutput {
    /// The window at whose end it was prepared.
    pub window: WindowId,
    /// What the sink needs to publish it, as the sink encodes it.
    #[serde(with = "serde_bytes")]
    pub output: Vec<u8>,
}

/// Names a chunk: no two chunks ever have the same name, not even across crashes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ChunkId {
    /// The region it belongs to.
    pub region: String,
    /// The operator whose state it holds.
    pub operator: String,
    /// The index of the subtask.
    pub index: u32,
    /// The life of the region that wrote it.
    pub fence: Fence,
    /// Counts the chunks of this subtask and life.
    pub sequence: u64,
}

impl fmt::Display for ChunkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ChunkId { operator, index, fence, sequence, .. } = self;
        write!(f, "{operator}-{index}-{}-{}-{sequence}", fence.incarnation, fence.attempt)
    }
}

/// Where a chunk of state is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChunkRef {
    /// In the manifest itself.
    Inline {
        /// The chunk.
        #[serde(with = "serde_bytes")]
        bytes: Vec<u8>,
    },
    /// In a file of its own, beside the catalogue.
    Blob {
        /// Its name.
        id: ChunkId,
        /// The length of the chunk in bytes.
        len: u64,
        /// The xxh3 checksum of the chunk.
        checksum: u64,
    },
}

impl ChunkRef {
    /// Returns the length of the chunk in bytes.
    pub fn len(&self) -> u64 {
        match self {
            ChunkRef::Inline { bytes } => bytes.len() as u64,
            ChunkRef::Blob { len, .. } => *len,
        }
    }

    /// Returns whether the chunk has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What a joined sink contributes to the commit itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinedOutput {
    /// The subtask of the sink.
    pub subtask: SubtaskId,
    /// The sink's name in the topology (it may be the tail of a chain).
    pub operator: String,
    /// The window at whose end it was prepared.
    pub window: WindowId,
    /// What becomes visible with the commit, as the sink encodes it.
    #[serde(with = "serde_bytes")]
    pub output: Vec<u8>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_channel_comes_from_is_written_as_before_there_were_side_outputs() {
        let origin = Origin { operator: "in".to_owned(), output: None, index: 0, port: 1, spread: Spread::Keyed };
        #[derive(Serialize, Deserialize)]
        struct Before {
            operator: String,
            index: u32,
            port: usize,
            spread: Spread,
        }
        let before = Before { operator: "in".to_owned(), index: 0, port: 1, spread: Spread::Keyed };
        let bytes = rmp_serde::to_vec_named(&before).unwrap();
        assert_eq!(rmp_serde::from_slice::<Origin>(&bytes).unwrap(), origin);
        assert_eq!(rmp_serde::to_vec_named(&origin).unwrap(), bytes);
        let aside = Origin { output: Some("late".to_owned()), ..origin };
        let bytes = rmp_serde::to_vec_named(&aside).unwrap();
        assert_eq!(rmp_serde::from_slice::<Origin>(&bytes).unwrap(), aside);
        assert!(rmp_serde::from_slice::<Before>(&bytes).is_ok(), "an earlier version can read it");
    }

    #[test]
    fn event_times_of_one_partition_are_written_as_before_there_were_more() {
        let operator = OperatorSnapshot { max_time: Some(7), ..OperatorSnapshot::empty("in") };
        #[derive(Serialize, Deserialize)]
        struct Before {
            operator: String,
            chunks: Vec<ChunkRef>,
            position: Option<Vec<u8>>,
            max_time: Option<i64>,
            pending: Vec<PendingOutput>,
        }
        let before =
            Before { operator: "in".into(), chunks: vec![], position: None, max_time: Some(7), pending: vec![] };
        let bytes = rmp_serde::to_vec_named(&before).unwrap();
        assert_eq!(rmp_serde::from_slice::<OperatorSnapshot>(&bytes).unwrap(), operator);
        assert_eq!(rmp_serde::to_vec_named(&operator).unwrap(), bytes);
        let named = OperatorSnapshot { max_time: None, partitions: vec![(PartitionId(3), 7)], ..operator };
        let bytes = rmp_serde::to_vec_named(&named).unwrap();
        assert_eq!(rmp_serde::from_slice::<OperatorSnapshot>(&bytes).unwrap(), named);
        assert!(rmp_serde::from_slice::<Before>(&bytes).is_ok(), "an earlier version can read it");
    }

    /// Whoever lists checkpoints counts them before anybody has held the lengths against the files.
    #[test]
    fn lengths_that_are_no_true_ones_can_be_counted() {
        let id = ChunkId {
            region: "a".to_owned(),
            operator: "b".to_owned(),
            index: 0,
            fence: Fence::default(),
            sequence: 1,
        };
        let chunk = ChunkRef::Blob { id, len: u64::MAX - 1, checksum: 0 };
        let origin = Origin { operator: "in".to_owned(), output: None, index: 0, port: 0, spread: Spread::Keyed };
        let channel = InFlightChannel { origin, records: u64::MAX };
        let snapshot = SubtaskSnapshot {
            subtask: SubtaskId::new("b", 0),
            finished: false,
            watermark: 0,
            told: None,
            channel_watermarks: Vec::new(),
            cursors: Vec::new(),
            read: 0,
            written: 0,
            set_aside: 0,
            letters: Vec::new(),
            operators: vec![OperatorSnapshot { chunks: vec![chunk.clone(), chunk], ..OperatorSnapshot::empty("b") }],
            within: None,
            in_flight: Some(InFlightSnapshot { channels: vec![channel.clone(), channel], chunks: Vec::new() }),
        };
        assert_eq!(snapshot.under_way(), u64::MAX);
        let manifest = Manifest {
            job: "job".to_owned(),
            region: "a".to_owned(),
            window: WindowId(1),
            fence: Fence::default(),
            triggered_ms: 0,
            completed_ms: 0,
            finished: false,
            topology: Vec::new(),
            copy_of: WindowId::NONE,
            subtasks: vec![snapshot],
        };
        assert_eq!(manifest.bytes(), u64::MAX);
    }
}
