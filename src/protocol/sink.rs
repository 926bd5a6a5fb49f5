//! The sink at the end of a subtask: its calls one after the other, and its half of the two-phase commit.
//!
//! `prepare(w)` gives a pending output, which is listed in every snapshot from that of *w* on until its commit has
//! been seen through: a crash between the commit of the checkpoint and the publishing of the output loses nothing.
//! A checkpoint that is aborted does not abort the pending output: it stays listed and becomes visible with the next.
//! Only a rollback below its window throws it away.

use std::collections::VecDeque;

use piton_actors::host::{AnySink, SinkCall};
use piton_actors::{Batch, Delivery, Error, ErrorKind, Result as UserResult, Subtask, Timestamp, WindowId};

use crate::ids::SubtaskId;
use crate::protocol::failure::{Failure, drop_quietly};
use crate::protocol::manifest::{JoinedOutput, PendingOutput};
use crate::protocol::mutant::{self, Mutant};
use crate::protocol::room::Room;
use crate::protocol::spent::Spent;

/// How long to wait before an unavailable outside is asked again, in ms: doubled up to the maximum.
const FIRST_RETRY_MS: i64 = 50;
const LAST_RETRY_MS: i64 = 10_000;

/// Counts the waiting for something that is unavailable.
#[derive(Default)]
pub(crate) struct Retry {
    delay: i64,
    at: Option<Timestamp>,
}

impl Retry {
    /// Waits longer than the last time.
    pub(crate) fn later(&mut self, now: Timestamp) {
        self.delay = (self.delay * 2).clamp(FIRST_RETRY_MS, LAST_RETRY_MS);
        self.at = Some(now + self.delay);
    }

    /// It worked.
    pub(crate) fn reset(&mut self) {
        *self = Retry::default();
    }

    pub(crate) fn is_due(&self, now: Timestamp) -> bool {
        self.at.is_none_or(|at| at <= now)
    }

    pub(crate) fn at(&self) -> Option<Timestamp> {
        self.at
    }
}

#[derive(Clone)]
enum Work {
    Open(Vec<PendingOutput>),
    Write(usize, Batch),
    Prepare(WindowId),
    Commit(PendingOutput),
    Abort(PendingOutput),
}

/// What the subtask learns from an answer of its sink.
pub(crate) enum SinkNews {
    /// Nothing that it waits for.
    Nothing,
    /// The sink is open.
    Opened,
    /// Everything before the end of this window is prepared.
    Prepared(WindowId),
}

/// The sink of a subtask.
pub(crate) struct SinkTail {
    pub(crate) name: String,
    subtask: Subtask,
    sink: Option<Box<dyn AnySink>>,
    delivery: Delivery,
    queue: VecDeque<Work>,
    /// What a fresh instance does before that: what the one before it had done.
    again: VecDeque<Work>,
    in_flight: Option<Work>,
    retry: Retry,
    /// Prepared and not yet seen committed, oldest first.
    pending: Vec<PendingOutput>,
    /// What it was given since it prepared last: its own journal.
    taken: Vec<(usize, Batch)>,
    /// What it was given before that.
    spent: Spent<(usize, Batch)>,
    /// How much of it is kept; nothing at all if a fresh instance is never to go on where this one was.
    room: Option<Room>,
    /// How many calls a fresh instance has to make again.
    redo: usize,
    /// Whether the operators give a fresh instance again what was not prepared: then nothing of it is kept here, but for
    /// what they emitted when they were opened.
    is_given_again: bool,
    /// Whether they are doing so: until then, everything else waits.
    is_being_given: bool,
    /// Whether the instance is lost, and no other is in its place yet.
    is_lost: bool,
    /// Whether it has prepared what it had taken, since the last cut.
    has_prepared: bool,
}

