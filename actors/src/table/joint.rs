//! The joint between rows of a Rust type and Arrow batches: operators that stand on an edge whose two ends speak
//! differently, so that a source or an operator of one's own can be followed by SQL, and the other way round.
//!
//! Fields are columns of the same name. What type a column has follows from the type of the field
//! ([`serde_arrow`]'s tracing of it); the other way round, a column is cast where nothing is read into it that was not
//! there: numbers become wider or narrower if every value fits, times become the ms since 1970, text stays text. A row
//! whose value does not fit is poison, and only that row.

use std::any::type_name;
use std::marker::PhantomData;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, new_null_array};
use arrow::compute::{CastOptions, can_cast_types, cast_with_options};
use arrow::datatypes::{DataType, FieldRef, Schema, SchemaRef, TimeUnit};
use serde_arrow::schema::{SchemaLike, TracingOptions};

use super::{Table, TableRow};
use crate::batch::{AnyBatch, Rows};
use crate::blueprint::{OperatorBlueprint, operator_blueprint};
use crate::host::Factory;
use crate::record::{Record, short_type_name};
use crate::rows::ByRow;
use crate::stock::types::name_of;
use crate::{Context, Error, Key, Operator, Result};

/// How rows of one type become Arrow batches, and back.
#[derive(Clone, Copy)]
pub struct Joint {
    to_tables: fn() -> Result<OperatorBlueprint, String>,
    to_rows: fn(&SchemaRef) -> Result<OperatorBlueprint, String>,
}

impl Joint {
    /// Returns that of a type.
    pub(crate) fn of<T: Record>() -> Joint {
        Joint { to_tables: plan_to_tables::<T>, to_rows: plan_to_rows::<T> }
    }

    /// Plans an operator that reads rows and emits tables.
    pub(crate) fn to_tables(self) -> Result<OperatorBlueprint, String> {
        (self.to_tables)()
    }

    /// Plans an operator that reads tables of a schema and emits rows.
    pub(crate) fn to_rows(self, schema: &SchemaRef) -> Result<OperatorBlueprint, String> {
        (self.to_rows)(schema)
    }
}

/// Returns the columns of a type.
fn columns_of<T: Record>() -> Result<Vec<FieldRef>, String> {
    let options = TracingOptions::default()
        .strings_as_large_utf8(false)
        .sequence_as_large_list(false)
        .enums_without_data_as_strings(true);
    Vec::<FieldRef>::from_type::<T>(options).map_err(|error| {
        let (name, why) = (short_type_name(type_name::<T>()), error.to_string());
        let why = why.lines().next().unwrap_or_default().trim_start_matches("Error: ").to_owned();
        format!(
            "carries {name}, which cannot be taken apart into columns: it has to be a struct with named fields ({why})"
        )
    })
}

fn plan_to_tables<T: Record>() -> Result<OperatorBlueprint, String> {
    let columns = columns_of::<T>()?;
    let schema: SchemaRef = Arc::new(Schema::new(columns.clone()));
    let passes = names(&columns);
    let factory: Factory<ToTables<T>> = Arc::new(move || Ok(ToTables { columns: columns.clone(), of: PhantomData }));
    let planned = crate::stock::table_operator(schema, false, factory);
    Ok(OperatorBlueprint { passes: Some(passes), gives_event_time: false, ..planned })
}

fn plan_to_rows<T: Record>(schema: &SchemaRef) -> Result<OperatorBlueprint, String> {
    let columns = columns_of::<T>().map_err(|why| why.replacen("carries", "should become", 1))?;
    let sources = columns.iter().map(|column| Source::find(column, schema)).collect::<Result<Vec<Source>, String>>()?;
    let passes = names(&columns);
    let prototype = ToRows::<T> { columns: Arc::new(Schema::new(columns)), sources, of: PhantomData };
    let planned = operator_blueprint(Arc::new(move || Ok(prototype.clone())));
    let planned = planned.map_err(|faults| faults.into_iter().map(|fault| fault.message).collect::<String>())?;
    Ok(OperatorBlueprint { passes: Some(passes), gives_event_time: false, ..planned })
}

fn names(columns: &[FieldRef]) -> Vec<(String, String)> {
    columns.iter().map(|column| (column.name().clone(), column.name().clone())).collect()
}

/// Makes tables of rows.
struct ToTables<T> {
    columns: Vec<FieldRef>,
    of: PhantomData<fn() -> T>,
}

impl<T: Record> ToTables<T> {
    fn table(&self, records: &[T]) -> Result<RecordBatch> {
        let unfit = |error: serde_arrow::Error| Error::poison(format!("it does not fit its columns: {error}"));
        serde_arrow::to_record_batch(&self.columns, &records).map_err(unfit)
    }
}

impl<T: Record> Operator for ToTables<T> {
    type In = T;
    type Out = Table;

    const HOLDS_ROWS: Option<bool> = Some(false);

    fn is_keyed(&self) -> bool {
        false
    }

    fn process(&mut self, record: &T, ctx: &mut Context<Table>) -> Result {
        let times = ctx.timestamp().map(|time| vec![time].into());
        ctx.emit_table(Table::with_times(self.table(std::slice::from_ref(record))?, times));
        Ok(())
    }

