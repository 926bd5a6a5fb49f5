//! piton
pub mod chaos;
pub mod ids;
pub mod protocol;
pub mod sim;
pub mod store;
