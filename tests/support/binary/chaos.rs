//! How much a test does, and from which seed.
//!
//! `PITON_ROUNDS` says how many rounds (kills, damages) a test makes instead of its usual few, `PITON_SEED` from which
//! seed it chooses. A seed repeats the choices; when exactly a process is hit by them is up to the machine.

use rand::SeedableRng as _;
use rand_pcg::Pcg64Mcg;

/// Returns how many rounds to make.
pub(crate) fn rounds(usual: u64) -> u64 {
    number("PITON_ROUNDS").unwrap_or(usual)
}

/// Returns the random numbers of a test, and prints how to get the same again.
pub(crate) fn rng(test: &str) -> Pcg64Mcg {
    let seed = number("PITON_SEED").unwrap_or(20_251_121);
    println!("{test}: PITON_SEED={seed}");
    Pcg64Mcg::seed_from_u64(seed)
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text} is not a number")))
}
