//! The protocol.
pub mod commit;
pub mod manifest;
