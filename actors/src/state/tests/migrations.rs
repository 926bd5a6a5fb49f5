//! State whose type changes from one version of a program to the next.

use serde::{Deserialize, Serialize};

use super::*;
use crate::{Error, ErrorKind};

#[derive(Clone, Serialize, Deserialize)]
struct FactV1 {
    seconds: u64,
    note: String,
}

#[derive(Clone, Serialize, Deserialize)]
struct FactV2 {
    #[serde(default)]
    ms: u64,
}

/// Reads what the first version has written, too, but as nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Fact {
    #[serde(default)]
    ns: u64,
}

impl From<FactV1> for FactV2 {
    fn from(old: FactV1) -> FactV2 {
        FactV2 { ms: old.seconds * 1000 }
    }
}

impl From<FactV2> for Fact {
    fn from(old: FactV2) -> Fact {
        Fact { ns: old.ms * 1_000_000 }
    }
}

impl From<FactV1> for Fact {
    fn from(old: FactV1) -> Fact {
        FactV2::from(old).into()
    }
}

/// A number with another meaning than before.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
struct Doubled(u64);

impl TryFrom<u64> for Doubled {
    type Error = String;

    fn try_from(old: u64) -> Result<Doubled, String> {
        old.checked_mul(2).map(Doubled).ok_or_else(|| format!("{old} is too large"))
    }
}

const FACT_1: ValueState<FactV1> = ValueState::new("fact");
const FACT_2: ValueState<FactV2> = ValueState::new("fact").migrations(&[Migration::value::<FactV1>(1)]);
const FACT: ValueState<Fact> =
    ValueState::new("fact").migrations(&[Migration::value::<FactV1>(1), Migration::value::<FactV2>(2)]);

const COUNT_1: ValueState<u64> = ValueState::new("count");
const COUNT: ValueState<Doubled> = ValueState::new("count").migrations(&[Migration::value::<u64>(1)]);
const OF_1: MapState<u64, u64> = MapState::new("of");
const OF: MapState<u64, Doubled> = MapState::new("of").migrations(&[Migration::map::<u64, u64>(1)]);
const LAST_1: ListState<u64> = ListState::new("last");
const LAST: ListState<Doubled> = ListState::new("last").migrations(&[Migration::list::<u64>(1)]);
const STARTS_1: LocalState<u64> = LocalState::new("starts");
const STARTS: LocalState<Doubled> = LocalState::new("starts").migrations(&[Migration::value::<u64>(1)]);
const SAME: ValueState<String> = ValueState::new("same");

fn all() -> Vec<Declared> {
    vec![FACT.into(), COUNT.into(), OF.into(), LAST.into(), STARTS.into(), SAME.into()]
}

/// What the first version of the program has written, in two chunks.
fn first(keys: u64) -> Vec<Vec<u8>> {
    let mut store = StateStore::new(0..16, 16);
    let mut chunks = Vec::new();
    for key in 0..keys {
        store.enter(Key::from(key));
        store.value(FACT_1).set(FactV1 { seconds: key, note: "x".into() }).unwrap();
        store.value(COUNT_1).set(key).unwrap();
        store.map(OF_1).insert(key, key).unwrap();
        store.list(LAST_1).push(key).unwrap();
        store.value(SAME).set(format!("same {key}")).unwrap();
        store.set_timer(crate::TimerKind::Event, key as i64).unwrap();
        if key == 1 {
            chunks.push(store.cut().unwrap().write().unwrap());
        }
    }
    store.local(STARTS_1).set(3).unwrap();
    chunks.push(store.cut().unwrap().write().unwrap());
    chunks
}

fn restored_as(declared: Vec<Declared>, chunks: &[Vec<u8>]) -> StateStore {
    let mut store = StateStore::new(0..16, 16);
    store.declare(declared);
    store.restore(chunks).unwrap();
    store
}

fn check_newest(store: &mut StateStore, keys: std::ops::Range<u64>) {
    for key in keys {
        store.enter(Key::from(key));
        assert_eq!(store.value(FACT).get().unwrap(), Some(&Fact { ns: key * 1_000_000_000 }));
        assert_eq!(store.value(COUNT).get().unwrap(), Some(&Doubled(key * 2)));
        assert_eq!(store.map(OF).get(&key).unwrap(), Some(&Doubled(key * 2)));
        assert_eq!(store.list(LAST).get().unwrap(), [Doubled(key * 2)]);
        assert_eq!(store.value(SAME).get().unwrap(), Some(&format!("same {key}")));
    }
    assert_eq!(*store.local(STARTS).get().unwrap(), Doubled(6));
}

fn said(result: crate::Result) -> String {
    let error: Error = result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    error.message().to_string()
}

