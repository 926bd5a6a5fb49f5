//! How an operator takes a batch record by record.
//!
//! This is the innermost loop of all: what stands here is done for every record. So the parts of it are functions of
//! their own, each with few enough variables for the registers of a processor, and what is seldom needed is called.
//! They are methods of the operator because the compiler translates them together with its own, and can inline these.

use std::ops::Range;

use crate::context::Context;
use crate::operator::Operator;
use crate::record::Inputs;
use crate::state::BLOCK_ROWS;
use crate::{Result, Timestamp};

type BatchOf<O> = <<O as Operator>::In as Inputs>::Batch;

/// Every operator, as one that takes records.
pub(crate) trait ByRow: Operator {
    /// Enters the key of each record of a batch and calls [`Operator::process`] with it.
    fn process_rows(&mut self, batch: &BatchOf<Self>, ctx: &mut Context<Self::Out>) -> Result {
        let rows = Self::In::rows(batch);
        let before = ctx.entered;
        for first in (0..rows).step_by(BLOCK_ROWS) {
            let block = first..rows.min(first + BLOCK_ROWS);
            ctx.entered = before + first;
            if ctx.state.is_keyed() {
                self.find_block(batch, block.clone(), ctx);
                ctx.entered = before + first;
            } else {
                ctx.state.leave_block();
            }
            let times = Self::In::times(batch).map_or(&[][..], |times| &times[block.clone()]);
            self.process_block(batch, block, times, ctx)?;
        }
        Ok(())
    }

    /// Asks for the keys of some records, because looking up their state together is several times faster than waiting
    /// for memory record by record.
    #[inline(never)]
    fn find_block(&self, batch: &BatchOf<Self>, block: Range<usize>, ctx: &mut Context<Self::Out>) {
        let before = ctx.entered;
        let (state, entered, pulse) = (&mut ctx.state, &mut ctx.entered, &ctx.pulse);
        state.find_block(Self::In::iter(batch, block).enumerate().map(|(row, record)| {
            // Before the key, so that a panic there is blamed on its record.
            *entered = before + row + 1;
            pulse.advance(*entered);
            self.key(record)
        }));
    }

    #[inline(never)]
    fn process_block(
        &mut self,
        batch: &BatchOf<Self>,
        block: Range<usize>,
        times: &[Timestamp],
        ctx: &mut Context<Self::Out>,
    ) -> Result {
        let before = ctx.entered;
        for (row, record) in Self::In::iter(batch, block).enumerate() {
            ctx.state.enter_row(row);
            ctx.come_to(before + row + 1);
            ctx.time = times.get(row).copied();
            self.process(record, ctx)?;
        }
        Ok(())
    }
}

impl<O: Operator> ByRow for O {}
