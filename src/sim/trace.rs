//! What happened in a run, as a number that is the same whenever the same happened; and its last events in words.

use std::collections::VecDeque;
use std::fmt;

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum What {
    Boot,
    Crash,
    Fault,
    Start,
    Begin,
    Halt,
    Deliver,
    Move,
    Wake,
    Idle,
    SourceCall,
    SinkCall,
    Request,
    Write,
    Commit,
    Load,
    ReadHead,
    Tell,
    Close,
    ToRegion,
    Committed,
    CheckpointFailed,
    Restarting,
    GaveUp,
    Done,
    Zombie,
    News,
}

#[derive(Clone, Copy, Debug)]
struct Note {
    step: u64,
    now: i64,
    what: What,
    whose: u32,
    which: u64,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Note { step, now, what, whose, which } = self;
        write!(f, "step {step} at {now} ms: {what:?} {}.{} {which}", whose >> 16, whose & 0xffff)
    }
}

/// How many of the last events are kept in words.
const KEPT: usize = 40;

/// See the module.
pub(crate) struct Trace {
    hash: u64,
    buffer: Vec<u8>,
    last: VecDeque<Note>,
    /// Whether everything is kept, not only the last events.
    everything: bool,
}

impl Trace {
    pub(crate) fn new(everything: bool) -> Trace {
        Trace { hash: 0, buffer: Vec::with_capacity(1 << 13), last: VecDeque::with_capacity(KEPT + 1), everything }
    }

    /// Notes an event of a region's subtask.
    pub(crate) fn note(&mut self, step: u64, now: i64, what: What, whose: (usize, usize), which: u64) {
        let note = Note { step, now, what, whose: ((whose.0 as u32) << 16) | whose.1 as u32 & 0xffff, which };
        self.buffer.push(what as u8);
        self.buffer.extend_from_slice(&note.whose.to_le_bytes());
        self.buffer.extend_from_slice(&now.to_le_bytes());
        self.buffer.extend_from_slice(&which.to_le_bytes());
        if self.buffer.len() >= (1 << 13) - 32 {
            self.fold();
        }
        if self.last.len() >= KEPT && !self.everything {
            self.last.pop_front();
        }
        self.last.push_back(note);
    }

    fn fold(&mut self) {
        self.hash = xxh3_64_with_seed(&self.buffer, self.hash);
        self.buffer.clear();
    }

    /// Returns the number that stands for all events so far.
    pub(crate) fn hash(&mut self) -> u64 {
        self.fold();
        self.hash
    }

    /// Returns the events that were kept, in words.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.last.iter().map(ToString::to_string).collect()
    }
}
