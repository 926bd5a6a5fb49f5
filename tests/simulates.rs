//! A job of one's own is simulated with its own sources and operators: sound ones keep every promise, and what is
//! wrong with others is found, cut down to a few faults and played again.

mod support;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use piton::prelude::*;
use piton::sim::{Coverage, Fault, Found, Options, Outcome, Phase, Simulation, check};
use piton::topology::load_text;
use piton::{Overrides, Registry};
use serde::Deserialize;

/// Counts per key, in its fields: nothing of that is in a snapshot.
#[derive(Clone, Deserialize)]
struct Forgetful {
    #[serde(skip)]
    seen: BTreeMap<u64, u64>,
}

impl Operator for Forgetful {
    type In = (u64, u64);
    type Out = (u64, u64);

    fn key(&self, record: &(u64, u64)) -> Key {
        Key::from(record.0)
    }

    fn process(&mut self, record: &(u64, u64), ctx: &mut Context<(u64, u64)>) -> Result {
        let seen = self.seen.entry(record.0).or_default();
        *seen += 1;
        ctx.emit((record.0, *seen));
        Ok(())
    }
}

static WHIM: AtomicU64 = AtomicU64::new(0);

/// Numbers records by something outside of it.
#[derive(Clone, Deserialize)]
struct Whimsical {}

impl Operator for Whimsical {
    type In = (u64, u64);
    type Out = (u64, u64);

    fn is_keyed(&self) -> bool {
        false
    }

    fn process(&mut self, record: &(u64, u64), ctx: &mut Context<(u64, u64)>) -> Result {
        ctx.emit((record.0, WHIM.fetch_add(1, Ordering::Relaxed)));
        Ok(())
    }
}

/// A source that cannot go back to its position: it begins three records later.
#[derive(Clone, Deserialize)]
struct Skipping {
    #[serde(skip)]
    next: u64,
}

/// Gives a few records, numbered from `next` on.
fn give_some(next: &mut u64, feed: &mut Feed<(u64, u64)>) -> Progress {
    for _ in 0..feed.room().min(5) {
        feed.push((*next % 3, *next));
        *next += 1;
    }
    Progress::More
}

impl Source for Skipping {
    type Out = (u64, u64);
    type Position = u64;

    async fn open(&mut self, position: Option<u64>, _subtask: &Subtask) -> Result {
        self.next = position.map_or(0, |position| position + 3);
        Ok(())
    }

    async fn poll(&mut self, feed: &mut Feed<(u64, u64)>) -> Result<Progress> {
        Ok(give_some(&mut self.next, feed))
    }

    fn position(&self) -> u64 {
        self.next
    }
}

/// A source that cannot go back at all.
#[derive(Clone, Deserialize)]
struct Pipe {}

impl Source for Pipe {
    type Out = (u64, u64);
    type Position = u64;

    async fn open(&mut self, _position: Option<u64>, _subtask: &Subtask) -> Result {
        Ok(())
    }

    async fn poll(&mut self, _feed: &mut Feed<(u64, u64)>) -> Result<Progress> {
        Ok(Progress::Done)
    }

    fn position(&self) -> u64 {
        0
    }

    fn replayable(&self) -> bool {
        false
    }
}

/// A source that gives nothing any more once it was restarted.
#[derive(Clone, Deserialize)]
struct Mute {
    #[serde(skip)]
    next: u64,
    #[serde(skip)]
    is_mute: bool,
    /// From the beginning.
    #[serde(default)]
    at_once: bool,
}

impl Source for Mute {
    type Out = (u64, u64);
    type Position = u64;

    async fn open(&mut self, position: Option<u64>, _subtask: &Subtask) -> Result {
        self.is_mute = self.at_once || position.is_some();
        self.next = position.unwrap_or(0);
        Ok(())
    }

    async fn poll(&mut self, feed: &mut Feed<(u64, u64)>) -> Result<Progress> {
        if self.is_mute {
            return Ok(Progress::Idle(5));
        }
        Ok(give_some(&mut self.next, feed))
    }

    fn position(&self) -> u64 {
        self.next
    }
}

