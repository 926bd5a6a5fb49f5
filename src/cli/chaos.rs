//! `piton chaos`: breaks a real run of a job, and says what has become of it.

mod html;
mod text;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use indicatif::{ProgressBar, ProgressStyle};
use rand::Rng as _;

use crate::chaos::live::{self, Replan, Request, Stage};
use crate::chaos::report::{Report, Verdict};
use crate::chaos::{ChaosPlan, draw};
use crate::cli::args::{ChaosArgs, DEFAULT_JOB, OverrideArgs};
use crate::cli::signals::{INTERRUPTED, stop_on_signals};
use crate::cli::table::print;
use crate::cli::terminal::Terminal;
use crate::cli::text::{count, number, span};
use crate::cli::written::can_be_written;
use crate::clock::{Clock, rng};
use crate::config::{Duration, Layered, Overrides, Problems};
use crate::error::{Error, Result};
use crate::topology::{NodeKind, Plan, Registry};

/// After how many ms without faults somebody might ask whether it ever ends.
const LONG_GOLDEN_MS: u64 = 60_000;
/// Seeds that somebody may have to type are no longer than this.
const SEEDS: u64 = 1_000_000;

/// Breaks the job and prints the report; returns the exit code.
///
/// # Errors
/// As [`live::run`], and if a file cannot be read or written.
pub(super) fn run(args: &ChaosArgs, registry: &Registry, terminal: &Terminal) -> Result<u8> {
    let file = args.job.clone().unwrap_or_else(|| PathBuf::from(DEFAULT_JOB));
    let mut set = args.set.clone();
    // A plan has times of its own, which `[chaos]` has nothing to say about.
    let drawn_within = args.duration.filter(|_| args.plan.is_none());
    set.extend(drawn_within.map(|duration| format!("chaos.duration={duration}")));
    if args.duration.is_some_and(Duration::is_zero) {
        return Err(Error::config("--duration 0s: no fault can happen in no time; give some, as in `--duration 60s`"));
    }
    let form = args.report.as_deref().map(Form::of).transpose()?;
    args.report.as_deref().map(can_be_written).transpose()?;
    let topology = replan(&file, &set, registry)?;
    for warning in &topology.warnings {
        terminal.say(&format!("warning: {warning}"));
    }
    let clock = Clock::system();
    let plan = match &args.plan {
        Some(path) => {
            let mut plan = ChaosPlan::read(path)?;
            plan.check(&topology)?;
            plan.duration = args.duration.unwrap_or(plan.duration);
            plan
        }
        None => {
            let seed = args.seed.or(topology.settings.chaos.seed).unwrap_or_else(|| random_seed(&clock));
            draw(&topology, seed)?
        }
    };
    if !plan.has_time() {
        return Err(no_time(&plan, &topology, args.plan.is_some()));
    }
    say_plan(&plan, args.plan.as_deref(), terminal);

    let stopped = Arc::new(AtomicBool::new(false));
    stop_on_signals(&stopped)?;
    let request = Request {
        rates: rates(&file, &set, &topology, registry),
        replan: replanning(&file, registry),
        file,
        set: args.set.clone(),
        plan,
        clock,
        stopped: Arc::clone(&stopped),
        watcher: watcher(terminal),
    };
    let ran = live::run(request);
    terminal.show(None);
    let mut report = match ran {
        Ok(report) => report,
        Err(error) if stopped.load(Ordering::SeqCst) => {
            terminal.say(&error.to_string());
            return Ok(INTERRUPTED);
        }
        Err(error) => return Err(error),
    };
    let program = std::env::args().next().unwrap_or_else(|| "piton".to_string());
    let json = args.report.clone().filter(|_| form == Some(Form::Json));
    report.replay = live::replay(&program, &report, &args.set, json.or_else(|| args.plan.clone()));
    let written = match (&args.report, form) {
        (Some(path), Some(form)) => write_report(&report, path, form).map(|()| Some(path.as_path())),
        _ => Ok(None),
    };
    if written.is_err() {
        report.replay = live::replay(&program, &report, &args.set, args.plan.clone());
    }
    // Whatever becomes of the file, the verdict is said.
    print(&text::of(&report, written.as_ref().ok().copied().flatten()))?;
    written?;
    Ok(match report.verdict {
        Verdict::Pass => 0,
        Verdict::Fail => 1,
        Verdict::Stopped => INTERRUPTED,
    })
}

/// How a report is written to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Json,
    Html,
}

impl Form {
    fn of(path: &Path) -> Result<Form> {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("json") => Ok(Form::Json),
            Some("html" | "htm") => Ok(Form::Html),
            _ => Err(Error::config(format!("--report \"{}\": write FILE.json or FILE.html", path.display()))),
        }
    }
}

fn write_report(report: &Report, path: &Path, form: Form) -> Result {
    let content = match form {
        Form::Json => {
            let mut json =
                serde_json::to_string_pretty(report).expect("a report is numbers and texts, which JSON can hold");
            json.push('\n');
            json
        }
        Form::Html => html::of(report),
    };
    std::fs::write(path, content)
        .map_err(|error| Error::failed(format!("the report cannot be written to \"{}\": {error}", path.display())))
}

