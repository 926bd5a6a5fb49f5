//! A transaction that was taken back has not been.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use serde::{Deserialize, Serialize};

use super::*;
use crate::TimerKind;

const COUNT: ValueState<u64> = ValueState::new("count");
const FLAG: ValueState<bool> = ValueState::new("flag");
const NAME: ValueState<String> = ValueState::new("name");
const POINT: ValueState<Point> = ValueState::new("point");
const WIDE: ValueState<[u64; 12]> = ValueState::new("wide");
const PRICES: MapState<u8, i32> = MapState::new("prices");
const NOTES: MapState<String, String> = MapState::new("notes");
const ITEMS: ListState<String> = ListState::new("items");
const TOTAL: LocalState<u64> = LocalState::new("total");
const TITLE: LocalState<String> = LocalState::new("title");
const GROUPS: u32 = 16;

/// Small and plain, but not a number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Point {
    x: i32,
    y: i32,
}

/// One thing that happens to a store; which, and with what, is all in its numbers.
#[derive(Clone, Copy, Debug)]
struct Step {
    what: u8,
    id: u8,
    small: u8,
    at: i64,
    kind: TimerKind,
}

impl Step {
    fn random(rng: &mut Pcg64Mcg, ids: u8) -> Step {
        Step {
            what: rng.random_range(0..32),
            id: rng.random_range(0..ids),
            small: rng.random_range(0..4),
            at: rng.random_range(0..20),
            kind: if rng.random() { TimerKind::Event } else { TimerKind::Processing },
        }
    }

    fn text(self) -> String {
        format!("text {}", self.small)
    }

    fn take(self, store: &mut StateStore) {
        let Step { id, small, at, kind, .. } = self;
        store.enter(key(id));
        match self.what {
            0..=2 => store.value(COUNT).update(|count| *count += 1).unwrap(),
            3 => store.value(COUNT).set(at as u64).unwrap(),
            4 => drop(store.value(COUNT).take().unwrap()),
            5 => store.value(FLAG).set(small > 1).unwrap(),
            6 => drop(store.value(FLAG).take().unwrap()),
            7 => store.value(NAME).set(self.text()).unwrap(),
            8 => store.value(NAME).update(|name| name.push('x')).unwrap(),
            9 => drop(store.value(NAME).take().unwrap()),
            10 => store.value(POINT).update(|point| point.x += 1).unwrap(),
            11 => drop(store.value(POINT).take().unwrap()),
            12 => store.value(WIDE).update(|wide| wide[3] += 1).unwrap(),
            13 => drop(store.value(WIDE).take().unwrap()),
            14 => drop(store.map(PRICES).insert(small, at as i32).unwrap()),
            15 => store.map(PRICES).update(small, |price| *price -= 1).unwrap(),
            16 => drop(store.map(PRICES).remove(&small).unwrap()),
            17 => store.map(PRICES).clear().unwrap(),
            18 => store.map(NOTES).update(self.text(), |note| note.push('y')).unwrap(),
            19 => drop(store.map(NOTES).remove(&*self.text()).unwrap()),
            20 | 21 => store.list(ITEMS).push(self.text()).unwrap(),
            22 => drop(store.list(ITEMS).take().unwrap()),
            23 => store.list(ITEMS).clear().unwrap(),
            24 => store.set_timer(kind, at).unwrap(),
            25 => store.delete_timer(kind, at).unwrap(),
            26 => drop(store.pop_due(kind, at)),
            27 => store.local(TOTAL).update(|total| *total += 1).unwrap(),
            28 => store.local(TITLE).set(self.text()).unwrap(),
            29 => drop(store.value(NAME).modify(|name| name.push('z')).unwrap()),
            30 => drop(store.map(NOTES).modify(&*self.text(), |note| note.push('z')).unwrap()),
            _ => self.take_block(store),
        }
    }

    /// Counts some keys in a block of records.
    fn take_block(self, store: &mut StateStore) {
        let rows = usize::from(self.small) * 3;
        store.find_block((0..rows).map(|row| key(self.id.wrapping_add(row as u8) % 60)));
        for row in 0..rows {
            store.enter_row(row);
            store.value(COUNT).update(|count| *count += 1).unwrap();
        }
    }

    /// Panics in the middle of a change, which leaves something behind that is neither old nor new.
    fn fail(self, store: &mut StateStore) {
        let failed = catch_unwind(AssertUnwindSafe(|| {
            store.enter(key(self.id));
            let torn = |text: &mut String| {
                text.push_str("torn");
                resume_unwind(Box::new(()));
            };
            match self.what % 4 {
                0 => store.value(NAME).update(torn),
                1 => store.map(NOTES).update(self.text(), torn),
                2 => store.local(TITLE).update(torn),
                _ => store.value(COUNT).update(|count| {
                    *count = u64::MAX;
                    resume_unwind(Box::new(()));
                }),
            }
        }));
        assert!(failed.is_err());
    }
}

fn key(id: u8) -> Key {
    match id % 4 {
        0 | 1 => Key::from(id),
        2 => Key::from(format!("key {id}").as_str()),
        _ => Key::from(format!("a key that is too long to be kept without an allocation {id}").as_str()),
    }
}

