//! What a subtask does about records that wait for answers from outside.
//!
//! An answer is seen by the operators in its turn, between batches and markers. Nothing else waits for it: not a marker,
//! nor a checkpoint, because what waits is state of the operator that asks. Only watermarks stay behind, and the end.

use piton_actors::Timestamp;
use piton_actors::host::Ask;

use super::stream::Step;
use super::{State, Subtask};
use crate::config::OnPoison;
use crate::protocol::asking::Held;
use crate::protocol::mutant::{self, Mutant};
use crate::protocol::sink::SinkTail;

impl Subtask {
    /// The operators have seen something, or were opened, and want this asked.
    pub(super) fn asked(&mut self, asks: Vec<Ask>, opens: bool, now: Timestamp) {
        let waiting = self.chain.as_ref().and_then(|chain| chain.waiting());
        self.asking.waits(waiting);
        if !opens {
            self.asking.make(&asks);
        }
        if !opens || !mutant::is(Mutant::RestoredNotAsked) {
            self.asking.ask(asks, now);
        }
        if opens {
            self.hold_where_it_was();
        }
        while let Some(held) = self.asking.let_go() {
            self.send(held);
        }
    }

    /// So far the watermark of the snapshot went, and no further; what it waited for may wait elsewhere now.
    fn hold_where_it_was(&mut self) {
        let watermark = self.aligner.combined_watermark();
        if self.asking.is_waiting() || self.asking.is_behind(watermark) {
            self.send_on(Held::Watermark(watermark));
        }
    }

    /// Sends something on that must not pass records that wait.
    pub(super) fn send_on(&mut self, what: Held) {
        if !self.asking.holds(what) {
            self.send(what);
        }
    }

    fn send(&mut self, what: Held) {
        match what {
            Held::Watermark(watermark) => self.outputs.send_watermark(watermark),
            Held::Idle => self.outputs.send_idle(),
        }
    }

    /// Returns whether all that is left to do waits for answers.
    pub(super) fn awaits_answers(&self) -> bool {
        matches!(self.steps.front(), Some(Step::AwaitAnswers)) && self.asking.is_waiting()
    }

    /// Lets the operators see the next answer, if there is one and what comes of it can go on; returns whether that is so.
    pub(super) fn take_answer(&mut self) -> bool {
        let goes_on = self.state == State::Running
            && self.is_at_rest()
            && self.outputs.is_clear()
            && self.sink.as_ref().is_none_or(SinkTail::is_quiet);
        if !goes_on {
            return false;
        }
        let Some(answered) = self.asking.next_answer() else { return false };
        match answered.failure {
            Some(failure) if self.ladder.on_poison() == OnPoison::Fail => {
                let record = answered.record.show(0);
                let why = format!("its request for {record} was given up (recovery.on_poison = \"fail\")");
                self.give_up(failure, Some(why));
            }
            _ => self.steps.push_front(Step::Answer(Box::new(answered))),
        }
        true
    }
}
