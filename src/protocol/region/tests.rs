//! What becomes of checkpoints, and of the rules about them, from one attempt to the next.

use super::*;
use crate::config::RestartStrategy;
use crate::protocol::commit::CommitError;
use crate::protocol::drift::Pace;
use crate::protocol::manifest::SubtaskSnapshot;
use crate::protocol::subtask::{Ack, Declined, Timing, Why};

fn source() -> SubtaskId {
    SubtaskId::new("source", 0)
}

/// A region of one source that has begun behind window 7; a checkpoint every 100 ms.
struct Rig {
    region: Region,
}

impl Rig {
    fn new(settings: CheckpointSettings) -> Rig {
        let members = Members {
            job: "job".into(),
            region: "region".into(),
            topology: Vec::new(),
            subtasks: vec![source()],
            sources: vec![source()],
        };
        let policy = RestartPolicy::new(RestartStrategy::default());
        let mut region = Region::new(members, settings, policy, Fence { incarnation: 1, attempt: 0 });
        region.on(Event::Begin(WindowId(7)), 0, 0.5);
        let mut rig = Rig { region };
        assert_eq!(rig.said(), "start 1.0 at 7");
        rig
    }

    fn with(change: impl FnOnce(&mut CheckpointSettings)) -> Rig {
        let mut settings = CheckpointSettings { every: 1, ..CheckpointSettings::default() };
        change(&mut settings);
        Rig::new(settings)
    }

    fn on(&mut self, event: Event, now: Timestamp) -> String {
        self.region.on(event, now, 0.5);
        self.said()
    }

    fn coordinator(&mut self, event: coordinator::Event, now: Timestamp) -> String {
        self.on(Event::Coordinator(self.region.fence(), event), now)
    }

    /// The source opens, and the next window is closed 100 ms later.
    fn next_checkpoint(&mut self, now: Timestamp) -> String {
        self.coordinator(coordinator::Event::Ready(source()), now);
        let said = self.on(Event::Tick, now + 100);
        let window = self.region.coordinator.head().0 + 1;
        self.coordinator(coordinator::Event::Closed(source(), WindowId(window), Pace::Apart), now + 100);
        said
    }

    fn acknowledge(&mut self, window: u64, fence: Fence, now: Timestamp) -> String {
        let snapshot = SubtaskSnapshot {
            subtask: source(),
            finished: false,
            watermark: 0,
            told: None,
            channel_watermarks: Vec::new(),
            cursors: Vec::new(),
            read: 0,
            written: 0,
            set_aside: 0,
            letters: Vec::new(),
            operators: Vec::new(),
            within: None,
            in_flight: None,
        };
        let ack = Ack { fence, window: WindowId(window), snapshot, joined: Vec::new(), timing: Timing::default() };
        self.on(Event::Coordinator(fence, coordinator::Event::Ack(source(), Box::new(ack))), now)
    }

    fn decline(&mut self, window: u64, now: Timestamp) -> String {
        self.coordinator(
            coordinator::Event::Declined(
                source(),
                Declined { window: WindowId(window), ended: WindowId(window), why: Why::NotKept("no space".into()) },
            ),
            now,
        )
    }

    fn stored(&mut self, window: u64, outcome: Result<(), CommitError>, now: Timestamp) -> String {
        self.coordinator(coordinator::Event::Outcome(WindowId(window), outcome), now)
    }

    /// The present attempt fails.
    fn fail(&mut self, now: Timestamp) -> String {
        let failure = Failure::panic("count", &"boom");
        self.on(Event::Failed(self.region.fence(), None, failure), now)
    }

    /// The store says what it holds, and the next attempt begins when its time has come.
    fn restart(&mut self, head: u64, now: Timestamp) -> String {
        self.on(Event::Head(Ok(WindowId(head))), now);
        let until = self.region.wake_at().expect("it waits for the next attempt");
        self.on(Event::Tick, until.max(now))
    }

    fn said(&mut self) -> String {
        self.region.commands().map(|command| say(&command)).collect::<Vec<_>>().join("; ")
    }
}

