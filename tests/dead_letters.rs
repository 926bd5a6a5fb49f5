//! Records that are set aside as poison are kept exactly once: those of the committed windows and no others, however
//! often the process is killed; all other records are counted as if these had never been there.
//!
//! `PITON_ROUNDS=200 cargo test --test dead_letters` kills it 200 times.

#[path = "support/binary/mod.rs"]
mod binary;
#[path = "support/files.rs"]
mod files;
mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use binary::chaos::{rng, rounds};
use binary::process::Job;
use files::{Files, published_in};
use piton::Overrides;
use piton::ids::SubtaskId;
use piton::prelude::*;
use piton::protocol::manifest::{DeadLetter, Manifest};
use piton::runtime::{Ended, Outcome, RunOptions};
use piton::store::{CheckpointStore, OpenOptions, SledStore};
use rand::RngExt as _;
use support::{published, run};

const KEYS: u64 = 97;

/// How long a life is at most, in ms.
const LONGEST: u64 = 600;

/// More rows than the sources, which make at most 7 each in a ms, get to in such a life.
const ROWS_OF_A_LIFE: u64 = LONGEST * 14;

/// The poisonous numbers: two among a thousand, one of either source.
fn poison(rows: u64) -> Vec<u64> {
    (0..rows).filter(|number| [13, 20].contains(&(number % 1_000))).collect()
}

fn topology(rows: u64, idle_ms: u64, on_poison: &str, sink: &str) -> String {
    let poison = poison(rows);
    format!(
        r#"
        [job]
        name = "poisoned"
        [window]
        interval = "10ms"
        [checkpoint]
        interval = "20ms"
        [recovery]
        on_poison = "{on_poison}"
        strategy = "none"
        [mailbox]
        batch = 64
        [store]
        path = "state"
        [sources.numbers]
        type = "numbers"
        rows = {rows}
        keys = {KEYS}
        idle_ms = {idle_ms}
        parallelism = 2
        [operators.count]
        type = "count"
        inputs = ["numbers"]
        parallelism = 3
        panic_at = {poison:?}
        always = true
        [sinks.out]
        inputs = ["count"]
        {sink}
        "#
    )
}

/// Panics unless the counts of every key are 1, 2, 3, … up to how many of its numbers are no poison.
fn check_counts(rows: u64, published: &[(u64, u64)]) {
    let mut last: BTreeMap<u64, u64> = BTreeMap::new();
    for (key, count) in published {
        let seen = last.entry(*key).or_default();
        assert_eq!(*count, *seen + 1, "key {key}");
        *seen = *count;
    }
    let mut expected: BTreeMap<u64, u64> = BTreeMap::new();
    let poison = poison(rows);
    for number in (0..rows).filter(|number| !poison.contains(number)) {
        *expected.entry(number % KEYS).or_default() += 1;
    }
    assert_eq!(last, expected);
}

/// What the state directory of a job that does not run holds.
fn state(folder: &Path) -> (Option<Manifest>, Vec<DeadLetter>) {
    let (mut store, _) = SledStore::open(&folder.join("state"), OpenOptions::default()).unwrap();
    let head = store.head("numbers").unwrap();
    let manifest = head.map(|(window, _)| store.load("numbers", window).unwrap());
    (manifest, store.letters("numbers").unwrap())
}

/// Somebody who looks at the dead letters whenever the process is dead.
#[derive(Default)]
struct Reader {
    letters: Vec<DeadLetter>,
    head: WindowId,
    owners: BTreeMap<u64, SubtaskId>,
}

impl Reader {
    fn look(&mut self, folder: &Path, rows: u64, context: &str) {
        let (Some(manifest), letters) = state(folder) else { return };
        let new = letters.strip_prefix(&self.letters[..]);
        let new = new.unwrap_or_else(|| panic!("{context}: what was there has changed"));
        for letter in new {
            let window = letter.window;
            assert!(self.head < window && window <= manifest.window, "{context}: {letter:?} after {}", self.head);
            self.check(letter);
        }
        // A checkpoint covers all numbers before the positions of the sources, and none after.
        let positions: Vec<u64> = (0..2).map(|index| position(&manifest, index)).collect();
        let due = poison(rows).into_iter().filter(|number| *number < positions[(number % 2) as usize]);
        let mut found: Vec<u64> = letters.iter().map(number_of).collect();
        found.sort_unstable();
        assert_eq!(found, due.collect::<Vec<u64>>(), "{context}: the numbers before {positions:?}");
        self.head = manifest.window;
        self.letters = letters;
        let mut last: BTreeMap<&SubtaskId, u64> = BTreeMap::new();
        for letter in &self.letters {
            let last = last.entry(&letter.subtask).or_default();
            assert_eq!(letter.number, *last + 1, "{context}: {letter:?}");
            *last = letter.number;
        }
    }

    fn check(&mut self, letter: &DeadLetter) {
        let number = number_of(letter);
        assert_eq!((letter.operator.as_str(), letter.kept), ("count", true), "{letter:?}");
        assert_eq!(letter.record, format!("[{},{number}]", number % KEYS), "{letter:?}");
        assert!(letter.reason.contains(&format!("told to panic at {number}")), "{letter:?}");
        let owner = self.owners.entry(number % KEYS).or_insert_with(|| letter.subtask.clone());
        assert_eq!(*owner, letter.subtask, "{letter:?}");
        assert!(letter.position > 0, "{letter:?}");
    }
}

