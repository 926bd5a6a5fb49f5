//! Where fresh instances of user code come from.

use piton_actors::host::{AnyOperator, AnySink, AnySource, Keyer};
use piton_actors::{Batch, Result as UserResult};

/// Makes the source, the operators and the sink of one subtask, and what computes keys for its output edges: when it
/// begins, and whenever one of them has failed.
pub trait Workshop: Send + Sync {
    /// Makes the source.
    ///
    /// # Errors
    /// The factory's; so in the others.
    fn source(&self) -> UserResult<Box<dyn AnySource>>;

    /// Makes an operator of the chain, counted from its head.
    ///
    /// # Errors
    /// As `source`.
    fn operator(&self, member: usize) -> UserResult<Box<dyn AnyOperator>>;

    /// Makes the sink.
    ///
    /// # Errors
    /// As `source`.
    fn sink(&self) -> UserResult<Box<dyn AnySink>>;

    /// Makes what computes the keys of the records of an output edge.
    ///
    /// # Errors
    /// As `source`.
    fn keyer(&self, edge: usize) -> UserResult<Box<dyn Keyer>>;

    /// Decodes a batch that was under way to an input port of the subtask.
    ///
    /// # Errors
    /// If the bytes are not such records.
    fn unpack(&self, port: usize, bytes: &[u8]) -> UserResult<Batch>;
}
