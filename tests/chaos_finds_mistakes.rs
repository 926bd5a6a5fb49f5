//! `piton chaos` finds an operator that forgets what it should remember, and one whose output is another each time; and it
//! finds nothing wrong with one that is right.
//!
//! The binary of this test is a binary of a user's, with operators of its own: called with a command of piton's it is
//! that, and otherwise it calls itself.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::process::{Command, ExitCode, Output};
use std::sync::Arc;

use piton::files::{LineSinkKind, LineSourceKind};
use piton::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Counts words, and keeps the numbers where they survive a restart.
#[derive(Clone, Deserialize)]
struct Count {}

/// Counts words, and keeps the numbers where they do not.
#[derive(Clone, Deserialize)]
struct Forgetful {
    #[serde(skip)]
    seen: BTreeMap<String, u64>,
}

/// Says something else each time it runs.
#[derive(Clone, Deserialize)]
struct Fickle {}

/// Enough for more than one checkpoint.
const ROWS: usize = 60_000;

const SEEN: ValueState<u64> = ValueState::new("seen");

/// A word, and a number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Record)]
struct Seen {
    word: String,
    number: u64,
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.word, self.number)
    }
}

impl Operator for Count {
    type In = String;
    type Out = Seen;

    fn key(&self, word: &String) -> Key {
        Key::from(word)
    }

    fn process(&mut self, word: &String, ctx: &mut Context<Seen>) -> Result {
        let number = ctx.state(SEEN).update(|times| {
            *times += 1;
            *times
        })?;
        ctx.emit(Seen { word: word.clone(), number });
        Ok(())
    }
}

impl Operator for Forgetful {
    type In = String;
    type Out = Seen;

    fn key(&self, word: &String) -> Key {
        Key::from(word)
    }

    fn process(&mut self, word: &String, ctx: &mut Context<Seen>) -> Result {
        let seen = self.seen.entry(word.clone()).or_default();
        *seen += 1;
        let number = *seen;
        ctx.state(SEEN).set(number)?;
        ctx.emit(Seen { word: word.clone(), number });
        Ok(())
    }
}

impl Operator for Fickle {
    type In = String;
    type Out = Seen;

    fn key(&self, word: &String) -> Key {
        Key::from(word)
    }

    fn process(&mut self, word: &String, ctx: &mut Context<Seen>) -> Result {
        ctx.emit(Seen { word: word.clone(), number: std::process::id().into() });
        Ok(())
    }
}

fn registry() -> Registry {
    let mut registry = Registry::stock();
    registry.operator::<Count>("count").operator::<Forgetful>("forgetful").operator::<Fickle>("fickle");
    registry.add_source_kind("text", Arc::new(LineSourceKind::<String>::default()));
    registry.add_sink_kind("text", Arc::new(LineSinkKind::<Seen>::default()));
    registry
}

fn main() -> ExitCode {
    let command = std::env::args().nth(1);
    if command.is_some_and(|command| ["chaos", "run", "state", "deadletters"].contains(&command.as_str())) {
        return piton::cli::main(registry());
    }
    println!("\nrunning 3 tests");
    an_operator_that_is_right_passes();
    println!("test an_operator_that_is_right_passes ... ok");
    an_operator_that_forgets_is_found();
    println!("test an_operator_that_forgets_is_found ... ok");
    an_operator_that_is_another_each_time_is_found();
    println!("test an_operator_that_is_another_each_time_is_found ... ok\n");
    ExitCode::SUCCESS
}

