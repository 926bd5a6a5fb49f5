//! What a running job is asked from outside: savepoints, to stop, to be cancelled.

use std::collections::VecDeque;

use actix::prelude::{Context, Handler, Message};

use super::{Stop, Supervisor};
use crate::ids::WindowId;
use crate::protocol::coordinator;
use crate::protocol::region;
use crate::protocol::subtask::Event as SubtaskEvent;
use crate::runtime::control::{Answer, Request};
use crate::runtime::event::Event;
use crate::runtime::saving::{Saving, Step, When};
use crate::store::{Savepoint, check_savepoint_name};

/// Someone asks for something, and waits for the answer.
pub(crate) struct Ask {
    pub(crate) request: Request,
    pub(crate) reply: Reply,
}

/// Takes the answer to a request.
pub(crate) type Reply = Box<dyn FnOnce(Answer) + Send>;

/// How many savepoints may wait for the one that is being made.
const MOST_WAITING: usize = 1_000;

/// A savepoint that was asked for.
pub(super) struct Wanted {
    /// Its name; that of the newest window by the time it is its turn, if nobody gave one.
    name: Option<String>,
    when: When,
    drain: bool,
    reply: Reply,
}

/// What was asked for and is not yet done.
#[derive(Default)]
pub(super) struct Asked {
    saving: Option<Saving>,
    /// Who waits for the savepoint that is being made while the job goes on.
    waiting: Option<Reply>,
    /// Whether a savepoint is about to be begun.
    beginning: bool,
    /// Those that wait for their turn, in the order in which they were asked for.
    queue: VecDeque<Wanted>,
    /// What became of the savepoint at the stop.
    at_the_stop: Option<Result<Savepoint, String>>,
    /// Who waits for the job to have stopped, and whether with a savepoint.
    stopping: Vec<(Reply, bool)>,
    /// Whether the input is being ended.
    draining: bool,
    pub(super) cancelled: bool,
}

/// What the storage thread says about a savepoint.
pub(super) enum Saved {
    /// Whether it can be begun.
    Begin(String, Wanted, Result<(), String>),
    Added(usize, Result<(), String>),
    Sealed(Result<Savepoint, String>),
}

impl Supervisor {
    fn asked_for(&mut self, request: Request, reply: Reply, ctx: &mut Context<Supervisor>) {
        if self.outcome.lock().is_some() {
            return self.refuse(reply, "the job has ended");
        }
        match request {
            Request::Savepoint { name } => {
                self.queue(Wanted { name, when: When::Now, drain: false, reply }, ctx);
            }
            Request::Stop { savepoint: Some(name), drain } => {
                self.queue(Wanted { name: Some(name), when: When::AtTheEnd, drain, reply }, ctx);
            }
            Request::Stop { savepoint: None, drain } => self.stop(drain, (reply, false), ctx),
            Request::Cancel => {
                tracing::info!("cancelled: stopping at once, without another checkpoint");
                self.asked.cancelled = true;
                self.asked.stopping.push((reply, false));
                let steps = self.asked.saving.as_mut().map(|saving| saving.fail("the job was cancelled"));
                self.save(steps.unwrap_or_default(), ctx);
                for region in &mut self.regions {
                    region.over = true;
                    region.next = None;
                    region.halt();
                }
                self.end_if_over(ctx);
            }
            Request::Savepoints => self.storage.savepoints(move |savepoints| {
                match savepoints.and_then(|kept| kept.list_savepoints().map_err(|error| error.to_string())) {
                    Ok(savepoints) => reply(Answer::Savepoints { savepoints }),
                    Err(error) => reply(Answer::Error { error }),
                }
            }),
            Request::DropSavepoint { name } => self.storage.savepoints(move |savepoints| {
                match savepoints.and_then(|kept| kept.drop_savepoint(&name).map_err(|error| error.to_string())) {
                    Ok(was_there) => reply(Answer::Dropped { was_there }),
                    Err(error) => reply(Answer::Error { error }),
                }
            }),
        }
    }

    /// Tells why something is not done, and whether the job goes on.
    fn refuse(&self, reply: Reply, error: impl Into<String>) {
        let error = error.into();
        let is_ending = self.asked.cancelled || !self.asked.stopping.is_empty() || self.outcome.lock().is_some();
        reply(if is_ending { Answer::Ended { error } } else { Answer::Error { error } });
    }

    /// Savepoints are made one after the other: this one when it is its turn.
    fn queue(&mut self, wanted: Wanted, ctx: &mut Context<Supervisor>) {
        if let Some(Err(error)) = wanted.name.as_deref().map(check_savepoint_name) {
            return self.refuse(wanted.reply, error);
        }
        if self.asked.queue.len() >= MOST_WAITING {
            return self
                .refuse(wanted.reply, format!("{MOST_WAITING} savepoints are waiting already: try again later"));
        }
        self.asked.queue.push_back(wanted);
        self.prepare_next(ctx);
    }

