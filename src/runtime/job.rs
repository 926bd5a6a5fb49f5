//! One job from its start to its end: opens the state, starts the supervisor, waits.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use actix::prelude::{Actor as _, Addr};
use parking_lot::Mutex;

use crate::clock::{Clock, rng};
use crate::config::{Alignment, Limit, Mode, RecoverySettings, Settings};
use crate::error::{Error, Result};
use crate::ids::{Fence, WindowId};
use crate::protocol::coordinator::{CheckpointSettings, Members};
use crate::protocol::ladder::LadderSettings;
use crate::protocol::region::Region;
use crate::protocol::restart::RestartPolicy;
use crate::runtime::build::Common;
use crate::runtime::control::Control;
use crate::runtime::event::{Event, Listener};
use crate::runtime::faults::{Breaker, Faults};
use crate::runtime::fit::{self, Fit, Found};
use crate::runtime::kept::Opener;
use crate::runtime::outside::Outside;
use crate::runtime::progress::Progress;
use crate::runtime::schema;
use crate::runtime::shared::Shared;
use crate::runtime::signals::Signals;
use crate::runtime::storage::Storage;
use crate::runtime::supervisor::{Ask, Outcome, Stop, Supervisor, SupervisorSpec, Vanish};
use crate::runtime::threads::Threads;
use crate::runtime::time::Time;
use crate::store::{CheckpointStore, OpenOptions, SledStore, StoreError};
use crate::topology::{Plan, Unmapped};

/// How a job is run, beside what its topology file says.
pub struct RunOptions {
    /// The state directory in which a socket takes requests, such as those of `piton stop`; nothing for no socket.
    pub control: Option<PathBuf>,
    /// The signals that stop the job with a last checkpoint, if any do.
    pub signals: Option<Signals>,
    /// How many threads run subtasks; nothing for one for each core.
    pub threads: Option<usize>,
    /// The threads that it shares with other jobs of the process instead, if it does.
    pub shared: Option<Shared>,
    /// Whether to start from an older checkpoint if the newest is damaged.
    pub allow_rollback: bool,
    /// What happens to state of operators that are gone from the topology.
    pub unmapped: Unmapped,
    /// Tells the time.
    pub clock: Clock,
    /// Takes the events.
    pub listener: Listener,
    /// Shows how far the job has come.
    pub progress: Progress,
    /// Breaks the job on purpose, if somebody does.
    pub faults: Option<Arc<dyn Faults>>,
}

impl Default for RunOptions {
    fn default() -> Self {
        RunOptions {
            control: None,
            signals: None,
            threads: None,
            shared: None,
            allow_rollback: false,
            unmapped: Unmapped::Refuse,
            clock: Clock::system(),
            listener: Box::new(|_| {}),
            progress: Progress::default(),
            faults: None,
        }
    }
}

/// How a run has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It had finished before: nothing was started and nothing written.
    AlreadyFinished(Outcome),
    /// It ran.
    Ran(Outcome),
}

/// Runs a job until its input ends, it is stopped, or it gives up.
///
/// # Errors
/// Of kind `State` if the state directory was refused; of kind `Failed` if the job could not be started. A job that
/// ran and gave up is no error here: see [`Outcome::failures`].
pub fn run(plan: &Plan, options: RunOptions) -> Result<Ended> {
    let path = plan.settings.store.path.clone();
    let open_options =
        OpenOptions { retain: plan.settings.checkpoint.retain as usize, allow_rollback: options.allow_rollback };
    run_in(plan, options, Box::new(move || open(&path, open_options)))
}

/// Runs a job like [`run`], with its checkpoints in a store of the caller's; it is opened again after a failed write.
///
/// # Errors
/// As [`run`].
pub fn run_in(plan: &Plan, options: RunOptions, mut opener: Opener) -> Result<Ended> {
    let mut store = opener().map_err(refused)?;
    let Fit { regions, abandoned, losses } = fit::look(plan, store.as_mut(), options.unmapped)?;
    if !regions.is_empty() && regions.iter().all(|region| region.finished.is_some()) {
        let mut outcome = Outcome { finished: true, ..Outcome::default() };
        for region in regions {
            outcome.windows.insert(region.blueprint.name, region.head);
            let (read, written) = region.finished.unwrap_or_default();
            outcome.records_in += read;
            outcome.records_out += written;
        }
        return Ok(Ended::AlreadyFinished(outcome));
    }
    let lost = schema::check(store.as_mut(), &regions)?;
    let incarnation = store.claim_incarnation().map_err(refused)?;
    for loss in losses.iter().chain(&lost) {
        tracing::warn!("{loss}");
    }
    for manifest in &abandoned {
        fit::abandon(store.as_mut(), manifest, incarnation)?;
    }
    run_regions(plan, options, store, opener, regions, incarnation).map(Ended::Ran)
}

