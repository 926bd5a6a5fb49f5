//! What time windows must give, said as plainly as possible: every record is kept, and every window is looked at.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::*;
use crate::Record;

/// A record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Record)]
pub(crate) struct Row {
    pub(crate) time: i64,
    pub(crate) key: u64,
    pub(crate) value: i64,
}

/// What comes out for a key and a window.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Record)]
pub(crate) struct Out {
    pub(crate) key: u64,
    pub(crate) window: TimeWindow,
    pub(crate) count: u64,
    pub(crate) value: i64,
}

impl Record for TimeWindow {}

/// Windows of event time.
pub(crate) struct Model {
    timing: Timing,
    watermark: i64,
    /// The values in each window that still takes some; of a session, the window grows.
    windows: BTreeMap<(u64, TimeWindow), Vec<i64>>,
    pub(crate) late: u64,
}

fn ms(duration: std::time::Duration) -> i64 {
    duration.as_millis() as i64
}

impl Model {
    pub(crate) fn new(timing: Timing) -> Model {
        Model { timing, watermark: i64::MIN / 4, windows: BTreeMap::new(), late: 0 }
    }

    fn lateness(&self) -> i64 {
        ms(self.timing.allowed_lateness)
    }

    fn out(&self, key: u64, window: TimeWindow) -> Out {
        let values = &self.windows[&(key, window)];
        Out { key, window, count: values.len() as u64, value: values.iter().sum() }
    }

    /// Returns all windows of fixed places that hold a moment.
    fn windows_of(&self, time: i64) -> Vec<TimeWindow> {
        let (size, every, offset) = match self.timing.window {
            TimeWindows::Tumbling(windows) => (ms(windows.size), ms(windows.size), ms(windows.offset)),
            TimeWindows::Sliding(windows) => (ms(windows.size), ms(windows.every), ms(windows.offset)),
            _ => unreachable!("only these have places"),
        };
        let starts = (time - size + 1..=time).filter(|start| (start - offset).rem_euclid(every) == 0);
        starts.map(|start| TimeWindow { start, end: start + size }).collect()
    }

    pub(crate) fn rows(&mut self, rows: &[Row]) -> Vec<Out> {
        let mut outs: Vec<Out> = rows.iter().flat_map(|row| self.row(row)).collect();
        outs.sort();
        outs
    }

    fn row(&mut self, row: &Row) -> Vec<Out> {
        let joined = match self.timing.window {
            TimeWindows::Session(Session { gap }) => self.join(row, ms(gap)),
            TimeWindows::Global(Global { count }) => return self.count(row, count),
            _ => {
                let (watermark, lateness) = (self.watermark, self.lateness());
                let mut windows = self.windows_of(row.time);
                windows.retain(|window| window.end - 1 + lateness > watermark);
                windows
            }
        };
        if joined.is_empty() {
            self.late += 1;
        }
        let mut outs = Vec::new();
        for window in joined {
            self.windows.entry((row.key, window)).or_default().push(row.value);
            if window.end - 1 <= self.watermark {
                outs.push(self.out(row.key, window));
            }
        }
        outs
    }

    /// Makes one session of all that a record is near to; returns it, if it still takes records.
    fn join(&mut self, row: &Row, gap: i64) -> Vec<TimeWindow> {
        let (start, end) = (row.time, row.time + gap);
        let near = |window: &TimeWindow| window.start < end && start < window.end;
        let of_key = self.windows.keys().filter(|(key, _)| *key == row.key).map(|(_, window)| *window);
        let near: Vec<TimeWindow> = of_key.filter(near).collect();
        let window = near.iter().fold(TimeWindow { start, end }, |one, other| TimeWindow {
            start: one.start.min(other.start),
            end: one.end.max(other.end),
        });
        if window.end - 1 + self.lateness() <= self.watermark {
            return Vec::new();
        }
        let values = near.iter().flat_map(|near| self.windows.remove(&(row.key, *near)).unwrap()).collect();
        self.windows.insert((row.key, window), values);
        vec![window]
    }

    fn count(&mut self, row: &Row, whole: u64) -> Vec<Out> {
        let known = self.windows.keys().find(|(key, _)| *key == row.key).copied();
        let (mut window, mut values) = (TimeWindow { start: row.time, end: row.time + 1 }, Vec::new());
        if let Some((key, before)) = known {
            values = self.windows.remove(&(key, before)).unwrap();
            window = TimeWindow { start: window.start.min(before.start), end: window.end.max(before.end) };
        }
        values.push(row.value);
        let is_whole = values.len() as u64 == whole;
        self.windows.insert((row.key, window), values);
        if !is_whole {
            return Vec::new();
        }
        let out = self.out(row.key, window);
        self.windows.remove(&(row.key, window));
        vec![out]
    }

    pub(crate) fn watermark(&mut self, watermark: i64) -> Vec<Out> {
        let before = self.watermark;
        self.watermark = watermark.max(before);
        if matches!(self.timing.window, TimeWindows::Global(_)) {
            return Vec::new();
        }
        let mut outs = Vec::new();
        for (key, window) in self.windows.keys() {
            let marks = window.start + 1..window.end;
            let passed = marks.filter(|mark| before < mark - 1 && mark - 1 <= self.watermark);
            let early = passed.filter(|mark| self.timing.early.is_some_and(|early| mark % ms(early) == 0));
            outs.extend(early.map(|_| self.out(*key, *window)));
        }
        let lateness = self.lateness();
        for (key, window) in self.windows.keys() {
            if before < window.end - 1 && window.end - 1 <= self.watermark {
                outs.push(self.out(*key, *window));
            }
        }
        self.windows.retain(|(_, window), _| window.end - 1 + lateness > self.watermark);
        outs.sort();
        outs
    }

    pub(crate) fn end(&mut self) -> Vec<Out> {
        if matches!(self.timing.window, TimeWindows::Global(_)) {
            return self.windows.keys().map(|(key, window)| self.out(*key, *window)).collect();
        }
        self.watermark(i64::MAX / 4)
    }

    /// Returns how many keys have windows that still take records.
    pub(crate) fn keys(&self) -> usize {
        self.windows.keys().map(|(key, _)| key).collect::<BTreeSet<_>>().len()
    }
}
