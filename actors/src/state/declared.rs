//! What an operator declares of its state, and whether what is kept can be read as that.

use super::map::StateMap;
use std::sync::Arc;

use super::aging::{Ages, Aging, Of, OfList, OfMap, OfValue};
use super::chunk::{self, Encoding, Kind};
use super::handle::{BroadcastState, Name};
use super::local::{Whose, whose};
use super::migration::{Listed, Migration, Migrations, WHAT_TO_DO, not_migrated};
use super::ttl::Ttl;
use crate::time::TimerKind;
use crate::{Error, Result};

/// Says what a piece of state is used as, so that what was restored can be checked before the job runs.
///
/// It is made from a handle: `SEEN.into()`. See [`Operator::states`](crate::Operator::states).
#[derive(Clone)]
pub struct Declared {
    name: &'static str,
    /// Nothing for a value that belongs to no key.
    kind: Option<Kind>,
    /// Whose it is if it belongs to no key.
    whose: Whose,
    encoding: Encoding,
    pub(super) type_name: &'static str,
    pub(super) version: u16,
    pub(super) migrations: Arc<dyn Migrations>,
    /// How long it is kept, and what expires of it; nothing if that is all one.
    expiring: Option<(Ttl, Arc<dyn Aging>)>,
}

impl Declared {
    fn new<T: super::StateValue>(
        Name { text: name, version, .. }: Name,
        kind: Option<Kind>,
        migrations: &'static [Migration<T>],
        expiring: Option<(Ttl, Arc<dyn Aging>)>,
    ) -> Declared {
        let encoding = if kind.is_some() { Encoding::of::<T>() } else { Encoding::MessagePack };
        let migrations = Arc::new(Listed { version, migrations });
        Declared {
            name,
            kind,
            whose: Whose::Own,
            encoding,
            type_name: std::any::type_name::<T>(),
            version,
            migrations,
            expiring,
        }
    }

    /// Returns whether it declares what each key has under this name.
    pub(super) fn is_keyed(&self, name: &str, kind: Kind) -> bool {
        self.kind == Some(kind) && self.name == name
    }

    /// Returns what expires of it and when, if anything does.
    pub(super) fn expiring(&self) -> Option<(Name, Kind, Ttl, Arc<dyn Aging>)> {
        let (ttl, aging) = self.expiring.as_ref()?;
        let name = Name { text: self.name, version: self.version, expires: true };
        Some((name, self.kind?, *ttl, Arc::clone(aging)))
    }

    /// Returns whether it has a time to live by this clock.
    pub(super) fn expires_by(&self, clock: TimerKind) -> bool {
        self.expiring.as_ref().is_some_and(|(ttl, _)| ttl.clock == clock)
    }

    /// Returns whether it declares the value that belongs to no key and is written under this name.
    pub(super) fn is_local(&self, written: &str) -> bool {
        self.kind.is_none() && (self.name, self.whose) == whose(written)
    }
}

/// How many values of a piece of state are tried at most, spread evenly over all keys: state of millions of keys is
/// checked in a few milliseconds, and a change of a type is met in most of its values or in the oldest ones, which are
/// the first.
const TRIED: usize = 4096;

/// Checks that the values in chunks, oldest first, can be read as what they are declared to be. All of them if they are
/// at most 4096 of a name, so many of them, evenly spread, if there are more.
///
/// # Errors
/// The name of the state and of the field that cannot be read.
pub fn check_declared(declared: &[Declared], chunks: &[Vec<u8>], key_groups: u32) -> Result<()> {
    let Some(picked) = chunk::restore(chunks, &(0..key_groups), key_groups)? else { return Ok(()) };
    for cells in picked.columns()? {
        let Some(wanted) = declared.iter().find(|wanted| wanted.kind.is_some() && wanted.name == cells.name) else {
            continue;
        };
        let kind = wanted.kind.unwrap_or(cells.kind);
        let is_present = wanted.version == cells.version;
        if kind != cells.kind || (is_present && wanted.encoding != cells.encoding) {
            let remedy = if kind == cells.kind { WHAT_TO_DO } else { "keep the new type under a new name" };
            return Err(Error::invalid(format!(
                "state \"{}\" was written as a {} of {}, but is declared as a {} of {}: {remedy}",
                cells.name,
                cells.kind.word(),
                cells.encoding.name(),
                kind.word(),
                crate::short_type_name(wanted.type_name)
            )));
        }
        if cells.encoding == Encoding::MessagePack || !is_present {
            let values = cells.iter().flatten().count();
            for bytes in cells.iter().flatten().step_by(values.div_ceil(TRIED).max(1)) {
                try_one(wanted, cells.version, cells.encoding, bytes)?;
            }
        }
    }
    for (name, local) in &picked.locals {
        if let Some(wanted) = declared.iter().find(|wanted| wanted.is_local(name)) {
            try_one(wanted, local.version, Encoding::MessagePack, local.bytes)?;
        }
    }
    Ok(())
}

fn try_one(wanted: &Declared, version: u16, encoding: Encoding, bytes: &[u8]) -> Result {
    wanted.migrations.check(version, encoding, bytes).map_err(|reason| {
        if version != wanted.version {
            return not_migrated(wanted.name, &reason);
        }
        let wanted_type = crate::short_type_name(wanted.type_name);
        Error::invalid(format!("state \"{}\" cannot be read as {wanted_type}: {reason}; {WHAT_TO_DO}", wanted.name))
    })
}

macro_rules! declarations {
    ($($handle:ident<$($of:ident),+> as $held:ty, $kind:expr, $ages:ty;)*) => {$(
        impl<$($of: super::StateValue),+> From<super::$handle<$($of),+>> for Declared
        where
            $held: super::StateValue,
            $ages: Ages,
        {
            fn from(handle: super::$handle<$($of),+>) -> Declared {
                let aging = |ttl| -> (Ttl, Arc<dyn Aging>) { (ttl, Arc::new(Of::<$ages>::default())) };
                Declared::new::<$held>(handle.name, $kind, handle.migrations, handle.ttl.map(aging))
            }
        }
    )*};
}

impl<T: super::StateValue> From<BroadcastState<T>> for Declared {
    fn from(handle: BroadcastState<T>) -> Declared {
        let declared = Declared::new::<T>(handle.name, None, handle.migrations, None);
        Declared { whose: Whose::Everybodys, ..declared }
    }
}

declarations! {
    ValueState<T> as T, Some(Kind::Value), OfValue<T>;
    MapState<K, V> as StateMap<K, V>, Some(Kind::Map), OfMap<K, V>;
    ListState<T> as Vec<T>, Some(Kind::List), OfList<T>;
    LocalState<T> as T, None, OfValue<T>;
}
