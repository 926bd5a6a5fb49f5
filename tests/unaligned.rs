//! Checkpoints that do not wait: they complete while a slow sink is far behind full mailboxes, and what was under way then
//! is neither lost nor doubled, wherever the process ends.
//!
//! `PITON_ROUNDS=100 cargo test --test unaligned -- killed` kills more often.
#![allow(missing_docs, reason = "a test")]

#[path = "support/binary/mod.rs"]
mod binary;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use binary::chaos::{rng, rounds};
use binary::process::{Job, Life};
use piton::prelude::*;
use piton::runtime::{Ended, Event, RunOptions, Signals};
use piton::{Overrides, Registry};
use rand::RngExt as _;
use serde::{Deserialize, Serialize};

/// A key and a number; behind the operators, how often the key had come by then, too.
type Row = (u64, u64, u64);

const KEYS: u64 = 31;

/// Emits numbers as fast as it is asked for them; an earlier life's share can be divided.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Numbers {
    rows: u64,
    #[serde(skip)]
    sequences: Vec<(u64, u64)>,
}

impl Source for Numbers {
    type Out = Row;
    type Position = Vec<(u64, u64)>;

    async fn open(&mut self, position: Option<Vec<(u64, u64)>>, subtask: &Subtask) -> Result {
        let first = (u64::from(subtask.index), u64::from(subtask.parallelism));
        self.sequences = position.unwrap_or_else(|| vec![first]);
        Ok(())
    }

    async fn poll(&mut self, feed: &mut Feed<Row>) -> Result<Progress> {
        for _ in 0..feed.room() {
            let Some(lowest) = self.sequences.iter_mut().min().filter(|(next, _)| *next < self.rows) else {
                return Ok(Progress::Done);
            };
            feed.push_at(lowest.0 as i64, (lowest.0 % KEYS, lowest.0, 0));
            lowest.0 += lowest.1;
        }
        Ok(Progress::More)
    }

    fn position(&self) -> Vec<(u64, u64)> {
        self.sequences.clone()
    }

    fn redistribute(positions: Vec<Option<Vec<(u64, u64)>>>, parallelism: u32) -> Result<Vec<Option<Vec<(u64, u64)>>>> {
        let before = positions.len() as u64;
        let share = |(position, index): (Option<Vec<_>>, u64)| position.unwrap_or(vec![(index, before)]);
        let all: Vec<(u64, u64)> = positions.into_iter().zip(0..).flat_map(share).collect();
        let parts = u64::from(parallelism);
        let divide = |part: u64| move |(next, step): (u64, u64)| (next + part * step, step * parts);
        Ok((0..parts).map(|part| Some(all.iter().copied().map(divide(part)).collect())).collect())
    }
}

const COUNT: ValueState<u64> = ValueState::new("count");

/// Says how often each key has come by.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Count {}

impl Operator for Count {
    type In = Row;
    type Out = Row;

    fn key(&self, row: &Row) -> Key {
        Key::from(row.0)
    }

    fn process(&mut self, row: &Row, ctx: &mut Context<Row>) -> Result {
        let count = ctx.state(COUNT).update(|count| {
            *count += 1;
            *count
        })?;
        ctx.emit((row.0, row.1, count));
        Ok(())
    }
}

/// Lets rows through until their window ends, and holds the rest until then.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Hold {
    #[serde(skip)]
    held: Vec<Row>,
}

impl Operator for Hold {
    type In = Row;
    type Out = Row;

    fn process(&mut self, row: &Row, _ctx: &mut Context<Row>) -> Result {
        self.held.push(*row);
        Ok(())
    }

    fn end_window(&mut self, _window: WindowId, ctx: &mut Context<Row>) -> Result {
        self.held.drain(..).for_each(|row| ctx.emit(row));
        Ok(())
    }

    fn close(&mut self, ctx: &mut Context<Row>) -> Result {
        self.held.drain(..).for_each(|row| ctx.emit(row));
        Ok(())
    }
}

/// How many rows the sinks of this process have taken.
static TAKEN: AtomicU64 = AtomicU64::new(0);

