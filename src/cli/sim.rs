//! `piton sim`: a job under every fault that a seed can think of, in virtual time.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use indicatif::{ProgressBar, ProgressStyle};

use crate::chaos::invariants::Violation;
use crate::cli::args::SimArgs;
use crate::cli::panics;
use crate::cli::table::{Table, print};
use crate::cli::terminal::Terminal;
use crate::cli::text::{count, number, span};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::sim::{Coverage, Found, Options, Outcome, Phase, Simulation, Stats};
use crate::topology::Registry;

/// How many seeds are run if nobody says.
const SEEDS: u64 = 1_000;

/// So many failing seeds are enough.
const ENOUGH: usize = 3;

/// Simulates a job; returns the exit code.
pub(super) fn run(args: &SimArgs, registry: &Registry, terminal: &Terminal) -> Result<u8> {
    let plan = Arc::new(args.job.plan(registry)?);
    let found = args.plan.as_deref().map(Found::read).transpose()?;
    if let Some(found) = &found {
        found.fits(&plan)?;
    }
    // Panics are part of the plan, thousands of them.
    panics::silence();
    let rows = found.as_ref().map_or(args.rows, |found| found.rows);
    let simulation = Simulation::of(Arc::clone(&plan), rows)?;
    for remark in simulation.remarks() {
        terminal.say(&format!("note: {remark}"));
    }
    let command = Command { args, simulation, rows, terminal };
    if let Some(found) = found {
        return command.replay(found);
    }
    let first = args.seed.or(plan.settings.chaos.seed).unwrap_or(0);
    let seeds = args.seeds.unwrap_or(if args.seed.is_some() { 1 } else { SEEDS });
    command.seeds(first, seeds)
}

struct Command<'a> {
    args: &'a SimArgs,
    simulation: Simulation,
    rows: u64,
    terminal: &'a Terminal,
}

/// What a number of seeds has come to.
#[derive(Default)]
struct Sum {
    stats: Stats,
    coverage: Coverage,
    refused: u64,
    failing: Vec<Outcome>,
}

