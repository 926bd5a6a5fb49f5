//! What travels from subtask to subtask, in order, on one channel.

use piton_actors::{Batch, Timestamp};

use crate::ids::WindowId;

/// Closes a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marker {
    /// The window that ends here.
    pub window: WindowId,
    /// Whether the end of this window is a checkpoint.
    pub snapshot: bool,
}

/// What a source does behind a marker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behind {
    /// It reads on.
    Read,
    /// It reads nothing more: the job stops with this window, and what is read later would be in no checkpoint.
    Hold,
}

/// One element of a channel.
#[derive(Clone)]
pub enum Element {
    /// Records.
    Batch(Batch),
    /// No record at or before this time (ms) is expected any more on this channel.
    Watermark(Timestamp),
    /// Nothing has come for so long that nobody need wait for the watermark of this channel. A watermark takes that back.
    Idle,
    /// A window ends.
    Marker(Marker),
    /// The sender has taken its snapshot for the checkpoint of this window without waiting for the end of it: whatever
    /// comes before this was sent before the snapshot.
    Barrier(WindowId),
    /// No records will follow; markers still do.
    End,
}

/// How a window is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alignment {
    /// Behind everything that waits for credit; every subtask takes its snapshot, if there is one, at the end of the
    /// window.
    Aligned,
    /// At once; every subtask takes its snapshot as soon as it hears of the checkpoint, and what is under way to it is
    /// saved.
    Unaligned,
}

impl Element {
    /// Returns whether a channel must have room for it. Only batches take room: a marker that had to wait for credit
    /// could not pass a consumer that waits for markers.
    pub fn needs_credit(&self) -> bool {
        matches!(self, Element::Batch(_))
    }
}

impl std::fmt::Debug for Element {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Element::Batch(batch) => write!(f, "Batch({} rows)", batch.len()),
            Element::Watermark(time) => write!(f, "Watermark({time})"),
            Element::Marker(marker) => {
                write!(f, "Marker({}{})", marker.window, if marker.snapshot { ", snapshot" } else { "" })
            }
            Element::Idle => f.write_str("Idle"),
            Element::Barrier(window) => write!(f, "Barrier({window})"),
            Element::End => f.write_str("End"),
        }
    }
}