/// What can be seen of one key.
fn row(store: &mut StateStore, id: u8) -> String {
    store.enter(key(id));
    let mut row = format!("{:?}", store.value(COUNT).get().unwrap());
    row += &format!(" {:?}", store.value(FLAG).get().unwrap());
    row += &format!(" {:?}", store.value(NAME).get().unwrap());
    row += &format!(" {:?}", store.value(POINT).get().unwrap());
    row += &format!(" {:?}", store.value(WIDE).get().unwrap());
    row += &format!(" {:?}", store.map(PRICES).iter().unwrap().collect::<Vec<_>>());
    row += &format!(" {:?}", store.map(NOTES).iter().unwrap().collect::<Vec<_>>());
    row + &format!(" {:?}", store.list(ITEMS).get().unwrap())
}

fn check(store: &mut StateStore, twin: &mut StateStore, ids: u8) {
    assert!(store.keys().eq(twin.keys()));
    assert_eq!(image(store), image(twin));
    assert_eq!((store.is_dirty(), store.has_state()), (twin.is_dirty(), twin.has_state()));
    for id in 0..ids {
        assert_eq!(row(store, id), row(twin, id));
    }
    for kind in [TimerKind::Event, TimerKind::Processing] {
        assert_eq!(store.next_timer(kind), twin.next_timer(kind));
    }
    assert_eq!(store.local(TOTAL).get().unwrap(), twin.local(TOTAL).get().unwrap());
    assert_eq!(store.local(TITLE).get().unwrap(), twin.local(TITLE).get().unwrap());
}

/// Runs a store with transactions beside a twin that never does what is undone.
fn history(seed: u64) {
    eprintln!("seed {seed}");
    let mut rng = Pcg64Mcg::seed_from_u64(seed);
    let ids = rng.random_range(1..60);
    let mut store = StateStore::new(0..GROUPS, GROUPS);
    let mut twin = StateStore::new(0..GROUPS, GROUPS);
    let mut chunks = Vec::new();
    for _ in 0..rng.random_range(1..12) {
        let mut steps: Vec<Step> = (0..rng.random_range(0..50)).map(|_| Step::random(&mut rng, ids)).collect();
        match rng.random_range(0..4) {
            0 => {
                for step in steps {
                    step.take(&mut store);
                    step.take(&mut twin);
                }
            }
            1 => {
                store.begin();
                for step in steps {
                    step.take(&mut store);
                    step.take(&mut twin);
                }
                store.settle();
            }
            _ => {
                if rng.random() {
                    // Everything that there is, in any order.
                    steps.extend((0..ids).flat_map(|id| {
                        [4, 6, 9, 11, 13, 17, 23].map(|what| Step { what, id, small: 0, at: 0, kind: TimerKind::Event })
                    }));
                }
                store.begin();
                for step in &steps {
                    step.take(&mut store);
                }
                if rng.random() {
                    Step::random(&mut rng, ids).fail(&mut store);
                }
                assert!(store.undo());
                assert!(store.key().is_none());
            }
        }
        // Looking at values decodes what was restored, which would hide that an undo has lost it.
        if rng.random() {
            check(&mut store, &mut twin, ids);
        }
        match rng.random_range(0..4) {
            0 => {
                let chunk = store.cut().unwrap().write().unwrap();
                assert_eq!(chunk, twin.cut().unwrap().write().unwrap());
                chunks.push(chunk);
                assert_eq!(image(&restored(&chunks)), image(&store));
            }
            1 => (store, twin) = (restored(&chunks), restored(&chunks)),
            _ => {}
        }
    }
    check(&mut store, &mut twin, ids);
}

#[test]
fn what_was_undone_has_never_been() {
    for seed in 0..1500 {
        history(seed);
    }
}

#[test]
fn a_store_outside_of_a_transaction_cannot_be_taken_back() {
    let mut store = small();
    assert!(!store.undo());
    store.begin();
    store.settle();
    assert!(!store.undo());
    store.begin();
    assert!(store.undo());
    assert!(!store.undo());
    assert_eq!(image(&store), image(&small()));
}

#[test]
fn values_that_are_too_large_to_be_copied_cannot_be_taken_back() {
    const LARGE: ValueState<Vec<u64>> = ValueState::new("large");
    const LARGE_TOTAL: LocalState<Vec<u64>> = LocalState::new("total");
    let mut store = StateStore::new(0..16, 16);
    let large = vec![u64::MAX; 100_000];
    store.enter(Key::from("tea"));
    store.value(LARGE).set(large.clone()).unwrap();
    store.local(LARGE_TOTAL).set(large.clone()).unwrap();
    let before = image(&store);

    // Moved, not copied.
    store.begin();
    store.value(LARGE).set(vec![1]).unwrap();
    store.local(LARGE_TOTAL).set(vec![1]).unwrap();
    store.value(LARGE).update(|large| large.push(2)).unwrap();
    assert!(store.undo());
    assert_eq!(image(&store), before);

    store.enter(Key::from("tea"));
    store.begin();
    store.value(LARGE).update(|large| large.push(1)).unwrap();
    assert!(!store.undo());
    store.begin();
    store.local(LARGE_TOTAL).update(|large| large.push(1)).unwrap();
    assert!(!store.undo());

    // Once they are small again, they are copied again.
    store.enter(Key::from("tea"));
    store.value(LARGE).set(vec![1]).unwrap();
    let mut undone = false;
    for _ in 0..1000 {
        store.enter(Key::from("tea"));
        store.begin();
        store.value(LARGE).update(|large| large[0] += 1).unwrap();
        undone = store.undo();
    }
    assert!(undone);
}
