//! What the outside has answered to the operators of a topology file: each record is asked for once, and all seeds are
//! given the same answer, so that they can be repeated and nobody outside is asked a thousand times.
//!
//! The outside lives in real time, which does not pass in a simulation, and a request may block its thread. So each is made
//! on a thread of its own, and one that has no answer in time has none for all seeds.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

use parking_lot::Mutex;
use piton_actors::host::Ask;
use piton_actors::{Batch, Error, Result};
use tokio::runtime::Builder;

/// How long an answer may take at most, even if the operator would wait longer.
const LONGEST: Duration = Duration::from_secs(10);
/// How much longer a request may take that gives way to others, if the machine is busy.
const GRACE: Duration = Duration::from_secs(2);

/// What is known of a record: its answer, or why there is none.
type Known = std::result::Result<Batch, String>;

/// See the module: by the name of the operator and the record.
#[derive(Default)]
pub(crate) struct Answers(Mutex<BTreeMap<(String, String), Known>>);

impl Answers {
    /// Asks the outside, unless it was asked before. What fails is asked again.
    ///
    /// # Errors
    /// Those of the request, and one of kind `Unavailable` if there is no answer in time.
    pub(crate) fn ask(&self, operator: &str, ask: &Ask) -> Result<Batch> {
        let of = (operator.to_string(), ask.record.show(0));
        let known = self.0.lock().get(&of).cloned();
        let known = match known {
            Some(known) => known,
            // Whoever was first counts.
            None => self.0.lock().entry(of).or_insert(asked(ask)?).clone(),
        };
        known.map_err(Error::unavailable)
    }
}

/// Makes a request.
fn asked(ask: &Ask) -> Result<Known> {
    let limit = ask.patience.timeout.min(LONGEST);
    let (call, (tell, came)) = (Arc::clone(&ask.call), sync_channel(1));
    let work = move || {
        let answer = catch_unwind(AssertUnwindSafe(|| {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            Ok(runtime.block_on(async { tokio::time::timeout(limit, call()).await }))
        }));
        // Nobody may wait for it any more.
        tell.send(answer).ok();
    };
    let failed = |error: std::io::Error| Error::failed(format!("a request cannot be made: {error}"));
    std::thread::Builder::new().name("piton-ask".into()).spawn(work).map_err(failed)?;
    match came.recv_timeout(limit.saturating_add(GRACE)) {
        Ok(Ok(Ok(Ok(answer)))) => answer.map(Ok),
        Ok(Ok(Ok(Err(_)))) => Ok(Err(format!("there was no answer within {} ms of real time", limit.as_millis()))),
        Ok(Ok(Err(error))) => Err(failed(error)),
        Ok(Err(payload)) => resume_unwind(payload),
        Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
            Ok(Err("a request blocks its thread: use what can be awaited".to_string()))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use piton_actors::Rows;
    use piton_actors::host::{AskCall, AskId, BoxFuture, Patience};

    use super::*;

    fn ask(call: impl Fn() -> BoxFuture<Result<Batch>> + Send + Sync + 'static) -> Ask {
        let patience = Patience { timeout: Duration::from_millis(20), retries: 1, pause: Duration::ZERO };
        let call: AskCall = Arc::new(call);
        Ask { id: AskId { place: 0, number: 1 }, record: Arc::new(Rows::new(vec![7u64])), patience, call }
    }

    #[test]
    fn what_was_answered_once_is_not_asked_again_and_what_has_failed_is() {
        let asked = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&asked);
        let fails_first = ask(move || {
            let times = count.fetch_add(1, Ordering::SeqCst);
            Box::pin(async move {
                let answer: Batch = Arc::new(Rows::new(vec![times]));
                if times == 0 { Err(Error::failed("not yet")) } else { Ok(answer) }
            })
        });
        let answers = Answers::default();
        assert_eq!(answers.ask("look_up", &fails_first).err().unwrap().message(), "not yet");
        assert_eq!(answers.ask("look_up", &fails_first).unwrap().show(0), "1");
        assert_eq!(answers.ask("look_up", &fails_first).unwrap().show(0), "1");
        assert_eq!(asked.load(Ordering::SeqCst), 2);
        assert_eq!(answers.ask("other", &fails_first).unwrap().show(0), "2", "another operator");
    }

    #[test]
    fn who_never_answers_is_asked_once() {
        let asked = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&asked);
        let silent = ask(move || {
            count.fetch_add(1, Ordering::SeqCst);
            Box::pin(std::future::pending())
        });
        let answers = Answers::default();
        for _ in 0..2 {
            let error = answers.ask("look_up", &silent).err().unwrap();
            assert!(error.message().contains("no answer within 20 ms"), "{error}");
        }
        assert_eq!(asked.load(Ordering::SeqCst), 1);
    }

    #[test]
    #[should_panic(expected = "a bug")]
    fn a_panic_is_that_of_the_request() {
        Answers::default().ask("look_up", &ask(|| panic!("a bug"))).ok();
    }
}
