//! Deliberate bugs in the protocol, for testing the tests.
//!
//! A simulator that finds nothing proves nothing unless it finds bugs that are known to be there. With the feature
//! `mutants`, and in this package's own unit tests, a test switches one of them on for its own thread; in any other
//! build every question here is answered "no" at compile time.

/// A deliberate bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// A snapshot marker does not block its channel until the others have delivered theirs.
    NoAlignment,
    /// The checkpoint counts as complete when all but one subtask have acknowledged it.
    EarlyCommit,
    /// `committed` is told before the store has answered.
    TellBeforeDurable,
    /// Acknowledgements of an earlier attempt are accepted.
    StaleAckAccepted,
    /// Elements of an earlier attempt are delivered.
    StaleElementAccepted,
    /// A sink's pending outputs are not put into its snapshot.
    PendingForgotten,
    /// A sink commits what it has prepared at once, not when the window is committed.
    SinkCommitsEarly,
    /// Pending outputs of a restored checkpoint are not committed again.
    PendingNotRecommitted,
    /// The position of a source in a snapshot is that after the next poll.
    PositionAhead,
    /// What waits in the routers is not flushed before a marker.
    MarkerOvertakesRows,
    /// Only what changed since the last cut is restored, without its base.
    BaseForgotten,
    /// What a failed write did not make durable is left out of the next one.
    FailedWriteForgotten,
    /// What waits to be written is merged without its newest part.
    UnwrittenCutShort,
    /// A rollback does not wait for the outcome of a commit under way.
    RollbackDuringCommit,
    /// The combined watermark is the highest, not the lowest, of the channels'.
    WatermarkOfFastest,
    /// The round-robin cursor is not restored.
    CursorForgotten,
    /// What became visible in one commit is part of the next one, too.
    JoinedTwice,
    /// A window ends while a poll of its source is under way.
    PollBeyondMarker,
    /// A job counts as finished as soon as its end is committed, before that was seen through.
    FinishedUnseen,
    /// The restored window is not told as committed.
    RestoredNotTold,
    /// A finished subtask that is restored does not say again that it has ended.
    EndNotRepeated,
    /// A rollback goes to the last window that was known to be committed, not to the store's head.
    HeadFromMemory,
    /// The chunks of a restored state are left out of the next snapshot.
    LineageForgotten,
    /// What waits in the routers is not flushed before a watermark.
    WatermarkOvertakesRows,
    /// What an unavailable sink could not do is not done again.
    RetryForgotten,
    /// A failed attempt begins the commit of a checkpoint that waited.
    CommitAfterFailure,
    /// An unavailable source that has come to its end is not opened again.
    EndedSourceGivenUp,
    /// Windows are closed however far the slowest subtask is behind.
    WindowsUnbounded,
    /// What a failed batch has changed is not taken back.
    NothingUndone,
    /// A replay leaves out the last entry of the journal.
    JournalCutShort,
    /// What a replay gives is not compared with what was sent.
    ComparisonSkipped,
    /// Of those that read the same in a chain only the last one has it.
    OneReader,
    /// What a failed batch has sent to side outputs is not taken back.
    SidesNotTakenBack,
    /// What a replay sends to side outputs is sent again.
    SidesSentAgain,
    /// Fresh operators that go on within a window are not told that it has begun.
    WindowNotBegunAgain,
    /// A restart alone leaves out what was cut and is not durable yet.
    UnwrittenForgotten,
    /// A record that was set aside is not in the snapshot.
    LetterForgotten,
    /// What a replay gives is sent again.
    ReplaySent,
    /// A fresh source begins from the start.
    RenewedFromStart,
    /// A fresh sink is not given again what was not prepared.
    TakenForgotten,
    /// A source that reads again begins where it has come to, not at the cut.
    ReadAgainTooLate,
    /// What a source has read again, beyond what it had read before, is lost.
    ReadBeyondLost,
    /// A fresh sink takes what waited for the one before it, and is given it again, too.
    WaitingGivenTwice,
    /// What a sink has prepared for a cut that failed is kept, although it is prepared again.
    PreparedTwice,
    /// A watermark goes past records that wait for answers.
    WatermarkNotHeld,
    /// The end does not wait for answers.
    EndBeforeAnswers,
    /// What waits for answers in a restored state is not asked for again.
    RestoredNotAsked,
    /// The answer to a request is not noted in the journal.
    AnswerNotNoted,
    /// What comes in ahead of a barrier, behind the receiver's snapshot, is not saved.
    LateInFlightLost,
    /// A barrier overtakes what waits for credit, which is then in no snapshot.
    BarrierOvertakesOutbox,
    /// What was under way is not put back.
    InFlightNotRestored,
    /// What was put back and is not yet taken is not saved again.
    RestoredInFlightForgotten,
    /// A source that has ended goes on holding back those that are ahead of it.
    EndedHoldsBack,
    /// The watermark of a source is that of its fastest partition, not of its slowest.
    FastestPartition,
    /// The store does not make the names of blob files durable before the commit.
    NoBlobSync,
    /// What is written over in place, the head and the catalogue, is not made durable.
    NoHeadSync,
    /// The store does not look at checksums.
    NoChecksum,
}

