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

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use piton_actors::host::Hosted;
    use piton_actors::{Context, Operator, Subtask, WindowId};

    use super::*;

    type Calls = Arc<Mutex<Vec<String>>>;

    /// Emits when it is opened, and writes down what it is called for.
    struct Eager {
        name: &'static str,
        calls: Calls,
    }

    impl Eager {
        fn write(&self, what: &str) {
            self.calls.lock().unwrap().push(format!("{} {what}", self.name));
        }
    }

    impl Operator for Eager {
        type In = u64;
        type Out = u64;

        fn open(&mut self, ctx: &mut Context<u64>) -> UserResult {
            self.write("open");
            ctx.emit(1);
            Ok(())
        }

        fn process(&mut self, record: &u64, ctx: &mut Context<u64>) -> UserResult {
            self.write("process");
            ctx.emit(*record);
            Ok(())
        }

        fn committed(&mut self, _: WindowId) -> UserResult {
            self.write("committed");
            Ok(())
        }
    }

    struct Counted(usize);

    impl Tail for Counted {
        fn take(&mut self, batch: Batch) -> Result<(), Failure> {
            self.0 += batch.len();
            Ok(())
        }
    }

    fn chain(calls: &Calls) -> Chain {
        let link = |name: &'static str| {
            let calls = Arc::clone(calls);
            let factory = Arc::new(move || Ok::<_, piton_actors::Error>(Eager { name, calls: Arc::clone(&calls) }));
            let operator: Box<dyn AnyOperator> = Box::new(Hosted::new(factory, Subtask::single(name), 8).unwrap());
            (name.to_string(), operator)
        };
        Chain::new(vec![link("head"), link("tail")])
    }

    #[test]
    fn nothing_is_called_before_it_is_open() {
        let calls = Calls::default();
        let mut taken = Counted(0);
        chain(&calls).open(0, &mut taken).unwrap();
        assert_eq!(*calls.lock().unwrap(), ["tail open", "head open", "tail process"]);
        assert_eq!(taken.0, 2);
    }

    #[test]
    fn operators_whose_input_had_ended_are_open_when_they_hear_of_commits() {
        let calls = Calls::default();
        let mut chain = chain(&calls);
        chain.open_ended(0).unwrap();
        chain.tell(|operator| operator.committed(WindowId(3))).unwrap();
        assert_eq!(*calls.lock().unwrap(), ["tail open", "head open", "head committed", "tail committed"]);
    }
}
