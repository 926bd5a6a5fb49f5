//! The record path: source → map → keyed count over 100,000 keys → sink, records of 24 bytes, one core, checkpoints
//! every second, beside the same work written as one loop by hand.
//!
//! What it costs that batches can be taken back and replayed is the difference to the variants without.
//!
//! Run it with `cargo bench --bench record_path [-- ROWS [ROUNDS]]`. It prints each variant's rate and its ratio to
//! the hand-written loop of the same round, and the medians over the rounds.
#![allow(clippy::print_stdout, clippy::disallowed_methods, missing_docs, reason = "a measurement")]

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use hashbrown::HashMap;
use piton::prelude::*;
use piton::runtime::{Event as JobEvent, RunOptions};
use piton::{Delivery, Overrides, Rows};
use serde::{Deserialize, Serialize};

mod processor;

const KEYS: u64 = 100_000;

/// 24 bytes.
#[derive(Clone, Copy, Default, Serialize, Deserialize, Record)]
struct Event {
    id: u64,
    key: u64,
    value: u64,
}

#[inline]
fn xorshift(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

const SEED: u64 = 0x9E37_79B9_7F4A_7C15;

#[derive(Clone, Deserialize)]
struct Generate {
    rows: u64,
    #[serde(skip)]
    next: u64,
    #[serde(skip)]
    random: u64,
}

impl Source for Generate {
    type Out = Event;
    type Position = (u64, u64);

    async fn open(&mut self, position: Option<(u64, u64)>, _: &Subtask) -> Result {
        (self.next, self.random) = position.unwrap_or((0, SEED));
        Ok(())
    }

    async fn poll(&mut self, feed: &mut Feed<Event>) -> Result<Progress> {
        let rows = (self.rows - self.next).min(feed.room() as u64);
        for _ in 0..rows {
            let key = xorshift(&mut self.random) % KEYS;
            feed.push(Event { id: self.next, key, value: 1 });
            self.next += 1;
        }
        Ok(if self.next == self.rows { Progress::Done } else { Progress::More })
    }

    fn position(&self) -> (u64, u64) {
        (self.next, self.random)
    }
}

#[derive(Clone, Deserialize)]
struct Triple {}

impl Operator for Triple {
    type In = Event;
    type Out = Event;

    fn process(&mut self, event: &Event, ctx: &mut Context<Event>) -> Result {
        ctx.emit(Event { value: event.value * 3, ..*event });
        Ok(())
    }
}

#[derive(Clone, Deserialize)]
struct Count {}

const SUM: ValueState<u64> = ValueState::new("sum");

impl Operator for Count {
    type In = Event;
    type Out = Event;

    fn key(&self, event: &Event) -> Key {
        Key::from(event.key)
    }

    fn process(&mut self, event: &Event, ctx: &mut Context<Event>) -> Result {
        let value = ctx.state(SUM).update(|sum| {
            *sum += event.value;
            *sum
        })?;
        ctx.emit(Event { value, ..*event });
        Ok(())
    }
}

/// What the sink has seen: the same for every way of doing the work.
static CHECKSUM: AtomicU64 = AtomicU64::new(0);

#[derive(Clone, Deserialize)]
struct Sum {}

impl Sink for Sum {
    type In = Event;
    type Pending = ();

    fn delivery(&self) -> Delivery {
        Delivery::Staged
    }

    async fn open(&mut self, _: Vec<()>, _: &Subtask) -> Result {
        Ok(())
    }

    async fn write(&mut self, batch: std::sync::Arc<Rows<Event>>) -> Result {
        let sum = batch.iter().fold(0u64, |sum, event| sum.wrapping_add(event.value.wrapping_mul(event.id | 1)));
        CHECKSUM.fetch_add(sum, Ordering::Relaxed);
        Ok(())
    }

    async fn prepare(&mut self, _: WindowId) -> Result<Option<()>> {
        Ok(None)
    }
}

fn by_hand(rows: u64) -> u64 {
    let mut sums: HashMap<u64, u64, foldhash::fast::FixedState> = HashMap::default();
    let mut random = SEED;
    let mut checksum = 0u64;
    for id in 0..rows {
        let key = xorshift(&mut random) % KEYS;
        let event = black_box(Event { id, key, value: 1 });
        let mapped = Event { value: event.value * 3, ..event };
        let sum = sums.entry(mapped.key).or_default();
        *sum += mapped.value;
        checksum = checksum.wrapping_add(sum.wrapping_mul(mapped.id | 1));
    }
    checksum
}

/// What a run has given and taken.
struct Ran {
    checksum: u64,
    /// The processor's time, all threads together.
    cpu: f64,
    commits: u64,
}

fn by_piton(rows: u64, set: &[&str]) -> Ran {
    let folder = tempfile::tempdir().expect("a folder");
    let mut registry = Registry::new();
    registry.source::<Generate>("generate").operator::<Triple>("triple").operator::<Count>("count").sink::<Sum>("sum");
    let toml = format!(
        "[sources.events]\ntype = \"generate\"\nrows = {rows}\n\
         [operators.mapped]\ntype = \"triple\"\ninputs = [\"events\"]\n\
         [operators.counted]\ntype = \"count\"\ninputs = [\"mapped\"]\n\
         [sinks.out]\ntype = \"sum\"\ninputs = [\"counted\"]\n"
    );
    let mut overrides = Overrides::default();
    for assignment in set {
        overrides = overrides.set(*assignment);
    }
    let plan =
        piton::topology::load_text(&toml, &folder.path().join("bench.toml"), &overrides, &registry).expect("a plan");
    CHECKSUM.store(0, Ordering::Relaxed);
    let commits = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&commits);
    let listener = Box::new(move |event: &JobEvent| {
        if matches!(event, JobEvent::Committed { .. }) {
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    let processor_time = || processor::of_process().expect("Linux tells it").as_secs_f64();
    let begin = processor_time();
    let options = RunOptions { threads: Some(1), listener, ..RunOptions::default() };
    piton::runtime::run(&plan, options).expect("it runs");
    let cpu = processor_time() - begin;
    Ran { checksum: CHECKSUM.load(Ordering::Relaxed), cpu, commits: commits.load(Ordering::Relaxed) }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut numbers = arguments.iter().filter_map(|argument| argument.parse::<u64>().ok());
    let rows: u64 = numbers.next().unwrap_or(20_000_000);
    let rounds: usize = numbers.next().map_or(5, |rounds| rounds as usize);
    let settings: Vec<&str> = arguments.iter().map(String::as_str).filter(|argument| argument.contains('=')).collect();
    let named: Vec<&String> = arguments.iter().filter(|argument| argument.ends_with("chained")).collect();
    let bare = "recovery.scope=\"region\"";
    let never = ["checkpoint.interval=\"1h\"", "window.interval=\"1h\""];
    let off = "job.chaining=\"off\"";
    let variants: [(&str, &[&str]); 6] = [
        ("chained", &[]),
        ("chained, no undo log, no journal", &[bare]),
        ("chained, neither, no checkpoints", &[bare, never[0], never[1]]),
        ("unchained", &[off]),
        ("unchained, no undo log, no journal", &[off, bare]),
        ("unchained, neither, no checkpoints", &[off, bare, never[0], never[1]]),
    ];
    let mut measured: Vec<[Vec<f64>; 4]> = vec![Default::default(); variants.len()];
    let mut rates: Vec<f64> = Vec::new();
    for round in 0..rounds {
        let begin = Instant::now();
        let expected = by_hand(rows);
        let hand = begin.elapsed().as_secs_f64();
        rates.push(rows as f64 / hand / 1e6);
        println!("round {round}: by hand {:.1} M rec/s", rows as f64 / hand / 1e6);
        for (variant, (name, set)) in variants.iter().enumerate() {
            if !named.is_empty() && !named.iter().any(|wanted| wanted == name) {
                continue;
            }
            let set: Vec<&str> = settings.iter().chain(*set).copied().collect();
            let begin = Instant::now();
            let ran = by_piton(rows, &set);
            let took = begin.elapsed().as_secs_f64();
            assert_eq!(ran.checksum, expected, "{name} gave another answer");
            let rate = rows as f64 / took / 1e6;
            let nanos = ran.cpu * 1e9 / rows as f64;
            let commits = ran.commits as f64 / took;
            for (values, value) in measured[variant].iter_mut().zip([rate, hand / took, nanos, commits]) {
                values.push(value);
            }
            println!("  {name}: {rate:.1} M rec/s, {:.0} % of the loop, {nanos:.1} ns", 100.0 * hand / took);
        }
    }
    let median = |values: &mut Vec<f64>| {
        values.sort_by(f64::total_cmp);
        (values[values.len() / 2], values[0], values[values.len() - 1])
    };
    let (hand, least, most) = median(&mut rates);
    println!("median of {rounds} rounds of {rows} records: by hand {hand:.1} M rec/s ({least:.1} to {most:.1})");
    for (variant, (name, _)) in variants.iter().enumerate() {
        if measured[variant][0].is_empty() {
            continue;
        }
        let [rates, ratios, nanos, commits] = &mut measured[variant];
        let (rate, (ratio, least, most)) = (median(rates).0, median(ratios));
        println!(
            "  {name}: {rate:.1} M rec/s, {:.0} % of the loop ({:.0} to {:.0}), {:.1} ns of the processor ({:.1} to {:.1}), \
             {:.0} commits a second",
            100.0 * ratio,
            100.0 * least,
            100.0 * most,
            median(nanos).0,
            median(nanos).1,
            median(nanos).2,
            median(commits).0,
        );
    }
}
