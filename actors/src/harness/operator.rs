//! Runs one operator.

use std::sync::Arc;

use super::block_on::block_on;
use super::{ROWS, records};
use crate::batch::{Batch, Rows};
use crate::context::Context;
use crate::host::{AnyOperator, Factory, Hosted};
use crate::ids::{Subtask, WindowId};
use crate::operator::Operator;
use crate::record::{Either, Record};
use crate::side::SideOutput;
use crate::state::check_declared;
use crate::time::{Timestamp, WATERMARK_MAX, WATERMARK_MIN};
use crate::{Error, Result};

/// Runs one instance of an operator, which opens on the first call.
///
/// Methods return the harness, so that calls can be chained. After an error the operator is in an undefined state, as
/// in the engine: [`crash`](Harness::crash) it, or end the test.
pub struct Harness<O: Operator> {
    factory: Factory<O>,
    subtask: Subtask,
    instance: Option<Hosted<O>>,
    now: Timestamp,
    /// The window that is open.
    window: WindowId,
    output: Vec<Batch>,
    sides: Vec<Side>,
    /// The state as it was cut: one chunk per checkpoint.
    chunks: Vec<Vec<u8>>,
    base: Base,
}

/// What the last checkpoint holds beside the state.
#[derive(Clone, Copy)]
struct Base {
    window: WindowId,
    watermark: Timestamp,
    entry: u64,
    /// How many batches of output will stay.
    batches: usize,
}

/// What was emitted to one of the side outputs.
struct Side {
    name: String,
    batches: Vec<Batch>,
    /// How many of them will stay, whatever crashes.
    kept: usize,
}

impl<O: Operator> Harness<O> {
    /// Makes a harness of a lone subtask; `factory` makes every instance of the operator.
    pub fn new(factory: impl Fn() -> O + Send + Sync + 'static) -> Harness<O> {
        Harness::of_subtask(Subtask::single("test"), factory)
    }

    /// Makes a harness of one of several subtasks.
    pub fn of_subtask(subtask: Subtask, factory: impl Fn() -> O + Send + Sync + 'static) -> Harness<O> {
        Harness {
            factory: Arc::new(move || Ok(factory())),
            subtask,
            instance: None,
            now: 0,
            window: WindowId::NONE.next(),
            output: Vec::new(),
            sides: Vec::new(),
            chunks: Vec::new(),
            base: Base { window: WindowId::NONE, watermark: WATERMARK_MIN, entry: 0, batches: 0 },
        }
    }

    /// Opens the operator, if it is not open.
    ///
    /// # Errors
    /// The operator's own; so in every method that calls it.
    pub fn open(&mut self) -> Result<&mut Self> {
        self.instance()?;
        Ok(self)
    }

    fn instance(&mut self) -> Result<&mut Hosted<O>> {
        if self.instance.is_none() {
            let mut instance = Hosted::new(Arc::clone(&self.factory), self.subtask.clone(), ROWS)?;
            self.collect_sides(&mut instance)?;
            instance.restore(self.chunks.clone(), self.base.watermark)?;
            instance.context().entry = self.base.entry;
            instance.begin_entry(self.now);
            instance.open()?;
            if self.base.window != WindowId::NONE {
                instance.committed(self.base.window)?;
            }
            self.window = self.base.window.next();
            instance.begin_window(self.window)?;
            self.instance = Some(instance);
            self.drain();
            self.answer()?;
        }
        self.instance.as_mut().ok_or_else(|| Error::failed("the operator did not open"))
    }

    fn collect_sides(&mut self, instance: &mut Hosted<O>) -> Result {
        if self.sides.is_empty() {
            let declared = (self.factory)()?.side_outputs();
            let side = |name: &str| Side { name: name.to_string(), batches: Vec::new(), kept: 0 };
            self.sides = declared.iter().map(|declared| side(declared.name())).collect();
        }
        instance.collect(&self.sides.iter().map(|side| side.name.as_str()).collect::<Vec<_>>());
        Ok(())
    }

    /// Takes what the instance has emitted.
    fn drain(&mut self) {
        let Some(instance) = &mut self.instance else { return };
        instance.drain(&mut self.output);
        let mut emitted = Vec::new();
        instance.drain_sides(&mut emitted);
        for (side, batch) in emitted {
            self.sides[side].batches.push(batch);
        }
    }

    /// Goes on from the last checkpoint with another program's operator, as a job does that is stopped and started again:
    /// for trying out [migrations](crate::state::Migration). Its output begins empty.
    ///
    /// # Errors
    /// If the state cannot be read by it: the job would not start.
    pub fn upgrade<P: Operator>(&self, factory: impl Fn() -> P + Send + Sync + 'static) -> Result<Harness<P>> {
        let mut harness = Harness::of_subtask(self.subtask.clone(), factory);
        check_declared(&(harness.factory)()?.states(), &self.chunks, self.subtask.key_groups)?;
        harness.chunks = self.chunks.clone();
        harness.base = Base { batches: 0, ..self.base };
        harness.now = self.now;
        Ok(harness)
    }

