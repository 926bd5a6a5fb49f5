//! What to do about a failure within a subtask: try the smallest thing first, and go up only when it does not help.
//!
//! The idea is Erlang's: supervisors that restart what has failed, and fail themselves when that happens too often.
//! The rungs are the batch (take the call back, fresh instances, the call again), the operator (fresh instances from
//! the newest snapshot, the journal again) and the region, which is the business of [`region`](super::region).

use std::collections::BTreeMap;

use crate::config::{OnPoison, Scope};
use crate::protocol::chain::ChainFailure;
use crate::protocol::failure::{ErrorKindTag, FailureKind};

/// After so many restarts with no commit between them, restarting alone does not help.
const RESTARTS_BETWEEN_COMMITS: u32 = 10_000;

/// After so many failures of the same call, other than of records of a batch, restarting alone does not help.
const FAILURES_OF_A_CALL: u32 = 3;

/// How failures within a subtask are treated.
#[derive(Clone, Copy, Debug)]
pub struct LadderSettings {
    /// The lowest rung.
    pub scope: Scope,
    /// How often a record fails until it is poison.
    pub poison_after: u32,
    /// What becomes of poison.
    pub on_poison: OnPoison,
    /// How many bytes the journal may hold.
    pub journal: usize,
}

/// A rung within a subtask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rung {
    /// The call is taken back.
    Batch,
    /// The newest snapshot is restored and the journal replayed.
    Operator,
}

/// What follows once the operators are well again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    /// The call that failed, again.
    Again,
    /// The same, but after a while: something outside is not available.
    Later,
    /// The batch that failed, record by record.
    Rows,
    /// What comes behind the record: it is poison.
    Poison,
    /// The call again, leaving out records of the output whose key cannot be computed.
    Sifted,
    /// Nothing: it was not the operators that failed.
    Nothing,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Recover by this rung.
    Recover(Rung, Then),
    /// It is the region's to deal with; says why, if not for the failure itself.
    Up(Option<String>),
    /// So it is, because the journal does not reach back to the newest snapshot.
    BeyondJournal,
}

/// What a call was made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// A batch of so many records.
    Batch(usize),
    /// One record of a batch, by its number.
    Row(usize),
    /// A hook beside the stream.
    Hook,
    /// Anything else.
    Other,
}

/// What is possible.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Possible {
    /// Whether the call can be taken back.
    pub(crate) undo: bool,
    /// Whether there is a whole journal.
    pub(crate) replay: bool,
}

/// Counts failures. See the module.
pub(crate) struct Ladder {
    settings: LadderSettings,
    /// Failures of the present call.
    failures: u32,
    /// Failures of the present call that were let happen from outside: no record is to blame for them.
    injected: u32,
    /// Failures of the present hook beside the stream.
    hooks: u32,
    /// Those of the present call that were a record's.
    rows: BTreeMap<usize, u32>,
    since_commit: u32,
    /// Whether the present call was found to have changed more than can be taken back.
    irrevocable: bool,
}

impl Ladder {
    pub(crate) fn new(settings: LadderSettings) -> Ladder {
        Ladder {
            settings,
            failures: 0,
            injected: 0,
            hooks: 0,
            rows: BTreeMap::new(),
            since_commit: 0,
            irrevocable: false,
        }
    }

    /// Returns whether calls are to be made so that they can be taken back.
    pub(crate) fn undoes(&self) -> bool {
        self.settings.scope == Scope::Batch
    }

    /// Returns whether a subtask is ever restarted alone.
    pub(crate) fn replays(&self) -> bool {
        matches!(self.settings.scope, Scope::Batch | Scope::Operator)
    }

    /// What becomes of poison.
    pub(crate) fn on_poison(&self) -> OnPoison {
        self.settings.on_poison
    }

    /// A call has been seen through: the next one is another.
    pub(crate) fn progressed(&mut self) {
        if self.failures > 0 || self.injected > 0 {
            (self.failures, self.injected) = (0, 0);
            self.rows.clear();
            self.irrevocable = false;
        }
    }

    /// A hook beside the stream has been called.
    pub(crate) fn hook_done(&mut self) {
        self.hooks = 0;
        self.irrevocable = false;
    }

    /// The present call cannot be taken back after all, however often it is made: that is no failure of it.
    pub(crate) fn cannot_undo(&mut self) {
        self.irrevocable = true;
    }

    /// A record of a batch was seen through, others of it follow.
    pub(crate) fn row_progressed(&mut self, row: usize) {
        self.rows.remove(&row);
    }

    /// A checkpoint was committed.
    pub(crate) fn committed(&mut self) {
        self.since_commit = 0;
    }

