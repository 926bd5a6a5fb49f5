//! The stock binary: the command line with the kinds that come with piton.

use std::process::ExitCode;

fn main() -> ExitCode {
    piton::cli::main(piton::Registry::stock())
}
