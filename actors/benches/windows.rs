//! What a record costs in a time window, and how that depends on how many windows overlap.
//!
//! `cargo bench -p piton-actors --bench windows [-- ROWS [KEYS]]`. A record each 10 µs of event time: with 100 keys, a
//! window of 100 ms has 10 records of each. It prints the time for each record, and its ratio to tumbling windows.
#![allow(clippy::print_stdout, clippy::disallowed_methods, missing_docs, reason = "a measurement")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use piton_actors::host::{AnyOperator, Hosted};
use piton_actors::prelude::*;
use piton_actors::{Batch, Rows, Session, Sliding, TimeWindows, Timing, Tumbling, WATERMARK_MAX, Windowed};
use serde::{Deserialize, Serialize};

const BATCH: u64 = 1024;
const ROUNDS: usize = 5;
/// How many records there are in a millisecond of event time.
const PER_MS: u64 = 100;

#[derive(Clone, Copy, Default, Serialize, Deserialize, Record)]
struct Event {
    key: u64,
    value: u64,
}

struct Sum;

impl Aggregate for Sum {
    type In = Event;
    type Sum = u64;
    type Out = Event;

    fn key(&self, event: &Event) -> Key {
        Key::from(event.key)
    }
    fn add(&self, sum: &mut u64, event: &Event) {
        *sum += event.value;
    }
    fn merge(&self, into: &mut u64, from: &u64) {
        *into += from;
    }
    fn result(&self, key: &Key, _: TimeWindow, sum: &u64) -> Event {
        Event { key: key.as_u64().unwrap_or_default(), value: *sum }
    }
}

/// Returns how long it took, and how many windows came out.
fn run(windows: TimeWindows, rows: u64, keys: u64) -> (Duration, u64) {
    let factory = Arc::new(move || Windowed::new(Sum, Timing::of(windows)));
    let mut operator = Hosted::new(factory, Subtask::single("windows"), BATCH as usize).expect("it has no settings");
    let (mut random, mut out, mut batches) = (0x9E37_79B9_7F4A_7C15u64, 0, Vec::new());
    let mut took = Duration::ZERO;
    for first in (0..rows).step_by(BATCH as usize) {
        let ids = first..rows.min(first + BATCH);
        let times: Vec<i64> = ids.clone().map(|id| (id / PER_MS) as i64).collect();
        let event = |_| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            Event { key: random % keys, value: 1 }
        };
        let (events, watermark) = (ids.map(event).collect(), times[times.len() - 1] - 1);
        let batch: Batch = Arc::new(Rows::with_times(events, times));
        let began = Instant::now();
        operator.begin();
        operator.begin_entry(0);
        operator.process(0, &batch).expect("it takes every record");
        operator.settle();
        operator.begin();
        operator.advance_watermark(watermark).expect("it emits");
        operator.settle();
        operator.drain(&mut batches);
        out += batches.drain(..).map(|batch| batch.len() as u64).sum::<u64>();
        took += began.elapsed();
    }
    operator.advance_watermark(WATERMARK_MAX).expect("it emits");
    operator.drain(&mut batches);
    (took, out + batches.iter().map(|batch| batch.len() as u64).sum::<u64>())
}

fn main() {
    let numbers = std::env::args().skip(1).filter_map(|argument| argument.parse::<u64>().ok()).collect::<Vec<_>>();
    let rows = numbers.first().copied().unwrap_or(10_000_000);
    let keys = numbers.get(1).copied().unwrap_or(100);
    let ms = Duration::from_millis;
    let variants: [(&str, TimeWindows); 4] = [
        ("tumbling 10 s", Tumbling::of(ms(10_000)).into()),
        ("sliding 10 s / 1 s", Sliding::of(ms(10_000), ms(1_000)).into()),
        ("sliding 10 s / 100 ms", Sliding::of(ms(10_000), ms(100)).into()),
        ("session 1 s", Session { gap: ms(1_000) }.into()),
    ];
    // The best of some rounds, taken in turns: on a machine that does other things, too, all others are too long.
    let mut best = [(Duration::MAX, 0); 4];
    for _ in 0..ROUNDS {
        for (best, (_, windows)) in best.iter_mut().zip(variants) {
            *best = (*best).min(run(windows, rows, keys));
        }
    }
    for ((name, _), (took, out)) in variants.iter().zip(best) {
        let (each, ratio) = (took.as_nanos() as f64 / rows as f64, took.as_secs_f64() / best[0].0.as_secs_f64());
        println!("{name:24} {each:7.1} ns/record  {ratio:5.2} x tumbling  {out} windows");
    }
}
