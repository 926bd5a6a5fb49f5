//! How an old type of a state becomes the new one.
//!
//! Migrations take place when a checkpoint is restored, before anything is processed; the next checkpoint then holds all of
//! the state in its new version. The version is written with the state: nothing is ever guessed from what bytes look like.

use std::any::{Any, type_name};
use std::collections::BTreeMap;
use std::fmt::Display;

use serde::de::DeserializeOwned;

use super::chunk::{Cells, Encoding, Primitive, WrittenLocal, for_primitives};
use super::column::Data;
use super::handle::StateValue;
use super::local::{AnyLocal, local};
use super::map::StateMap;
use crate::{Error, Result, short_type_name};

/// What helps if a state cannot be read.
pub(super) const WHAT_TO_DO: &str = "give fields that were added a default, or say how the old type becomes the new one \
                                     (`migrations` of the handle), or keep the new type under a new name";

/// The version of a state whose type never changed.
pub(super) const FIRST_VERSION: u16 = 1;

/// Says what type a state had in an earlier version, and how that becomes the present one.
///
/// A type may gain fields with a default and lose others, for which nothing has to be said. For any other change, the
/// handle says what the type was before, and `From` (or `TryFrom`) how one becomes the other:
///
/// ```
/// use piton_actors::prelude::*;
/// use piton_actors::state::Migration;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Clone, Serialize, Deserialize)]
/// struct Visits {
///     first_ms: i64,
///     count: u64,
/// }
///
/// /// What it was in version 1.
/// #[derive(Deserialize)]
/// struct VisitsV1 {
///     first_seconds: i64,
///     count: u64,
/// }
///
/// impl From<VisitsV1> for Visits {
///     fn from(old: VisitsV1) -> Visits {
///         Visits { first_ms: old.first_seconds * 1000, count: old.count }
///     }
/// }
///
/// const VISITS: ValueState<Visits> = ValueState::new("visits").migrations(&[Migration::value::<VisitsV1>(1)]);
/// # assert_eq!(format!("{VISITS:?}"), "ValueState(\"visits\", version 2)");
/// ```
///
/// A handle without migrations is version 1 of its state; with them, it is the version behind the last one that they read.
/// The next change of this type would add `Migration::value::<VisitsV2>(2)`. Each leads to the newest type at once, so an
/// older one is kept as long as a checkpoint or savepoint of its version may be restored, and may go through the versions
/// between: `Visits::from(VisitsV2::from(old))`.
///
/// Migrations are for operators that declare their state in [`Operator::states`](crate::Operator::states), so that what
/// cannot be read is found out before the job starts. A conversion has to be a function of the old value: until the next
/// checkpoint is committed, a restart does it again.
pub struct Migration<T: 'static> {
    pub(super) from: u16,
    read: Read<T>,
}

/// Reads a value of this encoding and converts it; says which field is wrong if it cannot.
type Read<T> = fn(Encoding, &[u8]) -> Result<T, String>;

impl<T: StateValue> Migration<T> {
    /// Reads the values of version `from` as `Old`s and converts each, for a
    /// [`ValueState`](crate::ValueState) or a [`LocalState`](crate::LocalState).
    pub const fn value<Old>(from: u16) -> Migration<T>
    where
        Old: DeserializeOwned + 'static,
        T: TryFrom<Old, Error: Display>,
    {
        Migration { from, read: read_value::<T, Old> }
    }
}

impl<K: StateValue + Ord, V: StateValue> Migration<StateMap<K, V>> {
    /// Reads the maps of version `from` as maps of `OldKey` and `OldValue` and converts each pair, for a
    /// [`MapState`](crate::MapState). Two keys that become the same are an error.
    pub const fn map<OldKey, OldValue>(from: u16) -> Migration<StateMap<K, V>>
    where
        OldKey: DeserializeOwned + Ord + 'static,
        OldValue: DeserializeOwned + 'static,
        K: TryFrom<OldKey, Error: Display>,
        V: TryFrom<OldValue, Error: Display>,
    {
        Migration { from, read: read_map::<K, V, OldKey, OldValue> }
    }
}

impl<T: StateValue> Migration<Vec<T>> {
    /// Reads the lists of version `from` as lists of `Old` and converts each item, for a
    /// [`ListState`](crate::ListState).
    pub const fn list<Old>(from: u16) -> Migration<Vec<T>>
    where
        Old: DeserializeOwned + 'static,
        T: TryFrom<Old, Error: Display>,
    {
        Migration { from, read: read_list::<T, Old> }
    }
}

/// Returns the version of a handle with these migrations, oldest first.
///
/// # Panics
/// At compile time, if they are out of order.
pub(super) const fn version<T>(migrations: &[Migration<T>]) -> u16 {
    let mut version = FIRST_VERSION;
    let mut index = 0;
    while index < migrations.len() {
        assert!(
            migrations[index].from >= version,
            "migrations are listed oldest version first, each once, and the first version is 1"
        );
        version = migrations[index].from + 1;
        index += 1;
    }
    version
}

fn convert<Old, New: TryFrom<Old, Error: Display>>(old: Old) -> Result<New, String> {
    New::try_from(old).map_err(|error| error.to_string())
}

fn read_value<T, Old>(encoding: Encoding, bytes: &[u8]) -> Result<T, String>
where
    Old: DeserializeOwned + 'static,
    T: TryFrom<Old, Error: Display>,
{
    convert(decode::<Old>(encoding, bytes)?)
}

