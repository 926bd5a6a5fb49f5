//! The operators of one subtask, one behind the other: what one emits, the next takes at once.

use piton_actors::host::{AnyOperator, Keyer};
use piton_actors::{Batch, Result as UserResult, Scatter, Timestamp};

use crate::protocol::failure::{Failure, guard};

/// One operator of a chain.
pub(crate) struct Link {
    pub(crate) name: String,
    pub(crate) operator: Box<dyn AnyOperator>,
    /// What it has emitted and the next has not yet taken; empty between calls.
    emitted: Vec<Batch>,
}

/// The operators of one subtask. It may be empty: a source that leads straight to a sink.
pub(crate) struct Chain {
    pub(crate) links: Vec<Link>,
}

/// Where the output of the last operator goes.
pub(crate) trait Tail {
    /// Takes one batch.
    fn take(&mut self, batch: Batch) -> Result<(), Failure>;
}

impl Chain {
    pub(crate) fn new(operators: Vec<(String, Box<dyn AnyOperator>)>) -> Chain {
        let link = |(name, operator)| Link { name, operator, emitted: Vec::new() };
        Chain { links: operators.into_iter().map(link).collect() }
    }

    /// Passes a batch through the chain.
    pub(crate) fn process(
        &mut self,
        port: usize,
        batch: Batch,
        now: Timestamp,
        tail: &mut impl Tail,
    ) -> Result<(), Failure> {
        process_from(&mut self.links, port, batch, now, tail)
    }

    /// Advances the watermark through the chain, timers and their output included.
    pub(crate) fn advance_watermark(
        &mut self,
        watermark: Timestamp,
        now: Timestamp,
        tail: &mut impl Tail,
    ) -> Result<(), Failure> {
        self.each(now, tail, |operator| operator.advance_watermark(watermark))
    }

    /// Opens every operator, the last one first: what one emits finds the later ones open.
    pub(crate) fn open(&mut self, now: Timestamp, tail: &mut impl Tail) -> Result<(), Failure> {
        for index in (0..self.links.len()).rev() {
            let (link, rest) = self.links[index..].split_first_mut().expect("the index is in range");
            guard(&link.name, || {
                link.operator.begin_entry(now);
                link.operator.open()
            })?;
            pass_on(link, rest, now, tail)?;
        }
        Ok(())
    }

    /// Opens operators whose input had ended: they still hear of commits. What they emit has nowhere to go.
    pub(crate) fn open_ended(&mut self, now: Timestamp) -> Result<(), Failure> {
        for link in self.links.iter_mut().rev() {
            guard(&link.name, || {
                link.operator.begin_entry(now);
                link.operator.open()
            })?;
            link.operator.drain(&mut link.emitted);
            link.emitted.clear();
        }
        Ok(())
    }

    /// Calls a hook of each operator in turn; what one emits passes the later ones before their own hook is called.
    pub(crate) fn each(
        &mut self,
        now: Timestamp,
        tail: &mut impl Tail,
        mut hook: impl FnMut(&mut dyn AnyOperator) -> UserResult,
    ) -> Result<(), Failure> {
        for index in 0..self.links.len() {
            let (link, rest) = self.links[index..].split_first_mut().expect("the index is in range");
            guard(&link.name, || {
                link.operator.begin_entry(now);
                hook(&mut *link.operator)
            })?;
            pass_on(link, rest, now, tail)?;
        }
        Ok(())
    }

    /// Calls a hook of each operator that cannot emit.
    pub(crate) fn tell(&mut self, mut hook: impl FnMut(&mut dyn AnyOperator) -> UserResult) -> Result<(), Failure> {
        for link in &mut self.links {
            guard(&link.name, || hook(&mut *link.operator))?;
        }
        Ok(())
    }

    /// Returns when the earliest processing-time timer is due.
    pub(crate) fn next_timer(&self) -> Option<Timestamp> {
        self.links.iter().filter_map(|link| link.operator.next_processing_timer()).min()
    }

    /// Makes what spreads the output of the last operator, if there is one.
    pub(crate) fn scatter(&self, channels: usize, rows: usize) -> Option<Box<dyn Scatter>> {
        self.links.last().map(|link| link.operator.scatter(channels, rows))
    }

    /// Makes what computes the key of the first operator, if there is one.
    pub(crate) fn keyer(&self, port: usize) -> Option<Box<dyn Keyer>> {
        self.links.first().map(|link| link.operator.keyer(port))
    }
}

fn process_from(
    links: &mut [Link],
    port: usize,
    batch: Batch,
    now: Timestamp,
    tail: &mut impl Tail,
) -> Result<(), Failure> {
    let Some((link, rest)) = links.split_first_mut() else { return tail.take(batch) };
    guard(&link.name, || {
        link.operator.begin_entry(now);
        link.operator.process(port, &batch)
    })?;
    // The input goes before its output is passed on: its buffer can then be filled again further up.
    drop(batch);
    pass_on(link, rest, now, tail)
}

fn pass_on(link: &mut Link, rest: &mut [Link], now: Timestamp, tail: &mut impl Tail) -> Result<(), Failure> {
    link.operator.drain(&mut link.emitted);
    for batch in link.emitted.drain(..) {
        process_from(rest, 0, batch, now, tail)?;
    }
    Ok(())
}
