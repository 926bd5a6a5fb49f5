//! What tests of a real process share: running the binary, breaking it, and looking at what it leaves behind.
//!
//! Nothing here knows the engine: a promise to somebody outside is tested from outside.
#![allow(dead_code, reason = "every test uses its part of it")]

pub(crate) mod chaos;
pub(crate) mod folder;
pub(crate) mod generate;
pub(crate) mod process;
pub(crate) mod told;
pub(crate) mod tree;
