//! How many bytes of memory keyed state takes, beside the bytes that are in it.
//!
//! `cargo bench -p piton-actors --bench memory [-- KEYS]`. It counts what is asked of the allocator: what the allocator
//! itself needs for each allocation comes on top.
#![allow(clippy::print_stdout, clippy::disallowed_methods, missing_docs, reason = "a measurement")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use peak_alloc::PeakAlloc;
use piton_actors::host::{AnyOperator, Hosted};
use piton_actors::prelude::*;
use piton_actors::state::{Draft, StateStore};
use piton_actors::{Batch, Rows, Session, TimerKind, Timing, WATERMARK_MAX, Windowed};
use serde::{Deserialize, Serialize};

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

const BATCH: u64 = 1024;
/// How many records there are in a millisecond of event time.
const PER_MS: u64 = 100;
const GAP: Duration = Duration::from_secs(3600);
/// Start, end and sum.
const SESSION: u64 = 24;
/// So long are the texts.
const TEXT: u64 = 12;

#[derive(Clone, Copy, Serialize, Deserialize, Record)]
struct Event {
    id: u64,
    value: u64,
}

/// What a session belongs to.
#[derive(Clone, Copy)]
enum By {
    Number,
    Text,
}

impl By {
    fn key(self, id: u64) -> Key {
        match self {
            By::Number => Key::from(id),
            By::Text => Key::from(&format!("{id:0width$}", width = TEXT as usize)),
        }
    }
}

/// Sums values by key; what comes out is the sum alone, so that it is state that is measured.
struct Sum(By);

impl Aggregate for Sum {
    type In = Event;
    type Sum = u64;
    type Out = u64;

    fn key(&self, event: &Event) -> Key {
        self.0.key(event.id)
    }
    fn add(&self, sum: &mut u64, event: &Event) {
        *sum += event.value;
    }
    fn merge(&self, into: &mut u64, from: &u64) {
        *into += from;
    }
    fn result(&self, _: &Key, _: TimeWindow, sum: &u64) -> u64 {
        *sum
    }
}

/// What was measured, in bytes.
struct Measured {
    live: usize,
    /// Of `live`: what keys and their index take (and, here, a byte that says that there is a value), and what timers take.
    parts: Option<(usize, usize)>,
    cutting: usize,
    firing: Option<usize>,
}

/// Opens one session of each key, cuts, and lets all of them end.
fn sessions(by: By, keys: u64) -> Measured {
    let before = ALLOCATOR.current_usage();
    let timing = Timing::of(Session { gap: GAP });
    let factory = Arc::new(move || Windowed::new(Sum(by), timing));
    let mut operator = Hosted::new(factory, Subtask::single("sessions"), BATCH as usize).expect("it has no settings");
    let (mut batches, mut out) = (Vec::new(), 0);
    let began = Instant::now();
    for first in (0..keys).step_by(BATCH as usize) {
        let ids = first..keys.min(first + BATCH);
        let times = ids.clone().map(|id| (id / PER_MS) as i64).collect();
        let events = ids.map(|id| Event { id, value: 1 }).collect();
        let batch: Batch = Arc::new(Rows::with_times(events, times));
        operator.begin();
        operator.begin_entry(0);
        operator.process(0, &batch).expect("it takes every record");
        operator.settle();
    }
    let came = began.elapsed();
    let live = ALLOCATOR.current_usage() - before;
    let cutting =
        peak_of(before, || drop(black_box(operator.cut().and_then(Draft::write).expect("sums can be written"))));
    let began = Instant::now();
    let firing = peak_of(before, || {
        operator.begin();
        operator.advance_watermark(WATERMARK_MAX).expect("it emits");
        operator.settle();
        operator.drain(&mut batches);
        out += batches.drain(..).map(|batch| batch.len() as u64).sum::<u64>();
    });
    println!("  {keys} keys came in {came:.0?}, and fired in {:.0?}", began.elapsed());
    assert_eq!(out, keys, "every key has one session");
    Measured { live, parts: Some(parts(by, keys)), cutting, firing: Some(firing) }
}

/// Keeps a number of each key, without timers.
fn values(keys: u64) -> Measured {
    const COUNT: ValueState<u64> = ValueState::new("count");
    let before = ALLOCATOR.current_usage();
    let mut store = StateStore::new(0..1024, 1024);
    for key in 0..keys {
        store.enter(Key::from(key));
        store.value(COUNT).set(key).expect("there is a key");
    }
    let live = ALLOCATOR.current_usage() - before;
    let cutting =
        peak_of(before, || drop(black_box(store.cut().and_then(Draft::write).expect("integers can be written"))));
    Measured { live, parts: None, cutting, firing: None }
}

/// Returns how many bytes keys take alone, with the index by which they are found, and how many a timer of each adds.
fn parts(by: By, keys: u64) -> (usize, usize) {
    const NOTHING: ValueState<()> = ValueState::new("nothing");
    let [alone, with_timers] = [false, true].map(|has_timers| {
        let before = ALLOCATOR.current_usage();
        let mut store = StateStore::new(0..1024, 1024);
        for id in 0..keys {
            store.enter(by.key(id));
            store.value(NOTHING).set(()).expect("there is a key");
            if has_timers {
                store.set_timer(TimerKind::Event, (id / PER_MS) as i64).expect("there is a key");
            }
        }
        ALLOCATOR.current_usage() - before
    });
    (alone, with_timers - alone)
}

/// Returns how many bytes more than before there are at most while something is done.
fn peak_of(before: usize, run: impl FnOnce()) -> usize {
    ALLOCATOR.reset_peak_usage();
    run();
    ALLOCATOR.peak_usage() - before
}

fn print(what: &str, keys: u64, raw: u64, measured: &Measured) {
    let each = |bytes: usize| bytes as f64 / keys as f64;
    let line = |name: &str, bytes: usize| {
        println!("  {name:<20} {:7.1} bytes a key  {:5.2} x raw", each(bytes), each(bytes) / raw as f64);
    };
    println!("{what}, {keys} keys of {raw} bytes:");
    line("live", measured.live);
    if let Some((index, timers)) = measured.parts {
        line("  keys and index", index);
        line("  timers", timers);
        line("  cells", measured.live.saturating_sub(index + timers));
    }
    line("peak of a cut", measured.cutting);
    if let Some(firing) = measured.firing {
        line("peak while firing", firing);
    }
}

fn main() {
    let numbers = std::env::args().skip(1).filter_map(|argument| argument.parse::<u64>().ok()).collect::<Vec<_>>();
    // The second just after tables and columns that double have doubled.
    let sizes = if numbers.is_empty() { vec![1_000_000, 1_100_000] } else { numbers };
    for keys in sizes {
        print("sessions by number", keys, 8 + SESSION, &sessions(By::Number, keys));
        print("sessions by text", keys, TEXT + SESSION, &sessions(By::Text, keys));
        print("values without timers", keys, 8 + 8, &values(keys));
    }
}
