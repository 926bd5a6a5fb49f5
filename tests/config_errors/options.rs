//! Options that a kind cannot read.

use super::*;

#[test]
fn unknown_to_the_kind() {
    broken(
        "limit = 10",
        "limit = 10\nlimmit = 1",
        &[("job.toml:8:1", &["source \"ticks\": unknown option \"limmit\"; did you mean \"limit\"?"])],
    );
}

#[test]
fn unknown_to_a_kind_that_does_not_mind() {
    let words: &[&str] = &[
        "operator \"words\": unknown option \"atmost\"; did you mean \"at_most\"?",
        "(known: separator, at_most, stops)",
    ];
    broken("separator = \" \"", "separator = \" \"\natmost = 3", &[("job.toml:12:1", words)]);
    broken(
        "inputs = [\"words\"]",
        "inputs = [\"words\"]\nby = 3",
        &[("job.toml:15:1", &["operator \"counts\": unknown option \"by\""])],
    );
}

#[test]
fn a_typo_in_an_option_of_the_engine() {
    broken(
        "separator = \" \"",
        "separator = \" \"\nparalelism = 3",
        &[("job.toml:12:1", &["\"paralelism\"; did you mean \"parallelism\"?"])],
    );
}

#[test]
fn missing() {
    broken("separator = \" \"\n", "", &[("job.toml:8:12", &["operator \"words\": option \"separator\" is missing"])]);
}

#[test]
fn of_another_type() {
    broken(
        "separator = \" \"",
        "separator = 5",
        &[("job.toml:11:13", &["operator \"words\": expected text in quotes, not 5"])],
    );
    broken("limit = 10", "limit = -1", &[("job.toml:7:9", &["expected a whole number that is not negative, not -1"])]);
}

#[test]
fn nested() {
    broken(
        "limit = 10",
        "limit = 10\nstart = { ofset = 1 }",
        &[("job.toml:8:11", &["unknown option \"ofset\"; did you mean \"offset\"?"])],
    );
    broken("limit = 10", "limit = 10\n[sources.ticks.start]\noffset = true", &[("job.toml:9:10", &["not true"])]);
}

#[test]
fn nested_in_a_list() {
    broken(
        "separator = \" \"",
        "separator = \" \"\nstops = [{ word = \"a\" }, { word = \"b\", lang = \"en\" }]",
        &[("job.toml:12:40", &["operator \"words\": unknown option \"lang\""])],
    );
}

#[test]
fn found_by_the_kind_beside_one_that_it_does_not_know() {
    broken(
        "type = \"numbers\"\nlimit = 10",
        "type = \"files\"\npath = \"\"\ncolunms = [\"a\"]",
        &[("job.toml:7:8", &["the path is empty"]), ("job.toml:8:1", &["did you mean \"columns\"?"])],
    );
}

#[test]
fn what_a_kind_finds_is_shown_where_it_stands() {
    let files = "type = \"files\"\npath = \"\"\ncolumns = [\"a\", \"b?\",\n  \"c?\"]\ndelimiter = \";;\"";
    broken(
        "type = \"numbers\"\nlimit = 10",
        files,
        &[
            ("job.toml:7:8", &["source \"ticks\": the path is empty"]),
            ("job.toml:8:17", &["there is no column \"b?\""]),
            ("job.toml:9:3", &["there is no column \"c?\""]),
            ("job.toml:10:13", &["a delimiter is one character"]),
        ],
    );
}

#[test]
fn behind_something_that_is_wrong() {
    let text =
        GOOD.replace("type = \"numbers\"", "type = \"nmbers\"").replace("separator = \" \"", "separator = 1\nx = 2");
    check(
        &text,
        &[
            ("job.toml:6:8", &["did you mean \"numbers\"?"]),
            ("job.toml:11:13", &["not 1"]),
            ("job.toml:12:1", &["unknown option \"x\""]),
        ],
    );
}

#[test]
fn a_source_that_is_never_waited_for() {
    broken(
        "limit = 10",
        "limit = 10\nidle_timeout = \"0s\"",
        &[("job.toml:8:16", &["source \"ticks\": idle_timeout must be longer than 0; leave it out to wait for ever"])],
    );
}

#[test]
fn a_source_that_may_be_ahead_of_none() {
    broken(
        "limit = 10",
        "limit = 10\nmax_drift = \"0s\"",
        &[(
            "job.toml:8:13",
            &["source \"ticks\": max_drift must be longer than 0; leave it out to wait for no other source"],
        )],
    );
}
