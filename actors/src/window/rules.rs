//! What a user says about time windows, checked, and what follows from it.

use std::time::Duration;

use super::clock::Time;
use super::descriptor::{Global, Session, Sliding, TimeWindow, TimeWindows};
use super::grid::{Grid, ms};
use super::panes::{Moment, Panes};
use super::sessions::Sessions;
use crate::blueprint::{Fault, OptionDoc, Varies};
use crate::duration::Span;
use crate::time::Timestamp;

/// When the windows of an aggregate end, and what becomes of records that come after that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// How time is cut into windows.
    pub window: TimeWindows,
    /// How long after its end a window still takes records. Each of them emits the value of the window again.
    pub allowed_lateness: Duration,
    /// At each multiple of this, a window that is not over emits the value that it has by then.
    pub early: Option<Duration>,
    /// Which time the windows go by.
    pub time: Time,
}

impl Timing {
    /// Returns the timing of windows that take no record after their end, emit once, and go by event time.
    pub fn of(window: impl Into<TimeWindows>) -> Timing {
        Timing { window: window.into(), allowed_lateness: Duration::ZERO, early: None, time: Time::Event }
    }

    /// Returns the timing that these options give.
    pub(crate) fn written(
        window: TimeWindows,
        allowed_lateness: Option<Span>,
        early: Option<Span>,
        time: Option<Time>,
    ) -> Timing {
        Timing {
            window,
            allowed_lateness: allowed_lateness.map_or(Duration::ZERO, |lateness| lateness.0),
            early: early.map(|early| early.0),
            time: time.unwrap_or_default(),
        }
    }

    /// Checks that it can be done.
    pub(crate) fn rules(&self) -> Result<Rules, Vec<Fault>> {
        let mut faults = Vec::new();
        let mut fault = |option: &str, message: String| faults.push(Fault::new(option, message));
        let lateness = ms(self.allowed_lateness).unwrap_or_else(|message| {
            fault("allowed_lateness", message);
            0
        });
        let early = self.early.map(|early| match ms(early) {
            Ok(0) => {
                fault("early", "windows cannot emit every 0 ms; give it a length".to_string());
                1
            }
            Ok(early) => early,
            Err(message) => {
                fault("early", message);
                1
            }
        });
        let mut kind = None;
        match (Grid::of(&self.window), &self.window) {
            (Some(Ok(grid)), _) => kind = Some(Kind::Panes(Panes { grid, lateness })),
            (Some(Err(message)), _) => fault("window", message),
            (None, TimeWindows::Session(Session { gap })) => match ms(*gap) {
                Ok(0) => fault("window", "a session whose gap is 0 ms holds nothing; give it a length".to_string()),
                Ok(gap) => kind = Some(Kind::Sessions(Sessions { gap, lateness })),
                Err(message) => fault("window", message),
            },
            (None, TimeWindows::Global(Global { count: 0 })) => {
                fault("window", "a window of 0 records is never complete; `count` is at least 1".to_string());
            }
            (None, TimeWindows::Global(Global { count })) => kind = Some(Kind::Counted(*count)),
            (None, TimeWindows::Tumbling(_) | TimeWindows::Sliding(_)) => {}
        }
        if lateness > 0 && matches!(self.window, TimeWindows::Global(_)) {
            fault("allowed_lateness", "no record is late for a window that is counted; leave it away".to_string());
        }
        if lateness > 0 && self.time == Time::Processing {
            fault("allowed_lateness", "no record is late by `time = \"processing\"`; leave it away".to_string());
        }
        if early.is_some() && matches!(self.window, TimeWindows::Global(_)) {
            fault("early", "a window that is counted has no time before its end; leave it away".to_string());
        }
        if early.is_some() && matches!(self.window, TimeWindows::Sliding(Sliding { .. })) {
            fault("early", "a sliding window cannot emit early; give it a smaller `every`".to_string());
        }
        match kind {
            Some(kind) if faults.is_empty() => Ok(Rules { kind, early, time: self.time, moment: None }),
            _ => Err(faults),
        }
    }

    /// Says in words what state of these windows is made for.
    pub(crate) fn described(&self) -> String {
        // What is kept does not depend on lateness and early values, so that both may be changed.
        let time = if self.time == Time::Processing { ", by processing time" } else { "" };
        format!("{}{time}", self.window)
    }
}

/// What is to be done with records, by a timing that was checked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub(crate) kind: Kind,
    early: Option<i64>,
    pub(crate) time: Time,
    /// The last moment that was asked about.
    moment: Option<Moment>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Panes(Panes),
    Sessions(Sessions),
    /// So many records each.
    Counted(u64),
}

