//! Mistakes in variables, in the environment and on the command line.

use super::*;

#[test]
fn a_variable_that_is_not_set() {
    let words: &[&str] = &["environment variable \"SEP\" is not set", "${SEP:-default}"];
    broken("separator = \" \"", "separator = \"${SEP}\"", &[("job.toml:11:13", words)]);
}

#[test]
fn a_mistake_on_the_command_line() {
    let set = |assignment: &str| Overrides::default().set(assignment);
    check_with(
        GOOD,
        &set("checkpoint.interval=soon"),
        &[("--set checkpoint.interval: ", &["`soon` is not a length of time"])],
    );
    check_with(
        GOOD,
        &set("checkpoint.intervall=1s"),
        &[("--set checkpoint.intervall: ", &["did you mean \"interval\"?"])],
    );
    check_with(GOOD, &set("sources.ticks.limit=few"), &[("--set sources.ticks.limit: ", &["not the text \"few\""])]);
    check_with(
        GOOD,
        &set("chekpoint.interval=1s"),
        &[("--set chekpoint.interval: ", &["did you mean \"checkpoint\"?"])],
    );
    check_with(GOOD, &set("checkpoint.interval"), &[("--set checkpoint.interval: ", &["there is no \"=\""])]);
}

#[test]
fn variables_are_replaced_in_what_is_set_on_the_command_line() {
    let environment = [("PAUSE".to_string(), "soon".to_string()), ("LIMIT".to_string(), "few".to_string())].into();
    let overrides = Overrides { environment, set: vec!["checkpoint.interval=${PAUSE}".into()] };
    let place = "--set checkpoint.interval: ";
    check_with(GOOD, &overrides, &[(place, &["`soon` is not a length of time"])]);
    let overrides = Overrides { set: vec!["sources.ticks.limit=\"${LIMIT}\"".into()], ..overrides };
    check_with(GOOD, &overrides, &[("--set sources.ticks.limit: ", &["not the text \"few\""])]);
    let overrides = Overrides { set: vec!["checkpoint.interval=${NOBODY}".into()], ..overrides };
    let not_set: &[&str] = &["environment variable \"NOBODY\" is not set"];
    let not_read: &[&str] = &["`${NOBODY}` is not a length of time"];
    check_with(GOOD, &overrides, &[(place, not_set), (place, not_read)]);
}

#[test]
fn a_mistake_in_the_environment() {
    let environment = [("PITON__CHECKPOINT__INTERVAL".to_string(), "10".to_string())].into();
    let overrides = Overrides { environment, set: Vec::new() };
    let place = "environment variable PITON__CHECKPOINT__INTERVAL: ";
    check_with(GOOD, &overrides, &[(place, &["`10` has no unit"])]);
}

/// Every part is a table in a table: without a limit, whoever walks through them runs out of stack.
#[test]
fn an_override_that_is_nested_without_end() {
    let deep = vec!["a"; 50_000];
    let words: &[&str] = &["has 50000 parts", "table.option"];
    check_with(GOOD, &Overrides::default().set(format!("{}=1", deep.join("."))), &[("--set a.a.a", words)]);
    let words: &[&str] = &["has 50001 parts"];
    let environment = [(format!("PITON__X__{}", deep.join("__")), "1".to_string())].into();
    let overrides = Overrides { environment, set: Vec::new() };
    check_with(GOOD, &overrides, &[("environment variable PITON__X__a", words)]);
}
