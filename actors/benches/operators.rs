//! What a hosted operator costs per record, without an engine around it, beside the same work in one loop by hand.
//!
//! `cargo bench -p piton-actors --bench operators [-- ROWS [ROUNDS]]`. The benches of the engine take minutes to build;
//! this one takes seconds, so it is the place to try a change of the record path.
#![allow(clippy::print_stdout, clippy::disallowed_methods, missing_docs, reason = "a measurement")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use hashbrown::HashMap;
use piton_actors::host::{AnyOperator, Hosted};
use piton_actors::prelude::*;
use piton_actors::{Batch, OutputBuffer, RowBuffer, rows};
use serde::{Deserialize, Serialize};

const KEYS: u64 = 100_000;
const BATCH: usize = 1024;
const SEED: u64 = 0x9E37_79B9_7F4A_7C15;

#[derive(Clone, Copy, Default, Serialize, Deserialize, Record)]
struct Event {
    id: u64,
    key: u64,
    value: u64,
}

struct Triple;

impl Operator for Triple {
    type In = Event;
    type Out = Event;

    fn process(&mut self, event: &Event, ctx: &mut Context<Event>) -> Result {
        ctx.emit(Event { value: event.value * 3, ..*event });
        Ok(())
    }
}

struct Count;

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

fn hosted<O: Operator>(make: fn() -> O) -> Box<dyn AnyOperator> {
    let hosted = Hosted::new(Arc::new(move || Ok(make())), Subtask::single("operator"), BATCH);
    Box::new(hosted.expect("an operator without settings"))
}

#[inline]
fn xorshift(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

fn by_hand(rows: u64) -> u64 {
    let mut sums: HashMap<u64, u64, foldhash::fast::FixedState> = HashMap::default();
    let (mut random, mut checksum) = (SEED, 0u64);
    for id in 0..rows {
        let event = black_box(Event { id, key: xorshift(&mut random) % KEYS, value: 1 });
        let mapped = Event { value: event.value * 3, ..event };
        let sum = sums.entry(mapped.key).or_default();
        *sum += mapped.value;
        checksum = checksum.wrapping_add(sum.wrapping_mul(mapped.id | 1));
    }
    checksum
}

/// What can be taken back.
#[derive(Clone, Copy, PartialEq)]
enum Transactions {
    Nothing,
    Batch,
}

/// Makes records in batches, drives them through the operators one after the other, and reads what comes out.
fn by_operators(rows_in_all: u64, mut operators: Vec<Box<dyn AnyOperator>>, transactions: Transactions) -> u64 {
    let mut source = RowBuffer::<Event>::with_rows(BATCH);
    let (mut random, mut checksum, mut id) = (SEED, 0u64, 0);
    let (mut batches, mut next): (Vec<Batch>, Vec<Batch>) = Default::default();
    while id < rows_in_all {
        let end = rows_in_all.min(id + BATCH as u64);
        for id in id..end {
            source.push(Event { id, key: xorshift(&mut random) % KEYS, value: 1 }, None);
        }
        id = end;
        source.drain(&mut batches);
        for operator in &mut operators {
            for batch in batches.drain(..) {
                if transactions == Transactions::Batch {
                    operator.begin();
                }
                operator.begin_entry(0);
                operator.process(0, &batch).expect("it takes every record");
                if transactions == Transactions::Batch {
                    operator.settle();
                }
                operator.drain(&mut next);
            }
            std::mem::swap(&mut batches, &mut next);
        }
        for batch in batches.drain(..) {
            for event in rows::<Event>(&batch).expect("rows").iter() {
                checksum = checksum.wrapping_add(event.value.wrapping_mul(event.id | 1));
            }
        }
    }
    checksum
}

/// A name, and what does the work and returns the checksum of what came out.
type Variant = (&'static str, fn(u64) -> u64);

/// Runs all variants, or only the one that the last argument names.
fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let mut numbers = arguments.iter().filter_map(|argument| argument.parse::<u64>().ok());
    let rows = numbers.next().unwrap_or(10_000_000);
    let rounds = numbers.next().unwrap_or(5) as usize;
    let only = arguments.last().filter(|argument| argument.parse::<u64>().is_err());
    let variants: [Variant; 6] = [
        ("by hand", by_hand),
        ("source and sink", |rows| by_operators(rows, Vec::new(), Transactions::Nothing)),
        ("with the map", |rows| by_operators(rows, vec![hosted(|| Triple)], Transactions::Nothing)),
        ("with map and count", |rows| {
            by_operators(rows, vec![hosted(|| Triple), hosted(|| Count)], Transactions::Nothing)
        }),
        ("in transactions, with the map", |rows| by_operators(rows, vec![hosted(|| Triple)], Transactions::Batch)),
        ("in transactions, with map and count", |rows| {
            by_operators(rows, vec![hosted(|| Triple), hosted(|| Count)], Transactions::Batch)
        }),
    ];
    let variants: Vec<&Variant> = variants.iter().filter(|(name, _)| only.is_none_or(|only| name == only)).collect();
    let mut took = vec![Vec::new(); variants.len()];
    let mut sums = Vec::new();
    for _ in 0..rounds {
        for ((name, run), took) in variants.iter().zip(&mut took) {
            let begin = Instant::now();
            let sum = black_box(run(rows));
            took.push(begin.elapsed().as_nanos() as f64 / rows as f64);
            if *name == "by hand" || name.ends_with("count") {
                sums.push(sum);
            }
        }
    }
    assert!(sums.windows(2).all(|sums| sums[0] == sums[1]), "the operators gave another answer");
    println!("median of {rounds} rounds of {rows} records, ns per record:");
    took.iter_mut().for_each(|took| took.sort_by(f64::total_cmp));
    let (first, _) = variants[0];
    for ((name, _), times) in variants.iter().zip(&took) {
        let (best, median, worst) = (times[0], times[rounds / 2], times[rounds - 1]);
        let ratio = 100.0 * took[0][rounds / 2] / median;
        println!("  {name}: {median:.1} ({best:.1} to {worst:.1}), {ratio:.0} % of the speed {first}");
    }
}
