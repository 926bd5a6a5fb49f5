//! Names, types and keys that do not fit.

use serde::{Deserialize, Serialize};

use super::*;
use crate::{ErrorKind, TimerKind};

fn invalid(result: crate::Result<impl Sized>) -> String {
    let Err(error) = result else { panic!("an error was expected") };
    assert_eq!(error.kind(), ErrorKind::Invalid);
    error.message().to_string()
}

#[test]
fn a_name_with_two_types_is_an_error() {
    let mut store = small();
    store.enter(Key::from("tea"));
    assert_eq!(
        invalid(store.value(ValueState::<String>::new("count")).get()),
        "state \"count\" is a value of u64, but is used here as a value of String: give one of them another name"
    );
    invalid(store.value(ValueState::<Vec<i8>>::new("items")).get());
    invalid(store.list(ListState::<u64>::new("count")).push(1));
    invalid(store.map(MapState::<String, u64>::new("prices")).insert("small".into(), 1));
    invalid(store.local(LocalState::<String>::new("total")).get());
    // Neither is harmed by it.
    assert_eq!(store.value(ValueState::<u64>::new("count")).get().unwrap(), Some(&5));
}

#[test]
fn a_restored_name_with_another_type_is_an_error() {
    let mut store = restored(&[image(&small())]);
    store.enter(Key::from("tea"));
    invalid(store.value(ValueState::<u32>::new("count")).get());
    invalid(store.value(ValueState::<String>::new("count")).get());
    invalid(store.value(ValueState::<u64>::new("name")).get());
    invalid(store.value(ValueState::<Vec<i8>>::new("items")).get());
    let message = invalid(store.value(ValueState::<(u8, u8)>::new("name")).get());
    assert!(message.starts_with("state \"name\" cannot be restored as (u8, u8): "), "{message}");
    invalid(store.local(LocalState::<String>::new("total")).get());
    assert_eq!(store.value(ValueState::<u64>::new("count")).get().unwrap(), Some(&5));
    assert_eq!(store.list(ListState::<i8>::new("items")).get().unwrap(), [-1]);
    assert_eq!(*store.local(LocalState::<u32>::new("total")).get().unwrap(), 3);
    store.enter(Key::from(u64::MAX));
    assert_eq!(store.value(ValueState::<String>::new("name")).get().unwrap().unwrap(), "oolong");
}

#[test]
fn a_struct_may_gain_a_field_with_a_default() {
    #[derive(Clone, Serialize, Deserialize)]
    struct Old {
        name: String,
    }
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct New {
        #[serde(default)]
        size: u8,
        name: String,
    }
    let mut store = StateStore::new(0..16, 16);
    store.enter(Key::from(1u64));
    store.value(ValueState::new("tea")).set(Old { name: "oolong".into() }).unwrap();
    let mut store = restored(&[store.cut().unwrap().write().unwrap()]);
    store.enter(Key::from(1u64));
    let tea: Option<&New> = store.value(ValueState::new("tea")).get().unwrap();
    assert_eq!(tea, Some(&New { size: 0, name: "oolong".into() }));
}

#[test]
fn a_restored_value_waits_until_its_key_is_looked_at() {
    const NAME: ValueState<String> = ValueState::new("name");
    let mut store = StateStore::new(0..16, 16);
    for key in 0..100u64 {
        store.enter(Key::from(key));
        store.value(NAME).set(format!("name {key}")).unwrap();
    }
    let base = store.cut().unwrap().write().unwrap();
    let mut again = restored(std::slice::from_ref(&base));
    again.enter(Key::from(7u64));
    again.value(NAME).update(|name| name.push('!')).unwrap();
    again.enter(Key::from(8u64));
    again.value(NAME).set("new".into()).unwrap();
    again.enter(Key::from(9u64));
    assert_eq!(again.value(NAME).take().unwrap().as_deref(), Some("name 9"));
    assert_eq!(again.value(NAME).get().unwrap(), None, "it does not come back");
    let change = again.cut().unwrap().write().unwrap();
    assert!(change.len() < base.len() / 4, "only what changed is written, not what was decoded");
    // What still waits is written as it stands, and what does not wait any more as it is now.
    let mut third = restored(&[image(&again)]);
    assert_eq!(image(&third), image(&restored(&[base, change])));
    for (key, name) in [(6, Some("name 6")), (7, Some("name 7!")), (8, Some("new")), (9, None), (99, Some("name 99"))] {
        third.enter(Key::from(key));
        assert_eq!(third.value(NAME).get().unwrap().map(String::as_str), name);
    }
}