/// Takes `ms` for each row, and shows a file for each checkpoint.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Slow {
    folder: PathBuf,
    #[serde(skip)]
    name: String,
    #[serde(skip)]
    rows: Vec<Row>,
}

#[derive(Clone, Serialize, Deserialize)]
struct Pending {
    file: String,
    rows: Vec<Row>,
}

impl Sink for Slow {
    type In = Row;
    type Pending = Pending;

    async fn open(&mut self, _pending: Vec<Pending>, subtask: &Subtask) -> Result {
        self.name = format!("{}-{}", subtask.operator, subtask.index);
        Ok(())
    }

    #[expect(clippy::disallowed_methods, reason = "this sink is slow in real time")]
    async fn write(&mut self, batch: Arc<piton::Rows<Row>>) -> Result {
        let ms: u64 = std::env::var("PITON_ROW_MS").map_or(0, |ms| ms.parse().unwrap());
        if ms > 0 {
            tokio::time::sleep(Duration::from_millis(ms * batch.len() as u64)).await;
        }
        self.rows.extend_from_slice(&batch);
        TAKEN.fetch_add(batch.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    async fn prepare(&mut self, window: WindowId) -> Result<Option<Pending>> {
        let rows = std::mem::take(&mut self.rows);
        Ok((!rows.is_empty()).then(|| Pending { file: format!("{}-{window}", self.name), rows }))
    }

    async fn commit(&mut self, pending: Pending) -> Result {
        std::fs::create_dir_all(&self.folder)?;
        let staged = self.folder.join(format!(".{}", pending.file));
        let lines: Vec<String> =
            pending.rows.iter().map(|(key, number, count)| format!("{key} {number} {count}\n")).collect();
        std::fs::write(&staged, lines.concat())?;
        Ok(std::fs::rename(staged, self.folder.join(pending.file))?)
    }
}

fn registry() -> Registry {
    let mut registry = Registry::new();
    registry.source::<Numbers>("numbers").operator::<Count>("count").operator::<Hold>("hold").sink::<Slow>("slow");
    registry
}

fn topology(folder: &Path, rows: u64) -> String {
    let folder = folder.display();
    format!(
        r#"
        [job]
        name = "slow"
        parallelism = 2
        chaining = "off"
        [window]
        interval = "20ms"
        [checkpoint]
        interval = "100ms"
        alignment = "unaligned"
        [mailbox]
        batch = 16
        capacity = 8
        [store]
        path = "{folder}/state"
        [sources.numbers]
        type = "numbers"
        rows = {rows}
        [operators.count]
        type = "count"
        inputs = ["numbers"]
        [sinks.slow]
        type = "slow"
        inputs = ["count"]
        folder = "{folder}/out"
        "#
    )
}

/// Runs a job until it has ended, and says on stderr what happens.
fn run(toml: &str, set: Vec<String>) -> Result<Ended, piton::Error> {
    let overrides = Overrides { set, ..Overrides::default() };
    let plan = piton::topology::load_text(toml, Path::new("job.toml"), &overrides, &registry()).unwrap();
    let listener = Box::new(move |event: &Event| {
        let taken = TAKEN.load(Ordering::Relaxed);
        match event {
            Event::CheckpointStarted { window, .. } => eprintln!("\nBEGUN {window} {taken}"),
            Event::Committed { window, took_ms, .. } => eprintln!("\nCOMMITTED {window} {taken} {took_ms}"),
            Event::CheckpointFailed { reason, .. } => eprintln!("\nFAILED {reason}"),
            Event::Restarted { reason, .. } => eprintln!("\nRESTARTED {reason}"),
            _ => {}
        }
    });
    let signals = Some(Signals::catch().unwrap());
    piton::runtime::run(&plan, RunOptions { listener, signals, ..RunOptions::default() })
}

/// Not a test by itself: the process that the others look at.
#[test]
fn child() {
    let Ok(folder) = std::env::var("PITON_FOLDER") else { return };
    let rows: u64 = std::env::var("PITON_ROWS").unwrap().parse().unwrap();
    let set = std::env::var("PITON_SET").map(|set| set.split(';').map(String::from).collect()).unwrap_or_default();
    let ended = run(&topology(Path::new(&folder), rows), set).unwrap();
    eprintln!(
        "\nENDED {}",
        matches!(ended, Ended::AlreadyFinished(_)) || matches!(ended, Ended::Ran(ran) if ran.finished)
    );
}

/// A job in a folder of its own, of which each life is a process.
struct Lives {
    folder: tempfile::TempDir,
    rows: u64,
}

impl Lives {
    fn new(rows: u64) -> Lives {
        Lives { folder: tempfile::tempdir().unwrap(), rows }
    }

    fn start(&self, row_ms: u64, set: &[&str]) -> Life {
        let job = Job::new(self.folder.path(), "");
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "child", "--nocapture"]);
        command.env("PITON_FOLDER", self.folder.path()).env("PITON_ROWS", self.rows.to_string());
        command.env("PITON_ROW_MS", row_ms.to_string());
        if !set.is_empty() {
            command.env("PITON_SET", set.join(";"));
        }
        job.spawn(command)
    }

