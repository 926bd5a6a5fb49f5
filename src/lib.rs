//! An actor-model, fault-tolerant stream-operator framework.
//!
//! A job is a topology file: sources, operators and sinks, and how they are connected. Every instance of an operator
//! is an actor. The stream is cut into windows, state is checkpointed as of the end of a window, and after any number
//! of crashes state and committed output equal those of a run without faults.
//!
//! ```no_run
//! use std::process::ExitCode;
//!
//! use piton::prelude::*;
//! use serde::Deserialize;
//!
//! /// Passes on what is large enough.
//! #[derive(Clone, Deserialize)]
//! struct AtLeast {
//!     limit: u64,
//! }
//!
//! impl Operator for AtLeast {
//!     type In = u64;
//!     type Out = u64;
//!
//!     fn is_keyed(&self) -> bool {
//!         false
//!     }
//!
//!     fn process(&mut self, number: &u64, ctx: &mut Context<u64>) -> Result {
//!         if *number >= self.limit {
//!             ctx.emit(*number);
//!         }
//!         Ok(())
//!     }
//! }
//!
//! fn main() -> ExitCode {
//!     let mut registry = Registry::stock();
//!     registry.operator::<AtLeast>("at_least");
//!     piton::cli::main(registry)
//! }
//! ```
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

pub mod cli;
pub mod clock;
pub mod config;
mod error;
pub mod ids;
pub mod protocol;
pub mod runtime;
pub mod store;
pub mod topology;

pub use error::{Error, ErrorKind, Result};
pub use topology::Registry;
// What both have a name for is the engine's.
#[doc(no_inline)]
pub use piton_actors::*;

/// What a file of operators imports, and the registry to make them known by.
pub mod prelude {
    #[doc(no_inline)]
    pub use piton_actors::prelude::*;

    pub use crate::topology::Registry;
}
