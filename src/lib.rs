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
//! A [`Registry`] gives it the name by which a topology file asks for it: `type = "count"`.
//!
//! # What it is not
//!
//! It is no cluster: a job runs in one process, on all its cores. It is no query engine either: the ready-made
//! operators evaluate SQL expressions, but the topology is yours to write.
//!
//! # Where things are
//!
//! What an operator is made of comes from `piton-actors`, all of which is here, too; [`prelude`] has what a file of
//! operators imports. [`cli`] is the command line. To run a job from a program of one's own, [`topology::load`] plans
//! it and [`runtime::run`] runs it. Below that, [`protocol`] decides (plain state machines), [`runtime`] acts (actors)
//! and [`store`] keeps (checkpoints).
//!
//! Operators fail with [`prelude::Error`]; commands, plans and runs with [`Error`].

// Tests and examples are crates of their own, where both are fine.
#![warn(clippy::unwrap_used, clippy::print_stdout)]

pub mod chaos;
pub mod cli;
pub mod clock;
pub mod config;
mod error;
#[doc(hidden)]
pub mod fuzzing;
pub mod http;
pub mod ids;
pub mod invariants;
pub mod protocol;
pub mod runtime;
pub mod sim;
pub mod store;
pub mod topology;

pub use config::Overrides;
pub use error::{Error, ErrorKind, Result};
// What both have a name for is the engine's.
#[doc(no_inline)]
pub use piton_actors::*;
pub use topology::Registry;

/// What a file of operators imports, and the registry to make them known by.
pub mod prelude {
    #[doc(no_inline)]
    pub use piton_actors::prelude::*;

    pub use crate::topology::Registry;
}

/// The Rust of the guide (`docs/guide`): compiled and run with the documentation tests.
#[cfg(doctest)]
mod guide {
    #[doc = include_str!("../docs/guide/src/operators.md")]
    struct Operators;
    #[doc = include_str!("../docs/guide/src/state.md")]
    struct State;
    #[doc = include_str!("../docs/guide/src/time.md")]
    struct Time;
    #[doc = include_str!("../docs/guide/src/recovery.md")]
    struct Recovery;
    #[doc = include_str!("../docs/guide/src/chaos.md")]
    struct Chaos;
}
