//! SQL expressions over the columns of a table: from text to something that computes an Arrow column.
//!
//! The text is parsed and planned by DataFusion: names are resolved against the schema of the input, types are
//! coerced, constants folded, and the rest becomes a vectorised physical expression. Nothing is looked up at run time.
//! Column names are matched as they are written, function names in any case.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion_common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion_common::{DFSchema, DataFusionError, SchemaError};
use datafusion_expr::execution_props::ExecutionProps;
use datafusion_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion_expr::simplify::SimplifyContext;
use datafusion_expr::{Expr, ExprSchemable, Operator, Volatility};
use datafusion_optimizer::simplify_expressions::ExprSimplifier;
use datafusion_physical_expr::expressions::BinaryExpr;
use datafusion_physical_expr::{PhysicalExpr, create_physical_expr};
use datafusion_sql::parser::DFParserBuilder;
use datafusion_sql::planner::{ParserOptions, PlannerContext, SqlToRel};
use datafusion_sql::sqlparser::ast::Expr as Written;
use datafusion_sql::sqlparser::tokenizer::Token;

use super::functions::functions;
use super::options::{nearest, unknown};
use super::types::{in_words, name_of};

/// The columns that an expression may use.
pub(super) struct Scope {
    schema: DFSchema,
}

/// An expression that was understood, but may still contain aggregate functions.
pub(super) struct Parsed {
    /// The expression, with its types coerced.
    pub expr: Expr,
    /// What its column is called: the alias, or the text as it was written.
    pub name: String,
    /// Whether the name was given by `AS`.
    pub aliased: bool,
}

/// An expression that computes one column.
#[derive(Clone, Debug)]
pub(super) struct Expression {
    physical: Arc<dyn PhysicalExpr>,
    /// What the column is called.
    pub name: String,
    /// What it holds.
    pub data_type: DataType,
    /// The column that it is, unchanged, if it is one.
    pub of: Option<String>,
}

/// A term of an ORDER BY.
#[derive(Clone, Debug)]
pub(super) struct Order {
    /// What rows are ordered by.
    pub expression: Expression,
    /// Which way, and where NULL stands.
    pub options: SortOptions,
}

impl Expression {
    /// Computes the column for each row of a batch.
    pub(super) fn evaluate(&self, batch: &RecordBatch) -> crate::Result<ArrayRef> {
        let column = self.physical.evaluate(batch).and_then(|value| value.into_array(batch.num_rows()));
        column.map_err(|error| crate::Error::failed(format!("`{}`: {}", self.name, plain(&error))))
    }

    /// Returns the field of the column, which may always be NULL.
    pub(super) fn field(&self) -> Field {
        Field::new(&self.name, self.data_type.clone(), true)
    }
}

impl Scope {
    /// Makes a scope of a table's columns.
    pub(super) fn new(schema: &SchemaRef) -> Result<Scope, String> {
        let schema = DFSchema::try_from(Schema::clone(schema)).map_err(|error| plain(&error))?;
        Ok(Scope { schema })
    }

    /// Returns the schema as the planner sees it.
    pub(super) fn schema(&self) -> &DFSchema {
        &self.schema
    }

    /// Understands a text, and refuses what would not give the same answer on a replay.
    pub(super) fn parse(&self, text: &str) -> Result<Parsed, String> {
        let tell = |error: DataFusionError| self.explain(&error);
        let parser = DFParserBuilder::new(text).build();
        let sql = parser.and_then(|mut parser| parser.parse_into_expr()).map_err(tell)?;
        let alias = sql.alias.map(|alias| alias.value);
        let expr = self.resolve(sql.expr)?;
        let aliased = alias.is_some();
        let name = alias.unwrap_or_else(|| match &expr {
            Expr::Column(column) => column.name.clone(),
            _ => text.trim().to_string(),
        });
        Ok(Parsed { expr, name, aliased })
    }

    /// Finds what the names in an expression stand for, coerces types, and refuses what a replay could not repeat.
    fn resolve(&self, sql: Written) -> Result<Expr, String> {
        let tell = |error: DataFusionError| self.explain(&error);
        let options =
            ParserOptions::new().with_enable_ident_normalization(false).with_map_string_types_to_utf8view(false);
        let planner = SqlToRel::new_with_options(functions(), options);
        let expr = planner.sql_to_expr(sql, &self.schema, &mut PlannerContext::new()).map_err(tell)?;
        refuse(&expr)?;
        let simplifier =
            ExprSimplifier::new(SimplifyContext::builder().with_schema(Arc::new(self.schema.clone())).build());
        simplifier.coerce(expr, &self.schema).map_err(tell)
    }