    /// Takes a failure of a source or a sink, which restart alone; returns whether they may.
    pub(crate) fn outer_failed(&mut self, in_a_row: u32) -> Decision {
        if !self.replays() {
            return Decision::Up(None);
        }
        self.since_commit += 1;
        if self.since_commit > RESTARTS_BETWEEN_COMMITS || in_a_row > FAILURES_OF_A_CALL {
            return Decision::Up(Some(format!("it failed {in_a_row} times in a row")));
        }
        Decision::Recover(Rung::Operator, Then::Again)
    }

    /// Takes the failure of a call.
    pub(crate) fn failed(&mut self, failed: &ChainFailure, purpose: Purpose, possible: Possible) -> Decision {
        if !self.replays() {
            return Decision::Up(None);
        }
        let rung = match possible {
            Possible { undo: true, .. } if self.undoes() && !failed.preparing && !self.irrevocable => Rung::Batch,
            Possible { replay: true, .. } => Rung::Operator,
            _ => return Decision::BeyondJournal,
        };
        if failed.failure.kind == FailureKind::Error(ErrorKindTag::Unavailable) {
            return Decision::Recover(rung, Then::Later);
        }
        let is_injected = failed.failure.is_injected;
        let failures = match purpose {
            Purpose::Hook => &mut self.hooks,
            _ if is_injected => &mut self.injected,
            _ => &mut self.failures,
        };
        *failures += 1;
        let failures = *failures;
        self.since_commit += 1;
        if self.since_commit > RESTARTS_BETWEEN_COMMITS {
            let reason = format!("{RESTARTS_BETWEEN_COMMITS} restarts without a commit between them");
            return Decision::Up(Some(reason));
        }
        let is_poison = failed.failure.kind == FailureKind::Error(ErrorKindTag::Poison);
        match purpose {
            Purpose::Batch(_) | Purpose::Row(_) if failed.preparing || is_injected => other(failures, rung, possible),
            Purpose::Batch(rows) => {
                if let Some(row) = failed.row {
                    *self.rows.entry(row).or_default() += 1;
                }
                // The only record of a batch is known to be the one, whichever operator has failed.
                let poison = rows == 1 && (is_poison || failures >= self.settings.poison_after);
                match (poison, failed.routing) {
                    (true, true) => self.poison(rung, Then::Sifted),
                    (true, false) => self.poison(rung, Then::Poison),
                    (false, _) if rows > 1 && (is_poison || failures > 1) => Decision::Recover(rung, Then::Rows),
                    (false, _) => Decision::Recover(rung, Then::Again),
                }
            }
            Purpose::Row(row) => {
                let failures = self.rows.entry(row).or_default();
                *failures += 1;
                let enough = *failures >= self.settings.poison_after;
                match (is_poison || enough, failed.routing) {
                    (true, true) => self.poison(rung, Then::Sifted),
                    (true, false) => self.poison(rung, Then::Poison),
                    (false, _) => Decision::Recover(rung, Then::Again),
                }
            }
            Purpose::Hook | Purpose::Other => other(failures, rung, possible),
        }
    }

    fn poison(&self, rung: Rung, then: Then) -> Decision {
        match self.settings.on_poison {
            OnPoison::Fail => Decision::Up(Some("a record is poison (recovery.on_poison = \"fail\")".into())),
            OnPoison::DeadLetter | OnPoison::Skip => Decision::Recover(rung, then),
        }
    }
}

