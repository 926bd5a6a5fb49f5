//! `committed(w)` is strict: strictly increasing within an incarnation, never for a window that is later rolled back, and
//! told again for the restored window after every restart, before the first record. An operator that is restarted alone
//! is told again what was told last.
//!
//! Operators write down what they are told; the process is killed again and again, and in between they panic and fail
//! by themselves. `PITON_ROUNDS=200 cargo test --test committed_is_strict` kills it 200 times.

#[path = "support/binary/mod.rs"]
mod binary;
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use binary::chaos::{rng, rounds};
use binary::process::Job;
use piton::prelude::*;
use piton::runtime::{Ended, Outcome, RunOptions};
use piton::{Delivery, Overrides, Registry};
use rand::RngExt as _;
use serde::Deserialize;

/// Passes records on, and writes down what it is told.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Witness {
    log: PathBuf,
    #[serde(default)]
    keyed: bool,
    /// Panics at every such number, once in a process.
    #[serde(default)]
    panic_every: u64,
    /// Fails when every such window is committed, once in a process.
    #[serde(default)]
    fail_every: u64,
    #[serde(skip)]
    log_file: Option<Arc<File>>,
    #[serde(skip)]
    place: String,
    #[serde(skip)]
    seen: bool,
}

/// The window that a checkpoint closes, as a part of it: what a restored instance has been restored to.
const CLOSES: LocalState<u64> = LocalState::new("closes");

/// Stands for that window once the input has ended: later checkpoints hold the same state.
const ENDED: u64 = u64::MAX;

/// Where this process has failed already.
static FAILED: LazyLock<Mutex<BTreeSet<String>>> = LazyLock::new(Mutex::default);

impl Witness {
    fn write(&self, what: &str) {
        // One write of one line to a file that is appended to: whole, and in the order of time.
        let line = format!("{} {what}\n", self.place);
        let mut file: &File = self.log_file.as_ref().expect("it is open");
        file.write_all(line.as_bytes()).unwrap();
    }

    fn fails(&self, every: u64, number: u64, what: &str) -> bool {
        if every == 0 || number % every != every - 1 {
            return false;
        }
        let [operator, subtask] = self.place.split(' ').take(2).collect::<Vec<_>>()[..] else { unreachable!() };
        let place = format!("{}: {operator} {subtask} {what} {number}", self.log.display());
        FAILED.lock().unwrap_or_else(PoisonError::into_inner).insert(place)
    }
}

impl Operator for Witness {
    type In = (u64, u64);
    type Out = (u64, u64);

    fn is_keyed(&self) -> bool {
        self.keyed
    }

    fn key(&self, record: &(u64, u64)) -> Key {
        if self.keyed { Key::from(record.0) } else { Key::None }
    }

    fn open(&mut self, ctx: &mut Context<(u64, u64)>) -> Result {
        let Subtask { operator, index, incarnation, attempt, .. } = ctx.subtask().clone();
        self.place = format!("{operator} {index} {incarnation} {attempt}");
        self.log_file = Some(Arc::new(OpenOptions::new().append(true).create(true).open(&self.log)?));
        let restored = *ctx.local(CLOSES).get()?;
        self.write(&format!("open {restored}"));
        Ok(())
    }

    fn process(&mut self, record: &(u64, u64), ctx: &mut Context<(u64, u64)>) -> Result {
        if !self.seen {
            self.seen = true;
            self.write(&format!("record {}", record.1));
        }
        if self.fails(self.panic_every, record.1, "at") {
            panic!("told to panic at {}", record.1);
        }
        ctx.emit(*record);
        Ok(())
    }

    fn before_checkpoint(&mut self, window: WindowId, ctx: &mut Context<(u64, u64)>) -> Result {
        ctx.local(CLOSES).set(window.0)
    }

    fn close(&mut self, ctx: &mut Context<(u64, u64)>) -> Result {
        ctx.local(CLOSES).set(ENDED)
    }

    fn committed(&mut self, window: WindowId) -> Result {
        self.write(&format!("committed {}", window.0));
        if self.fails(self.fail_every, window.0, "when committed") {
            return Err(Error::failed(format!("told to fail when {window} is committed")));
        }
        Ok(())
    }
}

