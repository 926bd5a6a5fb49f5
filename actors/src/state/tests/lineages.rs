//! Chunks in sequence.

use super::*;
use crate::{ErrorKind, TimerKind};

const COUNT: ValueState<u64> = ValueState::new("count");
const NAME: ValueState<String> = ValueState::new("name");
const TOTAL: LocalState<u64> = LocalState::new("total");

fn set(store: &mut StateStore, key: u64, value: u64) {
    store.enter(Key::from(key));
    store.value(COUNT).set(value).unwrap();
}

fn take(store: &mut StateStore, key: u64) {
    store.enter(Key::from(key));
    store.value(COUNT).take().unwrap();
}

#[test]
fn a_cut_holds_what_changed_and_no_more() {
    let mut store = StateStore::new(0..16, 16);
    assert_eq!(store.cut().unwrap().write().unwrap(), [0u8; 0]);
    for key in 0..1000 {
        set(&mut store, key, key);
    }
    let base = store.cut().unwrap().write().unwrap();
    assert_eq!(store.cut().unwrap().write().unwrap(), [0u8; 0], "nothing changed");
    set(&mut store, 3, 30);
    take(&mut store, 4);
    let change = store.cut().unwrap().write().unwrap();
    assert!(change.len() < 200 && base.len() > 16_000, "{} and {}", change.len(), base.len());
    let mut again = restored(&[base, change]);
    assert_eq!(image(&again), image(&store));
    again.enter(Key::from(4u64));
    assert_eq!(again.value(COUNT).get().unwrap(), None);
}

#[test]
fn looking_is_not_changing() {
    let mut store = small();
    store.cut().unwrap().write().unwrap();
    store.enter(Key::from("tea"));
    store.value(COUNT).get().unwrap();
    store.value(NAME).take().unwrap();
    store.delete_timer(TimerKind::Processing, 1).unwrap();
    store.set_timer(TimerKind::Event, 1000).unwrap();
    store.enter(Key::from("nobody"));
    assert_eq!(store.value(COUNT).take().unwrap(), None);
    assert_eq!(*store.local(LocalState::<u8>::new("unset")).get().unwrap(), 0);
    assert!(!store.is_dirty());
}

