//! With `checkpoint.mode = "at-least-once"` nothing is lost, however often a job fails or is killed. What is doubled is
//! what was read again, and nothing else; and no input ever waits for another.
//!
//! ```text
//! a (×2) ┐             ┌ rows (files)
//! b      ┘ both (×2)  ┤
//!                      └ count (×3, by key) → counts (files)
//! ```
//!
//! `PITON_ROUNDS=200 cargo test --test at_least_once` kills it 200 times.

#[path = "support/binary/mod.rs"]
mod binary;
#[path = "support/files.rs"]
mod files;
mod support;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use binary::chaos::{rng, rounds};
use binary::process::Job;
use files::{Files, published_in};
use piton::prelude::*;
use piton::runtime::{Ended, Event, Outcome, RunOptions};
use piton::{Delivery, Overrides, Rows, Timestamp};
use rand::{RngExt as _, SeedableRng as _};
use rand_pcg::Pcg64Mcg;
use serde::Deserialize;

const KEYS: u64 = 97;

/// How long a life is at most, in ms.
const LONGEST: u64 = 600;

/// Emits `(key, id)` for the numbers of its share, a few at a time, and writes down what it emits: every other id is its
/// own. `slow_ms` is how long a poll takes, which its markers wait for.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Partition {
    which: u64,
    rows: u64,
    log: PathBuf,
    idle_ms: u64,
    slow_ms: u64,
    #[serde(skip)]
    next: u64,
    #[serde(skip)]
    step: u64,
    #[serde(skip)]
    log_of_subtask: PathBuf,
}

impl Source for Partition {
    type Out = (u64, u64);
    type Position = u64;

    async fn open(&mut self, position: Option<u64>, subtask: &Subtask) -> Result {
        self.step = u64::from(subtask.parallelism);
        self.next = position.unwrap_or(u64::from(subtask.index));
        fs::create_dir_all(&self.log)?;
        self.log_of_subtask = self.log.join(subtask.to_string());
        // A kill may have cut the last line.
        OpenOptions::new().create(true).append(true).open(&self.log_of_subtask)?.write_all(b"\n")?;
        Ok(())
    }

    #[expect(clippy::disallowed_methods, reason = "this source is slow in real time")]
    async fn poll(&mut self, feed: &mut Feed<(u64, u64)>) -> Result<Progress> {
        if self.slow_ms > 0 {
            tokio::time::sleep(Duration::from_millis(self.slow_ms)).await;
        }
        let mut emitted = String::new();
        let mut progress = if self.idle_ms > 0 { Progress::Idle(self.idle_ms) } else { Progress::More };
        for _ in 0..feed.room().min(if self.idle_ms > 0 { 7 } else { usize::MAX }) {
            if self.next >= self.rows {
                progress = Progress::Done;
                break;
            }
            let id = self.next * 2 + self.which;
            feed.push_at(self.next as Timestamp, (id % KEYS, id));
            writeln!(emitted, "{id};").expect("a text takes what is written");
            self.next += self.step;
        }
        let mut log = OpenOptions::new().create(true).append(true).open(&self.log_of_subtask)?;
        log.write_all(emitted.as_bytes())?;
        Ok(progress)
    }

    fn position(&self) -> u64 {
        self.next
    }
}

/// Who is to panic next: after how many more calls, and how often still.
static FATE: Mutex<Option<Fate>> = Mutex::new(None);

struct Fate {
    rng: Pcg64Mcg,
    wait: u64,
    panics: u64,
}

/// Lets calls of `both` panic from now on, at random.
fn tempt(seed: u64, panics: u64) {
    let fate = Fate { rng: Pcg64Mcg::seed_from_u64(seed), wait: 500, panics };
    *FATE.lock().unwrap_or_else(PoisonError::into_inner) = Some(fate);
}

fn strikes() -> bool {
    let mut fate = FATE.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(fate) = fate.as_mut().filter(|fate| fate.panics > 0) else { return false };
    if fate.wait > 0 {
        fate.wait -= 1;
        return false;
    }
    fate.wait = fate.rng.random_range(0..400);
    fate.panics -= 1;
    true
}

/// Passes records on, and panics when fate will have it, if it is told so.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Both {
    #[serde(default)]
    panics: bool,
}

impl Operator for Both {
    type In = (u64, u64);
    type Out = (u64, u64);

