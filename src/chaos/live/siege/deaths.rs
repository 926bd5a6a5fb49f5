//! The end of a process: whether a fault has caused it, and what comes next.

use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;

use super::{Alive, MOST_BARREN, Phase, Siege};
use crate::chaos::invariants::InvariantId;
use crate::chaos::kind::FaultKind;
use crate::chaos::live::bits::Flipped;
use crate::chaos::report::Life;
use crate::error::{Error, Result};

impl Siege<'_> {
    /// Looks whether the process has ended, and starts the next; returns whether the run is over.
    pub(super) fn end_of_life(&mut self) -> Result<bool> {
        let Some(status) = self.alive.as_mut().map(|alive| alive.process.ended()).transpose()?.flatten() else {
            return Ok(self.is_stuck());
        };
        // What it has told before it ended counts.
        self.hear()?;
        self.judge_restarts(0);
        let Some(alive) = self.alive.take() else { return Ok(true) };
        let had_fault = self.hits.process_ended(alive.from);
        let (to_ms, ended) = (self.elapsed(), self.how_it_ended(&alive, status));
        self.done.lives.push(Life { from_ms: alive.from_ms, to_ms, ended });
        if status.success() {
            if self.phase == Phase::Stopping {
                self.phase = Phase::Rest;
                self.begin_life()?;
                return Ok(false);
            }
            self.done.has_finished = true;
            self.hits.finished(self.clock.now());
            return Ok(true);
        }
        self.barren = if alive.has_committed { 0 } else { self.barren + 1 };
        if !self.is_explained(&alive, status, had_fault)? {
            return Ok(true);
        }
        let is_flip =
            |number: &u32| self.timed.iter().any(|fault| fault.number == *number && fault.kind == FaultKind::Bitflip);
        if let Some(number) = alive.doom.filter(is_flip) {
            self.flip(number)?;
        }
        if self.phase == Phase::Stopping {
            let words = self.spec.runner.last_words();
            self.done.notes.push(format!("the job was not stopped with a last checkpoint to read the rest: {words}"));
            self.phase = Phase::Rest;
        }
        self.begin_life()?;
        Ok(false)
    }

    fn how_it_ended(&self, alive: &Alive, status: ExitStatus) -> String {
        let doom = alive.doom.map(|number| format!("fault {number}"));
        match (status.code(), status.signal(), doom) {
            (Some(0), _, _) if self.phase == Phase::Stopping => "stopped, to read the rest faster".into(),
            (Some(0), _, _) => "finished".into(),
            (_, _, Some(doom)) => doom,
            (Some(code), _, None) => format!("exit code {code}: {}", self.spec.runner.last_words()),
            (None, Some(signal), None) => format!("signal {signal}"),
            (None, None, None) => "ended".into(),
        }
    }

    /// Returns whether the end of a process can be put down to a fault; notes what is broken if not.
    fn is_explained(&mut self, alive: &Alive, status: ExitStatus, had_fault: bool) -> Result<bool> {
        const REFUSED: i32 = 3;
        let words = self.spec.runner.last_words();
        if status.code() == Some(REFUSED) && !alive.has_started {
            if let Some((number, flipped)) = self.flipped.take() {
                self.hits
                    .remark(number, format!("{}: the start was refused ({words}), and it was put back", flipped.what));
                flipped.put_back().map_err(|error| Error::failed(format!("the state cannot be put back: {error}")))?;
                return Ok(true);
            }
            if !had_fault {
                self.broken(
                    &InvariantId::CheckpointRestorable.broken(format!("the state directory was refused: {words}")),
                );
                return Ok(false);
            }
        }
        if alive.doom.is_none() && !had_fault {
            let message = format!("the process ended by itself, and no fault had hit it ({status}): {words}");
            self.broken(&InvariantId::EngineSound.broken(message));
            return Ok(false);
        }
        if self.barren > MOST_BARREN {
            let message =
                format!("{MOST_BARREN} processes in a row have committed nothing; the last one said: {words}");
            self.broken(&InvariantId::Liveness.broken(message));
            return Ok(false);
        }
        Ok(true)
    }

    fn flip(&mut self, number: u32) -> Result {
        if let Some((_, earlier)) = self.flipped.take() {
            earlier
                .forget()
                .map_err(|error| Error::failed(format!("the copy of the state cannot be removed: {error}")))?;
        }
        match Flipped::flip(&self.spec.runner.state(), self.plan.seed, number) {
            Ok(flipped) => {
                self.hits.remark(number, format!("{}: the job went on", flipped.what));
                self.flipped = Some((number, flipped));
            }
            Err(error) => self.hits.remark(number, format!("no bit could be flipped: {error}")),
        }
        Ok(())
    }
}
