//! What becomes of records that no time window takes any more.

use crate::Result;
use crate::batch::Output;
use crate::context::Context;
use crate::state::LocalState;

/// How many records were late.
pub(crate) const LATE: LocalState<u64> = LocalState::new("late");

/// Counts records that are dropped because they are late.
pub(crate) fn count_late<O: Output>(records: u64, ctx: &mut Context<O>) -> Result {
    ctx.local(LATE).update(|late| *late += records)
}