impl Rules {
    /// Returns the moment for which a timer has to be set so that a window emits early the next time.
    #[inline]
    pub(crate) fn early_timer(&self, window: TimeWindow, passed: Timestamp) -> Option<Timestamp> {
        let early = self.early?;
        let after = window.start.max(passed + 1);
        let mark = after - after.rem_euclid(early) + early;
        (mark < window.end).then_some(mark - 1)
    }

    /// Returns what follows when nothing is expected up to `last`.
    #[inline]
    pub(crate) fn moment(&mut self, panes: &Panes, last: Timestamp) -> Moment {
        match self.moment {
            Some(moment) if moment.last == last => moment,
            _ => *self.moment.insert(panes.moment(last)),
        }
    }

    /// Returns whether windows that are not over emit when nothing is expected any more up to this moment.
    #[inline]
    pub(crate) fn is_early(&self, last: Timestamp) -> bool {
        self.early.is_some_and(|early| (last + 1).rem_euclid(early) == 0)
    }

    /// Returns whether it follows from the time of a record alone which windows it belongs to, and when these are over.
    pub(crate) fn is_of_time(&self) -> bool {
        self.time == Time::Event && !matches!(self.kind, Kind::Counted(_))
    }

    /// Returns by what else than its records a window's content varies.
    pub(crate) fn varies(&self) -> Varies {
        match (self.time, &self.kind) {
            (Time::Processing, _) => Varies::WithTime,
            (Time::Event, Kind::Counted(_)) => Varies::WithArrival,
            // Which parts of a session emit before it is whole depends on which of its records are there by then.
            (Time::Event, Kind::Sessions(_)) if self.emits_again() => Varies::WithTime,
            (Time::Event, _) => Varies::No,
        }
    }

    /// Returns whether a window may emit more than once.
    pub(crate) fn emits_again(&self) -> bool {
        let lateness = match self.kind {
            Kind::Panes(panes) => panes.lateness,
            Kind::Sessions(sessions) => sessions.lateness,
            Kind::Counted(_) => 0,
        };
        lateness > 0 || self.early.is_some()
    }
}

/// Describes the options of time windows, with this sentence for `window`.
pub(crate) fn option_docs(window: OptionDoc) -> Vec<OptionDoc> {
    let option = |name, default, doc| OptionDoc { name, default: Some(default), doc };
    vec![
        window,
        option(
            "allowed_lateness",
            "\"0s\"",
            "How long after its end a window still takes records; each emits the value of the window again.",
        ),
        option("early", "", "At each multiple of this, a window that is not over emits what it has so far."),
        option("time", "\"event\"", "The time that windows go by: \"event\" or \"processing\"."),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::descriptor::Tumbling;
    use super::*;

    fn faults(timing: Timing) -> Vec<(String, String)> {
        let faults = timing.rules().unwrap_err();
        faults.into_iter().map(|fault| (fault.option, fault.message)).collect()
    }

    #[test]
    fn what_makes_no_sense_is_refused_at_once() {
        let second = Duration::from_secs(1);
        let nanos = Duration::from_nanos(1);
        let processing = Timing {
            time: Time::Processing,
            allowed_lateness: second,
            early: Some(Duration::ZERO),
            ..Timing::of(Tumbling::of(nanos))
        };
        let named: Vec<String> = faults(processing).into_iter().map(|(option, _)| option).collect();
        assert_eq!(named, ["early", "window", "allowed_lateness"]);
        let counted = Timing { allowed_lateness: second, early: Some(second), ..Timing::of(Global { count: 0 }) };
        assert_eq!(faults(counted).len(), 3);
        let sliding = Timing { early: Some(second), ..Timing::of(Sliding::of(second, second / 2)) };
        assert!(faults(sliding)[0].1.contains("smaller `every`"));
        assert!(faults(Timing::of(Session { gap: Duration::ZERO }))[0].1.contains("gap is 0 ms"));
    }

    #[test]
    fn early_values_come_at_multiples_before_the_end() {
        let second = Duration::from_secs(1);
        let rules = Timing { early: Some(second), ..Timing::of(Tumbling::of(second * 10)) }.rules().unwrap();
        let window = TimeWindow { start: 500, end: 10_000 };
        assert_eq!(rules.early_timer(window, -5), Some(999));
        assert_eq!(rules.early_timer(window, 998), Some(999));
        assert_eq!(rules.early_timer(window, 999), Some(1_999));
        assert_eq!(rules.early_timer(window, 8_999), None, "that is the end itself");
        assert!(rules.is_early(999) && !rules.is_early(1_000));
    }
}
