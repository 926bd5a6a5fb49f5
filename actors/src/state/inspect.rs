//! Looks into state without the operator that it belongs to: what is kept under which names, key by key.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::chunk::{self, Cells, Encoding, Picked, Primitive, for_primitives};
use super::expiry::{Expiries, deadlines_of};
use super::living::living;
use super::local::{Whose, whose};
use crate::key::Key;
use crate::time::{TimerKind, Timestamp};
use crate::{Error, Result};

/// How many bytes a timer takes in a chunk: its kind and its time.
const TIMER: usize = 9;

/// The state of one subtask of an operator, as its chunks hold it.
pub struct StateReader<'a> {
    picked: Option<Picked<'a>>,
    times: Expiries,
}

/// A piece of keyed state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateInfo {
    /// Its name.
    pub name: String,
    /// `value`, `map` or `list`.
    pub kind: &'static str,
    /// How each value is written: the name of a primitive type, or `msgpack`.
    pub encoding: &'static str,
    /// How many keys have it.
    pub keys: u64,
}

/// Everything that one key has.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyState<'a> {
    /// The key.
    pub key: Key,
    /// Its timers.
    pub timers: Vec<(TimerKind, Timestamp)>,
    /// Its pieces of state by name.
    pub values: Vec<(&'a str, Written<'a>)>,
}

/// A value as it is written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Written<'a> {
    /// An unsigned integer.
    Unsigned(u64),
    /// A signed integer.
    Signed(i64),
    /// A floating-point number.
    Float(f64),
    /// True or false.
    Bool(bool),
    /// Anything else, with the names of fields.
    MessagePack(&'a [u8]),
}

macro_rules! written {
    ($($primitive:ty => $variant:ident),*) => {$(
        impl From<$primitive> for Written<'_> {
            fn from(value: $primitive) -> Self {
                Written::$variant(value.into())
            }
        }
    )*};
}
written!(u8 => Unsigned, u16 => Unsigned, u32 => Unsigned, u64 => Unsigned);
written!(i8 => Signed, i16 => Signed, i32 => Signed, i64 => Signed, f32 => Float, f64 => Float, bool => Bool);

impl<'a> StateReader<'a> {
    /// Opens a state of chunks, oldest first; `key_groups` is how many the job has.
    ///
    /// # Errors
    /// If a chunk is damaged or missing.
    pub fn open(chunks: &'a [Vec<u8>], key_groups: u32) -> Result<StateReader<'a>> {
        let picked = chunk::restore(chunks, &(0..key_groups), key_groups)?;
        Ok(StateReader { picked, times: Expiries::default() })
    }

    /// Looks at it with these times: a watermark, and the engine's time. What has expired by then is not there. Without
    /// them, nothing has.
    #[must_use]
    pub fn at(mut self, watermark: Timestamp, now: Timestamp) -> StateReader<'a> {
        self.times.set_time(TimerKind::Event, watermark);
        self.times.set_time(TimerKind::Processing, now);
        self
    }

    /// Returns the pieces of keyed state, in order of their names.
    ///
    /// # Errors
    /// If a name was written as different things.
    pub fn states(&self) -> Result<Vec<StateInfo>> {
        let mut states = Vec::new();
        let Some(picked) = &self.picked else { return Ok(states) };
        for Aged { cells, deadlines } in aged(picked.columns()?) {
            let mut keys = 0;
            match deadlines {
                None => keys = cells.iter().flatten().count() as u64,
                Some((deadlines, clock)) => {
                    for (value, deadlines) in cells.iter().zip(deadlines.iter()) {
                        keys += u64::from(self.living(&cells, value, deadlines, clock)?.is_some());
                    }
                }
            }
            let (name, kind, encoding) = (cells.name.to_string(), cells.kind.word(), cells.encoding.name());
            states.push(StateInfo { name, kind, encoding, keys });
        }
        Ok(states)
    }

