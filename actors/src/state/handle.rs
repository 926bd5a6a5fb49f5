//! The names of pieces of state.

use super::map::StateMap;
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

impl Name {
    /// Returns whether two handles mean the same.
    #[inline(always)]
    pub(super) fn is(self, other: Name) -> bool {
        let (one, another) = (self.text, other.text);
        // Handles are constants, so that their addresses mostly say it.
        let is_same = one.len() == another.len() && (std::ptr::eq(one, another) || one == another);
        is_same && self.version == other.version && self.expires == other.expires
    }
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
    MapState<K, V> of StateMap<K, V>;
    /// Names one list per key.
    ListState<T> of Vec<T>;
    /// Names one value per subtask, which belongs to no key. It does not move when the parallelism changes: the first
    /// subtask keeps its own, the others begin anew.
    LocalState<T> of T;
    /// Names one value that all subtasks of an operator have alike, beside what belongs to their keys: rules, prices,
    /// whatever comes by an input that every subtask reads in full. All may read it at any time; only records of such an
    /// input ([`Operator::BROADCAST`](crate::Operator::BROADCAST)) may change it, because all subtasks see these. It is
    /// written once more with every checkpoint after a change, by each subtask, and when the parallelism changes, every new
    /// subtask gets it.
    ///
    /// ```
    /// use std::collections::BTreeMap;
    ///
    /// use piton_actors::harness::Harness;
    /// use piton_actors::prelude::*;
    ///
    /// const LIMITS: BroadcastState<BTreeMap<String, u64>> = BroadcastState::new("limits");
    ///
    /// /// Lets payments pass that are above the limit of their shop.
    /// struct Check;
    ///
    /// impl Operator for Check {
    ///     type In = Either<(String, u64), (String, u64)>;
    ///     type Out = (String, u64);
    ///     /// The second input has the limits.
    ///     const BROADCAST: &'static [usize] = &[1];
    ///
    ///     fn key(&self, input: Either<&(String, u64), &(String, u64)>) -> Key {
    ///         match input {
    ///             Either::Left((shop, _)) => Key::from(shop),
    ///             Either::Right(_) => Key::None,
    ///         }
    ///     }
    ///
    ///     fn process(
    ///         &mut self,
    ///         input: Either<&(String, u64), &(String, u64)>,
    ///         ctx: &mut Context<(String, u64)>,
    ///     ) -> Result {
    ///         match input {
    ///             Either::Left((shop, amount)) => {
    ///                 if ctx.broadcast(LIMITS).get()?.get(shop).is_some_and(|limit| amount > limit) {
    ///                     ctx.emit((shop.clone(), *amount));
    ///                 }
    ///             }
    ///             Either::Right((shop, limit)) => {
    ///                 ctx.broadcast(LIMITS).update(|limits| limits.insert(shop.clone(), *limit))?;
    ///             }
    ///         }
    ///         Ok(())
    ///     }
    /// }
    ///
    /// # fn main() -> Result {
    /// let mut harness = Harness::new(|| Check);
    /// harness.push_right(("tea".into(), 100))?.push_left(("tea".into(), 90))?.push_left(("tea".into(), 110))?;
    /// assert_eq!(harness.output(), [("tea".to_string(), 110)]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// What becomes of it must follow from the records of such inputs, and not from keys, time or chance, so that all
    /// subtasks do the same. Subtasks see records of one sender in one order, but those of several senders each in its own;
    /// a record that one of them sets aside as poison is missing there alone.
    BroadcastState<T> of T;
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