    fn process_batch(&mut self, rows: Arc<Rows<T>>, ctx: &mut Context<Table>) -> Result {
        let Ok(batch) = self.table(&rows) else {
            // One of them does not fit: it is found row by row.
            return self.process_rows(&rows, ctx);
        };
        ctx.emit_table(Table::with_times(batch, AnyBatch::times(&*rows).map(|times| times.to_vec().into())));
        Ok(())
    }
}

/// Where a column of a type comes from.
#[derive(Clone)]
enum Source {
    /// A column of the table, as it is.
    Same(usize),
    /// A column of the table of another type.
    Cast(usize, DataType),
    /// There is none, and need not be: every value is missing.
    Missing(DataType),
}

impl Source {
    fn find(column: &FieldRef, schema: &SchemaRef) -> Result<Source, String> {
        let (name, wanted) = (column.name(), column.data_type());
        let Some((index, there)) = schema.column_with_name(name) else {
            if column.is_nullable() {
                return Ok(Source::Missing(wanted.clone()));
            }
            let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
            return Err(crate::stock::options::unknown("column", name, &names));
        };
        let there = there.data_type();
        if there == wanted {
            return Ok(Source::Same(index));
        }
        let fits = is_text(there) == is_text(wanted) && can_cast_types(there, wanted);
        if fits && !(there.is_floating() && wanted.is_integer()) {
            return Ok(Source::Cast(index, wanted.clone()));
        }
        let (there, wanted) = (name_of(there), name_of(wanted));
        Err(format!("column `{name}` is of type {there}, where {wanted} is needed; make it that with a `select`"))
    }

    fn of(&self, batch: &RecordBatch) -> Result<ArrayRef> {
        let strict = CastOptions { safe: false, ..CastOptions::default() };
        let cast = |array: &ArrayRef, to: &DataType| cast_with_options(array, to, &strict);
        Ok(match self {
            Source::Same(index) => Arc::clone(batch.column(*index)),
            Source::Cast(index, wanted) => match batch.column(*index).data_type() {
                // A number stands for a time in ms, whatever its unit is.
                DataType::Timestamp(_, zone) if wanted.is_integer() => {
                    let ms = DataType::Timestamp(TimeUnit::Millisecond, zone.clone());
                    cast(&cast(&cast(batch.column(*index), &ms)?, &DataType::Int64)?, wanted)?
                }
                _ => cast(batch.column(*index), wanted)?,
            },
            Source::Missing(wanted) => new_null_array(wanted, batch.num_rows()),
        })
    }
}

fn is_text(of: &DataType) -> bool {
    matches!(of, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

/// Makes rows of tables.
struct ToRows<T> {
    columns: SchemaRef,
    sources: Vec<Source>,
    of: PhantomData<fn() -> T>,
}

impl<T> Clone for ToRows<T> {
    fn clone(&self) -> ToRows<T> {
        ToRows { columns: Arc::clone(&self.columns), sources: self.sources.clone(), of: PhantomData }
    }
}

impl<T: Record> ToRows<T> {
    fn rows(&self, batch: &RecordBatch) -> Result<Vec<T>> {
        let columns = self.sources.iter().map(|source| source.of(batch)).collect::<Result<Vec<ArrayRef>>>();
        let columns = columns.map_err(|error| Error::poison(error.to_string()))?;
        // Where a column must have values, the table may lack one: that is what is found out here.
        let unfit = |why: &dyn std::fmt::Display| {
            let name = short_type_name(type_name::<T>());
            Error::poison(format!("the row is no {name}: {why}"))
        };
        for (field, column) in self.columns.fields().iter().zip(&columns) {
            if !field.is_nullable() && column.null_count() > 0 {
                return Err(unfit(&format!("its column `{}` is NULL", field.name())));
            }
        }
        let batch = RecordBatch::try_new(Arc::clone(&self.columns), columns).map_err(|error| unfit(&error))?;
        serde_arrow::from_record_batch(&batch).map_err(|error| unfit(&error))
    }
}

impl<T: Record> Operator for ToRows<T> {
    type In = Table;
    type Out = T;

    const HOLDS_ROWS: Option<bool> = Some(false);

    fn is_keyed(&self) -> bool {
        false
    }

    fn process(&mut self, row: TableRow<'_>, ctx: &mut Context<T>) -> Result {
        for record in self.rows(&row.table.batch().slice(row.row, 1))? {
            ctx.emit(record);
        }
        Ok(())
    }

    fn process_batch(&mut self, table: Arc<Table>, ctx: &mut Context<T>) -> Result {
        match self.rows(table.batch()) {
            Ok(records) => {
                for (row, record) in records.into_iter().enumerate() {
                    ctx.output().push(record, table.time(row));
                }
            }
            // One of them does not fit: it is found row by row.
            Err(_) => {
                for row in 0..table.rows() {
                    ctx.enter(Key::None, table.time(row));
                    self.process(TableRow { table: &table, row }, ctx)?;
                }
            }
        }
        Ok(())
    }
}

impl std::fmt::Debug for Joint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Joint")
    }
}

#[cfg(test)]
mod tests;
