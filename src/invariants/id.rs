//! The promises by name, and what is said of one that was broken.

use std::fmt;

/// One promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub enum InvariantId {
    /// In the end the committed output is that of a run without faults: nothing lost, nothing twice.
    OutputComplete,
    /// At every moment the committed output is the effect of a prefix of each source partition.
    OutputIsPrefix,
    /// No row is visible more often than a run without faults shows it.
    OutputNotRepeated,
    /// A file that is committed stays there and never changes.
    CommittedStays,
    /// Nothing becomes visible before its window is committed.
    InvisibleUntilCommitted,
    /// The outputs of a sink's subtask become visible in the order of their windows.
    OutputInOrder,
    /// What a committed checkpoint lists as pending is there until it is published.
    PendingNotLost,
    /// Records of one key are counted 1, 2, 3, … also across restarts.
    StateExactlyOnce,
    /// In the end the state is that of a run without faults.
    StateComplete,
    /// A record goes the same way each time it is sent.
    RoutingRepeats,
    /// No record comes behind a watermark that should have been behind it.
    NothingLate,
    /// What an operator emits in a window reaches the next one before that window ends there.
    WindowsHold,
    /// `committed` is told in strictly increasing order within an attempt, and never goes back across attempts.
    CommittedIncreases,
    /// `committed` is told only for windows that the store's head has reached.
    CommittedIsDurable,
    /// `committed` of a window follows `checkpointed` of it.
    CheckpointedFirst,
    /// After a restart the restored window is told as committed before the first record.
    RestoredToldFirst,
    /// The head of a region never goes back, not even across crashes.
    HeadNeverBack,
    /// Whatever the head names can be restored.
    CheckpointRestorable,
    /// A channel delivers what was sent, once, in order.
    ChannelFifo,
    /// All that was emitted into an edge, without what was rolled back, has come out of it, and nothing else.
    EdgeDelivers,
    /// Fresh operators that are given what others were given do what those did.
    OperatorsRepeat,
    /// A mailbox holds no more than its capacity.
    MailboxBounded,
    /// Nothing of an attempt that is over has an effect.
    FenceHolds,
    /// What fails in one region restarts no other.
    RegionsApart,
    /// A record that is poison is set aside once, however often it failed.
    LettersExactlyOnce,
    /// Once faults stop, checkpoints complete and the job ends.
    Liveness,
    /// The engine itself does not panic or contradict itself.
    EngineSound,
}

impl InvariantId {
    /// All of them.
    pub const ALL: &'static [InvariantId] = &[
        InvariantId::OutputComplete,
        InvariantId::OutputIsPrefix,
        InvariantId::OutputNotRepeated,
        InvariantId::CommittedStays,
        InvariantId::InvisibleUntilCommitted,
        InvariantId::OutputInOrder,
        InvariantId::PendingNotLost,
        InvariantId::StateExactlyOnce,
        InvariantId::StateComplete,
        InvariantId::RoutingRepeats,
        InvariantId::NothingLate,
        InvariantId::WindowsHold,
        InvariantId::CommittedIncreases,
        InvariantId::CommittedIsDurable,
        InvariantId::CheckpointedFirst,
        InvariantId::RestoredToldFirst,
        InvariantId::HeadNeverBack,
        InvariantId::CheckpointRestorable,
        InvariantId::ChannelFifo,
        InvariantId::EdgeDelivers,
        InvariantId::OperatorsRepeat,
        InvariantId::MailboxBounded,
        InvariantId::FenceHolds,
        InvariantId::RegionsApart,
        InvariantId::LettersExactlyOnce,
        InvariantId::Liveness,
        InvariantId::EngineSound,
    ];

    /// Returns its name as reports show it.
    pub fn name(self) -> &'static str {
        match self {
            InvariantId::OutputComplete => "output-complete",
            InvariantId::OutputIsPrefix => "output-is-prefix",
            InvariantId::OutputNotRepeated => "output-not-repeated",
            InvariantId::CommittedStays => "committed-stays",
            InvariantId::InvisibleUntilCommitted => "invisible-until-committed",
            InvariantId::OutputInOrder => "output-in-order",
            InvariantId::PendingNotLost => "pending-not-lost",
            InvariantId::StateExactlyOnce => "state-exactly-once",
            InvariantId::StateComplete => "state-complete",
            InvariantId::RoutingRepeats => "routing-repeats",
            InvariantId::NothingLate => "nothing-late",
            InvariantId::WindowsHold => "windows-hold",
            InvariantId::CommittedIncreases => "committed-increases",
            InvariantId::CommittedIsDurable => "committed-is-durable",
            InvariantId::CheckpointedFirst => "checkpointed-first",
            InvariantId::RestoredToldFirst => "restored-told-first",
            InvariantId::HeadNeverBack => "head-never-back",
            InvariantId::CheckpointRestorable => "checkpoint-restorable",
            InvariantId::ChannelFifo => "channel-fifo",
            InvariantId::EdgeDelivers => "edge-delivers",
            InvariantId::OperatorsRepeat => "operators-repeat",
            InvariantId::MailboxBounded => "mailbox-bounded",
            InvariantId::FenceHolds => "fence-holds",
            InvariantId::RegionsApart => "regions-apart",
            InvariantId::LettersExactlyOnce => "letters-exactly-once",
            InvariantId::Liveness => "liveness",
            InvariantId::EngineSound => "engine-sound",
        }
    }

    /// Returns the one that has this name.
    pub fn named(name: &str) -> Option<InvariantId> {
        InvariantId::ALL.iter().copied().find(|invariant| invariant.name() == name)
    }

    /// Makes the report that it was broken.
    pub fn broken(self, message: impl Into<String>) -> Violation {
        Violation { invariant: self, message: message.into() }
    }
}

impl fmt::Display for InvariantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A promise that was broken, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which one.
    pub invariant: InvariantId,
    /// What was seen.
    pub message: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant, self.message)
    }
}
