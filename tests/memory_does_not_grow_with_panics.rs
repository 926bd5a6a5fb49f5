//! A job in which operators panic a thousand times needs no more memory and no more threads for it: what a restart has
//! taken, it gives back.

#[path = "support/binary/mod.rs"]
mod binary;
mod support;

use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use binary::process::Job;
use piton::Overrides;
use piton::prelude::*;
use piton::runtime::{Ended, Event, RunOptions};
use serde::Deserialize;
use support::check_counts;

const PANICS: u64 = 1_000;
/// So many panics are warming up.
const WARM: u64 = 100;
/// The numbers between two panics.
const APART: u64 = 11;
const ROWS: u64 = (PANICS + 1) * APART;
const KEYS: u64 = 97;
/// By so many percent memory may grow from the first panics to the last.
const GROWTH: u64 = 20;

/// Passes records on.
#[derive(Clone, Deserialize)]
struct Pass {}

impl Operator for Pass {
    type In = (u64, u64);
    type Out = (u64, u64);

    fn process(&mut self, record: &(u64, u64), ctx: &mut Context<(u64, u64)>) -> Result {
        ctx.forward(record);
        Ok(())
    }
}

fn topology(scope: &str, chaining: &str) -> String {
    let panics: Vec<u64> = (1..=PANICS).map(|panic| panic * APART).collect();
    format!(
        r#"
        [job]
        name = "panics"
        parallelism = 2
        chaining = "{chaining}"
        [checkpoint]
        interval = "20ms"
        [window]
        interval = "10ms"
        [recovery]
        scope = "{scope}"
        strategy = "none"
        [mailbox]
        batch = 64
        capacity = 8
        [store]
        path = "state"
        [sources.numbers]
        type = "numbers"
        rows = {ROWS}
        keys = {KEYS}
        idle_ms = 1
        [operators.before]
        type = "pass"
        inputs = ["numbers"]
        [operators.count]
        type = "count"
        inputs = ["before"]
        panic_at = {panics:?}
        [operators.behind]
        type = "pass"
        inputs = ["count"]
        [sinks.out]
        type = "collect"
        inputs = ["behind"]
        name = "out"
        "#
    )
}

/// Returns how many pages of this process are in memory.
fn resident() -> u64 {
    let sizes = std::fs::read_to_string("/proc/self/statm").unwrap();
    sizes.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Returns how many threads this process has, without those that sled keeps for itself once it has needed them.
fn threads() -> u64 {
    let names = std::fs::read_dir("/proc/self/task").unwrap().map(|task| {
        // A thread may end in between.
        std::fs::read_to_string(task.unwrap().path().join("comm")).unwrap_or_default()
    });
    names.filter(|name| !name.is_empty() && !name.starts_with("sled-io")).count() as u64
}

/// What was seen of a process: how many of its pages are in memory, and how many threads it has.
#[derive(Clone, Copy, Debug, Default)]
struct Sight {
    resident: u64,
    threads: u64,
}

impl Sight {
    fn now() -> Sight {
        Sight { resident: resident(), threads: threads() }
    }
}

/// Not a test by itself: the process that [`a_thousand_panics_leave_nothing_behind`] looks at.
#[test]
fn child() {
    let Ok(scope) = std::env::var("PITON_PANICS_SCOPE") else { return };
    let chaining = std::env::var("PITON_PANICS_CHAINING").unwrap();
    // It panics all the time; what a panic says is kept as it is.
    std::panic::set_hook(Box::new(|_| {}));
    let mut registry = support::registry();
    registry.operator::<Pass>("pass");
    let toml = topology(&scope, &chaining);
    let plan = piton::topology::load_text(&toml, Path::new("job.toml"), &Overrides::default(), &registry).unwrap();
    let seen = Arc::new(Mutex::new((0, Vec::new())));
    let sights = Arc::clone(&seen);
    let listener = Box::new(move |event: &Event| {
        let (restarts, sights) = &mut *sights.lock().unwrap();
        if let Event::Restarted { .. } = event {
            *restarts += 1;
            if *restarts == 1 || *restarts % WARM == 0 {
                sights.push(Sight::now());
            }
        }
    });
    let ended = piton::runtime::run(&plan, RunOptions { listener, threads: Some(2), ..RunOptions::default() }).unwrap();
    let Ended::Ran(outcome) = ended else { panic!("{ended:?}") };
    assert!(outcome.finished && outcome.restarts == 0, "{outcome:?}");
    check_counts("out", ROWS, KEYS);
    let (restarts, sights) = std::mem::take(&mut *seen.lock().unwrap());
    println!("\nRESTARTS {restarts}");
    for sight in sights {
        println!("SIGHT {} {}", sight.resident, sight.threads);
    }
}

/// Runs the child; returns what was seen at the first panic and at every hundredth.
fn watch(scope: &str, chaining: &str) -> Vec<Sight> {
    let folder = tempfile::tempdir().unwrap();
    let job = Job::new(folder.path(), "");
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child", "--nocapture", "--test-threads=1"]);
    command.env("PITON_PANICS_SCOPE", scope).env("PITON_PANICS_CHAINING", chaining);
    let said = job.spawn(command).wait().expect(0).stdout;
    let of = |name: &'static str| said.lines().filter_map(move |line| line.strip_prefix(name));
    assert_eq!(of("RESTARTS ").collect::<Vec<_>>(), [PANICS.to_string()], "{said}");
    let sight = |line: &str| {
        let [resident, threads] = line.split(' ').map(|number| number.parse().unwrap()).collect::<Vec<_>>()[..] else {
            panic!("{line}")
        };
        Sight { resident, threads }
    };
    of("SIGHT ").map(sight).collect()
}

#[test]
fn a_thousand_panics_leave_nothing_behind() {
    for (scope, chaining) in [("batch", "auto"), ("batch", "off"), ("operator", "auto"), ("operator", "off")] {
        let sights = watch(scope, chaining);
        let memory: Vec<u64> = sights.iter().map(|sight| sight.resident).collect();
        let threads: Vec<u64> = sights.iter().map(|sight| sight.threads).collect();
        println!("{scope}, chaining {chaining}: pages {memory:?}, threads {threads:?}");
        let [_, warm, .., last] = sights[..] else { panic!("{sights:?}") };
        assert_eq!(sights.len() as u64, 1 + PANICS / WARM);
        let most = warm.resident + warm.resident * GROWTH / 100;
        assert!(last.resident <= most, "{scope}, {chaining}: {} pages, from {}", last.resident, warm.resident);
        // One that is about to end may be seen anywhere, but not everywhere.
        let (early, late) = threads.split_at(threads.len() / 2);
        assert!(late.iter().min() <= early.iter().min(), "{scope}, {chaining}: threads {threads:?}");
    }
}
