//! Every query of NEXMark gives what a plain computation over the same events gives: whatever the parallelism, and
//! however often the process is killed.
//!
//! The binary of this test is that of the example, too: called with `run` it is that, and otherwise it calls itself.

#[path = "support/binary/mod.rs"]
mod binary;
#[path = "nexmark/plain.rs"]
mod plain;
#[path = "../examples/nexmark/queries/mod.rs"]
#[allow(dead_code, unused_imports, reason = "its own tests run with the example")]
mod queries;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;

use binary::chaos::{rng, rounds};
use binary::folder::Folder;
use binary::process::{Job, Life};
use binary::tree::scratch;
use plain::Events;
use rand::RngExt as _;

const QUERIES: [&str; 11] = ["q0", "q1", "q2", "q3", "q4", "q5", "q6", "q7", "q8", "q11", "q12"];
const EVENTS: usize = 20_000;
/// Several events of the same millisecond.
const DENSE: usize = 10_000;
/// Several windows and sessions.
const SPREAD: usize = 400;

fn main() -> ExitCode {
    if std::env::args().nth(1).is_some_and(|command| command == "run") {
        return piton::cli::main(queries::registry());
    }
    println!("\nrunning 3 tests");
    answers_are_those_of_a_plain_computation();
    println!("test answers_are_those_of_a_plain_computation ... ok");
    answers_are_the_same_at_any_parallelism();
    println!("test answers_are_the_same_at_any_parallelism ... ok");
    answers_are_the_same_if_the_process_is_killed();
    println!("test answers_are_the_same_if_the_process_is_killed ... ok\n");
    ExitCode::SUCCESS
}

/// A query in a folder of its own.
struct Asked {
    job: Job,
    query: &'static str,
    settings: Vec<String>,
}

impl Asked {
    fn new(folder: &Path, query: &'static str, parallelism: u32, per_second: usize) -> Asked {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("examples/nexmark/{query}.toml"));
        let job = Job::new(&folder.join(query), &fs::read_to_string(file).unwrap());
        let settings = vec![
            format!("sinks.{query}.path=out"),
            format!("sources.events.events={EVENTS}"),
            format!("sources.events.per_second={per_second}"),
            format!("job.parallelism={parallelism}"),
            "checkpoint.interval=40ms".to_string(),
            "window.interval=20ms".to_string(),
        ];
        Asked { job, query, settings }
    }

    fn start(&self, more: &[&str]) -> Life {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg("run").arg(self.job.path("job.toml"));
        for setting in self.settings.iter().map(String::as_str).chain(more.iter().copied()) {
            command.args(["--set", setting]);
        }
        self.job.spawn(command)
    }

    /// Returns all answers, sorted.
    fn answers(&self) -> Vec<String> {
        let mut folder = Folder::new(self.job.path("out"), self.query);
        let files = folder.look();
        folder.assert_whole();
        let lines = files.iter().flat_map(|(_, text)| text.lines().skip(1)).map(str::to_string);
        let mut lines: Vec<String> = if self.query == "q12" { totals(lines) } else { lines.collect() };
        lines.sort();
        lines
    }

    #[track_caller]
    fn check(&self, events: &Events) {
        let (got, expected) = (self.answers(), events.answer(self.query));
        let differ = got.iter().zip(&expected).find(|(got, expected)| got != expected);
        assert!(
            got == expected && !got.is_empty(),
            "{}: {} answers, not {}; the first that differ: {differ:?}",
            self.query,
            got.len(),
            expected.len()
        );
    }
}

/// Adds up what all windows of a bidder hold; each comes once.
fn totals(lines: impl Iterator<Item = String>) -> Vec<String> {
    let (mut bids, mut windows) = (BTreeMap::<u64, u64>::new(), BTreeSet::new());
    for line in lines {
        let [bidder, count, start, end] = line.split(',').map(|cell| cell.parse().unwrap()).collect::<Vec<u64>>()[..]
        else {
            panic!("not four columns: {line}")
        };
        assert!(end - start == 10_000 && windows.insert((bidder, start)), "a strange window: {line}");
        *bids.entry(bidder).or_default() += count;
    }
    bids.into_iter().map(|(bidder, bids)| format!("{bidder},{bids}")).collect()
}

fn answers_are_those_of_a_plain_computation() {
    let folder = scratch();
    let events = Events::first(EVENTS, DENSE);
    for query in QUERIES {
        let asked = Asked::new(folder.path(), query, 1, DENSE);
        asked.start(&[]).wait().expect(0);
        asked.check(&events);
    }
}

fn answers_are_the_same_at_any_parallelism() {
    for per_second in [DENSE, SPREAD] {
        let folder = scratch();
        let events = Events::first(EVENTS, per_second);
        for query in QUERIES {
            let asked = Asked::new(folder.path(), query, 4, per_second);
            asked.start(&[]).wait().expect(0);
            asked.check(&events);
        }
    }
}

fn answers_are_the_same_if_the_process_is_killed() {
    let mut rng = rng("nexmark");
    let folder = scratch();
    let events = Events::first(EVENTS, SPREAD);
    let (kills, mut killed) = (rounds(2), 0);
    for query in QUERIES {
        let asked = Asked::new(folder.path(), query, 4, SPREAD);
        for _ in 0..kills {
            // At this pace the events take longer than all lives but the last.
            let pace = EVENTS as u64 / kills;
            let life = Duration::from_millis(rng.random_range(100..600));
            match asked.start(&[&format!("sources.events.pace={pace}")]).kill_after(life) {
                Some(ended) => drop(ended.expect(0)),
                None => killed += 1,
            }
        }
        asked.start(&[]).wait().expect(0);
        asked.check(&events);
    }
    println!("{killed} kills");
    assert!(killed > QUERIES.len() as u64, "{killed} kills: next to nothing was put at risk");
}
