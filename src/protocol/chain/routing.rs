//! Keys of what has come out of a chain: they decide where it goes.

use piton_actors::Batch;

use super::link::{Out, watched};
use super::{Chain, ChainAnswer, ChainFailure, Exit, MAIN, Refused, Routed};
use crate::protocol::failure::{Failure, guard};

impl Chain {
    /// Takes what has come out: at the end of the chain first, then by the other ways.
    fn take_out(&mut self) -> impl Iterator<Item = (Exit, Batch)> + use<> {
        let Out { main, aside } = std::mem::take(&mut self.out);
        main.into_iter().map(|batch| (MAIN, batch)).chain(aside)
    }

    /// Computes the keys of what has come out.
    pub(super) fn route(&mut self, answer: &mut ChainAnswer) -> Result<(), ChainFailure> {
        for (exit, batch) in self.take_out() {
            let hashes = self.hashes(exit, &batch)?;
            answer.outputs.push(Routed { exit, batch, hashes });
        }
        Ok(())
    }

    fn hashes(&mut self, exit: Exit, batch: &Batch) -> Result<Vec<Vec<u64>>, ChainFailure> {
        let mut all = Vec::with_capacity(self.keying.len());
        for (number, keying) in self.keying.iter().enumerate() {
            debug_assert!(all.len() <= keying.edge, "the keyed edges are in the order of the edges");
            if keying.exit != exit {
                continue;
            }
            let mut hashes = self.spare.pop().unwrap_or_default();
            let place = self.spec.names.len() + number;
            watched(&self.pulse, place, || guard(&keying.consumer, || keying.keyer.hashes(batch, &mut hashes)))
                .map_err(|failure| ChainFailure { routing: true, ..ChainFailure::lost(failure) })?;
            if hashes.len() != batch.len() {
                let message = "the keys of a batch are not as many as its records";
                return Err(Failure::engine(&keying.consumer, message).into());
            }
            all.push(hashes);
        }
        Ok(all)
    }

    /// As `route`, record by record, leaving out those whose keys cannot be computed.
    pub(super) fn sift(&mut self, answer: &mut ChainAnswer) {
        for (exit, batch) in self.take_out() {
            for row in 0..batch.len() {
                let one = batch.slice(row..row + 1);
                match self.hashes(exit, &one) {
                    Ok(hashes) => answer.outputs.push(Routed { exit, batch: one, hashes }),
                    Err(ChainFailure { failure, .. }) => answer.refused.push(Refused { exit, batch: one, failure }),
                }
            }
        }
    }
}