    /// Takes the next one, if none is being made, and finds out whether it can be, before anything is done for it.
    fn prepare_next(&mut self, ctx: &mut Context<Supervisor>) {
        if self.asked.beginning || self.asked.saving.is_some() {
            return;
        }
        let Some(wanted) = self.asked.queue.pop_front() else { return };
        self.asked.beginning = true;
        let newest = self.regions.iter().map(|region| region.committed.0).max().unwrap_or(0);
        let name = wanted.name.clone().unwrap_or_else(|| format!("savepoint-{newest}"));
        let own = actix::prelude::AsyncContext::address(ctx);
        let why_not = if self.asked.cancelled {
            Some("the job was cancelled".to_string())
        } else if self.asked.at_the_stop.is_some() && wanted.when == When::AtTheEnd {
            Some("the job has stopped with another savepoint".to_string())
        } else {
            self.failures.first().map(|failure| format!("the job has failed: {failure}"))
        };
        if let Some(why_not) = why_not {
            own.do_send(Saved::Begin(name, wanted, Err(why_not)));
            return;
        }
        self.storage.savepoints(move |savepoints| {
            let outcome = savepoints.and_then(|kept| {
                kept.abort_savepoint(&name).map_err(|error| error.to_string())?;
                let all = kept.list_savepoints().map_err(|error| error.to_string())?;
                match all.iter().any(|savepoint| savepoint.name == name) {
                    true => {
                        Err(format!("there is a savepoint \"{name}\" already: drop it first, or take another name"))
                    }
                    false => Ok(()),
                }
            });
            own.do_send(Saved::Begin(name, wanted, outcome));
        });
    }

    fn begin_saving(&mut self, name: String, wanted: Wanted, ctx: &mut Context<Supervisor>) {
        let Wanted { when, drain, reply, .. } = wanted;
        if self.outcome.lock().is_some() {
            return self.refuse(reply, "the job has ended");
        }
        let ended = |region: &super::Held| region.over.then_some(region.committed);
        let regions: Vec<Option<WindowId>> = self.regions.iter().map(ended).collect();
        let (saving, steps) = Saving::begin(name, when, &regions);
        self.asked.saving = Some(saving);
        if when == When::Now {
            self.asked.waiting = Some(reply);
        } else {
            for index in 0..self.regions.len() {
                self.on(index, region::Event::Wait, ctx);
            }
            self.stop(drain, (reply, true), ctx);
        }
        self.save(steps, ctx);
    }

    /// Stops the job with a last checkpoint; whoever asked is answered when that is done.
    fn stop(&mut self, drain: bool, asked: (Reply, bool), ctx: &mut Context<Supervisor>) {
        self.asked.stopping.push(asked);
        if !drain {
            tracing::info!("stopping with a last checkpoint");
            actix::prelude::AsyncContext::address(ctx).do_send(Stop);
            return;
        }
        tracing::info!("ending the input");
        self.asked.draining = true;
        for index in 0..self.regions.len() {
            self.drain_region(index);
        }
    }

    fn drain_region(&self, index: usize) {
        let region = &self.regions[index];
        for (id, seat) in region.ids.iter().zip(&region.seats) {
            if region.sources.contains(id) {
                seat.letters.tell(SubtaskEvent::Drain);
            }
        }
    }

    /// Carries out what a savepoint asks for.
    fn save(&mut self, steps: Vec<Step>, ctx: &mut Context<Supervisor>) {
        for step in steps {
            let Some(name) = self.asked.saving.as_ref().map(|saving| saving.name.clone()) else { return };
            let own = actix::prelude::AsyncContext::address(ctx);
            match step {
                Step::Trigger(index) => {
                    let fence = self.regions[index].machine.fence();
                    self.on(index, region::Event::Coordinator(fence, coordinator::Event::Trigger), ctx);
                }
                Step::Add(index, window) => {
                    let region = self.regions[index].machine.name().to_string();
                    self.storage.savepoints(move |savepoints| {
                        let added = savepoints.and_then(|kept| {
                            kept.add_to_savepoint(&name, &region, window).map_err(|error| error.to_string())
                        });
                        own.do_send(Saved::Added(index, added));
                    });
                }
                Step::Seal => {
                    let (job, now) = (self.job.clone(), self.time.now());
                    self.storage.savepoints(move |savepoints| {
                        let sealed = savepoints
                            .and_then(|kept| kept.seal_savepoint(&name, &job, now).map_err(|error| error.to_string()));
                        own.do_send(Saved::Sealed(sealed));
                    });
                }
                Step::Abort(reason) => {
                    self.storage.savepoints(move |savepoints| {
                        let aborted =
                            savepoints.and_then(|kept| kept.abort_savepoint(&name).map_err(|error| error.to_string()));
                        if let Err(error) = aborted {
                            tracing::warn!(savepoint = name, error, "what there was of it goes with the next start");
                        }
                    });
                    self.saved(Err(reason), ctx);
                }
            }
        }
    }

