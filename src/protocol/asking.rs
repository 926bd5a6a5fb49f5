//! The requests of a subtask's last operator: which are under way, when they are made again, and what waits for them.
//!
//! A request lives here from the call of the operators that has asked for it until the one that takes its answer. Whatever
//! becomes of the operators in between, it goes on: they are brought back to where they wait for it, and need not ask
//! again. With the subtask it ends; the next one's operators find what waits in their state, and ask.
//!
//! A watermark that the operators have seen goes on only when no record waits that came before it, so that nothing that is
//! emitted later is late because of that; and nobody is told not to wait for this subtask.

use std::collections::{BTreeMap, VecDeque};

use piton_actors::host::{Ask, AskCall, AskId, Waiting};
use piton_actors::{Batch, Error, Result as UserResult, Timestamp, WATERMARK_MIN};

use super::failure::{ErrorKindTag, Failure, FailureKind};
use super::mutant::{self, Mutant};

/// One attempt at a request; what an earlier one gives comes too late.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Attempt {
    /// The request.
    pub id: AskId,
    /// Which one, from 1.
    pub number: u32,
}

/// What is to be done outside.
pub enum Asked {
    /// Make this attempt, and say what came of it.
    Make(Attempt, AskCall),
    /// Give this one up: nobody waits for it any more.
    Drop(Attempt),
}

/// What came of a request, to be seen by the operators.
pub(crate) struct Answered {
    pub(crate) id: AskId,
    /// What to emit; nothing if the request is given up.
    pub(crate) answer: Option<Batch>,
    /// The record that it is for.
    pub(crate) record: Batch,
    /// Why it is given up.
    pub(crate) failure: Option<Failure>,
}

/// What waits for records that came before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Held {
    /// A watermark.
    Watermark(Timestamp),
    /// That nobody need wait for one.
    Idle,
}

/// A request that has no answer yet.
struct Open {
    ask: Ask,
    attempt: u32,
    /// How many attempts have failed because somebody wanted them to, or for another request: that says nothing of this one.
    injected: u32,
    state: State,
}

#[derive(Clone, Copy)]
enum State {
    /// An attempt is under way, until this time at most.
    UnderWay(Timestamp),
    /// The next one begins at this time.
    Pause(Timestamp),
}

impl State {
    fn due(self) -> Timestamp {
        match self {
            State::UnderWay(until) => until,
            State::Pause(until) => until,
        }
    }
}

/// See the module.
pub(crate) struct Asking {
    /// The name of the operator, for messages.
    operator: String,
    open: BTreeMap<AskId, Open>,
    /// In the order in which they came.
    answered: VecDeque<Answered>,
    waiting: Waiting,
    /// Whether there is anybody who asks.
    asks: bool,
    /// With the number of the first request that did not come before it.
    held: VecDeque<(u64, Held)>,
    /// The last watermark that was not held back.
    told: Timestamp,
    /// How many requests the operators have made since their last cut, and how many of those in the replay that goes on.
    made: u64,
    made_again: u64,
    commands: Vec<Asked>,
}

impl Asking {
    /// Makes one for the operator of this name.
    pub(crate) fn new(operator: &str) -> Asking {
        Asking {
            operator: operator.to_string(),
            open: BTreeMap::new(),
            answered: VecDeque::new(),
            waiting: Waiting::default(),
            asks: false,
            held: VecDeque::new(),
            told: WATERMARK_MIN,
            made: 0,
            made_again: 0,
            commands: Vec::new(),
        }
    }

    /// The operators were cut.
    pub(crate) fn cut(&mut self) {
        self.made = 0;
    }

    /// The operators begin to make the requests again that they have made since their last cut.
    pub(crate) fn begin_again(&mut self) {
        self.made_again = 0;
    }

    /// Takes what the operators have asked for again; returns whether it is for what they had asked before, as far as that
    /// has no answer yet. It has been asked, so nobody is asked again.
    pub(crate) fn ask_again(&mut self, asks: &[Ask]) -> bool {
        self.made_again += asks.len() as u64;
        let is_same = |ask: &Ask| {
            let open = self.open.get(&ask.id).map(|open| &open.ask.record);
            let waits = || self.answered.iter().find(|answered| answered.id == ask.id).map(|answered| &answered.record);
            open.or_else(waits).is_none_or(|record| record.same(&*ask.record))
        };
        asks.iter().all(is_same)
    }

    /// Returns whether everything has been asked for again.
    pub(crate) fn is_as_before(&self) -> bool {
        self.made_again == self.made
    }

    /// Counts requests that the operators have made on their way.
    pub(crate) fn make(&mut self, asks: &[Ask]) {
        self.made += asks.len() as u64;
    }

