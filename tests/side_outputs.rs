//! What an operator sends aside arrives exactly once, as what it emits does: whatever fails, by whichever rung, chained or
//! not, and when the job is stopped and started again.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use piton::prelude::*;
use piton::runtime::{Ended, Event, Outcome, RunOptions};
use piton::{Overrides, Registry};
use support::published;

const ROWS: u64 = 3_000;
const KEYS: u64 = 7;

/// What has failed in this process so far.
static FAILED: LazyLock<Mutex<BTreeSet<String>>> = LazyLock::new(Mutex::default);

/// Returns whether this is the first time in this process.
fn first_time(what: String) -> bool {
    FAILED.lock().unwrap_or_else(PoisonError::into_inner).insert(what)
}

type Numbered = (u64, u64);

const THIRD: SideOutput<Numbered> = SideOutput::new("third");
const UNREAD: SideOutput<String> = SideOutput::new("unread");

/// Sends every third number aside. It panics at some numbers, each time the first in this process, and at one of them it
/// stops the job: when the number has gone out.
#[derive(Clone, serde::Deserialize)]
struct Part {
    tag: String,
    panic_at: Vec<u64>,
    stop_at: Option<u64>,
}

fn goes_aside(number: u64) -> bool {
    number % 3 == 2
}

impl Operator for Part {
    type In = Numbered;
    type Out = Numbered;

    fn side_outputs(&self) -> Vec<SideOutputDeclared> {
        vec![UNREAD.into(), THIRD.into()]
    }

    fn process(&mut self, record: &Numbered, ctx: &mut Context<Numbered>) -> Result {
        if goes_aside(record.1) {
            ctx.emit_to(THIRD, *record)?;
        } else {
            ctx.emit(*record);
        }
        ctx.emit_to(UNREAD, "dropped".into())?;
        if self.stop_at == Some(record.1) && first_time(format!("{} stops", self.tag)) {
            return Err(Error::invalid("told to stop"));
        }
        if self.panic_at.contains(&record.1) && first_time(format!("{} at {}", self.tag, record.1)) {
            panic!("told to panic at {}", record.1);
        }
        Ok(())
    }
}

/// Numbers what comes by in its state, so that it has to be replayed, and passes it on; panics as `Part` does.
#[derive(Clone, serde::Deserialize)]
struct Pass {
    tag: String,
    panic_at: Vec<u64>,
}

const PASSED: LocalState<u64> = LocalState::new("passed");

impl Operator for Pass {
    type In = Numbered;
    type Out = Numbered;

    fn process(&mut self, record: &Numbered, ctx: &mut Context<Numbered>) -> Result {
        ctx.local(PASSED).update(|passed| *passed += 1)?;
        ctx.emit(*record);
        if self.panic_at.contains(&record.1) && first_time(format!("{} passing {}", self.tag, record.1)) {
            panic!("told to panic at {}", record.1);
        }
        Ok(())
    }
}

fn registry() -> Registry {
    let mut registry = support::registry();
    registry.operator::<Part>("part").operator::<Pass>("pass");
    registry
}

/// A chain of two subtasks, from a source to a sink, whose second operator sends records aside: to a sink, to an operator
/// with a key, and together with what it emits to another sink.
fn job(name: &str, scope: &str, chaining: &str, more: &str) -> String {
    format!(
        r#"
        [job]
        parallelism = 2
        chaining = "{chaining}"
        [checkpoint]
        interval = "20ms"
        [window]
        interval = "10ms"
        [recovery]
        scope = "{scope}"
        initial_backoff = "1ms"
        [mailbox]
        batch = 16
        capacity = 8
        [sources.numbers]
        type = "numbers"
        rows = {ROWS}
        keys = {KEYS}
        idle_ms = 1
        [operators.first]
        type = "pass"
        inputs = ["numbers"]
        tag = "first {name}"
        panic_at = [1000, 1001]
        [operators.parted]
        type = "part"
        inputs = ["first"]
        tag = "{name}"
        panic_at = [500, 1505, 1506]
        {more}
        [operators.passed]
        type = "pass"
        inputs = ["parted"]
        tag = "passed {name}"
        panic_at = [901, 2002]
        [sinks.kept]
        type = "collect"
        inputs = ["passed"]
        name = "{name} kept"
        [sinks.aside]
        type = "collect"
        inputs = ["parted.third"]
        name = "{name} aside"
        [operators.counted]
        type = "count"
        inputs = ["parted.third"]
        panic_at = [2]
        tag = "{name}"
        [sinks.counts]
        type = "collect"
        inputs = ["counted"]
        name = "{name} counts"
        [sinks.both]
        type = "collect"
        inputs = ["passed", "parted.third"]
        name = "{name} both"
        "#
    )
}

/// Runs a job and returns how often something was restarted by each rung.
fn run(folder: &Path, toml: &str) -> (Outcome, BTreeMap<&'static str, u64>) {
    let plan = piton::topology::load_text(toml, &folder.join("job.toml"), &Overrides::default(), &registry()).unwrap();
    let seen = Arc::new(Mutex::new(BTreeMap::new()));
    let restarts = Arc::clone(&seen);
    let listener = Box::new(move |event: &Event| {
        if let Event::Restarted { scope, .. } = event {
            *restarts.lock().unwrap().entry(*scope).or_default() += 1;
        }
    });
    let outcome = match piton::runtime::run(&plan, RunOptions { listener, ..RunOptions::default() }).unwrap() {
        Ended::Ran(outcome) | Ended::AlreadyFinished(outcome) => outcome,
    };
    let seen = seen.lock().unwrap().clone();
    (outcome, seen)
}

fn numbers(which: impl Fn(u64) -> bool) -> Vec<u64> {
    (0..ROWS).filter(|number| which(*number)).collect()
}

