//! What the outside has answered to the operators of a topology file: each record is asked for once, and all seeds are
//! given the same answer, so that they can be repeated and nobody outside is asked a thousand times.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use piton_actors::host::{Ask, BoxFuture};
use piton_actors::{Batch, Error, Result};

/// How long an answer may take: the outside lives in real time, which does not pass in a simulation.
const LONGEST: Duration = Duration::from_secs(10);

/// See the module: by the name of the operator and the record.
#[derive(Default)]
pub(crate) struct Answers(Mutex<BTreeMap<(String, String), Batch>>);

impl Answers {
    /// Asks the outside, unless it was asked before. What fails is asked again.
    pub(crate) fn ask(self: &Arc<Answers>, operator: &str, ask: &Ask) -> BoxFuture<Result<Batch>> {
        let of = (operator.to_string(), ask.record.show(0));
        if let Some(answer) = self.0.lock().get(&of) {
            let answer = Arc::clone(answer);
            return Box::pin(async move { Ok(answer) });
        }
        let (answers, call) = (Arc::clone(self), Arc::clone(&ask.call));
        Box::pin(async move {
            let came = tokio::time::timeout(LONGEST, call()).await;
            let answer = came.map_err(|_| {
                Error::unavailable(format!("there was no answer within {} s of real time", LONGEST.as_secs()))
            })??;
            // Whoever was first counts.
            Ok(Arc::clone(answers.0.lock().entry(of).or_insert(answer)))
        })
    }
}
