use std::collections::BTreeMap;

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use serde_json::{Value, json};

use super::super::tests::{int_table, ints, plan_operator};
use super::*;
use crate::WATERMARK_MIN;
use crate::harness::Harness;
use crate::table::table;

fn harness(by: &[usize], within: Option<i64>, input: &Table) -> Harness<Deduplicate> {
    let schema = super::super::expression::normal(&input.schema());
    let kept = if within.is_some() { (0..schema.fields().len()).collect() } else { Vec::new() };
    let shape = Arc::new(Shape::single(Side::new(&schema, by.to_vec(), kept).unwrap()).unwrap());
    let deduplicate = Deduplicate { shape, within, found: Rows::default() };
    Harness::new(move || deduplicate.clone())
}

fn rows(keys: &[Option<i64>], numbers: &[i64], times: Option<&[i64]>) -> Table {
    let numbers: Vec<_> = numbers.iter().map(|number| Some(*number)).collect();
    int_table(&[("k", keys), ("n", &numbers)], times)
}

fn emitted(harness: &Harness<Deduplicate>) -> Vec<(i64, Option<Timestamp>)> {
    let mut rows = Vec::new();
    for batch in harness.output_batches() {
        let table = table(batch).unwrap();
        let numbers = ints(&table, "n").into_iter().enumerate();
        rows.extend(numbers.map(|(row, number)| (number.unwrap(), table.time(row))));
    }
    rows
}

#[test]
fn for_ever_the_first_to_come_passes_and_null_is_a_key() {
    let input = rows(&[Some(1), None, Some(1), None, Some(2)], &[1, 2, 3, 4, 5], None);
    let mut harness = harness(&[0], None, &input);
    harness.push_batch(0, Arc::new(input.clone())).unwrap().checkpoint().unwrap().crash().unwrap();
    let more = rows(&[Some(2), Some(3)], &[6, 7], None);
    harness.push_batch(0, Arc::new(more)).unwrap();
    assert_eq!(emitted(&harness), [(1, None), (2, None), (5, None), (7, None)]);
}

#[test]
fn within_a_time_the_earliest_passes_and_dropped_rows_do_not_count() {
    let keys = [Some(1); 6];
    let input = rows(&keys, &[40, 0, 80, 120, 181, 60], Some(&[40, 0, 80, 120, 181, 60]));
    let mut harness = harness(&[0], Some(60), &input);
    harness.push_batch(0, Arc::new(input)).unwrap().watermark(50).unwrap().checkpoint().unwrap().crash().unwrap();
    assert_eq!(emitted(&harness), [(0, Some(0))]);
    harness.close().unwrap();
    assert_eq!(emitted(&harness), [(0, Some(0)), (80, Some(80)), (181, Some(181))]);
    assert!(harness.context().unwrap().keys().is_empty(), "nothing is left");
}

#[test]
fn of_one_moment_the_order_of_values_decides_and_late_rows_are_counted() {
    for numbers in [[7, 8], [8, 7]] {
        let input = rows(&[Some(1); 2], &numbers, Some(&[10, 10]));
        let mut harness = harness(&[0], Some(5), &input);
        harness.push_batch(0, Arc::new(input.clone())).unwrap().watermark(10).unwrap();
        harness.push_batch(0, Arc::new(input)).unwrap();
        assert_eq!(emitted(&harness), [(7, Some(10))]);
        let late = crate::LocalState::<u64>::new("late");
        assert_eq!(*harness.context().unwrap().local(late).get().unwrap(), 2);
    }
}

#[test]
fn rows_without_event_time_are_refused_if_it_counts() {
    let input = rows(&[Some(1)], &[1], None);
    let error = harness(&[0], Some(5), &input).push_batch(0, Arc::new(input)).err().unwrap();
    assert_eq!(error.kind(), crate::ErrorKind::Invalid);
}

#[test]
fn batches_give_what_a_plain_loop_gives_whatever_crashes() {
    for seed in 0..60 {
        let mut rng = Pcg64Mcg::seed_from_u64(seed);
        let within = rng.random_range(0..12);
        let mut harness = harness(&[0], Some(within), &rows(&[], &[], None));
        let (mut now, mut watermark, mut number) = (0, WATERMARK_MIN, 0);
        let (mut taken, mut committed) = (Vec::new(), (0, WATERMARK_MIN));
        for _ in 0..80 {
            now += rng.random_range(0..5);
            match rng.random_range(0..10) {
                0 => {
                    harness.checkpoint().unwrap();
                    committed = (taken.len(), watermark);
                }
                1 => {
                    harness.crash().unwrap();
                    taken.truncate(committed.0);
                    watermark = committed.1;
                }
                2 | 3 => {
                    watermark = watermark.max(now - 12);
                    harness.watermark(watermark).unwrap();
                }
                _ => {
                    let count = rng.random_range(1..8);
                    let keys: Vec<_> =
                        (0..count).map(|_| Some(rng.random_range(0..4)).filter(|key| *key > 0)).collect();
                    let times: Vec<_> = (0..count).map(|_| now - rng.random_range(0..18)).collect();
                    let numbers: Vec<_> = (0..count as i64).map(|row| number + row).collect();
                    number += count as i64;
                    harness.push_batch(0, Arc::new(rows(&keys, &numbers, Some(&times)))).unwrap();
                    let all = keys.into_iter().zip(times).zip(numbers).map(|((key, at), number)| (key, at, number));
                    taken.extend(all.filter(|(_, at, _)| *at > watermark));
                }
            }
        }
        harness.close().unwrap();
        taken.sort_unstable();
        let (mut passed, mut expected) = (BTreeMap::new(), Vec::new());
        for (key, at, number) in taken {
            if passed.get(&key).is_none_or(|passed| at - passed > within) {
                passed.insert(key, at);
                expected.push((number, Some(at)));
            }
        }
        let mut got = emitted(&harness);
        got.sort_unstable();
        expected.sort_unstable();
        assert_eq!(got, expected, "seed {seed}");
    }
}

#[test]
fn mistakes_name_their_options() {
    let input = rows(&[], &[], None);
    let faults = |options: Value| plan_operator(&DeduplicateKind, options, &input).err().unwrap();
    let named = |options| faults(options).into_iter().map(|fault| fault.option).collect::<Vec<_>>();
    assert_eq!(named(json!({ "by": ["k", "m", "k"], "within": "5" })), ["by[1]", "by[2]", "within"]);
    assert_eq!(named(json!({ "by": [] })), ["by"]);
    assert_eq!(named(json!({ "within": "5s" })), ["by"]);
    let plan = |options| plan_operator(&DeduplicateKind, options, &input).unwrap();
    assert_ne!(plan(json!({ "by": ["k"] })).state, plan(json!({ "by": ["k"], "within": "5s" })).state);
}
