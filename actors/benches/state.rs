//! What keyed state costs, beside a bare hash map in the same run: `cargo bench -p piton-actors --bench state`.

#![allow(clippy::print_stdout, reason = "printing is what it is for")]
#![allow(clippy::disallowed_methods, reason = "a measurement reads the real clock")]

use std::hash::{BuildHasherDefault, Hasher};
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hashbrown::HashMap;
use piton_actors::host::{AnyOperator, Hosted};
use piton_actors::prelude::*;
use piton_actors::state::{Draft, StateStore, merge_chunks};
use piton_actors::{Batch, Rows};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use serde::{Deserialize, Serialize};

const COUNT: ValueState<u64> = ValueState::new("count");
const NAME: ValueState<String> = ValueState::new("name");
const GROUPS: u32 = 1024;
const BATCH: usize = 1024;
const ROUNDS: usize = 9;

/// Takes a hash for what it is: the map gets a key's hash, as the store does.
#[derive(Default)]
struct Carried(u64);

impl Hasher for Carried {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, _: &[u8]) {
        unreachable!("only integers are hashed")
    }
    fn write_u64(&mut self, hash: u64) {
        self.0 = hash.rotate_right(7);
    }
}

/// Runs all of it, or what the first argument names: `transactions`, `updates`, `restores`, `cuts`, `large`.
fn main() {
    let only = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let wanted = |part: &str| only.as_deref().is_none_or(|only| only == part);
    if wanted("transactions") {
        transactions();
    }
    if wanted("updates") {
        updates(100_000);
        updates(1_000_000);
    }
    if wanted("restores") {
        restores();
    }
    if wanted("cuts") {
        cuts();
    }
    if wanted("large") {
        large();
    }
}

/// Prints the best and the median of several runs, and returns the best: the others shared the machine.
fn best(what: &str, mut times: Vec<Duration>) -> Duration {
    times.sort();
    println!("{what:<60} {:>12.2?}   (median {:.2?})", times[0], times[times.len() / 2]);
    times[0]
}

fn timed(f: impl FnOnce()) -> Duration {
    let start = Instant::now();
    f();
    start.elapsed()
}

fn updates(keys: u64) {
    let mut rng = Pcg64Mcg::seed_from_u64(1);
    let records: Vec<u64> = (0..4_000_000).map(|_| rng.random_range(0..keys)).collect();
    let mut store = StateStore::new(0..GROUPS, GROUPS);
    let mut map: HashMap<u64, u64, BuildHasherDefault<Carried>> = HashMap::default();
    let (mut with_store, mut with_map, mut in_transactions) = (vec![], vec![], vec![]);
    for _ in 0..ROUNDS {
        with_map.push(timed(|| {
            for record in &records {
                *map.entry(Key::from(*record).hash()).or_default() += 1;
            }
        }));
        with_store.push(timed(|| {
            for record in &records {
                store.enter(Key::from(*record));
                store.value(COUNT).update(|count| *count += 1).expect("there is a key");
            }
        }));
        in_transactions.push(timed(|| {
            for records in records.chunks(BATCH) {
                store.begin();
                for record in records {
                    store.enter(Key::from(*record));
                    store.value(COUNT).update(|count| *count += 1).expect("there is a key");
                }
                store.settle();
            }
        }));
    }
    let map = best(&format!("4M updates of u64, {keys} keys: hash map"), with_map);
    let store = best(&format!("4M updates of u64, {keys} keys: keyed state"), with_store);
    let ratio =
        |time: Duration| println!("{:<60} {:>11.2}x", "  against the map", time.as_secs_f64() / map.as_secs_f64());
    ratio(store);
    ratio(best("  in transactions of 1024", in_transactions));
    let (plain, in_transactions) = operator(keys, &records);
    ratio(plain);
    ratio(in_transactions);
}

/// Changes state of the current key.
type Change = fn(&mut StateStore, u64) -> Result;

