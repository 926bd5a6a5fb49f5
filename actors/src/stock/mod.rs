//! The ready-made sources, operators and sinks, which need no code: their options come from the topology file.
//!
//! They speak [tables](crate::table) (Arrow batches), and what they compute is written as SQL expressions over the
//! columns of their input. Column names and types are checked when the plan is made, before anything starts.
//!
//! [`sources`], [`operators`] and [`sinks`] give all kinds with the names that a topology file calls them by.

mod aggregate;
mod blackhole;
mod coder;
mod deduplicate;
mod elsewhere;
mod event_time;
mod expression;
mod fail;
mod filter;
mod functions;
mod generate;
mod join;
pub(crate) mod options;
mod pace;
mod parquet;
mod print;
mod select;
mod sink;
mod source;
mod split;
mod top;
pub(crate) mod types;

use std::sync::Arc;

use arrow::datatypes::SchemaRef;

use crate::blueprint::{
    Again, Fault, OperatorBlueprint, OperatorKind, SinkKind, SourceBlueprint, SourceKind, Varies, redistribute_by,
};
use crate::host::{Factory, Hosted, HostedSource};
use crate::operator::{Operator, Source};
use crate::record::{Inputs, RecordType};
use crate::table::Table;

pub use fail::forget_failures;
pub use parquet::parquet_as_json;

/// Returns the kinds of sources by name.
pub fn sources() -> Vec<(&'static str, Arc<dyn SourceKind>)> {
    vec![
        ("csv", Arc::new(source::CsvKind)),
        ("generate", Arc::new(generate::GenerateKind)),
        ("lines", Arc::new(source::LinesKind)),
        ("ndjson", Arc::new(source::NdjsonKind)),
        ("parquet", Arc::new(source::ParquetKind)),
    ]
}

/// Returns the kinds of operators by name.
pub fn operators() -> Vec<(&'static str, Arc<dyn OperatorKind>)> {
    vec![
        ("aggregate", Arc::new(aggregate::AggregateKind)),
        ("deduplicate", Arc::new(deduplicate::DeduplicateKind)),
        ("fail", Arc::new(fail::FailKind)),
        ("filter", Arc::new(filter::FilterKind)),
        ("join", Arc::new(join::JoinKind)),
        ("select", Arc::new(select::SelectKind)),
        ("split", Arc::new(split::SplitKind)),
        ("top", Arc::new(top::TopKind)),
    ]
}

/// Returns the kinds of sinks by name.
pub fn sinks() -> Vec<(&'static str, Arc<dyn SinkKind>)> {
    vec![
        ("blackhole", Arc::new(blackhole::BlackholeKind)),
        ("csv", Arc::new(sink::FilesKind::csv())),
        ("ndjson", Arc::new(sink::FilesKind::ndjson())),
        ("parquet", Arc::new(sink::ParquetKind)),
        ("print", Arc::new(print::PrintKind)),
    ]
}

/// Returns the one schema that all inputs carry.
fn input_schema(inputs: &[RecordType]) -> Result<SchemaRef, Vec<Fault>> {
    let mut faults = Vec::new();
    let mut common: Option<SchemaRef> = None;
    for (index, input) in inputs.iter().enumerate() {
        let option = format!("inputs[{index}]");
        let RecordType::Table(schema) = input else {
            faults.push(Fault::new(option, format!("carries {input}, but Arrow batches are needed")));
            continue;
        };
        let schema = expression::normal(schema);
        match &common {
            None => common = Some(schema),
            Some(first) if *first == schema => {}
            Some(first) => {
                let message = format!(
                    "has other columns than the first input ({}, not {}); make them equal with a `select`",
                    types::in_words(&columns_of(&schema)),
                    types::in_words(&columns_of(first))
                );
                faults.push(Fault::new(option, message));
            }
        }
    }
    match common {
        Some(schema) if faults.is_empty() => Ok(schema),
        None if faults.is_empty() => Err(vec![Fault::new("inputs", "needs an input")]),
        _ => Err(faults),
    }
}

/// Returns the columns of rows, by which states know what they are of: types are named as Arrow does.
fn columns_of(schema: &SchemaRef) -> String {
    let columns: Vec<String> =
        schema.fields().iter().map(|field| format!("{} {}", field.name(), field.data_type())).collect();
    columns.join(", ")
}

/// Plans an operator whose output is tables of these columns.
pub(crate) fn table_operator<O: Operator>(output: SchemaRef, keyed: bool, factory: Factory<O>) -> OperatorBlueprint {
    OperatorBlueprint {
        output: RecordType::Table(output),
        // A factory that fails says so when an instance is made.
        side_outputs: factory().map(|operator| operator.side_outputs()).unwrap_or_default(),
        keyed,
        broadcast: O::BROADCAST,
        state: None,
        states: Vec::new(),
        latest_by: None,
        passes: None,
        again: if keyed { Again::Unknown } else { Again::Rows },
        varies: Varies::No,
        waits_for_event_time: None,
        asks: false,
        gives_event_time: false,
        unpack: O::In::unpack,
        show_key: None,
        show_state: None,
        make: Arc::new(move |subtask, rows| Ok(Box::new(Hosted::new(Arc::clone(&factory), subtask, rows)?))),
    }
}

