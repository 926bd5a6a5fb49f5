//! The arguments of the commands under which things go wrong on purpose.

use std::path::PathBuf;

use clap::Args;

use super::JobArgs;
use crate::config::Duration;

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  piton chaos job.toml --seed 42 --duration 60s\n  piton chaos job.toml --report chaos.html\n  \
                  piton chaos job.toml --plan chaos.json --set chaos.max_concurrent_faults=1\n\n\
                  Everything happens in a folder of its own: neither the state nor the output of the job is touched. [chaos] \
                  in the\ntopology file says what may happen, how often and to whom. Exit code 0: everything held; 1: it did \
                  not. SIGINT or\nSIGTERM ends it with a report of what was seen so far: 1 if a promise was broken by then, else \
                  130; a second one\nends it at once.\n\n\
                  A plan is TOML: `job`, `seed`, `duration`, `settle`, and a table for each fault (README.md shows all of it):\n  \
                  [[fault]]\n  \
                  number = 1\n  \
                  kind = \"panic\"          # as in [chaos.weights], or \"fail\"\n  \
                  at = \"1500ms\"           # from the start of the run; without it: at its point\n  \
                  operator = \"totals\"     # and its subtask, if that matters\n  \
                  point = \"process\"       # and nth, and moment; of other kinds lasts or times"
)]
pub(in crate::cli) struct ChaosArgs {
    /// The topology file [default: config.toml in the current folder]
    #[arg(value_name = "JOB.toml")]
    pub(in crate::cli) job: Option<PathBuf>,
    /// What every choice comes from [default: chaos.seed, or random]
    #[arg(long, value_name = "S", conflicts_with = "plan")]
    pub(in crate::cli) seed: Option<u64>,
    /// How long faults go on, as in 60s [default: chaos.duration]
    #[arg(long, value_name = "TIME")]
    pub(in crate::cli) duration: Option<Duration>,
    /// Plays the faults of a plan, or of a report in JSON, instead of drawing them from a seed
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) plan: Option<PathBuf>,
    /// Writes the report to a file, too: .json for programs, .html for a browser
    #[arg(long, value_name = "FILE.json|FILE.html")]
    pub(in crate::cli) report: Option<PathBuf>,
    /// Sets an option over the file, as in sources.flights.rate=500/s; may be repeated
    #[arg(long, value_name = "OPTION=VALUE")]
    pub(in crate::cli) set: Vec<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  piton sim job.toml --seeds 10000\n  piton sim job.toml --seed 77 --trace\n  \
                  piton sim job.toml --plan sim-77.toml --trace     play again what was found\n\n\
                  What is found goes to sim-SEED.toml in the current folder, or under the next name that is free. At SIGINT \
                  or SIGTERM the\nseeds under way are finished, and what was found is told; a second one ends it at once. Exit \
                  code 0: no promise was\nbroken, also if it was stopped; 1: one was.")]
pub(in crate::cli) struct SimArgs {
    #[command(flatten)]
    pub(in crate::cli) job: JobArgs,
    /// How many seeds are run [default: 1000, or 1 with --seed]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(in crate::cli) seeds: Option<u64>,
    /// The first seed [default: chaos.seed, or 0]
    #[arg(long, value_name = "S")]
    pub(in crate::cli) seed: Option<u64>,
    /// Plays the seed and the faults in this file, instead of those that a seed decides
    #[arg(long, value_name = "FILE", conflicts_with_all = ["seeds", "seed"])]
    pub(in crate::cli) plan: Option<PathBuf>,
    /// Cuts the faults of --plan down to those that matter; those of a failing seed always are
    #[arg(long, requires = "plan")]
    pub(in crate::cli) shrink: bool,
    /// Shows which faults struck while what was going on; a cell that was never reached is a failure
    #[arg(long)]
    pub(in crate::cli) coverage: bool,
    /// Shows every event of a failing run, not only the last ones
    #[arg(long)]
    pub(in crate::cli) trace: bool,
    /// Shows on stderr what the engine logs in all the runs (as PITON_LOG and RUST_LOG do, which say how much)
    #[arg(long)]
    pub(in crate::cli) verbose: bool,
    /// How many rows each subtask of a source gives at most
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    pub(in crate::cli) rows: u64,
}
