//! Which rows are first, and what is kept of them.
//!
//! A row is kept as two texts of bytes in Arrow's row encoding: what it is ordered by, and all that is in it. Comparing
//! the one, and where that is equal the other, is all that has to be done with rows of any type.

use std::collections::BinaryHeap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::row::{RowConverter, Rows, SortField};

use super::super::aggregate::{
    Added, Keys, Packed, Saved, Summing, WINDOW_COLUMNS, WINDOW_TYPE, window_columns, with_window,
};
use super::super::coder::{Coded, Coder, key_columns};
use super::super::expression::{Order, Scope};
use super::Settings;
use crate::blueprint::Fault;
use crate::table::Table;
use crate::{Error, Key, Result, TimeWindow, Timestamp};

/// What a `top` keeps and gives.
pub(super) struct Plan {
    /// The key columns.
    pub keys: Keys,
    n: usize,
    /// Whether rows that the order does not tell from the last one come out, too.
    ties: bool,
    order: Vec<Order>,
    sorter: RowConverter,
    /// The columns that are kept.
    rows: Coder,
    /// Whether there is a column that numbers rows.
    ranked: bool,
    /// What comes out.
    pub output: SchemaRef,
    /// Stands before what is kept of each key, so that what another order has left is refused and not misread.
    layout: [u8; 4],
    /// The key columns, the order and what is kept, with their types: state of others is not to be mixed with this.
    pub state: String,
}

/// A row: what it is ordered by, and what is in it.
type Row<'a> = (&'a [u8], &'a [u8]);

/// The rows of a batch that may be among the first of their group: most are not, and only these are encoded.
struct Candidates {
    /// What all rows of the batch are ordered by.
    sorted: Rows,
    /// What is in the candidates.
    rows: Coded,
    /// The row of each candidate in the batch, and its group.
    places: Vec<(usize, usize)>,
}