/// Plans a source of tables.
fn table_source<S: Source<Out = Table>>(
    output: SchemaRef,
    replayable: bool,
    factory: impl Fn() -> S + Send + Sync + 'static,
) -> SourceBlueprint {
    SourceBlueprint {
        output: RecordType::Table(output),
        replayable,
        endless: false,
        gives_event_time: false,
        max_parallelism: None,
        make: Arc::new(move |rows| Ok(Box::new(HostedSource::new(factory(), rows)))),
        redistribute: redistribute_by::<S>(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
    use arrow::datatypes::{DataType, Field, Int64Type, Schema};
    use serde_json::Value;

    use super::options::tests::with_options;
    use super::*;
    use crate::batch::Batch;
    use crate::blueprint::Site;
    use crate::host::AnyOperator;
    use crate::ids::Subtask;
    use crate::table::table;

    /// Where a part under test stands.
    pub(crate) fn site(name: &str) -> Site {
        Site { job: "test".into(), name: name.into(), folder: PathBuf::from("/nowhere"), parallelism: 1 }
    }

    /// Makes a table of integer columns.
    pub(crate) fn int_table(columns: &[(&str, &[Option<i64>])], times: Option<&[i64]>) -> Table {
        let fields: Vec<Field> = columns.iter().map(|(name, _)| Field::new(*name, DataType::Int64, true)).collect();
        let arrays = columns.iter().map(|(_, values)| Arc::new(Int64Array::from(values.to_vec())) as ArrayRef);
        let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays.collect()).unwrap();
        Table::with_times(batch, times.map(|times| times.to_vec().into()))
    }

    /// Returns an integer column of a table.
    pub(crate) fn ints(table: &Table, name: &str) -> Vec<Option<i64>> {
        table.batch().column_by_name(name).unwrap().as_primitive::<Int64Type>().iter().collect()
    }

    /// Plans an operator whose input looks like a table.
    pub(crate) fn plan_operator(
        kind: &dyn OperatorKind,
        options: Value,
        input: &Table,
    ) -> Result<OperatorBlueprint, Vec<Fault>> {
        let inputs = [RecordType::Table(input.schema())];
        with_options(&options, |options| kind.plan(options, &inputs, &site("tested")))
    }

    /// One instance of an operator.
    pub(crate) struct Bench(Box<dyn AnyOperator>);

    impl Bench {
        pub(crate) fn of(kind: &dyn OperatorKind, options: Value, input: &Table) -> Bench {
            Bench::named(kind, options, input, "tested")
        }

        pub(crate) fn named(kind: &dyn OperatorKind, options: Value, input: &Table, name: &str) -> Bench {
            let mut bench = Bench::unopened(kind, options, input, name);
            bench.0.open().unwrap();
            bench
        }

        pub(crate) fn unopened(kind: &dyn OperatorKind, options: Value, input: &Table, name: &str) -> Bench {
            let inputs = [RecordType::Table(input.schema())];
            let blueprint = with_options(&options, |options| kind.plan(options, &inputs, &site(name))).unwrap();
            Bench((blueprint.make)(Subtask::single(name), 1024).unwrap())
        }

        pub(crate) fn push(&mut self, input: &Table) -> Vec<Table> {
            let batch: Batch = Arc::new(input.clone());
            self.0.begin_entry(0);
            self.0.process(0, &batch).unwrap();
            let mut batches = Vec::new();
            self.0.drain(&mut batches);
            batches.iter().map(|batch| Table::clone(&table(batch).unwrap())).collect()
        }

        pub(crate) fn row(&self) -> usize {
            self.0.row()
        }

        pub(crate) fn operator(&mut self) -> &mut dyn AnyOperator {
            self.0.as_mut()
        }
    }

    #[test]
    fn every_option_of_every_kind_is_described() {
        let docs = sources()
            .iter()
            .map(|(name, kind)| (*name, kind.doc()))
            .chain(operators().iter().map(|(name, kind)| (*name, kind.doc())))
            .chain(sinks().iter().map(|(name, kind)| (*name, kind.doc())))
            .collect::<Vec<_>>();
        for (name, doc) in docs {
            assert!(doc.doc.ends_with('.'), "{name}");
            assert!(doc.options.iter().all(|option| option.doc.ends_with('.')), "{name}");
        }
    }

    #[test]
    fn inputs_have_to_agree() {
        let a = RecordType::Table(int_table(&[("a", &[])], None).schema());
        let b = RecordType::Table(int_table(&[("b", &[])], None).schema());
        assert_eq!(input_schema(&[a.clone(), a.clone()]).unwrap().field(0).name(), "a");
        let faults = input_schema(&[a, b, RecordType::rows::<u64>()]).unwrap_err();
        let named: Vec<_> = faults.iter().map(|fault| fault.option.as_str()).collect();
        assert_eq!(named, ["inputs[1]", "inputs[2]"]);
    }
}
