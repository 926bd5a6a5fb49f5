//! The engine on actix: the only module that names it.
mod actor;
mod build;
mod control;
mod event;
pub(crate) mod fit;
mod job;
mod kept;
mod port;
mod progress;
mod restore;
mod saving;
mod schema;
mod signals;
mod storage;
mod supervisor;
mod time;

pub use control::{Answer, Request, ask};
pub use event::{Event, Listener};
pub use job::{Ended, RunOptions, run, run_in};
pub use kept::Opener;
pub use progress::Progress;
pub use signals::Signals;
pub use supervisor::Outcome;