/// Checks what the sinks of a job have published.
fn check(name: &str) {
    for (sink, which) in [("kept", false), ("aside", true)] {
        let mut all = Vec::new();
        for subtask in published(&format!("{name} {sink}")) {
            let got: Vec<u64> = subtask.iter().map(|(_, number)| *number).collect();
            assert!(got.is_sorted(), "{name} {sink}: a forward edge keeps the order");
            all.extend(got);
        }
        all.sort_unstable();
        assert_eq!(all, numbers(|number| goes_aside(number) == which), "{name} {sink}");
    }
    let mut both: Vec<u64> = published(&format!("{name} both")).concat().iter().map(|(_, number)| *number).collect();
    both.sort_unstable();
    assert_eq!(both, numbers(|_| true), "{name} both");
    let mut counts = published(&format!("{name} counts")).concat();
    counts.sort_unstable();
    let of = |key: u64| numbers(|number| goes_aside(number) && number % KEYS == key).len() as u64;
    let expected: Vec<Numbered> = (0..KEYS).flat_map(|key| (1..=of(key)).map(move |count| (key, count))).collect();
    assert_eq!(counts, expected, "{name} counts");
}

#[test]
fn both_outputs_are_exact_whatever_fails_and_whichever_rung_mends_it() {
    for chaining in ["auto", "off"] {
        for scope in ["batch", "operator", "region"] {
            let name = format!("{scope} {chaining}");
            let folder = tempfile::tempdir().unwrap();
            let (outcome, restarts) = run(folder.path(), &job(&name, scope, chaining, ""));
            assert!(outcome.finished && outcome.failures.is_empty(), "{name}: {outcome:?}");
            // Eight panics. A call is taken back as soon as it is known that operators hold nothing in their fields, until then
            // they are replayed; a region is restarted once for all panics that come while it is being halted.
            let all: u64 = restarts.values().sum();
            let is_mended = if scope == "region" { (2..=8).contains(&all) } else { all == 8 };
            assert!(is_mended && restarts.contains_key(scope), "{name}: {restarts:?}");
            check(&name);
        }
    }
}

#[test]
fn a_chain_that_ends_in_a_sink_sends_aside_exactly_once_too() {
    for scope in ["batch", "operator", "region"] {
        let name = format!("sink {scope}");
        let folder = tempfile::tempdir().unwrap();
        // Nobody else reads what it emits: it stays in one chain with its sink.
        let both = format!("inputs = [\"passed\", \"parted.third\"]\n        name = \"{name} both\"");
        let apart = job(&name, scope, "auto", "").replace(&both, &both.replace("\"passed\", ", ""));
        let plan =
            piton::topology::load_text(&apart, &folder.path().join("job.toml"), &Overrides::default(), &registry());
        assert!(plan.unwrap().chains.iter().any(|chain| chain.nodes.len() == 5), "{apart}");
        let (outcome, _) = run(folder.path(), &apart);
        assert!(outcome.finished && outcome.failures.is_empty(), "{name}: {outcome:?}");
        let mut kept: Vec<u64> = published(&format!("{name} kept")).concat().iter().map(|(_, n)| *n).collect();
        kept.sort_unstable();
        assert_eq!(kept, numbers(|number| !goes_aside(number)), "{name}");
        for sink in ["aside", "both"] {
            let mut aside: Vec<u64> = published(&format!("{name} {sink}")).concat().iter().map(|(_, n)| *n).collect();
            aside.sort_unstable();
            assert_eq!(aside, numbers(goes_aside), "{name} {sink}");
        }
    }
}

#[test]
fn a_job_that_is_started_again_goes_on_with_both_outputs() {
    for chaining in ["auto", "off"] {
        let name = format!("again {chaining}");
        let folder = tempfile::tempdir().unwrap();
        let toml = job(&name, "batch", chaining, "stop_at = 2300");
        let (outcome, _) = run(folder.path(), &toml);
        assert!(!outcome.finished && outcome.failures[0].contains("told to stop"), "{name}: {outcome:?}");
        let so_far = published(&format!("{name} aside")).concat().len();
        assert!(so_far > 0 && so_far < numbers(goes_aside).len(), "{name}: {so_far}");
        let (outcome, _) = run(folder.path(), &toml);
        assert!(outcome.finished && outcome.failures.is_empty(), "{name}: {outcome:?}");
        check(&name);
    }
}

#[test]
fn an_output_that_was_not_declared_stops_the_job_by_its_name() {
    #[derive(Clone, serde::Deserialize)]
    struct Careless {}

    impl Operator for Careless {
        type In = Numbered;
        type Out = Numbered;

        fn process(&mut self, record: &Numbered, ctx: &mut Context<Numbered>) -> Result {
            ctx.emit_to(THIRD, *record)
        }
    }

    let folder = tempfile::tempdir().unwrap();
    let toml = "[sources.numbers]\ntype = \"numbers\"\nrows = 10\nkeys = 1\n[operators.careless]\ntype = \"careless\"\n\
                inputs = [\"numbers\"]\n[sinks.out]\ntype = \"collect\"\ninputs = [\"careless\"]\nname = \"careless\"\n";
    let mut registry = registry();
    registry.operator::<Careless>("careless");
    let plan = piton::topology::load_text(toml, &folder.path().join("job.toml"), &Overrides::default(), &registry);
    let Ended::Ran(outcome) = piton::runtime::run(&plan.unwrap(), RunOptions::default()).unwrap() else {
        panic!("it has not run before")
    };
    let told = outcome.failures.join("\n");
    assert!(told.contains("operator \"careless\" emits") && told.contains("output \"third\""), "{told}");
}