    /// Understands a term of an ORDER BY: an expression, which way it orders, and where NULL stands.
    pub(super) fn order(&self, text: &str) -> Result<Order, String> {
        let tell = |error: DataFusionError| self.explain(&error);
        let mut parser = DFParserBuilder::new(text).build().map_err(tell)?;
        let term = parser.parser.parse_order_by_expr().and_then(|term| match parser.parser.next_token() {
            end if end.token == Token::EOF => Ok(term),
            other => parser.parser.expected("the end of the term", other),
        });
        let term = term.map_err(|error| tell(error.into()))?;
        let expr = self.resolve(term.expr)?;
        if has_aggregate(&expr) {
            return Err("rows are ordered by what is in them, so this cannot use an aggregate function".into());
        }
        if !expr.any_column_refs() {
            return Err(format!("`{text}` is the same for all rows; name a column"));
        }
        let expression = self.plan(Parsed { expr, name: text.trim().to_string(), aliased: false })?;
        let descending = term.options.asc == Some(false);
        // As DataFusion and PostgreSQL have it: NULL counts as larger than all values.
        let nulls_first = term.options.nulls_first.unwrap_or(descending);
        Ok(Order { expression, options: SortOptions { descending, nulls_first } })
    }

    /// Turns an expression without aggregate functions into one that computes.
    pub(super) fn plan(&self, parsed: Parsed) -> Result<Expression, String> {
        let tell = |error: DataFusionError| self.explain(&error);
        let simplifier =
            ExprSimplifier::new(SimplifyContext::builder().with_schema(Arc::new(self.schema.clone())).build());
        self.refuse_overflow(&parsed.expr)?;
        let of = match &parsed.expr {
            Expr::Column(column) => Some(column.name.clone()),
            _ => None,
        };
        let expr = simplifier.simplify(parsed.expr).map_err(tell)?;
        let physical = self.physical(&expr).map_err(tell)?;
        let data_type = match expr.get_type(&self.schema).map_err(tell)? {
            DataType::Null => return Err(format!("`{}` is always NULL and has no type; use a CAST", parsed.name)),
            data_type => data_type,
        };
        Ok(Expression { physical, name: parsed.name, data_type, of })
    }

    fn physical(&self, expr: &Expr) -> datafusion_common::Result<Arc<dyn PhysicalExpr>> {
        let (props, context) = (ExecutionProps::new(), PhysicalPlanningContext::default());
        checked(create_physical_expr(expr, &self.schema, &props, &context)?)
    }

    /// Refuses constants that do not fit: the simplifier would fold them into something else.
    fn refuse_overflow(&self, expr: &Expr) -> Result<(), String> {
        let no_rows = RecordBatch::new_empty(normal(self.schema.as_arrow()));
        let walk = expr.apply(|part| {
            if let Expr::BinaryExpr(binary) = part
                && matches!(binary.op, Operator::Plus | Operator::Minus | Operator::Multiply)
                && !part.any_column_refs()
            {
                self.physical(part)?.evaluate(&no_rows)?;
                return Ok(TreeNodeRecursion::Jump);
            }
            Ok(TreeNodeRecursion::Continue)
        });
        walk.map(|_| ()).map_err(|error| plain(&error))
    }

    /// Understands an expression that computes one column from the columns of the same row.
    pub(super) fn expression(&self, text: &str) -> Result<Expression, String> {
        let parsed = self.parse(text)?;
        if has_aggregate(&parsed.expr) {
            return Err("an aggregate function belongs into the `columns` of an operator of type `aggregate`".into());
        }
        self.plan(parsed)
    }

    /// Understands a condition.
    pub(super) fn condition(&self, text: &str) -> Result<Expression, String> {
        let parsed = self.parse(text)?;
        if parsed.aliased {
            return Err("a condition needs no name: leave `AS` away".into());
        }
        if has_aggregate(&parsed.expr) {
            return Err("a condition looks at one row, so it cannot use an aggregate function".into());
        }
        let expression = self.plan(parsed)?;
        match expression.data_type {
            DataType::Boolean => Ok(expression),
            ref other => Err(format!("a condition is true or false, but `{text}` is of type {}", name_of(other))),
        }
    }