    fn finish(&self, set: &[&str]) {
        let ended = self.start(0, set).wait().expect(0);
        assert!(ended.stderr.contains("ENDED true"), "{}", ended.stderr);
    }

    /// Every number is shown once, and every key was counted without a gap, in the order of its numbers if nothing else
    /// came between.
    fn assert_golden(&self) {
        let mut numbers = BTreeSet::new();
        let mut counts: BTreeMap<u64, BTreeSet<u64>> = BTreeMap::new();
        for file in std::fs::read_dir(self.folder.path().join("out")).unwrap() {
            let path = file.unwrap().path();
            if path.file_name().unwrap().to_string_lossy().starts_with('.') {
                continue;
            }
            for line in std::fs::read_to_string(&path).unwrap().lines() {
                let fields: Vec<u64> = line.split(' ').map(|field| field.parse().unwrap()).collect();
                let [key, number, count] = fields[..] else { panic!("{line}") };
                assert!(numbers.insert(number), "{number} is shown twice");
                assert!(counts.entry(key).or_default().insert(count), "key {key} was counted to {count} twice");
            }
        }
        assert_eq!(numbers.len() as u64, self.rows, "rows are missing");
        for (key, counts) in counts {
            let wanted = (self.rows - key).div_ceil(KEYS);
            assert!(counts.into_iter().eq(1..=wanted), "key {key} was not counted without a gap");
        }
    }
}

/// Returns the figures of all lines that begin so.
fn figures(said: &str, name: &str) -> Vec<Vec<u64>> {
    // The last line may not be whole yet.
    let whole = said.rfind('\n').map_or("", |end| &said[..end]);
    let lines = whole.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    lines.map(|line| line.split(' ').map(|figure| figure.parse().unwrap()).collect()).collect()
}

