//! What has a time to live, against a model that is too simple to be wrong.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

use super::*;
use crate::{TimerKind, Timestamp};

const SHORT: Duration = Duration::from_millis(150);
const LONG: Duration = Duration::from_millis(700);
const COUNT: ValueState<u64> = ValueState::new("count").ttl(Ttl::event_time(SHORT));
const NAME: ValueState<String> = ValueState::new("name").ttl(Ttl::processing_time(LONG).renewed_by_reads());
const PRICES: MapState<u8, i32> = MapState::new("prices").ttl(Ttl::event_time(LONG));
const NOTES: MapState<String, String> = MapState::new("notes").ttl(Ttl::processing_time(SHORT).renewed_by_reads());
const ITEMS: ListState<u64> = ListState::new("items").ttl(Ttl::event_time(SHORT));
const WORDS: ListState<String> = ListState::new("words").ttl(Ttl::processing_time(LONG).renewed_by_reads());
const PLAIN: ValueState<u64> = ValueState::new("plain");
const GROUPS: u32 = 16;

fn declared() -> Vec<Declared> {
    vec![COUNT.into(), NAME.into(), PRICES.into(), NOTES.into(), ITEMS.into(), WORDS.into()]
}

fn empty(own: std::ops::Range<u32>) -> StateStore {
    let mut store = StateStore::new(own, GROUPS);
    store.declare(declared());
    store
}

fn key(id: u8) -> Key {
    if id.is_multiple_of(2) { Key::from(u64::from(id)) } else { Key::from(format!("key {id}").as_str()) }
}

/// Something with its deadline.
type Kept<T> = (T, Timestamp);

#[derive(Clone, Debug, Default)]
struct Row {
    count: Option<Kept<u64>>,
    name: Option<Kept<String>>,
    prices: BTreeMap<u8, Kept<i32>>,
    notes: BTreeMap<String, Kept<String>>,
    items: Vec<Kept<u64>>,
    words: Vec<Kept<String>>,
    plain: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Times {
    event: Timestamp,
    processing: Timestamp,
}

#[derive(Clone, Debug)]
struct Model {
    rows: BTreeMap<u8, Row>,
    times: Times,
}

impl Model {
    /// Returns a row without what has expired.
    fn row(&mut self, id: u8) -> &mut Row {
        let Times { event, processing } = self.times;
        let row = self.rows.entry(id).or_default();
        row.count = row.count.filter(|(_, deadline)| *deadline > event);
        row.name = row.name.take().filter(|(_, deadline)| *deadline > processing);
        row.prices.retain(|_, (_, deadline)| *deadline > event);
        row.notes.retain(|_, (_, deadline)| *deadline > processing);
        row.items.retain(|(_, deadline)| *deadline > event);
        row.words.retain(|(_, deadline)| *deadline > processing);
        row
    }

    fn set(&self, store: &mut StateStore) {
        store.set_time(TimerKind::Event, self.times.event);
        store.set_time(TimerKind::Processing, self.times.processing);
    }
}

/// One thing that happens; which, and with what, is all in its numbers.
#[derive(Clone, Copy, Debug)]
struct Step {
    what: u8,
    id: u8,
    small: u8,
}

impl Step {
    fn random(rng: &mut Pcg64Mcg, ids: u8) -> Step {
        Step { what: rng.random_range(0..26), id: rng.random_range(0..ids), small: rng.random_range(0..5) }
    }

