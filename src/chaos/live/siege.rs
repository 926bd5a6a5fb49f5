//! The run under faults: lets them happen, starts the job again, and watches.
//!
//! One thread looks at everything every few milliseconds. It decides when a fault happens from the plan and from what is
//! going on; whatever it sees it only notes.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::time::Duration;

use rustix::process::Signal;

use crate::chaos::disk::hold_up;
use crate::chaos::invariants::{InvariantId, Violation};
use crate::chaos::kind::FaultKind;
use crate::chaos::live::bits::Flipped;
use crate::chaos::live::events::{EventTail, Seen, What};
use crate::chaos::live::hits::Hits;
use crate::chaos::live::outputs::Watched;
use crate::chaos::live::peace::millis;
use crate::chaos::live::process::{Peace, Process, Runner};
use crate::chaos::live::{Request, Stage, is_stopped};
use crate::chaos::plan::{ChaosPlan, PlannedFault};
use crate::chaos::report::{self, Broken, Life};
use crate::chaos::target::Target;
use crate::chaos::wire::{Order, Told};
use crate::clock::Clock;
use crate::config::{Scope, Strategy};
use crate::error::{Error, Result};
use crate::topology::Plan;

/// How long to wait between two looks.
const PAUSE: Duration = Duration::from_millis(5);
/// How often the committed files are looked at, and the memory, in ms.
const LOOK_MS: u64 = 200;
/// How many broken promises are told: more of them say no more.
const MOST_BROKEN: usize = 20;
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
            done,
        }
    }

    /// Runs the job to the end of its input, or until it is clear that it does not come there.
    ///
    /// # Errors
    /// If it cannot be run or watched, or it was stopped.
    pub(super) fn run(mut self, request: &mut Request) -> Result<Done> {
        self.begin_life()?;
        let mut shown = u64::MAX;
        loop {
            is_stopped(request)?;
            self.hear()?;
            if self.look_due() {
                self.look()?;
            }
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

    /// Hears what the job and its process have to tell.
    fn hear(&mut self) -> Result {
        while let Some(told) = self.alive.as_ref().and_then(|alive| alive.process.told()) {
            self.told(told);
        }
        for event in self.tail.next()? {
            self.happened(event);
        }
        Ok(())
    }

    fn told(&mut self, told: Told) {
        match told {
            Told::Struck { fault, subtask } => {
                self.hits.struck(fault, subtask, self.clock.now());
                let hit = self.hits.all().iter().find(|hit| hit.fault.number == fault);
                let Some(hit) = hit else { return };
                if let Some(region) = hit.region.clone()
                    && let Some(region) = self.done.regions.iter_mut().find(|known| known.name == region)
                {
                    region.hit += 1;
                }
                if hit.fault.kind.is_deadly()
                    && let Some(alive) = &mut self.alive
                {
                    alive.doom = Some(fault);
                }
            }
            Told::Missed { fault, why } => self.hits.missed(fault, why),
        }
    }

    fn happened(&mut self, event: Seen) {
        let now = self.elapsed();
        match event.what {
            What::Started { resumed_from } => {
                if let Some(alive) = &mut self.alive {
                    alive.has_started = true;
                }
                for (region, window) in resumed_from {
                    let before = self.committed.insert(region.clone(), window).unwrap_or(0);
                    if window < before {
                        self.done.checkpoints.lost += 1;
                        self.broken(&InvariantId::HeadNeverBack.broken(format!(
                            "region \"{region}\" goes on from window {window}, but window {before} was committed"
                        )));
                    }
                }
            }
            What::CheckpointStarted { region, window } => self.hits.checkpoint_started(region, window, event.at),
            What::Committed { region, window } => {
                let before = self.committed.insert(region.clone(), window).unwrap_or(0);
                if window <= before {
                    self.done.checkpoints.lost += 1;
                    self.broken(
                        &InvariantId::CommittedIncreases.broken(format!(
                            "region \"{region}\": window {window} was committed after window {before}"
                        )),
                    );
                }
                self.hits.committed(&region, window, event.at);
                let gap = now - self.last_commit_ms.unwrap_or(0);
                let checkpoints = &mut self.done.checkpoints;
                checkpoints.longest_gap_ms = checkpoints.longest_gap_ms.max(gap);
                checkpoints.complete += 1;
                checkpoints.at_ms.push(u64::try_from(event.at - self.start).unwrap_or(0));
                self.last_commit_ms = Some(now);
                self.commits_since_faults += u64::from(self.phase > Phase::Faults);
                self.barren = 0;
                if let Some(alive) = &mut self.alive {
                    alive.has_committed = true;
                }
            }
            What::CheckpointFailed { reason } => {
                self.done.checkpoints.failed += 1;
                if reason.contains("timeout") || reason.contains("expired") {
                    tracing::debug!(reason, "a checkpoint has expired");
                }
            }
            What::Restarted(restarted) => {
                let is_explained = self.hits.restarted(&restarted, event.at);
                let follows = self.spec.topology.settings.recovery.scope == Scope::Job;
                if let Some(region) = self.done.regions.iter_mut().find(|region| region.name == restarted.region) {
                    region.restarts += 1;
                    region.unexplained += u64::from(!is_explained && !follows);
                }
                if !is_explained && !follows {
                    self.broken(&InvariantId::RegionsApart.broken(format!(
                        "region \"{}\" was restarted, and nothing had hit it: {}",
                        restarted.region, restarted.reason
                    )));
                }
            }
            What::Hung { operator, subtask } => tracing::debug!(operator, subtask, "hung"),
            What::Failed { reason } => tracing::debug!(reason, "the job has given up"),
            What::Finished { .. } | What::Other => {}
        }
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
            wrong.extend(watched.look()?);
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
        if self.done.broken.len() < MOST_BROKEN {
            self.done.broken.push(Broken {
                invariant: violation.invariant.name(),
                message: violation.message.clone(),
                at_ms: Some(self.elapsed()),
            });
        }
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

    /// Looks whether the process has ended, and starts the next; returns whether the run is over.
    fn end_of_life(&mut self) -> Result<bool> {
        let Some(status) = self.alive.as_mut().map(|alive| alive.process.ended()).transpose()?.flatten() else {
            return Ok(self.is_stuck());
        };
        // What it has told before it ended counts.
        self.hear()?;
        let Some(alive) = self.alive.take() else { return Ok(true) };
        let had_fault = self.hits.process_ended(alive.from);
        let (to_ms, ended) = (self.elapsed(), self.how_it_ended(&alive, status));
        self.done.lives.push(Life { from_ms: alive.from_ms, to_ms, ended });
        if status.success() {
            if self.phase == Phase::Stopping {
                self.phase = Phase::Rest;
                self.begin_life()?;
                return Ok(false);
            }
            self.done.has_finished = true;
            self.hits.finished(self.clock.now());
            return Ok(true);
        }
        self.barren = if alive.has_committed { 0 } else { self.barren + 1 };
        if !self.is_explained(&alive, status, had_fault)? {
            return Ok(true);
        }
        let is_flip =
            |number: &u32| self.timed.iter().any(|fault| fault.number == *number && fault.kind == FaultKind::Bitflip);
        if let Some(number) = alive.doom.filter(is_flip) {
            self.flip(number)?;
        }
        if self.phase == Phase::Stopping {
            let words = self.spec.runner.last_words();
            self.done.notes.push(format!("the job was not stopped with a last checkpoint to read the rest: {words}"));
            self.phase = Phase::Rest;
        }
        self.begin_life()?;
        Ok(false)
    }

    fn how_it_ended(&self, alive: &Alive, status: ExitStatus) -> String {
        let doom = alive.doom.map(|number| format!("fault {number}"));
        match (status.code(), status.signal(), doom) {
            (Some(0), _, _) if self.phase == Phase::Stopping => "stopped, to read the rest faster".into(),
            (Some(0), _, _) => "finished".into(),
            (_, _, Some(doom)) => doom,
            (Some(code), _, None) => format!("exit code {code}: {}", self.spec.runner.last_words()),
            (None, Some(signal), None) => format!("signal {signal}"),
            (None, None, None) => "ended".into(),
        }
    }

    /// Returns whether the end of a process can be put down to a fault; notes what is broken if not.
    fn is_explained(&mut self, alive: &Alive, status: ExitStatus, had_fault: bool) -> Result<bool> {
        const REFUSED: i32 = 3;
        let words = self.spec.runner.last_words();
        if status.code() == Some(REFUSED) && !alive.has_started {
            if let Some((number, flipped)) = self.flipped.take() {
                self.hits
                    .remark(number, format!("{}: the start was refused ({words}), and it was put back", flipped.what));
                flipped.put_back().map_err(|error| Error::failed(format!("the state cannot be put back: {error}")))?;
                return Ok(true);
            }
            if !had_fault {
                self.broken(
                    &InvariantId::CheckpointRestorable.broken(format!("the state directory was refused: {words}")),
                );
                return Ok(false);
            }
        }
        if alive.doom.is_none() && !had_fault {
            let message = format!("the process ended by itself, and no fault had hit it ({status}): {words}");
            self.broken(&InvariantId::EngineSound.broken(message));
            return Ok(false);
        }
        if alive.doom.is_none() {
            self.done.notes.push(format!("a process ended by itself after a fault and was started again: {words}"));
        }
        if self.barren > MOST_BARREN {
            let message =
                format!("{MOST_BARREN} processes in a row have committed nothing; the last one said: {words}");
            self.broken(&InvariantId::Liveness.broken(message));
            return Ok(false);
        }
        Ok(true)
    }

    fn flip(&mut self, number: u32) -> Result {
        if let Some((_, earlier)) = self.flipped.take() {
            earlier
                .forget()
                .map_err(|error| Error::failed(format!("the copy of the state cannot be removed: {error}")))?;
        }
        match Flipped::flip(&self.spec.runner.state(), self.plan.seed, number) {
            Ok(flipped) => {
                self.hits.remark(number, format!("{}: the job went on", flipped.what));
                self.flipped = Some((number, flipped));
            }
            Err(error) => self.hits.remark(number, format!("no bit could be flipped: {error}")),
        }
        Ok(())
    }

    /// Returns whether the job gets nowhere any more.
    fn is_stuck(&mut self) -> bool {
        let now = self.elapsed();
        let over = self.plan.duration.millis();
        let limit = match self.phase {
            Phase::Faults => return false,
            // A region that is to be restarted waits for as long as its policy says.
            Phase::Settling if self.commits_since_faults == 0 => {
                over + self.plan.settle.millis() + self.longest_delay()
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
        let left = self.plan.faults.iter().filter(|fault| {
            self.hits.all().iter().any(|hit| hit.fault.number == fault.number && hit.injected.is_none())
        });
        let left = left.count();
        let took = self.elapsed();
        if self.phase == Phase::Faults && self.done.has_finished && left > 0 {
            self.done.notes.push(format!(
                "the input was read after {took} ms, before faults were over: {left} of {} did not happen; give it more \
                 rows, or a lower rate",
                self.plan.faults.len()
            ));
        } else if left > 0 {
            self.done.notes.push(format!(
                "{left} of {} faults did not happen: others were going on (chaos.max_concurrent_faults)",
                self.plan.faults.len()
            ));
        }
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
