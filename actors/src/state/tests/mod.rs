//! Tests of the store as a whole.

mod broadcast;
mod damage;
mod expiry;
mod lineages;
mod migrations;
mod model;
mod pieces;
mod types;
mod undo;

use super::*;
use crate::Key;

/// Everything in a store as bytes: two stores with the same are the same in everything that can be seen.
fn image(store: &StateStore) -> Vec<u8> {
    store.take_down(true, 0).unwrap().write().unwrap()
}

fn restored(chunks: &[Vec<u8>]) -> StateStore {
    let mut store = StateStore::new(0..16, 16);
    store.restore(chunks).unwrap();
    store
}

/// A store of a few keys with one of everything.
fn small() -> StateStore {
    const COUNT: ValueState<u64> = ValueState::new("count");
    const FLAG: ValueState<bool> = ValueState::new("flag");
    const NAME: ValueState<String> = ValueState::new("name");
    const PRICES: MapState<String, f64> = MapState::new("prices");
    const ITEMS: ListState<i8> = ListState::new("items");
    const TOTAL: LocalState<u32> = LocalState::new("total");
    let mut store = StateStore::new(0..16, 16);
    for key in [Key::from(7u64), Key::from("tea"), Key::from(u64::MAX)] {
        store.enter(key);
        store.value(COUNT).set(5).unwrap();
        store.set_timer(crate::TimerKind::Event, 1000).unwrap();
    }
    store.value(FLAG).set(true).unwrap();
    store.value(NAME).set("oolong".into()).unwrap();
    store.enter(Key::from("tea"));
    store.map(PRICES).insert("small".into(), 2.5).unwrap();
    store.list(ITEMS).push(-1).unwrap();
    store.local(TOTAL).set(3).unwrap();
    store
}
