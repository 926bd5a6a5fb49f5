//! A running job over HTTP: a page for people, an API for programs, metrics for Prometheus.
//!
//! What is said follows from the plan, from the events that the job tells, and from its
//! [`Progress`](crate::runtime::Progress): the job does nothing for it. What somebody asks the job to do goes the way of
//! `piton savepoint` and `piton stop`. Who may ask is decided in `gate`, what is meant in `route`, what is answered in
//! `job`, `checkpoints` and `stored`, none of which knows a socket; `server` is the only module that does.

mod checkpoints;
mod gate;
mod history;
mod job;
mod jobs;
mod query;
mod route;
mod server;
mod shares;
mod stored;
mod summary;
mod tls;
mod verdict;
mod vertices;

use piton_actors::{WATERMARK_MAX, WATERMARK_MIN};
use serde_json::{Value, json};

pub use job::Job;
pub use jobs::{Alone, Asked, Jobs, Order, Said, pass_on, refusal};
pub use server::{Bound, Server};
#[cfg(feature = "tls")]
pub(crate) use tls::lacks;

/// Says how far event time has come, in ms; nothing before it has begun, or when it has come to its end.
fn watermark(watermark: i64) -> Value {
    if [WATERMARK_MIN, WATERMARK_MAX].contains(&watermark) { Value::Null } else { json!(watermark) }
}
