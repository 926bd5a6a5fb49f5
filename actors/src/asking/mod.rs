//! Operators that ask somebody outside: a database, a service, a file server.
//!
//! [`Operator::process`](crate::Operator::process) must not wait: a subtask that waits stops everything behind it. An
//! [`AsyncOperator`] says what it wants to know of a record as a future; many of them are under way at the same time, and
//! records behind them pass meanwhile, or keep their order, as is wanted.
//!
//! What has no answer yet is state. A checkpoint does not wait for answers: it holds the records, and whoever is
//! restored from it asks again. An answer that has come is journaled with everything else that the operator sees, so that an
//! operator that restarts alone does not ask for it again.
//!
//! Watermarks stay behind the records that wait: what is emitted later is not late because of that. The idea of asking with
//! many requests under way, with answers in the order of the records or not, is that of Flink's asynchronous I/O.

mod kind;
mod operator;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub use self::kind::AsyncOf;
pub use self::operator::Asking;
use crate::host::Patience;
use crate::record::Record;
use crate::{Error, Result};

/// An operator that makes a request to the outside for each record, and emits what comes of it. Register it with
/// `registry.async_operator::<LookUp>("look_up")`, or run it as [`Asking`] in a harness.
///
/// ```
/// use piton_actors::harness::Harness;
/// use piton_actors::prelude::*;
/// use piton_actors::{Asked, Asking};
///
/// /// Looks names up.
/// #[derive(Clone, serde::Deserialize)]
/// struct Names {}
///
/// impl AsyncOperator for Names {
///     type In = u64;
///     type Out = (u64, String);
///
///     async fn ask(&self, id: &u64) -> Result<Vec<(u64, String)>> {
///         // A client of a database would be asked here.
///         Ok(vec![(*id, format!("name {id}"))])
///     }
/// }
///
/// # fn main() -> Result {
/// let mut test = Harness::new(|| Asking::new(Names {}, Asked::default()).expect("the settings make sense"));
/// test.push(7)?;
/// assert_eq!(test.output(), [(7, "name 7".to_string())]);
/// # Ok(())
/// # }
/// ```
pub trait AsyncOperator: Send + Sync + 'static {
    /// What it reads.
    type In: Record;
    /// What it emits.
    type Out: Record;

    /// Asks what there is to know of a record, and returns what to emit for it, perhaps nothing. What is emitted has the
    /// event time of the record.
    ///
    /// It may be called more than once for a record: an attempt that fails or takes too long is made again, and so are
    /// requests that were under way when the job was restored. Requests of the same instance run at the same time.
    ///
    /// It is polled on the thread of the subtask, with timers and sockets of tokio at hand, and must not block that.
    ///
    /// # Errors
    /// The attempt has failed and is made again, as the settings say; after the last one the record is poison
    /// (`recovery.on_poison` says what becomes of it). So it is at once with [`Error::poison`](crate::Error::poison), and
    /// [`Error::invalid`](crate::Error::invalid) stops the job.
    fn ask(&self, record: &Self::In) -> impl Future<Output = Result<Vec<Self::Out>>> + Send;
}

/// How requests are made: the options of every operator that is an [`AsyncOperator`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// How many requests of one subtask are under way at most: `in_flight`, 100.
    pub in_flight: usize,
    /// How many records of one subtask may wait at most, those under way among them: `buffer`, 8192. What waits here is
    /// state, so no checkpoint waits for it.
    pub buffer: usize,
    /// Whether what comes of records is emitted in their order (`ordered`, true), or as answers come in.
    pub ordered: bool,
    /// How long one attempt may take: `timeout`, 10 s.
    pub timeout: Duration,
    /// How often a request that has failed is made again: `retries`, 5.
    pub retries: u32,
    /// How long after the first failure; twice as long after each further one, up to a minute: `retry_pause`, 100 ms.
    pub retry_pause: Duration,
}

impl Default for Asked {
    fn default() -> Self {
        let (timeout, retry_pause) = (Duration::from_secs(10), Duration::from_millis(100));
        Asked { in_flight: 100, buffer: 8_192, ordered: true, timeout, retries: 5, retry_pause }
    }
}

impl Asked {
    /// Says what makes no sense, with the option.
    fn check(&self) -> std::result::Result<(), (&'static str, &'static str)> {
        if self.in_flight == 0 {
            return Err(("in_flight", "must be at least 1: how many requests may be under way at the same time"));
        }
        if self.buffer == 0 {
            return Err(("buffer", "must be at least 1: how many records may wait"));
        }
        if self.timeout.is_zero() {
            return Err(("timeout", "must be more than nothing: how long an attempt may take"));
        }
        Ok(())
    }

    fn checked(self) -> Result<Asked> {
        match self.check() {
            Ok(()) => Ok(self),
            Err((option, message)) => Err(Error::invalid(format!("{option} {message}"))),
        }
    }

    fn patience(self) -> Patience {
        Patience { timeout: self.timeout, retries: self.retries, pause: self.retry_pause }
    }
}
