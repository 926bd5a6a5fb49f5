//! Rows that come too late.

use crate::batch::Output;
use crate::{Context, LocalState, Result};

/// How many rows came at or behind the watermark and were dropped.
const LATE: LocalState<u64> = LocalState::new("late");

/// Takes note of a late row of any operator that drops such rows: the one place where it could be given to somebody.
pub(crate) fn note_late<Out: Output>(ctx: &mut Context<Out>) -> Result {
    ctx.local(LATE).update(|late| *late += 1)
}
