//! The parts of the jobs that are scaled: a source of numbers, keyed operators, and a sink.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use piton::prelude::*;
use piton::{Delivery, Rows};
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use crate::measure::{Memory, processor_seconds};

/// Coprime to any number of keys that is used here.
const STRIDE: u64 = 1_000_000_007;
/// So long a job has to become quiet, in ms.
const SETTLE: u64 = 500;

/// What parts tell the one who measures; a process has one run.
pub(super) struct Seen {
    /// How many rows came to sinks.
    pub(super) rows: AtomicU64,
    /// When the first one came, in ns of the clock that all processes share.
    pub(super) first: OnceLock<u64>,
    /// Processors, clock and memory when the job had become quiet, and at its end.
    pub(super) quiet: Mutex<Vec<(f64, Instant, f64)>>,
    /// How much memory there was when all keys had come, in MB.
    pub(super) filled_mb: OnceLock<f64>,
    /// How long the operator stood still for each checkpoint.
    pub(super) pauses: Mutex<Vec<Duration>>,
}

pub(super) static SEEN: Seen = Seen {
    rows: AtomicU64::new(0),
    first: OnceLock::new(),
    quiet: Mutex::new(Vec::new()),
    filled_mb: OnceLock::new(),
    pauses: Mutex::new(Vec::new()),
};

/// Returns the time of the clock that all processes share, in ns.
pub(super) fn monotonic() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

pub(super) fn registry() -> Registry {
    let mut registry = Registry::new();
    registry.source::<Numbers>("numbers").source::<Quiet>("quiet").source::<Changes>("changes");
    registry.operator::<Keep>("keep").sink::<Counted>("counted");
    registry
}

#[derive(Clone, Copy, Debug, Default, Record, Serialize, Deserialize)]
struct Number {
    key: u64,
}

/// Emits so many numbers, with keys that come in no order.
#[derive(Clone, Deserialize)]
struct Numbers {
    rows: u64,
    keys: u64,
    #[serde(skip)]
    next: u64,
}

impl Source for Numbers {
    type Out = Number;
    type Position = u64;

    async fn open(&mut self, position: Option<u64>, _: &Subtask) -> Result {
        self.next = position.unwrap_or_default();
        Ok(())
    }

    async fn poll(&mut self, feed: &mut Feed<Number>) -> Result<Progress> {
        let until = self.rows.min(self.next + feed.room() as u64);
        for number in self.next..until {
            feed.push(Number { key: number.wrapping_mul(STRIDE) % self.keys });
        }
        self.next = until;
        Ok(if until < self.rows { Progress::More } else { Progress::Done })
    }

    fn position(&self) -> u64 {
        self.next
    }
}

/// Emits nothing for some time, and notes what that costs.
#[derive(Clone, Deserialize)]
struct Quiet {
    milliseconds: u64,
    #[serde(skip)]
    opened: Option<Instant>,
    #[serde(skip)]
    is_settled: bool,
}

impl Source for Quiet {
    type Out = Number;
    type Position = u64;

    async fn open(&mut self, _: Option<u64>, _: &Subtask) -> Result {
        self.opened = Some(Instant::now());
        Ok(())
    }

    async fn poll(&mut self, _: &mut Feed<Number>) -> Result<Progress> {
        let since = self.opened.expect("it was opened before it is polled").elapsed().as_millis() as u64;
        let note = || {
            SEEN.quiet.lock().expect("nobody panics with it").push((
                processor_seconds(),
                Instant::now(),
                Memory::now_mb(),
            ))
        };
        if since < SETTLE {
            return Ok(Progress::Idle(SETTLE - since));
        }
        if !std::mem::replace(&mut self.is_settled, true) {
            note();
        }
        let left = (SETTLE + self.milliseconds).saturating_sub(since);
        if left > 0 {
            return Ok(Progress::Idle(left));
        }
        note();
        Ok(Progress::Done)
    }

    fn position(&self) -> u64 {
        0
    }
}