    /// A savepoint is made, or is not to be.
    fn saved(&mut self, outcome: Result<Savepoint, String>, ctx: &mut Context<Supervisor>) {
        let Some(saving) = self.asked.saving.take() else { return };
        match &outcome {
            Ok(savepoint) => {
                tracing::info!(savepoint = savepoint.name, "savepoint made");
                let regions = savepoint.regions.iter().map(|(region, window)| (region.clone(), window.0));
                let regions: std::collections::BTreeMap<String, u64> = regions.collect();
                let window = regions.values().copied().max().unwrap_or(0);
                self.tell(&Event::Savepoint { name: savepoint.name.clone(), window, regions });
            }
            Err(error) => tracing::warn!(savepoint = saving.name, error, "the savepoint could not be made"),
        }
        match (self.asked.waiting.take(), outcome) {
            (Some(reply), Ok(savepoint)) => reply(Answer::Savepoint { savepoint }),
            (Some(reply), Err(error)) => self.refuse(reply, format!("savepoint \"{}\": {error}", saving.name)),
            (None, outcome) => self.asked.at_the_stop = Some(outcome),
        }
        self.prepare_next(ctx);
        self.end_if_over(ctx);
    }

    /// Removes what has expired.
    pub(super) fn expire(&self) {
        let Some(expires_ms) = self.expires_ms else { return };
        let before = self.time.now().saturating_sub(expires_ms);
        self.storage.savepoints(move |savepoints| {
            match savepoints.and_then(|kept| kept.expire(before).map_err(|error| error.to_string())) {
                Ok(expired) => expired.iter().for_each(|line| tracing::info!("{line}")),
                Err(error) => tracing::warn!(error, "what has expired cannot be removed"),
            }
        });
    }

    /// Has the savepoint that is being made take note of something.
    pub(super) fn note_saving(&mut self, note: impl FnOnce(&mut Saving) -> Vec<Step>, ctx: &mut Context<Supervisor>) {
        let steps = self.asked.saving.as_mut().map(note).unwrap_or_default();
        self.save(steps, ctx);
    }

    /// Every subtask of a region is open.
    pub(super) fn region_is_open(&mut self, index: usize, ctx: &mut Context<Supervisor>) {
        if self.asked.draining {
            self.drain_region(index);
        }
        self.note_saving(|saving| saving.region_is_ready(index), ctx);
    }

    /// Returns whether the end of the job has to wait for a savepoint.
    pub(super) fn is_saving(&self) -> bool {
        self.asked.saving.is_some() || self.asked.beginning || !self.asked.queue.is_empty()
    }

    /// Answers those who wait for the end of the job.
    pub(super) fn answer_stopped(&mut self, failures: &[String]) {
        let windows = self.regions.iter().map(|region| (region.machine.name().to_string(), region.committed.0));
        let windows: std::collections::BTreeMap<String, u64> = windows.collect();
        let savepoint = self.asked.at_the_stop.take();
        let how = if self.asked.cancelled { "without another" } else { "with its last" };
        for (reply, is_with_savepoint) in self.asked.stopping.drain(..) {
            let answer = match (&savepoint, failures) {
                (_, [first, ..]) => Answer::Ended { error: format!("the job has failed: {first}") },
                (Some(Err(error)), []) if is_with_savepoint => Answer::Ended {
                    error: format!("the job has stopped {how} checkpoint, and without a savepoint: {error}"),
                },
                (Some(Ok(savepoint)), []) => {
                    Answer::Stopped { windows: windows.clone(), savepoint: Some(savepoint.clone()) }
                }
                (Some(Err(_)) | None, []) => Answer::Stopped { windows: windows.clone(), savepoint: None },
            };
            reply(answer);
        }
    }
}

impl Handler<Ask> for Supervisor {
    type Result = ();

    fn handle(&mut self, ask: Ask, ctx: &mut Self::Context) {
        self.asked_for(ask.request, ask.reply, ctx);
    }
}

impl Handler<Saved> for Supervisor {
    type Result = ();

    fn handle(&mut self, saved: Saved, ctx: &mut Self::Context) {
        match saved {
            Saved::Begin(name, wanted, outcome) => {
                self.asked.beginning = false;
                match outcome {
                    Ok(()) => self.begin_saving(name, wanted, ctx),
                    Err(error) => self.refuse(wanted.reply, error),
                }
                self.prepare_next(ctx);
                self.end_if_over(ctx);
            }
            Saved::Added(region, outcome) => self.note_saving(|saving| saving.added(region, outcome), ctx),
            Saved::Sealed(outcome) => self.saved(outcome, ctx),
        }
    }
}

impl Message for Ask {
    type Result = ();
}

impl Message for Saved {
    type Result = ();
}