    /// Says what is wrong, with the nearest name there is.
    pub(super) fn explain(&self, error: &DataFusionError) -> String {
        if let DataFusionError::SchemaError(schema_error, _) = error.find_root()
            && let SchemaError::FieldNotFound { field, .. } = schema_error.as_ref()
        {
            let names: Vec<&str> = self.schema.fields().iter().map(|field| field.name().as_str()).collect();
            return unknown("column", &field.name, &names);
        }
        let message = plain(error);
        if let Some((what, _)) = message.split_once(" not supported by ExprPlanner") {
            return match what {
                "getFieldAccess" => {
                    "subscripts and fields, such as `a[1]` and `a.b`, cannot be used in expressions".into()
                }
                what => format!("{what} cannot be used in expressions"),
            };
        }
        let Some(rest) = message.strip_prefix("invalid function '") else { return message };
        let name = rest.split('\'').next().unwrap_or_default().to_string();
        let known = functions().names();
        match nearest(&name, &known) {
            Some(near) => format!("unknown function `{name}`, did you mean `{near}`?"),
            None => format!("unknown function `{name}`"),
        }
    }
}

/// Makes `+`, `-` and `*` anywhere in an expression fail on overflow, as a division by zero does; as they come they
/// wrap around.
pub(super) fn checked(expr: Arc<dyn PhysicalExpr>) -> datafusion_common::Result<Arc<dyn PhysicalExpr>> {
    let checked = expr.transform_up(|part| {
        let Some(binary) = part.downcast_ref::<BinaryExpr>() else { return Ok(Transformed::no(part)) };
        Ok(match binary.op() {
            Operator::Plus | Operator::Minus | Operator::Multiply => {
                Transformed::yes(Arc::new(binary.clone().with_fail_on_overflow(true)))
            }
            _ => Transformed::no(part),
        })
    });
    Ok(checked?.data)
}

/// Returns an error's message without the planner's prefixes and hints for its own developers.
pub(super) fn plain(error: &DataFusionError) -> String {
    let root = error.find_root();
    let message = match root {
        DataFusionError::SQL(parser, _) => parser.to_string().trim_start_matches("sql parser error: ").to_string(),
        other => other.message().to_string(),
    };
    let line = in_words(message.lines().next().unwrap_or_default().trim_end_matches('.'));
    let mut letters = line.chars();
    match letters.next() {
        // A word in capitals is a name of SQL, not the beginning of a sentence.
        Some(first) if letters.clone().next().is_some_and(char::is_lowercase) => {
            first.to_lowercase().chain(letters).collect()
        }
        _ => line,
    }
}

/// Returns whether an aggregate function is used anywhere in an expression.
pub(super) fn has_aggregate(expr: &Expr) -> bool {
    expr.exists(|part| Ok(matches!(part, Expr::AggregateFunction(_)))).is_ok_and(|found| found)
}

