//! The broken process's part: it takes orders from its parent on stdin and lets faults happen.
//!
//! Nothing of this is there unless an environment variable says that stdin is the socket of a parent that breaks this
//! process ([`Within::connect`]). Calls of user code fail by way of [wrappers](crate::chaos::fragile) around what makes
//! operators, sources and sinks; the runtime is broken through its [seam](crate::runtime::Faults); the store writes to
//! a disk that fails on demand.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rustix::process::{Signal, getpid, kill_process};

use crate::chaos::disk::{ChaosDisk, DiskTrouble, hold_up};
use crate::chaos::fragile::{self, Act, Hook, fragile_operator, fragile_sink, fragile_source};
use crate::chaos::kind::FaultKind;
use crate::chaos::plan::{Moment, PlannedFault};
use crate::chaos::target::{Target, point};
use crate::chaos::wire::{Order, Told, VARIABLE};
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::ids::SubtaskId;
use crate::runtime::{Breaker, Faults, Victim};
use crate::store::{CheckpointStore, FileStore, OpenOptions, SledCatalogue, StoreError};
use crate::topology::{NodeKind, Plan};

/// How much longer each call takes of an operator that is slow for a while.
const SLOW_CALL: Duration = Duration::from_millis(30);
/// How much longer one slow call takes.
const ONE_SLOW_CALL: Duration = Duration::from_secs(1);
/// How long a call hangs that is not told for how long.
const HANG: Duration = Duration::from_secs(60);

/// The broken process's part; see the module. Clones are the same.
#[derive(Clone)]
pub struct Within(Arc<Inner>);

struct Inner {
    clock: Clock,
    targets: Mutex<Vec<Target>>,
    armed: Mutex<Vec<Armed>>,
    /// How many are armed: so that asking costs nothing while none is.
    count: AtomicUsize,
    /// Whose calls are held up right now.
    held: Mutex<Vec<SubtaskId>>,
    disk: ChaosDisk,
    breaker: Mutex<Breaking>,
    parent: Arc<Mutex<UnixStream>>,
}

/// What there is to let actors vanish with.
enum Breaking {
    /// Nothing yet: these are to vanish as soon as there is.
    NotYet(Vec<Victim>),
    With(Breaker),
}

/// A fault that waits for its moment.
struct Armed {
    fault: PlannedFault,
    /// The subtasks that it can hit go by this name: its own, or that of the head of its chain.
    name: String,
    hook: Option<Hook>,
    /// How many calls of the kind pass before it happens.
    passes: u64,
    /// Until when it goes on; nothing before it has begun.
    until: Option<Duration>,
}

impl Within {
    /// Takes stdin for the socket of a parent that breaks this process, if the environment says so.
    ///
    /// # Errors
    /// If stdin is no such socket.
    pub fn connect() -> Result<Option<Within>> {
        if std::env::var_os(VARIABLE).is_none() {
            return Ok(None);
        }
        let failed = |error: io::Error| {
            Error::config(format!("{VARIABLE} is set, but stdin is not the socket of a `piton chaos`: {error}"))
        };
        let socket = io::stdin().as_fd().try_clone_to_owned().map(UnixStream::from).map_err(failed)?;
        // Anything but a socket has no peer.
        socket.peer_addr().map_err(failed)?;
        Ok(Some(Within::new(socket, Clock::system())))
    }

    fn new(parent: UnixStream, clock: Clock) -> Within {
        let parent = Arc::new(Mutex::new(parent));
        let teller = Arc::clone(&parent);
        let struck = move |fault| tell(&teller, &Told::Struck { fault, subtask: None });
        Within(Arc::new(Inner {
            disk: ChaosDisk::new(clock.clone(), struck),
            clock,
            targets: Mutex::default(),
            armed: Mutex::default(),
            count: AtomicUsize::new(0),
            held: Mutex::default(),
            breaker: Mutex::new(Breaking::NotYet(Vec::new())),
            parent,
        }))
    }

    /// Makes all operators, sources and sinks of a job fail on demand, and takes orders from now on.
    ///
    /// # Errors
    /// If the system gives no more threads.
    pub fn begin(&self, plan: &mut Plan) -> Result {
        self.prepare(plan);
        let failed = |error: io::Error| Error::failed(format!("nobody can take the orders of `piton chaos`: {error}"));
        let orders = self.0.parent.lock().try_clone().map_err(failed)?;
        let within = self.clone();
        let take = move || {
            within.take_orders(orders);
            // Nobody is left who would start this process again, or clean up behind it.
            std::process::exit(1);
        };
        std::thread::Builder::new().name("piton-chaos".into()).spawn(take).map_err(failed)?;
        Ok(())
    }