fn open(path: &Path, options: OpenOptions) -> Result<Box<dyn CheckpointStore>, StoreError> {
    let (store, report) = SledStore::open(path, options)?;
    for repair in &report.repairs {
        tracing::warn!("{repair}");
    }
    Ok(Box::new(store))
}

fn refused(error: StoreError) -> Error {
    Error::state(error.to_string())
}

/// Returns how failures within a subtask are treated, of so many subtasks: each may keep its share of a journal.
fn ladder(recovery: &RecoverySettings, subtasks: usize) -> LadderSettings {
    let share = recovery.journal_total.get() / subtasks.max(1) as u64;
    LadderSettings {
        scope: recovery.scope,
        poison_after: recovery.poison_after,
        on_poison: recovery.on_poison,
        journal: usize::try_from(recovery.journal.get().min(share)).unwrap_or(usize::MAX),
    }
}

fn run_regions(
    plan: &Plan,
    mut options: RunOptions,
    store: Box<dyn CheckpointStore>,
    opener: Opener,
    found: Vec<Found>,
    incarnation: u64,
) -> Result<Outcome> {
    let settings = &plan.settings;
    let fence = Fence { incarnation, attempt: 0 };
    let time = Time::new(options.clock.clone());
    let storage = Storage::start(store, opener, time.clone())?;

    let mut resumed_from = BTreeMap::new();
    let mut before = Outcome { finished: true, ..Outcome::default() };
    let mut regions = Vec::new();
    for region in found {
        let Found { blueprint, head, finished } = region;
        if head > WindowId::NONE {
            resumed_from.insert(blueprint.name.clone(), head.0);
        }
        if let Some((read, written)) = finished {
            options.progress.finish(&blueprint.name, read, written);
            before.windows.insert(blueprint.name, head);
            before.records_in += read;
            before.records_out += written;
            continue;
        }
        let members = Members {
            job: settings.job.name.clone(),
            region: blueprint.name.clone(),
            topology: blueprint.topology.encode(),
            subtasks: blueprint.subtasks(),
            sources: blueprint.sources(),
        };
        let policy = RestartPolicy::new(settings.recovery.restart());
        regions.push((Region::new(members, checkpoints(settings), policy, fence), blueprint, head));
    }
    options.progress.count_before(before.records_in, before.records_out);
    let subtasks: usize = regions.iter().map(|(_, blueprint, _)| blueprint.subtasks().len()).sum();
    // Whoever hears that the job has started may ask it for something at once, and look into its store.
    let seen = options.progress.look().begin(storage.clone());
    let (control, found) = match options.control.take() {
        Some(dir) => open_control(&dir),
        None => (None, None),
    };
    (options.listener)(&Event::Started { job: settings.job.name.clone(), resumed_from, incarnation });

    let outcome = Arc::new(Mutex::new(None));
    let system = actix::System::new();
    let threads = options.threads.unwrap_or_else(cores).max(1);
    let spec_outcome = Arc::clone(&outcome);
    let common = Common {
        key_groups: settings.job.key_groups,
        seed: settings.job.seed,
        batch_rows: settings.mailbox.batch,
        mailbox_capacity: settings.mailbox.capacity,
        aligned: settings.checkpoint.mode == Mode::ExactlyOnce,
        overtakes: aligned_timeout_ms(settings).is_some(),
        ladder: ladder(&settings.recovery, subtasks),
        stopwatch: time.stopwatch(),
    };
    let timeout = Duration::from_millis(settings.checkpoint.timeout.millis());
    let seed = settings.job.seed ^ incarnation;
    let expires_ms = settings.checkpoint.expires.map(|expires| i64::try_from(expires.millis()).unwrap_or(i64::MAX));
    let (job, signals) = (settings.job.name.clone(), options.signals);
    let shared = options.shared.take();
    let outside = match &shared {
        Some(shared) => shared.outside.clone(),
        None => Outside::start()?,
    };
    let hang_timeout = settings.recovery.hang_timeout;
    let faults = options.faults.clone();
    let supervisor = system.block_on(async move {
        let spec = SupervisorSpec {
            job,
            expires_ms,
            regions,
            common,
            storage,
            threads: match shared {
                Some(shared) => Threads::sharing(shared.lanes),
                None => Threads::start(threads)?,
            },
            outside,
            hang_timeout,
            time,
            rng: rng(seed, "restart jitter"),
            listener: options.listener,
            progress: options.progress,
            outcome: spec_outcome,
            faults: options.faults,
        };
        let supervisor = Supervisor::new(spec).start();
        if let Some(signals) = signals {
            actix_rt::spawn(stop_on_signal(signals, supervisor.clone(), timeout));
        }
        Ok(supervisor)
    });
    let supervisor = supervisor.map_err(|error: std::io::Error| {
        Error::failed(format!("the threads of the job could not be started: {error}"))
    })?;
    if let Some(faults) = faults {
        let supervisor = supervisor.downgrade();
        faults.begin(Breaker::new(move |victim| {
            // Without a supervisor there is nobody left to break.
            if let Some(supervisor) = supervisor.upgrade() {
                supervisor.do_send(Vanish(victim));
            }
        }));
    }
    if let Some(found) = found {
        // Without a control thread nobody asks.
        found.send(supervisor.clone()).ok();
    }
    let stopped = system.run();
    drop(seen);
    stopped.map_err(|error| Error::failed(format!("the engine stopped: {error}")))?;
    // actix ends an actor of which nobody has an address, even one that has just been sent a message. While a region is
    // between two attempts there are no subtasks that would have the supervisor's: it is held here.
    drop(supervisor);
    drop(control);
    let ran = outcome.lock().take();
    let mut ran: Outcome = ran.ok_or_else(|| Error::failed("the engine stopped before the job had ended"))?;
    ran.finished &= before.finished;
    ran.windows.extend(before.windows);
    ran.records_in += before.records_in;
    ran.records_out += before.records_out;
    Ok(ran)
}