fn read_map<K, V, OldKey, OldValue>(encoding: Encoding, bytes: &[u8]) -> Result<StateMap<K, V>, String>
where
    OldKey: DeserializeOwned + Ord + 'static,
    OldValue: DeserializeOwned + 'static,
    K: TryFrom<OldKey, Error: Display> + Ord,
    V: TryFrom<OldValue, Error: Display>,
{
    let mut map = StateMap::new();
    for (key, value) in decode::<BTreeMap<OldKey, OldValue>>(encoding, bytes)? {
        if map.insert(convert(key)?, convert(value)?).is_some() {
            return Err("two keys of a map become the same".to_string());
        }
    }
    Ok(map)
}

fn read_list<T, Old>(encoding: Encoding, bytes: &[u8]) -> Result<Vec<T>, String>
where
    Old: DeserializeOwned + 'static,
    T: TryFrom<Old, Error: Display>,
{
    decode::<Vec<Old>>(encoding, bytes)?.into_iter().map(convert).collect()
}

macro_rules! decode_primitives {
    ($(($encoding:ident, $primitive:ty)),*) => {
        fn decode<T: DeserializeOwned + 'static>(encoding: Encoding, bytes: &[u8]) -> Result<T, String> {
            let value: Option<Box<dyn Any>> = match encoding {
                $(Encoding::$encoding => <$primitive as Primitive>::read(bytes).map(|value| Box::new(value) as _),)*
                Encoding::MessagePack => return decode_packed(bytes),
            };
            let value = value.ok_or("its bytes are damaged")?.downcast::<T>();
            value.map(|value| *value).map_err(|_| {
                format!("it was written as {}, not as {}", encoding.name(), short_type_name(type_name::<T>()))
            })
        }
    };
}
for_primitives!(decode_primitives);

fn decode_packed<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    let mut reader = rmp_serde::Deserializer::new(bytes);
    serde_path_to_error::deserialize::<_, T>(&mut reader).map_err(|error| match error.path().to_string() {
        path if path == "." => error.inner().to_string(),
        path => format!("field \"{path}\": {}", error.inner()),
    })
}

/// What is known of the migrations of a state without its type.
pub(super) trait Migrations: Send + Sync {
    /// Tries to read and convert a value of this version and encoding.
    ///
    /// # Errors
    /// The reason why not.
    fn check(&self, version: u16, encoding: Encoding, bytes: &[u8]) -> Result<(), String>;

    /// Makes a column of everything that is there under its name, of whatever version.
    ///
    /// # Errors
    /// If a value cannot be read or converted.
    fn column(&self, versions: &[Cells<'_, '_>]) -> Result<Data, String>;

    /// Makes a value that belongs to no key.
    ///
    /// # Errors
    /// As `column`.
    fn local(&self, written: WrittenLocal<'_>) -> Result<Box<dyn AnyLocal>, String>;
}

/// The migrations of a handle, and the version that they lead to.
pub(super) struct Listed<T: 'static> {
    pub(super) version: u16,
    pub(super) migrations: &'static [Migration<T>],
}

impl<T: StateValue> Listed<T> {
    /// Returns what reads values of this version.
    fn reader(&self, version: u16) -> Result<Read<T>, String> {
        let present = self.version;
        if version == present {
            return Ok(decode::<T>);
        }
        if version > present {
            return Err(format!(
                "it was written as version {version}, and this program knows versions up to {present}: use the newer \
                 program, or go back to an older checkpoint"
            ));
        }
        let migration = self.migrations.iter().find(|migration| migration.from == version);
        migration.map(|migration| migration.read).ok_or_else(|| {
            format!(
                "it was written as version {version}, and its handle has no migration from that to version {present}: \
                 add one to its `migrations`"
            )
        })
    }
}

impl<T: StateValue> Migrations for Listed<T> {
    fn check(&self, version: u16, encoding: Encoding, bytes: &[u8]) -> Result<(), String> {
        (self.reader(version)?)(encoding, bytes).map(drop)
    }

    fn column(&self, versions: &[Cells<'_, '_>]) -> Result<Data, String> {
        let slots = versions.iter().map(|cells| cells.len()).max().unwrap_or_default();
        let mut values: Vec<Option<T>> = Vec::new();
        values.resize_with(slots, || None);
        for cells in versions {
            let read = self.reader(cells.version)?;
            for (value, bytes) in values.iter_mut().zip(cells.iter()) {
                if let Some(bytes) = bytes {
                    *value = Some(read(cells.encoding, bytes)?);
                }
            }
        }
        Ok(Data::of(values))
    }

    fn local(&self, written: WrittenLocal<'_>) -> Result<Box<dyn AnyLocal>, String> {
        let read = self.reader(written.version)?;
        Ok(local(read(Encoding::MessagePack, written.bytes)?))
    }
}

/// A state cannot be brought to its present version.
pub(super) fn not_migrated(name: &str, reason: &str) -> Error {
    Error::invalid(format!("state \"{name}\" cannot be migrated: {reason}"))
}

/// A handle means another version of a state than was restored.
pub(super) fn other_version(name: &str, held: u16, wanted: u16) -> Error {
    Error::invalid(format!(
        "state \"{name}\" was restored as version {held}, but is used here as version {wanted}: return its handle from the \
         operator's `states`, so that it is migrated when it is restored"
    ))
}
