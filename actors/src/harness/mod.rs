//! Runs one operator, source or sink in a test, without an engine, and lets it crash.
//!
//! Whether an operator keeps what it must shows only when it is restarted, so a test checkpoints it and crashes it:
//!
//! ```
//! use piton_actors::harness::Harness;
//! use piton_actors::prelude::*;
//!
//! #[derive(Default)]
//! struct Count;
//!
//! const SEEN: ValueState<u64> = ValueState::new("seen");
//!
//! impl Operator for Count {
//!     type In = String;
//!     type Out = u64;
//!     fn key(&self, word: &String) -> Key {
//!         word.into()
//!     }
//!     fn process(&mut self, _: &String, ctx: &mut Context<u64>) -> Result {
//!         let count = ctx.state(SEEN).update(|seen| {
//!             *seen += 1;
//!             *seen
//!         })?;
//!         ctx.emit(count);
//!         Ok(())
//!     }
//! }
//!
//! # fn main() -> Result {
//! let counts = Harness::new(Count::default)
//!     .push("a".into())?
//!     .checkpoint()?
//!     .push("a".into())?
//!     .crash()?
//!     .push("a".into())?
//!     .output();
//! assert_eq!(counts, [1, 2]);
//! # Ok(())
//! # }
//! ```
//!
//! State and positions go through the same bytes as in the engine. What is not here: several subtasks, retries,
//! replay after a crash (what was pushed since the last checkpoint is lost until the test pushes it again).

mod block_on;
mod operator;
mod sink;
mod source;

pub use operator::Harness;
pub use sink::SinkHarness;
pub use source::SourceHarness;

use crate::batch::{Batch, rows};
use crate::record::Record;

/// How many rows a batch of output holds at most.
const ROWS: usize = 1024;

/// Copies the records of batches.
fn records<T: Record>(batches: &[Batch]) -> Vec<T> {
    let mut records = Vec::new();
    for batch in batches {
        let rows = rows::<T>(batch).expect("an output that is a record comes in batches of it");
        records.extend_from_slice(&rows);
    }
    records
}
