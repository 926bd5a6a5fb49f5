//! piton
pub mod clock;
pub mod config;
mod error;
pub mod ids;
pub mod protocol;
pub mod runtime;
pub mod store;
pub mod topology;

pub use config::Overrides;
pub use error::{Error, ErrorKind, Result};
pub use piton_actors::{
    AnyBatch, Batch, Context, Delivery, Either, Feed, InputRef, Inputs, Key, ListState, LocalState, MapState, NoPosition,
    Operator, Output, Progress, Record, RowBuffer, Rows, Sink, Source, Subtask, Timer, TimerKind, Timestamp, ValueState,
    WindowId,
};
pub use topology::Registry;

/// What a file of operators imports.
pub mod prelude {
    pub use piton_actors::prelude::*;

    pub use crate::topology::Registry;
}
