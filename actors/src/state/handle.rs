//! The names of pieces of state.

use std::fmt;
use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// A type of which values can be kept in state.
pub trait StateValue: Serialize + DeserializeOwned + Clone + Send + 'static {}
impl<T: Serialize + DeserializeOwned + Clone + Send + 'static> StateValue for T {}

macro_rules! handles {
    ($($(#[$doc:meta])* $handle:ident <$($of:ident),+>;)*) => {$(
        $(#[$doc])*
        ///
        /// The name is the stable id of the state: renaming it leaves what was kept under the old name behind.
        pub struct $handle<$($of),+> {
            pub(super) name: &'static str,
            of: PhantomData<fn() -> ($($of,)+)>,
        }

        impl<$($of),+> $handle<$($of),+> {
            /// Names a piece of state.
            pub const fn new(name: &'static str) -> Self {
                $handle { name, of: PhantomData }
            }
        }

        impl<$($of),+> Clone for $handle<$($of),+> {
            fn clone(&self) -> Self {
                *self
            }
        }

        impl<$($of),+> Copy for $handle<$($of),+> {}

        impl<$($of),+> fmt::Debug for $handle<$($of),+> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({:?})", stringify!($handle), self.name)
            }
        }
    )*};
}

handles! {
    /// Names one value per key: `const SEEN: ValueState<u64> = ValueState::new("seen");`
    ValueState<T>;
    /// Names one map per key, in the order of its keys.
    MapState<K, V>;
    /// Names one list per key.
    ListState<T>;
    /// Names one value per subtask, which belongs to no key. It does not move when the parallelism changes: the first
    /// subtask keeps its own, the others begin anew.
    LocalState<T>;
}