impl Plan {
    /// Makes the plan of the options on an input.
    pub(super) fn new(settings: &Settings, input: &SchemaRef) -> Result<Plan, Vec<Fault>> {
        with_window(&settings.by, input)?;
        let of_input = |message: String| vec![Fault::new("inputs", message)];
        let scope = Scope::new(input).map_err(of_input)?;
        let mut faults = Vec::new();
        let by = key_columns(&settings.by, input).unwrap_or_else(|wrong| {
            faults.extend(wrong);
            Vec::new()
        });
        let mut order = Vec::new();
        for (index, text) in settings.order.iter().enumerate() {
            let fits = |term: &Order| Coder::supports(&term.expression.data_type);
            match scope.order(text) {
                Ok(term) if fits(&term) => order.push(term),
                Ok(term) => {
                    let message = format!("`{text}` is of type {}, which has no order", term.expression.data_type);
                    faults.push(Fault::new(format!("order[{index}]"), message));
                }
                Err(message) => faults.push(Fault::new(format!("order[{index}]"), message)),
            }
        }
        let kept = input.fields().iter().enumerate();
        let kept = kept.filter(|(_, field)| !WINDOW_COLUMNS.contains(&field.name().as_str()));
        let (kept, mut fields): (Vec<usize>, Vec<Field>) =
            kept.map(|(column, field)| (column, field.as_ref().clone())).unzip();
        if let Some(field) = fields.iter().find(|field| !Coder::supports(field.data_type())) {
            let message = format!(
                "has a column `{}` of type {}, which cannot be kept; leave it out with a `select`",
                field.name(),
                field.data_type()
            );
            faults.push(Fault::new("inputs[0]", message));
        }
        fields.extend(WINDOW_COLUMNS.map(|name| Field::new(name, WINDOW_TYPE, true)));
        if let Some(rank) = &settings.rank {
            if fields.iter().any(|field| field.name() == rank) {
                let message = format!("there is a column `{rank}` already; give this one another name");
                faults.push(Fault::new("rank", message));
            }
            fields.push(Field::new(rank, DataType::Int64, true));
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        let types = order.iter();
        let types =
            types.map(|term| SortField::new_with_options(term.expression.data_type.clone(), term.options)).collect();
        let made = |error: Error| vec![Fault::new("", error.to_string())];
        let state = described(&by, &order, &kept, settings, input);
        Ok(Plan {
            keys: Keys::new(by, input).map_err(made)?,
            n: usize::try_from(settings.n).unwrap_or(usize::MAX),
            ties: settings.ties,
            sorter: RowConverter::new(types).map_err(|error| made(error.into()))?,
            order,
            rows: Coder::new(kept, input).map_err(made)?,
            ranked: settings.rank.is_some(),
            output: Arc::new(Schema::new(fields)),
            layout: crc32fast::hash(state.as_bytes()).to_be_bytes(),
            state,
        })
    }

    /// Returns the rows of something that was kept.
    fn kept<'a>(&self, bytes: &'a [u8]) -> Result<Vec<Row<'a>>> {
        let rows = bytes.strip_prefix(&self.layout).and_then(rows_of);
        rows.ok_or_else(|| {
            Error::invalid(
                "its state was made for another `order`; put the old one back, or start anew with `--resume none`",
            )
        })
    }

    /// Leaves the first of some rows, in order.
    fn first(&self, rows: &mut Vec<Row<'_>>) {
        rows.sort_unstable();
        let mut first = self.n.min(rows.len());
        if self.ties && first > 0 {
            let last = rows[first - 1].0;
            first += rows[first..].partition_point(|(order, _)| *order == last);
        }
        rows.truncate(first);
    }

    /// Finds the rows of a batch that are not behind the `n` first by the order alone, of those that are kept and of the
    /// batch: a heap has the first of each group, the last of them on top.
    fn candidates(&self, added: &Added<'_>, kept: &[Vec<Row<'_>>]) -> Result<Candidates> {
        let Added { batch, of_row } = added;
        let terms = self.order.iter().map(|term| term.expression.evaluate(batch));
        let sorted = self.sorter.convert_columns(&terms.collect::<Result<Vec<ArrayRef>>>()?)?;
        let mut first: Vec<BinaryHeap<&[u8]>> = kept.iter().map(|_| BinaryHeap::new()).collect();
        for (first, kept) in first.iter_mut().zip(kept) {
            kept.iter().for_each(|(order, _)| _ = self.is_among(first, order));
        }
        let mut places = Vec::new();
        for (row, group) in of_row.iter().enumerate() {
            if self.is_among(&mut first[*group], sorted.row(row).data()) {
                places.push((row, *group));
            }
        }
        // Those that were among the first until better ones came.
        places.retain(|(row, group)| first[*group].peek().is_none_or(|last| sorted.row(*row).data() <= *last));
        let taken: UInt32Array = places.iter().map(|(row, _)| *row as u32).collect();
        let rows = self.rows.rows(&take_record_batch(batch, &taken)?)?;
        Ok(Candidates { sorted, rows, places })
    }

    /// Returns whether the order of a row is among the first, which it joins then, or that of the last of them.
    fn is_among<'a>(&self, first: &mut BinaryHeap<&'a [u8]>, order: &'a [u8]) -> bool {
        if first.len() < self.n {
            first.push(order);
            return true;
        }
        let Some(mut last) = first.peek_mut() else { return false };
        if order < *last {
            *last = order;
            return true;
        }
        order == *last
    }

    /// Returns what is kept of each group, merged.
    fn merged<'a>(&self, saved: &'a Saved, groups: usize) -> Result<Vec<Vec<Row<'a>>>> {
        let mut merged = vec![Vec::new(); groups];
        for (group, bytes) in saved.iter() {
            merged[group].extend(self.kept(bytes)?);
        }
        Ok(merged)
    }
}

impl Summing for Plan {
    fn keys(&self) -> &Keys {
        &self.keys
    }

