//! One check for each fuzz target: a function of any bytes, which panics if a promise is broken.
//!
//! They are part of two programs: the fuzz targets, which make inputs up, and `tests/fuzz_corpus.rs`, which gives them
//! again what was found once.

pub mod damage;
pub mod faults;
mod forge;
pub mod in_flight;
pub mod input;
pub mod kept;
pub mod letters;
pub mod manifest;
pub mod sled;
pub mod state;
pub mod store;
pub mod topology;
