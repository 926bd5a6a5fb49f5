//! The run under faults: lets them happen, starts the job again, and watches.
//!
//! One thread looks at everything every few milliseconds. It decides when a fault happens from the plan and from what is
//! going on; whatever it sees it only notes.

mod deaths;
mod news;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rustix::process::Signal;

use crate::chaos::disk::hold_up;
use crate::chaos::invariants::{InvariantId, Violation};
use crate::chaos::kind::FaultKind;
use crate::chaos::live::bits::Flipped;
use crate::chaos::live::events::{EventTail, Restarted, Usual};
use crate::chaos::live::hits::Hits;
use crate::chaos::live::left::{self, Over};
use crate::chaos::live::outputs::Watched;
use crate::chaos::live::peace::millis;
use crate::chaos::live::process::{Peace, Process, Runner};
use crate::chaos::live::{Request, Stage, checkpoint_timeout};
use crate::chaos::plan::{ChaosPlan, PlannedFault};
use crate::chaos::report::{self, Broken, Life};
use crate::chaos::target::Target;
use crate::chaos::wire::Order;
use crate::clock::Clock;
use crate::config::Strategy;
use crate::error::{Error, Result};
use crate::topology::Plan;

/// How long to wait between two looks.
const PAUSE: Duration = Duration::from_millis(5);
/// How often the committed files are looked at, and the memory, in ms.
const LOOK_MS: u64 = 200;
/// How long after a restart the fault that has caused it is told at the latest, in ms.
const EXPLAINED_MS: u64 = 1_000;
/// How many processes in a row may end without having committed anything.
const MOST_BARREN: u32 = 40;
/// How long nothing may be committed once faults are over and the job was well, in ms.
const STALLED_MS: u64 = 120_000;

/// What is run.
pub(super) struct Spec<'a> {
    pub(super) topology: &'a Plan,
    pub(super) runner: Runner,
    /// How the rest of the input is read, if that can be done faster.
    pub(super) rest: Option<Runner>,
    pub(super) watched: Vec<Watched>,
    /// The restarts that there are without any fault, too.
    pub(super) usual: BTreeSet<Usual>,
}

/// What has become of it.
pub(super) struct Done {
    pub(super) runner: Runner,
    pub(super) watched: Vec<Watched>,
    pub(super) hits: Hits,
    pub(super) broken: Vec<Broken>,
    pub(super) notes: Vec<String>,
    pub(super) lives: Vec<Life>,
    pub(super) checkpoints: report::Checkpoints,
    pub(super) regions: Vec<report::Region>,
    pub(super) memory: report::Memory,
    /// When it began, in ms since 1970.
    pub(super) start: i64,
    pub(super) took_ms: u64,
    pub(super) has_finished: bool,
    /// Whether somebody wanted it to end before it did.
    pub(super) was_stopped: bool,
}

/// What the run has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    /// There are faults.
    Faults,
    /// There are none any more, and the job has to be well again.
    Settling,
    /// It is stopped, to read the rest faster.
    Stopping,
    /// It reads the rest.
    Rest,
}

/// The process, and what is known of its life.
struct Alive {
    process: Process,
    from_ms: u64,
    from: i64,
    has_started: bool,
    has_committed: bool,
    /// The fault that ends it, if one was let happen that does.
    doom: Option<u32>,
    /// Until when it stands still.
    paused_until: Option<u64>,
}

/// See the module.
pub(super) struct Siege<'a> {
    spec: Spec<'a>,
    plan: ChaosPlan,
    clock: Clock,
    /// When it began: of the clock that never goes back, and in ms since 1970.
    began: Duration,
    start: i64,
    phase: Phase,
    /// The next fault that has a time.
    next: usize,
    timed: Vec<PlannedFault>,
    alive: Option<Alive>,
    tail: EventTail,
    hits: Hits,
    flipped: Option<(u32, Flipped)>,
    /// The newest window that was told as committed, by region.
    committed: BTreeMap<String, u64>,
    last_commit_ms: Option<u64>,
    commits_since_faults: u64,
    barren: u32,
    looked_ms: u64,
    /// Restarts that nothing is known to have caused: what has may be told a moment later. With when they were seen.
    unexplained: Vec<(u64, i64, Restarted)>,
    done: Done,
}