impl Command<'_> {
    /// Runs seeds, and says what broke.
    fn seeds(&self, first: u64, seeds: u64) -> Result<u8> {
        let clock = Clock::system();
        let began = clock.monotonic();
        let mut sum = self.run_all(first, seeds);
        let took = clock.monotonic().saturating_sub(began);
        sum.failing.sort_by_key(|outcome| outcome.seed);
        sum.failing.truncate(ENOUGH);
        let failed = !sum.failing.is_empty();
        let mut report = summary(seeds, &sum, took.as_millis() as u64);
        for failing in sum.failing {
            let file = PathBuf::from(format!("sim-{}.toml", failing.seed));
            report.push_str(&self.tell(failing, Some(&file))?);
        }
        let mut holes = Vec::new();
        if self.args.coverage {
            report.push('\n');
            report.push_str(&coverage_table(self.simulation.kinds(), &sum.coverage, &mut holes));
        }
        print(&report)?;
        if failed {
            return Ok(ErrorKind::Failed.exit_code());
        }
        if !holes.is_empty() {
            let message = format!(
                "{} of the table never happened ({}): run more seeds",
                count(holes.len() as u64, "cell"),
                holes.join(", ")
            );
            return Err(Error::failed(message));
        }
        Ok(0)
    }

    fn run_all(&self, first: u64, seeds: u64) -> Sum {
        let next = AtomicU64::new(0);
        let failing = AtomicU64::new(0);
        let bar = self.terminal.is_interactive().then(|| {
            let style = ProgressStyle::with_template("sim  {pos}/{len} seeds  {wide_bar}  {eta} left");
            ProgressBar::new(seeds).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        self.terminal.show(bar.clone());
        let work = || {
            let mut sum = Sum::default();
            while failing.load(Ordering::Relaxed) < ENOUGH as u64 {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= seeds {
                    break;
                }
                let outcome = self.simulation.run(first.wrapping_add(number), &Options::default());
                sum.stats.add(&outcome.stats);
                sum.coverage.add(&outcome.coverage);
                sum.refused += u64::from(outcome.refused.is_some());
                if let Some(bar) = &bar {
                    bar.inc(1);
                }
                if outcome.violation.is_some() {
                    failing.fetch_add(1, Ordering::Relaxed);
                    sum.failing.push(outcome);
                }
            }
            sum
        };
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let sums: Vec<Sum> = std::thread::scope(|scope| {
            let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
            let own = work();
            let others = others.into_iter().map(|other| other.join().unwrap_or_default());
            std::iter::once(own).chain(others).collect()
        });
        self.terminal.show(None);
        let mut all = Sum::default();
        for sum in sums {
            all.stats.add(&sum.stats);
            all.coverage.add(&sum.coverage);
            all.refused += sum.refused;
            all.failing.extend(sum.failing);
        }
        all
    }

    /// Plays a run of a file again.
    fn replay(&self, found: Found) -> Result<u8> {
        let options = Options { faults: Some(found.faults.clone()), trace: self.args.trace };
        let outcome = self.simulation.run(found.seed, &options);
        if let Some(refused) = &outcome.refused {
            self.terminal
                .say(&format!("note: the store refused to go on, as it may when too much is damaged: {refused}"));
        }
        if outcome.violation.is_none() {
            let faults = count(found.faults.faults.len() as u64, "fault");
            print(&format!("ok   seed {}, {faults}: no promise is broken\n", found.seed))?;
            return Ok(0);
        }
        let file = self.args.shrink.then(|| self.args.plan.clone()).flatten();
        let text =
            if self.args.shrink { self.tell(outcome, file.as_deref())? } else { told(&outcome, self.args.trace) };
        print(&text)?;
        Ok(ErrorKind::Failed.exit_code())
    }

    /// Cuts a failing run down, says what is left, and writes it to a file.
    fn tell(&self, failing: Outcome, file: Option<&Path>) -> Result<String> {
        let (seed, before) = (failing.seed, failing.faults.faults.len());
        let (mut shrunk, runs) = self.simulation.shrink(failing);
        if self.args.trace {
            let options = Options { faults: Some(shrunk.faults.clone()), trace: true };
            shrunk.events = self.simulation.run(seed, &options).events;
        }
        let mut text = told(&shrunk, self.args.trace);
        let left = shrunk.faults.faults.len();
        writeln!(text, "     shrunk {} to {left} in {}", count(before as u64, "fault"), count(runs.into(), "run")).ok();
        let Some(file) = file else { return Ok(text) };
        let broken = shrunk.violation.as_ref().map(Violation::to_string).unwrap_or_default();
        let found = Found { seed, rows: self.rows, faults: shrunk.faults };
        std::fs::write(file, found.to_toml(&broken))
            .map_err(|error| Error::failed(format!("cannot write \"{}\": {error}", file.display())))?;
        let (job, file) = (self.args.job.file().display(), file.display());
        let set: String = self.args.job.over.set.iter().map(|set| format!(" --set {set}")).collect();
        writeln!(text, "     again: piton sim {job} --plan {file} --trace{set}").ok();
        Ok(text)
    }
}

fn summary(seeds: u64, sum: &Sum, took_ms: u64) -> String {
    let Stats { faults, restarts, batches, operators, crashes, checkpoints, virtual_ms, .. } = sum.stats;
    let rate = faults * 60_000 / took_ms.max(1);
    let mut text = format!(
        "sim  {} · {} ({} a minute) · {} of calls, {} of subtasks, {} of regions, {} of the process · {} · {} of \
         virtual time in {}\n",
        count(seeds, "seed"),
        count(faults, "fault"),
        number(rate),
        count(batches, "restart"),
        number(operators),
        number(restarts),
        number(crashes),
        count(checkpoints, "checkpoint"),
        span(virtual_ms),
        span(took_ms)
    );
    if sum.refused > 0 {
        let seeds = count(sum.refused, "seed");
        writeln!(
            text,
            "     {seeds} ended with a store that refused to go on, with more damaged than it keeps copies of"
        )
        .ok();
    }
    if sum.failing.is_empty() {
        text.push_str("PASS no promise was broken\n");
    }
    text
}

fn told(failing: &Outcome, everything: bool) -> String {
    let broken = failing.violation.as_ref().map(Violation::to_string).unwrap_or_default();
    let mut text = format!("FAIL seed {}: {broken}\n", failing.seed);
    for planned in &failing.faults.faults {
        writeln!(text, "     at step {}: {}", number(planned.step), planned.fault).ok();
    }
    if failing.faults.faults.is_empty() {
        text.push_str("     without any fault\n");
    }
    let skipped = if everything { 0 } else { failing.events.len().saturating_sub(12) };
    let what = if everything { "events:" } else { "last events:" };
    writeln!(text, "     {what}").ok();
    for event in &failing.events[skipped..] {
        writeln!(text, "       {event}").ok();
    }
    text
}

/// Returns the table, and names its empty cells.
fn coverage_table(kinds: impl Iterator<Item = &'static str>, coverage: &Coverage, holes: &mut Vec<String>) -> String {
    let mut table = Table::new(&[
        "FAULT",
        ">FLOWING",
        ">ALIGNING",
        ">WRITING",
        ">COMMITTING",
        ">PUBLISHING",
        ">RESTORING",
        ">REPLAYING",
    ]);
    for kind in kinds {
        let mut cells = vec![kind.to_string()];
        for phase in Phase::ALL {
            let times = coverage.times(kind, *phase);
            cells.push(number(times));
            if times == 0 {
                holes.push(format!("{kind} while {}", phase.name()));
            }
        }
        table.row(cells);
    }
    table.to_text("")
}