fn topology(folder: &Path, rows: u64, idle_ms: u64, scope: &str) -> String {
    let log = folder.join("log");
    let log = log.display();
    format!(
        r#"
        [job]
        name = "witnessed"
        [window]
        interval = "10ms"
        [checkpoint]
        interval = "20ms"
        [recovery]
        scope = "{scope}"
        initial_backoff = "2ms"
        max_backoff = "10ms"
        [mailbox]
        batch = 64
        [store]
        path = "state"
        [sources.numbers]
        type = "numbers"
        rows = {rows}
        keys = 97
        idle_ms = {idle_ms}
        parallelism = 2
        [operators.first]
        type = "witness"
        inputs = ["numbers"]
        parallelism = 2
        log = "{log}"
        fail_every = 13
        [operators.second]
        type = "witness"
        inputs = ["first"]
        parallelism = 3
        log = "{log}"
        keyed = true
        panic_every = 1500
        [sinks.out]
        type = "collect"
        inputs = ["second"]
        name = "{log}"
        "#
    )
}

/// Publishes into a file; the first time that it is asked to in a process, it fails.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Reluctant {
    file: PathBuf,
    #[serde(skip)]
    rows: u64,
}

impl Sink for Reluctant {
    type In = (u64, u64);
    type Pending = u64;

    fn delivery(&self) -> Delivery {
        Delivery::Staged
    }

    async fn open(&mut self, _pending: Vec<u64>, _subtask: &Subtask) -> Result {
        Ok(())
    }

    async fn write(&mut self, batch: Arc<piton::Rows<(u64, u64)>>) -> Result {
        self.rows += batch.len() as u64;
        Ok(())
    }

    // Even of nothing it would publish something.
    async fn prepare(&mut self, _window: WindowId) -> Result<Option<u64>> {
        Ok(Some(std::mem::take(&mut self.rows)))
    }

    async fn commit(&mut self, pending: u64) -> Result {
        let place = self.file.display().to_string();
        if FAILED.lock().unwrap_or_else(PoisonError::into_inner).insert(place) {
            return Err(Error::failed("told to fail at first"));
        }
        std::fs::write(&self.file, pending.to_string())?;
        Ok(())
    }
}

fn run(folder: &Path, topology: &str) -> Outcome {
    let mut registry: Registry = support::registry();
    registry.operator::<Witness>("witness").sink::<Reluctant>("reluctant");
    let plan =
        piton::topology::load_text(topology, &folder.join("job.toml"), &Overrides::default(), &registry).unwrap();
    match piton::runtime::run(&plan, RunOptions::default()).unwrap() {
        Ended::Ran(outcome) | Ended::AlreadyFinished(outcome) => outcome,
    }
}

/// The life of a region: incarnation and attempt.
type Life = (u64, u64);

/// What one subtask of an operator has been told in its newest life.
struct Told {
    life: Life,
    restored: u64,
    newest: Option<u64>,
    /// Whether it was restarted alone.
    alone: bool,
}

/// What was found in a log.
#[derive(Debug, Default)]
struct Found {
    lives: BTreeMap<Life, u64>,
    committed: u64,
    redelivered: u64,
    alone: u64,
}

impl Found {
    /// A life continues from a window: everything in it, and nothing that was told before is lost by it.
    fn restored(&mut self, life: Life, window: u64, newest: &BTreeMap<Life, u64>, context: &str) {
        let told = newest.range(..life).map(|(_, window)| *window).max().unwrap_or(0);
        assert!(window >= told, "{context}: window {told} was told as committed, and is rolled back");
        let restored = self.lives.entry(life).or_insert(ENDED);
        assert!([ENDED, window].contains(restored), "{context}: another subtask was restored to window {restored}");
        *restored = window;
    }

    fn incarnations(&self) -> usize {
        self.lives.keys().map(|(incarnation, _)| incarnation).collect::<BTreeSet<_>>().len()
    }
}