    /// Takes what the operators want to know.
    pub(crate) fn ask(&mut self, asks: Vec<Ask>, now: Timestamp) {
        for ask in asks {
            let id = ask.id;
            let open = Open { ask, attempt: 0, injected: 0, state: State::Pause(now) };
            self.open.insert(id, open);
            self.attempt(id, now);
        }
    }

    /// Takes what the operators wait for, now that they have seen something.
    pub(crate) fn waits(&mut self, waiting: Option<Waiting>) {
        self.asks = waiting.is_some();
        self.waiting = waiting.unwrap_or_default();
    }

    fn attempt(&mut self, id: AskId, now: Timestamp) {
        let Some(open) = self.open.get_mut(&id) else { return };
        open.attempt += 1;
        open.state = State::UnderWay(open.ask.patience.until(now));
        let attempt = Attempt { id, number: open.attempt };
        self.commands.push(Asked::Make(attempt, open.ask.call.clone()));
    }

    /// Takes what came of an attempt.
    ///
    /// # Errors
    /// If it says that the job must not go on.
    pub(crate) fn answered(
        &mut self,
        attempt: Attempt,
        answer: Result<UserResult<Batch>, Failure>,
        now: Timestamp,
    ) -> Result<(), Failure> {
        let Attempt { id, number } = attempt;
        let is_under_way = |open: &Open| open.attempt == number && matches!(open.state, State::UnderWay(_));
        if !self.open.get(&id).is_some_and(is_under_way) {
            return Ok(());
        }
        match answer {
            Ok(Ok(batch)) => {
                let Some(Open { ask, .. }) = self.open.remove(&id) else { return Ok(()) };
                self.answered.push_back(Answered { id, answer: Some(batch), record: ask.record, failure: None });
                Ok(())
            }
            Ok(Err(error)) => self.failed(id, Failure::error(&*self.operator, &error), now),
            Err(failure) => self.failed(id, failure, now),
        }
    }

    /// Everything that was under way is lost, because of the request of this number, if that is known. The others cannot
    /// help it.
    ///
    /// # Errors
    /// As [`Asking::answered`].
    pub(crate) fn lost(&mut self, failure: &Failure, culprit: Option<u64>, now: Timestamp) -> Result<(), Failure> {
        let is_under_way = |(_, open): &(&AskId, &Open)| matches!(open.state, State::UnderWay(_));
        let under_way: Vec<AskId> = self.open.iter().filter(is_under_way).map(|(id, _)| *id).collect();
        under_way.into_iter().try_for_each(|id| {
            let is_innocent = failure.is_injected || culprit.is_some_and(|culprit| culprit != id.number);
            self.failed(id, Failure { is_injected: is_innocent, ..failure.clone() }, now)
        })
    }

    /// An attempt has failed: it is made again later, or given up.
    fn failed(&mut self, id: AskId, failure: Failure, now: Timestamp) -> Result<(), Failure> {
        if failure.is_final() {
            return Err(failure);
        }
        let Some(open) = self.open.get_mut(&id) else { return Ok(()) };
        let is_poison = failure.kind == FailureKind::Error(ErrorKindTag::Poison);
        open.injected += u32::from(failure.is_injected);
        let again = open.ask.patience.again(open.attempt - open.injected, now).filter(|_| !is_poison);
        if let Some(at) = again {
            tracing::debug!(operator = self.operator, attempt = open.attempt, %failure, "a request is made again");
            open.state = State::Pause(at);
            return Ok(());
        }
        let attempts = open.attempt - open.injected;
        let Some(Open { ask, .. }) = self.open.remove(&id) else { return Ok(()) };
        let message = match attempts {
            1 => failure.message.clone(),
            _ => format!("{} (the last of {attempts} attempts)", failure.message),
        };
        let failure = Some(Failure { message, ..failure });
        self.answered.push_back(Answered { id, answer: None, record: ask.record, failure });
        Ok(())
    }

    /// Time has passed: attempts that take too long have failed, pauses are over.
    ///
    /// # Errors
    /// As [`Asking::answered`].
    pub(crate) fn wake(&mut self, now: Timestamp) -> Result<(), Failure> {
        let due: Vec<AskId> = self.open.iter().filter(|(_, open)| open.state.due() <= now).map(|(id, _)| *id).collect();
        for id in due {
            let Some(open) = self.open.get(&id) else { continue };
            match open.state {
                State::Pause(_) => self.attempt(id, now),
                State::UnderWay(_) => {
                    let (number, timeout) = (open.attempt, open.ask.patience.timeout);
                    self.commands.push(Asked::Drop(Attempt { id, number }));
                    let message = format!("a request was not answered within {} ms", timeout.as_millis());
                    self.failed(id, Failure::error(&*self.operator, &Error::unavailable(message)), now)?;
                }
            }
        }
        Ok(())
    }

    /// Returns when [`Asking::wake`] has something to do.
    pub(crate) fn wake_at(&self) -> Option<Timestamp> {
        self.open.values().map(|open| open.state.due()).min()
    }