    fn take(self, store: &mut StateStore, model: &mut Model) {
        let Step { what, id, small } = self;
        let Times { event, processing } = model.times;
        let (short_event, long_event) = (event + 150, event + 700);
        let (short_processing, long_processing) = (processing + 150, processing + 700);
        let text = format!("text {small}");
        let row = model.row(id);
        store.enter(key(id));
        match what {
            0..=2 => {
                let count = row.count.map_or(0, |(count, _)| count) + 1;
                row.count = Some((count, short_event));
                assert_eq!(store.value(COUNT).update(|count| (*count += 1, *count).1).unwrap(), count);
            }
            3 => assert_eq!(store.value(COUNT).take().unwrap(), row.count.take().map(|(count, _)| count)),
            4 => {
                row.name = Some((text.clone(), long_processing));
                store.value(NAME).set(text).unwrap();
            }
            5 => {
                row.name.iter_mut().for_each(|(_, deadline)| *deadline = long_processing);
                assert_eq!(store.value(NAME).get().unwrap(), row.name.as_ref().map(|(name, _)| name));
            }
            6..=8 => {
                let before = row.prices.insert(small, (7, long_event)).map(|(price, _)| price);
                assert_eq!(store.map(PRICES).insert(small, 7).unwrap(), before);
            }
            9 => {
                let price = row.prices.get(&small).map_or(0, |(price, _)| *price) - 1;
                row.prices.insert(small, (price, long_event));
                assert_eq!(store.map(PRICES).update(small, |price| (*price -= 1, *price).1).unwrap(), price);
            }
            10 => {
                let removed = row.prices.remove(&small).map(|(price, _)| price);
                assert_eq!(store.map(PRICES).remove(&small).unwrap(), removed);
            }
            11 => {
                row.prices.clear();
                store.map(PRICES).clear().unwrap();
            }
            12 | 13 => {
                row.notes.entry(text.clone()).or_default().0.push('!');
                row.notes.get_mut(&text).unwrap().1 = short_processing;
                store.map(NOTES).update_or(text, String::new, |note| note.push('!')).unwrap();
            }
            14 => {
                let note = row.notes.get_mut(&text).map(|(note, deadline)| (*deadline = short_processing, note).1);
                assert_eq!(store.map(NOTES).get(&text).unwrap(), note.as_deref());
            }
            15 => {
                let from = format!("text {}", small / 2);
                for (_, (_, deadline)) in row.notes.range_mut(from.clone()..) {
                    *deadline = short_processing;
                }
                let notes = row.notes.range(from.clone()..).map(|(key, (note, _))| (key, note));
                assert!(store.map(NOTES).range(from..).unwrap().eq(notes));
            }
            16 | 17 => {
                row.items.push((u64::from(small), short_event));
                store.list(ITEMS).push(u64::from(small)).unwrap();
            }
            18 => {
                let items: Vec<u64> = std::mem::take(&mut row.items).into_iter().map(|(item, _)| item).collect();
                assert_eq!(store.list(ITEMS).take().unwrap(), items);
            }
            19 => {
                row.words.push((text.clone(), long_processing));
                store.list(WORDS).push(text).unwrap();
            }
            20 => {
                row.words.iter_mut().for_each(|(_, deadline)| *deadline = long_processing);
                let words: Vec<&String> = row.words.iter().map(|(word, _)| word).collect();
                assert_eq!(store.list(WORDS).get().unwrap().iter().collect::<Vec<_>>(), words);
            }
            21 => {
                assert_eq!(store.map(PRICES).len().unwrap(), row.prices.len());
                assert_eq!(store.map(NOTES).is_empty().unwrap(), row.notes.is_empty());
                row.words.clear();
                store.list(WORDS).clear().unwrap();
            }
            22 => {
                row.plain = Some(1);
                store.value(PLAIN).set(1).unwrap();
            }
            23 => {
                let changed = row.count.as_mut().map(|(count, deadline)| (*deadline = short_event, *count += 3).1);
                assert_eq!(store.value(COUNT).modify(|count| *count += 3).unwrap(), changed);
            }
            24 => {
                let price = row.prices.get_mut(&small);
                let changed = price.map(|(price, deadline)| (*deadline = long_event, *price += 3).1);
                assert_eq!(store.map(PRICES).modify(&small, |price| *price += 3).unwrap(), changed);
            }
            _ => assert_eq!(store.value(PLAIN).take().unwrap(), row.plain.take()),
        }
    }
}

/// Compares everything, without giving anything a new deadline.
fn check(store: &mut StateStore, model: &mut Model, ids: u8) {
    let mut copy = empty(0..GROUPS);
    copy.restore(vec![image(store)]).unwrap();
    model.set(&mut copy);
    for id in 0..ids {
        let row = model.row(id).clone();
        copy.enter(key(id));
        assert_eq!(copy.value(COUNT).get().unwrap().copied(), row.count.map(|(count, _)| count));
        assert_eq!(copy.value(NAME).get().unwrap(), row.name.as_ref().map(|(name, _)| name));
        assert!(copy.map(PRICES).iter().unwrap().eq(row.prices.iter().map(|(key, (price, _))| (key, price))));
        assert!(copy.map(NOTES).iter().unwrap().eq(row.notes.iter().map(|(key, (note, _))| (key, note))));
        assert!(copy.list(ITEMS).get().unwrap().iter().eq(row.items.iter().map(|(item, _)| item)));
        assert!(copy.list(WORDS).get().unwrap().iter().eq(row.words.iter().map(|(word, _)| word)));
        assert_eq!(copy.value(PLAIN).get().unwrap().copied(), row.plain);
    }
}

/// Returns how many keys have anything.
fn living(model: &mut Model, ids: u8) -> usize {
    let lives = |id: &u8| {
        let Row { count, name, prices, notes, items, words, plain } = model.row(*id).clone();
        let values = count.is_some() || name.is_some() || plain.is_some();
        values || !prices.is_empty() || !notes.is_empty() || !items.is_empty() || !words.is_empty()
    };
    (0..ids).filter(lives).count()
}

/// Spreads a state over other subtasks and brings it together again: deadlines go along.
fn check_rescaled(rng: &mut Pcg64Mcg, chunks: &[Vec<u8>], model: &mut Model, ids: u8) {
    let parallelism = rng.random_range(1..=4);
    let mut lineages = Vec::new();
    for subtask in 0..parallelism {
        let mut store = empty(crate::key::groups_of(subtask, parallelism, GROUPS));
        model.set(&mut store);
        store.adopt(&[chunks.to_vec()]).unwrap();
        lineages.push(vec![store.cut().unwrap().write().unwrap()]);
    }
    let mut together = empty(0..GROUPS);
    together.adopt(&lineages).unwrap();
    model.set(&mut together);
    check(&mut together, model, ids);
    // Each was written whole, without what has expired.
    assert_eq!(together.keys().count(), living(model, ids));
}

fn history(seed: u64) {
    eprintln!("seed {seed}");
    let mut rng = Pcg64Mcg::seed_from_u64(seed);
    let ids = rng.random_range(1..40);
    let times = Times { event: 1000, processing: 500_000 };
    let (mut store, mut model) = (empty(0..GROUPS), Model { rows: BTreeMap::new(), times });
    model.set(&mut store);
    let mut chunks: Vec<Vec<u8>> = Vec::new();
    let mut base = model.clone();
    // What was since the last cut was done by another store too, which was restored then.
    let mut follower: Option<StateStore> = None;
    for _ in 0..60 {
        let before = (image(&store), model.clone());
        let followed = follower.as_ref().map(image);
        let is_transaction = rng.random();
        for store in [Some(&mut store), follower.as_mut()].into_iter().flatten() {
            if is_transaction {
                store.begin();
            }
        }
        if rng.random_range(0..3) == 0 {
            model.times.event += rng.random_range(0..400);
            model.times.processing += rng.random_range(0..400);
            model.set(&mut store);
            follower.iter_mut().for_each(|follower| model.set(follower));
        }
        let budget = rng.random_range(0..8);
        let steps: Vec<Step> = (0..rng.random_range(0..40)).map(|_| Step::random(&mut rng, ids)).collect();
        let shadow = &mut model.clone();
        for (store, model) in [(Some(&mut store), &mut model), (follower.as_mut(), shadow)] {
            let Some(store) = store else { continue };
            store.clean_up(budget).unwrap();
            steps.iter().for_each(|step| step.take(store, model));
        }
        if is_transaction && rng.random() {
            assert!(store.undo());
            follower.iter_mut().for_each(|follower| assert!(follower.undo()));
            model = before.1;
            assert_eq!(image(&store), before.0, "the order of keys and all deadlines included");
            assert_eq!(follower.as_ref().map(image), followed);
        } else {
            store.settle();
            follower.iter_mut().for_each(StateStore::settle);
        }
        if let Some(follower) = &follower {
            assert_eq!(image(follower), image(&store), "a replay gives the same, slots and clean-up included");
        }
        match rng.random_range(0..6) {
            0 => {
                // A crash: what was not cut is lost, but time is not.
                store = empty(0..GROUPS);
                store.restore(chunks.clone()).unwrap();
                model = Model { times: model.times, ..base.clone() };
                model.set(&mut store);
                follower = None;
            }
            1 if chunks.len() > 1 => {
                let from = rng.random_range(0..chunks.len());
                let merged = merge_chunks(&chunks[from..]).unwrap();
                chunks.splice(from.., [merged]);
            }
            2 | 3 => {
                let chunk = store.cut().unwrap().write().unwrap();
                let is_whole = is_whole_chunk(&chunk);
                chunks.push(chunk);
                base = model.clone();
                if is_whole {
                    assert_eq!(store.keys().count(), living(&mut model, ids), "nothing that has expired is written");
                }
                let mut again = empty(0..GROUPS);
                again.restore(chunks.clone()).unwrap();
                assert_eq!(image(&again), image(&store));
                model.set(&mut again);
                follower = Some(again);
                check_rescaled(&mut rng, &chunks, &mut model, ids);
            }
            _ => {}
        }
        check(&mut store, &mut model, ids);
    }
    // Long after, nothing is left but what never expires.
    model.times = Times { event: model.times.event + 10_000, processing: model.times.processing + 10_000 };
    model.set(&mut store);
    store.cut().unwrap().write().unwrap();
    let plain = (0..ids).filter(|id| model.row(*id).plain.is_some()).count();
    assert_eq!(store.keys().count(), plain);
}

#[test]
fn any_history_shows_nothing_that_has_expired_and_keeps_all_else() {
    for seed in 0..60 {
        history(seed);
    }
}

#[test]
fn a_clean_up_is_bounded_and_goes_on_where_it_was() {
    let mut store = empty(0..GROUPS);
    store.set_time(TimerKind::Event, 0);
    for id in 0..100u64 {
        store.enter(Key::from(id));
        store.value(COUNT).set(id).unwrap();
    }
    store.set_time(TimerKind::Event, 149);
    store.clean_up(1000).unwrap();
    assert_eq!(store.keys().count(), 100, "none has expired");
    store.set_time(TimerKind::Event, 150);
    store.enter(Key::from(7u64));
    assert_eq!(store.value(COUNT).get().unwrap(), None);
    store.set_time(TimerKind::Event, 160);
    store.clean_up(20).unwrap();
    assert_eq!(store.keys().count(), 89, "ten keys, each with its deadline");
    store.clean_up(1000).unwrap();
    assert_eq!(store.keys().count(), 0);
}

#[test]
fn without_a_watermark_and_after_the_end_of_the_input_no_event_time_passes() {
    let mut store = empty(0..GROUPS);
    store.enter(Key::from(1u64));
    store.value(COUNT).set(5).unwrap();
    store.map(PRICES).insert(1, 1).unwrap();
    store.list(ITEMS).push(1).unwrap();
    let chunk = store.cut().unwrap().write().unwrap();
    let mut store = empty(0..GROUPS);
    store.restore(vec![chunk]).unwrap();
    store.enter(Key::from(1u64));
    // It begins to age with the first watermark that the clean-up sees.
    store.set_time(TimerKind::Event, 1_000_000);
    assert_eq!(store.value(COUNT).get().unwrap(), Some(&5));
    store.clean_up(100).unwrap();
    store.set_time(TimerKind::Event, 1_000_149);
    assert_eq!(store.value(COUNT).get().unwrap(), Some(&5));
    assert_eq!(store.list(ITEMS).get().unwrap(), [1]);
    store.set_time(TimerKind::Event, crate::WATERMARK_MAX);
    assert_eq!(store.value(COUNT).get().unwrap(), Some(&5));
    store.set_time(TimerKind::Event, 1_000_150);
    assert_eq!(store.value(COUNT).get().unwrap(), None);
    assert!(store.list(ITEMS).get().unwrap().is_empty());
    assert!(store.map(PRICES).contains(&1).unwrap());
    store.set_time(TimerKind::Event, 1_000_700);
    assert!(!store.map(PRICES).contains(&1).unwrap());
    assert_eq!(store.keys().count(), 0);
}

const FOREVER: ValueState<u64> = ValueState::new("count");
const FOREVER_PRICES: MapState<u8, i32> = MapState::new("prices");
const FOREVER_ITEMS: ListState<u64> = ListState::new("items");

/// Three pieces of state, each with a value.
fn full(declare: Vec<Declared>, count: ValueState<u64>, prices: MapState<u8, i32>, items: ListState<u64>) -> Vec<u8> {
    let mut store = StateStore::new(0..GROUPS, GROUPS);
    store.declare(declare);
    store.set_time(TimerKind::Event, 1000);
    for id in [1u64, 2] {
        store.enter(Key::from(id));
        store.value(count).set(5).unwrap();
        store.map(prices).insert(3, -3).unwrap();
        store.list(items).push(9).unwrap();
    }
    store.cut().unwrap().write().unwrap()
}

#[test]
fn what_was_kept_for_ever_begins_to_age_with_the_first_checkpoint_at_the_latest() {
    let old = full(Vec::new(), FOREVER, FOREVER_PRICES, FOREVER_ITEMS);
    for budget in [0, usize::MAX] {
        let mut store = empty(0..GROUPS);
        store.restore(vec![old.clone()]).unwrap();
        store.set_time(TimerKind::Event, 5000);
        store.clean_up(budget).unwrap();
        let new = store.cut().unwrap().write().unwrap();
        assert!(is_whole_chunk(&new));
        store.restore(vec![old.clone(), new]).unwrap();
        store.enter(Key::from(2u64));
        store.set_time(TimerKind::Event, 5149);
        assert_eq!(store.value(COUNT).get().unwrap(), Some(&5));
        assert_eq!(store.list(ITEMS).get().unwrap(), [9]);
        store.set_time(TimerKind::Event, 5150);
        assert_eq!(store.value(COUNT).get().unwrap(), None);
        assert!(store.list(ITEMS).get().unwrap().is_empty());
        assert_eq!(store.map(PRICES).get(&3).unwrap(), Some(&-3));
        store.set_time(TimerKind::Event, 5700);
        assert_eq!(store.map(PRICES).get(&3).unwrap(), None);
    }
}

#[test]
fn what_has_no_time_to_live_any_more_is_kept() {
    let old = full(declared(), COUNT, PRICES, ITEMS);
    let mut store = StateStore::new(0..GROUPS, GROUPS);
    store.declare(vec![FOREVER.into(), FOREVER_PRICES.into(), FOREVER_ITEMS.into()]);
    store.restore(vec![old]).unwrap();
    store.set_time(TimerKind::Event, 1_000_000);
    let new = store.cut().unwrap().write().unwrap();
    assert!(is_whole_chunk(&new), "written anew, without deadlines");
    store.restore(vec![new]).unwrap();
    store.enter(Key::from(1u64));
    assert_eq!(store.value(FOREVER).take().unwrap(), Some(5));
    assert_eq!(store.map(FOREVER_PRICES).remove(&3).unwrap(), Some(-3));
    assert_eq!(store.list(FOREVER_ITEMS).take().unwrap(), [9]);
    assert_eq!(store.keys().count(), 1, "nothing holds the key");
}

#[test]
fn handles_that_are_not_declared_as_they_are_used_are_refused() {
    let said = |result: crate::Result<()>| result.unwrap_err().message().to_string();
    let mut store = StateStore::new(0..GROUPS, GROUPS);
    store.enter(Key::from(1u64));
    assert_eq!(
        said(store.value(COUNT).set(1)),
        "state \"count\" has a time to live, but is not declared: return its handle from the operator's `states`"
    );
    let mut store = empty(0..GROUPS);
    store.enter(Key::from(1u64));
    let other = ValueState::<u64>::new("count").ttl(Ttl::processing_time(SHORT));
    assert!(said(store.value(other).set(1)).contains("expires by one clock here"));
    for old in [full(declared(), COUNT, PRICES, ITEMS), full(Vec::new(), FOREVER, FOREVER_PRICES, FOREVER_ITEMS)] {
        let mut store = StateStore::new(0..GROUPS, GROUPS);
        let expires = old[8] == 3;
        store.restore(vec![old]).unwrap();
        store.enter(Key::from(1u64));
        let said = if expires { said(store.value(FOREVER).set(1)) } else { said(store.value(COUNT).set(1)) };
        assert!(said.contains("return"), "{said}");
    }
}

/// Written by the first version of the format with deadlines: what it says must stay readable, and the bytes stay the same.
#[test]
fn the_format_with_deadlines_is_read_and_written() {
    let chunk = include_bytes!("../../../tests/fixtures/state-3.chunk");
    assert_eq!(full(declared(), COUNT, PRICES, ITEMS), chunk);
    let mut store = empty(0..GROUPS);
    store.restore(vec![chunk.to_vec()]).unwrap();
    assert_eq!(image(&store), chunk);
    let without = full(Vec::new(), FOREVER, FOREVER_PRICES, FOREVER_ITEMS);
    assert_eq!((chunk[8], without[8]), (3, 1), "programs that do not know deadlines refuse them");
}

#[test]
fn what_has_expired_is_not_shown_to_whoever_looks_without_types() {
    let chunks = [full(declared(), COUNT, PRICES, ITEMS)];
    let shown = |watermark: Timestamp| -> (Vec<(String, u64)>, Vec<Vec<String>>) {
        let reader = StateReader::open(&chunks, GROUPS).unwrap().at(watermark, 0);
        let states = reader.states().unwrap().into_iter().map(|info| (info.name, info.keys)).collect();
        let mut keys = Vec::new();
        let visit = |state: KeyState<'_>| {
            keys.push(state.values.iter().map(|(name, _)| (*name).to_string()).collect());
            Ok::<(), crate::Error>(())
        };
        reader.each(visit).unwrap();
        (states, keys)
    };
    let of = |keys: [u64; 3]| ["count", "items", "prices"].map(String::from).into_iter().zip(keys).collect::<Vec<_>>();
    let all = vec![["count", "items", "prices"].map(String::from).to_vec(); 2];
    assert_eq!(shown(1149), (of([2, 2, 2]), all.clone()));
    assert_eq!(shown(crate::WATERMARK_MAX), (of([2, 2, 2]), all), "the end of the input is no time");
    assert_eq!(shown(1150), (of([0, 0, 2]), vec![vec!["prices".to_string()]; 2]));
    assert_eq!(shown(1700), (of([0, 0, 0]), vec![]));
}
