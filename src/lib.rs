//! piton
pub mod clock;
pub mod config;
mod error;
pub mod ids;
pub mod protocol;
pub mod runtime;
pub mod store;
pub mod topology;

pub use error::{Error, ErrorKind, Result};
pub use piton_actors::{blueprint, files, harness, prelude, state};
pub use topology::Registry;