/// Reads a log, and panics at the first line that breaks the promise.
fn check(log: &str) -> Found {
    let mut subtasks: BTreeMap<(&str, &str), Told> = BTreeMap::new();
    let mut found = Found::default();
    // The newest window that anybody was told of, in each life.
    let mut newest: BTreeMap<Life, u64> = BTreeMap::new();
    for (number, line) in log.lines().enumerate() {
        let words: Vec<&str> = line.split(' ').collect();
        let [operator, subtask, incarnation, attempt, what, value] = words[..] else { panic!("a torn line: {line}") };
        let [incarnation, attempt, value] = [incarnation, attempt, value].map(|text| text.parse::<u64>().unwrap());
        let (life, context) = ((incarnation, attempt), format!("line {}: {line}", number + 1));
        let before = subtasks.get_mut(&(operator, subtask));
        if what == "open" {
            assert!(before.as_ref().is_none_or(|before| before.life <= life), "{context}: an old life begins again");
            if let Some(Told { alone, restored, newest, .. }) = before.filter(|before| before.life == life) {
                // What it was told before it was restarted alone, it is told again.
                (*alone, *restored) = (true, newest.take().unwrap_or(*restored));
                found.alone += 1;
                continue;
            }
            found.lives.entry(life).or_insert(ENDED);
            if value != ENDED {
                found.restored(life, value, &newest, &context);
            }
            subtasks.insert((operator, subtask), Told { life, restored: value, newest: None, alone: false });
            continue;
        }
        let told = before.unwrap_or_else(|| panic!("{context}: before it was opened"));
        assert_eq!(told.life, life, "{context}: a life that is over");
        assert_eq!(found.lives.last_key_value().map(|(life, _)| *life), Some(life), "{context}: a life that is over");
        if told.restored == ENDED && told.newest.is_none() {
            assert_eq!(what, "committed", "{context}: its input has ended");
            told.restored = value;
            found.restored(life, value, &newest, &context);
        }
        match (what, told.newest) {
            ("committed", None) if told.restored > 0 => {
                // One that failed when it was told is told the one before it, and then that one.
                let same = value == told.restored || (told.alone && value < told.restored);
                assert!(same, "{context}: the restored window comes first");
                found.redelivered += 1;
            }
            ("committed", None) => assert!(value > 0, "{context}: there is no such window"),
            ("committed", Some(newest)) => assert!(value > newest, "{context}: after {newest}"),
            ("record", newest) => {
                assert!(
                    told.restored == 0 || newest.is_some(),
                    "{context}: window {} was not told again",
                    told.restored
                );
                continue;
            }
            _ => panic!("{context}: what is this?"),
        }
        told.newest = Some(value);
        found.committed += 1;
        let of_life = newest.entry(life).or_default();
        *of_life = value.max(*of_life);
    }
    found
}

/// Not a test by itself: the process that [`kills_do_not_make_committed_lie`] kills.
#[test]
fn child() {
    if let Ok(folder) = std::env::var("PITON_WITNESS") {
        let folder = Path::new(&folder);
        run(folder, &topology(folder, i64::MAX as u64, 1, &std::env::var("PITON_SCOPE").unwrap()));
    }
}

#[test]
fn kills_do_not_make_committed_lie() {
    let mut rng = rng("committed_is_strict");
    let kills = rounds(10);
    let folder = tempfile::tempdir().unwrap();
    let job = Job::new(folder.path(), "");
    for kill in 0..kills {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "child", "--nocapture"]).env("PITON_WITNESS", folder.path());
        let scope = if kill % 2 == 0 { "region" } else { "batch" };
        command.env("PITON_SCOPE", scope);
        let ended = job.spawn(command).kill_after(Duration::from_micros(rng.random_range(0..1_000_000)));
        assert!(ended.is_none(), "it ended by itself: {ended:?}");
    }
    let found = check(&std::fs::read_to_string(folder.path().join("log")).unwrap());
    println!(
        "{kills} kills: {} incarnations, {} lives, {} times committed, {} of them again",
        found.incarnations(),
        found.lives.len(),
        found.committed,
        found.redelivered
    );
    assert!(found.incarnations() as u64 > kills / 3, "{found:?}");
    assert!(found.committed > kills && found.lives.len() > found.incarnations(), "{found:?}");
}

#[test]
fn rollbacks_within_a_process_do_not_make_committed_lie() {
    let folder = tempfile::tempdir().unwrap();
    let outcome = run(folder.path(), &topology(folder.path(), 20_000, 1, "region"));
    assert!(outcome.finished && outcome.failures.is_empty(), "{outcome:?}");
    let found = check(&std::fs::read_to_string(folder.path().join("log")).unwrap());
    println!("{} restarts, {} lives, {} committed", outcome.restarts, found.lives.len(), found.committed);
    assert!(outcome.restarts > 5 && found.lives.len() > 5 && found.redelivered > 10, "{outcome:?} {found:?}");
}

