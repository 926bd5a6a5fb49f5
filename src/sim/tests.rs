//! The simulator is held against bugs that are known to be there: each must be caught within a few seeds.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use super::*;
use crate::config::Mode;
use crate::protocol::mutant::{self, Mutant};

/// Within so many seeds every deliberate bug has to be caught.
const SEEDS: u64 = 2_000;

/// To so few faults a plan has to shrink.
const FAULTS: usize = 5;

fn made_up() -> Simulation {
    Simulation::made_up(Mode::ExactlyOnce)
}

/// A deliberate bug that was caught.
struct Caught {
    seed: u64,
    /// How long the search took, in ms, and the shrinking.
    took_ms: (u128, u128),
    /// How many faults there were before shrinking.
    before: usize,
    shrunk: Outcome,
    /// How many runs shrinking took.
    runs: u32,
}

#[expect(clippy::disallowed_methods, reason = "a measurement for whoever reads the output")]
fn catch(mutant: Mutant) -> Option<Caught> {
    mutant::activate(Some(mutant));
    let start = Instant::now();
    let mut began = start;
    let outcomes = (0..SEEDS).map(|seed| made_up().run(seed, &Options::default()));
    let mut caught = outcomes.filter(|outcome| outcome.violation.is_some()).map(|failing| {
        let (seed, before) = (failing.seed, failing.faults.faults.len());
        let searched = began.elapsed();
        let (shrunk, runs) = made_up().shrink(failing);
        let took_ms = (searched.as_millis(), (began.elapsed() - searched).as_millis());
        began = Instant::now();
        Caught { seed, took_ms, before, shrunk, runs }
    });
    // Now and then a plan cannot be cut down any further, because every other one moves the schedule: the next may do.
    let first = caught.next();
    let caught = match first {
        Some(first) if first.shrunk.faults.faults.len() > FAULTS => {
            caught.by_ref().take(3).find(|next| next.shrunk.faults.faults.len() <= FAULTS).or(Some(first))
        }
        first => first,
    };
    mutant::activate(None);
    if let Some(Caught { seed, shrunk, .. }) = &caught {
        let sound = made_up().run(*seed, &Options { faults: Some(shrunk.faults.clone()), ..Options::default() });
        let (wrong, faults) = (&sound.violation, &shrunk.faults);
        assert!(wrong.is_none(), "seed {seed}: {mutant:?} is not to blame for {wrong:?} ({faults})");
    }
    caught
}

/// Returns what each mutant breaks, as its documentation says.
fn descriptions() -> BTreeMap<String, &'static str> {
    let mut described = BTreeMap::new();
    let mut said = "";
    for line in include_str!("../protocol/mutant.rs").lines().map(str::trim) {
        match line.strip_prefix("/// ") {
            Some(words) => said = words,
            None => _ = described.insert(line.trim_end_matches(',').to_string(), said),
        }
    }
    described
}

/// Returns a line of the table in `docs/mutants.md`.
fn line(mutant: Mutant, caught: &Caught) -> String {
    let Caught { seed, took_ms: (search, shrinking), before, shrunk, runs } = caught;
    let broken = shrunk.violation.as_ref().expect("a shrunk run fails, too").invariant;
    let kinds: Vec<&str> = shrunk.faults.faults.iter().map(|planned| planned.fault.kind()).collect();
    let kinds = if kinds.is_empty() { String::new() } else { format!(": {}", kinds.join(", ")) };
    let name = format!("{mutant:?}");
    let breaks = descriptions()[&name].trim_end_matches('.');
    let after = shrunk.faults.faults.len();
    format!(
        "| {name} | {breaks} | {seed} | {search} ms | {broken} | {before} → {after}{kinds} | {runs} runs, {shrinking} ms |"
    )
}

