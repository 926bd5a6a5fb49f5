//! What becomes of records that come too late, for time windows and for whatever else goes by event time.

use crate::Result;
use crate::batch::Output;
use crate::context::Context;
use crate::state::LocalState;

/// The side output that they leave by, where there is one.
pub(crate) const LATE: &str = "late";

/// The side outputs that they leave a join by, whose inputs need not carry the same.
pub(crate) const LATE_LEFT: &str = "late_left";
pub(crate) const LATE_RIGHT: &str = "late_right";

/// How many records were late.
pub(crate) const COUNT: LocalState<u64> = LocalState::new("late");

/// Counts records that are late.
pub(crate) fn count_late<O: Output>(records: u64, ctx: &mut Context<O>) -> Result {
    ctx.local(COUNT).update(|late| *late += records)
}