#[test]
fn every_kind_of_state_is_migrated_once() {
    let chunks = first(20);
    check_declared(&all(), &chunks, 16).unwrap();
    let mut store = restored_as(all(), &chunks);
    assert_eq!(store.next_timer(crate::TimerKind::Event), Some(0), "timers and slots are as they were");
    check_newest(&mut store, 0..20);
    store.enter(Key::from(7u64));
    store.value(FACT).set(Fact { ns: 7 }).unwrap();

    // The next chunk holds all of it, in the new version: the ones before are needed no more.
    let chunk = store.cut().unwrap().write().unwrap();
    let mut again = restored_as(all(), &[chunks[0].clone(), chunks[1].clone(), chunk.clone()]);
    assert_eq!(image(&again), image(&store));
    assert!(!again.is_dirty(), "nothing is migrated a second time");
    check_newest(&mut again, 8..20);
    let mut alone = restored_as(all(), &[chunk]);
    alone.enter(Key::from(7u64));
    assert_eq!(alone.value(FACT).get().unwrap(), Some(&Fact { ns: 7 }));
}

#[test]
fn every_version_leads_to_the_newest() {
    let mut second = restored_as(vec![FACT_2.into()], &first(3));
    second.enter(Key::from(2u64));
    assert_eq!(second.value(FACT_2).get().unwrap().unwrap().ms, 2000);
    let mut third = restored_as(all(), &[second.cut().unwrap().write().unwrap()]);
    check_newest(&mut third, 0..3);
}

#[test]
fn a_migration_happens_although_the_new_type_could_read_the_old_one() {
    let mut store = restored_as(vec![ValueState::<Fact>::new("fact").into()], &first(3));
    store.enter(Key::from(2u64));
    assert_eq!(
        store.value(ValueState::<Fact>::new("fact")).get().unwrap(),
        Some(&Fact { ns: 0 }),
        "without a migration, missing fields have their defaults"
    );
    check_newest(&mut restored_as(all(), &first(3)), 0..3);
}

#[test]
fn states_of_several_versions_are_adopted_together() {
    // One subtask has been migrated, the other not.
    let mut new = restored_as(all(), &first(10));
    let lineages = [vec![new.cut().unwrap().write().unwrap()], {
        let mut store = StateStore::new(0..16, 16);
        for key in 10..20u64 {
            store.enter(Key::from(key));
            store.value(FACT_1).set(FactV1 { seconds: key, note: String::new() }).unwrap();
            store.value(COUNT_1).set(key).unwrap();
            store.map(OF_1).insert(key, key).unwrap();
            store.list(LAST_1).push(key).unwrap();
            store.value(SAME).set(format!("same {key}")).unwrap();
        }
        vec![store.cut().unwrap().write().unwrap()]
    }];
    let mut store = StateStore::new(0..16, 16);
    store.declare(all());
    store.adopt(&lineages).unwrap();
    check_newest(&mut store, 0..20);

    let mut undeclared = StateStore::new(0..16, 16);
    let error = said(undeclared.adopt(&lineages));
    assert!(error.contains("there are several versions of it") && error.contains("`states`"), "{error}");
}

#[test]
fn a_new_version_stands_beside_what_is_left_of_an_old_one() {
    // All values of the old version are gone when the new one comes, but the chunk that holds them is still there.
    let mut store = StateStore::new(0..16, 16);
    store.enter(Key::from(1u64));
    store.value(COUNT_1).set(1).unwrap();
    store.value(SAME).set("same".into()).unwrap();
    let base = store.cut().unwrap().write().unwrap();
    store.value(COUNT_1).take().unwrap();
    let gone = store.cut().unwrap().write().unwrap();
    let mut store = restored_as(all(), &[base.clone(), gone.clone()]);
    store.enter(Key::from(2u64));
    store.value(COUNT).set(Doubled(5)).unwrap();
    let change = store.cut().unwrap().write().unwrap();
    for chunks in [vec![base.clone(), gone.clone(), change.clone()], vec![merge_chunks(&[base, gone, change]).unwrap()]]
    {
        let mut store = restored_as(all(), &chunks);
        store.enter(Key::from(2u64));
        assert_eq!(store.value(COUNT).get().unwrap(), Some(&Doubled(5)));
        store.enter(Key::from(1u64));
        assert_eq!(store.value(COUNT).get().unwrap(), None);
    }
}