    fn living(
        &self,
        of: &Cells<'_, '_>,
        value: Option<&'a [u8]>,
        deadlines: Option<&[u8]>,
        clock: TimerKind,
    ) -> Result<Option<Cow<'a, [u8]>>> {
        match (value, deadlines) {
            (Some(value), Some(deadlines)) => living(of.kind, value, deadlines, self.times.now(clock)),
            (value, _) => Ok(value.map(Cow::Borrowed)),
        }
    }

    /// Returns the values of the subtask that belong to no key, in order of their names; all are MessagePack.
    pub fn locals(&self) -> BTreeMap<&'a str, Written<'a>> {
        self.without_key(Whose::Own)
    }

    /// Returns the values that all subtasks have alike, in order of their names; all are MessagePack.
    pub fn broadcasts(&self) -> BTreeMap<&'a str, Written<'a>> {
        self.without_key(Whose::Everybodys)
    }

    fn without_key(&self, wanted: Whose) -> BTreeMap<&'a str, Written<'a>> {
        let mut values = BTreeMap::new();
        for (name, local) in self.picked.iter().flat_map(|picked| &picked.locals) {
            let (name, of) = whose(name);
            if of == wanted {
                values.insert(name, Written::MessagePack(local.bytes));
            }
        }
        values
    }

    /// Returns how many keys and timers there are.
    ///
    /// # Errors
    /// If a chunk is damaged.
    pub fn count(&self) -> Result<(u64, u64)> {
        let (mut keys, mut timers) = (0, 0);
        let Some(picked) = &self.picked else { return Ok((0, 0)) };
        for slot in 0..picked.slots() {
            let Some(row) = picked.row(slot)? else { continue };
            keys += 1;
            timers += (row.timers.map_or(0, <[u8]>::len) / TIMER) as u64;
        }
        Ok((keys, timers))
    }

    /// Visits every key, in the order in which the operator has them.
    ///
    /// # Errors
    /// If a chunk is damaged, or the error of `visit`.
    pub fn each<E: From<Error>>(&self, mut visit: impl FnMut(KeyState<'_>) -> Result<(), E>) -> Result<(), E> {
        let Some(picked) = &self.picked else { return Ok(()) };
        let columns = aged(picked.columns()?);
        let mut cells: Vec<_> = columns
            .iter()
            .map(|Aged { cells, deadlines }| {
                let deadlines = deadlines.as_ref().map(|(deadlines, clock)| (deadlines.iter(), *clock));
                (cells, cells.iter(), deadlines)
            })
            .collect();
        for slot in 0..picked.slots() {
            let (mut left, mut has_expired) = (Vec::new(), false);
            for (column, cells, deadlines) in &mut cells {
                let value = cells.next().flatten();
                let deadlines = deadlines.as_mut().map(|(deadlines, clock)| (deadlines.next().flatten(), *clock));
                let living = match deadlines {
                    Some((deadlines, clock)) => self.living(column, value, deadlines, clock)?,
                    None => value.map(Cow::Borrowed),
                };
                has_expired |= value.is_some() && living.is_none();
                left.extend(living.map(|living| (*column, living)));
            }
            let Some(row) = picked.row(slot)? else { continue };
            let timers = timers(row.timers.unwrap_or_default())?;
            if has_expired && left.is_empty() && timers.is_empty() {
                continue;
            }
            let mut values = Vec::with_capacity(left.len());
            for (column, bytes) in &left {
                values.push((column.name, written(column.encoding, bytes, column.name)?));
            }
            visit(KeyState { key: row.key, timers, values })?;
        }
        Ok(())
    }
}

/// A column, and when what is in it expires.
struct Aged<'p, 'a> {
    cells: Cells<'p, 'a>,
    deadlines: Option<(Cells<'p, 'a>, TimerKind)>,
}

/// Puts columns and their deadlines together.
fn aged<'p, 'a>(columns: Vec<Cells<'p, 'a>>) -> Vec<Aged<'p, 'a>> {
    let (mut aged, mut deadlines): (Vec<Aged<'p, 'a>>, _) = (Vec::new(), Vec::new());
    for cells in columns {
        match deadlines_of(cells.name) {
            Some((of, clock)) => deadlines.push((of, cells, clock)),
            None => aged.push(Aged { cells, deadlines: None }),
        }
    }
    for (of, cells, clock) in deadlines {
        if let Some(aged) = aged.iter_mut().find(|aged| aged.cells.name == of && aged.cells.kind == cells.kind) {
            aged.deadlines = Some((cells, clock));
        }
    }
    aged
}

macro_rules! read_primitives {
    ($(($encoding:ident, $primitive:ty)),*) => {
        fn written<'a>(encoding: Encoding, bytes: &'a [u8], name: &str) -> Result<Written<'a>> {
            let value = match encoding {
                $(Encoding::$encoding => <$primitive as Primitive>::read(bytes).map(Written::from),)*
                Encoding::MessagePack => Some(Written::MessagePack(bytes)),
            };
            value.ok_or_else(|| Error::invalid(format!("a chunk of state \"{name}\" is damaged")))
        }
    };
}
for_primitives!(read_primitives);

