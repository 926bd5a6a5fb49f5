//! The topology: from a TOML file to a checked plan.
//!
//! [`load`] reads a file, lays the environment and the command line over it, and asks every kind for its part. It
//! answers with a [`Plan`], or with everything that is wrong at once, each with its place, the nearest name that would
//! have been right, and what to do. It starts nothing and creates nothing.

mod aims;
mod build;
mod chains;
mod continuation;
mod event_time;
mod explain;
mod fingerprint;
mod graph;
mod guarantee;
mod kinds;
mod load;
mod options;
mod plan;
mod registry;
mod spec;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

#[cfg(test)]
pub(crate) use aims::points;
pub(crate) use aims::{fits, whom};
pub use continuation::{Continuation, Continued, Mapping, Unmapped};
pub use explain::Format;
pub use fingerprint::{EdgePrint, Fingerprint, OperatorPrint};
pub use guarantee::{Guarantee, Path};
pub use load::{load, load_text};
pub use plan::{Chain, Edge, EventTime, Node, NodeKind, Partition, Plan, Region};
pub use registry::Registry;
pub use spec::Role;