fn say(command: &Command) -> String {
    use coordinator::Command as C;
    match command {
        Command::Coordinator(C::Close(marker, ..)) => format!("close {}", marker.window),
        Command::Coordinator(C::Commit(commit)) => format!("commit {}", commit.manifest.window),
        Command::Coordinator(C::Committed { window, .. }) => format!("committed {window}"),
        Command::Coordinator(C::CheckpointFailed(window, reason)) => format!("failed {window}: {reason}"),
        Command::Coordinator(other) => format!("{other:?}"),
        Command::Halt => "halt".into(),
        Command::ReadHead => "read head".into(),
        Command::Start { fence, window } => format!("start {fence} at {window}"),
        Command::Restarting { failure, delay_ms, .. } => format!("restart in {delay_ms}: {}", failure.message),
        Command::GaveUp { reason, .. } => format!("gave up: {reason}"),
    }
}

#[test]
fn what_was_under_way_is_told_as_aborted() {
    let mut rig = Rig::with(|_| {});
    assert_eq!(rig.next_checkpoint(0), "close 8");
    let said = rig.fail(150);
    assert!(said.starts_with("halt; restart in 1000: "), "{said}");
    assert!(said.contains("; failed 8: aborted: ") && said.contains("boom"), "{said}");
    assert!(said.ends_with("; read head"), "{said}");
    assert_eq!(rig.restart(7, 160), "start 1.1 at 7");
    assert_eq!(rig.next_checkpoint(2_000), "close 8", "the window is taken again");
}

#[test]
fn answers_for_an_attempt_that_is_over_change_nothing() {
    let mut rig = Rig::with(|_| {});
    let old = rig.region.fence();
    rig.next_checkpoint(0);
    rig.fail(150);
    assert_eq!(rig.acknowledge(8, old, 155), "", "between two attempts");
    rig.restart(7, 160);
    rig.next_checkpoint(2_000);
    assert_eq!(rig.acknowledge(8, old, 2_110), "", "for the same window of the next attempt");
    let fence = rig.region.fence();
    assert_eq!(rig.acknowledge(8, fence, 2_120), "commit 8");
}

#[test]
fn a_rollback_waits_for_the_outcome_of_a_commit() {
    let mut rig = Rig::with(|settings| settings.max_concurrent = 2);
    rig.next_checkpoint(0);
    let fence = rig.region.fence();
    assert_eq!(rig.acknowledge(8, fence, 110), "commit 8");
    assert_eq!(rig.on(Event::Tick, 200), "close 9");
    let said = rig.fail(210);
    assert!(said.contains("failed 9: aborted") && !said.contains("failed 8") && !said.contains("read head"), "{said}");
    assert_eq!(rig.stored(8, Ok(()), 220), "read head", "the head says it");

    let mut rig = Rig::with(|_| {});
    rig.next_checkpoint(0);
    let fence = rig.region.fence();
    rig.acknowledge(8, fence, 110);
    rig.fail(120);
    let outcome = Err(CommitError::Failed("no space".into()));
    assert_eq!(rig.stored(8, outcome, 130), "failed 8: commit failed: no space; read head");
}

#[test]
fn failures_in_a_row_are_counted_over_attempts() {
    let mut rig = Rig::with(|settings| settings.tolerable_failures = Some(1));
    rig.next_checkpoint(0);
    assert_eq!(rig.decline(8, 110), "failed 8: declined: the snapshot of source[0] could not be kept: no space");
    assert!(!rig.fail(120).contains("failed"), "nothing is under way any more");
    rig.restart(7, 130);
    rig.next_checkpoint(2_000);
    let said = rig.decline(8, 2_110);
    assert!(said.contains("; halt; restart in") && said.contains("(checkpoint.tolerable_failures = 1)"), "{said}");

    rig.restart(7, 2_120);
    rig.next_checkpoint(9_000);
    let said = rig.decline(8, 9_110);
    assert!(!said.contains("halt"), "the restart that followed has its own chance: {said}");
}

#[test]
fn a_commit_that_was_under_way_when_the_attempt_failed_ends_the_row() {
    let mut rig = Rig::with(|settings| {
        settings.tolerable_failures = Some(1);
        settings.max_concurrent = 2;
    });
    rig.next_checkpoint(0);
    let fence = rig.region.fence();
    rig.on(Event::Tick, 200);
    assert_eq!(rig.decline(9, 210), "failed 9: declined: the snapshot of source[0] could not be kept: no space");
    assert_eq!(rig.acknowledge(8, fence, 220), "commit 8");
    rig.fail(230);
    rig.stored(8, Ok(()), 240);
    rig.restart(8, 250);
    rig.next_checkpoint(3_000);
    let said = rig.decline(9, 3_110);
    assert!(said.starts_with("failed 9: declined") && !said.contains("halt"), "{said}");
}