fn timers(bytes: &[u8]) -> Result<Vec<(TimerKind, Timestamp)>> {
    let damaged = || Error::invalid("a chunk of state is damaged: its timers");
    let (timers, []) = bytes.as_chunks::<TIMER>() else { return Err(damaged()) };
    let read = |[kind, at @ ..]: &[u8; TIMER]| match kind {
        0 => Ok((TimerKind::Event, Timestamp::from_le_bytes(*at))),
        1 => Ok((TimerKind::Processing, Timestamp::from_le_bytes(*at))),
        _ => Err(damaged()),
    };
    timers.iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    use super::*;
    use crate::state::{Declared, ListState, LocalState, MapState, StateStore, ValueState, check_declared};

    #[derive(Clone, Serialize, Deserialize)]
    struct Old {
        count: u64,
        name: String,
    }

    #[derive(Clone, Serialize, Deserialize)]
    struct New {
        count: u64,
        #[serde(default)]
        total: u64,
    }

    #[derive(Clone, Serialize, Deserialize)]
    struct Other {
        count: String,
    }

    #[derive(Clone, Serialize, Deserialize)]
    struct Longer {
        count: u64,
        total: u64,
    }

    const FACT: ValueState<Old> = ValueState::new("fact");
    const SEEN: ValueState<u64> = ValueState::new("seen");
    const OF: MapState<u64, i32> = MapState::new("of");
    const LAST: ListState<String> = ListState::new("last");
    const STARTS: LocalState<u64> = LocalState::new("starts");

    fn chunks(keys: u64) -> Vec<Vec<u8>> {
        let mut store = StateStore::new(0..8, 8);
        store.set_keyed(true);
        let mut chunks = Vec::new();
        for key in 0..keys {
            store.enter(Key::from(key));
            store.value(SEEN).set(key * 2).unwrap();
            store.value(FACT).set(Old { count: key, name: "x".into() }).unwrap();
            if key == 1 {
                chunks.push(store.cut().unwrap().write().unwrap());
                store.map(OF).insert(7, -1).unwrap();
                store.list(LAST).push("a".into()).unwrap();
                store.set_timer(TimerKind::Event, 50).unwrap();
            }
        }
        store.local(STARTS).set(3).unwrap();
        chunks.push(store.cut().unwrap().write().unwrap());
        chunks
    }

    #[test]
    fn what_is_kept_can_be_seen_without_its_types() {
        let chunks = chunks(3);
        let reader = StateReader::open(&chunks, 8).unwrap();
        let states: Vec<_> =
            reader.states().unwrap().into_iter().map(|info| (info.name, info.kind, info.keys)).collect();
        let expected = [("fact", "value", 3), ("last", "list", 1), ("of", "map", 1), ("seen", "value", 3)];
        assert_eq!(states, expected.map(|(name, kind, keys)| (name.to_string(), kind, keys)));
        assert_eq!(reader.count().unwrap(), (3, 1));
        let mut keys = Vec::new();
        reader
            .each(|state| {
                assert!(state.values.contains(&("seen", Written::Unsigned(state.key.as_u64().unwrap() * 2))));
                keys.push((state.key.as_u64().unwrap(), state.timers, state.values.len()));
                Ok::<(), Error>(())
            })
            .unwrap();
        keys.sort_unstable_by_key(|(key, ..)| *key);
        assert_eq!(keys, [(0, vec![], 2), (1, vec![(TimerKind::Event, 50)], 4), (2, vec![], 2)]);
        assert_eq!(reader.locals().into_keys().collect::<Vec<_>>(), ["starts"]);
        assert!(StateReader::open(&[vec![1, 2, 3]], 8).is_err());
    }

    #[test]
    fn a_type_that_cannot_read_what_is_kept_is_found_with_its_field() {
        let chunks = chunks(100);
        let check =
            |declared: Declared| check_declared(&[declared], &chunks, 8).map_err(|error| error.message().to_string());
        assert_eq!(check(FACT.into()), Ok(()));
        assert_eq!(check(ValueState::<New>::new("fact").into()), Ok(()), "a field gone, one with a default");
        assert_eq!(check(ValueState::<Other>::new("another").into()), Ok(()), "nothing is kept under that name");
        for (declared, expected) in [
            (
                ValueState::<Other>::new("fact").into(),
                "state \"fact\" cannot be read as Other: field \"count\": invalid type",
            ),
            (ValueState::<Longer>::new("fact").into(), "cannot be read as Longer: missing field `total`"),
            (ListState::<Old>::new("fact").into(), "was written as a value of msgpack, but is declared as a list of"),
            (ValueState::<String>::new("seen").into(), "was written as a value of u64"),
            (LocalState::<String>::new("starts").into(), "state \"starts\" cannot be read as String"),
        ] {
            let said = check(declared).unwrap_err();
            assert!(said.contains(expected), "{said}");
        }
    }
}