/// What lets a fresh sink have what the one before it had taken and not prepared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Redo {
    /// Nothing: it never goes on where the other was.
    Nothing,
    /// It is kept, in so many bytes at most.
    Kept(usize),
    /// The operators make it again.
    MadeAgain,
}

impl SinkTail {
    pub(crate) fn new(name: String, sink: Box<dyn AnySink>, subtask: Subtask, redo: Redo) -> SinkTail {
        let delivery = sink.delivery();
        SinkTail {
            name,
            subtask,
            sink: Some(sink),
            delivery,
            queue: VecDeque::new(),
            again: VecDeque::new(),
            in_flight: None,
            retry: Retry::default(),
            pending: Vec::new(),
            taken: Vec::new(),
            spent: Spent::new(),
            room: if let Redo::Kept(bytes) = redo { Some(Room::new(bytes)) } else { None },
            redo: 0,
            is_given_again: redo == Redo::MadeAgain,
            is_being_given: false,
            is_lost: false,
            has_prepared: false,
        }
    }

    /// Returns whether a fresh instance could go on where this one was, as far as that is known here.
    pub(crate) fn can_renew(&self) -> bool {
        self.is_given_again || self.room.as_ref().is_some_and(Room::is_kept)
    }

    /// Returns, once between two checkpoints, whether it is time for the next one.
    pub(crate) fn wants_cut(&mut self) -> bool {
        self.room.as_mut().is_some_and(Room::wants_cut)
    }

    /// Returns whether a fresh instance is still making calls again.
    pub(crate) fn is_redoing(&self) -> bool {
        self.redo > 0 || self.is_being_given
    }

    /// The instance is lost; whatever is queued waits for the next.
    pub(crate) fn lose(&mut self) {
        self.is_lost = true;
    }

    pub(crate) fn is_lost(&self) -> bool {
        self.is_lost
    }

    /// Queues nothing more until a fresh instance is given again what was not prepared. Returns whether the present one
    /// is back from its call, so that it can be replaced.
    pub(crate) fn hold(&mut self) -> bool {
        self.is_being_given = true;
        self.is_lost || self.in_flight.is_none()
    }

    /// Returns whether it has taken what it was given so far.
    pub(crate) fn has_taken(&self) -> bool {
        self.again.is_empty() && self.in_flight.is_none() && !self.is_lost
    }

    /// Returns whether a fresh instance is being given what was not prepared.
    pub(crate) fn is_being_given(&self) -> bool {
        self.is_being_given
    }

    /// Goes back to the last cut, which was that of this window: what was prepared since then is thrown away.
    pub(crate) fn rewind(&mut self, cut: WindowId, sink: Box<dyn AnySink>) {
        if !mutant::is(Mutant::PreparedTwice) {
            let prepared = self.pending.extract_if(.., |pending| pending.window > cut);
            if self.delivery == Delivery::Staged {
                self.queue.extend(prepared.map(Work::Abort));
            } else {
                prepared.for_each(drop);
            }
        }
        self.has_prepared = false;
        self.renew(sink);
    }

    /// A snapshot is taken that holds all that was prepared.
    pub(crate) fn cut(&mut self) {
        if self.is_given_again {
            self.has_prepared = false;
            self.taken.clear();
        }
    }

    /// It was given all of it.
    pub(crate) fn given(&mut self) {
        self.is_being_given = false;
    }

