//! The simulator is held against bugs that are known to be there: each must be caught within a few seeds.

use std::time::{Duration, Instant};

use super::*;
use crate::protocol::mutant::{self, Mutant};

/// Within so many seeds every deliberate bug has to be caught.
const SEEDS: u64 = 2_000;

/// A deliberate bug that was caught.
struct Caught {
    failing: Outcome,
    took: Duration,
}

#[expect(clippy::disallowed_methods, reason = "a measurement for whoever reads the output")]
fn catch(mutant: Mutant) -> Option<Caught> {
    mutant::activate(Some(mutant));
    let start = Instant::now();
    let failing = (0..SEEDS).map(|seed| run(seed, &Options::default())).find(|outcome| outcome.violation.is_some());
    failing.map(|failing| Caught { failing, took: start.elapsed() })
}

/// Prints one line of the table in `docs/mutants.md`.
fn report(mutant: Mutant, caught: Caught) {
    let Caught { failing, took } = caught;
    let (seed, before) = (failing.seed, failing.plan.faults.len());
    let (shrunk, runs) = shrink(failing);
    let violation = shrunk.violation.expect("a shrunk run fails, too");
    println!(
        "| {mutant:?} | {seed} | {} ms | {before} → {} in {runs} runs | {} | {} |",
        took.as_millis(),
        shrunk.plan.faults.len(),
        violation.invariant,
        shrunk.plan
    );
}

#[test]
fn every_mutant_is_caught() {
    let mut missed = Vec::new();
    for mutant in Mutant::ALL {
        match catch(*mutant) {
            Some(caught) => report(*mutant, caught),
            None => missed.push(*mutant),
        }
    }
    mutant::activate(None);
    assert_eq!(missed, [], "not caught within {SEEDS} seeds");
}

#[test]
fn a_failing_plan_shrinks_to_one_that_fails() {
    mutant::activate(Some(Mutant::RestoredNotTold));
    let failing = (0..SEEDS)
        .map(|seed| run(seed, &Options::default()))
        .find(|outcome| outcome.violation.is_some() && outcome.plan.faults.len() > 3)
        .expect("a mutant that almost every restart shows");
    let before = failing.plan.faults.len();
    let (shrunk, runs) = shrink(failing);
    assert!(shrunk.violation.is_some());
    assert!(
        shrunk.plan.faults.len() < before,
        "{} of {before} faults left after {runs} runs",
        shrunk.plan.faults.len()
    );
    let again = run(shrunk.seed, &Options { plan: Some(shrunk.plan.clone()), trace: true });
    assert_eq!(again.trace_hash, shrunk.trace_hash, "a plan replays");
    assert!(again.events.len() > shrunk.events.len(), "a trace holds every event");
    mutant::activate(None);
}

#[test]
fn seeds_make_different_jobs() {
    let jobs: std::collections::BTreeSet<String> = (0..50).map(describe).collect();
    assert!(jobs.len() > 45, "{} jobs", jobs.len());
}
