//! Random histories, against a model that is too simple to be wrong.

use std::collections::{BTreeMap, BTreeSet};

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

use super::slots::is_sparse;
use super::*;
use crate::TimerKind;

const COUNT: ValueState<u64> = ValueState::new("count");
const NAME: ValueState<String> = ValueState::new("name");
const PRICES: MapState<u8, i32> = MapState::new("prices");
const ITEMS: ListState<String> = ListState::new("items");
const TOTAL: LocalState<u64> = LocalState::new("total");
const GROUPS: u32 = 16;

#[derive(Clone, Debug, Default, PartialEq)]
struct Row {
    count: Option<u64>,
    name: Option<String>,
    prices: BTreeMap<u8, i32>,
    items: Vec<String>,
    timers: BTreeSet<(TimerKind, i64)>,
}

/// Rows by slot; a new one takes the smallest that is free.
#[derive(Clone, Debug, Default)]
struct Model {
    rows: BTreeMap<u32, (u8, Row)>,
    total: u64,
}

impl Model {
    fn change(&mut self, id: u8, change: impl FnOnce(&mut Row)) {
        let slot = self.rows.iter().find(|(_, (other, _))| *other == id).map(|(slot, _)| *slot);
        let slot = slot.unwrap_or_else(|| (0..).find(|slot| !self.rows.contains_key(slot)).unwrap());
        let row = &mut self.rows.entry(slot).or_insert((id, Row::default())).1;
        change(row);
        if *row == Row::default() {
            self.rows.remove(&slot);
        }
    }

    fn row(&self, id: u8) -> Row {
        self.rows.values().find(|(other, _)| *other == id).map(|(_, row)| row.clone()).unwrap_or_default()
    }

    /// A cut moves the keys together if most slots are free.
    fn cut(&mut self) {
        if self.is_sparse() {
            self.rows = (0..).zip(std::mem::take(&mut self.rows).into_values()).collect();
        }
    }

    fn is_sparse(&self) -> bool {
        let slots = self.rows.last_key_value().map_or(0, |(slot, _)| u64::from(*slot) + 1);
        is_sparse(slots, self.rows.len() as u64)
    }

    /// The order in which timers are due: by time, then slot.
    fn pop_due(&mut self, kind: TimerKind, now: i64) -> Option<(i64, u8)> {
        let due = self.rows.iter().flat_map(|(slot, (id, row))| {
            row.timers.iter().filter(|timer| timer.0 == kind).map(move |timer| (timer.1, *slot, *id))
        });
        let (at, _, id) = due.filter(|(at, ..)| *at <= now).min()?;
        self.change(id, |row| {
            row.timers.remove(&(kind, at));
        });
        Some((at, id))
    }
}

fn key(id: u8) -> Key {
    match id % 3 {
        0 => Key::from(id),
        1 => Key::from(format!("key {id}").as_str()),
        _ => Key::from(format!("a key that is too long to be kept without an allocation {id}").as_str()),
    }
}