    /// Goes on with a fresh instance: it is given again what was not prepared, then what was under way. Returns how
    /// many records that is.
    pub(crate) fn renew(&mut self, sink: Box<dyn AnySink>) -> u64 {
        drop_quietly(self.sink.replace(sink));
        self.is_lost = false;
        self.retry.reset();
        let is_missing = !self.has_prepared && !mutant::is(Mutant::TakenForgotten);
        let taken = if is_missing { &self.taken[..] } else { &[][..] };
        if self.is_given_again && !mutant::is(Mutant::WaitingGivenTwice) {
            self.queue.retain(|work| !matches!(work, Work::Write(..)));
        }
        // Of what was under way, opening and writing are repeated already.
        let under_way = self.in_flight.take().into_iter().chain(self.again.drain(..));
        let mut under_way: VecDeque<Work> =
            under_way.filter(|work| !matches!(work, Work::Open(_) | Work::Write(..))).collect();
        self.again.push_back(Work::Open(self.pending.clone()));
        self.again.extend(taken.iter().map(|(port, batch)| Work::Write(*port, Batch::clone(batch))));
        self.redo = self.again.len() + under_way.len();
        under_way.append(&mut self.queue);
        self.queue = under_way;
        self.taken.iter().map(|(_, batch)| batch.len() as u64).sum()
    }

    /// Opens the sink with the pending outputs of the restored checkpoint; those of a rolled back attempt are aborted.
    pub(crate) fn open(&mut self, restored: Vec<PendingOutput>, abandoned: Vec<PendingOutput>) {
        if !mutant::is(Mutant::PendingNotRecommitted) {
            self.pending.clone_from(&restored);
        }
        self.queue.push_back(Work::Open(restored));
        self.queue.extend(abandoned.into_iter().map(Work::Abort));
    }

    /// Queues a batch.
    pub(crate) fn write(&mut self, port: usize, batch: Batch) {
        let queue = if self.is_being_given { &mut self.again } else { &mut self.queue };
        queue.push_back(Work::Write(port, batch));
    }

    /// Keeps a batch that is queued, too, and that nobody makes again: the operators emitted it when they were opened.
    pub(crate) fn keep(&mut self, port: usize, batch: Batch) {
        if self.is_given_again {
            self.taken.push((port, batch));
        }
    }

    /// Queues the end of a window that is a checkpoint.
    pub(crate) fn prepare(&mut self, window: WindowId) {
        self.queue.push_back(Work::Prepare(window));
    }

    /// The checkpoint of a window is true: queues the commit of every output up to it.
    pub(crate) fn committed(&mut self, window: WindowId) {
        match self.delivery {
            Delivery::Staged => {
                let due = self.pending.iter().filter(|pending| pending.window <= window);
                // One that is already queued or under way is committed twice, which it must bear anyway.
                self.queue.extend(due.cloned().map(Work::Commit));
            }
            // They became visible in the commit itself.
            Delivery::Joined => self.pending.retain(|pending| pending.window > window),
            Delivery::Immediate => {}
        }
    }

    /// Returns whether nothing is queued or under way.
    pub(crate) fn is_quiet(&self) -> bool {
        self.has_nothing_queued() && self.in_flight.is_none()
    }

    fn has_nothing_queued(&self) -> bool {
        self.again.is_empty() && (self.is_being_given || self.queue.is_empty())
    }

    /// Returns whether no output up to this window waits for its commit.
    pub(crate) fn has_published(&self, window: WindowId) -> bool {
        self.pending.iter().all(|pending| pending.window > window)
    }

    /// Returns what a snapshot lists.
    pub(crate) fn listed(&self) -> Vec<PendingOutput> {
        if self.delivery == Delivery::Joined || mutant::is(Mutant::PendingForgotten) {
            return Vec::new();
        }
        self.pending.clone()
    }

    /// Returns what takes part in the commit of a window.
    pub(crate) fn joined(&self, id: &SubtaskId, window: WindowId) -> Vec<JoinedOutput> {
        if self.delivery != Delivery::Joined {
            return Vec::new();
        }
        let due = self.pending.iter().filter(|pending| pending.window <= window);
        due.map(|pending| JoinedOutput {
            subtask: id.clone(),
            operator: self.name.clone(),
            window: pending.window,
            output: pending.output.clone(),
        })
        .collect()
    }