impl Done {
    /// Returns how many faults were let happen.
    pub(super) fn injected(&self) -> usize {
        self.hits.all().iter().filter(|hit| hit.struck.is_some()).count()
    }
}

impl<'a> Siege<'a> {
    pub(super) fn new(spec: Spec<'a>, request: &Request) -> Siege<'a> {
        let targets = Target::all(spec.topology);
        let hits = || Hits::new(&request.plan, &targets);
        let mut timed: Vec<PlannedFault> =
            request.plan.faults.iter().filter(|fault| fault.at.is_some()).cloned().collect();
        timed.sort_by_key(|fault| fault.at);
        let region = |region: &crate::topology::Region| report::Region {
            name: region.name.to_string(),
            hit: 0,
            restarts: 0,
            by_itself: 0,
            unexplained: 0,
        };
        let start = request.clock.now();
        let done = Done {
            runner: spec.runner.clone(),
            watched: Vec::new(),
            hits: hits(),
            broken: Vec::new(),
            notes: Vec::new(),
            lives: Vec::new(),
            checkpoints: report::Checkpoints::default(),
            regions: spec.topology.regions.iter().map(region).collect(),
            memory: report::Memory::default(),
            start,
            took_ms: 0,
            has_finished: false,
            was_stopped: false,
        };
        Siege {
            tail: EventTail::new(spec.runner.events()),
            spec,
            plan: request.plan.clone(),
            clock: request.clock.clone(),
            began: request.clock.monotonic(),
            start,
            phase: Phase::Faults,
            next: 0,
            timed,
            alive: None,
            hits: hits(),
            flipped: None,
            committed: BTreeMap::new(),
            last_commit_ms: None,
            commits_since_faults: 0,
            barren: 0,
            looked_ms: 0,
            unexplained: Vec::new(),
            done,
        }
    }

    /// Runs the job to the end of its input, or until it is clear that it does not come there.
    ///
    /// # Errors
    /// If it cannot be run or watched.
    pub(super) fn run(mut self, request: &mut Request) -> Result<Done> {
        self.begin_life()?;
        let mut shown = u64::MAX;
        loop {
            if request.is_stopped() {
                self.done.was_stopped = true;
                return self.finish();
            }
            self.hear()?;
            if self.look_due() {
                self.look()?;
            }
            self.judge_restarts(EXPLAINED_MS);
            self.advance();
            self.let_happen()?;
            if self.end_of_life()? {
                break;
            }
            let now = self.elapsed();
            if now / LOOK_MS != shown {
                shown = now / LOOK_MS;
                (request.watcher)(&self.stage());
            }
            hold_up(PAUSE);
        }
        self.hear()?;
        self.judge_restarts(0);
        self.look()?;
        self.finish()
    }

    fn elapsed(&self) -> u64 {
        millis(self.clock.monotonic().saturating_sub(self.began))
    }

    fn stage(&self) -> Stage {
        Stage::Broken {
            elapsed_ms: self.elapsed(),
            phase: match self.phase {
                Phase::Faults => "under faults",
                Phase::Settling => "settling",
                Phase::Stopping | Phase::Rest => "reading the rest",
            },
            faults: self.hits.all().iter().filter(|hit| hit.struck.is_some()).count() as u64,
            commits: self.done.checkpoints.complete,
        }
    }

    /// Starts the job; each process has to be told anew what waits at exact points.
    fn begin_life(&mut self) -> Result {
        let (runner, peace) = match (&self.spec.rest, self.phase) {
            (Some(rest), Phase::Rest) => (rest, Peace::Left),
            _ => (&self.spec.runner, Peace::Disturbed),
        };
        let mut process = runner.start(peace)?;
        if self.phase == Phase::Faults {
            for fault in self.hits.exact() {
                self.hits.injected(fault.number, self.clock.now());
                process.order(&Order::Inject(Box::new(fault)));
            }
        }
        self.alive = Some(Alive {
            process,
            from_ms: self.elapsed(),
            from: self.clock.now(),
            has_started: false,
            has_committed: false,
            doom: None,
            paused_until: None,
        });
        Ok(())
    }

    fn look_due(&self) -> bool {
        self.elapsed() >= self.looked_ms + LOOK_MS
    }

    /// Looks at the committed files and at the memory.
    fn look(&mut self) -> Result {
        let now = self.elapsed();
        self.looked_ms = now;
        let mut wrong = Vec::new();
        for watched in &mut self.spec.watched {
            wrong.extend(watched.look(now)?);
        }
        for violation in &wrong {
            self.broken(violation);
        }
        if let Some(memory) = self.alive.as_ref().and_then(|alive| alive.process.memory()) {
            self.done.memory.peak = self.done.memory.peak.max(memory);
            self.done.memory.samples.push((now, memory));
        }
        Ok(())
    }

    fn broken(&mut self, violation: &Violation) {
        let now = self.elapsed();
        Broken::note(&mut self.done.broken, violation, Some(now));
    }

    /// Goes from one phase to the next.
    fn advance(&mut self) {
        let now = self.elapsed();
        let duration = self.plan.duration.millis();
        if self.phase == Phase::Faults && now >= duration {
            self.phase = Phase::Settling;
            if let Some(alive) = &mut self.alive {
                alive.process.order(&Order::Disarm);
            }
        }
        if self.phase == Phase::Settling && now >= duration + self.plan.settle.millis() && self.commits_since_faults > 0
        {
            self.phase = Phase::Rest;
            if self.spec.rest.is_some()
                && let Some(alive) = &self.alive
            {
                self.phase = Phase::Stopping;
                alive.process.signal(Signal::TERM);
            }
        }
        if let Some(alive) = &mut self.alive
            && alive.paused_until.is_some_and(|until| now >= until)
        {
            alive.paused_until = None;
            alive.process.signal(Signal::CONT);
        }
    }

    /// Lets faults happen whose time has come.
    fn let_happen(&mut self) -> Result {
        while self.phase == Phase::Faults && self.timed.get(self.next).is_some_and(|fault| self.may_happen(fault)) {
            let fault = self.timed[self.next].clone();
            self.next += 1;
            self.inject(fault)?;
        }
        Ok(())
    }

    fn may_happen(&self, fault: &PlannedFault) -> bool {
        let chaos = &self.spec.topology.settings.chaos;
        let is_due = fault.at.is_some_and(|at| at.millis() <= self.elapsed());
        // One death at a time: the next one would hit nobody.
        let Some(alive) = self.alive.as_ref().filter(|alive| alive.doom.is_none() && is_due) else { return false };
        let going_on = self.hits.going_on(self.clock.now());
        let is_well = alive.has_started && going_on == 0;
        going_on < chaos.max_concurrent_faults as usize && (chaos.allow_during_recovery || is_well)
    }

    fn inject(&mut self, fault: PlannedFault) -> Result {
        let (now, elapsed) = (self.clock.now(), self.elapsed());
        let Some(alive) = &mut self.alive else { return Ok(()) };
        let number = fault.number;
        self.hits.injected(number, now);
        match fault.kind {
            FaultKind::ProcessKill9 if fault.point.is_none() => {
                self.hits.struck(number, None, now);
                alive.doom = Some(number);
                alive.process.signal(Signal::KILL);
            }
            FaultKind::Bitflip => {
                self.hits.struck(number, None, now);
                alive.doom = Some(number);
                alive.process.signal(Signal::KILL);
                // It lies still only once the process is gone: see the end of its life.
            }
            FaultKind::ProcessPause => {
                self.hits.struck(number, None, now);
                let lasts = fault.lasts.map_or(1_000, |lasts| lasts.millis());
                alive.paused_until = Some(alive.paused_until.unwrap_or(0).max(elapsed + lasts));
                alive.process.signal(Signal::STOP);
            }
            _ => alive.process.order(&Order::Inject(Box::new(fault))),
        }
        Ok(())
    }

    /// Returns whether the job gets nowhere any more.
    fn is_stuck(&mut self) -> bool {
        let now = self.elapsed();
        let over = self.plan.duration.millis();
        let limit = match self.phase {
            Phase::Faults => return false,
            // A checkpoint that has lost something is given up first, and a region that is to be restarted waits for as
            // long as its policy says.
            Phase::Settling if self.commits_since_faults == 0 => {
                let given_up = checkpoint_timeout(self.spec.topology).millis();
                over + self.plan.settle.millis() + given_up + self.longest_delay()
            }
            _ => self.last_commit_ms.unwrap_or(0).max(over) + STALLED_MS,
        };
        if now <= limit {
            return false;
        }
        let since = now - self.last_commit_ms.unwrap_or(0);
        self.broken(&InvariantId::Liveness.broken(format!(
            "faults are over for {} ms, but nothing was committed for {since} ms",
            now.saturating_sub(over)
        )));
        true
    }

    /// Returns how long a restart may be put off.
    fn longest_delay(&self) -> u64 {
        let recovery = &self.spec.topology.settings.recovery;
        match recovery.strategy {
            Strategy::ExponentialDelay => recovery.max_backoff.millis(),
            Strategy::FixedDelay | Strategy::FailureRate => recovery.delay.millis(),
            Strategy::None => 0,
        }
    }

    fn finish(mut self) -> Result<Done> {
        let took = self.elapsed();
        let over = Over {
            took_ms: took,
            faults: self.plan.duration,
            was_stopped: self.done.was_stopped,
            input_was_read: self.phase == Phase::Faults && self.done.has_finished,
        };
        self.done.notes.extend(left::notes(&mut self.hits, &over));
        if let Some((_, flipped)) = self.flipped.take() {
            flipped
                .forget()
                .map_err(|error| Error::failed(format!("the copy of the state cannot be removed: {error}")))?;
        }
        let over = self.plan.duration.millis();
        let settled: Vec<(u64, u64)> = self
            .done
            .memory
            .samples
            .iter()
            .copied()
            .filter(|(at, _)| *at >= over && *at <= over + self.plan.settle.millis())
            .collect();
        self.done.memory.slope = slope(&settled);
        self.done.took_ms = took;
        self.done.watched = self.spec.watched;
        self.done.hits = self.hits;
        Ok(self.done)
    }
}

/// Returns how fast something grows per second, if it was looked at often enough to say.
fn slope(samples: &[(u64, u64)]) -> Option<f64> {
    const ENOUGH: usize = 10;
    if samples.len() < ENOUGH {
        return None;
    }
    let count = samples.len() as f64;
    let mean = |of: fn(&(u64, u64)) -> u64| samples.iter().map(|sample| of(sample) as f64).sum::<f64>() / count;
    let (at, value) = (mean(|sample| sample.0), mean(|sample| sample.1));
    let (mut together, mut alone) = (0.0, 0.0);
    for sample in samples {
        together += (sample.0 as f64 - at) * (sample.1 as f64 - value);
        alone += (sample.0 as f64 - at).powi(2);
    }
    (alone > 0.0).then(|| together / alone * 1_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slope_is_per_second() {
        let samples: Vec<(u64, u64)> = (0..20).map(|at| (at * 200, 5_000 + at * 100)).collect();
        assert!((slope(&samples).unwrap() - 500.0).abs() < 1e-6);
        assert_eq!(slope(&samples[..5]), None);
    }
}
