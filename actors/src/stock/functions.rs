//! The SQL functions that expressions may use.
//!
//! All of DataFusion's scalar functions of the families that are compiled in are here, including those whose answer
//! depends on the moment or on chance: they are known only so that they can be refused by name, because a replay of
//! a batch has to give the same answer again.
//!
//! Of the aggregate functions only those are here whose result does not depend on how the rows were cut into batches:
//! their state of one batch, kept and taken up again, is exactly what they would have had without the cut. (The
//! correlation, covariance and regression functions, and the t-digest of the approximate percentiles, are not so.)

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, FieldRef};
use datafusion_common::config::ConfigOptions;
use datafusion_common::{Result, TableReference, plan_err};
use datafusion_expr::planner::{ContextProvider, ExprPlanner};
use datafusion_expr::{AggregateUDF, HigherOrderUDF, ScalarUDF, TableSource, WindowUDF};
use datafusion_functions::core::planner::CoreFunctionPlanner;
use datafusion_functions::datetime::planner::DatetimeFunctionPlanner;
use datafusion_functions::unicode::planner::UnicodeFunctionPlanner;
use datafusion_functions_aggregate as aggregates;
use datafusion_functions_aggregate::planner::AggregateFunctionPlanner;

/// What the SQL planner asks about: functions, but no tables, windows or variables.
pub(super) struct Functions {
    scalars: HashMap<String, Arc<ScalarUDF>>,
    aggregates: HashMap<String, Arc<AggregateUDF>>,
    planners: Vec<Arc<dyn ExprPlanner>>,
    options: ConfigOptions,
}

/// Returns the functions; they are collected once per process.
pub(super) fn functions() -> &'static Functions {
    static FUNCTIONS: LazyLock<Functions> = LazyLock::new(Functions::collect);
    &FUNCTIONS
}

impl Functions {
    fn collect() -> Functions {
        let mut scalars = HashMap::new();
        for function in datafusion_functions::all_default_functions() {
            for name in names(function.name(), function.aliases()) {
                scalars.insert(name, Arc::clone(&function));
            }
        }
        let mut kept = HashMap::new();
        for function in aggregate_functions() {
            for name in names(function.name(), function.aliases()) {
                kept.insert(name, Arc::clone(&function));
            }
        }
        let planners: Vec<Arc<dyn ExprPlanner>> = vec![
            Arc::new(AggregateFunctionPlanner),
            Arc::new(CoreFunctionPlanner::default()),
            Arc::new(DatetimeFunctionPlanner),
            Arc::new(UnicodeFunctionPlanner),
        ];
        Functions { scalars, aggregates: kept, planners, options: ConfigOptions::default() }
    }

    /// Returns the names of all functions, sorted.
    pub(super) fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.scalars.keys().chain(self.aggregates.keys()).map(String::as_str).collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}

fn names(name: &str, aliases: &[String]) -> Vec<String> {
    std::iter::once(name.to_lowercase()).chain(aliases.iter().map(|alias| alias.to_lowercase())).collect()
}

fn aggregate_functions() -> Vec<Arc<AggregateUDF>> {
    vec![
        aggregates::count::count_udaf(),
        aggregates::sum::sum_udaf(),
        aggregates::average::avg_udaf(),
        aggregates::min_max::min_udaf(),
        aggregates::min_max::max_udaf(),
        aggregates::variance::var_samp_udaf(),
        aggregates::variance::var_pop_udaf(),
        aggregates::stddev::stddev_udaf(),
        aggregates::stddev::stddev_pop_udaf(),
        aggregates::median::median_udaf(),
        aggregates::percentile_cont::percentile_cont_udaf(),
        aggregates::approx_distinct::approx_distinct_udaf(),
        aggregates::first_last::first_value_udaf(),
        aggregates::first_last::last_value_udaf(),
        aggregates::array_agg::array_agg_udaf(),
        aggregates::string_agg::string_agg_udaf(),
        aggregates::bit_and_or_xor::bit_and_udaf(),
        aggregates::bit_and_or_xor::bit_or_udaf(),
        aggregates::bit_and_or_xor::bit_xor_udaf(),
        aggregates::bool_and_or::bool_and_udaf(),
        aggregates::bool_and_or::bool_or_udaf(),
    ]
}

impl ContextProvider for Functions {
    fn get_table_source(&self, name: TableReference) -> Result<Arc<dyn TableSource>> {
        plan_err!("there are no tables to read from in an expression (`{name}`)")
    }

    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        &self.planners
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        self.scalars.get(name).cloned()
    }

    fn get_higher_order_meta(&self, _name: &str) -> Option<Arc<HigherOrderUDF>> {
        None
    }

    fn get_aggregate_meta(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        self.aggregates.get(name).cloned()
    }

    fn get_window_meta(&self, _name: &str) -> Option<Arc<WindowUDF>> {
        None
    }

    fn get_variable_type(&self, _names: &[String]) -> Option<DataType> {
        None
    }

    fn get_variable_field(&self, _names: &[String]) -> Option<FieldRef> {
        None
    }

    fn options(&self) -> &ConfigOptions {
        &self.options
    }

    fn udf_names(&self) -> Vec<String> {
        self.names().into_iter().filter(|name| self.scalars.contains_key(*name)).map(str::to_string).collect()
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        Vec::new()
    }

    fn udaf_names(&self) -> Vec<String> {
        self.names().into_iter().filter(|name| self.aggregates.contains_key(*name)).map(str::to_string).collect()
    }

    fn udwf_names(&self) -> Vec<String> {
        Vec::new()
    }
}
