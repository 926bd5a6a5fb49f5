//! An actor-model, fault-tolerant stream-operator framework: exactly-once checkpoints, topologies in TOML, one binary.
//!
//! An operator is a plain type; each parallel instance of it runs as one actor. What it has to remember it keeps in
//! state, which is part of every checkpoint:
//!
//! ```
//! use piton::harness::Harness;
//! use piton::prelude::*;
//!
//! /// Counts how often each word was seen.
//! #[derive(Clone, serde::Deserialize)]
//! struct Count {}
//!
//! const SEEN: ValueState<u64> = ValueState::new("seen");
//!
//! impl Operator for Count {
//!     type In = String;
//!     type Out = (String, u64);
//!
//!     fn key(&self, word: &String) -> Key {
//!         Key::from(word)
//!     }
//!
//!     fn process(&mut self, word: &String, ctx: &mut Context<Self::Out>) -> Result {
//!         let times = ctx.state(SEEN).update(|times| {
//!             *times += 1;
//!             *times
//!         })?;
//!         ctx.emit((word.clone(), times));
//!         Ok(())
//!     }
//! }
//!
//! # fn main() -> Result {
//! let mut test = Harness::new(|| Count {});
//! test.push("rope".into())?.checkpoint()?.push("rope".into())?.crash()?.push("rope".into())?;
//! assert_eq!(test.output(), [("rope".to_string(), 1), ("rope".to_string(), 2)]);
//! # Ok(())
//! # }
//! ```
//!
//! A [`Registry`] gives it a name that a topology file can use, [`topology::load`] makes a plan of such a file, and
//! [`runtime::run`] runs it.

pub mod chaos;
pub mod clock;
pub mod config;
mod error;
pub mod ids;
pub mod protocol;
pub mod runtime;
pub mod sim;
pub mod store;
pub mod topology;

pub use config::Overrides;
pub use error::{Error, ErrorKind, Result};
pub use piton_actors::{
    AnyBatch, Batch, Context, Delivery, Either, Feed, InputRef, Inputs, Key, ListState, LocalState, MapState, NoPosition,
    Operator, Output, Progress, Record, RowBuffer, Rows, Sink, Source, Subtask, Timer, TimerKind, Timestamp, ValueState,
    WindowId,
};
pub use piton_actors::{blueprint, files, harness, state};
pub use topology::Registry;

/// What a file of operators imports.
pub mod prelude {
    pub use piton_actors::prelude::*;

    pub use crate::topology::Registry;
}
