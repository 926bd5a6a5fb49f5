use super::*;

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
    for seed in first..first + seeds {
        let outcome = run(seed, &Options::default());
        total.add(&outcome.stats);
        if outcome.violation.is_some() {
            let (outcome, _) = shrink(outcome);
            println!("seed {seed}: {} [{}]", outcome.violation.unwrap(), outcome.plan);
            if seeds == 1 {
                println!("{}", describe(seed));
                for event in outcome.events {
                    println!("   {event}");
                }
            }
            bad += 1;
            if bad > 10 { break; }
        }
    }
    println!("{total:?} {:?}", start.elapsed());
    assert_eq!(bad, 0);
}
