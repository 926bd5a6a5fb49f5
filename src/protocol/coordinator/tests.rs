//! Every decision of the coordinator as a row of a table, and what takes more than a row.

mod alignment;
mod ending;
mod failing;
mod table;
mod when;

use super::*;
use crate::protocol::drift::Pace;
use crate::protocol::subtask::Timing;

/// A coordinator with one source and one sink, which are open.
struct Pair {
    coordinator: Coordinator,
    source: SubtaskId,
    sink: SubtaskId,
    now: Timestamp,
}

impl Pair {
    fn new(settings: CheckpointSettings) -> Pair {
        let (source, sink) = (SubtaskId::new("source", 0), SubtaskId::new("sink", 0));
        let members = Members {
            job: "job".into(),
            region: "region".into(),
            topology: Vec::new(),
            subtasks: vec![source.clone(), sink.clone()],
            sources: vec![source.clone()],
        };
        let mut coordinator = Coordinator::new(members, settings, Fence::default(), WindowId::NONE, 0);
        coordinator.on(Event::Ready(source.clone()), 0);
        coordinator.on(Event::Ready(sink.clone()), 0);
        Pair { coordinator, source, sink, now: 0 }
    }

    /// Waits for the next window; returns its marker, which the source has sent, if it was closed.
    fn next_window(&mut self) -> Option<Marker> {
        self.now += 100;
        self.coordinator.on(Event::Tick, self.now);
        let closed = self.coordinator.commands().find_map(|command| match command {
            Command::Close(marker, ..) => Some(marker),
            _ => None,
        });
        if let Some(marker) = closed {
            self.coordinator.on(Event::Closed(self.source.clone(), marker.window, Pace::Apart), self.now);
        }
        closed
    }

    fn decline(&mut self, subtask: SubtaskId, window: WindowId) {
        self.coordinator.on(
            Event::Declined(subtask, Declined { window, ended: window, why: Why::NotKept("the disk is full".into()) }),
            self.now,
        );
    }

    /// Both subtasks acknowledge a checkpoint; returns the commands that follow.
    fn acknowledge(&mut self, window: WindowId) -> Vec<Command> {
        self.acknowledge_as(window, false)
    }

    fn acknowledge_as(&mut self, window: WindowId, finished: bool) -> Vec<Command> {
        for subtask in [self.source.clone(), self.sink.clone()] {
            let snapshot = SubtaskSnapshot {
                subtask: subtask.clone(),
                finished,
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
            let ack = Ack { fence: Fence::default(), window, snapshot, joined: Vec::new(), timing: Timing::default() };
            self.coordinator.on(Event::Ack(subtask, Box::new(ack)), self.now);
        }
        self.coordinator.commands().collect()
    }
}

fn settings(every: u64, max_concurrent: usize) -> CheckpointSettings {
    CheckpointSettings { every, max_concurrent, ..CheckpointSettings::default() }
}

#[test]
fn a_disk_that_was_full_for_long_does_not_stop_checkpoints_for_good() {
    let mut pair = Pair::new(settings(4, 1));
    for _ in 0..400 {
        let marker = pair.next_window().expect("both subtasks keep up");
        if marker.snapshot {
            pair.decline(pair.source.clone(), marker.window);
            pair.decline(pair.sink.clone(), marker.window);
        }
    }
    let marker = (0..4).filter_map(|_| pair.next_window()).find(|marker| marker.snapshot).expect("the next checkpoint");
    assert!(matches!(pair.acknowledge(marker.window)[..], [Command::Commit(_)]));
}

#[test]
fn windows_are_bounded_while_a_subtask_does_not_get_on() {
    for every in [1, 4] {
        let settings = settings(every, 1);
        let most = settings.windows_ahead() + 1;
        let mut pair = Pair::new(settings);
        let mut closed = Vec::new();
        for _ in 0..400 {
            let Some(marker) = pair.next_window() else { continue };
            closed.push(marker);
            if marker.snapshot {
                // The checkpoint is given up at once, and there is room for the next.
                pair.decline(pair.source.clone(), marker.window);
            }
        }
        assert!(closed.len() as u64 <= most, "{} windows, every {every}", closed.len());

        let last = closed.iter().rfind(|marker| marker.snapshot).expect("a checkpoint").window;
        pair.decline(pair.sink.clone(), last);
        assert!(pair.next_window().is_some(), "it has got on, every {every}");
    }
}

#[test]
fn a_failed_attempt_commits_nothing_more() {
    let mut pair = Pair::new(settings(1, 2));
    let first = pair.next_window().expect("a window").window;
    let second = pair.next_window().expect("a window").window;
    assert!(matches!(pair.acknowledge(first)[..], [Command::Commit(_)]));
    assert!(pair.acknowledge(second).is_empty(), "one commit after the other");
    let unknown = Err(CommitError::Unknown("the disk is gone".into()));
    pair.coordinator.on(Event::Outcome(first, unknown), pair.now);
    let commands: Vec<Command> = pair.coordinator.commands().collect();
    assert!(matches!(commands[..], [Command::Failed(_)]), "{commands:?}");
    assert!(!pair.coordinator.is_committing(), "a rollback would wait for it");
}

/// Takes a checkpoint of the end of all input, and lets it be committed; returns what its manifest says and the commands
/// that follow once both subtasks have seen it through.
fn commit_the_end(pair: &mut Pair, window: WindowId) -> (bool, Vec<Command>) {
    pair.coordinator.on(Event::Closed(pair.source.clone(), window, Pace::Apart), pair.now);
    let commands = pair.acknowledge_as(window, true);
    let [Command::Commit(commit)] = &commands[..] else { panic!("{commands:?}") };
    let finished = commit.manifest.finished;
    pair.coordinator.on(Event::Outcome(window, Ok(())), pair.now);
    let told: Vec<Command> = pair.coordinator.commands().collect();
    assert!(matches!(told[..], [Command::Committed { .. }]), "nothing before it is seen through: {told:?}");
    for subtask in [pair.source.clone(), pair.sink.clone()] {
        pair.coordinator.on(Event::Told(subtask, window), pair.now);
    }
    (finished, pair.coordinator.commands().collect())
}

#[test]
fn only_a_checkpoint_behind_the_end_says_that_the_region_has_finished() {
    let mut pair = Pair::new(settings(1, 1));
    for subtask in [pair.source.clone(), pair.sink.clone()] {
        pair.coordinator.on(Event::Finished(subtask), 1);
    }
    let commands: Vec<Command> = pair.coordinator.commands().collect();
    let [Command::Close(end, ..)] = commands[..] else { panic!("{commands:?}") };
    let (finished, commands) = commit_the_end(&mut pair, end.window);
    let [Command::Close(behind, ..)] = commands[..] else { panic!("at once, without a tick: {commands:?}") };
    assert!(!finished && behind.snapshot && behind.window > end.window);
    let (finished, commands) = commit_the_end(&mut pair, behind.window);
    assert!(finished && matches!(commands[..], [Command::Done { finished: true, .. }]), "{commands:?}");
}

#[test]
fn a_stop_holds_the_sources_behind_its_checkpoint() {
    let mut pair = Pair::new(settings(4, 1));
    assert!(pair.next_window().is_some_and(|marker| !marker.snapshot));
    pair.coordinator.on(Event::Stop, pair.now);
    let commands: Vec<Command> = pair.coordinator.commands().collect();
    assert!(
        matches!(commands[..], [Command::Close(Marker { snapshot: true, .. }, Behind::Hold, Alignment::Aligned, _)]),
        "{commands:?}"
    );
}
