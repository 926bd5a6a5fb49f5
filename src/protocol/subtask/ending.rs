//! How a subtask comes to its end.

use super::Subtask;
use super::stream::Step;
use crate::protocol::chain::What;
use crate::protocol::mutant::{self, Mutant};

impl Subtask {
    /// Looks whether all of its input has ended.
    pub(super) fn see_ended(&mut self) {
        if self.aligner.has_ended() && !self.finished {
            self.ends();
        }
    }

    /// Nothing more comes in. Operators that ask hear of it when what they have seen has its answers: until then there are
    /// checkpoints as ever.
    pub(super) fn ends(&mut self) {
        self.ending = self.asking.asks() && !mutant::is(Mutant::EndBeforeAnswers);
        if !self.ending {
            self.end();
        }
    }

    /// Lets the operators hear that nothing more comes in: time runs to its end.
    pub(super) fn end(&mut self) {
        self.ending = false;
        if let Some(source) = &self.source {
            let last = source.last_watermark();
            self.aligner.set_watermark(last);
            self.advance_watermark(last);
        }
        self.finish();
    }

    fn finish(&mut self) {
        self.steps.push_back(Step::Run(What::Close));
        // Those before the one that asks may have emitted something when they were closed.
        if !mutant::is(Mutant::EndBeforeAnswers) {
            self.steps.push_back(Step::AwaitAnswers);
        }
        self.steps.push_back(Step::End);
    }
}
