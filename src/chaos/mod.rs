//! Breaking things on purpose, and what must hold all the same.

pub mod fragile;
pub mod invariants;