    /// Takes what is to be done outside.
    pub(crate) fn commands(&mut self) -> std::vec::Drain<'_, Asked> {
        self.commands.drain(..)
    }

    /// Takes the next answer that the operators are to see.
    pub(crate) fn next_answer(&mut self) -> Option<Answered> {
        self.answered.pop_front()
    }

    /// Returns whether there is anybody who asks.
    pub(crate) fn asks(&self) -> bool {
        self.asks
    }

    /// Returns whether the operators should be given nothing more before there are answers.
    pub(crate) fn is_full(&self) -> bool {
        self.waiting.is_full
    }

    /// Returns whether records wait for answers.
    pub(crate) fn is_waiting(&self) -> bool {
        self.waiting.oldest.is_some()
    }

    /// Holds something back that must not pass the records that wait; returns false if there are none.
    pub(crate) fn holds(&mut self, what: Held) -> bool {
        let holds = (self.is_waiting() || !self.held.is_empty()) && !mutant::is(Mutant::WatermarkNotHeld);
        if holds {
            self.held.push_back((self.waiting.next, what));
        } else {
            self.goes(what);
        }
        holds
    }

    /// Lets go of the next thing that no record waits before any more.
    pub(crate) fn let_go(&mut self) -> Option<Held> {
        let (behind, _) = self.held.front()?;
        if self.waiting.oldest.is_some_and(|oldest| oldest < *behind) {
            return None;
        }
        let (_, what) = self.held.pop_front()?;
        self.goes(what);
        Some(what)
    }

    fn goes(&mut self, what: Held) {
        if let Held::Watermark(watermark) = what {
            self.told = watermark;
        }
    }

    /// Returns the watermark that the consumers have, if another one is held back.
    pub(crate) fn told(&self) -> Option<Timestamp> {
        (!self.held.is_empty()).then_some(self.told)
    }

    /// Returns whether the consumers have an earlier watermark than this.
    pub(crate) fn is_behind(&self, watermark: Timestamp) -> bool {
        self.told < watermark
    }

    /// Goes on from where the consumers had this watermark.
    pub(crate) fn restore_told(&mut self, told: Timestamp) {
        self.told = told;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use piton_actors::Rows;
    use piton_actors::host::Patience;

    use super::super::failure::Injected;
    use super::*;
    use crate::config::Duration;

    fn ask(number: u64, record: u64) -> Ask {
        let (timeout, pause) = (Duration::from_secs(1).get(), Duration::from_millis(10).get());
        let patience = Patience { timeout, retries: 1, pause };
        let call: AskCall = Arc::new(|| Box::pin(async { Err(Error::failed("no")) }));
        Ask { id: AskId { place: 0, number }, record: Arc::new(Rows::new(vec![record])), call, patience }
    }

    #[test]
    fn a_replay_has_to_ask_for_the_same() {
        let mut asking = Asking::new("look_up");
        asking.cut();
        for asks in [vec![ask(7, 1)], vec![ask(8, 2)]] {
            asking.make(&asks);
            asking.ask(asks, 0);
        }
        let answer: Batch = Arc::new(Rows::new(vec![10u64]));
        asking.answered(Attempt { id: ask(8, 2).id, number: 1 }, Ok(Ok(answer)), 1).unwrap();
        asking.begin_again();
        assert!(asking.ask_again(&[ask(7, 1)]) && !asking.is_as_before());
        assert!(asking.ask_again(&[ask(8, 2)]) && asking.is_as_before());
        assert!(asking.ask_again(&[ask(9, 3)]) && !asking.is_as_before(), "that is one more than before");
        asking.begin_again();
        assert!(!asking.ask_again(&[ask(7, 2)]), "it is under way for another record");
        assert!(!asking.ask_again(&[ask(8, 1)]), "it was answered for another record");
        asking.cut();
        asking.begin_again();
        assert!(asking.is_as_before());
    }

    #[test]
    fn an_attempt_that_was_made_to_fail_does_not_count() {
        let mut asking = Asking::new("look_up");
        let id = ask(7, 1).id;
        asking.ask(vec![ask(7, 1)], 0);
        let mut fails = |number: u32, failure: Failure| {
            let now = i64::from(number) * 100;
            asking.answered(Attempt { id, number }, Err(failure), now).unwrap();
            asking.wake(now + 90).unwrap();
            asking.next_answer()
        };
        for number in 1..=3 {
            assert!(fails(number, Failure::panic("look_up", &Injected)).is_none(), "{number}");
        }
        assert!(fails(4, Failure::panic("look_up", &"boom")).is_none());
        assert!(fails(5, Failure::panic("look_up", &Injected)).is_none());
        let answered = fails(6, Failure::panic("look_up", &"boom")).unwrap();
        assert_eq!(answered.failure.unwrap().message, "boom (the last of 2 attempts)");
    }
}