/// Lets a life go on until so many checkpoints have completed.
#[expect(clippy::disallowed_methods, reason = "another process is waited for")]
fn await_checkpoints(life: &mut Life, wanted: usize) -> String {
    loop {
        let said = life.said();
        if figures(&said, "COMMITTED").len() >= wanted {
            return said;
        }
        assert!(life.is_alive(), "it ended:\n{said}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Returns for each checkpoint how many rows the sinks took while it was under way, and how long it took in ms.
fn meanwhile(said: &str) -> Vec<(u64, u64)> {
    let begun: BTreeMap<u64, u64> =
        figures(said, "BEGUN").into_iter().map(|figures| (figures[0], figures[1])).collect();
    figures(said, "COMMITTED").into_iter().map(|figures| (figures[1] - begun[&figures[0]], figures[2])).collect()
}

#[test]
fn a_checkpoint_does_not_wait_for_a_slow_sink_behind_full_mailboxes() {
    let lives = Lives::new(3_000);
    // Two sinks, 100 rows a second each; a batch takes one of them 160 ms.
    let mut life = lives.start(10, &[]);
    let said = await_checkpoints(&mut life, 12);
    life.kill_after(Duration::ZERO);
    let unaligned = meanwhile(&said)[4..].to_vec();
    println!("rows taken meanwhile, ms: {unaligned:?}");
    // What waits ahead of the sinks: 2 channels for each, 8 batches of 16 rows.
    assert!(unaligned.iter().all(|(taken, _)| *taken <= 4 * 16), "it waited for what is ahead: {unaligned:?}");
    // Of what a checkpoint says, the rest is under way.
    lives.finish(&[]);
    lives.assert_golden();
}

#[test]
fn one_that_waits_goes_on_without_waiting_after_a_while() {
    let lives = Lives::new(3_000);
    let mut life = lives.start(10, &["checkpoint.alignment=\"aligned\"", "checkpoint.aligned_timeout=\"50ms\""]);
    let said = await_checkpoints(&mut life, 8);
    life.kill_after(Duration::ZERO);
    let all = meanwhile(&said)[4..].to_vec();
    println!("rows taken meanwhile, ms: {all:?}");
    assert!(all.iter().all(|(taken, _)| *taken <= 6 * 16), "it waited for what is ahead: {all:?}");
    lives.finish(&[]);
    lives.assert_golden();
}

#[test]
fn what_was_under_way_survives_being_killed_at_any_moment() {
    let mut random = rng("unaligned");
    let lives = Lives::new(20_000);
    for _ in 0..rounds(6) {
        let timeout = ["0ms", "1ms", "30ms"][random.random_range(0..3)];
        let set = format!("checkpoint.aligned_timeout=\"{timeout}\"");
        let life = lives.start(random.random_range(0..2), &[&set, "checkpoint.interval=\"20ms\""]);
        life.kill_after(Duration::from_millis(random.random_range(50..900)));
    }
    lives.finish(&[]);
    lives.assert_golden();
}

#[test]
fn a_stop_does_not_wait_for_a_slow_sink_either() {
    let lives = Lives::new(3_000);
    let mut life = lives.start(10, &[]);
    await_checkpoints(&mut life, 6);
    life.signal("TERM");
    let ended = life.wait().expect(0);
    assert!(ended.stderr.contains("ENDED false"), "{}", ended.stderr);
    lives.finish(&[]);
    lives.assert_golden();
}

#[test]
fn what_was_under_way_is_spread_anew_by_its_keys() {
    // Far more than all lives but the last come to.
    let lives = Lives::new(60_000);
    for (source, count, out) in [(1, 1, 2), (4, 4, 2), (3, 3, 1), (8, 8, 3)] {
        let parallelism = [("sources.numbers", source), ("operators.count", count), ("sinks.slow", out)];
        let set: Vec<String> = parallelism.iter().map(|(of, is)| format!("{of}.parallelism={is}")).collect();
        let set: Vec<&str> = set.iter().map(String::as_str).collect();
        let mut life = lives.start(3, &set);
        await_checkpoints(&mut life, 4);
        life.kill_after(Duration::ZERO);
    }
    lives.finish(&["operators.count.parallelism=2"]);
    lives.assert_golden();
}

#[test]
fn what_was_sent_to_all_needs_as_many_again() {
    let lives = Lives::new(3_000);
    let all = "sinks.slow.partition=\"broadcast\"";
    let mut life = lives.start(10, &[all]);
    await_checkpoints(&mut life, 6);
    life.kill_after(Duration::ZERO);
    let set = [all.to_string(), "sinks.slow.parallelism=3".to_string()];
    let Err(error) = run(&topology(lives.folder.path(), 3_000), set.into()) else { panic!("records are under way") };
    let said = error.to_string();
    assert!(said.contains("records were under way from \"count\" to \"slow\""), "{said}");
    assert!(said.contains("piton savepoint create"), "{said}");
    lives.finish(&[all]);
}

#[test]
fn an_operator_that_holds_rows_lets_checkpoints_wait() {
    let folder = tempfile::tempdir().unwrap();
    let lives = Lives { folder, rows: 300_000 };
    let toml = topology(lives.folder.path(), lives.rows)
        .replace("inputs = [\"count\"]", "inputs = [\"hold\"]")
        .replace("[sinks.slow]", "[operators.hold]\ntype = \"hold\"\ninputs = [\"count\"]\n[sinks.slow]");
    let ended = run(&toml, Vec::new()).unwrap();
    assert!(matches!(ended, Ended::Ran(ran) if ran.finished && ran.failures.is_empty()));
    lives.assert_golden();
}
