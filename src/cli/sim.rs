//! `piton sim`: a job under every fault that a seed can think of, in virtual time.

use std::fmt::Write as _;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use indicatif::{ProgressBar, ProgressStyle};

use crate::chaos::invariants::Violation;
use crate::cli::args::SimArgs;
use crate::cli::panics;
use crate::cli::signals::stop_on_signals;
use crate::cli::table::{Table, print};
use crate::cli::terminal::Terminal;
use crate::cli::text::{count, number, span};
use crate::cli::written::{can_be_written_beside, write_beside};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::sim::{Coverage, Found, Options, Outcome, Phase, Simulation, Stats};
use crate::topology::Registry;

/// How many seeds are run if nobody says: of a job that has something of everything, they usually reach everything.
const SEEDS: u64 = 1_000;

/// So many failing seeds are enough.
const ENOUGH: usize = 3;

/// Whether they are enough is asked after so many seeds each, so that it does not depend on which thread was faster.
const BLOCK: u64 = 64;

/// Simulates a job; returns the exit code.
pub(super) fn run(args: &SimArgs, registry: &Registry, terminal: &Terminal) -> Result<u8> {
    let plan = Arc::new(args.job.plan(registry)?);
    let found = args.plan.as_deref().map(Found::read).transpose()?;
    if let Some(found) = &found {
        found.fits(&plan)?;
    }
    let first = args.seed.or(plan.settings.chaos.seed).unwrap_or(0);
    // What is found after an hour has to go somewhere.
    match (&args.plan, args.shrink) {
        (None, _) => can_be_written_beside(&plan_of(first))?,
        (Some(file), true) => can_be_written_beside(file)?,
        (Some(_), false) => {}
    }
    // Panics are part of the plan, thousands of them.
    panics::silence();
    let rows = found.as_ref().map_or(args.rows, |found| found.rows);
    let simulation = Simulation::of(Arc::clone(&plan), rows)?;
    for remark in simulation.remarks() {
        terminal.say(&format!("note: {remark}"));
    }
    let stopped = Arc::new(AtomicBool::new(false));
    let job = plan.settings.job.name.clone();
    let command = Command { args, job, simulation, rows, terminal, stopped };
    if let Some(found) = found {
        return command.replay(found);
    }
    stop_on_signals(&command.stopped)?;
    let seeds = args.seeds.unwrap_or(if args.seed.is_some() { 1 } else { SEEDS });
    command.seeds(first, seeds)
}

/// Returns the name of the file that what was found with a seed goes to.
fn plan_of(seed: u64) -> PathBuf {
    PathBuf::from(format!("sim-{seed}.toml"))
}

struct Command<'a> {
    args: &'a SimArgs,
    /// The name of the job.
    job: String,
    simulation: Simulation,
    rows: u64,
    terminal: &'a Terminal,
    /// Set by a signal: no seed is begun any more.
    stopped: Arc<AtomicBool>,
}

/// What a number of seeds has come to.
#[derive(Default)]
struct Sum {
    seeds: u64,
    stats: Stats,
    coverage: Coverage,
    refused: u64,
    failing: Vec<Outcome>,
}

impl Sum {
    fn add(&mut self, other: Sum) {
        self.seeds += other.seeds;
        self.stats.add(&other.stats);
        self.coverage.add(&other.coverage);
        self.refused += other.refused;
        self.failing.extend(other.failing);
    }
}

