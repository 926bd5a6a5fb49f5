//! The source at the head of a subtask: its calls one after the other, its position and its watermarks.

mod rereading;
mod watermarks;

use std::collections::BTreeMap;

use piton_actors::host::{AnySource, Polled};
use piton_actors::{
    Error, ErrorKind, Progress, Result as UserResult, Scatter, Subtask, Timestamp, WATERMARK_MAX, WindowId,
};

pub(crate) use self::rereading::Again;
use self::rereading::Rereading;
use self::watermarks::Watermarks;
pub(crate) use self::watermarks::{Kept, Reading};
use crate::protocol::drift::{Drift, Pace};
use crate::protocol::failure::{Failure, drop_quietly};
use crate::protocol::mutant::{self, Mutant};
use crate::protocol::sink::Retry;

/// A call of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceCall {
    /// `open` at a position.
    Open(Option<Vec<u8>>, Subtask),
    /// `poll`.
    Poll,
    /// `committed`.
    Tell(WindowId, Vec<u8>),
}

/// What a source answered.
pub enum SourceAnswer {
    /// To `open`.
    Opened(UserResult),
    /// To `poll`.
    Polled(UserResult<Polled>),
    /// To `committed`.
    Told(UserResult),
}

/// What the subtask learns from an answer of its source.
pub(crate) enum SourceNews {
    /// Nothing that it waits for.
    Nothing,
    /// The source is open.
    Opened,
    /// It has polled; if nothing more will come, it is done.
    Polled(Reading),
}

/// The source of a subtask.
pub(crate) struct SourceHead {
    pub(crate) name: String,
    subtask: Subtask,
    source: Option<Box<dyn AnySource>>,
    replayable: bool,
    opening: Option<SourceCall>,
    in_flight: bool,
    told: BTreeMap<WindowId, Vec<u8>>,
    /// The newest commit that it was to be told of.
    last_told: Option<SourceCall>,
    due: Option<SourceCall>,
    /// Whether the source is being told what is due.
    telling: bool,
    /// Whether it was polled since its last window was closed.
    has_had_turn: bool,
    idle_until: Option<Timestamp>,
    retry: Retry,
    pub(crate) done: bool,
    /// Where the source is behind everything it has emitted, encoded.
    pub(crate) position: Option<Vec<u8>>,
    watermarks: Watermarks,
    pub(crate) drift: Drift,
    /// What it reads again, while it does.
    rereading: Option<Rereading>,
}

/// How the watermark of a source's subtask follows from what it reads, and what it waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventTime {
    /// How much earlier than one already seen a record may be without being late, in ms.
    pub out_of_order: i64,
    /// For how long nothing may come from a partition, in ms, until nobody waits for its watermark any more; for ever, if there is none.
    pub idle_timeout: Option<i64>,
    /// How far its watermark may be ahead of that of the slowest source of the region, in ms, for it to be polled; any
    /// distance, if there is none.
    pub max_drift: Option<i64>,
    /// Whether none of its records has an event time.
    pub is_untimed: bool,
}

impl SourceHead {
    pub(crate) fn new(name: String, source: Box<dyn AnySource>, subtask: Subtask, event_time: EventTime) -> SourceHead {
        SourceHead {
            name,
            subtask,
            replayable: source.replayable(),
            source: Some(source),
            opening: None,
            in_flight: false,
            told: BTreeMap::new(),
            last_told: None,
            due: None,
            telling: false,
            has_had_turn: false,
            idle_until: None,
            retry: Retry::default(),
            done: false,
            position: None,
            drift: Drift::new(event_time.max_drift),
            watermarks: Watermarks::new(event_time),
            rereading: None,
        }
    }

    /// Asks for the source to be opened at a position.
    pub(crate) fn open(&mut self, position: Option<Vec<u8>>, kept: Kept) {
        self.position.clone_from(&position);
        self.watermarks.restore(kept);
        self.opening = Some(SourceCall::Open(position, self.subtask.clone()));
    }

    /// Returns whether a fresh instance could go on where this one was.
    pub(crate) fn replayable(&self) -> bool {
        self.replayable
    }

