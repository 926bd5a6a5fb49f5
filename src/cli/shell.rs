//! `piton completions` and `piton man`: what shells and `man` want to know, from what is written for `--help`.

use std::fs;
use std::path::Path;

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::cli::args::Cli;
use crate::cli::table::print;
use crate::error::{Error, Result};

/// Writes completions to stdout, for the name that this program has: it may be a binary of somebody's own.
///
/// # Errors
/// Of kind `Failed` if they cannot be written.
pub(super) fn completions(shell: Shell) -> Result {
    let own = std::env::current_exe().ok();
    let name = own.as_deref().and_then(Path::file_stem).and_then(|name| name.to_str()).unwrap_or("piton");
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), name, &mut script);
    print(&String::from_utf8_lossy(&script))
}

/// Writes the manual pages.
///
/// # Errors
/// Of kind `Config` if they cannot be written into the folder.
pub(super) fn manual(dir: &Path) -> Result {
    let made = fs::create_dir_all(dir).and_then(|()| clap_mangen::generate_to(Cli::command(), dir));
    made.map_err(|error| Error::config(format!("manual pages cannot be written into \"{}\": {error}", dir.display())))
}