fn step(rng: &mut Pcg64Mcg, store: &mut StateStore, model: &mut Model, ids: u8) {
    let id = rng.random_range(0..ids);
    let small = rng.random_range(0..4u8);
    let at = rng.random_range(0..20i64);
    let kind = if rng.random() { TimerKind::Event } else { TimerKind::Processing };
    store.enter(key(id));
    match rng.random_range(0..18) {
        0 | 1 => {
            store.value(COUNT).update(|count| *count += 1).unwrap();
            model.change(id, |row| *row.count.get_or_insert(0) += 1);
        }
        2 | 3 => {
            assert_eq!(store.value(COUNT).take().unwrap(), model.row(id).count);
            model.change(id, |row| row.count = None);
        }
        4 => {
            store.value(NAME).set(format!("name {small}")).unwrap();
            model.change(id, |row| row.name = Some(format!("name {small}")));
        }
        5 => {
            assert_eq!(store.value(NAME).take().unwrap(), model.row(id).name);
            model.change(id, |row| row.name = None);
        }
        6 => {
            let before = store.map(PRICES).insert(small, 7).unwrap();
            model.change(id, |row| assert_eq!(row.prices.insert(small, 7), before));
        }
        7 => {
            store.map(PRICES).update(small, |price| *price -= 1).unwrap();
            model.change(id, |row| *row.prices.entry(small).or_default() -= 1);
        }
        8 => {
            let removed = store.map(PRICES).remove(&small).unwrap();
            model.change(id, |row| assert_eq!(row.prices.remove(&small), removed));
        }
        9 => {
            store.map(PRICES).clear().unwrap();
            model.change(id, |row| row.prices.clear());
        }
        10 => {
            store.list(ITEMS).push(format!("item {small}")).unwrap();
            model.change(id, |row| row.items.push(format!("item {small}")));
        }
        11 => {
            let items = store.list(ITEMS).take().unwrap();
            model.change(id, |row| assert_eq!(std::mem::take(&mut row.items), items));
        }
        12 => {
            store.set_timer(kind, at).unwrap();
            model.change(id, |row| {
                row.timers.insert((kind, at));
            });
        }
        13 => {
            store.delete_timer(kind, at).unwrap();
            model.change(id, |row| {
                row.timers.remove(&(kind, at));
            });
        }
        14 => {
            let timer = store.pop_due(kind, at);
            assert_eq!(timer.as_ref().map(|timer| timer.key.clone()), timer.as_ref().map(|_| store.key()));
            let due = model.pop_due(kind, at).map(|(at, id)| (at, key(id)));
            assert_eq!(timer.map(|timer| (timer.at, timer.key)), due);
        }
        15 => {
            let changed = store.value(COUNT).modify(|count| (*count += 3, *count).1).unwrap();
            model.change(id, |row| assert_eq!(row.count.as_mut().map(|count| (*count += 3, *count).1), changed));
        }
        16 => {
            let changed = store.map(PRICES).modify(&small, |price| (*price += 3, *price).1).unwrap();
            model.change(id, |row| {
                assert_eq!(row.prices.get_mut(&small).map(|price| (*price += 3, *price).1), changed);
            });
        }
        _ => {
            store.local(TOTAL).update(|total| *total += 1).unwrap();
            model.total += 1;
        }
    }
}

fn remove(store: &mut StateStore, model: &mut Model, id: u8) {
    let row = model.row(id);
    store.enter(key(id));
    store.value(COUNT).take().unwrap();
    store.value(NAME).take().unwrap();
    store.map(PRICES).clear().unwrap();
    store.list(ITEMS).clear().unwrap();
    for (kind, at) in row.timers {
        store.delete_timer(kind, at).unwrap();
    }
    model.change(id, |row| *row = Row::default());
}

fn check_row(store: &mut StateStore, id: u8, row: &Row) {
    store.enter(key(id));
    assert_eq!(store.value(COUNT).get().unwrap().copied(), row.count);
    assert_eq!(store.value(NAME).get().unwrap(), row.name.as_ref());
    let prices: BTreeMap<u8, i32> = store.map(PRICES).iter().unwrap().map(|(key, value)| (*key, *value)).collect();
    assert_eq!(prices, row.prices);
    assert_eq!(store.list(ITEMS).get().unwrap(), row.items);
}