/// Cannot bear one of its records, ever.
#[derive(Clone, Deserialize)]
struct Allergic {}

impl Operator for Allergic {
    type In = (u64, u64);
    type Out = (u64, u64);

    fn is_keyed(&self) -> bool {
        false
    }

    fn process(&mut self, record: &(u64, u64), ctx: &mut Context<(u64, u64)>) -> Result {
        if record.1 == 7 {
            return Err(Error::failed("not a seven"));
        }
        ctx.emit(*record);
        Ok(())
    }
}

fn registry() -> Registry {
    let mut registry = support::registry();
    registry.source::<Mute>("mute").operator::<Allergic>("allergic");
    registry.operator::<Forgetful>("forgetful").operator::<Whimsical>("whimsical");
    registry.source::<Skipping>("skipping").source::<Pipe>("pipe");
    registry
}

/// Two sources, a keyed operator in the middle of another type, and sinks in and behind the chains.
fn job(source: &str, operator: &str) -> String {
    format!(
        r#"
        [checkpoint]
        mode = "exactly-once"
        [sources.left]
        {source}
        parallelism = 2
        [sources.right]
        type = "numbers"
        rows = 300
        keys = 5
        [operators.middle]
        type = "{operator}"
        inputs = ["left", "right"]
        parallelism = 3
        [operators.last]
        type = "count"
        inputs = ["middle"]
        parallelism = 2
        [sinks.all]
        type = "collect"
        name = "all"
        inputs = ["last"]
        [sinks.aside]
        type = "collect"
        name = "aside"
        inputs = ["middle"]
        parallelism = 1
        "#
    )
}

const NUMBERS: &str = "type = \"numbers\"\nrows = 250\nkeys = 7\nidle_ms = 3";

fn simulation(toml: &str) -> Simulation {
    let plan = load_text(toml, Path::new("job.toml"), &Overrides::default(), &registry()).unwrap();
    Simulation::of(Arc::new(plan), 60).unwrap()
}

fn first_failing(simulation: &Simulation, seeds: u64) -> Outcome {
    let outcomes = (0..seeds).map(|seed| simulation.run(seed, &Options::default()));
    outcomes.into_iter().find(|outcome| outcome.violation.is_some()).expect("a promise is broken")
}

#[test]
fn a_sound_job_keeps_every_promise_and_every_cell_is_reached() {
    let simulation = simulation(&job(NUMBERS, "count"));
    let (mut coverage, mut rows, mut faults) = (Coverage::default(), 0, 0);
    for seed in 0..600 {
        let outcome = simulation.run(seed, &Options::default());
        assert_eq!(outcome.violation, None, "seed {seed}, {}", outcome.faults);
        coverage.add(&outcome.coverage);
        rows += outcome.stats.rows;
        faults += outcome.stats.faults;
    }
    assert!(rows > 600 * 100 && faults > 1_500, "{rows} rows, {faults} faults");
    for kind in Fault::KINDS {
        for phase in Phase::ALL {
            println!("{kind} while {}: {}", phase.name(), coverage.times(kind, *phase));
        }
    }
    for phase in Phase::ALL {
        assert!(coverage.times("panic", *phase) > 0, "no panic while {}", phase.name());
    }
}

#[test]
fn a_sound_job_keeps_the_weaker_promise_of_at_least_once() {
    let simulation = simulation(&job(NUMBERS, "count").replace("exactly-once", "at-least-once"));
    for seed in 0..200 {
        let outcome = simulation.run(seed, &Options::default());
        assert_eq!(outcome.violation, None, "seed {seed}, {}", outcome.faults);
    }
}

#[test]
fn what_is_kept_where_no_snapshot_finds_it_is_found_and_cut_down() {
    let simulation = simulation(&job(NUMBERS, "forgetful"));
    let failing = first_failing(&simulation, 200);
    let (shrunk, _) = simulation.shrink(failing);
    let broken = shrunk.violation.as_ref().unwrap().to_string();
    assert!(broken.contains("operators-repeat") && broken.contains("middle["), "{broken}");
    assert!(shrunk.faults.faults.len() <= 3, "{}", shrunk.faults);
    let found = Found { job: Some("job".into()), seed: shrunk.seed, rows: 60, faults: shrunk.faults.clone() };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("plan.toml");
    std::fs::write(&file, found.to_toml(&broken)).unwrap();
    let read = Found::read(&file).unwrap();
    assert_eq!(read, found);
    let again = simulation.run(read.seed, &Options { faults: Some(read.faults), trace: true });
    assert_eq!((again.violation, again.trace_hash), (shrunk.violation, shrunk.trace_hash));
}