    /// Does one thing with the instance, in an entry of its own, and collects what it emits.
    fn step(&mut self, step: impl FnOnce(&mut Hosted<O>) -> Result) -> Result<&mut Self> {
        let now = self.now;
        let instance = self.instance()?;
        instance.begin_entry(now);
        let done = step(instance);
        self.drain();
        done?;
        self.answer()?;
        Ok(self)
    }

    /// Makes the requests that the operator wants made, each once, and gives it the answers.
    fn answer(&mut self) -> Result {
        let now = self.now;
        loop {
            let (instance, mut asks) = (self.instance()?, Vec::new());
            instance.drain_asks(&mut asks);
            if asks.is_empty() {
                return Ok(());
            }
            for ask in asks {
                let answer = block_on((ask.call)())?;
                let instance = self.instance()?;
                instance.begin_entry(now);
                instance.answer(ask.id, Some(&answer))?;
                self.drain();
            }
        }
    }

    /// Gives the operator a batch on an input port.
    ///
    /// # Errors
    /// As `open`, or if the batch is of another type than the operator reads.
    pub fn push_batch(&mut self, port: usize, batch: Batch) -> Result<&mut Self> {
        self.step(|instance| instance.process(port, &batch))
    }

    /// Moves the watermark on, which fires the event-time timers that are due.
    ///
    /// # Errors
    /// As `open`.
    pub fn watermark(&mut self, watermark: Timestamp) -> Result<&mut Self> {
        self.step(|instance| instance.advance_watermark(watermark))
    }

    /// Sets the engine's clock, in ms, which fires the processing-time timers that are due.
    ///
    /// # Errors
    /// As `open`.
    pub fn at(&mut self, now: Timestamp) -> Result<&mut Self> {
        self.now = now;
        self.step(Hosted::fire_processing_timers)
    }

    /// Ends the window and begins the next.
    ///
    /// # Errors
    /// As `open`.
    pub fn end_window(&mut self) -> Result<&mut Self> {
        self.instance()?;
        let window = self.window;
        self.step(|instance| instance.end_window(window))?;
        self.window = window.next();
        self.step(|instance| instance.begin_window(window.next()))
    }

    /// Ends the window with a checkpoint, which is committed at once, and begins the next.
    ///
    /// # Errors
    /// As `open`, or if the state cannot be serialised.
    pub fn checkpoint(&mut self) -> Result<&mut Self> {
        self.instance()?;
        let window = self.window;
        self.step(|instance| instance.end_window(window))?;
        self.step(|instance| instance.before_checkpoint(window))?;
        let instance = self.instance()?;
        let chunk = instance.cut()?.write()?;
        let context = instance.context();
        let (watermark, entry) = (context.watermark, context.entry);
        if !chunk.is_empty() {
            self.chunks.push(chunk);
        }
        self.base = Base { window, watermark, entry, batches: self.output.len() };
        self.sides.iter_mut().for_each(|side| side.kept = side.batches.len());
        let instance = self.instance()?;
        instance.checkpointed(window)?;
        instance.committed(window)?;
        self.window = window.next();
        self.step(|instance| instance.begin_window(window.next()))
    }

    /// Drops the instance and what it emitted since the last checkpoint, and opens a fresh one from that checkpoint.
    /// What was pushed since is not pushed again.
    ///
    /// # Errors
    /// As `open`, or if the state cannot be restored.
    pub fn crash(&mut self) -> Result<&mut Self> {
        self.instance = None;
        self.output.truncate(self.base.batches);
        self.sides.iter_mut().for_each(|side| side.batches.truncate(side.kept));
        self.open()
    }

    /// Ends the input: the watermark reaches the end of time, which fires the event-time timers that are left, and
    /// the operator closes.
    ///
    /// # Errors
    /// As `open`.
    pub fn close(&mut self) -> Result<&mut Self> {
        self.watermark(WATERMARK_MAX)?;
        self.step(Hosted::close)
    }

    /// Returns the context, to look into state: [`enter`](Context::enter) a key first.
    ///
    /// # Errors
    /// As `open`.
    pub fn context(&mut self) -> Result<&mut Context<O::Out>> {
        Ok(self.instance()?.context())
    }

    /// Returns the batches that were emitted and not rolled back.
    pub fn output_batches(&self) -> &[Batch] {
        &self.output
    }

