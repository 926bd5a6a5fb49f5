//! Records: what travels on an edge, in [batches](crate::Rows), and what an operator reads of them.
//!
//! Batches are shared, so records are read by reference and cloned only by whoever keeps them.

use std::any::TypeId;
use std::ops::Range;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::batch::{AnyBatch, Batch, Rows, rows, unpack_rows};
#[cfg(feature = "sql")]
use crate::table::Joint;
use crate::time::Timestamp;

/// A type of which values can travel on an edge. Derive it: `#[derive(Clone, Serialize, Deserialize, Record)]`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot travel on an edge",
    note = "derive `Record` for `{Self}` (it also needs `Clone`, `Serialize` and `Deserialize`)"
)]
pub trait Record: Clone + Send + Sync + Serialize + DeserializeOwned + 'static {
    /// Overwrites this record with another, reusing what it has allocated.
    ///
    /// The derive does it field by field; a derived `Clone` alone would drop and allocate every field anew.
    fn assign(&mut self, from: &Self) {
        self.clone_from(from);
    }
}

macro_rules! plain_records {
    ($($plain:ty),*) => { $(impl Record for $plain {})* };
}
plain_records!(u8, u16, u32, u64, u128, usize, i8, i16, i32, i64, i128, isize, f32, f64, bool, char, String, ());

impl<T: Record> Record for Option<T> {}
impl<T: Record> Record for Vec<T> {}

macro_rules! tuple_records {
    ($(($($name:ident $index:tt),+)),*) => {$(
        impl<$($name: Record),+> Record for ($($name,)+) {
            fn assign(&mut self, from: &Self) {
                $(self.$index.assign(&from.$index);)+
            }
        }
    )*};
}
tuple_records!((A 0), (A 0, B 1), (A 0, B 1, C 2), (A 0, B 1, C 2, D 3), (A 0, B 1, C 2, D 3, E 4));

/// What an edge carries, as the plan compares it: the two ends of an edge must agree.
#[derive(Clone)]
pub enum RecordType {
    /// Rows of one Rust type.
    Rows {
        /// Decides whether two ends agree.
        id: TypeId,
        /// For messages only: it differs between compilers and is never stored.
        name: &'static str,
        /// How they become Arrow batches, and back.
        #[cfg(feature = "sql")]
        joint: Joint,
    },
    /// Arrow batches of one schema.
    #[cfg(feature = "sql")]
    Table(arrow::datatypes::SchemaRef),
}

impl RecordType {
    /// Returns the type of rows of `T`.
    pub fn rows<T: Record>() -> RecordType {
        RecordType::Rows {
            id: TypeId::of::<T>(),
            name: std::any::type_name::<T>(),
            #[cfg(feature = "sql")]
            joint: Joint::of::<T>(),
        }
    }

    /// Returns the names of its columns, if it has any that are known.
    pub fn columns(&self) -> Option<Vec<&str>> {
        match self {
            RecordType::Rows { .. } => None,
            #[cfg(feature = "sql")]
            RecordType::Table(schema) => Some(schema.fields().iter().map(|field| field.name().as_str()).collect()),
        }
    }

    /// Returns whether a batch of this type can be read as one of `other`.
    pub fn agrees_with(&self, other: &RecordType) -> bool {
        match (self, other) {
            (RecordType::Rows { id: left, .. }, RecordType::Rows { id: right, .. }) => left == right,
            #[cfg(feature = "sql")]
            (RecordType::Table(_), RecordType::Table(_)) => true,
            #[cfg(feature = "sql")]
            _ => false,
        }
    }
}

impl std::fmt::Display for RecordType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            RecordType::Rows { name, .. } => f.write_str(&short_type_name(name)),
            #[cfg(feature = "sql")]
            RecordType::Table(_) => f.write_str("Arrow batches"),
        }
    }
}

impl std::fmt::Debug for RecordType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

/// Returns a text with the types of Arrow in it named as the option `schema` of a source does: `bigint` for `Int64`.
pub fn types_in_words(text: &str) -> String {
    #[cfg(feature = "sql")]
    return crate::stock::types::in_words(text);
    #[cfg(not(feature = "sql"))]
    return text.to_string();
}

/// Returns a type name without its module paths: `(alloc::string::String, u64)` becomes `(String, u64)`.
pub fn short_type_name(name: &str) -> String {
    let mut short = String::with_capacity(name.len());
    let mut word = String::new();
    for character in name.chars() {
        if character.is_alphanumeric() || character == '_' || character == ':' {
            word.push(character);
            continue;
        }
        short.push_str(word.rsplit("::").next().unwrap_or_default());
        word.clear();
        short.push(character);
    }
    short.push_str(word.rsplit("::").next().unwrap_or_default());
    short
}

/// One of two records: the input of an operator with two input ports.
///
/// It is deliberately not a [`Record`], so that a type that is one can be told from a pair of inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Either<L, R> {
    /// Of the first input.
    Left(L),
    /// Of the second input.
    Right(R),
}

