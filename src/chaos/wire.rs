//! What the process that is broken and the one that breaks it say to each other: one JSON object on each line.
//!
//! The broken process has the other's socket as its stdin, and is told by an environment variable that it is one. So
//! nobody else can reach it, and nothing of it is there in a run without chaos.

use serde::{Deserialize, Serialize};

use crate::chaos::plan::PlannedFault;

/// The environment variable that says that stdin is the socket of orders.
pub(crate) const VARIABLE: &str = "PITON_CHAOS";

/// What the broken process is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Order {
    /// This fault is to happen as soon as it can.
    Inject(Box<PlannedFault>),
    /// No fault that has not happened yet is to happen any more.
    Disarm,
}

/// What the broken process says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Told {
    /// The fault of this number happens now.
    Struck {
        /// The number.
        fault: u32,
        /// The subtask that it hits, if it hits one.
        subtask: Option<u32>,
    },
    /// The fault of this number cannot happen.
    Missed {
        /// The number.
        fault: u32,
        /// Why.
        why: String,
    },
}