    /// Returns the batches that were emitted to a side output and not rolled back.
    pub fn side_output_batches(&self, name: &str) -> &[Batch] {
        let side = self.sides.iter().find(|side| side.name == name);
        side.map(|side| &side.batches[..]).unwrap_or_default()
    }

    /// Returns what was emitted to a side output and not rolled back.
    pub fn side_output<T: Record>(&self, output: SideOutput<T>) -> Vec<T> {
        records(self.side_output_batches(output.name()))
    }

    /// Returns what was emitted to a side output and not rolled back, and forgets it.
    pub fn take_side_output<T: Record>(&mut self, output: SideOutput<T>) -> Vec<T> {
        let Some(side) = self.sides.iter_mut().find(|side| side.name == output.name()) else { return Vec::new() };
        side.kept = 0;
        records(&std::mem::take(&mut side.batches))
    }
}

impl<O: Operator> Harness<O>
where
    O::Out: Record,
{
    /// Returns what was emitted and not rolled back.
    pub fn output(&self) -> Vec<O::Out> {
        records(&self.output)
    }

    /// Returns what was emitted and not rolled back, and forgets it.
    pub fn take_output(&mut self) -> Vec<O::Out> {
        self.base.batches = 0;
        records(&std::mem::take(&mut self.output))
    }
}

impl<O: Operator> Harness<O>
where
    O::In: Record,
{
    /// Gives the operator a record without an event time.
    ///
    /// # Errors
    /// As `open`.
    pub fn push(&mut self, record: O::In) -> Result<&mut Self> {
        self.push_batch(0, Arc::new(Rows::new(vec![record])))
    }

    /// Gives the operator a record with its event time in ms.
    ///
    /// # Errors
    /// As `open`.
    pub fn push_at(&mut self, time: Timestamp, record: O::In) -> Result<&mut Self> {
        self.push_batch(0, Arc::new(Rows::with_times(vec![record], vec![time])))
    }
}

impl<L: Record, R: Record, O: Operator<In = Either<L, R>>> Harness<O> {
    /// Gives the operator a record of its first input.
    ///
    /// # Errors
    /// As `open`.
    pub fn push_left(&mut self, record: L) -> Result<&mut Self> {
        self.push_batch(0, Arc::new(Rows::new(vec![record])))
    }

    /// Gives the operator a record of its second input.
    ///
    /// # Errors
    /// As `open`.
    pub fn push_right(&mut self, record: R) -> Result<&mut Self> {
        self.push_batch(1, Arc::new(Rows::new(vec![record])))
    }

    /// Gives the operator a record of its first input with its event time in ms.
    ///
    /// # Errors
    /// As `open`.
    pub fn push_left_at(&mut self, time: Timestamp, record: L) -> Result<&mut Self> {
        self.push_batch(0, Arc::new(Rows::with_times(vec![record], vec![time])))
    }

    /// Gives the operator a record of its second input with its event time in ms.
    ///
    /// # Errors
    /// As `open`.
    pub fn push_right_at(&mut self, time: Timestamp, record: R) -> Result<&mut Self> {
        self.push_batch(1, Arc::new(Rows::with_times(vec![record], vec![time])))
    }
}

#[cfg(test)]
mod tests {
    use crate::prelude::*;

    use super::*;

    const ODD: SideOutput<String> = SideOutput::new("odd");
    const UNKNOWN: SideOutput<u64> = SideOutput::new("unknown");

    /// Sends odd numbers aside.
    struct Part;

    impl Operator for Part {
        type In = u64;
        type Out = u64;

        fn side_outputs(&self) -> Vec<SideOutputDeclared> {
            vec![ODD.into()]
        }

        fn process(&mut self, number: &u64, ctx: &mut Context<u64>) -> Result {
            match number {
                13 => ctx.emit_to(UNKNOWN, 13)?,
                odd if odd % 2 == 1 => ctx.emit_to(ODD, odd.to_string())?,
                even => ctx.emit(*even),
            }
            Ok(())
        }
    }

    #[test]
    fn what_is_sent_aside_is_rolled_back_with_the_rest() {
        let mut harness = Harness::new(|| Part);
        harness.push(1).unwrap().push(2).unwrap().checkpoint().unwrap().push(3).unwrap();
        assert_eq!(harness.side_output(ODD), ["1", "3"]);
        harness.crash().unwrap().push(5).unwrap();
        assert_eq!((harness.output(), harness.take_side_output(ODD)), (vec![2], vec!["1".to_string(), "5".into()]));
        assert!(harness.crash().unwrap().side_output(ODD).is_empty());
    }

    #[test]
    fn an_output_that_was_not_declared_is_told() {
        let error = Harness::new(|| Part).push(13).err().unwrap().to_string();
        assert!(error.contains("operator \"test\" emits u64 to output \"unknown\""), "{error}");
    }
}