impl Command<'_> {
    /// Runs seeds, and says what broke.
    fn seeds(&self, first: u64, seeds: u64) -> Result<u8> {
        self.terminal.say(&format!("sim: {} from {first} on", count(seeds, "seed")));
        let clock = Clock::system();
        let began = clock.monotonic();
        let mut sum = self.run_all(first, seeds);
        let took_ms = clock.monotonic().saturating_sub(began).as_millis() as u64;
        sum.failing.sort_by_key(|outcome| outcome.seed);
        sum.failing.truncate(ENOUGH);
        let failed = !sum.failing.is_empty();
        let is_cut_short = self.stopped.load(Ordering::SeqCst) && sum.seeds < seeds;
        // What a clock says is another each time, and does not belong to what a seed gives.
        let rate = sum.stats.faults * 60_000 / took_ms.max(1);
        self.terminal.say(&format!("sim took {} ({} a minute)", span(took_ms), count(rate, "fault")));
        if is_cut_short {
            self.terminal.say(&format!("stopped after {} of {}", number(sum.seeds), count(seeds, "seed")));
        }
        let mut report = summary(&sum);
        for failing in sum.failing {
            let file = plan_of(failing.seed);
            report.push_str(&self.tell(failing, Some(&file)));
        }
        let mut holes = Holes::new();
        if self.args.coverage {
            let (table, empty) = coverage_table(self.simulation.kinds(), &sum.coverage);
            write!(report, "\n{table}").ok();
            holes = empty;
        }
        print(&report)?;
        if failed {
            return Ok(ErrorKind::Failed.exit_code());
        }
        if !holes.is_empty() && !is_cut_short {
            return Err(Error::new(ErrorKind::Failed, never(&holes, seeds)));
        }
        Ok(0)
    }

    fn run_all(&self, first: u64, seeds: u64) -> Sum {
        let bar = self.terminal.is_interactive().then(|| {
            let style = ProgressStyle::with_template("sim  {pos}/{len} seeds  {wide_bar}  {eta} left");
            ProgressBar::new(seeds).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        self.terminal.show(bar.clone());
        let mut all = Sum::default();
        let mut next = 0;
        while next < seeds && all.failing.len() < ENOUGH && !self.stopped.load(Ordering::SeqCst) {
            let end = next.saturating_add(BLOCK).min(seeds);
            all.add(self.run_block(first, next..end, bar.as_ref()));
            next = end;
        }
        self.terminal.show(None);
        all
    }

    /// Runs a block of seeds on all cores, or as many of them as were begun before a signal.
    fn run_block(&self, first: u64, block: Range<u64>, bar: Option<&ProgressBar>) -> Sum {
        let next = AtomicU64::new(block.start);
        let work = || {
            let mut sum = Sum::default();
            while !self.stopped.load(Ordering::SeqCst) {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= block.end {
                    break;
                }
                let outcome = self.simulation.run(first.wrapping_add(number), &Options::default());
                sum.seeds += 1;
                sum.stats.add(&outcome.stats);
                sum.coverage.add(&outcome.coverage);
                sum.refused += u64::from(outcome.refused.is_some());
                if let Some(bar) = bar {
                    bar.inc(1);
                }
                if outcome.violation.is_some() {
                    sum.failing.push(outcome);
                }
            }
            sum
        };
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let mut all = Sum::default();
        std::thread::scope(|scope| {
            let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
            all.add(work());
            for other in others {
                all.add(other.join().expect("a panic of a run is caught in it, and is a broken promise"));
            }
        });
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
        let text = if self.args.shrink { self.tell(outcome, file.as_deref()) } else { told(&outcome, self.args.trace) };
        print(&text)?;
        Ok(ErrorKind::Failed.exit_code())
    }

    /// Cuts a failing run down, says what is left, and writes it to a file of this name or, if another has that, beside it.
    fn tell(&self, failing: Outcome, file: Option<&Path>) -> String {
        let (seed, before) = (failing.seed, failing.faults.faults.len());
        let (mut shrunk, runs) = self.simulation.shrink(failing);
        if self.args.trace {
            let options = Options { faults: Some(shrunk.faults.clone()), trace: true };
            shrunk.events = self.simulation.run(seed, &options).events;
        }
        let mut text = told(&shrunk, self.args.trace);
        let left = shrunk.faults.faults.len();
        writeln!(text, "     shrunk {} to {left} in {}", count(before as u64, "fault"), count(runs.into(), "run")).ok();
        let Some(file) = file else { return text };
        let broken = shrunk.violation.as_ref().map(Violation::to_string).unwrap_or_default();
        let plan = Found { job: Some(self.job.clone()), seed, rows: self.rows, faults: shrunk.faults }.to_toml(&broken);
        match write_beside(file, &plan) {
            Ok(file) => {
                let (job, file) = (self.args.job.file().display(), file.display());
                let set: String = self.args.job.over.set.iter().map(|set| format!(" --set {set}")).collect();
                writeln!(text, "     again: piton sim {job} --plan {file} --trace{set}").ok();
            }
            // What was found must not be lost for that.
            Err(error) => {
                self.terminal.say(&format!("cannot write \"{}\": {error}; the plan is shown instead", file.display()));
                writeln!(text, "     again: piton sim --plan FILE, with this in the file:\n{plan}").ok();
            }
        }
        text
    }
}

fn summary(sum: &Sum) -> String {
    let Stats { faults, restarts, batches, operators, crashes, checkpoints, virtual_ms, .. } = sum.stats;
    let mut text = format!(
        "sim  {} · {} · {} of calls, {} of subtasks, {} of regions, {} of the process · {} · {} of virtual time\n",
        count(sum.seeds, "seed"),
        count(faults, "fault"),
        count(batches, "restart"),
        number(operators),
        number(restarts),
        number(crashes),
        count(checkpoints, "checkpoint"),
        span(virtual_ms),
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

/// The empty cells of a table: of a kind of fault, the phases in which it never struck.
type Holes = Vec<(&'static str, Vec<&'static str>)>;

/// Returns the table, and names its empty cells.
fn coverage_table(kinds: impl Iterator<Item = &'static str>, coverage: &Coverage) -> (String, Holes) {
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
    let mut holes = Holes::new();
    for kind in kinds {
        let times = |phase: &Phase| coverage.times(kind, *phase);
        table.row(std::iter::once(kind.to_string()).chain(Phase::ALL.iter().map(|phase| number(times(phase)))));
        let never: Vec<&str> = Phase::ALL.iter().filter(|phase| times(phase) == 0).map(|phase| phase.name()).collect();
        if !never.is_empty() {
            holes.push((kind, never));
        }
    }
    (table.to_text(""), holes)
}

/// Says which cells of the table are empty, a line for each kind of fault.
fn never(holes: &Holes, seeds: u64) -> Vec<String> {
    let cells = holes.iter().map(|(_, phases)| phases.len() as u64).sum();
    let more = if seeds < SEEDS {
        format!("{} usually reach all, not {}", count(SEEDS, "seed"), number(seeds))
    } else {
        "run more seeds, unless the job has no place for it (one subtask alone aligns nothing)".to_string()
    };
    let mut lines = vec![format!("{} of the table never happened; {more}", count(cells, "cell"))];
    lines.extend(holes.iter().map(|(kind, phases)| format!("{kind} while {}", phases.join(", "))));
    lines
}
