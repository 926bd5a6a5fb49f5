//! A sink that is slower than its source slows the source down: memory stays within what the mailboxes may hold, and
//! checkpoints go on meanwhile.
//!
//! `PITON_ROUNDS=200 cargo test --test memory_is_bounded` sends 5 million rows.

#[path = "support/binary/mod.rs"]
mod binary;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use binary::chaos::rounds;
use binary::process::Job;
use piton::prelude::*;
use piton::runtime::{Ended, Event, RunOptions};
use piton::{Delivery, Overrides, Registry};
use serde::Deserialize;

/// Bytes of the text in each row.
const TEXT: usize = 1000;
/// Rows of a batch.
const BATCH: u64 = 512;
/// Batches that each channel holds.
const CAPACITY: u64 = 8;
const PARALLELISM: u64 = 2;
/// Channels from each source to each relay, and from each relay to its sink.
const CHANNELS: u64 = PARALLELISM * PARALLELISM + PARALLELISM;
/// What may come on top of what the mailboxes hold, in KiB.
const MARGIN: u64 = 64 << 10;
/// What the journals of all subtasks may hold, in KiB: the operators', with what came out of them, and the sinks'.
const JOURNALS: u64 = 2 * PARALLELISM * (2 << 10);

type Row = (u64, String);

/// Emits rows as fast as it is asked for them.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fast {
    rows: u64,
    #[serde(skip)]
    next: u64,
    #[serde(skip)]
    step: u64,
}

impl Source for Fast {
    type Out = Row;
    type Position = u64;

    async fn open(&mut self, position: Option<u64>, subtask: &Subtask) -> Result {
        self.step = u64::from(subtask.parallelism);
        self.next = position.unwrap_or(u64::from(subtask.index));
        Ok(())
    }

    async fn poll(&mut self, feed: &mut Feed<Row>) -> Result<Progress> {
        for _ in 0..feed.room() {
            if self.next >= self.rows {
                return Ok(Progress::Done);
            }
            feed.push((self.next, "x".repeat(TEXT)));
            self.next += self.step;
        }
        Ok(Progress::More)
    }

    fn position(&self) -> u64 {
        self.next
    }
}

/// Passes rows on by their number.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Relay {}

impl Operator for Relay {
    type In = Row;
    type Out = Row;

    fn key(&self, row: &Row) -> Key {
        Key::from(row.0)
    }

    fn process(&mut self, row: &Row, ctx: &mut Context<Row>) -> Result {
        ctx.forward(row);
        Ok(())
    }
}

/// How many rows the sinks have taken.
static TAKEN: AtomicU64 = AtomicU64::new(0);

/// Takes its time for each batch.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Slow {}

impl Sink for Slow {
    type In = Row;
    type Pending = ();

    fn delivery(&self) -> Delivery {
        Delivery::Immediate
    }

    async fn open(&mut self, _pending: Vec<()>, _subtask: &Subtask) -> Result {
        Ok(())
    }

