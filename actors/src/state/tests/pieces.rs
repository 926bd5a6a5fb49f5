//! A chunk that is written piece by piece.

use std::io::{self, Write};

use super::*;

/// Keeps what it is given, and how long the longest piece was.
#[derive(Default)]
struct Pieces {
    bytes: Vec<u8>,
    count: usize,
    longest: usize,
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        self.count += 1;
        self.longest = self.longest.max(bytes.len());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A store of keys of both kinds, of which some have long texts.
fn of_texts(keys: u64) -> StateStore {
    const TEXT: ValueState<String> = ValueState::new("text");
    const WORD: ValueState<String> = ValueState::new("word");
    const COUNT: ValueState<u64> = ValueState::new("count");
    let mut store = StateStore::new(0..16, 16);
    for key in 0..keys {
        store.enter(if key % 5 == 0 { Key::from(format!("key {key}").as_str()) } else { Key::from(key) });
        if key % 3 != 0 {
            store.value(TEXT).set("long ".repeat(150 + key as usize % 100)).unwrap();
        }
        if key % 7 == 0 {
            store.value(WORD).set(format!("short {key}")).unwrap();
            store.set_timer(crate::TimerKind::Event, key as i64).unwrap();
        }
        store.value(COUNT).set(key).unwrap();
    }
    store
}

#[test]
fn a_chunk_that_comes_in_pieces_is_the_one_that_comes_whole() {
    for mut store in [small(), of_texts(10), of_texts(5_000)] {
        let draft = store.cut().unwrap();
        assert!(draft.is_whole());
        let ordered = draft.in_order().unwrap();
        let mut pieces = Pieces::default();
        ordered.write_to(&mut pieces).unwrap();
        assert_eq!(pieces.bytes.len() as u64, ordered.len());
        assert!(ordered.write().unwrap() == pieces.bytes);
        assert_eq!(image(&restored(&[pieces.bytes])), image(&store));
        assert!(pieces.longest < 300 << 10, "{} bytes at once", pieces.longest);
        assert!(ordered.len() < 1 << 20 || pieces.count > 4);
    }
}

#[test]
fn who_takes_the_pieces_may_fail() {
    /// Has so much room.
    struct Room(usize);
    impl Write for Room {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::StorageFull)?;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let draft = of_texts(5_000).cut().unwrap();
    let ordered = draft.in_order().unwrap();
    let len = ordered.len() as usize;
    ordered.write_to(&mut Room(len)).unwrap();
    for room in [0, len / 2, len - 1] {
        assert_eq!(ordered.write_to(&mut Room(room)).unwrap_err().kind(), io::ErrorKind::StorageFull);
    }
}
