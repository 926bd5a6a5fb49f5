//! Side outputs: what an operator emits beside its main output, under names and of types of their own.
//!
//! An operator declares them, so that a topology that reads `NAME.late` can be checked before anything runs. What is
//! emitted to one is part of the same transaction as everything else that the call does: it is held until the call is
//! done, and taken back with it. An output that nobody reads costs nothing: its records go no further than the call
//! that emits them.

use std::any::{Any, TypeId};
use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use crate::batch::{Batch, Output, OutputBuffer, Scatter};
use crate::record::{Record, RecordType};
use crate::{Error, Result};

/// Names a side output: `const LATE: SideOutput<Bid> = SideOutput::new("late");`
///
/// The operator returns it from [`Operator::side_outputs`](crate::Operator::side_outputs) and emits by
/// [`Context::emit_to`](crate::Context::emit_to); in the topology it is read as `inputs = ["NAME.late"]`.
pub struct SideOutput<T: 'static> {
    name: &'static str,
    of: PhantomData<fn() -> T>,
}

impl<T: 'static> SideOutput<T> {
    /// Names a side output: letters, digits, "_" and "-".
    pub const fn new(name: &'static str) -> SideOutput<T> {
        SideOutput { name, of: PhantomData }
    }

    /// Returns the name.
    pub const fn name(self) -> &'static str {
        self.name
    }
}

impl<T: Output> SideOutput<T> {
    /// Declares it with what it carries.
    pub(crate) fn carrying(self, carries: RecordType) -> SideOutputDeclared {
        SideOutputDeclared::of::<T>(Cow::Borrowed(self.name), carries)
    }
}

impl<T: 'static> Clone for SideOutput<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: 'static> Copy for SideOutput<T> {}

impl<T: 'static> fmt::Debug for SideOutput<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SideOutput({:?})", self.name)
    }
}

/// A side output as an operator declares it: its name, and what it carries.
///
/// It is made from a handle: `LATE.into()`, or `LATE.with_schema(schema)` if it carries Arrow batches.
#[derive(Clone)]
pub struct SideOutputDeclared {
    name: Cow<'static, str>,
    carries: RecordType,
    /// What the handle is of: nobody emits anything else.
    of: TypeId,
    buffer: fn(usize) -> Box<dyn SideBuffer>,
    scatter: fn(usize, usize) -> Box<dyn Scatter>,
}

impl SideOutputDeclared {
    /// Declares a side output of this name, with what it carries.
    pub(crate) fn of<T: Output>(name: Cow<'static, str>, carries: RecordType) -> SideOutputDeclared {
        SideOutputDeclared {
            name,
            carries,
            of: TypeId::of::<T>(),
            buffer: |rows| Box::new(T::Buffer::with_rows(rows)),
            scatter: T::scatter,
        }
    }

    /// Returns its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns its name, if it is the same in every topology.
    pub(crate) fn fixed_name(&self) -> Option<&'static str> {
        match self.name {
            Cow::Borrowed(name) => Some(name),
            Cow::Owned(_) => None,
        }
    }

    /// Returns what it carries.
    pub fn carries(&self) -> &RecordType {
        &self.carries
    }

    /// Makes what spreads it over channels, in batches of so many rows at most.
    pub fn scatter(&self, channels: usize, rows: usize) -> Box<dyn Scatter> {
        (self.scatter)(channels, rows)
    }
}

impl fmt::Debug for SideOutputDeclared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SideOutputDeclared({:?} of {})", self.name, self.carries)
    }
}

impl<T: Record> From<SideOutput<T>> for SideOutputDeclared {
    fn from(output: SideOutput<T>) -> SideOutputDeclared {
        output.carrying(RecordType::rows::<T>())
    }
}

/// What collects a side output: any [`OutputBuffer`], its type erased.
trait SideBuffer: Any + Send {
    fn drain(&mut self, batches: &mut Vec<Batch>);
    fn mark(&mut self) -> usize;
    fn rewind(&mut self, mark: usize);
}

impl<B: OutputBuffer> SideBuffer for B {
    fn drain(&mut self, batches: &mut Vec<Batch>) {
        OutputBuffer::drain(self, batches);
    }

    fn mark(&mut self) -> usize {
        OutputBuffer::mark(self)
    }

    fn rewind(&mut self, mark: usize) {
        OutputBuffer::rewind(self, mark);
    }
}

/// The side outputs of one operator instance.
#[derive(Default)]
pub(crate) struct Sides {
    sides: Vec<Side>,
    rows: usize,
    spare: Vec<Batch>,
}

struct Side {
    declared: SideOutputDeclared,
    read: Option<Read>,
}

/// A side output that somebody reads.
struct Read {
    /// Which of those it is.
    number: usize,
    buffer: Box<dyn SideBuffer>,
    /// What was in it when the transaction began.
    mark: usize,
}

impl Sides {
    /// Takes what the operator declares; `rows` is how many records a batch holds at most. Nobody reads any of it yet.
    pub(crate) fn declare(&mut self, declared: Vec<SideOutputDeclared>, rows: usize) {
        self.sides = declared.into_iter().map(|declared| Side { declared, read: None }).collect();
        self.rows = rows;
    }