    fn process(&mut self, record: &(u64, u64), ctx: &mut Context<(u64, u64)>) -> Result {
        ctx.forward(record);
        if self.panics && strikes() {
            std::panic::resume_unwind(Box::new(format!("told to panic at {record:?}")));
        }
        Ok(())
    }
}

/// How many rows each source has in a job of so many lives: more than it gets to.
fn rows_of(lives: u64) -> [u64; 2] {
    [lives * LONGEST * 14, lives * LONGEST * 7 / 4]
}

fn topology(folder: &Path, rows: [u64; 2], recovery: &str, fast: bool) -> String {
    let folder = folder.display();
    let [[a_idle, a_slow], [b_idle, b_slow]] = if fast { [[0, 0], [0, 0]] } else { [[1, 0], [1, 4]] };
    let [a, b] = rows;
    format!(
        r#"
        [job]
        name = "at-least-once"
        [window]
        interval = "10ms"
        [checkpoint]
        interval = "20ms"
        mode = "at-least-once"
        [recovery]
        {recovery}
        [mailbox]
        batch = 64
        [store]
        path = "state"
        [sources.a]
        type = "partition"
        which = 0
        rows = {a}
        log = "{folder}/emitted"
        idle_ms = {a_idle}
        slow_ms = {a_slow}
        parallelism = 2
        [sources.b]
        type = "partition"
        which = 1
        rows = {b}
        log = "{folder}/emitted"
        idle_ms = {b_idle}
        slow_ms = {b_slow}
        [operators.both]
        type = "both"
        inputs = ["a", "b"]
        panics = true
        parallelism = 2
        [operators.count]
        type = "count"
        inputs = ["both"]
        parallelism = 3
        [sinks.rows]
        type = "files"
        inputs = ["both"]
        folder = "{folder}/rows"
        [sinks.counts]
        type = "files"
        inputs = ["count"]
        folder = "{folder}/counts"
        "#
    )
}

fn run(folder: &Path, toml: &str) -> (Outcome, Vec<Event>) {
    let mut registry = support::registry();
    registry.source::<Partition>("partition").operator::<Both>("both").sink::<Files>("files");
    let plan = piton::topology::load_text(toml, &folder.join("job.toml"), &Overrides::default(), &registry).unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let events = Arc::clone(&seen);
    let listener = Box::new(move |event: &Event| events.lock().unwrap().push(event.clone()));
    let outcome = match piton::runtime::run(&plan, RunOptions { listener, ..RunOptions::default() }).unwrap() {
        Ended::Ran(outcome) | Ended::AlreadyFinished(outcome) => outcome,
    };
    let events = std::mem::take(&mut *seen.lock().unwrap());
    (outcome, events)
}

/// How often each id was emitted, in all lives.
fn emitted(folder: &Path) -> BTreeMap<u64, u64> {
    let mut emitted = BTreeMap::new();
    for entry in fs::read_dir(folder.join("emitted")).unwrap() {
        let log = fs::read_to_string(entry.unwrap().path()).unwrap();
        // What was cut had not been handed on.
        for id in log.lines().filter_map(|line| line.strip_suffix(';')) {
            *emitted.entry(id.parse().unwrap()).or_default() += 1;
        }
    }
    emitted
}

/// How many rows were read again, and how many of these are doubled in the output.
struct Doubled {
    read_again: u64,
    doubled: u64,
}

/// Panics unless every row is there, at most as often as it was read, and every count too.
fn check(folder: &Path, rows: [u64; 2], context: &str) -> Doubled {
    let emitted = emitted(folder);
    let mut seen: BTreeMap<u64, u64> = BTreeMap::new();
    for (key, id) in published_in(&folder.join("rows")) {
        assert_eq!(key, id % KEYS, "{context}");
        *seen.entry(id).or_default() += 1;
    }
    let mut least: BTreeMap<u64, u64> = BTreeMap::new();
    let mut most: BTreeMap<u64, u64> = BTreeMap::new();
    for (which, rows) in (0..).zip(rows) {
        for id in (0..rows).map(|number| number * 2 + which) {
            let times = seen.get(&id).copied().unwrap_or_default();
            let read = emitted.get(&id).copied().unwrap_or_default();
            assert!(times >= 1, "{context}: row {id} is lost; it was read {read} times");
            assert!(times <= read, "{context}: row {id} is there {times} times, but was read {read} times");
            *least.entry(id % KEYS).or_default() += 1;
            *most.entry(id % KEYS).or_default() += read;
        }
    }
    let golden: u64 = rows.iter().sum();
    assert_eq!(seen.len() as u64, golden, "{context}: rows that nobody has emitted");

    // A counter is never behind, and what it has counted it has also said.
    let mut counts: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for (key, count) in published_in(&folder.join("counts")) {
        counts.entry(key).or_default().push(count);
    }
    for (key, least) in least {
        let said = counts.get_mut(&key).unwrap_or_else(|| panic!("{context}: key {key} was never counted"));
        said.sort_unstable();
        said.dedup();
        let highest = said.last().copied().unwrap_or_default();
        assert!(highest >= least, "{context}: key {key} was counted {highest} times, but has {least} rows");
        assert!(highest <= most[&key], "{context}: key {key} was counted {highest} times, read {} times", most[&key]);
        assert_eq!(said.len() as u64, highest, "{context}: key {key}: a count is missing");
    }
    let read: u64 = emitted.values().sum();
    Doubled { read_again: read - golden, doubled: seen.values().sum::<u64>() - golden }
}