#[test]
fn an_operator_that_is_not_deterministic_is_found() {
    let plan =
        load_text(&job(NUMBERS, "whimsical"), Path::new("job.toml"), &Overrides::default(), &registry()).unwrap();
    let broken = Simulation::of(Arc::new(plan), 60).err().unwrap().to_string();
    assert!(broken.contains("even when nothing fails"), "{broken}");
    assert!(broken.contains("operators-repeat") && broken.contains("middle["), "{broken}");
}

#[test]
fn a_source_that_does_not_go_back_to_its_position_is_found() {
    let simulation = simulation(&job("type = \"skipping\"", "count"));
    let failing = first_failing(&simulation, 100);
    let (shrunk, _) = simulation.shrink(failing);
    assert!(shrunk.faults.faults.len() <= 3, "{}", shrunk.faults);
}

#[test]
fn a_source_that_cannot_go_back_is_refused() {
    let toml = job("type = \"pipe\"", "count").replace("exactly-once", "at-least-once");
    let plan = load_text(&toml, Path::new("job.toml"), &Overrides::default(), &registry()).unwrap();
    let refused = Simulation::of(Arc::new(plan), 60).err().unwrap().to_string();
    assert!(refused.contains("source \"left\" cannot be simulated"), "{refused}");
}

#[test]
fn the_same_seed_does_the_same() {
    let simulation = simulation(&job(NUMBERS, "count"));
    for seed in 0..50 {
        let runs = [(); 2].map(|()| simulation.run(seed, &Options::default()));
        assert_eq!(runs[0].trace_hash, runs[1].trace_hash, "seed {seed}");
    }
}

#[test]
fn a_seed_does_the_same_whatever_ran_before_it() {
    // So few rows that a run without faults may end before its first checkpoint.
    let few = "type = \"numbers\"\nrows = 8\nkeys = 3";
    let toml = job(few, "forgetful").replace("rows = 300", "rows = 8");
    let later = simulation(&toml);
    (0..30).for_each(|seed| drop(later.run(seed, &Options::default())));
    for seed in 0..30 {
        let first = simulation(&toml).run(seed, &Options::default());
        assert_eq!(first.trace_hash, later.run(seed, &Options::default()).trace_hash, "seed {seed}");
    }
}

#[test]
fn a_test_of_ones_own_is_one_call() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, toml: String| {
        let file = folder.path().join(name);
        std::fs::write(&file, toml).unwrap();
        file
    };
    check(file("sound.toml", job(NUMBERS, "count")), &registry(), 50);
    let wrong = file("wrong.toml", job(NUMBERS, "forgetful"));
    let said = catch_unwind(AssertUnwindSafe(|| check(wrong, &registry(), 200))).unwrap_err();
    let said = said.downcast_ref::<String>().unwrap();
    assert!(said.contains("operators-repeat") && said.contains("[[fault]]"), "{said}");
}

/// So many keyed operators one behind the other, each in three subtasks.
fn long_job(source: &str, operators: usize) -> String {
    let mut toml = format!("[sources.it]\n{source}\nparallelism = 2\n");
    let mut last = "it".to_string();
    for number in 0..operators {
        let name = format!("count-{number}");
        toml.push_str(&format!("[operators.{name}]\ntype = \"count\"\ninputs = [\"{last}\"]\nparallelism = 3\n"));
        last = name;
    }
    toml.push_str(&format!("[sinks.all]\ntype = \"collect\"\nname = \"long\"\ninputs = [\"{last}\"]\n"));
    toml
}