/// What it costs to be able to take changes back, for values of several kinds, and to do it.
fn transactions() {
    const POINT: ValueState<[u64; 8]> = ValueState::new("point");
    const PRICES: MapState<u8, u64> = MapState::new("prices");
    const ITEMS: ListState<u64> = ListState::new("items");
    let kinds: [(&str, Change); 6] = [
        ("update of u64", |store, _| store.value(COUNT).update(|count| *count += 1)),
        ("update of 64 bytes", |store, _| store.value(POINT).update(|point| point[0] += 1)),
        ("update of a text", |store, _| store.value(NAME).update(|name| name.truncate(20))),
        ("set of a text", |store, key| store.value(NAME).set(format!("name {key}"))),
        ("update in a map", |store, key| store.map(PRICES).update(key as u8 % 16, |price| *price += 1)),
        ("push to a list", |store, key| store.list(ITEMS).push(key)),
    ];
    let mut rng = Pcg64Mcg::seed_from_u64(1);
    let records: Vec<u64> = (0..1_000_000).map(|_| rng.random_range(0..100_000)).collect();
    for (kind, change) in kinds {
        let mut store = StateStore::new(0..GROUPS, GROUPS);
        let (mut plain, mut kept, mut undone) = (vec![], vec![], vec![]);
        let run = |store: &mut StateStore, end: Option<fn(&mut StateStore)>| {
            timed(|| {
                for records in records.chunks(BATCH) {
                    if end.is_some() {
                        store.begin();
                    }
                    for record in records {
                        store.enter(Key::from(*record));
                        change(store, *record).expect("there is a key");
                    }
                    if let Some(end) = end {
                        end(store);
                    }
                }
            })
        };
        run(&mut store, None);
        for _ in 0..ROUNDS {
            plain.push(run(&mut store, None));
            kept.push(run(&mut store, Some(StateStore::settle)));
            undone.push(run(&mut store, Some(|store| assert!(store.undo()))));
        }
        best(&format!("1M times {kind}, 100000 keys"), plain);
        best("  in transactions of 1024", kept);
        best("  which are all taken back", undone);
    }
}

struct Count;

impl Operator for Count {
    type In = u64;
    type Out = u64;

    fn key(&self, record: &u64) -> Key {
        record.into()
    }

    fn process(&mut self, _: &u64, ctx: &mut Context<u64>) -> Result {
        ctx.state(COUNT).update(|count| *count += 1)
    }
}

/// The same through an operator, in batches: without transactions, and with one for each batch.
fn operator(keys: u64, records: &[u64]) -> (Duration, Duration) {
    let mut hosted = Hosted::new(Arc::new(|| Ok(Count)), Subtask::single("count"), BATCH).expect("it can be made");
    let batches: Vec<Batch> = records.chunks(BATCH).map(|rows| Arc::new(Rows::new(rows.to_vec())) as Batch).collect();
    let (mut plain, mut in_transactions) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        plain.push(timed(|| {
            for batch in &batches {
                hosted.process(0, batch).expect("there is a key");
            }
        }));
        in_transactions.push(timed(|| {
            for batch in &batches {
                hosted.begin();
                hosted.process(0, batch).expect("there is a key");
                hosted.settle();
            }
        }));
    }
    let plain = best(&format!("4M updates of u64, {keys} keys: operator"), plain);
    (plain, best("  in transactions of 1024", in_transactions))
}

fn filled(keys: u64) -> StateStore {
    let mut store = StateStore::new(0..GROUPS, GROUPS);
    for key in 0..keys {
        store.enter(Key::from(key));
        store.value(COUNT).set(key).expect("there is a key");
    }
    store
}

fn chunk_of(store: &mut StateStore) -> Vec<u8> {
    store.cut().and_then(Draft::write).expect("it can be written")
}

/// How long an operator stands still for a cut, and how long it then takes to write the chunk.
fn cut(store: &mut StateStore, stands: &mut Vec<Duration>, writes: &mut Vec<Duration>) {
    let mut draft = Draft::default();
    stands.push(timed(|| draft = store.cut().expect("it can be written")));
    writes.push(timed(|| drop(black_box(draft.write()))));
}