/// Waits for a commit, fills state, one record for each key, and then changes 1 % of the keys after each commit.
#[derive(Clone, Deserialize)]
struct Changes {
    keys: u64,
    /// How often they change.
    rounds: u64,
    /// How many records have been emitted.
    #[serde(skip)]
    next: u64,
    /// How many there are to be by the next commit that counts.
    #[serde(skip)]
    until: u64,
    /// How many commits of everything that was to be there are done.
    #[serde(skip)]
    committed: u64,
}

impl Changes {
    fn of_round(&self) -> u64 {
        (self.keys / 100).max(1)
    }
}

impl Source for Changes {
    type Out = Number;
    type Position = u64;

    async fn open(&mut self, _: Option<u64>, _: &Subtask) -> Result {
        // It begins behind a commit, to have all of the time until the next one.
        self.until = 0;
        Ok(())
    }

    async fn poll(&mut self, feed: &mut Feed<Number>) -> Result<Progress> {
        if self.committed > self.rounds + 1 {
            return Ok(Progress::Done);
        }
        if self.next == self.until {
            return Ok(Progress::Idle(1));
        }
        let until = self.until.min(self.next + feed.room() as u64);
        for number in self.next..until {
            feed.push(Number { key: number.wrapping_mul(STRIDE) % self.keys });
        }
        self.next = until;
        Ok(Progress::More)
    }

    fn position(&self) -> u64 {
        self.next
    }

    async fn committed(&mut self, _: WindowId, position: u64) -> Result {
        if position == self.until && self.committed <= self.rounds + 1 {
            self.until += match self.committed {
                0 => self.keys,
                1.. => self.of_round(),
            };
            self.committed += 1;
        }
        Ok(())
    }
}

const COUNT: ValueState<u64> = ValueState::new("count");
const TEXT: ValueState<String> = ValueState::new("text");

/// Counts each key, or keeps a text of so many bytes for each.
#[derive(Clone, Deserialize)]
struct Keep {
    /// How long the text is; 0 for a count.
    #[serde(default)]
    bytes: usize,
    /// After so many records memory is noted; 0 for never.
    #[serde(default)]
    keys: u64,
    #[serde(skip)]
    seen: u64,
    #[serde(skip)]
    before_cut: Option<Instant>,
}

impl Operator for Keep {
    type In = Number;
    type Out = Number;

    fn key(&self, number: &Number) -> Key {
        Key::from(number.key)
    }

    fn process(&mut self, number: &Number, ctx: &mut Context<Number>) -> Result {
        if self.bytes == 0 {
            ctx.state(COUNT).update(|count| *count += 1)?;
        } else {
            let text = format!("{:0width$}", self.seen, width = self.bytes);
            ctx.state(TEXT).set(text)?;
        }
        self.seen += 1;
        if self.seen == self.keys {
            SEEN.filled_mb.get_or_init(Memory::now_mb);
        }
        ctx.emit(*number);
        Ok(())
    }

    fn is_keyed(&self) -> bool {
        true
    }

    fn before_checkpoint(&mut self, _: WindowId, _: &mut Context<Number>) -> Result {
        self.before_cut = Some(Instant::now());
        Ok(())
    }

    fn begin_window(&mut self, _: WindowId, _: &mut Context<Number>) -> Result {
        if let Some(before) = self.before_cut.take() {
            SEEN.pauses.lock().expect("nobody panics with it").push(before.elapsed());
        }
        Ok(())
    }
}

/// Counts rows.
#[derive(Clone, Deserialize)]
struct Counted {}

impl Sink for Counted {
    type In = Number;
    type Pending = ();

    fn delivery(&self) -> Delivery {
        Delivery::Staged
    }

    async fn open(&mut self, _: Vec<()>, _: &Subtask) -> Result {
        Ok(())
    }

    async fn write(&mut self, batch: Arc<Rows<Number>>) -> Result {
        SEEN.first.get_or_init(monotonic);
        SEEN.rows.fetch_add(batch.iter().count() as u64, Ordering::Relaxed);
        Ok(())
    }

    async fn prepare(&mut self, _: WindowId) -> Result<Option<()>> {
        Ok(None)
    }
}