#[test]
fn a_pause_goes_on_in_the_next_attempt() {
    let mut rig = Rig::with(|settings| settings.min_pause_ms = 60_000);
    rig.next_checkpoint(0);
    let fence = rig.region.fence();
    rig.acknowledge(8, fence, 110);
    assert_eq!(rig.stored(8, Ok(()), 120), "committed 8");
    rig.fail(130);
    rig.restart(8, 140);
    rig.coordinator(coordinator::Event::Ready(source()), 2_000);
    let marker = |rig: &mut Rig, now| {
        rig.region.on(Event::Tick, now, 0.5);
        let closed = rig.region.commands().find_map(|command| match command {
            Command::Coordinator(coordinator::Command::Close(marker, ..)) => Some(marker),
            _ => None,
        });
        let marker = closed.expect("a window is due");
        rig.coordinator(coordinator::Event::Closed(source(), marker.window, Pace::Apart), now);
        marker
    };
    assert!(!marker(&mut rig, 2_100).snapshot);
    assert!(!marker(&mut rig, 60_119).snapshot);
    assert!(marker(&mut rig, 60_220).snapshot);
}

#[test]
fn a_stop_does_not_wait_for_the_next_attempt_and_bears_few_failures() {
    let mut rig = Rig::with(|_| {});
    rig.fail(0);
    rig.on(Event::Head(Ok(WindowId(7))), 0);
    assert_eq!(rig.region.wake_at(), Some(1_000), "the usual delay");
    rig.on(Event::Stop, 10);
    assert_eq!(rig.region.wake_at(), Some(10), "a stop does not wait");
    for attempt in 1..=STOPPING_ATTEMPTS {
        rig.on(Event::Tick, 10);
        let said = rig.fail(10);
        rig.on(Event::Head(Ok(WindowId(7))), 10);
        assert_eq!(said.contains("gave up"), attempt == STOPPING_ATTEMPTS, "attempt {attempt}: {said}");
    }
    assert!(rig.region.is_over());
}

#[test]
fn a_record_that_no_journal_reaches_back_to_ends_the_region() {
    let search = |rig: &mut Rig, now| {
        let failure = Failure { beyond_journal: true, ..Failure::panic("count", &"boom") };
        rig.on(Event::Failed(rig.region.fence(), Some(source()), failure), now)
    };
    let mut rig = Rig::with(|_| {});
    for (attempt, head) in [7, 7, 8, 8].into_iter().enumerate() {
        let now = 10_000 * attempt as i64;
        if attempt == 2 {
            // A checkpoint was committed in between: the journal is shorter the next time.
            rig.next_checkpoint(now);
            let fence = rig.region.fence();
            rig.acknowledge(8, fence, now + 110);
            rig.stored(8, Ok(()), now + 120);
        }
        let said = search(&mut rig, now + 200);
        assert!(said.contains("restart in"), "attempt {attempt}: {said}");
        rig.restart(head, now + 210);
    }
    let said = search(&mut rig, 100_000);
    assert!(
        said.contains("gave up: it failed 3 times with no commit between") && said.contains("recovery.journal"),
        "{said}"
    );
    assert!(rig.region.is_over());

    let mut rig = Rig::with(|_| {});
    for now in 0..20 {
        assert!(rig.fail(now * 100_000).contains("restart in"), "any other failure is for the restart policy");
        rig.restart(7, now * 100_000);
    }
}

#[test]
fn an_attempt_that_has_failed_is_not_to_be_started_any_more() {
    let mut rig = Rig::with(|_| {});
    let first = rig.region.fence();
    assert!(rig.region.is_running(first));
    rig.fail(0);
    rig.on(Event::Head(Ok(WindowId(7))), 0);
    assert!(rig.region.fence() == first && !rig.region.is_running(first), "the next attempt has not begun");
    rig.on(Event::Tick, 1_000);
    assert!(!rig.region.is_running(first) && rig.region.is_running(rig.region.fence()));
}
