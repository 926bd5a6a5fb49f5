//! What can be written behind `piton top`.

use std::path::Path;

use clap::Args;

use crate::cli::args::JobArgs;

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  piton top job.toml\n  piton top http://127.0.0.1:8080                 the URL that `piton run --http` says\n  piton top job.toml --once > now.txt"
)]
pub(in crate::cli) struct TopArgs {
    #[command(flatten)]
    pub(in crate::cli) job: JobArgs,
    /// Shows it once, and no more; so it does where nobody sits at a terminal
    #[arg(long)]
    pub(in crate::cli) once: bool,
}

impl TopArgs {
    /// Returns the URL that is given in place of a topology file.
    pub(in crate::cli) fn url(&self) -> Option<&str> {
        self.job.job.as_deref().and_then(Path::to_str).filter(|text| text.contains("://"))
    }
}
