//! A failed operator restarts alone: whatever fails, and by whichever rung, exactly that subtask is restarted, all others
//! go on, and what is published is what it would have been.

mod support;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use piton::prelude::*;
use piton::runtime::{Ended, Event, Outcome, RunOptions};
use piton::{Overrides, Registry};
use support::check_counts;

/// Passes records on.
#[derive(Clone, serde::Deserialize)]
struct Pass {}

impl Operator for Pass {
    type In = (u64, u64);
    type Out = (u64, u64);

    fn process(&mut self, record: &(u64, u64), ctx: &mut Context<(u64, u64)>) -> Result {
        ctx.forward(record);
        Ok(())
    }
}

/// What has failed in this process so far.
static FAILED: LazyLock<Mutex<BTreeSet<String>>> = LazyLock::new(Mutex::default);

/// Returns whether this is the first time in this process.
fn first_time(what: String) -> bool {
    FAILED.lock().unwrap_or_else(PoisonError::into_inner).insert(what)
}

/// Passes records on, and fails once in each of five ways: at a record, before a snapshot, at a record and then when the
/// fresh instance is opened, at the end of a window, and when it is closed. It may or may not say that it holds nothing in
/// its fields.
#[derive(Clone, serde::Deserialize)]
struct Unlucky<const SAYS_SO: bool> {
    tag: String,
    #[serde(skip)]
    windows: u64,
}

const LAST: ValueState<u64> = ValueState::new("last");

impl<const SAYS_SO: bool> Unlucky<SAYS_SO> {
    fn fails(&self, how: &str, ctx: &Context<(u64, u64)>) -> bool {
        first_time(format!("{} {} {how}", self.tag, ctx.subtask()))
    }
}

impl<const SAYS_SO: bool> Operator for Unlucky<SAYS_SO> {
    type In = (u64, u64);
    type Out = (u64, u64);

    const HOLDS_ROWS: Option<bool> = if SAYS_SO { Some(false) } else { None };

    fn key(&self, record: &(u64, u64)) -> Key {
        Key::from(record.0)
    }

    fn open(&mut self, ctx: &mut Context<(u64, u64)>) -> Result {
        let place = format!("{} {}", self.tag, ctx.subtask());
        let due = FAILED.lock().unwrap_or_else(PoisonError::into_inner).contains(&format!("{place} map again"));
        if due && self.fails("restore", ctx) {
            return Err(Error::failed("told to fail when it is opened"));
        }
        Ok(())
    }

    fn process(&mut self, record: &(u64, u64), ctx: &mut Context<(u64, u64)>) -> Result {
        let before = ctx.state(LAST).update(|last| std::mem::replace(last, record.1 + 1))?;
        if before > record.1 {
            // Not a panic, which would be recovered from.
            first_time(format!("{} out of order", self.tag));
        }
        if record.1 >= 600 && self.fails("map", ctx) {
            panic!("told to panic at {}", record.1);
        }
        if record.1 >= 1_200 && self.fails("map again", ctx) {
            panic!("told to panic at {}", record.1);
        }
        ctx.emit(*record);
        Ok(())
    }

    fn end_window(&mut self, _window: WindowId, ctx: &mut Context<(u64, u64)>) -> Result {
        self.windows += 1;
        if self.windows > 3 && self.fails("hook", ctx) {
            panic!("told to panic at the end of a window");
        }
        Ok(())
    }

    fn before_checkpoint(&mut self, _window: WindowId, ctx: &mut Context<(u64, u64)>) -> Result {
        if self.windows > 5 && self.fails("snapshot", ctx) {
            return Err(Error::failed("told to fail before a snapshot"));
        }
        Ok(())
    }

    fn close(&mut self, ctx: &mut Context<(u64, u64)>) -> Result {
        if self.fails("close", ctx) {
            panic!("told to panic when it is closed");
        }
        Ok(())
    }
}

/// Holds records back and lets go of them when it likes: no replay does it again.
#[derive(Clone, serde::Deserialize)]
struct Whim {
    tag: String,
}

const HELD: LocalState<Vec<(u64, u64)>> = LocalState::new("held");

static WHIMS: AtomicU64 = AtomicU64::new(0);

impl Whim {
    fn let_go(ctx: &mut Context<(u64, u64)>) -> Result {
        let held = ctx.local(HELD).update(std::mem::take)?;
        held.into_iter().for_each(|record| ctx.emit(record));
        Ok(())
    }
}

impl Operator for Whim {
    type In = (u64, u64);
    type Out = (u64, u64);

    fn process(&mut self, record: &(u64, u64), ctx: &mut Context<(u64, u64)>) -> Result {
        ctx.local(HELD).update(|held| held.push(*record))?;
        if WHIMS.fetch_add(1, Ordering::Relaxed).is_multiple_of(7) {
            Whim::let_go(ctx)?;
        }
        if record.1 % 500 == 499 && first_time(format!("{} {}", self.tag, record.1)) {
            panic!("told to panic at {}", record.1);
        }
        Ok(())
    }

