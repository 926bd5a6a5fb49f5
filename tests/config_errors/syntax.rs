//! Files that are not TOML.

use super::*;

#[test]
fn text_without_quotes() {
    let expected: &[(&str, &[&str])] = &[("job.toml:6:8", &["text needs quotes: \"numbers\""])];
    broken("type = \"numbers\"", "type = numbers", expected);
}

#[test]
fn a_duration_without_quotes_and_a_mistake_elsewhere() {
    let text = GOOD.replace("interval = \"1s\"", "interval = 1s").replace("limit", "limi");
    check(
        &text,
        &[
            ("job.toml:4:12", &["text needs quotes: \"1s\""]),
            ("job.toml:5:10", &["source \"ticks\"", "option \"limit\" is missing"]),
            ("job.toml:7:1", &["unknown option \"limi\"; did you mean \"limit\"?"]),
        ],
    );
}

#[test]
fn a_key_given_twice() {
    broken("limit = 10", "limit = 10\nlimit = 11", &[("job.toml:8:1", &["\"limit\" is given twice"])]);
}

#[test]
fn a_table_given_twice() {
    broken(
        "[sinks.out]",
        "[sources.ticks]\nx = 1\n[sinks.out]",
        &[("job.toml:15:10", &["\"ticks\" is given twice"]), ("job.toml:16:1", &["unknown option \"x\""])],
    );
}

#[test]
fn a_header_that_is_not_closed() {
    broken("[sinks.out]", "[sinks.out", &[("job.toml:15:11", &["unclosed table", "`]`"])]);
}

#[test]
fn a_value_that_is_missing() {
    broken("limit = 10", "limit =", &[("job.toml:7:8", &["a value is missing"])]);
}

#[test]
fn a_number_that_is_too_large() {
    let expected: &[(&str, &[&str])] = &[("job.toml:7:9", &["99999999999999999999 is too large"])];
    let error = refused_with(&GOOD.replace("limit = 10", "limit = 99999999999999999999"), &Overrides::default());
    assert!(
        error.lines().iter().any(|line| line.contains(expected[0].0) && line.contains(expected[0].1[0])),
        "{error}"
    );
}