    #[expect(clippy::disallowed_methods, reason = "this sink is slow in real time")]
    async fn write(&mut self, batch: Arc<piton::Rows<Row>>) -> Result {
        tokio::time::sleep(Duration::from_millis(10)).await;
        TAKEN.fetch_add(batch.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    async fn prepare(&mut self, _window: WindowId) -> Result<Option<()>> {
        Ok(None)
    }
}

fn topology(rows: u64, alignment: &str) -> String {
    format!(
        r#"
        [job]
        name = "slow"
        parallelism = {PARALLELISM}
        chaining = "off"
        [window]
        interval = "20ms"
        [checkpoint]
        interval = "100ms"
        alignment = "{alignment}"
        [recovery]
        journal = "2MiB"
        [mailbox]
        batch = {BATCH}
        capacity = {CAPACITY}
        [store]
        path = "state"
        [sources.fast]
        type = "fast"
        rows = {rows}
        [operators.relay]
        type = "relay"
        inputs = ["fast"]
        [sinks.slow]
        type = "slow"
        inputs = ["relay"]
        "#
    )
}

/// Returns a line of `/proc/self/status`, in KiB.
fn memory(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim_start_matches(':').trim().trim_end_matches(" kB").parse().unwrap()
}

/// Not a test by itself: the process whose memory [`memory_stays_within_the_mailboxes`] looks at.
#[test]
fn child() {
    let Ok(rows) = std::env::var("PITON_SLOW_ROWS") else { return };
    let rows: u64 = rows.parse().unwrap();
    let alignment = std::env::var("PITON_SLOW_ALIGNMENT").unwrap();
    let mut registry = Registry::new();
    registry.source::<Fast>("fast").operator::<Relay>("relay").sink::<Slow>("slow");
    let file = Path::new("job.toml");
    let plan = piton::topology::load_text(&topology(rows, &alignment), file, &Overrides::default(), &registry).unwrap();
    let begin = memory("VmHWM");
    let listener = Box::new(move |event: &Event| match event {
        Event::Committed { .. } => println!("\nCOMMITTED {}", TAKEN.load(Ordering::Relaxed)),
        Event::CheckpointFailed { reason, .. } => println!("\nFAILED {reason}"),
        Event::Restarted { reason, .. } => println!("\nFAILED {reason}"),
        _ => {}
    });
    let ended = piton::runtime::run(&plan, RunOptions { listener, ..RunOptions::default() }).unwrap();
    assert!(matches!(ended, Ended::Ran(outcome) if outcome.finished && outcome.records_out == rows));
    assert_eq!(TAKEN.load(Ordering::Relaxed), rows);
    println!("\nMEMORY {begin} {}", memory("VmHWM"));
}

#[test]
fn memory_stays_within_the_mailboxes() {
    within("aligned", 1);
}

/// What is under way is written down with each checkpoint: as bytes, and as what the store holds of them meanwhile.
#[test]
fn nor_does_it_grow_while_checkpoints_do_not_wait() {
    within("unaligned", 3);
}

/// Runs the job, whose mailboxes may be held so many times.
fn within(alignment: &str, times: u64) {
    let rows = rounds(12) * 25_000;
    let folder = tempfile::tempdir().unwrap();
    let job = Job::new(folder.path(), "");
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "child", "--nocapture"])
        .env("PITON_SLOW_ROWS", rows.to_string())
        .env("PITON_SLOW_ALIGNMENT", alignment);
    let ended = job.spawn(command).wait().expect(0);
    let numbers = |name: &str| -> Vec<u64> {
        let lines = ended.stdout.lines().filter_map(|line| line.strip_prefix(name));
        lines.flat_map(|line| line.split_whitespace().map(|number| number.parse().unwrap())).collect()
    };
    assert!(!ended.stdout.contains("FAILED"), "{}", ended.stdout);

    let [begin, peak] = numbers("MEMORY ")[..] else { panic!("no figures in:\n{}", ended.stdout) };
    // The text of a row, its allocation, and the row itself.
    let row = (TEXT + 16 + size_of::<Row>()) as u64;
    let mailboxes = times * CHANNELS * CAPACITY * BATCH * row / 1024;
    let sent = rows * row / 1024;
    println!("{rows} rows, {sent} KiB: {begin} KiB at the start, {peak} at most; the mailboxes hold {mailboxes}");
    assert!(sent > 2 * (mailboxes + JOURNALS + MARGIN), "too few rows to tell");
    assert!(peak <= begin + mailboxes + JOURNALS + MARGIN, "{peak} KiB, from {begin} with mailboxes of {mailboxes}");

    // Checkpoints went through while the sink was behind.
    let under_way = numbers("COMMITTED ").into_iter().filter(|taken| (1..rows).contains(taken)).count();
    println!("{under_way} checkpoints meanwhile");
    assert!(under_way >= 5, "{under_way} checkpoints in the whole run");
}