    fn prepare(&self, plan: &mut Plan) {
        *self.0.targets.lock() = Target::all(plan);
        let faults: Arc<dyn fragile::Faults> = Arc::new(self.clone());
        for node in &mut plan.nodes {
            let name = &*node.name;
            node.kind = match node.kind.clone() {
                NodeKind::Source(blueprint, time) => NodeKind::Source(fragile_source(name, blueprint, &faults), time),
                NodeKind::Operator(blueprint) => NodeKind::Operator(fragile_operator(name, blueprint, &faults)),
                NodeKind::Sink(blueprint) => NodeKind::Sink(fragile_sink(name, blueprint, &faults)),
            };
        }
    }

    /// Opens the state directory on a disk that fails on demand.
    ///
    /// # Errors
    /// As [`FileStore::open_on`].
    pub fn open_store(&self, path: &Path, options: OpenOptions) -> Result<Box<dyn CheckpointStore>, StoreError> {
        let disk = self.0.disk.clone();
        let (store, _) = FileStore::<_, SledCatalogue<ChaosDisk>>::open_on(disk, path, options)?;
        Ok(Box::new(store))
    }

    fn take_orders(&self, orders: UnixStream) {
        for line in BufReader::new(orders).lines() {
            let Ok(line) = line else { return };
            match serde_json::from_str(&line) {
                Ok(Order::Inject(fault)) => {
                    tracing::info!(fault = fault.number, kind = %fault.kind, whom = fault.whom(), "ordered");
                    self.inject(*fault);
                }
                Ok(Order::Disarm) => {
                    self.0.armed.lock().clear();
                    self.0.count.store(0, Ordering::Relaxed);
                    self.0.disk.heal();
                }
                Err(error) => tracing::error!(%error, "an order cannot be read"),
            }
        }
    }

    fn inject(&self, fault: PlannedFault) {
        let number = fault.number;
        let lasts = fault.lasts.map_or(Duration::from_secs(1), |lasts| lasts.get());
        match fault.kind {
            FaultKind::StoreEio => self.0.disk.trouble(number, DiskTrouble::Fails(fault.times.unwrap_or(1).max(1))),
            FaultKind::StoreEnospc => self.0.disk.trouble(number, DiskTrouble::Full(lasts)),
            FaultKind::StoreSlow => self.0.disk.trouble(number, DiskTrouble::Slow(lasts)),
            FaultKind::KillSupervisor => {
                self.struck(number, None);
                self.vanish(Victim::Supervisor);
            }
            _ => {
                if let Err(why) = self.arm(fault) {
                    tell(&self.0.parent, &Told::Missed { fault: number, why });
                }
            }
        }
    }

    fn arm(&self, fault: PlannedFault) -> Result<(), String> {
        let targets = self.0.targets.lock();
        let target = targets.iter().find(|target| Some(&target.name) == fault.operator.as_ref());
        let target = target.ok_or_else(|| format!("there is nobody for {} to hit", fault.kind))?;
        let hook = fault.point.as_deref().and_then(|name| point(target.role, name));
        let (number, subtask) = (fault.number, fault.subtask.unwrap_or(0));
        let name = match fault.kind {
            FaultKind::KillActor => {
                let id = SubtaskId::new(target.head.as_str(), subtask);
                self.struck(number, Some(subtask));
                self.vanish(Victim::Actor(id));
                return Ok(());
            }
            FaultKind::DropAck | FaultKind::DupCommit => target.head.clone(),
            _ if hook.is_none() => return Err(format!("{} needs a point", fault.kind)),
            _ => target.name.clone(),
        };
        drop(targets);
        let passes = fault.nth.unwrap_or(1).saturating_sub(1);
        let mut armed = self.0.armed.lock();
        armed.push(Armed { fault, name, hook, passes, until: None });
        self.0.count.store(armed.len(), Ordering::Relaxed);
        Ok(())
    }

    fn vanish(&self, victim: Victim) {
        match &mut *self.0.breaker.lock() {
            Breaking::NotYet(victims) => victims.push(victim),
            Breaking::With(breaker) => breaker.vanish(victim),
        }
    }

    fn struck(&self, fault: u32, subtask: Option<u32>) {
        tell(&self.0.parent, &Told::Struck { fault, subtask });
    }