#[test]
fn versions_are_merged_side_by_side() {
    let old = first(4);
    let mut store = restored_as(vec![COUNT.into()], &[merge_chunks(&old).unwrap()]);
    store.enter(Key::from(2u64));
    store.value(COUNT).update(|count| count.0 += 1).unwrap();
    let chunk = store.cut().unwrap().write().unwrap();
    let merged = merge_chunks(&[old[0].clone(), old[1].clone(), chunk]).unwrap();
    let mut store = restored_as(vec![COUNT.into()], &[merged]);
    store.enter(Key::from(2u64));
    assert_eq!(store.value(COUNT).get().unwrap(), Some(&Doubled(5)));
    assert_eq!(store.value(FACT_1).get().unwrap().unwrap().seconds, 2, "what is not declared is as it was");
}

#[test]
fn what_cannot_be_migrated_is_said_before() {
    const GAP: ValueState<Fact> = ValueState::new("fact").migrations(&[Migration::value::<FactV2>(2)]);
    const WRONG: ValueState<Fact> = ValueState::new("fact").migrations(&[Migration::value::<FactV3>(1)]);
    const NUMBER: ValueState<Doubled> = ValueState::new("fact").migrations(&[Migration::value::<u64>(1)]);
    const TEXT: ValueState<Text> = ValueState::new("count").migrations(&[Migration::value::<String>(1)]);
    const LIST: ListState<Doubled> = ListState::new("of").migrations(&[Migration::list::<u64>(1)]);

    #[derive(Clone, Serialize, Deserialize)]
    struct FactV3 {
        seconds: String,
    }
    impl From<FactV3> for Fact {
        fn from(_: FactV3) -> Fact {
            Fact::default()
        }
    }
    #[derive(Clone, Serialize, Deserialize)]
    struct Text(String);
    impl From<String> for Text {
        fn from(old: String) -> Text {
            Text(old)
        }
    }

    let mut chunks = first(3);
    let refused = |declared: Declared, chunks: &[Vec<u8>]| said(check_declared(&[declared], chunks, 16));
    for (declared, expected) in [
        (GAP.into(), "state \"fact\" cannot be migrated: it was written as version 1, and its handle has no migration"),
        (WRONG.into(), "state \"fact\" cannot be migrated: field \"seconds\": invalid type"),
        (NUMBER.into(), "state \"fact\" cannot be migrated: "),
        (TEXT.into(), "state \"count\" cannot be migrated: it was written as u64, not as String"),
        (LIST.into(), "state \"of\" was written as a map of msgpack, but is declared as a list of"),
        (ValueState::<FactV2>::new("count").into(), "or say how the old type becomes the new one (`migrations` of the"),
    ] {
        let error = refused(declared, &chunks);
        assert!(error.contains(expected), "{error}");
    }

    // A conversion that fails for one value.
    let mut store = StateStore::new(0..16, 16);
    store.enter(Key::from(1u64));
    store.value(COUNT_1).set(u64::MAX).unwrap();
    let error = refused(COUNT.into(), &[store.cut().unwrap().write().unwrap()]);
    assert!(error.contains("state \"count\" cannot be migrated: 18446744073709551615 is too large"), "{error}");

    // A program that is older than the state.
    let mut store = restored_as(all(), &chunks);
    chunks.push(store.cut().unwrap().write().unwrap());
    for (declared, name) in [(Declared::from(COUNT_1), "count"), (STARTS_1.into(), "starts")] {
        let error = refused(declared, &chunks);
        let expected =
            format!("state \"{name}\" cannot be migrated: it was written as version 2, and this program knows");
        assert!(error.contains(&expected), "{error}");
    }
}

#[test]
fn a_handle_with_migrations_that_is_not_declared_says_so() {
    let mut store = restored(&first(3));
    store.enter(Key::from(2u64));
    let error = said(store.value(COUNT).get().map(drop));
    assert!(error.contains("restored as version 1, but is used here as version 2: return its handle from"), "{error}");
    assert!(said(store.value(FACT).get().map(drop)).contains("`states`"));
    assert!(said(store.local(STARTS).get().map(drop)).contains("`states`"));
    assert_eq!(store.value(COUNT_1).get().unwrap(), Some(&2));
}

#[test]
fn what_never_changed_is_written_as_before_there_were_versions() {
    let format = |chunk: &[u8]| u16::from_le_bytes([chunk[8], chunk[9]]);
    let chunks = first(3);
    assert_eq!((format(&chunks[0]), format(&chunks[1])), (1, 1));
    assert_eq!(format(&restored_as(all(), &chunks).cut().unwrap().write().unwrap()), 2);
}

/// Written when there were versions first: what it says must stay readable, and the bytes stay the same.
#[test]
fn the_format_with_versions_is_read_and_written() {
    let chunk = include_bytes!("../../../tests/fixtures/state-2.chunk");
    assert_eq!(image(&restored_as(all(), &[chunk.to_vec()])), chunk);
    assert_eq!(image(&restored_as(all(), &first(3))), chunk);
}
