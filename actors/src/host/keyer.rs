//! The keys of records, as the operator that receives them defines them.

use super::{Factory, Keyer};
use crate::batch::Batch;
use crate::operator::Operator;
use crate::record::Inputs;
use crate::{Error, Result};

/// Calls `key` on an instance of its own: the sender's side of a keyed edge.
pub(super) struct OperatorKeyer<O: Operator> {
    prototype: Option<O>,
    port: usize,
}

impl<O: Operator> OperatorKeyer<O> {
    pub(super) fn new(factory: &Factory<O>, port: usize) -> OperatorKeyer<O> {
        // A factory that worked for the instance works for its prototype; if it does not, `hashes` says so.
        OperatorKeyer { prototype: factory().ok(), port }
    }
}

impl<O: Operator> Keyer for OperatorKeyer<O> {
    fn hashes(&self, batch: &Batch, hashes: &mut Vec<u64>) -> Result {
        let Some(prototype) = &self.prototype else {
            return Err(Error::invalid("the operator behind a keyed edge could not be made"));
        };
        let batch =
            O::In::batch(self.port, batch).ok_or_else(|| Error::invalid("a batch of another type than planned"))?;
        prototype.key_hashes(&batch, hashes)
    }
}
