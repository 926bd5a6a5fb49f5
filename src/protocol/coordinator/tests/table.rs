//! Rows: what is given, what happens at which time, and what the coordinator asks for then.

use super::*;
use crate::protocol::subtask::Timing;

/// What happens.
#[derive(Clone, Copy, Debug)]
pub(super) enum Do {
    /// Time passes.
    Tick,
    /// Of a subtask it is not known whether it holds rows.
    Unsure,
    /// A subtask is open.
    Ready(&'static str),
    /// A source has sent the marker of a window; only where a row says that sources do not do so at once.
    Closed(&'static str, u64),
    /// A subtask acknowledges a checkpoint.
    Ack(&'static str, u64),
    /// One of an attempt before does.
    OldAck(&'static str, u64),
    /// Both subtasks do.
    Acks(u64),
    /// Both do, and have finished.
    LastAcks(u64),
    /// A subtask could not keep its snapshot.
    Decline(&'static str, u64),
    /// One cannot take it within a window, because of an operator that is known or not.
    Holds(&'static str, u64, bool),
    /// The store has committed.
    Stored(u64),
    /// It has not, for sure.
    NotStored(u64),
    /// It does not know.
    Unknown(u64),
    /// Someone else has.
    Fenced(u64),
    /// A user asks for a checkpoint.
    Ask,
    /// A journal is half full.
    Journal,
    Stop,
    /// All inputs of a subtask have ended.
    Finished(&'static str),
    /// Both subtasks have seen a commit through.
    Told(u64),
}

/// What is given: a source and a sink, which are open at 0 unless said otherwise; windows of 100 ms.
pub(super) struct Given {
    pub(super) settings: CheckpointSettings,
    /// Whether both are open from the start.
    pub(super) open: bool,
    /// Whether the source sends every marker at once.
    pub(super) prompt: bool,
}

impl Given {
    /// A checkpoint with every so many windows, one at a time, without a pause.
    pub(super) fn every(every: u64) -> Given {
        Given { settings: settings(every, 1), open: true, prompt: true }
    }

    pub(super) fn at_once(mut self, max_concurrent: usize) -> Given {
        self.settings.max_concurrent = max_concurrent;
        self
    }

    pub(super) fn pause(mut self, min_pause_ms: u64) -> Given {
        self.settings.min_pause_ms = min_pause_ms;
        self
    }

    pub(super) fn timeout(mut self, timeout_ms: u64) -> Given {
        self.settings.timeout_ms = timeout_ms;
        self
    }

    pub(super) fn waiting(mut self, aligned_timeout_ms: u64) -> Given {
        self.settings.aligned_timeout_ms = Some(aligned_timeout_ms);
        self
    }

    pub(super) fn tolerable(mut self, failures: u32) -> Given {
        self.settings.tolerable_failures = Some(failures);
        self
    }

    pub(super) fn not_open(self) -> Given {
        Given { open: false, ..self }
    }

    pub(super) fn slow_source(self) -> Given {
        Given { prompt: false, ..self }
    }
}

/// When, what, and the commands that follow, divided by `"; "`.
pub(super) type Step<'a> = (i64, Do, &'a str);

/// Checks a row.
pub(super) fn row(what: &str, given: Given, steps: &[Step<'_>]) {
    let mut table = Table::new(given);
    for (number, (now, event, expected)) in steps.iter().enumerate() {
        let commands = table.happens(*event, *now);
        assert_eq!(&commands, expected, "{what}: step {number}, {event:?} at {now} ms");
    }
}

struct Table {
    coordinator: Coordinator,
    prompt: bool,
}

impl Table {
    fn new(given: Given) -> Table {
        let (source, sink) = (SubtaskId::new("source", 0), SubtaskId::new("sink", 0));
        let members = Members {
            job: "job".into(),
            region: "region".into(),
            topology: Vec::new(),
            subtasks: vec![source.clone(), sink.clone()],
            sources: vec![source.clone()],
        };
        let fence = Fence { incarnation: 1, attempt: 1 };
        let mut coordinator = Coordinator::new(members, given.settings, fence, WindowId::NONE, 0);
        if given.open {
            coordinator.on(Event::Ready(source), 0);
            coordinator.on(Event::Ready(sink), 0);
        }
        Table { coordinator, prompt: given.prompt }
    }

    /// Lets something happen; returns what is asked for.
    fn happens(&mut self, event: Do, now: Timestamp) -> String {
        for event in events(event) {
            self.coordinator.on(event, now);
        }
        let mut said = Vec::new();
        let mut commands: Vec<Command> = self.coordinator.commands().collect();
        while !commands.is_empty() {
            for command in std::mem::take(&mut commands) {
                said.push(say(&command));
                if let (Command::Close(marker, ..), true) = (&command, self.prompt) {
                    self.coordinator.on(Event::Closed(SubtaskId::new("source", 0), marker.window, Pace::Apart), now);
                    commands.extend(self.coordinator.commands());
                }
            }
        }
        said.join("; ")
    }
}

fn events(event: Do) -> Vec<Event> {
    let id = |name: &str| SubtaskId::new(name, 0);
    let full = || String::from("the disk is full");
    let one = match event {
        Do::Tick => Event::Tick,
        Do::Ready(who) => Event::Ready(id(who)),
        Do::Unsure => Event::Unsure,
        Do::Closed(who, window) => Event::Closed(id(who), WindowId(window), Pace::Apart),
        Do::Ack(who, window) => acknowledgement(who, window, false, 1),
        Do::OldAck(who, window) => acknowledgement(who, window, false, 0),
        Do::Acks(window) | Do::LastAcks(window) => {
            let finished = matches!(event, Do::LastAcks(_));
            return ["source", "sink"].map(|who| acknowledgement(who, window, finished, 1)).into();
        }
        Do::Decline(who, window) => declined(who, window, window, Why::NotKept(full())),
        Do::Holds(who, window, known) => {
            declined(who, window, window - 1, Why::HoldsRows(known.then(|| "count".into())))
        }
        Do::Stored(window) => Event::Outcome(WindowId(window), Ok(())),
        Do::NotStored(window) => Event::Outcome(WindowId(window), Err(CommitError::Failed(full()))),
        Do::Unknown(window) => Event::Outcome(WindowId(window), Err(CommitError::Unknown(full()))),
        Do::Fenced(window) => {
            let by = Fence { incarnation: 2, attempt: 0 };
            Event::Outcome(WindowId(window), Err(CommitError::Fenced { by, head: WindowId(9) }))
        }
        Do::Ask => Event::Trigger,
        Do::Journal => Event::JournalFull,
        Do::Stop => Event::Stop,
        Do::Finished(who) => Event::Finished(id(who)),
        Do::Told(window) => return ["source", "sink"].map(|who| Event::Told(id(who), WindowId(window))).into(),
    };
    vec![one]
}

fn declined(who: &str, window: u64, ended: u64, why: Why) -> Event {
    Event::Declined(SubtaskId::new(who, 0), Declined { window: WindowId(window), ended: WindowId(ended), why })
}

fn acknowledgement(who: &str, window: u64, finished: bool, attempt: u64) -> Event {
    let subtask = SubtaskId::new(who, 0);
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
    let fence = Fence { incarnation: 1, attempt };
    Event::Ack(
        subtask,
        Box::new(Ack { fence, window: WindowId(window), snapshot, joined: Vec::new(), timing: Timing::default() }),
    )
}

fn say(command: &Command) -> String {
    match command {
        Command::Close(marker, behind, alignment, _) => {
            let snapshot = if marker.snapshot { " snapshot" } else { "" };
            let hold = if *behind == Behind::Hold { " hold" } else { "" };
            let at_once = if *alignment == Alignment::Unaligned { " at once" } else { "" };
            format!("close {}{snapshot}{at_once}{hold}", marker.window)
        }
        Command::Overtake(window) => format!("overtake {window}"),
        Command::Waits(subtask, operator) => format!("waits for {operator} of {subtask}"),
        Command::Commit(commit) => {
            let finished = if commit.manifest.finished { " finished" } else { "" };
            format!("commit {}{finished}", commit.manifest.window)
        }
        Command::Committed { window, took_ms, .. } => format!("committed {window} in {took_ms}"),
        Command::CheckpointFailed(window, reason) => format!("failed {window}: {reason}"),
        Command::Failed(failure) => format!("restart: {}", failure.message),
        Command::Done { window, finished } => format!("done {window}{}", if *finished { " finished" } else { "" }),
    }
}
