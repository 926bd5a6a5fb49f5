//! What a piton operator actor is: the traits a user implements, what they reach the engine through, and a harness
//! that tests them without an engine.
//!
//! A crate of operators can depend on this one alone; `piton` re-exports all of it.

// Tests and examples are crates of their own, where both are fine.
#![warn(clippy::unwrap_used, clippy::print_stdout)]

#[allow(
    unused_extern_crates,
    reason = "what `#[derive(Record)]` writes calls this crate by its name, here as elsewhere"
)]
extern crate self as piton_actors;

mod apart;
mod asking;
mod batch;
pub mod blueprint;
mod context;
mod duration;
mod error;
mod feed;
pub mod files;
pub mod harness;
pub mod host;
mod ids;
pub mod join;
mod key;
mod late;
mod operator;
mod probe;
mod pulse;
mod record;
mod rows;
mod side;
pub mod state;
#[cfg(feature = "sql")]
pub mod stock;
#[cfg(feature = "sql")]
mod table;
mod time;
mod window;

pub use asking::{Asked, Asking, AsyncOf, AsyncOperator};
pub use batch::{AnyBatch, Batch, Output, OutputBuffer, RowBuffer, Rows, Scatter, rows};
pub use context::Context;
pub use error::{Error, ErrorKind, Result};
pub use feed::Feed;
pub use ids::{DEFAULT_KEY_GROUPS, PartitionId, Subtask, WindowId};
pub use key::{Key, group_of, groups_of, subtask_of};
pub use operator::{Delivery, InputRef, NoPosition, Operator, Progress, Sink, Source};
pub use piton_derive::Record;
pub use record::{Either, Inputs, Record, RecordType, short_type_name, types_in_words};
pub use side::{SideOutput, SideOutputDeclared};
pub use state::{Aggregating, AggregatingState, BroadcastState, ListState, LocalState, MapState, Ttl, ValueState};
#[cfg(feature = "sql")]
pub use table::{Joint, Table, TableBuffer, TableRow, table};
pub use time::{Timer, TimerKind, Timestamp, WATERMARK_MAX, WATERMARK_MIN};
pub use window::{
    Aggregate, Global, Session, Sliding, Time, TimeWindow, TimeWindows, Timing, Tumbling, Windowed, WindowedOf,
};

/// What a file of operators imports.
pub mod prelude {
    pub use crate::{
        Aggregate, Aggregating, AggregatingState, AsyncOperator, BroadcastState, Context, Either, Error, Feed, Inputs,
        Key, ListState, LocalState, MapState, Operator, PartitionId, Progress, Record, Result, SideOutput,
        SideOutputDeclared, Sink, Source, Subtask, TimeWindow, Timer, Ttl, ValueState, WindowId,
    };
}