    /// From now on, collects what is emitted to these outputs, by their places in the list.
    pub(crate) fn collect(&mut self, names: &[&str]) {
        for Side { declared, read } in &mut self.sides {
            let number = names.iter().position(|name| *name == declared.name);
            *read = number.map(|number| Read { number, buffer: (declared.buffer)(self.rows), mark: 0 });
        }
    }

    /// Returns what collects an output, or nothing if nobody reads it.
    ///
    /// # Errors
    /// If `operator` has not declared it, or declared it of another type.
    #[inline]
    pub(crate) fn buffer<T: Output>(
        &mut self,
        output: SideOutput<T>,
        operator: &str,
    ) -> Result<Option<&mut T::Buffer>> {
        self.buffer_named::<T>(output.name, operator)
    }

    /// Returns what collects an output whose name is not known before there is a topology, as
    /// [`buffer`](Sides::buffer) does.
    #[inline]
    pub(crate) fn buffer_named<T: Output>(&mut self, name: &str, operator: &str) -> Result<Option<&mut T::Buffer>> {
        let found = self.sides.iter_mut().find(|side| side.declared.name == name);
        let Some(side) = found.filter(|side| side.declared.of == TypeId::of::<T>()) else {
            return Err(undeclared(operator, name, std::any::type_name::<T>()));
        };
        let Some(read) = &mut side.read else { return Ok(None) };
        let buffer: &mut dyn Any = &mut *read.buffer;
        Ok(buffer.downcast_mut())
    }

    /// Moves what was emitted to the end of `batches`, output by output, with the places that `collect` was told.
    pub(crate) fn drain(&mut self, batches: &mut Vec<(usize, Batch)>) {
        for read in self.sides.iter_mut().filter_map(|side| side.read.as_mut()) {
            read.buffer.drain(&mut self.spare);
            batches.extend(self.spare.drain(..).map(|batch| (read.number, batch)));
        }
    }

    /// Notes what was emitted so far.
    pub(crate) fn mark(&mut self) {
        for read in self.sides.iter_mut().filter_map(|side| side.read.as_mut()) {
            read.mark = read.buffer.mark();
        }
    }

    /// Drops what was emitted since it was noted last, and not drained.
    pub(crate) fn rewind(&mut self) {
        for read in self.sides.iter_mut().filter_map(|side| side.read.as_mut()) {
            read.buffer.rewind(read.mark);
        }
    }
}

#[cold]
fn undeclared(operator: &str, output: &str, type_name: &str) -> Error {
    let type_name = crate::record::short_type_name(type_name);
    Error::invalid(format!(
        "operator \"{operator}\" emits {type_name} to output \"{output}\", which it has not declared as one of \
         {type_name}: return it from `side_outputs`"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows;

    const LATE: SideOutput<u64> = SideOutput::new("late");
    const ODD: SideOutput<String> = SideOutput::new("odd");

    fn sides(read: &[&str]) -> Sides {
        let mut sides = Sides::default();
        sides.declare(vec![LATE.into(), ODD.into()], 2);
        sides.collect(read);
        sides
    }

    fn emit(sides: &mut Sides, numbers: &[u64]) {
        for number in numbers {
            if let Some(buffer) = sides.buffer(LATE, "test").unwrap() {
                buffer.push(*number, None);
            }
        }
    }

    fn drained(sides: &mut Sides) -> Vec<(usize, Vec<u64>)> {
        let mut batches = Vec::new();
        sides.drain(&mut batches);
        batches.iter().map(|(number, batch)| (*number, rows::<u64>(batch).unwrap().to_vec())).collect()
    }

    #[test]
    fn what_is_read_is_collected_under_the_number_that_was_told() {
        let mut sides = sides(&["odd", "late"]);
        emit(&mut sides, &[1, 2, 3]);
        assert_eq!(drained(&mut sides), [(1, vec![1, 2]), (1, vec![3])]);
        assert!(drained(&mut sides).is_empty());
    }

    #[test]
    fn what_nobody_reads_is_dropped_where_it_is_emitted() {
        let mut sides = sides(&["odd"]);
        emit(&mut sides, &[1, 2, 3]);
        assert!(drained(&mut sides).is_empty());
        sides.collect(&["late"]);
        assert!(drained(&mut sides).is_empty());
    }

    #[test]
    fn what_was_emitted_since_a_mark_goes() {
        let mut sides = sides(&["late"]);
        emit(&mut sides, &[1]);
        sides.mark();
        emit(&mut sides, &[2, 3, 4]);
        sides.rewind();
        emit(&mut sides, &[5]);
        assert_eq!(drained(&mut sides), [(0, vec![1]), (0, vec![5])]);
    }

    #[test]
    fn an_output_that_was_not_declared_is_an_error_that_names_it() {
        let mut sides = sides(&["late"]);
        let error = sides.buffer(SideOutput::<u64>::new("lat"), "count").err().unwrap().to_string();
        assert!(error.contains("operator \"count\" emits u64 to output \"lat\""), "{error}");
        let of_another_type = sides.buffer(SideOutput::<String>::new("late"), "count").err().unwrap().to_string();
        assert!(of_another_type.contains("not declared as one of String"), "{of_another_type}");
    }
}