    /// Goes on with a fresh instance behind what was emitted, and tells it again of the newest commit.
    pub(crate) fn renew(&mut self, source: Box<dyn AnySource>) {
        let position = if mutant::is(Mutant::RenewedFromStart) { None } else { self.position.clone() };
        self.renew_at(source, position);
    }

    fn renew_at(&mut self, source: Box<dyn AnySource>, position: Option<Vec<u8>>) {
        drop_quietly(self.source.replace(source));
        self.in_flight = false;
        self.opening = Some(SourceCall::Open(position, self.subtask.clone()));
        self.due.clone_from(&self.last_told);
        self.telling = false;
        self.idle_until = None;
        self.watermarks.forget_emptiness();
        self.retry.reset();
    }

    /// Makes what spreads its output over channels.
    pub(crate) fn scatter(&self, channels: usize, rows: usize) -> Box<dyn Scatter> {
        let source = self.source.as_ref().expect("a source that has just been made is here");
        source.scatter(channels, rows)
    }

    /// Returns what a snapshot is to hold of the event times that it has seen.
    pub(crate) fn kept_times(&self) -> Kept {
        self.watermarks.kept()
    }

    /// Notes the position that a checkpoint was taken at.
    pub(crate) fn cut(&mut self, window: WindowId) {
        self.watermarks.cut();
        if let Some(position) = &self.position {
            self.told.insert(window, position.clone());
        }
    }

    /// The checkpoint of a window is true: tells the source, with the position it was taken at.
    pub(crate) fn committed(&mut self, window: WindowId) {
        if let Some(position) = self.told.remove(&window) {
            self.due = Some(SourceCall::Tell(window, position));
            self.last_told.clone_from(&self.due);
            self.telling = false;
        }
        self.told = self.told.split_off(&window);
    }

    /// Returns whether nothing but polling is left to do.
    pub(crate) fn is_quiet(&self) -> bool {
        self.due.is_none() && self.opening.is_none() && !self.in_flight
    }

    /// Returns whether no call is under way.
    pub(crate) fn is_here(&self) -> bool {
        !self.in_flight
    }

    /// Returns when there is something to do, if there is a time for it; polls count only if `may_poll`.
    pub(crate) fn wake_at(&self, may_poll: bool) -> Option<Timestamp> {
        if self.in_flight {
            return None;
        }
        let given_up = self.done && mutant::is(Mutant::EndedSourceGivenUp);
        if (self.opening.is_some() || self.due.is_some()) && !given_up {
            // Also a source that has come to its end is opened and told.
            return self.retry.at();
        }
        self.idle_until.max(self.retry.at()).filter(|_| self.polls(may_poll))
    }

    /// Returns whether it is polled, whenever it is here.
    fn polls(&self, may_poll: bool) -> bool {
        match &self.rereading {
            Some(rereading) => rereading.wants_more(),
            None => may_poll && !self.done && !self.drift.holds(self.watermarks.combined()),
        }
    }

    /// Returns whether it is polled next, if nothing else is due. After a poll that has found nothing it pauses.
    fn polls_now(&self, now: Timestamp, may_poll: bool) -> bool {
        self.polls(may_poll) && self.idle_until.is_none_or(|until| until <= now)
    }

    /// Returns whether calls may be made of it.
    fn may_be_called(&self, now: Timestamp) -> bool {
        self.retry.is_due(now) && !self.has_lost_thread()
    }

    /// Returns whether it could be polled and was not since its last window was closed. However short the windows are
    /// and however long their markers are under way, something is read in between.
    pub(crate) fn is_owed_turn(&self, now: Timestamp, may_poll: bool) -> bool {
        !self.has_had_turn && self.polls_now(now, may_poll) && self.may_be_called(now)
    }

    /// Its window is closed.
    pub(crate) fn closed(&mut self) {
        self.has_had_turn = false;
    }

