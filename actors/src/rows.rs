//! How an operator takes a batch record by record.
//!
//! This is the innermost loop of all: what stands here is done for every record. So the parts of it are functions of
//! their own, each with few enough variables for the registers of a processor, and what is seldom needed is called.
//! They are methods of the operator because the compiler translates them together with its own, and can inline these.

use std::ops::Range;
use std::sync::Arc;

use crate::context::Context;
use crate::operator::Operator;
use crate::pulse::Pulse;
use crate::record::Inputs;
use crate::state::BLOCK_ROWS;
use crate::{Result, Timestamp};

type BatchOf<O> = <<O as Operator>::In as Inputs>::Batch;

/// Every operator, as one that takes records.
pub(crate) trait ByRow: Operator {
    /// Enters the key of each record of a batch and calls [`Operator::process`] with it.
    fn process_rows(&mut self, batch: &BatchOf<Self>, ctx: &mut Context<Self::Out>) -> Result {
        let (rows, before) = (Self::In::rows(batch), ctx.pulse.row());
        // Held beside the context: within it, it would have to be looked up for every record.
        let pulse = Arc::clone(&ctx.pulse);
        for first in (0..rows).step_by(BLOCK_ROWS) {
            let block = first..rows.min(first + BLOCK_ROWS);
            if ctx.state.is_keyed() {
                self.find_block(batch, block.clone(), before + first, &pulse, ctx);
            } else {
                ctx.state.leave_block();
            }
            let times = Self::In::times(batch).map(|times| &times[block.clone()]);
            self.process_block(batch, block, times, before + first, &pulse, ctx)?;
        }
        Ok(())
    }

    /// Asks for the keys of some records, because looking up their state together is several times faster than waiting
    /// for memory record by record. So many records were entered `before`.
    #[inline(never)]
    fn find_block(
        &self,
        batch: &BatchOf<Self>,
        block: Range<usize>,
        before: usize,
        pulse: &Pulse,
        ctx: &mut Context<Self::Out>,
    ) {
        ctx.state.find_block(Self::In::iter(batch, block).enumerate().map(|(row, record)| {
            // Before the key, so that a panic there is blamed on its record.
            pulse.advance(before + row + 1);
            self.key(record)
        }));
    }

    #[inline(never)]
    fn process_block(
        &mut self,
        batch: &BatchOf<Self>,
        block: Range<usize>,
        times: Option<&[Timestamp]>,
        before: usize,
        pulse: &Pulse,
        ctx: &mut Context<Self::Out>,
    ) -> Result {
        for (row, record) in Self::In::iter(batch, block).enumerate() {
            ctx.state.enter_row(row);
            pulse.advance(before + row + 1);
            ctx.time = None;
            if let Some(times) = times {
                ctx.time = Some(times[row]);
            }
            self.process(record, ctx)?;
        }
        Ok(())
    }
}

impl<O: Operator> ByRow for O {}
