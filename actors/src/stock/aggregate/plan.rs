//! From the options of an `aggregate` to what it computes.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, TimestampMillisecondArray, UInt32Array};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit};
use datafusion_common::Column;
use datafusion_common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion_expr::Expr;
use datafusion_expr::execution_props::ExecutionProps;
use datafusion_expr::expr::AggregateFunction;
use datafusion_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion_physical_expr::aggregate::LoweredAggregateBuilder;

use super::super::coder::{canonical, key_columns};
use super::super::expression::{Expression, Parsed, Scope, has_aggregate, plain};
use super::super::select::twice;
use super::super::types::name_of;
use super::groups::Keys;
use super::state::{Added, Aggregates, Kept, Packed, Saved};
use super::windows::Summing;
use crate::blueprint::Fault;
use crate::table::Table;
use crate::{Key, Result, TimeWindow, Timestamp};

/// The columns that a time window adds behind those of the key.
pub(in super::super) const WINDOW_COLUMNS: [&str; 2] = ["window_start", "window_end"];
pub(in super::super) const WINDOW_TYPE: DataType = DataType::Timestamp(TimeUnit::Millisecond, None);

/// What comes out beside the key and the columns that were asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Adds {
    Nothing,
    /// Where the time window of a row begins and ends.
    Window,
}

/// What an `aggregate` computes.
pub(super) struct Plan {
    /// The key columns.
    pub keys: Keys,
    by: Vec<usize>,
    pub aggregates: Aggregates,
    /// The key columns, what is added to them and the bare aggregates, of which the output columns are computed.
    inner: SchemaRef,
    columns: Vec<Expression>,
    /// What comes out.
    pub output: SchemaRef,
    /// Whether an aggregate depends on the order of its rows.
    pub goes_by_order: bool,
    /// The key columns and the bare aggregates, with their types: keys and states of others are not to be mixed with
    /// these. The state of a key names its aggregates too, but only where that key comes up again.
    pub state: String,
}

impl Plan {
    /// Makes the plan of the options `by` and `columns` on an input.
    pub(super) fn new(by: &[String], columns: &[String], input: &SchemaRef, adds: Adds) -> Result<Plan, Vec<Fault>> {
        let seen = if adds == Adds::Window { with_window(by, input)? } else { Arc::clone(input) };
        let scope = Scope::new(&seen).map_err(|message| vec![Fault::new("inputs", message)])?;
        let by = key_columns(by, input)?;
        if columns.is_empty() {
            return Err(vec![Fault::new("columns", "name at least one column, such as \"count(*) AS n\"")]);
        }
        let mut names: Vec<&str> = by.iter().map(|column| input.field(*column).name().as_str()).collect();
        if adds == Adds::Window {
            names.extend(WINDOW_COLUMNS);
        }
        let not_in_rows = seen.fields().iter().skip(input.fields().len()).map(|field| field.name().clone()).collect();
        let mut bare = Bare { mark: mark(&names), found: Vec::new(), not_in_rows };
        let mut parsed = Vec::new();
        let mut faults = Vec::new();
        for (index, text) in columns.iter().enumerate() {
            match scope.parse(text).and_then(|column| bare.take_from(column, &names)) {
                Ok(column) => parsed.push((index, column)),
                Err(message) => faults.push(Fault::new(format!("columns[{index}]"), message)),
            }
        }
        for (index, column) in parsed.iter().filter(|(_, column)| names.contains(&column.name.as_str())) {
            let whose = if WINDOW_COLUMNS.contains(&&*column.name) && adds == Adds::Window {
                "the window's"
            } else {
                "in `by`"
            };
            let message = format!("`{}` is {whose} and comes out by itself; leave it away, or use AS", column.name);
            faults.push(Fault::new(format!("columns[{index}]"), message));
        }
        faults.extend(twice(parsed.iter().map(|(index, column)| (*index, column.name.as_str()))));
        if !faults.is_empty() {
            return Err(faults);
        }
        Plan::finish(&scope, &seen, by, &bare, (parsed, adds))
    }