    /// Returns the pending outputs of windows above this one: what a rollback to it abandons.
    pub(crate) fn above(&self, window: WindowId) -> Vec<PendingOutput> {
        let abandoned = self.in_flight.iter().chain(&self.again).chain(&self.queue).filter_map(|work| match work {
            Work::Abort(pending) => Some(pending),
            _ => None,
        });
        self.pending.iter().chain(abandoned).filter(|pending| pending.window > window).cloned().collect()
    }

    /// Returns when a call is to be repeated, if one is.
    pub(crate) fn retry_at(&self) -> Option<Timestamp> {
        self.retry.at().filter(|_| !self.has_nothing_queued())
    }

    /// Returns the next call and the sink to make it on, if there is one and the sink is here.
    pub(crate) fn next_call(&mut self, now: Timestamp) -> Option<(SinkCall, Box<dyn AnySink>)> {
        if !self.retry.is_due(now) || self.has_nothing_queued() || self.is_lost {
            return None;
        }
        let sink = self.sink.take()?;
        let is_new = self.again.is_empty() && self.retry.at().is_none();
        let work = self.again.pop_front().or_else(|| self.queue.pop_front())?;
        let call = match &work {
            Work::Open(pending) => {
                let outputs = pending.iter().map(|pending| pending.output.clone()).collect();
                SinkCall::Open(outputs, self.subtask.clone())
            }
            Work::Write(port, batch) => {
                if is_new && let Some(room) = &mut self.room {
                    self.spent.let_go();
                    if room.add(batch.memory()) {
                        self.taken.push((*port, Batch::clone(batch)));
                    } else {
                        self.taken.clear();
                    }
                }
                SinkCall::Write(*port, Batch::clone(batch))
            }
            Work::Prepare(window) => SinkCall::Prepare(*window),
            Work::Commit(pending) => SinkCall::Commit(pending.output.clone()),
            Work::Abort(pending) => SinkCall::Abort(pending.output.clone()),
        };
        self.in_flight = Some(work);
        Some((call, sink))
    }

    /// Takes the answer to a call.
    pub(crate) fn answered(
        &mut self,
        sink: Option<Box<dyn AnySink>>,
        answer: Result<UserResult<Option<Vec<u8>>>, Failure>,
        now: Timestamp,
    ) -> Result<SinkNews, Failure> {
        self.sink = sink;
        let Some(work) = self.in_flight.take() else {
            return Err(Failure::engine(&self.name, "the sink answered without having been asked"));
        };
        let answer = match answer {
            Ok(Err(error)) if error.kind() == ErrorKind::Unavailable && self.sink.is_some() => {
                if !mutant::is(Mutant::RetryForgotten) {
                    self.again.push_front(work);
                }
                self.retry.later(now);
                return Ok(SinkNews::Nothing);
            }
            Ok(Ok(answer)) => answer,
            // A fresh instance will have to do it.
            Ok(Err(error)) => {
                self.in_flight = Some(work);
                return Err(self.blame(&error));
            }
            Err(failure) => {
                self.in_flight = Some(work);
                return Err(failure);
            }
        };
        self.retry.reset();
        self.redo = self.redo.saturating_sub(1);
        Ok(match work {
            Work::Open(_) => SinkNews::Opened,
            Work::Write(..) | Work::Abort(_) => SinkNews::Nothing,
            Work::Prepare(window) => {
                self.has_prepared = self.is_given_again;
                if !self.is_given_again {
                    self.spent.take_over(&mut self.taken);
                }
                if let Some(room) = &mut self.room {
                    room.clear();
                }
                if let Some(output) = answer {
                    self.pending.push(PendingOutput { window, output });
                    if mutant::is(Mutant::SinkCommitsEarly) {
                        self.committed(window);
                    }
                }
                SinkNews::Prepared(window)
            }
            Work::Commit(done) => {
                self.pending.retain(|pending| *pending != done);
                SinkNews::Nothing
            }
        })
    }

    fn blame(&self, error: &Error) -> Failure {
        Failure::error(self.name.clone(), error)
    }
}
