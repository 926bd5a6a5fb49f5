use super::*;
use crate::protocol::mutant::{self, Mutant};

fn env(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

#[test]
fn seeds_are_clean() {
    let first = env("PITON_SIM_FIRST", 0);
    let seeds = env("PITON_SIM_SEEDS", 200);
    let mut total = Stats::default();
    let start = std::time::Instant::now();
    let mut bad = 0;
    let mut refused = 0;
    for seed in first..first + seeds {
        let outcome = run(seed, &Options::default());
        total.add(&outcome.stats);
        if env("PITON_SIM_REFUSED", 0) == 1 && outcome.refused.is_some() { println!("refused {seed} {}", outcome.refused.as_ref().unwrap()); }
        refused += u64::from(outcome.refused.is_some());
        if env("PITON_SIM_EACH", 0) == 1 {
            println!(
                "each {seed} steps {} virtual {} rows {} checkpoints {} {:?}",
                outcome.stats.steps,
                outcome.stats.virtual_ms,
                outcome.stats.rows,
                outcome.stats.checkpoints,
                outcome.refused
            );
        }
        if outcome.violation.is_some() {
            let (outcome, _) = shrink(outcome);
            println!("seed {seed}: {} [{}]", outcome.violation.clone().unwrap(), outcome.plan);
            if seeds == 1 {
                let outcome = run(seed, &Options { plan: Some(outcome.plan.clone()), trace: true });
                println!("{}", describe(seed));
                for event in outcome.events {
                    println!("   {event}");
                }
            }
            bad += 1;
            if bad > 10 {
                break;
            }
        }
    }
    println!("{total:?} refused {refused} {:?}", start.elapsed());
    assert_eq!(bad, 0);
}

#[test]
fn every_mutant_is_caught() {
    let mut missed = Vec::new();
    for mutant in Mutant::ALL {
        mutant::activate(Some(*mutant));
        let start = std::time::Instant::now();
        let found = (0..env("PITON_SIM_MUTANT_SEEDS", 2000))
            .map(|seed| run(seed, &Options::default()))
            .find(|outcome| outcome.violation.is_some());
        let took = start.elapsed();
        match found {
            None => missed.push(*mutant),
            Some(outcome) => {
                let (seed, before) = (outcome.seed, outcome.plan.faults.len());
                let (shrunk, runs) = shrink(outcome);
                println!(
                    "mutant {mutant:?} | {seed} | {} ms | {before} to {} in {runs} | {} | {}",
                    took.as_millis(),
                    shrunk.plan.faults.len(),
                    shrunk.violation.unwrap(),
                    shrunk.plan
                );
            }
        }
    }
    mutant::activate(None);
    assert_eq!(missed, []);
}
