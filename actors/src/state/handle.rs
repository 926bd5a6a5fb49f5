//! The names of pieces of state.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::migration::{FIRST_VERSION, Migration, version};
use super::ttl::Ttl;

/// A type of which values can be kept in state.
pub trait StateValue: Serialize + DeserializeOwned + Clone + Send + 'static {}
impl<T: Serialize + DeserializeOwned + Clone + Send + 'static> StateValue for T {}

/// What a handle means: a name, and which version of what is kept under it.
#[derive(Clone, Copy)]
pub(super) struct Name {
    pub(super) text: &'static str,
    pub(super) version: u16,
    /// Whether it has a time to live.
    pub(super) expires: bool,
}

macro_rules! handles {
    ($($(#[$doc:meta])* $handle:ident <$($of:ident),+> of $held:ty;)*) => {$(
        $(#[$doc])*
        ///
        /// The name is the stable id of the state: renaming it leaves what was kept under the old name behind. Its type
        /// may gain fields with a default and lose others; any other change takes a [`Migration`].
        pub struct $handle<$($of: 'static),+> {
            pub(super) name: Name,
            pub(super) ttl: Option<Ttl>,
            pub(super) migrations: &'static [Migration<$held>],
            of: PhantomData<fn() -> ($($of,)+)>,
        }

        impl<$($of: 'static),+> $handle<$($of),+> {
            /// Names a piece of state.
            pub const fn new(name: &'static str) -> Self {
                let name = Name { text: name, version: FIRST_VERSION, expires: false };
                $handle { name, ttl: None, migrations: &[], of: PhantomData }
            }

            /// Says how earlier versions become this one, oldest version first; see [`Migration`]. It counts for operators
            /// that declare the state in [`Operator::states`](crate::Operator::states).
            pub const fn migrations(self, migrations: &'static [Migration<$held>]) -> Self {
                let name = Name { version: version(migrations), ..self.name };
                $handle { name, ttl: self.ttl, migrations, of: PhantomData }
            }
        }

        impl<$($of: 'static),+> Clone for $handle<$($of),+> {
            fn clone(&self) -> Self {
                *self
            }
        }

        impl<$($of: 'static),+> Copy for $handle<$($of),+> {}

        impl<$($of: 'static),+> fmt::Debug for $handle<$($of),+> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({:?}", stringify!($handle), self.name.text)?;
                if self.name.version > FIRST_VERSION {
                    write!(f, ", version {}", self.name.version)?;
                }
                f.write_str(")")
            }
        }
    )*};
}

handles! {
    /// Names one value per key: `const SEEN: ValueState<u64> = ValueState::new("seen");`
    ValueState<T> of T;
    /// Names one map per key, in the order of its keys.
    MapState<K, V> of BTreeMap<K, V>;
    /// Names one list per key.
    ListState<T> of Vec<T>;
    /// Names one value per subtask, which belongs to no key. It does not move when the parallelism changes: the first
    /// subtask keeps its own, the others begin anew.
    LocalState<T> of T;
}

macro_rules! expiring {
    ($($handle:ident <$($of:ident),+>;)*) => {$(
        impl<$($of: 'static),+> $handle<$($of),+> {
            /// Says how long what is kept under it is kept; see [`Ttl`].
            #[must_use]
            pub const fn ttl(self, ttl: Ttl) -> Self {
                let name = Name { expires: true, ..self.name };
                $handle { name, ttl: Some(ttl), migrations: self.migrations, of: PhantomData }
            }
        }
    )*};
}
expiring! {
    ValueState<T>;
    MapState<K, V>;
    ListState<T>;
}
