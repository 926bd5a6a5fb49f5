//! Which slot a key gets, and what a cut says of keys that went.

use super::*;
use crate::key::unmix;

#[test]
fn the_smallest_free_slot_is_taken_first() {
    let mut slots = Slots::new(16);
    for key in 0u64..4 {
        assert_eq!(slots.insert(&Key::from(key)), Some(key as u32));
    }
    slots.release(2);
    slots.release(0);
    assert_eq!(slots.find(&Key::from(0u64)), None);
    assert_eq!(slots.insert(&Key::from("tea")), Some(0));
    assert_eq!(slots.insert(&Key::from("milk")), Some(2));
    assert_eq!(slots.insert(&Key::from(9u64)), Some(4));
    assert_eq!(slots.find(&Key::from("tea")), Some(0));
    assert_eq!(slots.key(2).as_str(), Some("milk"));
    assert_eq!(slots.key(3), Key::from(3u64));
}

#[test]
fn an_integer_and_a_text_of_the_same_hash_are_two_keys() {
    let text = Key::from("tea");
    let integer = Key::from(unmix(text.hash()));
    assert_eq!(text.hash(), integer.hash());
    let mut slots = Slots::new(16);
    slots.insert(&text);
    assert_eq!(slots.find(&integer), None);
    slots.insert(&integer);
    assert_eq!((slots.find(&text), slots.find(&integer)), (Some(0), Some(1)));
}

#[test]
fn only_a_key_that_was_cut_leaves_a_tombstone() {
    let mut slots = Slots::new(16);
    slots.insert(&Key::from(1u64));
    slots.touch(0);
    slots.release(0);
    assert!(!slots.is_dirty());
    slots.insert(&Key::from(2u64));
    slots.touch(0);
    slots.mark_cut(false);
    slots.release(0);
    slots.insert(&Key::from(3u64));
    slots.release(0);
    assert_eq!(slots.removed(), [(Key::from(2u64).group(16), 0)]);
}