#[test]
fn a_gap_in_a_lineage_is_an_error() {
    let mut store = StateStore::new(0..16, 16);
    let chunks: Vec<Vec<u8>> = (0..4)
        .map(|round| {
            set(&mut store, round, round);
            store.cut().unwrap().write().unwrap()
        })
        .collect();
    let mut fresh = StateStore::new(0..16, 16);
    let error = fresh.restore(&[chunks[0].clone(), chunks[2].clone()]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert_eq!(error.message(), "the chunks of state are not consecutive: number 0 is followed by 2");
    assert!(merge_chunks(&[chunks[1].clone(), chunks[3].clone()]).is_err());
    assert!(fresh.restore(&chunks[1..]).unwrap_err().message().contains("the one before it is missing"));
    assert!(fresh.restore(&[chunks[1].clone(), chunks[0].clone()]).is_err());
    assert_eq!(fresh.keys().count(), 0, "a failed restore leaves nothing behind");
    fresh.restore(chunks.clone()).unwrap();
    assert_eq!(image(&fresh), image(&store));
}

#[test]
fn changes_merge_into_one_change() {
    let mut store = StateStore::new(0..16, 16);
    for key in 0..9 {
        set(&mut store, key, 1);
    }
    let mut chunks = vec![store.cut().unwrap().write().unwrap()];
    for round in 0..6 {
        take(&mut store, round);
        set(&mut store, round + 100, 2);
        set(&mut store, 8, round);
        chunks.push(store.cut().unwrap().write().unwrap());
    }
    let change = merge_chunks(&chunks[1..]).unwrap();
    let base = chunks[0].clone();
    assert_eq!(image(&restored(&[base.clone(), change.clone()])), image(&store));
    assert_eq!(merge_chunks(&[base, change]).unwrap(), merge_chunks(&chunks).unwrap());
    assert_eq!(merge_chunks(&[]).unwrap(), [0u8; 0]);
}

#[test]
fn few_changes_of_a_large_store_merge() {
    let mut store = StateStore::new(0..16, 16);
    for key in 0..5000 {
        set(&mut store, key, 1);
    }
    let mut chunks = vec![store.cut().unwrap().write().unwrap()];
    for key in [4999, 3, 4999] {
        set(&mut store, key, key);
        chunks.push(store.cut().unwrap().write().unwrap());
    }
    let change = merge_chunks(&chunks[1..]).unwrap();
    assert!(change.len() < 200, "{} bytes", change.len());
    assert_eq!(image(&restored(&[chunks[0].clone(), change])), image(&store));
}

#[test]
fn a_whole_chunk_in_the_middle_merges_without_a_gap() {
    let mut store = StateStore::new(0..16, 16);
    let mut chunks = Vec::new();
    for key in 0..1000 {
        set(&mut store, key, 1);
    }
    chunks.push(store.cut().unwrap().write().unwrap());
    set(&mut store, 999, 2);
    chunks.push(store.cut().unwrap().write().unwrap());
    for key in 0..999 {
        take(&mut store, key);
    }
    chunks.push(store.cut().unwrap().write().unwrap());
    set(&mut store, 5, 3);
    chunks.push(store.cut().unwrap().write().unwrap());
    let merged = merge_chunks(&chunks[1..]).unwrap();
    assert_eq!(image(&restored(&[chunks[0].clone(), merged])), image(&store));
}

#[test]
fn where_nearly_everything_has_changed_everything_is_written() {
    let mut store = StateStore::new(0..16, 16);
    let cut_after = |store: &mut StateStore, keys: std::ops::Range<u64>| {
        keys.for_each(|key| {
            store.enter(Key::from(key));
            store.value(COUNT).update(|count| *count += 1).unwrap();
        });
        let chunk = store.cut().unwrap().write().unwrap();
        (is_whole_chunk(&chunk), chunk)
    };
    let chunks = [0..8000, 0..5000, 1000..7500, 8000..8010].map(|keys| cut_after(&mut store, keys));
    assert_eq!(chunks.each_ref().map(|(is_whole, _)| *is_whole), [true, false, true, false]);
    let chunks = chunks.map(|(_, chunk)| chunk);
    assert_eq!(image(&restored(&chunks)), image(&store));
    assert_eq!(image(&restored(&chunks[2..])), image(&store), "what came before is void");
    assert!(!is_whole_chunk(&[1; 64]) && !is_whole_chunk(&[]));
}

#[test]
fn a_slot_that_changed_hands_is_gone_from_its_old_group() {
    let (first, second) =
        (Key::from(1u64), (2u64..).map(Key::from).find(|key| key.group(2) != Key::from(1u64).group(2)));
    let second = second.unwrap();
    let mut store = StateStore::new(0..2, 2);
    store.enter(first.clone());
    store.value(COUNT).set(1).unwrap();
    let base = store.cut().unwrap().write().unwrap();
    store.value(COUNT).take().unwrap();
    store.enter(second.clone());
    store.value(COUNT).set(2).unwrap();
    let chunks = [base, store.cut().unwrap().write().unwrap()];
    for (key, left) in [(first, 0), (second, 1)] {
        let group = key.group(2);
        let mut part = StateStore::new(group..group + 1, 2);
        part.restore(&chunks).unwrap();
        assert_eq!(part.keys().count(), left);
    }
}

#[test]
fn a_restored_column_that_nobody_asks_for_is_carried_along() {
    let first = small();
    let mut second = restored(&[image(&first)]);
    second.enter(Key::from("tea"));
    second.value(COUNT).set(6).unwrap();
    let change = second.cut().unwrap().write().unwrap();
    let mut third = restored(&[image(&first), change]);
    third.enter(Key::from("tea"));
    assert_eq!(third.map(MapState::<String, f64>::new("prices")).get("small").unwrap(), Some(&2.5));
    let mut fourth = StateStore::new(0..16, 16);
    fourth.adopt(&[vec![image(&second)]]).unwrap();
    assert!(fourth.is_dirty());
    let whole = fourth.cut().unwrap().write().unwrap();
    assert_eq!(image(&restored(&[whole])), image(&second));
    assert_eq!(*fourth.local(LocalState::<u32>::new("total")).get().unwrap(), 3);
}

#[test]
fn a_store_that_lost_most_of_its_keys_is_packed_together() {
    let mut store = StateStore::new(0..16, 16);
    for key in 0..10_000u64 {
        set(&mut store, key, key);
        store.set_timer(TimerKind::Event, 10_000 - key as i64).unwrap();
        store.value(NAME).set(key.to_string()).unwrap();
    }
    let mut chunks = vec![store.cut().unwrap().write().unwrap()];
    for key in (0..10_000u64).filter(|key| key % 1000 != 999) {
        take(&mut store, key);
        store.value(NAME).take().unwrap();
        store.delete_timer(TimerKind::Event, 10_000 - key as i64).unwrap();
    }
    let order: Vec<Key> = store.keys().collect();
    store.enter(Key::from(999u64));
    chunks.push(store.cut().unwrap().write().unwrap());
    assert_eq!(store.keys().collect::<Vec<_>>(), order);
    assert_eq!(store.value(COUNT).get().unwrap(), Some(&999));
    assert_eq!(store.pop_due(TimerKind::Event, i64::MAX).unwrap().key, Key::from(9999u64));
    set(&mut store, 1, 1);
    assert_eq!(store.keys().last(), Some(Key::from(1u64)), "the slots behind are the free ones again");
    chunks.push(store.cut().unwrap().write().unwrap());
    assert_eq!(image(&restored(&chunks)), image(&store));
    assert!(merge_chunks(&chunks).unwrap().len() < 2000);
    assert_eq!(image(&restored(&chunks[1..])), image(&store), "the packed chunk begins anew");
}

#[test]
fn everything_can_go() {
    let mut store = StateStore::new(0..16, 16);
    for key in 0..10_000 {
        set(&mut store, key, key);
    }
    let mut chunks = vec![store.cut().unwrap().write().unwrap()];
    for key in 0..10_000 {
        take(&mut store, key);
    }
    chunks.push(store.cut().unwrap().write().unwrap());
    assert_eq!(restored(&chunks).keys().count(), 0);
    set(&mut store, 1, 1);
    chunks.push(store.cut().unwrap().write().unwrap());
    assert_eq!(image(&restored(&chunks)), image(&store));
}

#[test]
fn local_values_change_on_their_own() {
    let mut store = small();
    let mut chunks = vec![store.cut().unwrap().write().unwrap()];
    store.local(TOTAL).get().unwrap_err();
    store.local(LocalState::<u32>::new("total")).set(9).unwrap();
    chunks.push(store.cut().unwrap().write().unwrap());
    let mut again = restored(&[merge_chunks(&chunks).unwrap()]);
    assert_eq!(*again.local(LocalState::<u32>::new("total")).get().unwrap(), 9);
    let mut other = StateStore::new(0..16, 16);
    other.adopt(&[vec![], chunks]).unwrap();
    assert_eq!(*other.local(LocalState::<u32>::new("total")).get().unwrap(), 0, "only of the first lineage");
    assert_eq!(other.keys().count(), 3);
}
