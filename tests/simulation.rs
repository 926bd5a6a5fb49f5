//! Whatever fails and whenever: state and committed output are those of a run without faults.
//!
//! `PITON_SIM_SEEDS` runs more seeds than the usual number, `PITON_SIM_FIRST` begins elsewhere, and one seed alone
//! (`PITON_SIM_SEEDS=1 PITON_SIM_FIRST=…`) shows every event if it fails.

use std::process::Command;

use piton::config::Mode;
use piton::sim::{Options, Outcome, Simulation, Stats};

fn setting(name: &str, usual: u64) -> u64 {
    match std::env::var(name) {
        Ok(value) => value.parse().expect("a number of seeds"),
        Err(_) => usual,
    }
}

/// Returns what was counted, and the first failing runs, if there are any.
fn run_seeds(seeds: impl Iterator<Item = u64>, mode: Mode) -> (Stats, u64, Vec<Outcome>) {
    let mut total = Stats::default();
    let mut refused = 0;
    let mut failing = Vec::new();
    let simulation = Simulation::made_up(mode);
    for seed in seeds {
        let outcome = simulation.run(seed, &Options::default());
        total.add(&outcome.stats);
        refused += u64::from(outcome.refused.is_some());
        if outcome.violation.is_some() {
            failing.push(outcome);
            if failing.len() == 5 {
                break;
            }
        }
    }
    (total, refused, failing)
}

fn tell(failing: Outcome, mode: Mode, with_events: bool) -> String {
    let (simulation, seed) = (Simulation::made_up(mode), failing.seed);
    let (shrunk, _) = simulation.shrink(failing);
    let violation = shrunk.violation.expect("a shrunk run fails, too");
    let mut told = format!("seed {seed}: {violation}\n  plan: {}\n{}", shrunk.faults, simulation.describe(seed));
    if with_events {
        let again = simulation.run(seed, &Options { faults: Some(shrunk.faults), trace: true });
        told.push_str(&again.events.join("\n"));
    }
    told
}

/// Runs as many seeds as were asked for, or the usual number; returns what was counted, and of how many seeds.
fn run_all(usual: u64, mode: Mode) -> (Stats, u64) {
    let first = setting("PITON_SIM_FIRST", 0);
    let seeds = setting("PITON_SIM_SEEDS", usual);
    // Seeds know nothing of each other: two threads take every other one.
    let other = std::thread::spawn(move || run_seeds((first + 1..first + seeds).step_by(2), mode));
    let (mut total, mut refused, mut failing) = run_seeds((first..first + seeds).step_by(2), mode);
    let (more, more_refused, more_failing) = other.join().expect("the other half ran");
    total.add(&more);
    refused += more_refused;
    failing.extend(more_failing);
    println!("{mode:?}: {seeds} seeds from {first}: {total:?}, {refused} refused");
    let told: Vec<String> = failing.into_iter().map(|failing| tell(failing, mode, seeds == 1)).collect();
    assert!(told.is_empty(), "{}", told.join("\n"));

    if seeds >= 1_000 {
        // A simulator that does not get anywhere finds nothing either.
        assert!(total.faults > seeds && total.restarts > seeds / 4 && total.crashes > seeds / 4, "{total:?}");
        assert!(total.checkpoints > seeds && total.settled > seeds && total.rows > 20 * seeds, "{total:?}");
        assert!(refused < seeds / 10, "{refused} of {seeds} were refused");
    }
    (total, seeds)
}

#[test]
fn no_seed_breaks_a_promise() {
    let (total, _) = run_all(10_000, Mode::ExactlyOnce);
    assert_eq!(total.doubled, 0);
}

#[test]
fn no_seed_breaks_the_weaker_promise_of_at_least_once() {
    let (total, seeds) = run_all(5_000, Mode::AtLeastOnce);
    assert!(seeds < 1_000 || total.doubled > seeds / 10, "nothing is ever doubled: {total:?}");
}

#[test]
fn seeds_that_have_found_something_find_nothing_any_more() {
    // A subtask that had seen its end before its snapshot was given what a producer, which had not, read again: behind
    // its close, or to nobody.
    find_nothing(&[144, 3158, 3260, 5960, 6080], Mode::AtLeastOnce);
    // An operator whose replay gave something else asked for something else with it, and was given the old answers.
    find_nothing(&[2501669, 2017863, 2019378], Mode::ExactlyOnce);
    // Windows so short that a source's outbox always held a marker when the next one came: it was polled no more.
    find_nothing(&[2106229], Mode::ExactlyOnce);
    // Nothing was wrong but the simulation: a request was slow eight times, and a sink that was never fast again.
    find_nothing(&[2721277, 2301690], Mode::ExactlyOnce);
}

fn find_nothing(seeds: &[u64], mode: Mode) {
    let (_, _, failing) = run_seeds(seeds.iter().copied(), mode);
    let told: Vec<String> = failing.into_iter().map(|failing| tell(failing, mode, false)).collect();
    assert!(told.is_empty(), "{}", told.join("\n"));
}

/// Combines the traces of some seeds.
fn combined_trace() -> u64 {
    let simulation = Simulation::made_up(Mode::ExactlyOnce);
    (0..1_000).fold(0, |hash: u64, seed| hash.rotate_left(5) ^ simulation.run(seed, &Options::default()).trace_hash)
}

#[test]
fn the_same_seed_does_the_same_in_another_process() {
    let own = format!("trace {:016x}", combined_trace());
    if std::env::var_os("PITON_SIM_CHILD").is_some() {
        println!("{own}");
        return;
    }
    let program = std::env::current_exe().expect("this test's program");
    let child = Command::new(program)
        .args(["--exact", "the_same_seed_does_the_same_in_another_process", "--nocapture"])
        .env("PITON_SIM_CHILD", "1")
        .output()
        .expect("this test's program runs again");
    let said = String::from_utf8_lossy(&child.stdout);
    assert!(said.contains(&own), "{own} here, in the other process: {said}");
    assert_eq!(own, format!("trace {:016x}", combined_trace()), "the second time in one process");
}
