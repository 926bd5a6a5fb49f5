//! What subtasks tell the supervisor.

use crate::ids::WindowId;
use crate::protocol::drift::Pace;
use crate::protocol::failure::Failure;
use crate::protocol::manifest::{DeadLetter, PendingOutput};
#[cfg(doc)]
use crate::protocol::subtask::Command;
use crate::protocol::subtask::{Ack, Declined, Restart};

/// What a subtask tells the supervisor.
pub(crate) enum NoteKind {
    /// See [`Command::Unsure`].
    Unsure,
    /// See [`Command::Ready`].
    Ready,
    /// See [`Command::Closed`].
    Closed(WindowId, Pace),
    /// See [`Command::Ack`].
    Ack(Box<Ack>),
    /// See [`Command::Declined`].
    Declined(Declined),
    /// See [`Command::Told`].
    Told(WindowId),
    /// See [`Command::Finished`].
    Finished,
    /// See [`Command::JournalFull`].
    JournalFull,
    /// See [`Command::Restarted`].
    Restarted(Box<Restart>),
    /// See [`Command::SetAside`].
    SetAside(Box<DeadLetter>),
    /// See [`Command::Failed`].
    Failed(Failure, Option<String>),
    /// The actor of this seat has ended after a halt; these outputs of its sink were not yet published.
    Halted(u64, Vec<PendingOutput>),
}