fn simulation_of(toml: &str, rows: u64) -> piton::Result<Simulation> {
    let plan = load_text(toml, Path::new("job.toml"), &Overrides::default(), &registry()).unwrap();
    Simulation::of(Arc::new(plan), rows)
}

#[test]
fn a_job_that_takes_long_is_not_stuck() {
    let simulation =
        simulation_of(&long_job("type = \"numbers\"\nrows = 6000\nkeys = 50\nidle_ms = 0", 6), 6_000).unwrap();
    let mut steps = 0;
    for seed in 0..4 {
        let outcome = simulation.run(seed, &Options::default());
        assert_eq!(outcome.violation, None, "seed {seed}, {}", outcome.faults);
        steps = steps.max(outcome.stats.calm_steps);
    }
    assert!(steps > 100_000, "{steps} steps behind the last fault: it is not long enough to say anything");
}

#[test]
fn a_job_that_is_stuck_is_found_and_cut_down_however_large_it_is() {
    let toml = long_job("type = \"mute\"", 6);
    let failing = first_failing(&simulation_of(&toml, 6_000).unwrap(), 50);
    let broken = failing.violation.as_ref().unwrap().to_string();
    assert!(broken.contains("liveness"), "{broken}");
    let (shrunk, runs) = simulation_of(&toml, 6_000).unwrap().shrink(failing);
    assert!(shrunk.violation.is_some() && shrunk.faults.faults.len() <= 2, "{}, {runs} runs", shrunk.faults);
    assert!(!shrunk.faults.faults.is_empty(), "without a fault it is sound");
}

#[test]
fn a_job_that_is_stuck_by_itself_is_found() {
    let silent = simulation_of(&long_job("type = \"mute\"\nat_once = true", 6), 6_000).err().unwrap().to_string();
    assert!(silent.contains("even when nothing fails") && silent.contains("liveness"), "{silent}");
    let again = simulation_of(&job(NUMBERS, "allergic"), 60).err().unwrap().to_string();
    assert!(again.contains("liveness") && again.contains("by itself"), "{again}");
}

#[cfg(feature = "sql")]
fn stock_simulation(toml: &str) -> Simulation {
    let plan = load_text(toml, Path::new("job.toml"), &Overrides::default(), &Registry::stock()).unwrap();
    Simulation::of(Arc::new(plan), 100).unwrap()
}

/// One watermark ends many time windows, and what comes out then is more than the mailbox behind has room for.
#[test]
#[cfg(feature = "sql")]
fn what_a_sender_has_in_hand_at_its_snapshot_is_not_too_much() {
    let job = |more: &str| {
        format!(
            "[job]\nchaining = \"off\"\n[sources.numbers]\ntype = \"generate\"\nrows = 5000\nkeys = 200\n\
             event_time = \"time\"\n{more}\n[operators.counts]\ntype = \"aggregate\"\ninputs = [\"numbers\"]\n\
             by = [\"key\"]\nwindow = {{ sliding = \"300ms\", every = \"100ms\" }}\ncolumns = [\"count(*) AS n\"]\n\
             [sinks.out]\ntype = \"blackhole\"\ninputs = [\"counts\"]\n"
        )
    };
    for more in ["", "idle_timeout = \"1ms\""] {
        let simulation = stock_simulation(&job(more));
        for seed in 0..100 {
            let outcome = simulation.run(seed, &Options::default());
            assert!(outcome.violation.is_none(), "{more} seed {seed}: {:?}", outcome.violation);
        }
    }
}

/// One of the subtasks never has a file, and neither file has as many rows as are asked for.
#[test]
#[cfg(feature = "sql")]
fn files_that_are_followed_end_where_they_end() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.csv"), "n\n1\n2\n3\n").unwrap();
    let job = format!(
        "[sources.log]\ntype = \"csv\"\npath = \"{}\"\nfollow = true\nparallelism = 2\n\
         [sinks.out]\ntype = \"blackhole\"\ninputs = [\"log\"]\n",
        folder.path().display()
    );
    let simulation = stock_simulation(&job);
    for seed in 0..50 {
        let outcome = simulation.run(seed, &Options::default());
        assert!(outcome.violation.is_none(), "seed {seed}: {:?}", outcome.violation);
    }
}
