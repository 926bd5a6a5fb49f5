//! The command line: what `piton` and every binary made with it understands.
//!
//! A command returns `Ok` or an [`Error`], whose kind is the exit code: 1 the job failed, 2 the configuration or the
//! command line is wrong, 3 the state directory was refused. What was asked for (tables, plans, rows) goes to stdout,
//! everything else to stderr. Nothing here decides anything about a running job.

mod args;
mod chaos;
mod checkpoints;
mod client;
pub(crate) mod deadletters;
mod diff;
mod events;
mod inspect;
mod kept;
mod list;
mod logs;
mod metrics;
mod new;
mod output;
mod owner;
mod panics;
mod progress;
mod resume;
mod rewind;
mod run;
mod savepoint;
mod serve;
mod shell;
mod signals;
mod sim;
mod state;
mod summary;
mod supervise;
mod table;
mod terminal;
mod text;
mod top;
mod traces;
mod written;

use std::process::ExitCode;

use clap::Parser as _;

use crate::cli::args::{Cli, Command};
use crate::cli::logs::LogFormat;
use crate::cli::terminal::Terminal;
use crate::cli::traces::Traces;
use crate::error::{Error, ErrorKind, Result};
use crate::topology::Registry;

/// Carries out what the process was called with, with the kinds of this registry, and returns its exit code.
///
/// A binary of one's own is this one line and what it registers before:
///
/// ```no_run
/// use std::process::ExitCode;
///
/// fn main() -> ExitCode {
///     let mut registry = piton::Registry::stock();
///     // registry.operator::<MyOperator>("mine");
///     piton::cli::main(registry)
/// }
/// ```
pub fn main(registry: Registry) -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let format = LogFormat::of(cli.log_format);
    let terminal = Terminal::new(*format.as_ref().unwrap_or(&LogFormat::Text));
    // Until everything is over, so that what is left is sent.
    let traces = cli.command.runs_jobs().then(Traces::begin);
    let layer = traces.as_ref().and_then(Traces::layer);
    let outcome = format.and_then(|_| logs::install(&terminal, cli.command.log(), layer)).and_then(|()| {
        if let Some(traces) = &traces {
            traces.tell();
        }
        panics::install();
        panics::guard(|| dispatch(cli, &registry, &terminal))
    });
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            show(&terminal, &error);
            ExitCode::from(error.kind().exit_code())
        }
    }
}

/// Carries a command out; returns the exit code.
fn dispatch(cli: Cli, registry: &Registry, terminal: &Terminal) -> Result<u8> {
    match cli.command {
        Command::New(args) => new::new(&args.dir, terminal),
        Command::Completions(args) => shell::completions(args.shell),
        Command::Man(args) => shell::manual(&args.dir),
        Command::Run(args) if args.supervise => return supervise::run(&args, registry, terminal),
        Command::Run(args) => run::run(&args, registry, terminal),
        Command::Serve(args) => serve::run(&args, registry, terminal),
        Command::Sim(args) => return sim::run(&args, registry, terminal),
        Command::Chaos(args) => return chaos::run(&args, registry, terminal),
        Command::Check(args) => inspect::check(&args, registry, terminal),
        Command::Explain(args) => inspect::explain(&args, registry, terminal),
        Command::List(args) => list::list(args.type_name.as_deref(), registry),
        Command::Savepoint(command) => savepoint::run(&command, registry, terminal),
        Command::Stop(args) => savepoint::stop(&args, registry, terminal),
        Command::Top(args) => top::run(&args, registry, terminal),
        Command::State(command) => state::run(&command, registry, terminal),
        Command::Checkpoints(command) => checkpoints::run(&command, registry, terminal),
        Command::Deadletters(command) => deadletters::run(&command, registry, terminal),
    }
    .map(|()| 0)
}

/// Shows what clap has to say: help on stdout with 0, a usage error on stderr with 2.
fn usage(error: &clap::Error) -> ExitCode {
    // Whoever reads has gone away; the exit code still says what there is to say.
    error.print().ok();
    if error.use_stderr() { ExitCode::from(ErrorKind::Config.exit_code()) } else { ExitCode::SUCCESS }
}

/// Shows an error: mistakes of a file one by one, anything else as one message.
fn show(terminal: &Terminal, error: &Error) {
    for (number, line) in error.lines().iter().enumerate() {
        let is_own = number == 0 || error.kind() == ErrorKind::Config;
        terminal.say(&if is_own { format!("error: {line}") } else { format!("  {line}") });
    }
}
