//! What time windows must give, said as plainly as possible: every record is kept, and every window is looked at.

use std::collections::{BTreeMap, BTreeSet};

use rand::RngExt;
use rand_pcg::Pcg64Mcg;
use serde::{Deserialize, Serialize};

use super::*;
use crate::host::AnyOperator;
use crate::{Batch, Record, WATERMARK_MAX, WATERMARK_MIN};

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

/// What happens to an operator.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Batch(Vec<Row>),
    Watermark(i64),
}

/// Makes records that are mostly in order, some of them far too late, and watermarks behind them.
pub(crate) fn steps(rng: &mut Pcg64Mcg, rows_of_batch: usize) -> Vec<Step> {
    let (mut time, mut watermark) = (rng.random_range(-50..50), i64::MIN);
    let mut steps = Vec::new();
    for _ in 0..rng.random_range(5..60) {
        if rng.random_bool(0.4) {
            watermark = watermark.max(time - rng.random_range(0..15));
            steps.push(Step::Watermark(watermark));
            continue;
        }
        let row = |rng: &mut Pcg64Mcg, time: i64| {
            let back = if rng.random_bool(0.2) { 60 } else { 8 };
            Row { time: time - rng.random_range(0..back), key: rng.random_range(0..3), value: rng.random_range(1..100) }
        };
        let rows = (0..rng.random_range(1..=rows_of_batch)).map(|_| {
            time += if rng.random_bool(0.05) { rng.random_range(20..80) } else { rng.random_range(0..4) };
            row(rng, time)
        });
        steps.push(Step::Batch(rows.collect()));
    }
    steps
}

/// Runs an operator through some steps and the end of its input; returns what comes out of each. With `rng`, calls are
/// taken back, and the operator crashes and begins again from its last snapshot.
pub(crate) fn run(
    make: &dyn Fn() -> Box<dyn AnyOperator>,
    batch_of: &dyn Fn(&[Row]) -> Batch,
    steps: &[Step],
    mut rng: Option<&mut Pcg64Mcg>,
) -> Vec<Vec<Batch>> {
    let (mut operator, mut watermark) = (make(), WATERMARK_MIN);
    operator.open().unwrap();
    let (mut chunks, mut saved, mut next) = (Vec::new(), (0, WATERMARK_MIN), 0);
    let mut outputs = Vec::new();
    while next <= steps.len() {
        let mut chance = |percent: u32| rng.as_mut().is_some_and(|rng| rng.random_range(0..100) < percent);
        let (is_saved, is_crash, is_undone) = (chance(10), chance(10), chance(20));
        if is_saved {
            let chunk = operator.cut().unwrap().write().unwrap();
            if !chunk.is_empty() {
                chunks.push(chunk);
            }
            saved = (next, watermark);
        }
        if is_crash {
            operator = make();
            (next, watermark) = saved;
            operator.restore(chunks.clone(), watermark).unwrap();
            operator.open().unwrap();
            outputs.truncate(next);
        }
        let mut output = Vec::new();
        for attempt in 0..1 + u32::from(is_undone) {
            operator.begin();
            operator.begin_entry(0);
            match steps.get(next) {
                Some(Step::Batch(rows)) => operator.process(0, &batch_of(rows)).unwrap(),
                Some(Step::Watermark(watermark)) => operator.advance_watermark(*watermark).unwrap(),
                None => {
                    operator.advance_watermark(WATERMARK_MAX).unwrap();
                    operator.close().unwrap();
                }
            }
            if attempt < u32::from(is_undone) {
                assert!(operator.undo().unwrap(), "there is a way back");
                operator.open().unwrap();
                continue;
            }
            operator.settle();
            operator.drain(&mut output);
        }
        if let Some(Step::Watermark(at)) = steps.get(next) {
            watermark = watermark.max(*at);
        }
        outputs.push(output);
        next += 1;
    }
    outputs
}

/// Returns timings of every kind.
pub(crate) fn timings() -> Vec<Timing> {
    let ms = std::time::Duration::from_millis;
    let windows: Vec<TimeWindows> = vec![
        Tumbling::of(ms(10)).into(),
        Tumbling { size: ms(7), offset: ms(3) }.into(),
        Sliding::of(ms(10), ms(2)).into(),
        Sliding::of(ms(20), ms(1)).into(),
        Sliding { size: ms(10), every: ms(4), offset: ms(1) }.into(),
        Sliding::of(ms(10), ms(10)).into(),
        Session { gap: ms(6) }.into(),
        Global { count: 4 }.into(),
    ];
    let mut timings = Vec::new();
    for windows in windows {
        for lateness in [0, 1, 9, 40] {
            for early in [None, Some(ms(3))] {
                let timing = Timing { allowed_lateness: ms(lateness), early, ..Timing::of(windows) };
                if timing.rules().is_ok() {
                    timings.push(timing);
                }
            }
        }
    }
    timings
}

/// Windows of event time.
pub(crate) struct Model {
    timing: Timing,
    /// What comes of the values of a window.
    of_values: fn(&[i64]) -> i64,
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
        Model::with(timing, |values| values.iter().sum())
    }

    /// Makes a model in which something else than the sum comes of values.
    pub(crate) fn with(timing: Timing, of_values: fn(&[i64]) -> i64) -> Model {
        Model { timing, of_values, watermark: i64::MIN / 4, windows: BTreeMap::new(), late: 0 }
    }

    fn lateness(&self) -> i64 {
        ms(self.timing.allowed_lateness)
    }

    fn out(&self, key: u64, window: TimeWindow) -> Out {
        let values = &self.windows[&(key, window)];
        Out { key, window, count: values.len() as u64, value: (self.of_values)(values) }
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

    /// Returns what windows that take late records are after a batch of them.
    #[cfg(feature = "sql")]
    pub(crate) fn rows_at_once(&mut self, rows: &[Row]) -> Vec<Out> {
        let mut outs = self.rows(rows);
        if !matches!(self.timing.window, TimeWindows::Global(_)) {
            outs.retain(|out| {
                self.windows.contains_key(&(out.key, out.window)) && *out == self.out(out.key, out.window)
            });
            outs.dedup();
        }
        outs
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

    /// Returns what a step gives.
    pub(crate) fn step(&mut self, step: &Step) -> Vec<Out> {
        match step {
            Step::Batch(rows) => self.rows(rows),
            Step::Watermark(watermark) => self.watermark(*watermark),
        }
    }

    /// Returns how many keys have windows that still take records.
    pub(crate) fn keys(&self) -> usize {
        self.windows.keys().map(|(key, _)| key).collect::<BTreeSet<_>>().len()
    }
}