#[test]
fn every_mutant_is_caught() {
    let next = AtomicUsize::new(0);
    let hunt = || {
        let mut found = BTreeMap::new();
        while let Some(mutant) = Mutant::ALL.get(next.fetch_add(1, Ordering::Relaxed)) {
            found.insert(format!("{mutant:?}"), catch(*mutant));
        }
        found
    };
    // A mutant is active in one thread alone.
    let mut found = std::thread::scope(|scope| {
        let other = scope.spawn(hunt);
        let mut found = hunt();
        found.append(&mut other.join().expect("the other thread hunts, too"));
        found
    });
    let (mut missed, mut long) = (Vec::new(), Vec::new());
    for mutant in Mutant::ALL {
        let Some(caught) = found.remove(&format!("{mutant:?}")).flatten() else {
            missed.push(*mutant);
            continue;
        };
        println!("{}", line(*mutant, &caught));
        if caught.shrunk.faults.faults.len() > FAULTS {
            long.push(format!("{mutant:?}: {}", caught.shrunk.faults));
        }
    }
    assert_eq!(missed, [], "not caught within {SEEDS} seeds");
    assert!(long.is_empty(), "more than {FAULTS} faults are left: {long:#?}");
}

#[test]
fn what_loses_or_repeats_for_no_reason_is_caught_with_at_least_once_too() {
    let hunt = |mutant: Mutant, seeds: u64| {
        mutant::activate(Some(mutant));
        let simulation = Simulation::made_up(Mode::AtLeastOnce);
        let caught = (0..seeds).find_map(|seed| simulation.run(seed, &Options::default()).violation);
        mutant::activate(None);
        caught
    };
    let mutants = [
        Mutant::EarlyCommit,
        Mutant::PendingForgotten,
        Mutant::PendingNotRecommitted,
        Mutant::PositionAhead,
        Mutant::MarkerOvertakesRows,
        Mutant::LineageForgotten,
        Mutant::PollBeyondMarker,
        Mutant::NothingUndone,
        Mutant::JournalCutShort,
        Mutant::LetterForgotten,
        Mutant::ReplaySent,
        Mutant::TakenForgotten,
    ];
    for mutant in mutants {
        let caught = hunt(mutant, 500);
        println!("{mutant:?}: {}", caught.as_ref().map_or("not caught".to_string(), ToString::to_string));
        assert!(caught.is_some(), "{mutant:?}");
    }
    // This is what the weaker promise is about.
    assert_eq!(hunt(Mutant::NoAlignment, 100), None);
}

#[test]
fn the_documentation_lists_every_mutant() {
    let document = include_str!("../../docs/mutants.md");
    let described = descriptions();
    for mutant in Mutant::ALL {
        let name = format!("{mutant:?}");
        let begin = format!("| {name} | {} |", described[&name].trim_end_matches('.'));
        assert!(document.lines().any(|line| line.starts_with(&begin)), "docs/mutants.md has no line \"{begin} …\"");
    }
    assert_eq!(document.lines().filter(|line| line.ends_with(" ms |")).count(), Mutant::ALL.len());
}

#[test]
fn a_failing_plan_shrinks_to_one_that_fails() {
    mutant::activate(Some(Mutant::RestoredNotTold));
    let failing = (0..SEEDS)
        .map(|seed| made_up().run(seed, &Options::default()))
        .find(|outcome| outcome.violation.is_some() && outcome.faults.faults.len() > 3)
        .expect("a mutant that almost every restart shows");
    let before = failing.faults.faults.len();
    let (shrunk, runs) = made_up().shrink(failing);
    assert!(shrunk.violation.is_some());
    assert!(
        shrunk.faults.faults.len() < before,
        "{} of {before} faults left after {runs} runs",
        shrunk.faults.faults.len()
    );
    let again = made_up().run(shrunk.seed, &Options { faults: Some(shrunk.faults.clone()), trace: true });
    assert_eq!(again.trace_hash, shrunk.trace_hash, "a plan replays");
    assert!(again.events.len() > shrunk.events.len(), "a trace holds every event");
    mutant::activate(None);
}

#[test]
fn seeds_make_jobs_that_send_rows_aside() {
    let jobs: Vec<String> = (0..200).map(|seed| made_up().describe(seed)).collect();
    let aside = jobs.iter().filter(|job| job.contains("(aside, 1)")).count();
    let from_within = |job: &&String| {
        job.lines().any(|chain| chain.split_once(" Split").is_some_and(|(_, behind)| behind.contains(", sink ")))
    };
    let into_two = jobs.iter().filter(from_within).count();
    assert!(aside > 20 && into_two > 5, "{aside} of 200 jobs, {into_two} of them with a sink of its own behind");
}

#[test]
fn seeds_make_different_jobs() {
    let jobs: std::collections::BTreeSet<String> = (0..50).map(|seed| made_up().describe(seed)).collect();
    assert!(jobs.len() > 45, "{} jobs", jobs.len());
}