    /// Returns the next call and the source to make it on. Polls only if `may_poll`.
    pub(crate) fn next_call(&mut self, now: Timestamp, may_poll: bool) -> Option<(SourceCall, Box<dyn AnySource>)> {
        self.source.as_ref()?;
        self.watermarks.may_be_asked(self.polls(may_poll), now);
        if !self.may_be_called(now) {
            return None;
        }
        let call = if let Some(opening) = self.opening.clone() {
            opening
        } else if let Some(due) = self.due.clone() {
            self.telling = true;
            due
        } else if self.polls_now(now, may_poll) {
            self.has_had_turn = true;
            SourceCall::Poll
        } else {
            return None;
        };
        self.in_flight = true;
        self.source.take().map(|source| (call, source))
    }

    /// Takes the answer to a call.
    pub(crate) fn answered(
        &mut self,
        source: Option<Box<dyn AnySource>>,
        answer: Result<SourceAnswer, Failure>,
        now: Timestamp,
    ) -> Result<SourceNews, Failure> {
        self.source = source;
        self.in_flight = false;
        match answer? {
            SourceAnswer::Opened(Ok(())) => {
                self.opening = None;
                self.retry.reset();
                Ok(SourceNews::Opened)
            }
            SourceAnswer::Told(Ok(())) => {
                if std::mem::take(&mut self.telling) {
                    self.due = None;
                }
                self.retry.reset();
                Ok(SourceNews::Nothing)
            }
            SourceAnswer::Polled(Ok(polled)) => self.polled(polled, now),
            SourceAnswer::Opened(Err(error)) | SourceAnswer::Told(Err(error)) | SourceAnswer::Polled(Err(error)) => {
                self.unavailable(&error, now)?;
                Ok(SourceNews::Nothing)
            }
        }
    }

    fn polled(&mut self, polled: Polled, now: Timestamp) -> Result<SourceNews, Failure> {
        self.idle_until = None;
        if let Err(error) = &polled.progress {
            // After some errors a fresh instance begins at the position before: nothing of this poll has been seen then.
            self.unavailable(error, now)?;
        }
        let reading = self.watermarks.read(&polled, self.rereading.is_none().then_some(now));
        match &polled.progress {
            Ok(Progress::More) => self.retry.reset(),
            Ok(Progress::Idle(pause)) => {
                self.retry.reset();
                let until = now.saturating_add(i64::try_from(*pause).unwrap_or(i64::MAX));
                // It says that it is idle when it is polled.
                let idle_at = self.watermarks.next_idle(now);
                self.idle_until = Some(idle_at.map_or(until, |at| at.min(until)));
            }
            Ok(Progress::Done) => match &mut self.rereading {
                Some(rereading) => rereading.end(),
                None => self.done = true,
            },
            Err(_) => {}
        }
        self.position = Some(polled.position);
        if let Some(rereading) = &mut self.rereading {
            rereading.take(reading);
            return Ok(SourceNews::Nothing);
        }
        Ok(SourceNews::Polled(reading))
    }

    /// Returns whether nothing has come from any partition for so long that nobody need wait for it.
    pub(crate) fn is_idle(&self) -> bool {
        self.watermarks.is_idle()
    }

    /// Says how far it is, for those that are not to be too far ahead of it. It counts from the start, and no more once it
    /// is idle, has ended, or has given records without event times.
    pub(crate) fn say_pace(&mut self, idle: bool, has_read: bool) -> Pace {
        let watermark = self.watermarks.combined();
        let is_untimed = self.watermarks.event_time.is_untimed || (has_read && !self.watermarks.is_timed());
        let has_ended = self.done && !mutant::is(Mutant::EndedHoldsBack);
        let pace = if idle || has_ended || is_untimed { Pace::Apart } else { Pace::At(watermark) };
        self.drift.say(pace)
    }

    /// Returns the watermark of the end.
    pub(crate) fn last_watermark(&self) -> Timestamp {
        WATERMARK_MAX
    }

    fn unavailable(&mut self, error: &Error, now: Timestamp) -> Result<(), Failure> {
        if error.kind() != ErrorKind::Unavailable || self.source.is_none() {
            return Err(Failure::error(&self.name, error));
        }
        self.retry.later(now);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