    /// Returns the fault that hits this call, and whether it has just begun.
    fn met_by_call(&self, who: &SubtaskId, hook: Hook) -> Option<(PlannedFault, bool)> {
        if self.0.count.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let mut armed = self.0.armed.lock();
        let now = self.0.clock.monotonic();
        armed.retain(|one| one.until.is_none_or(|until| now < until));
        let mut met = None;
        for (index, one) in armed.iter_mut().enumerate() {
            let is_whom = one.name == *who.operator && one.fault.subtask.is_none_or(|index| index == who.index);
            let is_going_on = one.until.is_some();
            if !is_whom || one.hook.is_none() || !(is_going_on || one.hook == Some(hook)) {
                continue;
            }
            if one.passes > 0 {
                one.passes -= 1;
                continue;
            }
            let fault = one.fault.clone();
            let lasts = fault.lasts.filter(|_| fault.kind == FaultKind::Slow);
            if let (Some(lasts), false) = (lasts, is_going_on) {
                // Whom it has met first, it stays with.
                one.fault.subtask = Some(who.index);
                one.until = Some(now + lasts.get());
            }
            met = Some((index, fault, !is_going_on));
            break;
        }
        if let Some((index, ..)) = met
            && armed[index].until.is_none()
        {
            armed.remove(index);
        }
        self.0.count.store(armed.len(), Ordering::Relaxed);
        met.map(|(_, fault, has_begun)| (fault, has_begun))
    }

    /// Holds up a call.
    fn hold(&self, who: &SubtaskId, lasts: Duration) {
        self.0.held.lock().push(who.clone());
        hold_up(lasts);
        let mut held = self.0.held.lock();
        // The same subtask may be held up again by now, on another thread: one of the two is over.
        if let Some(over) = held.iter().position(|held| held == who) {
            held.swap_remove(over);
        }
    }

    /// Returns whether a fault of this kind hits a subtask, which goes by the head of its chain.
    fn met_by_subtask(&self, subtask: &SubtaskId, kind: FaultKind) -> bool {
        if self.0.count.load(Ordering::Relaxed) == 0 {
            return false;
        }
        let mut armed = self.0.armed.lock();
        let found = armed.iter().position(|one| {
            one.fault.kind == kind
                && one.name == *subtask.operator
                && one.fault.subtask.is_none_or(|index| index == subtask.index)
        });
        let Some(found) = found.map(|index| armed.remove(index)) else { return false };
        self.0.count.store(armed.len(), Ordering::Relaxed);
        drop(armed);
        self.struck(found.fault.number, Some(subtask.index));
        true
    }
}

impl fragile::Faults for Within {
    fn strike(&self, who: &SubtaskId, hook: Hook) -> Option<Act> {
        let (fault, has_begun) = self.met_by_call(who, hook)?;
        if has_begun {
            self.struck(fault.number, Some(who.index));
        }
        match (fault.kind, fault.moment.unwrap_or(Moment::Before)) {
            (FaultKind::Panic, Moment::Before) => Some(Act::Panic),
            (FaultKind::Panic, Moment::Midway) => Some(Act::PanicMidway),
            (FaultKind::Panic, Moment::After) => Some(Act::PanicAfter),
            (FaultKind::Fail, Moment::After) => Some(Act::FailAfter),
            (FaultKind::Fail, _) => Some(Act::Fail),
            (FaultKind::Hang, _) => {
                self.hold(who, fault.lasts.map_or(HANG, |lasts| lasts.get()));
                None
            }
            (FaultKind::Slow, _) => {
                self.hold(who, if fault.lasts.is_some() { SLOW_CALL } else { ONE_SLOW_CALL });
                None
            }
            (FaultKind::ProcessKill9, _) => {
                // It does not return from this; if the system refuses, the parent finds that nothing has happened.
                kill_process(getpid(), Signal::KILL).ok();
                None
            }
            (kind, _) => unreachable!("{kind} does not happen in a call"),
        }
    }

    fn pass_for_real(&self) -> bool {
        false
    }
}

impl Faults for Within {
    fn begin(&self, breaker: Breaker) {
        let before = std::mem::replace(&mut *self.0.breaker.lock(), Breaking::With(breaker));
        if let Breaking::NotYet(victims) = before {
            victims.into_iter().for_each(|victim| self.vanish(victim));
        }
    }

    fn loses_ack(&self, subtask: &SubtaskId) -> bool {
        self.met_by_subtask(subtask, FaultKind::DropAck)
    }

    fn repeats_committed(&self, subtask: &SubtaskId) -> bool {
        self.met_by_subtask(subtask, FaultKind::DupCommit)
    }

    fn holds_up(&self, who: &SubtaskId) -> bool {
        self.0.held.lock().contains(who)
    }
}

fn tell(parent: &Mutex<UnixStream>, told: &Told) {
    let mut line = serde_json::to_vec(told).expect("what is told is numbers and texts, which JSON can hold");
    line.push(b'\n');
    // If the parent is gone, so is this process in a moment.
    parent.lock().write_all(&line).ok();
}

#[cfg(test)]
mod tests;
