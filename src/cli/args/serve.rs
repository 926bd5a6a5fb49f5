//! What `piton serve` takes.

use std::path::PathBuf;

use clap::Args;

use crate::config::Bytes;

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  piton serve jobs/ --http 8080\n  piton serve clicks.toml orders.toml --state /var/lib/piton"
)]
pub(in crate::cli) struct ServeArgs {
    /// Topology files, and folders of them: a file that comes is a new job, one that changes is an upgrade, one that
    /// goes is stopped with a savepoint
    #[arg(value_name = "DIR|JOB.toml", required = true)]
    pub(in crate::cli) paths: Vec<PathBuf>,
    /// The folder of the jobs' state, with a folder for each [default: .piton/serve in the current folder]
    #[arg(long, value_name = "DIR")]
    pub(in crate::cli) state: Option<PathBuf>,
    /// Sets an option over the files of all jobs, as in checkpoint.interval=200ms; may be repeated
    #[arg(long, value_name = "OPTION=VALUE")]
    pub(in crate::cli) set: Vec<String>,
    /// Answers HTTP with a page, an API and the metrics; "8080" is loopback. A token comes from PITON__HTTP__TOKEN
    #[arg(long, value_name = "ADDR")]
    pub(in crate::cli) http: Option<String>,
    /// Appends what happens to a file, one JSON object on each line, with its job ("-" for stdout)
    #[arg(long, value_name = "FILE|-")]
    pub(in crate::cli) events: Option<PathBuf>,
    /// How many threads run the operators of all jobs [default: one for each core]
    #[arg(long, value_name = "COUNT")]
    pub(in crate::cli) threads: Option<usize>,
    /// The most jobs that may run at a time
    #[arg(long, value_name = "COUNT", default_value_t = 1_000)]
    pub(in crate::cli) max_jobs: usize,
    /// The most memory that the journals of a job may ask for (recovery.journal_total), as in 64MiB
    #[arg(long, value_name = "SIZE")]
    pub(in crate::cli) max_journal: Option<Bytes>,
    /// The most rows that a queue of a job may hold (mailbox.capacity times mailbox.batch)
    #[arg(long, value_name = "ROWS")]
    pub(in crate::cli) max_mailbox: Option<usize>,
    /// The most state that a checkpoint of a job may refer to; a job with more is stopped and has failed
    #[arg(long, value_name = "SIZE")]
    pub(in crate::cli) max_state: Option<Bytes>,
    /// Lets jobs that are submitted over HTTP name files outside their own folder
    #[arg(long)]
    pub(in crate::cli) allow_paths: bool,
}