#[test]
fn panics_at_random_moments_lose_nothing() {
    let mut rng = rng("at_least_once");
    let mut doubled = 0;
    let recoveries = [
        ("batch", "scope = \"batch\"", 60),
        ("operator", "scope = \"operator\"", 60),
        ("region", "scope = \"region\"\nstrategy = \"fixed-delay\"\nattempts = \"unlimited\"\ndelay = \"1ms\"", 40),
    ];
    for (scope, recovery, panics) in recoveries {
        let folder = tempfile::tempdir().unwrap();
        let rows = rows_of(2);
        tempt(rng.random(), panics);
        let (outcome, events) = run(folder.path(), &topology(folder.path(), rows, recovery, false));
        assert!(outcome.finished && outcome.failures.is_empty(), "{scope}: {outcome:?}");
        let restarts = events.iter().filter(|event| matches!(event, Event::Restarted { .. })).count() as u64;
        let found = check(folder.path(), rows, scope);
        println!("{scope}: {restarts} restarts, {} rows read again, {} doubled", found.read_again, found.doubled);
        if scope == "region" {
            // Both subtasks may panic before the region rolls back, or one before all are back.
            assert!((panics / 2..=panics).contains(&outcome.restarts), "{outcome:?}");
            doubled += found.doubled;
        } else {
            // What is restarted alone is put back exactly, in this mode as in the other one.
            assert_eq!((outcome.restarts, restarts), (0, panics), "{scope}");
            assert_eq!((found.read_again, found.doubled), (0, 0), "{scope}");
        }
    }
    assert!(doubled > 0, "nothing was doubled: the inputs were aligned");
}

/// Not a test by itself: the process that [`kills_at_random_moments_lose_nothing`] kills.
#[test]
fn child() {
    let Ok(folder) = std::env::var("PITON_AT_LEAST_ONCE") else { return };
    let lives: u64 = std::env::var("PITON_LIVES").unwrap().parse().unwrap();
    let fast = std::env::var_os("PITON_FAST").is_some();
    let folder = Path::new(&folder);
    let (outcome, _) = run(folder, &topology(folder, rows_of(lives), "strategy = \"none\"", fast));
    // What a hook says is not heard: the exit code is.
    std::process::exit(if outcome.finished && outcome.failures.is_empty() { 0 } else { 1 });
}

#[test]
fn kills_at_random_moments_lose_nothing() {
    let mut rng = rng("at_least_once");
    let kills = rounds(15);
    let lives = kills + 1;
    let folder = tempfile::tempdir().unwrap();
    let job = Job::new(folder.path(), "");
    let life = |fast: bool| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "child", "--nocapture"]).env("PITON_AT_LEAST_ONCE", folder.path());
        command.env("PITON_LIVES", lives.to_string());
        if fast {
            command.env("PITON_FAST", "1");
        }
        job.spawn(command)
    };
    for _ in 0..kills {
        let ended = life(false).kill_after(Duration::from_micros(rng.random_range(0..LONGEST * 1_000)));
        assert!(ended.is_none(), "it ended by itself: {ended:?}");
    }
    life(true).wait().expect(0);
    let found = check(folder.path(), rows_of(lives), "killed");
    println!("{kills} kills, {} rows read again, {} doubled", found.read_again, found.doubled);
    assert!(found.read_again > 0, "nothing was put at risk");
    assert!(kills < 10 || found.doubled > 0, "nothing was doubled: the inputs were aligned");
}

