use super::*;

#[test]
fn seeds_are_clean() {
    let seeds = std::env::var("PITON_SIM_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(200);
    let mut total = Stats::default();
    let start = std::time::Instant::now();
    let mut bad = 0;
    for seed in 0..seeds {
        let outcome = run(seed, &Options::default());
        total.add(&outcome.stats);
        if let Some(violation) = &outcome.violation {
            println!("seed {seed}: {violation}");
            bad += 1;
            if bad > 10 { break; }
        }
    }
    println!("{total:?} {:?}", start.elapsed());
    assert_eq!(bad, 0);
}
