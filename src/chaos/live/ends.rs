//! What two runs of a job have come to in the end, and what of it is compared.

use crate::chaos::compare::{self, How, Late};
use crate::chaos::invariants::Violation;
use crate::chaos::live::outputs::Watched;
use crate::chaos::live::process::Runner;
use crate::chaos::live::siege::Done;
use crate::chaos::live::{OUT, Request, peace, state};
use crate::chaos::report::{Broken, Letters, State};
use crate::config::Mode;
use crate::error::Result;
use crate::topology::{NodeKind, Plan};

/// The ends of two runs. Which records came late is known of both by now, and so what follows from the input.
pub(super) struct Ends<'a> {
    topology: &'a Plan,
    golden: Runner,
    /// How many records came late in the run without faults, and in the other.
    late: [Late; 2],
    /// The operators whose state is not compared, and why.
    states_not: Vec<(String, String)>,
    /// The nodes whose dead letters are not compared, and why.
    letters_not: Vec<(String, String)>,
}

impl<'a> Ends<'a> {
    /// Looks which records came late to the end, and gives up comparing what depends on them.
    ///
    /// # Errors
    /// If the state of the run under faults cannot be read, though it has come to its end.
    pub(super) fn new(topology: &'a Plan, golden: Runner, late: Late, done: &mut Done) -> Result<Ends<'a>> {
        let late_too = match state::late(&done.runner) {
            // What has not come to its end need not have left any state.
            Err(_) if !done.has_finished => Late::new(),
            late => late?,
        };
        let mut all = late.clone();
        for (name, records) in &late_too {
            *all.entry(name.clone()).or_default() += records;
        }
        for (watched, check) in done.watched.iter_mut().zip(compare::sinks(topology, &all)?) {
            if let How::Not(why) = check.how {
                watched.give_up(why);
            }
        }
        Ok(Ends {
            topology,
            golden,
            late: [late, late_too],
            states_not: compare::states_not_compared(topology, &all),
            letters_not: compare::letters_not_compared(topology, &all),
        })
    }

    /// Compares them: output, state and dead letters, as far as the run under faults has come.
    ///
    /// # Errors
    /// If something cannot be read.
    pub(super) fn compare(&self, done: &mut Done) -> Result<(State, Letters)> {
        for watched in &done.watched {
            done.broken.extend_from_slice(watched.wrong());
        }
        done.broken.sort_by_key(|broken| broken.at_ms);
        if !done.has_finished {
            return Ok((State::default(), Letters::default()));
        }
        let mut wrong: Vec<Violation> = done.watched.iter().flat_map(Watched::complete).collect();
        let state = match self.topology.settings.checkpoint.mode {
            Mode::ExactlyOnce => {
                let (state, differing) = state::compare(&self.golden, &done.runner, &self.states_not)?;
                wrong.extend(differing);
                state
            }
            Mode::AtLeastOnce => every_state_not_compared(self.topology),
        };
        let (letters, differing) = state::compare_letters(&self.golden, &done.runner, &self.letters_not)?;
        wrong.extend(differing);
        for violation in &wrong {
            Broken::note(&mut done.broken, violation, None);
        }
        Ok((state, letters))
    }

    /// Returns what there is to say of records that came late.
    pub(super) fn notes(&self) -> Vec<String> {
        let [golden, broken] = &self.late;
        let mut names: Vec<&String> = golden.keys().chain(broken.keys()).collect();
        names.sort_unstable();
        names.dedup();
        let note = |name: &String| {
            let records = |late: &Late| late.get(name).copied().unwrap_or(0);
            format!(
                "{} rows came late to \"{name}\" ({} without faults), and which do depends on how fast they come: what it \
                 makes of rows was not compared. With more `out_of_order` of its sources, or `allowed_lateness`, none is late",
                records(broken),
                records(golden)
            )
        };
        names.into_iter().map(note).collect()
    }

    /// Runs the job once more without faults: if that differs from the first time, too, faults are not to blame.
    ///
    /// # Errors
    /// If it cannot be run, or was stopped.
    pub(super) fn differ_by_themselves(
        &self,
        again: &Runner,
        done: &Done,
        request: &mut Request,
    ) -> Result<Option<String>> {
        peace::run(again, request)?;
        let mut wrong = state::compare(&self.golden, again, &self.states_not)?.1;
        let mut rows = Vec::new();
        for watched in &done.watched {
            let mut watched = watched.of_another(again.folder.join(OUT).join(watched.name()));
            wrong.extend(watched.look(0)?);
            wrong.extend(watched.complete());
            rows.extend_from_slice(watched.wrong());
        }
        for violation in &wrong {
            Broken::note(&mut rows, violation, None);
        }
        Ok(rows.first().map(|Broken { invariant, message, .. }| {
            format!("two runs without any fault differ, too: the job does not repeat itself ({invariant}: {message})")
        }))
    }
}

fn every_state_not_compared(topology: &Plan) -> State {
    let operators = topology.nodes.iter().filter(|node| matches!(node.kind, NodeKind::Operator(_)));
    let why = "checkpoint.mode = \"at-least-once\" lets it count records twice";
    let not_compared = operators.map(|node| (node.name.to_string(), why.to_string())).collect();
    State { not_compared, ..State::default() }
}