/// How many rows of the fast input there are: far more than the mailboxes hold.
const FAST: u64 = 20_000;

/// How many of them have come through, and how many had when the slow input was let go.
static THROUGH: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];
static LET_GO: [AtomicU64; 2] = [const { AtomicU64::new(u64::MAX) }; 2];

/// Emits one row, and then nothing until it is let go: a poll under way, which its markers wait for.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Slow {
    job: usize,
    #[serde(skip)]
    next: u64,
}

impl Source for Slow {
    type Out = (u64, u64);
    type Position = u64;

    async fn open(&mut self, position: Option<u64>, _subtask: &Subtask) -> Result {
        self.next = position.unwrap_or(0);
        Ok(())
    }

    #[expect(clippy::disallowed_methods, reason = "this source is slow in real time")]
    async fn poll(&mut self, feed: &mut Feed<(u64, u64)>) -> Result<Progress> {
        if self.next == 1 {
            while LET_GO[self.job].load(Ordering::Relaxed) == u64::MAX {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        feed.push((FAST, FAST));
        self.next += 1;
        Ok(if self.next > 1 { Progress::Done } else { Progress::More })
    }

    fn position(&self) -> u64 {
        self.next
    }
}

/// Counts the rows of the fast input.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Witness {
    job: usize,
}

impl Sink for Witness {
    type In = (u64, u64);
    type Pending = ();

    fn delivery(&self) -> Delivery {
        Delivery::Immediate
    }

    async fn open(&mut self, _pending: Vec<()>, _subtask: &Subtask) -> Result {
        Ok(())
    }

    async fn write(&mut self, batch: Arc<Rows<(u64, u64)>>) -> Result {
        let fast = batch.iter().filter(|(key, _)| *key < FAST).count() as u64;
        let through = THROUGH[self.job].fetch_add(fast, Ordering::Relaxed) + fast;
        if through == FAST {
            let_go(self.job);
        }
        Ok(())
    }

    async fn prepare(&mut self, _window: WindowId) -> Result<Option<()>> {
        Ok(None)
    }
}

/// Lets the slow input go, if nobody has yet.
fn let_go(job: usize) {
    let through = THROUGH[job].load(Ordering::Relaxed);
    LET_GO[job].fetch_min(through, Ordering::Relaxed);
}

/// Returns how many rows of the fast input came through before the slow one was let go: once all have, or as soon as a
/// checkpoint that waits for the slow one has failed.
fn through_beside_a_slow_input(checkpoint: &str, job: usize) -> u64 {
    let toml = format!(
        r#"
        [window]
        interval = "10ms"
        [checkpoint]
        interval = "10ms"
        {checkpoint}
        [recovery]
        hang_timeout = "5m"
        [mailbox]
        batch = 16
        capacity = 4
        [sources.fast]
        type = "numbers"
        rows = {FAST}
        keys = {KEYS}
        idle_ms = 1
        parallelism = 8
        [sources.slow]
        type = "slow"
        job = {job}
        [operators.both]
        type = "both"
        inputs = ["fast", "slow"]
        [sinks.out]
        type = "witness"
        inputs = ["both"]
        job = {job}
        "#
    );
    let mut registry = support::registry();
    registry.source::<Slow>("slow").operator::<Both>("both").sink::<Witness>("witness");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("job.toml");
    let plan = piton::topology::load_text(&toml, &file, &Overrides::default(), &registry).unwrap();
    let listener = Box::new(move |event: &Event| {
        if matches!(event, Event::CheckpointFailed { .. }) {
            let_go(job);
        }
    });
    let ended = piton::runtime::run(&plan, RunOptions { listener, ..RunOptions::default() }).unwrap();
    assert!(matches!(ended, Ended::Ran(outcome) if outcome.finished && outcome.restarts == 0));
    assert_eq!(THROUGH[job].load(Ordering::Relaxed), FAST);
    LET_GO[job].load(Ordering::Relaxed)
}

#[test]
fn a_slow_input_does_not_hold_the_others_back() {
    let through = through_beside_a_slow_input("mode = \"at-least-once\"\ntimeout = \"60s\"", 0);
    assert_eq!(through, FAST, "the fast input had to wait");
    // In the other mode it has to: what is measured here makes a difference.
    let through = through_beside_a_slow_input("timeout = \"500ms\"", 1);
    assert!(through < FAST, "exactly-once without waiting");
}
