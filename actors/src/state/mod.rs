//! Keyed state: what an operator remembers about each key, and its timers.
//!
//! A user names a piece of state by a `const` handle and reaches it through the context, always for the current key:
//!
//! ```
//! use piton_actors::prelude::*;
//! use piton_actors::state::StateStore;
//!
//! const SEEN: ValueState<u64> = ValueState::new("seen");
//!
//! # fn main() -> Result {
//! let mut store = StateStore::new(0..1024, 1024);
//! store.enter(Key::from("tea"));
//! store.value(SEEN).update(|seen| *seen += 1)?;
//! assert_eq!(store.value(SEEN).get()?, Some(&1));
//! # Ok(())
//! # }
//! ```
//!
//! In memory, every name is one dense column of typed values, and every key has one slot in all of them. Nothing is
//! serialised until a checkpoint [cuts](StateStore::cut) what changed into a chunk. After a restore, values that are not
//! primitives are decoded when their key is first looked at: a job goes on long before all of its state is decoded. So
//! a value that does not fit its type any more is an error where it is met; the first of a column is tried at once.
//!
//! Promises: order survives. Which slot a key gets, the order of keys and of timers that are due at the same time, are
//! a function of what happened to the store, the same before and after a restore, so that a replay gives the same
//! output. A handle used with another type than before is an error that names the state, never a panic or a silent
//! reset. Damaged chunks are errors. A type may change from one version of a program to the next, with a [`Migration`] where
//! that is more than fields that come with a default or go. State that an operator declares ([`Operator::states`](crate::Operator::states)) is
//! checked before the job runs.
//!
//! What happens between [`begin`](StateStore::begin) and [`settle`](StateStore::settle) is a transaction: until then
//! it can be [taken back](StateStore::undo), and then it has never been, for anybody.
//!
//! Not solved here: when to cut, where chunks are kept, and who owns which key group.

mod aggregating;
mod aging;
mod bits;
mod block;
mod chunk;
mod column;
mod columns;
mod current;
mod declared;
mod due;
mod entry;
mod expiry;
mod handle;
mod inspect;
mod living;
mod local;
mod map;
mod migration;
mod raw;
mod restore;
mod room;
mod slots;
mod store;
#[cfg(test)]
mod tests;
mod timers;
mod times;
mod ttl;
mod undo;

pub use aggregating::{Aggregating, AggregatingEntry, AggregatingState};
pub(crate) use block::MAX_ROWS as BLOCK_ROWS;
pub use chunk::{Draft, Ordered, broadcast_chunk, is_whole_chunk, merge_chunks};
pub use declared::{Declared, check_declared};
pub use entry::{BroadcastEntry, ListEntry, LocalEntry, MapEntry, ValueEntry};
pub use handle::{BroadcastState, ListState, LocalState, MapState, StateValue, ValueState};
pub use inspect::{KeyState, StateInfo, StateReader, Written};
pub use map::StateMap;
pub use migration::Migration;
pub use store::StateStore;
pub use ttl::Ttl;