    fn fold(&self, added: Option<Added<'_>>, saved: &Saved, groups: usize) -> Result<Vec<Packed>> {
        let mut found = self.merged(saved, groups)?;
        let candidates = added.map(|added| self.candidates(&added, &found)).transpose()?;
        if let Some(Candidates { sorted, rows, places }) = &candidates {
            for (candidate, (row, group)) in places.iter().enumerate() {
                found[*group].push((sorted.row(*row).data(), rows.bytes(candidate)));
            }
        }
        let pack = |mut rows: Vec<Row<'_>>| {
            self.first(&mut rows);
            let mut bytes = self.layout.to_vec();
            for (order, row) in rows {
                for part in [order, row] {
                    let length = u32::try_from(part.len()).map_err(|_| Error::failed("a row is longer than 4 GiB"))?;
                    bytes.extend_from_slice(&length.to_be_bytes());
                }
                bytes.extend_from_slice(order);
                bytes.extend_from_slice(row);
            }
            Ok(Packed(bytes))
        };
        found.into_iter().map(pack).collect()
    }

    fn rows(&self, keys: &[Key], windows: &[TimeWindow], at: &[Timestamp], saved: &Saved) -> Result<Table> {
        let mut merged = self.merged(saved, keys.len())?;
        merged.iter_mut().for_each(|rows| self.first(rows));
        let mut columns = self.rows.columns(merged.iter().flatten().map(|(_, row)| *row))?;
        let of_rows = |group: usize| std::iter::repeat_n(group, merged[group].len());
        let groups: Vec<usize> = (0..merged.len()).flat_map(of_rows).collect();
        columns.extend(window_columns(groups.iter().map(|group| &windows[*group])));
        if self.ranked {
            let ranks = merged.iter().flat_map(|rows| (1i64..).take(rows.len()));
            columns.push(Arc::new(Int64Array::from_iter_values(ranks)));
        }
        let times: Vec<Timestamp> = groups.iter().map(|group| at[*group]).collect();
        let batch = RecordBatch::try_new(Arc::clone(&self.output), columns)?;
        Ok(Table::with_times(batch, Some(times.into())))
    }

    fn rows_of_window(&self) -> usize {
        self.n
    }

    fn show(&self, kept: &Packed) -> Option<String> {
        let rows = self.kept(&kept.0).ok()?;
        let rows: Option<Vec<String>> = rows.iter().map(|(_, row)| self.rows.show(row)).collect();
        Some(format!("{{\"rows\":[{}]}}", rows?.join(",")))
    }
}

/// Takes bytes apart; nothing if they are not rows.
fn rows_of(mut bytes: &[u8]) -> Option<Vec<Row<'_>>> {
    let mut rows = Vec::new();
    while !bytes.is_empty() {
        let (order, rest) = bytes.split_first_chunk::<4>()?;
        let (row, rest) = rest.split_first_chunk::<4>()?;
        let (order, rest) = rest.split_at_checked(u32::from_be_bytes(*order) as usize)?;
        let (row, rest) = rest.split_at_checked(u32::from_be_bytes(*row) as usize)?;
        rows.push((order, row));
        bytes = rest;
    }
    Some(rows)
}

/// Says in words what state is made for.
fn described(by: &[usize], order: &[Order], kept: &[usize], settings: &Settings, input: &SchemaRef) -> String {
    let columns = |columns: &[usize]| {
        let columns = columns.iter().map(|column| input.field(*column));
        columns.map(|field| format!("{}: {}", field.name(), field.data_type())).collect::<Vec<String>>().join(", ")
    };
    let term = |term: &Order| {
        let way = if term.options.descending { "desc" } else { "asc" };
        let nulls = if term.options.nulls_first { "first" } else { "last" };
        format!("{}: {} {way} nulls {nulls}", term.expression.name, term.expression.data_type)
    };
    let order: Vec<String> = order.iter().map(term).collect();
    let (n, ties) = (settings.n, if settings.ties { " with ties" } else { "" });
    format!("by [{}], the first {n}{ties} of [{}], order [{}]", columns(by), columns(kept), order.join(", "))
}
