//! `piton run`.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::chaos::within::Within;
use crate::cli::args::RunArgs;
use crate::cli::events::EventLog;
use crate::cli::metrics::MetricsFile;
use crate::cli::progress::Live;
use crate::cli::resume::{self, Discard, open_store};
use crate::cli::summary;
use crate::cli::supervise;
use crate::cli::terminal::Terminal;
use crate::cli::traces::Spans;
use crate::clock::Clock;
use crate::config::{OnCancel, Resume};
use crate::error::{Error, ErrorKind, Result};
use crate::http::{Alone, Bound, Job, Server};
use crate::runtime::{Ended, Event, Metrics, Opener, Outcome, Progress, RunOptions, Signals, run_in};
use crate::store::{OpenOptions, SledStore};
use crate::topology::{Plan, Registry, Unmapped};

/// How long is waited for a killed process that still has the state directory.
const PATIENCE: Duration = Duration::from_secs(1);

/// Runs a job until it ends, and says how it ended.
pub(super) fn run(args: &RunArgs, registry: &Registry, terminal: &Terminal) -> Result {
    supervise::follow_supervisor();
    // Before anything else: whoever stops the job while it starts means the job, not the process.
    let caught = Signals::catch();
    let mut plan = args.plan(registry)?;
    if let Some(resume) = &args.resume {
        plan.settings.recovery.resume = Resume::from(resume.clone());
    }
    // Somebody may break this process on purpose: then it is no normal run.
    let chaos = Within::connect()?;
    if let Some(chaos) = &chaos {
        chaos.begin(&mut plan)?;
    }
    for warning in &plan.warnings {
        terminal.say(&format!("warning: {warning}"));
    }
    let signals = match caught {
        Ok(signals) => Some(signals),
        Err(error) => {
            terminal.say(&format!(
                "warning: signals cannot be caught, so Ctrl-C ends the process without a last checkpoint: {error}"
            ));
            None
        }
    };
    let clock = Clock::system();
    let log = match &args.events {
        Some(path) => Some(EventLog::open(path, clock.clone())?),
        None => None,
    };
    let log = Arc::new(Mutex::new(log));
    let started = clock.monotonic();
    let spans = Arc::new(Mutex::new(Spans::begin(&plan.settings.job.name, &clock)));
    let ended = start(args, &plan, terminal, &clock, Told { log: &log, spans: &spans }, signals, chaos);
    terminal.show(None);
    let last = last_event(&ended);
    spans.lock().on(&last);
    if let Some(log) = log.lock().as_mut() {
        log.write(&last);
    }
    match ended? {
        Ended::AlreadyFinished(outcome) => summary::already_finished(&plan, &outcome, terminal),
        Ended::Ran(outcome) => {
            let took = clock.monotonic().saturating_sub(started);
            let failures = failures(&outcome);
            if !failures.is_empty() {
                return Err(Error::new(ErrorKind::Failed, failures));
            }
            summary::ended(&plan, &outcome, took, terminal);
            if outcome.finished && args.job.job.is_none() {
                summary::try_next(&plan, &outcome, registry, terminal);
            }
        }
    }
    Ok(())
}

/// Who is told what happens, beside those that `start` makes.
struct Told<'a> {
    log: &'a Arc<Mutex<Option<EventLog>>>,
    spans: &'a Arc<Mutex<Spans>>,
}