    fn finish(
        scope: &Scope,
        input: &SchemaRef,
        by: Vec<usize>,
        bare: &Bare,
        (parsed, adds): (Vec<(usize, Parsed)>, Adds),
    ) -> Result<Plan, Vec<Fault>> {
        let of_columns = |message: String| vec![Fault::new("columns", message)];
        let mut lowered = Vec::new();
        let mut fields: Vec<Field> = by.iter().map(|column| input.field(*column).clone()).collect();
        if adds == Adds::Window {
            fields.extend(WINDOW_COLUMNS.map(|name| Field::new(name, WINDOW_TYPE, true)));
        }
        let of_key = fields.clone();
        for (number, aggregate) in bare.found.iter().enumerate() {
            let (props, context) = (ExecutionProps::new(), PhysicalPlanningContext::default());
            let built = LoweredAggregateBuilder::new(aggregate, scope.schema(), input, &props, &context)
                .with_name(bare.name(number))
                .build()
                .map_err(|error| of_columns(scope.explain(&error)))?;
            fields.push(Field::new(bare.name(number), built.aggregate.field().data_type().clone(), true));
            lowered.push((built, aggregate.schema_name().to_string()));
        }
        let inner = Arc::new(Schema::new(fields));
        let outer = Scope::new(&inner).map_err(of_columns)?;
        let mut columns = Vec::new();
        let mut faults = Vec::new();
        for (index, column) in parsed {
            match outer.plan(column) {
                Ok(column) => columns.push(column),
                Err(message) => faults.push(Fault::new(format!("columns[{index}]"), message)),
            }
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        let keys = Keys::new(by.clone(), input).map_err(|error| vec![Fault::new("by", error.to_string())])?;
        let aggregates = Aggregates::new(lowered).map_err(|error| of_columns(error.to_string()))?;
        let described = by.iter().map(|column| input.field(*column));
        let described = described.map(|field| format!("{}: {}", field.name(), field.data_type()));
        let described = described.collect::<Vec<String>>().join(", ");
        let state = format!("by [{described}], columns [{}]", aggregates.described);
        let output =
            Schema::new(of_key.into_iter().chain(columns.iter().map(Expression::field)).collect::<Vec<Field>>());
        let goes_by_order = bare.found.iter().any(goes_by_order);
        Ok(Plan { keys, by, aggregates, inner, columns, output: Arc::new(output), goes_by_order, state })
    }

    /// Returns what the key columns are called in the output.
    pub(super) fn key_names(&self) -> Vec<String> {
        self.output.fields().iter().take(self.by.len()).map(|field| field.name().clone()).collect()
    }

    /// Adds a batch to the states of its keys and returns the new values of these keys.
    pub(super) fn advance<K: Kept>(&self, table: &Table, kept: impl FnOnce(Vec<Key>) -> K) -> Result<Table> {
        let groups = self.keys.groups(table)?;
        let count = groups.keys.len();
        let mut kept = kept(groups.keys);
        let values = self.aggregates.advance(table.batch(), &groups.of_row, count, &mut kept)?;
        let first = UInt32Array::from(groups.first);
        let firsts = |column: &usize| Ok(canonical(&arrow::compute::take(table.column(*column), &first, None)?));
        let keys = self.by.iter().map(firsts).collect::<Result<Vec<ArrayRef>>>()?;
        let times: Option<Vec<i64>> = groups.times.into_iter().collect();
        Ok(Table::with_times(self.output_of(keys, values)?, times.map(Into::into)))
    }

    /// Computes the output columns from the key columns, and what is added to them, and the values of the aggregates.
    fn output_of(&self, keys: Vec<ArrayRef>, values: Vec<ArrayRef>) -> Result<RecordBatch> {
        let inner = RecordBatch::try_new(Arc::clone(&self.inner), keys.iter().cloned().chain(values).collect())?;
        let mut columns = keys;
        for column in &self.columns {
            columns.push(column.evaluate(&inner)?);
        }
        Ok(RecordBatch::try_new(Arc::clone(&self.output), columns)?)
    }
}

impl Summing for Plan {
    fn keys(&self) -> &Keys {
        &self.keys
    }

    fn fold(&self, added: Option<Added<'_>>, saved: &Saved, groups: usize) -> Result<Vec<Packed>> {
        self.aggregates.pack(&self.aggregates.fold(added, saved, groups)?)
    }

    fn rows(&self, keys: &[Key], windows: &[TimeWindow], at: &[Timestamp], saved: &Saved) -> Result<Table> {
        let values = self.aggregates.values(&self.aggregates.fold(None, saved, keys.len())?)?;
        let mut columns = self.keys.columns(keys)?;
        columns.extend(window_columns(windows.iter()));
        Ok(Table::with_times(self.output_of(columns, values)?, Some(at.to_vec().into())))
    }

    fn show(&self, state: &Packed) -> Option<String> {
        self.aggregates.show(state)
    }
}

/// Returns the columns that say where time windows begin and end.
pub(in super::super) fn window_columns<'a>(windows: impl Iterator<Item = &'a TimeWindow> + Clone) -> [ArrayRef; 2] {
    let starts = windows.clone().map(|window| window.start);
    let ends = windows.map(|window| window.end);
    [
        Arc::new(TimestampMillisecondArray::from_iter_values(starts)),
        Arc::new(TimestampMillisecondArray::from_iter_values(ends)),
    ]
}