/// No fault falls within the time that there is: says why, and what to change.
fn no_time(plan: &ChaosPlan, topology: &Plan, is_given: bool) -> Error {
    let lasts = plan.duration;
    let first = plan.faults.iter().filter_map(|fault| fault.at).min();
    if is_given {
        let first = first.map(|first| format!(": the first one of the plan is due after {first}")).unwrap_or_default();
        return Error::config(format!("no fault can happen within {lasts}{first}; give a longer --duration"));
    }
    let chaos = &topology.settings.chaos;
    let (warmup, mean) = (chaos.warmup, chaos.mean_interval);
    Error::config(format!(
        "no fault falls within {lasts}: the first {warmup} are for the job to warm up (chaos.warmup), and then one comes every \
         {mean} on average (chaos.mean_interval); give a longer --duration, or a shorter warm-up, as in `--set \
         chaos.warmup=100ms`"
    ))
}

fn replan(file: &Path, set: &[String], registry: &Registry) -> Result<Plan> {
    OverrideArgs { set: set.to_vec(), state: None }.plan(file, registry)
}

/// The registry outlives what is planned with it: there is one for the whole life of the process.
fn replanning(file: &Path, registry: &Registry) -> Replan {
    let (file, registry) = (file.to_path_buf(), registry.clone());
    Box::new(move |set| replan(&file, set, &registry))
}

fn random_seed(clock: &Clock) -> u64 {
    let at = u64::try_from(clock.now()).unwrap_or_default();
    rng(at ^ (u64::from(std::process::id()) << 32), "seed of chaos").next_u64() % SEEDS
}

/// Returns the sources that can be told to take their time, and whether they are.
fn rates(file: &Path, set: &[String], topology: &Plan, registry: &Registry) -> Vec<(String, bool)> {
    // It was read a moment ago; if it has gone since, whoever needs it says so.
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let environment =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let overrides = Overrides { environment: environment.collect(), set: set.to_vec() };
    let layered = Layered::read(&text, &overrides, &["sources"], &mut Problems::default());
    let mut rates = Vec::new();
    for node in &topology.nodes {
        let NodeKind::Source(..) = node.kind else { continue };
        let Some(kind) = registry.sources().get(&node.type_name) else { continue };
        if kind.doc().options.iter().any(|option| option.name == "rate") {
            let path = format!("sources.{}.rate", node.name);
            rates.push((node.name.to_string(), layered.as_ref().is_some_and(|layered| layered.is_given(&path))));
        }
    }
    rates
}

fn say_plan(plan: &ChaosPlan, from: Option<&Path>, terminal: &Terminal) {
    let faults = count(plan.faults.len() as u64, "fault");
    match from {
        Some(path) => terminal.say(&format!("chaos: {faults} from {}, within {}", path.display(), plan.duration)),
        None => terminal.say(&format!("chaos: seed {}, {faults} within {}", plan.seed, plan.duration)),
    }
}

/// Shows how far it has come: a line that changes to somebody at a terminal, a few lines otherwise.
fn watcher(terminal: &Terminal) -> live::Watcher {
    let terminal = terminal.clone();
    let bar = terminal.is_interactive().then(|| {
        let style = ProgressStyle::with_template("{spinner} {msg}").expect("the template is right");
        let bar = ProgressBar::new_spinner().with_style(style);
        terminal.show(Some(bar.clone()));
        bar
    });
    let mut has_warned = false;
    Box::new(move |stage| {
        let show = |text: String| {
            if let Some(bar) = &bar {
                bar.set_message(text);
                bar.tick();
            }
        };
        match stage {
            Stage::Golden(ms) => {
                show(format!("without faults  {}", span(*ms)));
                if *ms >= LONG_GOLDEN_MS && !has_warned {
                    has_warned = true;
                    terminal.say(
                        "the run without faults goes on and on: a job whose input never ends cannot be compared \
                         with itself (Ctrl-C stops it)",
                    );
                }
            }
            Stage::GoldenDone { took_ms, records } => {
                terminal.say(&format!("without faults: {} in {}", count(*records, "record"), span(*took_ms)));
            }
            Stage::Broken { elapsed_ms, phase, faults, commits } => {
                let (faults, commits) = (number(*faults), number(*commits));
                show(format!("{phase}  {}  faults {faults}  checkpoints {commits}", span(*elapsed_ms)));
            }
            Stage::Comparing => show("comparing".to_string()),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_goes_by_the_name_of_its_file() {
        assert_eq!(Form::of(Path::new("x/a.json")).unwrap(), Form::Json);
        assert_eq!(Form::of(Path::new("a.html")).unwrap(), Form::Html);
        assert_eq!(Form::of(Path::new("a.txt")).unwrap_err().kind().exit_code(), 2);
    }
}
