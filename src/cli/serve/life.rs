//! One life of a job among others: a thread that opens its state, runs it, and tells how it has ended.

use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use parking_lot::Mutex;

use crate::cli::events::EventLog;
use crate::cli::panics;
use crate::cli::resume::{self, Discard, open_store};
use crate::cli::run;
use crate::cli::serve::accept::Limits;
use crate::cli::serve::host::Message;
use crate::cli::serve::savepoints;
use crate::cli::traces::Spans;
use crate::clock::Clock;
use crate::config::OnCancel;
use crate::error::{Error, Result};
use crate::http::Job;
use crate::runtime::{Ended, Event, Metrics, Opener, Progress, RunOptions, Shared, run_in};
use crate::store::{OpenOptions, SledStore};
use crate::topology::{Plan, Unmapped};

/// What all lives have in common.
#[derive(Clone)]
pub(super) struct Common {
    pub(super) clock: Clock,
    pub(super) shared: Shared,
    pub(super) log: Arc<Mutex<Option<EventLog>>>,
    pub(super) limits: Limits,
    pub(super) tell: SyncSender<Message>,
}

/// How a life has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    Finished,
    Stopped,
    Canceled,
    Failed(String),
}

impl End {
    pub(super) fn status(&self) -> &'static str {
        match self {
            End::Finished => "FINISHED",
            End::Stopped => "STOPPED",
            End::Canceled => "CANCELED",
            End::Failed(_) => "FAILED",
        }
    }
}

/// Starts a life, after one of the same job if there was any; returns the job as others see it.
///
/// # Errors
/// If the system gives no more threads.
pub(super) fn start(plan: Plan, life: u64, before: Option<Arc<Job>>, common: &Common) -> Result<Arc<Job>> {
    let name = plan.settings.job.name.clone();
    let progress = Progress::default();
    let metrics = Arc::new(Metrics::new(&name, &progress)?);
    let job = Arc::new(Job::new(&plan, Arc::clone(&metrics), &progress, common.clock.clone()));
    let (shown, common) = (Arc::clone(&job), common.clone());
    let spans = Arc::new(Mutex::new(Spans::begin(&name, &common.clock)));
    let work = move || {
        // Somebody may be reading what it has left.
        before.iter().for_each(|before| before.leave());
        let ended = panics::guard(|| live(&plan, life, &common, &shown, metrics, progress, &spans));
        let last = run::last_event(&ended);
        spans.lock().on(&last);
        if let Some(log) = common.log.lock().as_mut() {
            log.write_of(&name, &last);
        }
        // An error means that the process is on its way out.
        common.tell.send(Message::Ended { job: name, life, end: end_of(&ended) }).ok();
    };
    std::thread::Builder::new()
        .name("piton-job".into())
        .spawn(work)
        .map_err(|error| Error::failed(format!("the thread of a job could not be started: {error}")))?;
    Ok(job)
}

/// Shows a job that an earlier process has ended, so that what it has left can be read.
///
/// # Errors
/// If its metrics cannot be made.
pub(super) fn over(plan: &Plan, status: &'static str, common: &Common) -> Result<Arc<Job>> {
    let progress = Progress::default();
    let metrics = Arc::new(Metrics::new(&plan.settings.job.name, &progress)?);
    let job = Job::new(plan, metrics, &progress, common.clock.clone());
    job.ended(status, None);
    Ok(Arc::new(job))
}

fn live(
    plan: &Plan,
    life: u64,
    common: &Common,
    job: &Arc<Job>,
    metrics: Arc<Metrics>,
    progress: Progress,
    spans: &Arc<Mutex<Spans>>,
) -> Result<Ended> {
    let options = OpenOptions { retain: plan.settings.checkpoint.retain as usize, allow_rollback: false };
    let of_plan = plan.clone();
    let open = move || open_store(&of_plan, options);
    let from = &plan.settings.recovery.resume;
    let (mut store, _claim) = resume::open(plan, from, Discard::default(), Unmapped::Refuse, &open)?;
    savepoints::tidy(store.as_mut());
    let mut first = Some(store);
    let opener: Opener = Box::new(move || match first.take() {
        Some(store) => Ok(store),
        None => open(),
    });
    let ended = run_in(
        plan,
        RunOptions {
            control: Some(plan.settings.store.path.clone()),
            shared: Some(common.shared.clone()),
            clock: common.clock.clone(),
            listener: listener(plan, life, common, Arc::clone(job), metrics, Arc::clone(spans)),
            progress,
            ..RunOptions::default()
        },
        opener,
    )?;
    if let Ended::Ran(outcome) = &ended
        && outcome.cancelled
        && plan.settings.checkpoint.on_cancel == OnCancel::Delete
    {
        SledStore::discard(&plan.settings.store.path).map_err(resume::refused)?;
    }
    Ok(ended)
}

fn listener(
    plan: &Plan,
    life: u64,
    common: &Common,
    job: Arc<Job>,
    metrics: Arc<Metrics>,
    spans: Arc<Mutex<Spans>>,
) -> Box<dyn FnMut(&Event) + Send> {
    let (common, name) = (common.clone(), plan.settings.job.name.clone());
    Box::new(move |event| {
        metrics.on(event);
        job.on(event);
        spans.lock().on(event);
        if let Some(log) = common.log.lock().as_mut() {
            log.write_of(&name, event);
        }
        // Whoever listens is gone when the process is on its way out.
        match event {
            Event::Started { .. } => common.tell.send(Message::Started { job: name.clone(), life }).unwrap_or(()),
            Event::Committed { bytes, .. } => {
                if let Some(reason) = common.limits.outgrown_by(*bytes) {
                    common.tell.send(Message::Outgrown { job: name.clone(), life, reason }).unwrap_or(());
                }
            }
            Event::Restarting { region, reason } => tracing::warn!(job = name, region, "restarts: {reason}"),
            _ => {}
        }
    })
}

fn end_of(ended: &Result<Ended>) -> End {
    match ended {
        Err(error) => End::Failed(error.lines().join("; ")),
        Ok(Ended::AlreadyFinished(_)) => End::Finished,
        Ok(Ended::Ran(outcome)) => match run::failures(outcome) {
            failures if !failures.is_empty() => End::Failed(failures.join("; ")),
            _ if outcome.cancelled => End::Canceled,
            _ if outcome.finished => End::Finished,
            _ => End::Stopped,
        },
    }
}
