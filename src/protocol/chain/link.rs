//! One operator of a chain, and how a batch passes it and those that read it.

use std::sync::Arc;

use piton_actors::host::{AnyOperator, Pulse};
use piton_actors::{Batch, Result as UserResult, Timestamp};

use super::Exit;
use super::wire::Readers;
use crate::protocol::failure::{Failure, guard};
use crate::protocol::mutant::{self, Mutant};

/// One operator of a chain.
pub(super) struct Link {
    pub(super) name: String,
    /// Its place in the pulse: how many operators stand before it.
    pub(super) place: usize,
    pub(super) pulse: Arc<Pulse>,
    pub(super) operator: Box<dyn AnyOperator>,
    /// What it has emitted and its readers have not yet taken; empty between calls.
    pub(super) emitted: Vec<Batch>,
    /// Who takes that; if nobody does, it leaves the chain.
    pub(super) readers: Readers,
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

/// Has a batch pass an operator at this port, and what it makes of it those that read it.
pub(super) fn process(
    links: &mut [Link],
    (place, port): (usize, usize),
    batch: Batch,
    now: Timestamp,
    out: &mut Out,
) -> Result<(), Failure> {
    links[place].call(|operator| {
        operator.begin_entry(now);
        operator.process(port, &batch)
    })?;
    // The input goes before its output is passed on: its buffer can then be filled again further up.
    drop(batch);
    pass_on(links, place, now, out)
}

/// Has what an operator has emitted pass those that read it.
pub(super) fn pass_on(links: &mut [Link], place: usize, now: Timestamp, out: &mut Out) -> Result<(), Failure> {
    let link = &mut links[place];
    link.send_aside(out);
    if link.readers.is_empty() {
        link.operator.drain(&mut out.main);
        return Ok(());
    }
    let mut emitted = std::mem::take(&mut link.emitted);
    link.operator.drain(&mut emitted);
    let readers = std::mem::take(&mut links[place].readers);
    let given = emitted.drain(..).try_for_each(|batch| give(links, &readers, batch, now, out));
    (links[place].emitted, links[place].readers) = (emitted, readers);
    given
}

/// Gives a batch to each of its readers: one after the other, so that what the first one makes of it is seen through
/// before the second one has it.
pub(super) fn give(
    links: &mut [Link],
    readers: &[(usize, usize)],
    batch: Batch,
    now: Timestamp,
    out: &mut Out,
) -> Result<(), Failure> {
    let Some((last, others)) = readers.split_last() else { return Ok(()) };
    for reader in others.iter().filter(|_| !mutant::is(Mutant::OneReader)) {
        process(links, *reader, Batch::clone(&batch), now, out)?;
    }
    process(links, *last, batch, now, out)
}