fn restores() {
    let mut store = filled(1_000_000);
    let base = chunk_of(&mut store);
    for key in 0..10_000u64 {
        store.enter(Key::from(key * 97));
        store.value(COUNT).set(7).expect("there is a key");
    }
    let change = chunk_of(&mut store);
    for (what, chunks) in [("one chunk", vec![base.clone()]), ("base and change", vec![base, change])] {
        let mut times = Vec::new();
        for _ in 0..ROUNDS {
            let mut fresh = StateStore::new(0..GROUPS, GROUPS);
            let read = chunks.clone();
            times.push(timed(|| fresh.restore(read).expect("it was written so")));
            black_box(&fresh);
        }
        best(&format!("restore 1M u64 -> u64, {what}"), times);
        let times = (0..ROUNDS).map(|_| timed(|| drop(black_box(merge_chunks(&chunks))))).collect();
        best(&format!("merge 1M u64 -> u64, {what}"), times);
        let mut times = Vec::new();
        for _ in 0..ROUNDS {
            let mut part = StateStore::new(0..GROUPS / 4, GROUPS);
            times.push(timed(|| part.adopt(std::slice::from_ref(&chunks)).expect("it was written so")));
        }
        best(&format!("adopt a quarter of it, {what}"), times);
    }
    let mut texts = StateStore::new(0..GROUPS, GROUPS);
    for key in 0..200_000u64 {
        texts.enter(Key::from(format!("key {key}").as_str()));
        texts.value(NAME).set(format!("name {key}")).expect("there is a key");
    }
    let chunks = [chunk_of(&mut texts)];
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let mut fresh = StateStore::new(0..GROUPS, GROUPS);
        let read = chunks.clone();
        times.push(timed(|| {
            fresh.restore(read).expect("it was written so");
            for key in 0..200_000u64 {
                fresh.enter(Key::from(format!("key {key}").as_str()));
                fresh.value(NAME).get().expect("it was written so");
            }
        }));
    }
    best("restore 200k text -> text, and look at each", times);
}

fn cuts() {
    let (mut whole, mut whole_written) = (Vec::new(), Vec::new());
    let (mut change, mut change_written) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS as u64 {
        let mut store = filled(1_000_000);
        cut(&mut store, &mut whole, &mut whole_written);
        for key in 0..10_000u64 {
            store.enter(Key::from(key * 97 + round));
            store.value(COUNT).set(7).expect("there is a key");
        }
        cut(&mut store, &mut change, &mut change_written);
    }
    best("cut 1M u64 -> u64, everything", whole);
    best("and its chunk", whole_written);
    best("cut 1M u64 -> u64, 1 % changed", change);
    best("and its chunk", change_written);
}

/// What somebody keeps of a customer: about 100 bytes at rest.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Account {
    name: String,
    visits: u64,
    spent: f64,
    last_seen: i64,
    level: u8,
}

const ACCOUNT: ValueState<Account> = ValueState::new("account");

/// A change of 1 % of a state that is far larger than any cache.
fn large() {
    let keys = 10_000_000u64;
    let mut store = StateStore::new(0..GROUPS, GROUPS);
    let change = |store: &mut StateStore, key: u64| {
        store.enter(Key::from(key));
        let account = store.value(ACCOUNT);
        let changed = account.update(|account| {
            if account.visits == 0 {
                account.name = format!("customer number {key}");
            }
            account.visits += 1;
            account.spent += 12.5;
        });
        changed.expect("there is a key");
    };
    (0..keys).for_each(|key| change(&mut store, key));
    let (mut whole, mut whole_written) = (Vec::new(), Vec::new());
    cut(&mut store, &mut whole, &mut whole_written);
    best("cut 10M accounts, everything", whole);
    best("and its chunk", whole_written);
    let (mut times, mut written) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS as u64 {
        for nth in 0..keys / 100 {
            change(&mut store, (round * keys / 100 + nth) * 1_000_000_007 % keys);
        }
        cut(&mut store, &mut times, &mut written);
    }
    best("cut 10M accounts, 1 % changed", times);
    best("and its chunk", written);
}