#[test]
fn a_value_of_another_type_is_an_error_where_it_is_looked_at() {
    let mut store = StateStore::new(0..16, 16);
    for (key, value) in [(1u64, Some(5u8)), (2, None)] {
        store.enter(Key::from(key));
        store.value(ValueState::new("size")).set(value).unwrap();
    }
    let size = ValueState::<u128>::new("size");
    let mut store = restored(&[store.cut().unwrap().write().unwrap()]);
    store.enter(Key::from(1u64));
    store.value(size).get().unwrap();
    store.enter(Key::from(2u64));
    let message = invalid(store.value(size).get());
    assert!(message.starts_with("state \"size\" cannot be restored as u128: "), "{message}");
    store.value(size).set(3).unwrap();
    assert_eq!(store.value(size).get().unwrap(), Some(&3));
}

#[test]
fn every_primitive_comes_back() {
    fn check<T: StateValue + PartialEq + std::fmt::Debug>(values: [T; 2]) {
        let mut store = StateStore::new(0..16, 16);
        for (key, value) in values.iter().enumerate() {
            store.enter(Key::from(key));
            store.value(ValueState::new("value")).set(value.clone()).unwrap();
        }
        let mut store = restored(&[store.cut().unwrap().write().unwrap()]);
        for (key, value) in values.iter().enumerate() {
            store.enter(Key::from(key));
            assert_eq!(store.value(ValueState::<T>::new("value")).get().unwrap(), Some(value));
        }
    }
    check([0, u8::MAX]);
    check([0, u16::MAX]);
    check([0, u32::MAX]);
    check([0, u64::MAX]);
    check([i8::MIN, i8::MAX]);
    check([i16::MIN, i16::MAX]);
    check([i32::MIN, i32::MAX]);
    check([i64::MIN, i64::MAX]);
    check([f32::MIN, f32::INFINITY]);
    check([f64::MIN, f64::EPSILON]);
    check([false, true]);
    check([u128::MAX, 1]);
    check(['a', 'ß']);
    check([None, Some(7u64)]);
    check([(), ()]);
}

#[test]
fn keyed_state_needs_a_key() {
    let mut store = StateStore::new(0..16, 16);
    let error = store.value(ValueState::<u64>::new("count")).get().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Failed);
    assert!(error.message().starts_with("state \"count\" belongs to a key, but there is no current key"), "{error}");
    assert!(store.set_timer(TimerKind::Event, 1).is_err());
    assert!(store.delete_timer(TimerKind::Event, 1).is_err());
    store.local(LocalState::<u64>::new("total")).set(1).unwrap();
}

#[test]
fn an_operator_planned_without_keys_is_told_so() {
    let mut store = StateStore::new(0..16, 16);
    store.set_keyed(false);
    store.restore(&[]).unwrap();
    store.enter(Key::from(1u64));
    let message = invalid(store.value(ValueState::<u64>::new("count")).get());
    assert!(message.contains("let the operator's `is_keyed` return true"), "{message}");
    invalid(store.set_timer(TimerKind::Event, 1));
}

#[test]
fn a_key_of_another_subtask_is_an_error() {
    let mut store = StateStore::new(0..8, 16);
    let foreign = (0u64..).map(Key::from).find(|key| key.group(16) >= 8).unwrap();
    store.enter(foreign);
    let message = invalid(store.value(ValueState::<u64>::new("count")).set(1));
    assert!(message.contains("belongs to another subtask"), "{message}");
    assert_eq!(store.value(ValueState::<u64>::new("count")).get().unwrap(), None);
}
