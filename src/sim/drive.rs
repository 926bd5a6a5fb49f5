//! Carries out what subtasks and regions ask for, as the runtime does.

mod commits;

use std::collections::VecDeque;

use piton_actors::WindowId;

use crate::chaos::invariants::{InvariantId, Verdict};
use crate::protocol::asking::Asked;
use crate::protocol::chain::{Chain, ChainCall, ChainFailure};
use crate::protocol::coordinator;
use crate::protocol::failure::{Failure, FailureKind};
use crate::protocol::ladder::Rung;
use crate::protocol::region::{self, Region};
use crate::protocol::subtask;
use crate::sim::happening::{Address, Happening, call_request, call_sink, call_source, has_rows};
use crate::sim::trace::What;
use crate::sim::world::{Ended, World};

impl World<'_> {
    pub(crate) fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Boot => self.boot(),
            Happening::Start(address, event) => {
                self.note(What::Begin, address.region, address.subtask, address.fence.attempt);
                self.tell(address, *event);
            }
            Happening::ToRegion(region, event) => {
                self.note(What::ToRegion, region, 0, 0);
                self.tell_region(region, *event);
            }
            Happening::ToSubtask(address, event) => {
                self.note(What::Tell, address.region, address.subtask, 0);
                self.tell(address, *event);
            }
            Happening::Source(address, call, source) => {
                self.note(What::SourceCall, address.region, address.subtask, 0);
                let answer = call_source(&self.name_of(address), call, source);
                if has_rows(&answer) {
                    self.last_move = (self.now, self.step);
                }
                self.tell(address, answer);
            }
            Happening::Sink(address, call, sink) => {
                self.note(What::SinkCall, address.region, address.subtask, 0);
                let answer = call_sink(&self.name_of(address), call, sink);
                self.tell(address, answer);
            }
            Happening::Request(address, attempt, call) => {
                self.note(What::Request, address.region, address.subtask, attempt.id.number);
                let answer = call_request(&self.name_of(address), attempt, &call);
                self.last_move = (self.now, self.step);
                self.tell(address, answer);
            }
            Happening::Write(address, request) => {
                let written = match self.refused_writes.checked_sub(1) {
                    Some(left) => {
                        self.refused_writes = left;
                        self.last_fault = (self.now, self.step);
                        Err("a fault of the plan".into())
                    }
                    None => self.storage.write(&request),
                };
                self.note(What::Write, address.region, address.subtask, u64::from(written.is_ok()));
                if !self.storage_crashed() {
                    self.mend_storage();
                }
                if !self.storage_crashed() {
                    self.tell(address, subtask::Event::Written(request.window, written));
                }
            }
            Happening::Chunks(address, chunks) => {
                self.note(What::Load, address.region, address.subtask, 0);
                let read = self.storage.chunks(&chunks);
                if !self.storage_crashed() {
                    self.tell(address, subtask::Event::Loaded(read));
                }
            }
            Happening::Commit(region, commit, failure) => self.commit(region, *commit, failure),
            Happening::Outcome(region, fence, window, outcome) => {
                let outcome = coordinator::Event::Outcome(window, outcome);
                self.tell_region(region, region::Event::Coordinator(fence, outcome));
            }
            Happening::ReadHead { region } => self.read_head(region),
            Happening::Load { region, fence, window } => self.load(region, fence, window),
            Happening::Zombie(address, channel, element) => {
                let Some(attempt) = &mut self.regions[address.region].attempt else { return };
                let mailbox = &mut attempt.subtasks[address.subtask].mailbox;
                if attempt.fence == address.fence || (element.needs_credit() && mailbox.room(channel) == 0) {
                    return;
                }
                if mailbox.push(address.fence, channel, element).is_ok() {
                    let message = format!("an element of {} was accepted in {}", address.fence, attempt.fence);
                    self.judge(Err(InvariantId::FenceHolds.broken(message)));
                }
                self.note(What::Zombie, address.region, address.subtask, 0);
            }
        }
    }

    fn note(&mut self, what: What, region: usize, subtask: usize, which: u64) {
        self.trace.note(self.step, self.now, what, (region, subtask), which);
    }

    fn name_of(&self, address: Address) -> String {
        self.job.layouts[address.region].subtasks[address.subtask].operator.to_string()
    }

    /// Returns whether the process has ended within the last call of the storage.
    fn storage_crashed(&mut self) -> bool {
        let crashed = self.storage.has_crashed();
        if crashed {
            let power = self.storage.loses_power();
            self.crash(power);
        }
        crashed
    }

    // Subtasks.

    /// Tells a subtask, if its attempt is still running.
    fn tell(&mut self, address: Address, event: subtask::Event) {
        let attempt = self.regions[address.region].attempt.as_ref();
        if attempt.is_some_and(|attempt| attempt.fence == address.fence) {
            self.tell_subtask(address.region, address.subtask, event);
        }
    }

    pub(crate) fn tell_subtask(&mut self, region: usize, number: usize, event: subtask::Event) {
        let Some(attempt) = &mut self.regions[region].attempt else { return };
        let fence = attempt.fence;
        let running = &mut attempt.subtasks[number];
        running.busy |= matches!(event, subtask::Event::Source(..));
        running.machine.on(event, self.now);
        let id = running.machine.id().clone();
        let address = Address { region, subtask: number, fence };
        let mut commands: VecDeque<_> = running.machine.commands().collect();
        while let Some(command) = commands.pop_front() {
            let upward = match command {
                subtask::Command::Chain(call, chain) => {
                    let back = self.call_chain(region, number, call, chain);
                    let Some(attempt) = &mut self.regions[region].attempt else { return };
                    let machine = &mut attempt.subtasks[number].machine;
                    machine.on(back, self.now);
                    commands.extend(machine.commands());
                    continue;
                }
                subtask::Command::Load(chunks) => {
                    let at = self.now + self.storage_delay();
                    self.at(at, Happening::Chunks(address, chunks));
                    continue;
                }
                subtask::Command::Capture(window, closed) => {
                    let Some(attempt) = &mut self.regions[region].attempt else { return };
                    attempt.subtasks[number].mailbox.capture(window, &closed);
                    continue;
                }
                subtask::Command::Overtake(window) => {
                    let Some(attempt) = &mut self.regions[region].attempt else { return };
                    attempt.subtasks[number].mailbox.overtake(window);
                    continue;
                }
                subtask::Command::JournalFull => coordinator::Event::JournalFull,
                subtask::Command::Restarted(restart) => {
                    match restart.rung {
                        Rung::Batch => self.stats.batches += 1,
                        Rung::Operator => self.stats.operators += 1,
                    }
                    self.stats.replayed += restart.replayed;
                    continue;
                }
                subtask::Command::SetAside(_) => continue,
                subtask::Command::Ask(Asked::Make(attempt, call)) => {
                    let at = self.now + self.request_delay(attempt.number);
                    self.at(at, Happening::Request(address, attempt, call));
                    continue;
                }
                // Its answer comes too late.
                subtask::Command::Ask(Asked::Drop(_)) => continue,
                subtask::Command::Source(call, source) => {
                    let at = self.now + self.call_delay();
                    self.at(at, Happening::Source(address, call, source));
                    continue;
                }
                subtask::Command::Sink(call, sink) => {
                    let at = self.now + self.call_delay();
                    self.at(at, Happening::Sink(address, call, sink));
                    continue;
                }
                subtask::Command::Write(request) => {
                    let at = self.now + self.storage_delay();
                    self.at(at, Happening::Write(address, request));
                    continue;
                }
                subtask::Command::Unsure => coordinator::Event::Unsure,
                subtask::Command::Ready => coordinator::Event::Ready(id.clone()),
                subtask::Command::Closed(window, pace) => coordinator::Event::Closed(id.clone(), window, pace),
                subtask::Command::Ack(ack) => coordinator::Event::Ack(id.clone(), ack),
                subtask::Command::Declined(declined) => coordinator::Event::Declined(id.clone(), declined),
                subtask::Command::Told(window) => {
                    self.told(region, number, window);
                    coordinator::Event::Told(id.clone(), window)
                }
                subtask::Command::Finished => coordinator::Event::Finished(id.clone()),
                subtask::Command::Failed(failure, why) => {
                    self.escalated(region, number, why);
                    self.upward(address, region::Event::Failed(fence, Some(id.clone()), failure));
                    continue;
                }
            };
            self.upward(address, region::Event::Coordinator(fence, upward));
        }
    }

    /// Makes a call of operators, unless they are to be lost in it.
    fn call_chain(&mut self, region: usize, number: usize, call: ChainCall, chain: Box<Chain>) -> subtask::Event {
        let lost = self.losing.take_if(|losing| *losing == (region, number)).is_some();
        let seen = self.expected.history().map(|history| history.listen(&call));
        let (chain, answer) = chain.call(call);
        if lost {
            self.last_fault = (self.now, self.step);
            let failure = Failure::engine(&*self.job.layouts[region].name, "the operators were lost");
            return subtask::Event::Chain(None, Err(ChainFailure::lost(failure)));
        }
        if let (Some(history), Some(seen), Ok(answer)) = (self.expected.history(), seen, &answer) {
            history.called(region, number, seen, answer, chain.entries());
        }
        subtask::Event::Chain(Some(chain), answer)
    }

    /// A subtask could not deal with a failure alone: it says why, if that is not plain.
    fn escalated(&mut self, region: usize, number: usize, why: Option<String>) {
        let Some(why) = why else { return };
        let chain = self.job.layouts[region].chains[number];
        if why.contains("not deterministic") && !self.expected.is_fickle(region, chain) {
            self.judge(Err(InvariantId::EngineSound.broken(why)));
        }
    }

    /// A subtask has seen a window through: perhaps all sinks have.
    fn told(&mut self, region: usize, number: usize, window: WindowId) {
        let Some(attempt) = &mut self.regions[region].attempt else { return };
        attempt.subtasks[number].told = window;
        let head = self.outside.head(region);
        let mut subtasks = self.job.layouts[region].sinks.iter().zip(&attempt.subtasks);
        if subtasks.all(|(is_sink, running)| !is_sink || running.told == head) {
            let settled = self.settled(region, head);
            self.judge(settled);
            self.stats.settled += 1;
        }
    }

    /// All that the head of a region covers is visible.
    fn settled(&mut self, region: usize, head: WindowId) -> Verdict {
        self.look_at_shown()?;
        self.expected.settled(region)?;
        let (variants, under_way) = (self.variants, self.regions[region].under_way);
        self.expected.history().map_or(Ok(()), |history| history.settled(variants, region, head, under_way))
    }

    /// Sends a message of a subtask to its region.
    fn upward(&mut self, address: Address, event: region::Event) {
        let at = self.now + self.message_delay();
        let Some(attempt) = &mut self.regions[address.region].attempt else { return };
        let last = &mut attempt.upward[address.subtask];
        *last = at.max(*last);
        let at = *last;
        self.at(at, Happening::ToRegion(address.region, Box::new(event)));
    }

    /// Sends a message of a region to a subtask of its attempt.
    fn downward(&mut self, region: usize, subtask: usize, event: subtask::Event) {
        let at = self.now + self.message_delay();
        let Some(attempt) = &mut self.regions[region].attempt else { return };
        let last = &mut attempt.downward[subtask];
        *last = at.max(*last);
        let (at, address) = (*last, Address { region, subtask, fence: attempt.fence });
        self.at(at, Happening::ToSubtask(address, Box::new(event)));
    }

    // Regions.

    pub(crate) fn tell_region(&mut self, region: usize, event: region::Event) {
        let chance = self.schedule.unit();
        let Some(machine) = &mut self.regions[region].machine else { return };
        machine.on(event, self.now, chance);
        for command in machine.commands().collect::<Vec<_>>() {
            match command {
                region::Command::Coordinator(command) => self.coordinate(region, command),
                region::Command::Halt => self.halt(region),
                region::Command::ReadHead => {
                    let at = self.now + self.storage_delay();
                    self.at(at, Happening::ReadHead { region });
                }
                region::Command::Start { fence, window } => {
                    self.note(What::Start, region, 0, window.0);
                    let at = self.now + if window > WindowId::NONE { self.storage_delay() } else { 0 };
                    self.at(at, Happening::Load { region, fence, window });
                }
                region::Command::Restarting { .. } => {
                    self.stats.restarts += 1;
                    self.note(What::Restarting, region, 0, 0);
                }
                region::Command::GaveUp { failure, reason } => {
                    self.note(What::GaveUp, region, 0, 0);
                    self.gave_up(region, &failure, &reason);
                    return;
                }
            }
        }
    }

    fn coordinate(&mut self, region: usize, command: coordinator::Command) {
        let layout = &self.job.layouts[region];
        match command {
            coordinator::Command::Close(marker, behind, alignment, slowest) => {
                self.note(What::Close, region, 0, marker.window.0);
                for (number, is_source) in layout.sources.iter().enumerate() {
                    if *is_source {
                        self.downward(region, number, subtask::Event::CloseWindow(marker, behind, alignment, slowest));
                    }
                }
            }
            coordinator::Command::Overtake(window) => {
                for number in 0..layout.subtasks.len() {
                    self.downward(region, number, subtask::Event::Overtake(window));
                }
            }
            coordinator::Command::Waits(..) => {}
            coordinator::Command::Commit(commit) => {
                let (delay, failure) = self.commit_delay();
                self.at(self.now + delay, Happening::Commit(region, commit, failure));
            }
            coordinator::Command::Committed { window, .. } => {
                self.note(What::Committed, region, 0, window.0);
                let head = self.outside.head(region);
                if window > head {
                    let message = format!("window {window} is announced while the head is {head}");
                    self.judge(Err(InvariantId::CommittedIsDurable.broken(message)));
                }
                self.stats.checkpoints += 1;
                for number in 0..layout.subtasks.len() {
                    self.downward(region, number, subtask::Event::Committed(window));
                }
            }
            coordinator::Command::CheckpointFailed(window, _) => {
                self.stats.failed_checkpoints += 1;
                self.note(What::CheckpointFailed, region, 0, window.0);
            }
            coordinator::Command::Failed(failure) => {
                let message = format!("a failure of the coordinator came through its region: {failure}");
                self.judge(Err(InvariantId::EngineSound.broken(message)));
            }
            coordinator::Command::Done { window, finished } => {
                self.note(What::Done, region, 0, window.0);
                self.regions[region].attempt = None;
                self.regions[region].ended = if finished { Ended::Finished } else { Ended::Stopped };
                self.region_ended();
            }
        }
    }

    fn halt(&mut self, region: usize) {
        self.note(What::Halt, region, 0, 0);
        let Some(mut attempt) = self.regions[region].attempt.take() else { return };
        self.delay_messages(region, attempt.fence);
        for (number, running) in attempt.subtasks.iter_mut().enumerate() {
            let pending = running.machine.pending_above(WindowId::NONE);
            self.regions[region].unpublished.insert(number, pending);
            // Its last elements may still be on their way to their consumers.
            for output in 0..running.machine.output_channels() {
                let (target, channel) = attempt.targets[number][output];
                if let Some(element) = running.machine.take_output(output).filter(|_| self.schedule.percent(50)) {
                    let at = self.now + self.schedule.between(0, 60) as i64;
                    let address = Address { region, subtask: target, fence: attempt.fence };
                    self.at(at, Happening::Zombie(address, channel, element));
                }
            }
        }
    }

    fn gave_up(&mut self, region: usize, failure: &Failure, reason: &str) {
        let was_stopping = self.regions[region].machine.as_ref().is_some_and(Region::is_stopping);
        if was_stopping || (failure.kind == FailureKind::Engine && self.storage.had_trouble()) {
            // The process ends with an error, and is started again.
            return self.leave(false);
        }
        self.judge(Err(InvariantId::Liveness.broken(format!("the region gave up: {failure} ({reason})"))));
    }
}