    fn close(&mut self, ctx: &mut Context<(u64, u64)>) -> Result {
        Whim::let_go(ctx)
    }
}

fn registry() -> Registry {
    let mut registry = support::registry();
    registry
        .operator::<Pass>("pass")
        .operator::<Unlucky<false>>("unlucky")
        .operator::<Unlucky<true>>("unlucky-and-calm")
        .operator::<Whim>("whim");
    registry
}

/// What an event says of a restart.
#[derive(Clone, Debug)]
struct Restart {
    operator: String,

    scope: &'static str,
    replayed: u64,
    took_ms: f64,
}

/// Runs a job and collects its restarts and escalations.
fn run(folder: &Path, toml: &str, registry: &Registry) -> (Outcome, Vec<Restart>, Vec<String>) {
    let plan = piton::topology::load_text(toml, &folder.join("job.toml"), &Overrides::default(), registry).unwrap();
    let seen = Arc::new(Mutex::new((Vec::new(), Vec::new())));
    let events = Arc::clone(&seen);
    let listener = Box::new(move |event: &Event| {
        let mut seen = events.lock().unwrap();
        match event {
            Event::Restarted { operator, scope, replayed, took_ms, .. } => {
                seen.0.push(Restart { operator: operator.clone(), scope, replayed: *replayed, took_ms: *took_ms })
            }
            Event::Escalated { reason, .. } => seen.1.push(reason.clone()),
            _ => {}
        }
    });
    let outcome = match piton::runtime::run(&plan, RunOptions { listener, ..RunOptions::default() }).unwrap() {
        Ended::Ran(outcome) | Ended::AlreadyFinished(outcome) => outcome,
    };
    let seen = std::mem::take(&mut *seen.lock().unwrap());
    (outcome, seen.0, seen.1)
}

/// Five operators of two subtasks each, with a keyed edge in the middle.
fn five(name: &str, rows: u64, panics: &str, scope: &str, chaining: &str) -> String {
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
        batch = 64
        capacity = 8
        [sources.numbers]
        type = "numbers"
        rows = {rows}
        keys = 97
        idle_ms = 1
        [operators.one]
        type = "pass"
        inputs = ["numbers"]
        [operators.two]
        type = "pass"
        inputs = ["one"]
        [operators.count]
        type = "count"
        inputs = ["two"]
        panic_at = {panics}
        tag = "{name}"
        [operators.three]
        type = "pass"
        inputs = ["count"]
        [operators.four]
        type = "pass"
        inputs = ["three"]
        [sinks.out]
        type = "collect"
        inputs = ["four"]
        name = "{name}"
        "#
    )
}

#[test]
fn exactly_one_subtask_restarts_at_each_rung() {
    let registry = registry();
    for chaining in ["auto", "off"] {
        for scope in ["batch", "operator"] {
            let name = format!("five-{scope}-{chaining}");
            let folder = tempfile::tempdir().unwrap();
            let (outcome, restarts, escalated) =
                run(folder.path(), &five(&name, 4_000, "[2345]", scope, chaining), &registry);
            assert!(outcome.finished && outcome.failures.is_empty(), "{name}: {outcome:?}");
            assert_eq!(outcome.restarts, 0, "{name}: no region was restarted");
            assert_eq!((restarts.len(), escalated.len()), (1, 0), "{name}: {restarts:?} {escalated:?}");
            assert_eq!((restarts[0].operator.as_str(), restarts[0].scope), ("count", scope), "{name}");
            check_counts(&name, 4_000, 97);
        }
    }
}

#[test]
fn a_region_rolls_back_if_told_so() {
    let folder = tempfile::tempdir().unwrap();
    let toml = five("five-region", 4_000, "[2345]", "region", "off");
    let (outcome, restarts, _) = run(folder.path(), &toml, &registry());
    assert_eq!((outcome.restarts, restarts.len(), restarts[0].scope), (1, 1, "region"), "{restarts:?}");
    check_counts("five-region", 4_000, 97);
}

