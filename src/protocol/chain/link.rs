//! One operator of a chain, and how a batch passes it and those behind it.

use std::sync::Arc;

use piton_actors::host::{AnyOperator, Pulse};
use piton_actors::{Batch, Result as UserResult, Timestamp};

use super::Exit;
use crate::protocol::failure::{Failure, guard};

/// One operator of a chain.
pub(super) struct Link {
    pub(super) name: String,
    /// Its place in the pulse: how many operators stand before it.
    pub(super) place: usize,
    pub(super) pulse: Arc<Pulse>,
    pub(super) operator: Box<dyn AnyOperator>,
    /// What it has emitted and the next has not yet taken; empty between calls.
    pub(super) emitted: Vec<Batch>,
    /// Where its side outputs lead that somebody reads, in the order in which it was told of them.
    pub(super) sides: Vec<Exit>,
}

impl Link {
    /// Calls code of the user's while somebody may be watching.
    pub(super) fn call<T>(&mut self, call: impl FnOnce(&mut dyn AnyOperator) -> UserResult<T>) -> Result<T, Failure> {
        watched(&self.pulse, self.place, || guard(&self.name, || call(&mut *self.operator)))
    }

    /// Moves what it has emitted to side outputs to what has come out of the chain.
    pub(super) fn send_aside(&mut self, out: &mut Out) {
        if self.sides.is_empty() {
            return;
        }
        let before = out.aside.len();
        self.operator.drain_sides(&mut out.aside);
        for (exit, _) in &mut out.aside[before..] {
            *exit = self.sides[*exit];
        }
    }
}

/// What has come out of a chain.
#[derive(Default)]
pub(super) struct Out {
    /// At its end.
    pub(super) main: Vec<Batch>,
    /// By side outputs, of whichever operator.
    pub(super) aside: Vec<(Exit, Batch)>,
}

/// Does something that calls code of the user's, with a pulse that shows it.
pub(super) fn watched<T>(pulse: &Pulse, place: usize, call: impl FnOnce() -> T) -> T {
    pulse.enter(place);
    let answer = call();
    pulse.leave();
    answer
}

/// Has a batch pass operators, the first of them at this port.
pub(super) fn process_from(
    links: &mut [Link],
    port: usize,
    batch: Batch,
    now: Timestamp,
    out: &mut Out,
) -> Result<(), Failure> {
    let Some((link, rest)) = links.split_first_mut() else {
        out.main.push(batch);
        return Ok(());
    };
    link.call(|operator| {
        operator.begin_entry(now);
        operator.process(port, &batch)
    })?;
    // The input goes before its output is passed on: its buffer can then be filled again further up.
    drop(batch);
    pass_on(link, rest, now, out)
}

/// Has what an operator has emitted pass those behind it.
pub(super) fn pass_on(link: &mut Link, rest: &mut [Link], now: Timestamp, out: &mut Out) -> Result<(), Failure> {
    link.send_aside(out);
    if rest.is_empty() {
        link.operator.drain(&mut out.main);
        return Ok(());
    }
    link.operator.drain(&mut link.emitted);
    for batch in link.emitted.drain(..) {
        process_from(rest, 0, batch, now, out)?;
    }
    Ok(())
}