impl Mutant {
    /// All of them.
    pub const ALL: &'static [Mutant] = &[
        Mutant::NoAlignment,
        Mutant::EarlyCommit,
        Mutant::TellBeforeDurable,
        Mutant::StaleAckAccepted,
        Mutant::StaleElementAccepted,
        Mutant::PendingForgotten,
        Mutant::SinkCommitsEarly,
        Mutant::PendingNotRecommitted,
        Mutant::PositionAhead,
        Mutant::MarkerOvertakesRows,
        Mutant::BaseForgotten,
        Mutant::FailedWriteForgotten,
        Mutant::UnwrittenCutShort,
        Mutant::RollbackDuringCommit,
        Mutant::WatermarkOfFastest,
        Mutant::CursorForgotten,
        Mutant::JoinedTwice,
        Mutant::PollBeyondMarker,
        Mutant::FinishedUnseen,
        Mutant::RestoredNotTold,
        Mutant::EndNotRepeated,
        Mutant::HeadFromMemory,
        Mutant::LineageForgotten,
        Mutant::WatermarkOvertakesRows,
        Mutant::RetryForgotten,
        Mutant::CommitAfterFailure,
        Mutant::EndedSourceGivenUp,
        Mutant::WindowsUnbounded,
        Mutant::NothingUndone,
        Mutant::JournalCutShort,
        Mutant::ComparisonSkipped,
        Mutant::OneReader,
        Mutant::SidesNotTakenBack,
        Mutant::SidesSentAgain,
        Mutant::WindowNotBegunAgain,
        Mutant::UnwrittenForgotten,
        Mutant::LetterForgotten,
        Mutant::ReplaySent,
        Mutant::RenewedFromStart,
        Mutant::TakenForgotten,
        Mutant::ReadAgainTooLate,
        Mutant::ReadBeyondLost,
        Mutant::WaitingGivenTwice,
        Mutant::PreparedTwice,
        Mutant::WatermarkNotHeld,
        Mutant::EndBeforeAnswers,
        Mutant::RestoredNotAsked,
        Mutant::AnswerNotNoted,
        Mutant::LateInFlightLost,
        Mutant::BarrierOvertakesOutbox,
        Mutant::InFlightNotRestored,
        Mutant::RestoredInFlightForgotten,
        Mutant::EndedHoldsBack,
        Mutant::FastestPartition,
        Mutant::NoBlobSync,
        Mutant::NoHeadSync,
        Mutant::NoChecksum,
    ];
}

#[cfg(any(test, feature = "mutants"))]
std::thread_local! {
    static ACTIVE: std::cell::Cell<Option<Mutant>> = const { std::cell::Cell::new(None) };
}

/// Switches one bug on, and all others off, for this thread.
#[cfg(any(test, feature = "mutants"))]
pub fn activate(mutant: Option<Mutant>) {
    ACTIVE.set(mutant);
}

/// Returns whether this bug is switched on.
#[cfg(any(test, feature = "mutants"))]
pub(crate) fn is(mutant: Mutant) -> bool {
    ACTIVE.get() == Some(mutant)
}

/// Returns whether this bug is switched on: never, in this build.
#[cfg(not(any(test, feature = "mutants")))]
#[inline(always)]
pub(crate) fn is(_mutant: Mutant) -> bool {
    false
}