#[test]
fn many_panics_lose_and_double_nothing() {
    let panics: Vec<u64> = (0..1_000).map(|number| number * 197 + 11).collect();
    for scope in ["batch", "operator"] {
        let name = format!("many-{scope}");
        let folder = tempfile::tempdir().unwrap();
        let toml = five(&name, 200_000, &format!("{panics:?}"), scope, "auto").replace("idle_ms = 1", "");
        let (outcome, mut restarts, escalated) = run(folder.path(), &toml, &registry());
        assert!(outcome.finished && outcome.failures.is_empty(), "{name}: {outcome:?}");
        assert_eq!(outcome.restarts, 0, "{name}: {escalated:?}");
        assert_eq!(restarts.len(), 1_000, "{name}");
        // Until the first checkpoint nobody knows that an operator holds nothing in its fields.
        assert!(restarts.iter().filter(|restart| restart.scope == scope).count() > 900, "{name}");
        check_counts(&name, 200_000, 97);
        let replayed = restarts.iter().map(|restart| restart.replayed).sum::<u64>();
        restarts.sort_by(|a, b| a.took_ms.total_cmp(&b.took_ms));
        println!(
            "{scope}: p50 {:.3} ms, p99 {:.3} ms, most {:.3} ms, {replayed} records replayed",
            restarts[500].took_ms, restarts[990].took_ms, restarts[999].took_ms
        );
        let of_scope: u64 = restarts.iter().filter(|one| one.scope == scope).map(|one| one.replayed).sum();
        assert_eq!(of_scope > 0, scope == "operator", "{name}: {of_scope} records were replayed");
    }
}

/// A source, an operator that something happens to, and what counts behind it.
fn three(name: &str, rows: u64, parallelism: u32, scope: &str, operator: &str) -> String {
    format!(
        r#"
        [checkpoint]
        interval = "20ms"
        [window]
        interval = "10ms"
        [recovery]
        scope = "{scope}"
        initial_backoff = "1ms"
        backoff_multiplier = 1.0
        [mailbox]
        batch = 16
        capacity = 8
        [sources.numbers]
        type = "numbers"
        rows = {rows}
        keys = 97
        idle_ms = 1
        [operators.it]
        type = "{operator}"
        inputs = ["numbers"]
        parallelism = {parallelism}
        tag = "{name}"
        [operators.count]
        type = "count"
        inputs = ["it"]
        tag = "{name}"
        parallelism = {parallelism}
        [sinks.out]
        type = "collect"
        inputs = ["count"]
        name = "{name}"
        "#
    )
}

fn planned(alignment: &str, operator: &str) {
    for parallelism in [1, 5, 20] {
        for scope in ["batch", "operator", "region", "job"] {
            let name = format!("planned-{alignment}-{scope}-{parallelism}");
            let folder = tempfile::tempdir().unwrap();
            let toml = three(&name, 2_500, parallelism, scope, operator);
            let toml = toml.replace("[checkpoint]", &format!("[checkpoint]\nalignment = \"{alignment}\""));
            let (outcome, restarts, escalated) = run(folder.path(), &toml, &registry());
            assert!(outcome.finished && outcome.failures.is_empty(), "{name}: {outcome:?}");
            check_counts(&name, 2_500, 97);
            assert!(first_time(format!("{name} out of order")), "{name}");
            let alone = restarts.iter().filter(|restart| ["batch", "operator"].contains(&restart.scope)).count();
            println!("{name}: {alone} alone, {} of the region, {} escalated", outcome.restarts, escalated.len());
            if ["batch", "operator"].contains(&scope) {
                assert!(alone >= 5 * parallelism as usize, "{name}: each fault of each subtask: {restarts:?}");
                assert_eq!((outcome.restarts, escalated.len()), (0, 0), "{name}: {escalated:?}");
            } else {
                assert!(alone == 0 && outcome.restarts > 0, "{name}: {restarts:?}");
            }
        }
    }
}

#[test]
fn five_planned_faults_lose_double_and_reorder_nothing() {
    planned("aligned", "unlucky");
}

#[test]
fn nor_do_they_while_checkpoints_do_not_wait() {
    planned("unaligned", "unlucky-and-calm");
}

#[test]
fn an_operator_that_is_not_deterministic_is_found_out_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let toml = format!("job.chaining = \"off\"\n{}", three("whim", 3_000, 1, "operator", "whim"));
    let (outcome, _, escalated) = run(folder.path(), &toml, &registry());
    assert!(outcome.finished && outcome.failures.is_empty(), "{outcome:?}");
    assert!(
        escalated.iter().any(|reason| reason.contains("\"it\"") && reason.contains("not deterministic")),
        "{escalated:?}"
    );
    assert!(outcome.restarts > 0);
    check_counts("whim", 3_000, 97);
}

#[test]
fn what_nobody_has_seen_need_not_be_the_same_again() {
    let folder = tempfile::tempdir().unwrap();
    // From the source to the sink in one chain.
    let toml = three("free", 3_000, 1, "operator", "whim");
    let (outcome, restarts, escalated) = run(folder.path(), &toml, &registry());
    assert!(outcome.finished && outcome.failures.is_empty(), "{outcome:?}");
    assert_eq!((outcome.restarts, escalated.len()), (0, 0), "{escalated:?}");
    assert!(restarts.len() >= 6 && restarts.iter().any(|restart| restart.replayed > 0), "{restarts:?}");
    check_counts("free", 3_000, 97);
}
