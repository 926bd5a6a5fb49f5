//! NEXMark: the queries of the usual benchmark of stream processors, over persons, auctions and bids that are made up.
//!
//! ```text
//! cargo run --release --example nexmark -- run examples/nexmark/q5.toml
//! cat out/nexmark/q5/*                   # the auctions with the most bids: "auction,num", "1000,7343", ...
//! ```
//!
//! What each query asks, and what was chosen where the benchmark leaves it open, stands in README.md beside this.

mod queries;

use std::process::ExitCode;

fn main() -> ExitCode {
    piton::cli::main(queries::registry())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_survive_whatever_a_seed_can_think_of() {
        for query in ["q0", "q1", "q2", "q3", "q4", "q5", "q6", "q7", "q8", "q11", "q12"] {
            piton::sim::check(format!("examples/nexmark/{query}.toml"), &queries::registry(), 20);
        }
    }
}