fn start(
    args: &RunArgs,
    plan: &Plan,
    terminal: &Terminal,
    clock: &Clock,
    told: Told<'_>,
    signals: Option<Signals>,
    chaos: Option<Within>,
) -> Result<Ended> {
    let open_options =
        OpenOptions { retain: plan.settings.checkpoint.retain as usize, allow_rollback: args.allow_rollback };
    let discard = Discard { state: args.discard_state, output: args.discard_output };
    let unmapped = if args.allow_unmapped { Unmapped::Drop } else { Unmapped::Refuse };
    let (broken, of_plan) = (chaos.clone(), plan.clone());
    let open = move || match &broken {
        Some(chaos) => chaos.open_store(&of_plan.settings.store.path, open_options),
        None => open_store(&of_plan, open_options),
    };
    let is_in_use = still_in_use(&plan.settings.store.path, clock);
    let bound = match Bound::to(&plan.settings.http) {
        _ if chaos.is_some() => None,
        // Somebody else's run of this very job, which has the address, is said below.
        Err(_) if is_in_use => None,
        bound => bound?,
    };
    let (store, _claim) = resume::open(plan, &plan.settings.recovery.resume, discard, unmapped, &open)?;

    let progress = Progress::default();
    let metrics = Arc::new(Metrics::new(&plan.settings.job.name, &progress)?);
    let file = args.metrics.as_ref().map(|path| MetricsFile::begin(path, Arc::clone(&metrics))).transpose()?;
    let shown = Arc::new(Job::new(plan, Arc::clone(&metrics), &progress, clock.clone()));
    let server = bound.map(|bound| Server::start(bound, Arc::new(Alone(Arc::clone(&shown))))).transpose()?;
    if let Some(server) = &server {
        terminal.say(&format!("page, API and metrics: {}", server.url()));
    }
    let live = Live::default();
    if shows_progress(args, plan, terminal) {
        terminal.show(Some(live.bar(&plan.settings.job.name, &progress, clock.clone())));
    }
    let (log, spans) = (Arc::clone(told.log), Arc::clone(told.spans));
    let options = RunOptions {
        control: Some(plan.settings.store.path.clone()),
        signals,
        threads: None,
        shared: None,
        allow_rollback: args.allow_rollback,
        unmapped,
        clock: clock.clone(),
        listener: Box::new(move |event| {
            live.on(event);
            metrics.on(event);
            shown.on(event);
            tell(event);
            spans.lock().on(event);
            if let Some(log) = log.lock().as_mut() {
                log.write(event);
            }
        }),
        progress,
        faults: chaos.map(|chaos| Arc::new(chaos) as _),
    };
    // The first one is handed over as it is, so that nobody else gets hold of the directory in between.
    let mut first = Some(store);
    let opener: Opener = Box::new(move || match first.take() {
        Some(store) => Ok(store),
        None => open(),
    });
    let ended = run_in(plan, options, opener);
    // With what it ended with.
    drop(file);
    drop(server);
    let ended = ended?;
    if let Ended::Ran(Outcome { cancelled: true, .. }) = ended
        && plan.settings.checkpoint.on_cancel == OnCancel::Delete
    {
        SledStore::discard(&plan.settings.store.path).map_err(resume::refused)?;
        tracing::info!("the checkpoints of the cancelled job are removed");
    }
    Ok(ended)
}

/// Returns whether another process has a state directory. One that was killed may take a moment until it is gone.
#[expect(clippy::disallowed_methods, reason = "it is the system that takes its time")]
fn still_in_use(dir: &Path, clock: &Clock) -> bool {
    let began = clock.monotonic();
    while SledStore::is_in_use(dir) {
        if clock.monotonic().saturating_sub(began) > PATIENCE {
            return true;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    false
}

/// Returns whether there is room for a display: rows on the same terminal would tear it.
fn shows_progress(args: &RunArgs, plan: &Plan, terminal: &Terminal) -> bool {
    let prints = plan.nodes.iter().any(|node| node.type_name == "print");
    let tells = args.events.as_ref().is_some_and(|path| path.as_os_str() == "-");
    terminal.is_interactive() && !prints && !tells
}

/// Logs the life of the job. Failures are logged where they are found.
pub(super) fn tell(event: &Event) {
    match event {
        Event::Started { job, resumed_from, incarnation } if resumed_from.is_empty() => {
            tracing::info!(job, incarnation, "started from nothing");
        }
        Event::Started { job, resumed_from, incarnation } => {
            for (region, window) in resumed_from {
                tracing::info!(job, incarnation, region, window, "continued from the last committed window");
            }
        }
        Event::Committed { region, window, bytes, took_ms } => {
            tracing::info!(region, window, bytes, took_ms, "committed");
        }
        Event::Restarted { region, operator, scope, window, took_ms, .. } => {
            let how = match *scope {
                "batch" => "restarted: the call that failed was taken back",
                "operator" => "restarted from its newest snapshot",
                _ => "restarted from the last committed window",
            };
            tracing::info!(region, operator, scope, window, took_ms, "{how}");
        }
        _ => {}
    }
}

/// Returns the event that a run ends with.
pub(super) fn last_event(ended: &Result<Ended>) -> Event {
    let finished = |outcome: &Outcome| Event::Finished {
        window: outcome.windows.values().map(|window| window.0).max().unwrap_or(0),
        records_in: outcome.records_in,
        records_out: outcome.records_out,
    };
    match ended {
        Err(error) => Event::Failed { reason: error.lines().join("; ") },
        Ok(Ended::Ran(outcome) | Ended::AlreadyFinished(outcome)) => match failures(outcome) {
            failures if failures.is_empty() => finished(outcome),
            failures => Event::Failed { reason: failures.join("; ") },
        },
    }
}

/// Returns why a run did not end well, if it did not.
pub(super) fn failures(outcome: &Outcome) -> Vec<String> {
    let broken = outcome.broken.iter().map(|(promise, times)| {
        format!(
            "the promise \"{promise}\" was broken {times} times, as the log says where: a mistake of piton, or of the disk; \
             please report it"
        )
    });
    outcome.failures.iter().cloned().chain(broken).collect()
}