/// Opens the socket of a job, and returns where to send the supervisor that answers: what is asked before waits for it.
fn open_control(dir: &Path) -> (Option<Control>, Option<Sender<Addr<Supervisor>>>) {
    let (found, supervisor) = channel::<Addr<Supervisor>>();
    let known = OnceCell::new();
    let asked = Box::new(move |request, reply| {
        if known.get().is_none() {
            // An error means that the job ends: it has answered nothing.
            let Ok(supervisor) = supervisor.recv() else { return };
            known.set(supervisor).ok();
        }
        if let Some(supervisor) = known.get() {
            supervisor.do_send(Ask { request, reply });
        }
    });
    match Control::open(dir, asked) {
        Ok(control) => (Some(control), Some(found)),
        Err(error) => {
            tracing::warn!(%error, "the job cannot be asked for savepoints, or to stop, by commands");
            (None, None)
        }
    }
}

/// Stops the job with a checkpoint at the first signal, and ends the process if that takes too long.
#[expect(clippy::disallowed_methods, reason = "the process ends by the clock of the machine, not by that of the job")]
async fn stop_on_signal(signals: Signals, supervisor: Addr<Supervisor>, timeout: Duration) {
    signals.first().await;
    tracing::info!("stopping with a last checkpoint; a second signal ends the process at once");
    supervisor.do_send(Stop);
    actix_rt::time::sleep(timeout).await;
    tracing::error!(
        "the last checkpoint did not complete within checkpoint.timeout: the next start continues from the last \
         committed window"
    );
    std::process::exit(1);
}

pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn checkpoints(settings: &Settings) -> CheckpointSettings {
    let checkpoint = &settings.checkpoint;
    CheckpointSettings {
        window_ms: settings.window_interval().millis(),
        every: settings.windows_per_checkpoint(),
        timeout_ms: checkpoint.timeout.millis(),
        min_pause_ms: checkpoint.min_pause.millis(),
        max_concurrent: checkpoint.max_concurrent as usize,
        tolerable_failures: match checkpoint.tolerable_failures {
            Limit::Unlimited => None,
            Limit::Of(count) => Some(count),
        },
        aligned_timeout_ms: aligned_timeout_ms(settings),
    }
}

/// Returns after how long checkpoints wait for the end of their window no more, if they ever do.
fn aligned_timeout_ms(settings: &Settings) -> Option<u64> {
    let checkpoint = &settings.checkpoint;
    let timeout = checkpoint.aligned_timeout.map(|timeout| timeout.millis());
    timeout.or((checkpoint.alignment == Alignment::Unaligned).then_some(0))
}