#[test]
fn restarts_of_operators_alone_do_not_make_committed_lie() {
    for scope in ["batch", "operator"] {
        let folder = tempfile::tempdir().unwrap();
        let outcome = run(folder.path(), &topology(folder.path(), 20_000, 1, scope));
        assert!(outcome.finished && outcome.failures.is_empty(), "{scope}: {outcome:?}");
        let found = check(&std::fs::read_to_string(folder.path().join("log")).unwrap());
        println!("{scope}: {} alone, {} lives, {} committed", found.alone, found.lives.len(), found.committed);
        assert!(outcome.restarts == 0 && found.lives.len() == 1 && found.alone > 10, "{scope}: {outcome:?} {found:?}");
    }
}

#[test]
fn a_job_has_not_finished_before_its_last_commit_is_seen_through() {
    let folder = tempfile::tempdir().unwrap();
    let (log, file) = (folder.path().join("log"), folder.path().join("published"));
    let topology = format!(
        r#"
        [window]
        interval = "1s"
        [recovery]
        scope = "region"
        strategy = "none"
        [store]
        path = "state"
        [sources.numbers]
        type = "numbers"
        rows = 100
        keys = 7
        [operators.witness]
        type = "witness"
        inputs = ["numbers"]
        log = "{}"
        keyed = true
        [sinks.out]
        type = "reluctant"
        inputs = ["witness"]
        file = "{}"
        "#,
        log.display(),
        file.display()
    );
    // All rows are in the only checkpoint, which is durable when the sink fails, and the job with it.
    let failed = run(folder.path(), &topology);
    assert!(!failed.finished && failed.failures.len() == 1, "{failed:?}");
    assert!(failed.windows["numbers"] > WindowId::NONE && !file.exists(), "{failed:?}");

    let finished = run(folder.path(), &topology);
    assert!(finished.finished && finished.failures.is_empty(), "{finished:?}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "100", "what was committed is published");
    assert_eq!((finished.records_in, finished.records_out), (100, 100));
    let found = check(&std::fs::read_to_string(&log).unwrap());
    assert!(found.redelivered > 0, "the operator, whose input has ended, is told again: {found:?}");

    std::fs::remove_file(&file).unwrap();
    let again = run(folder.path(), &topology);
    assert_eq!((&again.windows, again.finished), (&finished.windows, true), "now it has finished");
    assert!(!file.exists(), "and nothing is done again");
}

#[test]
fn the_check_can_fail() {
    let broken = [
        ("a 0 1 0 open 0\na 0 1 0 committed 2\na 0 1 0 committed 2\n", "after 2"),
        ("a 0 1 0 open 0\na 0 1 0 committed 2\na 0 1 0 committed 1\n", "after 2"),
        ("a 0 1 0 open 0\na 0 1 0 committed 4\na 0 1 1 open 2\n", "is rolled back"),
        ("a 0 1 0 open 0\na 0 1 0 committed 4\na 0 1 0 open 2\na 0 1 0 record 3\n", "was not told again"),
        ("a 0 1 0 open 0\na 0 1 0 committed 4\na 0 1 0 open 2\na 0 1 0 committed 5\n", "window comes first"),
        ("a 0 1 0 open 0\na 0 1 0 committed 4\na 0 2 0 open 4\na 0 2 0 record 9\n", "was not told again"),
        (
            "a 0 1 0 open 0\na 0 1 0 committed 4\na 0 2 0 open 4\na 0 2 0 committed 6\n",
            "the restored window comes first",
        ),
        ("a 0 1 0 open 0\na 0 1 1 open 0\nb 0 1 0 open 0\nb 0 1 0 committed 1\n", "a life that is over"),
        ("a 0 1 0 open 0\na 1 1 0 open 3\n", "another subtask was restored"),
        (
            &format!("a 0 1 0 open 0\na 0 1 0 committed 4\na 0 2 0 open {ENDED}\na 0 2 0 committed 3\n"),
            "is rolled back",
        ),
        (&format!("a 0 1 0 open {ENDED}\na 0 1 0 record 4\n"), "its input has ended"),
        (&format!("a 0 1 0 open {ENDED}\na 0 1 0 committed 4\na 1 1 0 open 3\n"), "another subtask was restored"),
    ];
    for (log, expected) in broken {
        let message = std::panic::catch_unwind(|| check(log)).expect_err(log);
        let message = message.downcast_ref::<String>().unwrap();
        assert!(message.contains(expected), "{message}");
    }
    check(
        "a 0 1 0 open 0\na 0 1 0 record 1\na 0 1 0 committed 4\na 0 2 0 open 4\na 0 2 0 committed 4\na 0 2 0 record 9\n",
    );
}