/// What an operator or a sink reads: one [`Record`] type, [`Either`] of two, or Arrow batches.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be an operator's input",
    note = "use one `Record` type, or `Either<L, R>` of two `Record` types"
)]
pub trait Inputs: Sized + 'static {
    /// One record by reference: `&T`, or `Either<&L, &R>`.
    type Ref<'a>: Copy;

    /// A batch of them: `Arc<Rows<T>>`, or `Either` of two.
    type Batch: Clone + Send;

    /// Returns what each input port reads, in the order of the ports; any Arrow schema is written as none.
    fn ports() -> Vec<Option<RecordType>>;

    /// Returns the erased batch that arrived at a port as this type, or nothing if it is of another.
    fn batch(port: usize, batch: &Batch) -> Option<Self::Batch>;

    /// Decodes what [`AnyBatch::pack`] has made of a batch for a port.
    ///
    /// # Errors
    /// If the bytes are not records of this type.
    fn unpack(port: usize, bytes: &[u8]) -> crate::Result<Batch>;

    /// Returns how many records a batch holds.
    fn rows(batch: &Self::Batch) -> usize;

    /// Returns the event time of each record in ms, or nothing if the records have none.
    fn times(batch: &Self::Batch) -> Option<&[Timestamp]>;

    /// Returns some records of a batch, in order.
    ///
    /// # Panics
    /// If the batch does not have so many records.
    fn iter(batch: &Self::Batch, rows: Range<usize>) -> impl Iterator<Item = Self::Ref<'_>>;

    /// Calls `f` with a made-up record of each port and returns whether it was ever true, or a record could not be
    /// made up.
    fn probe(f: impl FnMut(Self::Ref<'_>) -> bool) -> bool {
        let _ = f;
        true
    }
}

fn probe_row<T: Record>(f: impl FnOnce(&T) -> bool) -> bool {
    crate::probe::made_up::<T>().is_none_or(|record| f(&record))
}

impl<T: Record> Inputs for T {
    type Ref<'a> = &'a T;
    type Batch = Arc<Rows<T>>;

    fn ports() -> Vec<Option<RecordType>> {
        vec![Some(RecordType::rows::<T>())]
    }

    fn batch(_port: usize, batch: &Batch) -> Option<Self::Batch> {
        rows(batch)
    }

    fn unpack(_port: usize, bytes: &[u8]) -> crate::Result<Batch> {
        unpack_rows::<T>(bytes)
    }

    fn rows(batch: &Self::Batch) -> usize {
        batch.len()
    }

    fn times(batch: &Self::Batch) -> Option<&[Timestamp]> {
        AnyBatch::times(&**batch)
    }

    #[inline]
    fn iter(batch: &Self::Batch, rows: Range<usize>) -> impl Iterator<Item = Self::Ref<'_>> {
        batch[rows].iter()
    }

    fn probe(mut f: impl FnMut(Self::Ref<'_>) -> bool) -> bool {
        probe_row(|record| f(record))
    }
}

impl<L: Record, R: Record> Inputs for Either<L, R> {
    type Ref<'a> = Either<&'a L, &'a R>;
    type Batch = Either<Arc<Rows<L>>, Arc<Rows<R>>>;

    fn ports() -> Vec<Option<RecordType>> {
        vec![Some(RecordType::rows::<L>()), Some(RecordType::rows::<R>())]
    }

    fn batch(port: usize, batch: &Batch) -> Option<Self::Batch> {
        if port == 0 { rows(batch).map(Either::Left) } else { rows(batch).map(Either::Right) }
    }

    fn unpack(port: usize, bytes: &[u8]) -> crate::Result<Batch> {
        if port == 0 { unpack_rows::<L>(bytes) } else { unpack_rows::<R>(bytes) }
    }

    fn rows(batch: &Self::Batch) -> usize {
        match batch {
            Either::Left(left) => left.len(),
            Either::Right(right) => right.len(),
        }
    }

    fn times(batch: &Self::Batch) -> Option<&[Timestamp]> {
        match batch {
            Either::Left(left) => AnyBatch::times(&**left),
            Either::Right(right) => AnyBatch::times(&**right),
        }
    }

    #[inline]
    fn iter(batch: &Self::Batch, rows: Range<usize>) -> impl Iterator<Item = Self::Ref<'_>> {
        let (left, right) = match batch {
            Either::Left(left) => (&left[rows], &[][..]),
            Either::Right(right) => (&[][..], &right[rows]),
        };
        left.iter().map(Either::Left).chain(right.iter().map(Either::Right))
    }

    fn probe(mut f: impl FnMut(Self::Ref<'_>) -> bool) -> bool {
        probe_row(|left| f(Either::Left(left))) || probe_row(|right| f(Either::Right(right)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn type_names_are_short() {
        assert_eq!(short_type_name("(alloc::string::String, u64)"), "(String, u64)");
        assert_eq!(RecordType::rows::<Vec<String>>().to_string(), "Vec<String>");
    }
}
