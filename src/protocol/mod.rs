//! The protocol.
pub(crate) mod align;
mod backlog;
pub(crate) mod chain;
pub mod commit;
pub mod coordinator;
pub mod element;
pub mod failure;
pub mod lineage;
pub mod mailbox;
pub mod manifest;
pub mod mutant;
pub mod output;
pub mod region;
pub mod restart;
pub(crate) mod sink;
pub mod source;
pub mod subtask;