/// Returns the columns that expressions may name where there are time windows: those of the input, and the window's.
/// Where the input has such columns, too, aggregate functions are over the input's.
pub(in super::super) fn with_window(by: &[String], input: &SchemaRef) -> Result<SchemaRef, Vec<Fault>> {
    let mut fields: Vec<FieldRef> = input.fields().iter().cloned().collect();
    let mut faults = Vec::new();
    for name in WINDOW_COLUMNS {
        if let Some(index) = by.iter().position(|by| by == name) {
            let message = format!("the time window adds a column `{name}`; give this one another name with a `select`");
            faults.push(Fault::new(format!("by[{index}]"), message));
        }
        match input.column_with_name(name) {
            None => fields.push(Arc::new(Field::new(name, WINDOW_TYPE, true))),
            Some((_, field)) if *field.data_type() == WINDOW_TYPE => {}
            Some((_, field)) => {
                let message = format!(
                    "the time window adds a column `{name}`, but the input has one of type {}; give that another name with a `select`",
                    name_of(field.data_type())
                );
                faults.push(Fault::new("window", message));
            }
        }
    }
    if faults.is_empty() { Ok(Arc::new(Schema::new(fields))) } else { Err(faults) }
}

/// Returns something that no name of a key column begins with.
fn mark(names: &[&str]) -> String {
    let mut mark = "#".to_string();
    while names.iter().any(|name| name.starts_with(&mark)) {
        mark.push('#');
    }
    mark
}

/// The aggregate functions that are used anywhere in the columns, each once.
struct Bare {
    mark: String,
    found: Vec<Expr>,
    /// Columns that rows of the input do not have.
    not_in_rows: Vec<String>,
}

impl Bare {
    fn name(&self, number: usize) -> String {
        format!("{}{number}", self.mark)
    }

    /// Takes the aggregate functions out of a column and leaves names in their places.
    fn take_from(&mut self, column: Parsed, by: &[&str]) -> Result<Parsed, String> {
        let mut wrong = None;
        let taken = column.expr.transform_down(|part| {
            let Expr::AggregateFunction(function) = &part else { return Ok(Transformed::no(part)) };
            if let Err(message) = check(function) {
                wrong.get_or_insert(message);
            }
            if let Some(used) =
                self.not_in_rows.iter().find(|name| part.column_refs().iter().any(|used| used.name == **name))
            {
                let name = function.func.name();
                wrong.get_or_insert(format!("`{used}` is the window's, not a row's: `{name}` cannot be applied to it"));
            }
            let number = self.found.iter().position(|known| *known == part).unwrap_or_else(|| {
                self.found.push(part.clone());
                self.found.len() - 1
            });
            let place = Expr::Column(Column::new_unqualified(self.name(number)));
            Ok(Transformed::new(place, true, TreeNodeRecursion::Jump))
        });
        let expr = taken.map_err(|error| plain(&error))?.data;
        if let Some(message) = wrong {
            return Err(message);
        }
        let mut used: Vec<&Column> = expr.column_refs().into_iter().collect();
        used.sort_unstable();
        for used in used {
            if !used.name.starts_with(&self.mark) && !by.contains(&used.name.as_str()) {
                return Err(format!("column `{}` is neither in `by` nor inside an aggregate function", used.name));
            }
        }
        Ok(Parsed { expr, ..column })
    }
}

/// Functions that give something else when the same rows come in another order, by more than the last digits.
const BY_ORDER: [&str; 8] = [
    "approx_median",
    "approx_percentile_cont",
    "approx_percentile_cont_with_weight",
    "array_agg",
    "first_value",
    "last_value",
    "nth_value",
    "string_agg",
];

fn goes_by_order(aggregate: &Expr) -> bool {
    matches!(aggregate, Expr::AggregateFunction(function) if BY_ORDER.contains(&function.func.name()))
}

fn check(function: &AggregateFunction) -> Result<(), String> {
    let (name, params) = (function.func.name(), &function.params);
    if params.args.iter().any(has_aggregate) {
        return Err(format!("`{name}` cannot be applied to another aggregate function"));
    }
    if !params.order_by.is_empty() {
        return Err(format!("`{name}` takes rows in the order in which they come; leave ORDER BY away"));
    }
    // The order of the distinct values differs from run to run, and what depends on it could not be replayed.
    if params.distinct && !["count", "min", "max"].contains(&name) {
        return Err(format!("DISTINCT is possible with count, min and max, but not with `{name}`"));
    }
    Ok(())
}