/// Breaks a job with this operator, at exact points; returns what was said, and the report.
fn break_it(folder: &Path, operator: &str) -> (Output, Value) {
    let words: Vec<&str> = (0..ROWS).map(|at| ["rope", "axe", "nut", "sling", "bolt"][at % 5]).collect();
    std::fs::create_dir(folder.join("tmp")).unwrap();
    std::fs::write(folder.join("words.txt"), words.join("\n")).unwrap();
    let at = |point: &str, action: &str, nth: u32| {
        format!("[[chaos.at]]\noperator = \"it\"\npoint = \"{point}\"\naction = \"{action}\"\non = \"nth({nth})\"\n")
    };
    let topology = format!(
        "[mailbox]\nbatch = 16\n[checkpoint]\ninterval = \"20ms\"\n[sources.words]\ntype = \"text\"\npath = \"words.txt\"\n\
         [operators.it]\ntype = \"{operator}\"\ninputs = [\"words\"]\n\
         [sinks.out]\ntype = \"text\"\ninputs = [\"it\"]\npath = \"out\"\n\
         [chaos]\nduration = \"10s\"\nsettle = \"1s\"\n{}{}{}{}[chaos.weights]\npanic = 0\nhang = 0\nslow = 0\nkill_actor = 0\n\
         kill_supervisor = 0\nprocess_kill9 = 0\nprocess_pause = 0\ndrop_ack = 0\ndup_commit = 0\nstore_eio = 0\n\
         store_enospc = 0\nstore_slow = 0\n",
        // Counted in calls: a checkpoint is due while the first call is slow and committed while the second is, then the
        // process is killed, and the next one panics.
        at("process", "slow", 500),
        at("process", "slow", 1_400),
        at("process", "process_kill9", 1_500),
        at("process", "panic", 1_500),
    );
    std::fs::write(folder.join("job.toml"), topology).unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["chaos", "job.toml", "--seed", "1", "--report", "report.json"]);
    let output = command.current_dir(folder).env("TMPDIR", folder.join("tmp")).output().unwrap();
    let report = std::fs::read_to_string(folder.join("report.json")).unwrap_or_default();
    (output, serde_json::from_str(&report).unwrap_or_default())
}

#[track_caller]
fn ended(output: &Output, code: i32) -> String {
    let said = format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{said}");
    said
}

/// Returns the names of the promises that were broken.
fn broken(report: &Value) -> Vec<&str> {
    report["broken"].as_array().unwrap().iter().map(|broken| broken["invariant"].as_str().unwrap()).collect()
}

fn an_operator_that_is_right_passes() {
    let folder = tempfile::tempdir().unwrap();
    let (output, report) = break_it(folder.path(), "count");
    let said = ended(&output, 0);
    for fault in report["faults"].as_array().unwrap() {
        assert!(fault["struck_ms"].is_u64(), "{fault}\n{said}");
    }
    assert_eq!(report["sinks"][0]["committed"], ROWS, "{said}");
    assert_eq!(report["state"]["keys"], 5, "{said}");
    assert_eq!(std::fs::read_dir(folder.path().join("tmp")).unwrap().count(), 0, "{said}");
}

fn an_operator_that_forgets_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let (output, report) = break_it(folder.path(), "forgetful");
    let said = ended(&output, 1);
    assert!(said.contains("VERDICT      FAIL"), "{said}");
    let broken = broken(&report);
    assert!(broken.contains(&"output-not-repeated") || broken.contains(&"output-complete"), "{said}");
    assert!(broken.contains(&"state-complete"), "{said}");
    // Everything that tells why is there, and the plan can be played again.
    let kept = Path::new(report["kept"].as_str().unwrap());
    assert!(kept.starts_with(folder.path().join("tmp")), "{said}");
    for name in
        ["plan.toml", "golden/out/out", "chaos/out/out", "chaos/events.ndjson", "chaos/stderr.log", "chaos/state"]
    {
        assert!(kept.join(name).exists(), "{name}\n{said}");
    }
    assert!(said.contains("--plan report.json"), "{said}");
    assert!(!said.contains("two runs without any fault differ"), "{said}");
}

fn an_operator_that_is_another_each_time_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let (output, report) = break_it(folder.path(), "fickle");
    let said = ended(&output, 1);
    assert!(broken(&report).contains(&"output-not-repeated"), "{said}");
    assert!(report["broken"][0]["at_ms"].is_u64(), "it is seen while the job runs\n{said}");
    assert!(said.contains("two runs without any fault differ, too"), "{said}");
}