/// Refuses what cannot be repeated, and what needs more than one row or one input.
fn refuse(expr: &Expr) -> Result<(), String> {
    let mut refused = None;
    let walk = expr.apply(|part| {
        refused = match part {
            Expr::ScalarFunction(call) if call.func.signature().volatility != Volatility::Immutable => Some(format!(
                "`{}` gives another answer each time, but a batch that is replayed after a failure has to give the same; take time and ids from the data",
                call.func.name()
            )),
            Expr::WindowFunction(_) => Some("window functions (OVER) are not possible in a stream of rows".into()),
            Expr::ScalarSubquery(_) | Expr::Exists(_) | Expr::InSubquery(_) | Expr::SetComparison(_) => {
                Some("subqueries are not possible in an expression".into())
            }
            Expr::Placeholder(placeholder) => Some(format!("`{}` stands for nothing here", placeholder.id)),
            _ => None,
        };
        Ok(if refused.is_some() { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    walk.map_err(|error| plain(&error))?;
    refused.map_or(Ok(()), Err)
}

/// Returns a schema whose columns may all be NULL and carry no metadata, so that schemas differ only where it matters.
pub(super) fn normal(schema: &Schema) -> SchemaRef {
    let fields = schema.fields().iter().map(|field| Field::new(field.name(), field.data_type().clone(), true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

#[cfg(test)]
mod tests {
    use arrow::array::{AsArray, Float64Array, Int64Array, StringArray};
    use arrow::datatypes::Float64Type;

    use super::*;

    fn flights() -> RecordBatch {
        let schema = Arc::new(Schema::new(vec![
            Field::new("carrier", DataType::Utf8, true),
            Field::new("dep_delay", DataType::Int64, true),
            Field::new("Distance", DataType::Float64, true),
        ]));
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from(vec![Some("UA"), Some("AA"), None])),
            Arc::new(Int64Array::from(vec![Some(90), None, Some(-5)])),
            Arc::new(Float64Array::from(vec![1400.0, 1.0, 2.0])),
        ];
        RecordBatch::try_new(schema, columns).unwrap()
    }

    fn scope() -> Scope {
        Scope::new(&flights().schema()).unwrap()
    }

    #[test]
    fn types_are_coerced_and_null_stays_null() {
        let hours = scope().expression("dep_delay / 60.0 AS hours").unwrap();
        assert_eq!((hours.name.as_str(), &hours.data_type), ("hours", &DataType::Float64));
        let column = hours.evaluate(&flights()).unwrap();
        let hours: Vec<Option<f64>> = column.as_primitive::<Float64Type>().iter().collect();
        assert_eq!(hours, [Some(1.5), None, Some(-5.0 / 60.0)]);
    }

    #[test]
    fn conditions_read_like_sql() {
        for (text, expected) in [
            ("dep_delay > 60", [Some(true), None, Some(false)]),
            ("carrier IN ('UA', 'DL') OR carrier IS NULL", [Some(true), Some(false), Some(true)]),
            ("UPPER(carrier) LIKE 'A%' AND Distance < 10", [Some(false), Some(true), None]),
            ("dep_delay BETWEEN -10 AND 0 OR substr(carrier, 1, 1) = 'U'", [Some(true), None, Some(true)]),
            ("CASE WHEN dep_delay > 0 THEN 'late' ELSE 'ok' END = 'late'", [Some(true), Some(false), Some(false)]),
        ] {
            let mask = scope().condition(text).unwrap().evaluate(&flights()).unwrap();
            assert_eq!(mask.as_boolean().iter().collect::<Vec<_>>(), expected, "{text}");
        }
    }

    #[test]
    fn an_unknown_name_comes_with_the_nearest_known_one() {
        assert_eq!(
            scope().expression("dep_dely + 1").unwrap_err(),
            "unknown column `dep_dely`, did you mean `dep_delay`? (columns: carrier, dep_delay, Distance)"
        );
        assert_eq!(scope().expression("uper(carrier)").unwrap_err(), "unknown function `uper`, did you mean `upper`?");
        let subscript = scope().expression("carrier[1]").unwrap_err();
        assert_eq!(subscript, "subscripts and fields, such as `a[1]` and `a.b`, cannot be used in expressions");
        let map = scope().expression("MAP {'a': dep_delay}").unwrap_err();
        assert_eq!(map, "MAP cannot be used in expressions");
    }

    #[test]
    fn what_a_replay_could_not_repeat_is_refused() {
        for text in ["now()", "random() < 0.5", "uuid()", "current_date", "current_time()"] {
            let error = scope().expression(text).unwrap_err();
            assert!(error.contains("gives another answer each time"), "{text}: {error}");
        }
    }

    #[test]
    fn what_does_not_belong_into_an_expression_is_refused() {
        for (text, part) in [
            ("count(*)", "belongs into the `columns`"),
            ("row_number() OVER ()", "unknown function `row_number`"),
            ("(SELECT 1)", "subqueries"),
            ("dep_delay +", "expected"),
            ("dep_delay 1", "end of expression"),
            ("NULL", "always NULL"),
        ] {
            let error = scope().expression(text).unwrap_err();
            assert!(error.to_lowercase().contains(&part.to_lowercase()), "{text}: {error}");
        }
        let error = scope().condition("dep_delay + 1").unwrap_err();
        assert_eq!(error, "a condition is true or false, but `dep_delay + 1` is of type bigint");
    }

    #[test]
    fn an_overflow_is_an_error() {
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("a", Arc::new(Int64Array::from(vec![Some(1), None, Some(i64::MAX)]))),
            ("i", Arc::new(arrow::array::Int32Array::from(vec![2, 3, i32::MAX]))),
        ];
        let batch = RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, c)| (n, c, true))).unwrap();
        let scope = Scope::new(&batch.schema()).unwrap();
        for text in ["a + 1", "a * 2", "-10 - a", "upper(CAST(a + i AS TEXT))", "CASE WHEN a * i > 5 THEN 1 ELSE 2 END"]
        {
            let error = scope.expression(text).unwrap().evaluate(&batch).unwrap_err();
            assert!(error.message().starts_with(&format!("`{text}`: ")), "{error}");
            scope.expression(text).unwrap().evaluate(&batch.slice(0, 2)).unwrap();
        }
        scope.expression("a * 1.5 + i").unwrap().evaluate(&batch).unwrap();
        let error = scope.expression("a + (9223372036854775807 + 1)").unwrap_err();
        assert!(error.to_lowercase().contains("overflow"), "{error}");
    }

    #[test]
    fn an_error_of_the_data_names_the_expression() {
        let error = scope().expression("dep_delay / 0").unwrap().evaluate(&flights()).unwrap_err();
        assert!(error.message().starts_with("`dep_delay / 0`: "), "{error}");
    }
}