fn number_of(letter: &DeadLetter) -> u64 {
    let (_, number): (u64, u64) = serde_json::from_str(&letter.record).unwrap();
    number
}

/// Returns the next number of a subtask of the source.
fn position(manifest: &Manifest, index: u32) -> u64 {
    let snapshot = manifest.subtask(&SubtaskId::new("numbers", index)).unwrap();
    rmp_serde::from_slice(snapshot.operators[0].position.as_ref().unwrap()).unwrap()
}

/// Not a test by itself: the process that [`letters_come_once_whatever_is_killed`] kills.
#[test]
fn child() {
    let Ok(folder) = std::env::var("PITON_LETTERS") else { return };
    let [rows, idle_ms] = ["PITON_ROWS", "PITON_IDLE"].map(|name| std::env::var(name).unwrap().parse::<u64>().unwrap());
    // It panics all the time.
    std::panic::set_hook(Box::new(|_| {}));
    let folder = Path::new(&folder);
    let outcome = run_files(folder, rows, idle_ms);
    // What a hook says is not heard: the exit code is.
    std::process::exit(if outcome.finished && outcome.failures.is_empty() { 0 } else { 1 });
}

fn run_files(folder: &Path, rows: u64, idle_ms: u64) -> Outcome {
    let mut registry = support::registry();
    registry.sink::<Files>("files");
    let sink = format!("type = \"files\"\nfolder = \"{}\"", folder.join("out").display());
    let toml = topology(rows, idle_ms, "dead-letter", &sink);
    let plan = piton::topology::load_text(&toml, &folder.join("job.toml"), &Overrides::default(), &registry).unwrap();
    match piton::runtime::run(&plan, RunOptions::default()).unwrap() {
        Ended::Ran(outcome) | Ended::AlreadyFinished(outcome) => outcome,
    }
}

#[test]
fn letters_come_once_whatever_is_killed() {
    let mut rng = rng("dead_letters");
    let kills = rounds(30);
    let rows = (kills + 1) * ROWS_OF_A_LIFE;
    let folder = tempfile::tempdir().unwrap();
    let job = Job::new(folder.path(), "");
    let life = |idle_ms: u64| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "child", "--nocapture"]).env("PITON_LETTERS", folder.path());
        command.env("PITON_ROWS", rows.to_string()).env("PITON_IDLE", idle_ms.to_string());
        job.spawn(command)
    };
    let mut reader = Reader::default();
    let mut lives_with_letters = 0;
    for kill in 0..kills {
        let known = reader.letters.len();
        let ended = life(1).kill_after(Duration::from_micros(rng.random_range(0..LONGEST * 1_000)));
        assert!(ended.is_none(), "it ended by itself: {ended:?}");
        reader.look(folder.path(), rows, &format!("kill {kill}"));
        lives_with_letters += u64::from(reader.letters.len() > known);
    }
    let killed = reader.letters.len();
    life(0).wait().expect(0);
    reader.look(folder.path(), rows, "the end");
    println!("{kills} kills, {killed} letters in {lives_with_letters} lives, {} in all", reader.letters.len());
    assert_eq!(reader.letters.len(), poison(rows).len());
    assert!(lives_with_letters > kills / 4, "too little was put at risk");
    check_counts(rows, &published_in(&folder.path().join("out")));
}

#[test]
fn skipped_records_are_not_kept() {
    let folder = tempfile::tempdir().unwrap();
    let toml = topology(20_000, 0, "skip", "type = \"collect\"\nname = \"skipped\"");
    let outcome = run(folder.path(), &toml, &[]);
    assert!(outcome.finished && outcome.failures.is_empty(), "{outcome:?}");
    check_counts(20_000, &published("skipped").concat());
    let (manifest, letters) = state(folder.path());
    assert_eq!(letters, []);
    let left_out: u64 = manifest.unwrap().subtasks.iter().map(|subtask| subtask.set_aside).sum();
    assert_eq!(left_out, poison(20_000).len() as u64, "they are counted");
}

#[test]
fn a_job_that_fails_on_poison_goes_on_once_it_may_be_set_aside() {
    let folder = tempfile::tempdir().unwrap();
    let toml = topology(20_000, 0, "fail", "type = \"collect\"\nname = \"failed\"");
    let failed = run(folder.path(), &toml, &[]);
    assert!(!failed.finished && failed.failures.len() == 1, "{failed:?}");
    assert!(failed.failures[0].contains("told to panic at "), "{failed:?}");
    assert_eq!(state(folder.path()).1, []);

    let finished = run(folder.path(), &toml, &["recovery.on_poison=dead-letter"]);
    assert!(finished.finished && finished.failures.is_empty(), "{finished:?}");
    check_counts(20_000, &published("failed").concat());
    Reader::default().look(folder.path(), 20_000, "the end");
    assert_eq!(state(folder.path()).1.len(), poison(20_000).len());
}