/// What to do about the failure of a call that was not for records.
fn other(failures: u32, rung: Rung, possible: Possible) -> Decision {
    if failures > FAILURES_OF_A_CALL {
        return Decision::Up(Some(format!("the same call failed {failures} times")));
    }
    let rung = if failures > 1 && possible.replay { Rung::Operator } else { rung };
    Decision::Recover(rung, Then::Again)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::failure::{Failure, Injected};

    const ALL: Possible = Possible { undo: true, replay: true };
    const REPLAY: Possible = Possible { undo: false, replay: true };
    const NOTHING: Possible = Possible { undo: false, replay: false };

    fn ladder(scope: Scope, on_poison: OnPoison) -> Ladder {
        Ladder::new(LadderSettings { scope, poison_after: 3, on_poison, journal: 1 << 20 })
    }

    fn panic() -> ChainFailure {
        ChainFailure::lost(Failure::panic("count", &"boom"))
    }

    fn error(tag: ErrorKindTag) -> ChainFailure {
        ChainFailure::lost(Failure { kind: FailureKind::Error(tag), ..Failure::panic("count", &"not so") })
    }

    fn recover(rung: Rung, then: Then) -> Decision {
        Decision::Recover(rung, then)
    }

    #[test]
    fn a_batch_is_tried_again_then_record_by_record_until_one_is_poison() {
        let mut ladder = ladder(Scope::Batch, OnPoison::Skip);
        assert_eq!(ladder.failed(&panic(), Purpose::Batch(8), ALL), recover(Rung::Batch, Then::Again));
        assert_eq!(ladder.failed(&panic(), Purpose::Batch(8), ALL), recover(Rung::Batch, Then::Rows));
        for _ in 0..2 {
            assert_eq!(ladder.failed(&panic(), Purpose::Row(5), ALL), recover(Rung::Batch, Then::Again));
        }
        assert_eq!(ladder.failed(&panic(), Purpose::Row(5), ALL), recover(Rung::Batch, Then::Poison));
        ladder.row_progressed(6);
        assert_eq!(ladder.failed(&panic(), Purpose::Row(7), ALL), recover(Rung::Batch, Then::Again), "another record");
        ladder.progressed();
        assert_eq!(ladder.failed(&panic(), Purpose::Batch(8), ALL), recover(Rung::Batch, Then::Again), "a new batch");
    }

    #[test]
    fn a_record_known_to_be_at_fault_is_counted_from_the_first_time() {
        let mut ladder = ladder(Scope::Batch, OnPoison::DeadLetter);
        let at_five = || ChainFailure { row: Some(5), ..panic() };
        ladder.failed(&at_five(), Purpose::Batch(8), ALL);
        ladder.failed(&at_five(), Purpose::Batch(8), ALL);
        assert_eq!(ladder.failed(&panic(), Purpose::Row(5), ALL), recover(Rung::Batch, Then::Poison));
    }

    #[test]
    fn what_is_let_happen_from_outside_is_no_evidence_against_a_record() {
        let injected = |row| ChainFailure { row, ..ChainFailure::lost(Failure::panic("count", &Injected)) };
        let mut ladder = ladder(Scope::Batch, OnPoison::DeadLetter);
        let own = || ChainFailure { row: Some(5), ..panic() };
        ladder.failed(&own(), Purpose::Batch(8), ALL);
        assert_eq!(ladder.failed(&injected(Some(5)), Purpose::Batch(8), ALL), recover(Rung::Batch, Then::Again));
        assert_eq!(ladder.failed(&own(), Purpose::Batch(8), ALL), recover(Rung::Batch, Then::Rows));
        assert_eq!(ladder.failed(&injected(None), Purpose::Row(5), ALL), recover(Rung::Operator, Then::Again));
        ladder.progressed();
        assert_eq!(ladder.failed(&injected(Some(0)), Purpose::Batch(1), ALL), recover(Rung::Batch, Then::Again));
        for _ in 1..FAILURES_OF_A_CALL {
            assert_eq!(ladder.failed(&injected(Some(0)), Purpose::Batch(1), ALL), recover(Rung::Operator, Then::Again));
        }
        let end = ladder.failed(&injected(Some(0)), Purpose::Batch(1), ALL);
        assert!(matches!(end, Decision::Up(Some(_))), "not for ever");
    }

    #[test]
    fn a_call_that_cannot_be_taken_back_is_so_only_until_it_is_seen_through() {
        let mut ladder = ladder(Scope::Batch, OnPoison::Skip);
        let injected = || ChainFailure::lost(Failure::panic("count", &Injected));
        ladder.failed(&injected(), Purpose::Batch(8), ALL);
        ladder.cannot_undo();
        ladder.progressed();
        assert_eq!(ladder.failed(&injected(), Purpose::Batch(8), ALL), recover(Rung::Batch, Then::Again));
    }

    #[test]
    fn an_operator_that_says_poison_is_believed_at_once() {
        let poison = error(ErrorKindTag::Poison);
        let mut one = ladder(Scope::Batch, OnPoison::Skip);
        assert_eq!(one.failed(&poison, Purpose::Batch(8), ALL), recover(Rung::Batch, Then::Rows));
        assert_eq!(one.failed(&poison, Purpose::Row(2), ALL), recover(Rung::Batch, Then::Poison));
        let mut other = ladder(Scope::Batch, OnPoison::Skip);
        assert_eq!(other.failed(&poison, Purpose::Batch(1), ALL), recover(Rung::Batch, Then::Poison));
        let mut job = ladder(Scope::Batch, OnPoison::Fail);
        assert!(matches!(job.failed(&poison, Purpose::Batch(1), ALL), Decision::Up(Some(_))));
    }

    #[test]
    fn a_record_of_the_output_without_a_key_is_left_out_alone() {
        let mut ladder = ladder(Scope::Batch, OnPoison::Skip);
        let keyless = || ChainFailure { routing: true, ..panic() };
        ladder.failed(&keyless(), Purpose::Batch(2), ALL);
        assert_eq!(ladder.failed(&keyless(), Purpose::Batch(2), ALL), recover(Rung::Batch, Then::Rows));
        ladder.failed(&keyless(), Purpose::Row(1), ALL);
        ladder.failed(&keyless(), Purpose::Row(1), ALL);
        assert_eq!(ladder.failed(&keyless(), Purpose::Row(1), ALL), recover(Rung::Batch, Then::Sifted));
    }

    #[test]
    fn what_cannot_be_taken_back_is_replayed_and_what_cannot_be_replayed_goes_up() {
        let mut ladder = ladder(Scope::Batch, OnPoison::Fail);
        assert_eq!(ladder.failed(&panic(), Purpose::Other, REPLAY), recover(Rung::Operator, Then::Again));
        assert_eq!(ladder.failed(&panic(), Purpose::Other, NOTHING), Decision::BeyondJournal);
    }

    #[test]
    fn a_call_that_cannot_be_taken_back_is_counted_for_its_own_failures_only() {
        let mut ladder = ladder(Scope::Batch, OnPoison::Skip);
        assert_eq!(ladder.failed(&panic(), Purpose::Batch(1), ALL), recover(Rung::Batch, Then::Again));
        ladder.cannot_undo();
        assert_eq!(ladder.failed(&panic(), Purpose::Batch(1), ALL), recover(Rung::Operator, Then::Again));
        assert_eq!(ladder.failed(&panic(), Purpose::Batch(1), ALL), recover(Rung::Operator, Then::Poison));
        ladder.progressed();
        assert_eq!(ladder.failed(&panic(), Purpose::Batch(8), ALL), recover(Rung::Batch, Then::Again), "another call");
    }

    #[test]
    fn a_call_that_fails_again_and_again_goes_up_rung_by_rung() {
        let mut ladder = ladder(Scope::Batch, OnPoison::Fail);
        assert_eq!(ladder.failed(&panic(), Purpose::Other, ALL), recover(Rung::Batch, Then::Again));
        assert_eq!(ladder.failed(&panic(), Purpose::Other, ALL), recover(Rung::Operator, Then::Again));
        let preparing = ChainFailure { preparing: true, ..panic() };
        assert_eq!(ladder.failed(&preparing, Purpose::Other, ALL), recover(Rung::Operator, Then::Again));
        assert!(matches!(ladder.failed(&panic(), Purpose::Other, ALL), Decision::Up(Some(_))));
        // What is beside the stream is counted apart.
        assert_eq!(ladder.failed(&panic(), Purpose::Hook, ALL), recover(Rung::Batch, Then::Again));
    }

    #[test]
    fn the_scope_is_the_lowest_rung() {
        let mut operator = ladder(Scope::Operator, OnPoison::Fail);
        assert_eq!(operator.failed(&panic(), Purpose::Batch(8), ALL), recover(Rung::Operator, Then::Again));
        assert!(!operator.undoes() && operator.replays());
        for scope in [Scope::Region, Scope::Job] {
            assert_eq!(ladder(scope, OnPoison::Fail).failed(&panic(), Purpose::Batch(8), ALL), Decision::Up(None));
            assert_eq!(ladder(scope, OnPoison::Fail).outer_failed(1), Decision::Up(None));
        }
    }

    #[test]
    fn what_is_unavailable_is_no_failure() {
        let mut ladder = ladder(Scope::Batch, OnPoison::Fail);
        for _ in 0..100 {
            let later = ladder.failed(&error(ErrorKindTag::Unavailable), Purpose::Batch(8), ALL);
            assert_eq!(later, recover(Rung::Batch, Then::Later));
        }
    }

    #[test]
    fn restarts_without_a_commit_between_them_come_to_an_end() {
        let mut ladder = ladder(Scope::Batch, OnPoison::Fail);
        for restart in 0..=RESTARTS_BETWEEN_COMMITS {
            let decision = ladder.failed(&panic(), Purpose::Batch(8), ALL);
            assert_eq!(matches!(decision, Decision::Up(_)), restart == RESTARTS_BETWEEN_COMMITS, "{restart}");
            ladder.progressed();
        }
        ladder.committed();
        assert_eq!(ladder.failed(&panic(), Purpose::Batch(8), ALL), recover(Rung::Batch, Then::Again));
    }

    #[test]
    fn a_source_or_a_sink_may_fail_a_few_times_in_a_row() {
        let mut ladder = ladder(Scope::Batch, OnPoison::Fail);
        assert_eq!(ladder.outer_failed(FAILURES_OF_A_CALL), recover(Rung::Operator, Then::Again));
        assert!(matches!(ladder.outer_failed(FAILURES_OF_A_CALL + 1), Decision::Up(Some(_))));
    }
}
