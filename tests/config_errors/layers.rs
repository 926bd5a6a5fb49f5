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
fn a_mistake_in_the_environment() {
    let environment = [("PITON__CHECKPOINT__INTERVAL".to_string(), "10".to_string())].into();
    let overrides = Overrides { environment, set: Vec::new() };
    let place = "environment variable PITON__CHECKPOINT__INTERVAL: ";
    check_with(GOOD, &overrides, &[(place, &["`10` has no unit"])]);
}
