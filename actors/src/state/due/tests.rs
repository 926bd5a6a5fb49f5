use std::collections::BTreeSet;

use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

use super::*;

fn in_leaves(due: &Due) -> Vec<(Timestamp, u32)> {
    due.leaves.values().flat_map(Leaf::entries).map(|entry| (entry.at, entry.slot)).collect()
}

fn entries(due: &Due) -> Vec<(Timestamp, u32)> {
    let mut entries = in_leaves(due);
    entries.extend(due.waiting.iter().map(|entry| (entry.at, entry.slot)));
    entries.sort_unstable();
    entries
}

/// Checks what is said of leaves where they are declared.
fn check(due: &Due) {
    assert!(due.leaves.first_key_value().is_none_or(|(bound, _)| *bound == Entry::FIRST));
    assert!(in_leaves(due).is_sorted_by(|one, next| one < next));
    assert!(entries(due).is_sorted_by(|one, next| one < next));
    assert_eq!(due.soonest, due.waiting.iter().map(|entry| entry.at).min());
    let bounds = due.leaves.keys().skip(1).map(Some).chain([None]);
    for ((bound, leaf), next) in due.leaves.iter().zip(bounds) {
        assert!(!leaf.ranks.is_empty() && leaf.ranks.len() <= LEAF);
        assert!(leaf.entries().all(|entry| *bound <= entry && next.is_none_or(|next| entry < *next)));
        assert!(leaf.entries().all(|entry| leaf.rank(entry).is_some()));
    }
}

#[test]
fn it_is_the_set_of_what_was_added_and_not_taken_out() {
    for seed in 0..300 {
        let mut rng = Pcg64Mcg::seed_from_u64(seed);
        let (mut due, mut model) = (Due::default(), BTreeSet::<(Timestamp, u32)>::new());
        let (times, slots) = (rng.random_range(1..300), rng.random_range(1..20u32));
        // How far apart moments are: within reach, just at its end, or most of them out of reach.
        let apart = [1, 1, 1 << 24, (1 << 32) - 1, 1 << 32, 1 << 48][rng.random_range(0..6)];
        let mut latest = 0;
        for step in 0..400 {
            // It grows, is about as large as before, shrinks, and grows again.
            let grows = [9, 5, 1, 9][step / 100];
            if rng.random_range(0..10) < grows {
                let at = match rng.random_range(0..20) {
                    0 => [Timestamp::MIN, Timestamp::MAX][rng.random_range(0..2)],
                    1..8 => rng.random_range(0..times),
                    8 => rng.random_range(-times..times) * apart,
                    _ => latest + rng.random_range(-1..3) * apart,
                };
                let slot = rng.random_range(0..slots);
                if at != Timestamp::MAX {
                    latest = latest.max(at);
                }
                if model.insert((at, slot)) {
                    due.insert(at, slot);
                }
            } else if let Some((at, slot)) = match rng.random_range(0..3) {
                0 => model.iter().nth(rng.random_range(0..model.len().max(1))).copied(),
                _ => model.first().copied(),
            } {
                model.remove(&(at, slot));
                due.remove(at, slot);
            }
            assert_eq!(due.earliest(), model.first().map(|first| first.0), "seed {seed}, step {step}");
            // Asking puts them in order, so it is asked now and then, and for some time or other.
            if rng.random_range(0..4) == 0 {
                let until = [Timestamp::MAX, rng.random_range(-times..times)][rng.random_range(0..2)];
                let expected = model.first().copied().filter(|first| first.0 <= until);
                assert_eq!(due.first(until), expected, "seed {seed}, step {step}");
            }
            assert_eq!(due.is_empty(), model.is_empty(), "seed {seed}, step {step}");
            check(&due);
        }
        assert!(entries(&due).into_iter().eq(model.iter().copied()), "seed {seed}");
        // The same again, all at once, and in the order of slots.
        let mut shuffled: Vec<(Timestamp, u32)> = model.iter().copied().collect();
        shuffled.sort_unstable_by_key(|(at, slot)| (*slot, *at));
        let again = Due::of(shuffled.into_iter());
        check(&again);
        assert_eq!(entries(&again), entries(&due), "seed {seed}");
        while let Some(first) = due.first(Timestamp::MAX) {
            assert_eq!(model.pop_first(), Some(first), "seed {seed}");
            due.remove(first.0, first.1);
        }
        assert!(model.is_empty(), "seed {seed}");
    }
}

/// Years of them: what was set first is long out of reach of what comes last.
#[test]
fn a_leaf_goes_with_time() {
    let (mut due, count) = (Due::default(), 20 * LEAF as u32);
    let at = |number: u32| i64::from(number) * (1 << 28);
    for number in 0..count {
        due.insert(at(number), number);
        check(&due);
        if number >= 3 {
            assert_eq!(due.first(Timestamp::MAX), Some((at(number - 3), number - 3)));
            due.remove(at(number - 3), number - 3);
        }
    }
    assert!(due.leaves.len() <= 2, "{}", due.leaves.len());
}

#[test]
fn timers_that_are_set_in_order_fill_their_leaves() {
    let mut due = Due::default();
    for number in 0..100 * LEAF as u32 {
        due.insert(i64::from(number / 3), number);
    }
    due.order();
    assert_eq!(due.leaves.len(), 100);
}

#[test]
fn the_timers_of_a_window_are_put_in_order_together() {
    let (mut due, count) = (Due::default(), 100 * LEAF as u32);
    let mut slots: Vec<u32> = (0..count).collect();
    slots.shuffle(&mut Pcg64Mcg::seed_from_u64(1));
    for (number, slot) in slots.into_iter().enumerate() {
        due.insert(1_000, slot);
        assert_eq!(due.first(999), None);
        assert!(due.waiting.len() <= WAITING.max(number / (SHARE / 2)));
    }
    check(&due);
    for slot in 0..count {
        assert_eq!(due.first(1_000), Some((1_000, slot)));
        // Each is set again, for the window after that.
        due.remove(1_000, slot);
        due.insert(2_000, slot);
    }
    assert_eq!((due.first(1_999), due.first(2_000)), (None, Some((2_000, 0))));
}

#[test]
fn what_is_left_of_many_timers_takes_few_leaves() {
    let count = 100 * LEAF as u32;
    let mut due = Due::of((0..count).map(|number| (0, number)));
    for number in (0..count).filter(|number| number % LEAF as u32 != 0) {
        due.remove(0, number);
    }
    check(&due);
    assert!(due.leaves.len() <= 2 * 100 / SMALL + 1, "{}", due.leaves.len());
}