/// Compares everything, the order of keys and of timers included.
fn check(store: &mut StateStore, model: &Model, ids: u8) {
    let keys: Vec<Key> = store.keys().collect();
    let expected: Vec<Key> = model.rows.values().map(|(id, _)| key(*id)).collect();
    assert_eq!(keys, expected);
    for id in 0..ids {
        check_row(store, id, &model.row(id));
    }
    assert_eq!(*store.local(TOTAL).get().unwrap(), model.total);
    if model.is_sparse() {
        // Only a cut could make an image of it, and would pack it.
        return;
    }
    let (mut rest, mut model) = (restored(&[image(store)]), model.clone());
    for kind in [TimerKind::Event, TimerKind::Processing] {
        while let Some(timer) = rest.pop_due(kind, i64::MAX) {
            assert_eq!(Some((timer.at, timer.key)), model.pop_due(kind, i64::MAX).map(|(at, id)| (at, key(id))));
        }
        assert_eq!(model.pop_due(kind, i64::MAX), None);
    }
}

/// Spreads a state over other subtasks and brings it together again; slots differ afterwards, content does not.
fn check_rescaled(rng: &mut Pcg64Mcg, chunks: &[Vec<u8>], model: &Model, ids: u8) {
    let parallelism = rng.random_range(1..=5);
    let mut lineages = Vec::new();
    for subtask in 0..parallelism {
        let own = crate::key::groups_of(subtask, parallelism, GROUPS);
        let mut store = StateStore::new(own.clone(), GROUPS);
        store.restore(chunks).unwrap();
        assert!(store.keys().all(|key| own.contains(&key.group(GROUPS))));
        store.adopt(&[chunks.to_vec()]).unwrap();
        for id in (0..ids).filter(|id| own.contains(&key(*id).group(GROUPS))) {
            check_row(&mut store, id, &model.row(id));
        }
        assert!(store.keys().all(|key| own.contains(&key.group(GROUPS))));
        lineages.push(vec![store.cut().unwrap().write().unwrap()]);
    }
    let mut together = StateStore::new(0..GROUPS, GROUPS);
    together.adopt(&lineages).unwrap();
    for id in 0..ids {
        check_row(&mut together, id, &model.row(id));
    }
    assert_eq!(together.keys().count(), model.rows.len());
    assert_eq!(*together.local(TOTAL).get().unwrap(), model.total);
    let whole = together.cut().unwrap().write().unwrap();
    assert!(!together.is_dirty());
    if !whole.is_empty() {
        assert_eq!(image(&restored(&[whole])), image(&together));
    }
}

fn history(seed: u64) {
    eprintln!("seed {seed}");
    let mut rng = Pcg64Mcg::seed_from_u64(seed);
    let ids = rng.random_range(1..60);
    let (mut store, mut model) = (StateStore::new(0..GROUPS, GROUPS), Model::default());
    let (mut chunks, mut base) = (Vec::new(), Model::default());
    for _ in 0..40 {
        for _ in 0..rng.random_range(0..60) {
            step(&mut rng, &mut store, &mut model, ids);
        }
        if rng.random_range(0..8) == 0 {
            for id in 1..ids {
                remove(&mut store, &mut model, id);
            }
        }
        match rng.random_range(0..4) {
            0 => {
                // A crash: what was not cut is lost.
                store = restored(&chunks);
                model = base.clone();
                assert!(!store.is_dirty());
                assert_eq!(store.cut().unwrap().write().unwrap(), [0u8; 0]);
            }
            1 if chunks.len() > 1 => {
                let from = rng.random_range(0..chunks.len());
                let to = rng.random_range(from..chunks.len());
                let merged = merge_chunks(&chunks[from..=to]).unwrap();
                chunks.splice(from..=to, [merged]);
                assert_eq!(image(&restored(&chunks)), image(&restored(&[merge_chunks(&chunks).unwrap()])));
            }
            _ => {
                chunks.push(store.cut().unwrap().write().unwrap());
                model.cut();
                base = model.clone();
                assert!(!store.is_dirty());
                assert_eq!(image(&restored(&chunks)), image(&store));
                check_rescaled(&mut rng, &chunks, &model, ids);
            }
        }
        check(&mut store, &model, ids);
    }
}

#[test]
fn any_history_survives_cuts_crashes_merges_and_rescaling() {
    for seed in 0..60 {
        history(seed);
    }
}
