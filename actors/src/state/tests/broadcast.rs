//! Values that all subtasks have alike.

use std::collections::BTreeMap;

use super::*;

const RULES: BroadcastState<BTreeMap<String, u64>> = BroadcastState::new("rules");
const OWN: LocalState<u64> = LocalState::new("rules");
const SEEN: ValueState<u64> = ValueState::new("seen");
const GROUPS: u32 = 16;

fn rules(count: u64) -> BTreeMap<String, u64> {
    (0..count).map(|rule| (format!("rule {rule}"), rule)).collect()
}

/// The state of one of several subtasks: the rules, and something of its own.
fn of_subtask(index: u32, parallelism: u32) -> Vec<Vec<u8>> {
    let own = crate::key::groups_of(index, parallelism, GROUPS);
    let mut store = StateStore::new(own.clone(), GROUPS);
    for key in (0..100u64).map(Key::from).filter(|key| own.contains(&key.group(GROUPS))) {
        store.enter(key);
        store.value(SEEN).set(1).unwrap();
    }
    let first = store.cut().unwrap().write().unwrap();
    store.set_broadcast(true);
    store.broadcast(RULES).set(rules(1)).unwrap();
    let second = store.cut().unwrap().write().unwrap();
    store.broadcast(RULES).update(|all| all.insert("rule 1".into(), 1)).unwrap();
    store.local(OWN).set(u64::from(index) + 10).unwrap();
    vec![first, second, store.cut().unwrap().write().unwrap()]
}

#[test]
fn every_new_subtask_gets_it_and_only_the_first_what_was_the_firsts_own() {
    let old: Vec<Vec<Vec<u8>>> = (0..2).map(|index| of_subtask(index, 2)).collect();
    for parallelism in [1, 3, 4] {
        let mut keys = 0;
        for index in 0..parallelism {
            let mut lineages = old.clone();
            if index > 0 {
                lineages.insert(0, vec![broadcast_chunk(&old[0]).unwrap()]);
            }
            let mut store = StateStore::new(crate::key::groups_of(index, parallelism, GROUPS), GROUPS);
            store.adopt(&lineages).unwrap();
            keys += store.keys().count();
            assert_eq!(store.broadcast(RULES).get().unwrap(), &rules(2));
            assert_eq!(*store.local(OWN).get().unwrap(), if index == 0 { 10 } else { 0 });
            let chunk = store.cut().unwrap().write().unwrap();
            store.restore(vec![chunk]).unwrap();
            assert_eq!(store.broadcast(RULES).get().unwrap(), &rules(2), "it is written by every subtask");
        }
        assert_eq!(keys, 100);
    }
}

#[test]
fn a_chunk_of_nothing_else_is_small_and_empty_where_there_is_none() {
    let old = of_subtask(0, 1);
    let chunk = broadcast_chunk(&old).unwrap();
    assert!(is_whole_chunk(&chunk) && chunk.len() < 200, "{}", chunk.len());
    let merged = merge_chunks(&old).unwrap();
    assert_eq!(broadcast_chunk(&[merged]).unwrap(), chunk);
    assert_eq!(broadcast_chunk(&old[..1]).unwrap(), [0u8; 0]);
    assert_eq!(broadcast_chunk(&[b"no chunk".to_vec(), Vec::new()]).unwrap(), [0u8; 0]);
    assert_eq!((old[0][8], old[1][8]), (1, 3), "programs that do not know it refuse it");
    let chunks = [chunk];
    let reader = StateReader::open(&chunks, GROUPS).unwrap();
    assert_eq!((reader.broadcasts().len(), reader.locals().len()), (1, 0));
    assert_eq!(StateReader::open(&old, GROUPS).unwrap().locals().into_keys().collect::<Vec<_>>(), ["rules"]);
}

#[test]
fn it_is_written_where_all_subtasks_see_why_and_nowhere_else() {
    let mut store = StateStore::new(0..GROUPS, GROUPS);
    assert!(store.broadcast(RULES).get().unwrap().is_empty());
    let error = store.broadcast(RULES).set(rules(1)).unwrap_err();
    assert!(error.message().starts_with("broadcast state \"rules\" is the same in all subtasks"), "{error}");
    assert!(store.broadcast(RULES).update(BTreeMap::clear).is_err());
    store.set_broadcast(true);
    store.broadcast(RULES).set(rules(3)).unwrap();
    store.set_broadcast(false);
    assert_eq!(store.broadcast(RULES).get().unwrap(), &rules(3));
    let other = store.broadcast(BroadcastState::<u64>::new("rules")).get().unwrap_err();
    assert!(other.message().contains("broadcast state \"rules\" is a BTreeMap<String, u64>"), "{other}");
}

#[test]
fn a_change_is_taken_back() {
    let mut store = StateStore::new(0..GROUPS, GROUPS);
    store.set_broadcast(true);
    store.broadcast(RULES).set(rules(3)).unwrap();
    store.local(OWN).set(7).unwrap();
    let before = image(&store);
    store.begin();
    store.broadcast(RULES).update(BTreeMap::clear).unwrap();
    store.local(OWN).set(8).unwrap();
    assert!(store.undo());
    assert_eq!(image(&store), before);
}

#[test]
fn what_is_declared_is_tried_before_the_job_runs() {
    let chunks = of_subtask(0, 1);
    let check = |declared: Declared| check_declared(&[declared], &chunks, GROUPS);
    check(RULES.into()).unwrap();
    check(OWN.into()).unwrap();
    let error = check(BroadcastState::<u64>::new("rules").into()).unwrap_err();
    assert!(error.message().contains("state \"rules\" cannot be read as u64"), "{error}");
}
