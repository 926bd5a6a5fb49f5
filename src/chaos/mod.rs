//! Breaking things on purpose, and what must hold all the same.
//!
//! `piton chaos` breaks a real run: one process runs the job twice in others, first in peace, then under faults of a
//! plan that was drawn from a seed, and holds what the second has committed against what the first
//! has. [`live`] is that process; [`within`] is what the broken one has to do with it.

pub mod compare;
mod disk;
mod draw;
pub mod fragile;
mod kind;
pub mod live;
mod plan;
pub mod report;
mod rows;
pub(crate) mod target;
mod wire;
pub mod within;
mod words;

pub use crate::invariants;
pub use draw::draw;
pub use kind::{FaultKind, Reach};
pub use plan::{ChaosPlan, Moment, PlannedFault};
pub use target::Target;
