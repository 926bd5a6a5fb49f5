//! How event time is cut into time windows, as a user writes it.

use std::fmt;
use std::time::Duration;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::duration::{Span, duration};
use crate::time::Timestamp;

/// A stretch of event time: from `start` on, up to but without `end`, in ms. A record at `end` belongs to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TimeWindow {
    /// The first moment that belongs to it.
    pub start: Timestamp,
    /// The first moment that does not belong to it any more.
    pub end: Timestamp,
}

impl TimeWindow {
    /// Returns the last moment that belongs to it: it is over when the watermark has reached that.
    pub fn last(self) -> Timestamp {
        self.end.saturating_sub(1)
    }
}

/// Windows that follow each other without a gap: `"60s"`, `{ tumbling = "1h", offset = "15m" }`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tumbling {
    /// How long a window is.
    pub size: Duration,
    /// How long after 1970-01-01 00:00 UTC one of them begins.
    pub offset: Duration,
}

/// Windows that overlap: `{ sliding = "10s", every = "2s" }`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sliding {
    /// How long a window is.
    pub size: Duration,
    /// How long after a window the next one begins.
    pub every: Duration,
    /// How long after 1970-01-01 00:00 UTC one of them begins.
    pub offset: Duration,
}

/// Windows of the records of a key that are less than a gap apart: `{ session = "30m" }`. A window ends a gap after its
/// last record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// How long nothing has to happen for a session to end.
    pub gap: Duration,
}

/// Windows of so many records of a key, whatever their times: `{ count = 100 }`. The window of a result is that of the
/// times of its records; records without an event time count as being of the time at which they are processed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Global {
    /// How many records make a window.
    pub count: u64,
}

/// Any kind of time window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeWindows {
    /// They follow each other.
    Tumbling(Tumbling),
    /// They overlap.
    Sliding(Sliding),
    /// They end when nothing happens for a while.
    Session(Session),
    /// They have so many records.
    Global(Global),
}

macro_rules! kinds {
    ($($kind:ident),*) => {$(
        impl From<$kind> for TimeWindows {
            fn from(windows: $kind) -> TimeWindows {
                TimeWindows::$kind(windows)
            }
        }
    )*};
}
kinds!(Tumbling, Sliding, Session, Global);

impl Tumbling {
    /// Returns windows of this size that begin at midnight UTC, if the size divides a day.
    pub fn of(size: Duration) -> Tumbling {
        Tumbling { size, offset: Duration::ZERO }
    }
}

impl Sliding {
    /// Returns windows of this size, one beginning every so often.
    pub fn of(size: Duration, every: Duration) -> Sliding {
        Sliding { size, every, offset: Duration::ZERO }
    }
}

impl fmt::Display for TimeWindows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let offset = |offset: &Duration, f: &mut fmt::Formatter<'_>| match offset.is_zero() {
            true => Ok(()),
            false => write!(f, ", offset {offset:?}"),
        };
        match self {
            TimeWindows::Tumbling(windows) => {
                write!(f, "tumbling {:?}", windows.size)?;
                offset(&windows.offset, f)
            }
            TimeWindows::Sliding(windows) => {
                write!(f, "sliding {:?} every {:?}", windows.size, windows.every)?;
                offset(&windows.offset, f)
            }
            TimeWindows::Session(windows) => write!(f, "session {:?}", windows.gap),
            TimeWindows::Global(windows) => write!(f, "count {}", windows.count),
        }
    }
}

const FORMS: &str = "\"60s\", { tumbling = \"1h\", offset = \"15m\" }, { sliding = \"10s\", every = \"2s\" }, \
     { session = \"30m\" } or { count = 100 }";

/// The options of a time window as they stand in a table.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    tumbling: Option<Span>,
    sliding: Option<Span>,
    every: Option<Span>,
    session: Option<Span>,
    count: Option<u64>,
    offset: Option<Span>,
}

impl Written {
    fn windows(self) -> Result<TimeWindows, String> {
        let wrong = |what: &str| Err(format!("{what}; a time window is written as {FORMS}"));
        let offset = self.offset.map_or(Duration::ZERO, |offset| offset.0);
        let windows = match (self.tumbling, self.sliding, self.session, self.count) {
            (Some(Span(size)), None, None, None) => Tumbling { size, offset }.into(),
            (None, Some(Span(size)), None, None) => match self.every {
                Some(Span(every)) => return Ok(Sliding { size, every, offset }.into()),
                None => return wrong("a sliding window needs `every`"),
            },
            (None, None, Some(Span(gap)), None) => Session { gap }.into(),
            (None, None, None, Some(count)) => Global { count }.into(),
            (None, None, None, None) => return wrong("nothing says what kind of window it is"),
            _ => return wrong("a window is of one kind only"),
        };
        match windows {
            _ if self.every.is_some() => wrong("`every` belongs to a sliding window"),
            TimeWindows::Session(_) | TimeWindows::Global(_) if self.offset.is_some() => {
                wrong("`offset` belongs to a tumbling or sliding window")
            }
            windows => Ok(windows),
        }
    }
}

impl<'de> Deserialize<'de> for TimeWindows {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<TimeWindows, D::Error> {
        struct Any;

        impl<'de> Visitor<'de> for Any {
            type Value = TimeWindows;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a time window such as {FORMS}")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<TimeWindows, E> {
                Ok(Tumbling::of(duration(text).map_err(E::custom)?).into())
            }

            fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<TimeWindows, M::Error> {
                let written = Written::deserialize(MapAccessDeserializer::new(map))?;
                written.windows().map_err(M::Error::custom)
            }
        }

        deserializer.deserialize_any(Any)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(value: Value) -> Result<TimeWindows, String> {
        serde_json::from_value(value).map_err(|error| error.to_string())
    }

    #[test]
    fn every_form_is_read() {
        let (minute, hour) = (Duration::from_secs(60), Duration::from_secs(3600));
        assert_eq!(read(json!("60s")), Ok(Tumbling::of(minute).into()));
        let quarter_past = Tumbling { size: hour, offset: minute * 15 };
        assert_eq!(read(json!({ "tumbling": "1h", "offset": "15m" })), Ok(quarter_past.into()));
        let sliding = Sliding::of(minute / 6, Duration::from_secs(2));
        assert_eq!(read(json!({ "sliding": "10s", "every": "2s" })), Ok(sliding.into()));
        assert_eq!(read(json!({ "session": "0.5h" })), Ok(Session { gap: minute * 30 }.into()));
        assert_eq!(read(json!({ "count": 100 })), Ok(Global { count: 100 }.into()));
    }

    #[test]
    fn mistakes_say_how_it_is_written() {
        for (value, part) in [
            (json!("60"), "`60` is not a duration"),
            (json!("-1s"), "`-1s` is not a duration"),
            (json!("0.0001s"), "not a whole number of milliseconds"),
            (json!({ "sliding": "10s" }), "a sliding window needs `every`"),
            (json!({ "tumbling": "10s", "session": "1s" }), "of one kind only"),
            (json!({ "tumbling": "10s", "every": "1s" }), "`every` belongs to a sliding window"),
            (json!({ "session": "10s", "offset": "1s" }), "`offset` belongs to"),
            (json!({}), "nothing says what kind"),
            (json!({ "tumbilng": "10s" }), "unknown field `tumbilng`"),
            (json!(60), "a time window such as"),
        ] {
            let error = read(value.clone()).unwrap_err();
            assert!(error.contains(part), "{value}: {error}");
        }
    }
}
