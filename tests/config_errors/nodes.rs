//! Sources, operators and sinks that do not make a topology.

use super::*;

#[test]
fn an_unknown_type() {
    let words: &[&str] = &[
        "operator \"counts\" has type \"cuont\", which is not registered",
        "did you mean \"count\"?",
        "(registered: count, match, split)",
    ];
    broken("type = \"count\"", "type = \"cuont\"", &[("job.toml:13:8", words)]);
}

#[test]
fn a_type_of_another_role() {
    let words: &[&str] = &["not registered for sinks, only for sources", "(registered: print)"];
    broken("type = \"print\"", "type = \"files\"", &[("job.toml:16:8", words)]);
}

#[test]
fn no_type() {
    broken("type = \"count\"\n", "", &[("job.toml:12:12", &["operator \"counts\" has no type; write type ="])]);
    broken(
        "type = \"count\"",
        "typ = \"count\"",
        &[("job.toml:13:1", &["unknown option \"typ\"; did you mean \"type\"?"])],
    );
    broken("type = \"count\"", "type = 3", &[("job.toml:13:8", &["expected text in quotes, not 3"])]);
}

#[test]
fn no_inputs() {
    broken("inputs = [\"words\"]\n", "", &[("job.toml:12:12", &["operator \"counts\" has no inputs; write inputs ="])]);
    broken("inputs = [\"words\"]", "inputs = []", &[("job.toml:14:10", &["has no inputs"])]);
    broken("inputs = [\"words\"]", "input = [\"words\"]", &[("job.toml:14:1", &["did you mean \"inputs\"?"])]);
    broken(
        "inputs = [\"words\"]",
        "inputs = \"words\"",
        &[("job.toml:14:10", &["expected a list, not the text \"words\""])],
    );
}

#[test]
fn an_input_that_there_is_not() {
    let words: &[&str] =
        &["operator \"counts\" reads \"wrods\", which the topology does not define", "did you mean \"words\"?"];
    broken("inputs = [\"words\"]", "inputs = [\"wrods\"]", &[("job.toml:14:11", words)]);
}

#[test]
fn a_sink_as_an_input() {
    broken("inputs = [\"words\"]", "inputs = [\"out\"]", &[("job.toml:14:11", &["reads \"out\", which is a sink"])]);
}

#[test]
fn an_output_that_there_is_not() {
    let words: &[&str] = &["reads \"words.late\"", "operator \"words\" has no output \"late\"", "\"words\""];
    broken("inputs = [\"words\"]", "inputs = [\"words.late\"]", &[("job.toml:14:11", words)]);
    let of_a_source = "operator \"words\" reads \"ticks.late\", but source \"ticks\" has no output \"late\"";
    broken("inputs = [\"ticks\"]", "inputs = [\"ticks.late\"]", &[("job.toml:10:11", &[of_a_source])]);
}

#[test]
fn a_side_output_that_there_is_not() {
    let words: &[&str] = &[
        "sink \"out\" reads \"counts.rrae\", but operator \"counts\" has no output \"rrae\"",
        "did you mean \"rare\"?",
        "(it has: counts, counts.rare)",
    ];
    broken("inputs = [\"counts\"]", "inputs = [\"counts\", \"counts.rrae\"]", &[("job.toml:17:21", words)]);
}

#[test]
fn a_side_output_of_another_type() {
    let words: &[&str] = &["sink \"out\"", "carries String, but u64 is needed"];
    broken("inputs = [\"counts\"]", "inputs = [\"counts.rare\"]", &[("job.toml:17:11", words)]);
}

#[test]
fn a_source_with_inputs() {
    broken("limit = 10", "limit = 10\ninputs = [\"words\"]", &[("job.toml:8:1", &["a source reads no other"])]);
}

#[test]
fn a_circle() {
    let words: &[&str] = &["in a circle:", "words -> counts -> words"];
    broken("inputs = [\"ticks\"]", "inputs = [\"ticks\", \"counts\"]", &[("job.toml:10:10", words)]);
    broken("inputs = [\"words\"]", "inputs = [\"counts\"]", &[("job.toml:14:10", &["counts -> counts"])]);
}

#[test]
fn a_name_that_is_taken() {
    broken("[sinks.out]", "[sinks.words]", &[("job.toml:15:8", &["\"words\" is taken by [operators.words]"])]);
}

#[test]
fn a_name_that_cannot_be() {
    broken("[sinks.out]", "[sinks.\"out put\"]", &[("job.toml:15:8", &["\"out put\" is not made of letters"])]);
}

#[test]
fn brackets_too_many_or_a_name_too_few() {
    broken("[sinks.out]", "[[sinks.out]]", &[("job.toml:15:9", &["single brackets: [sinks.out]"])]);
    let words: &[&str] = &["is not a table; name the sink: [sinks.NAME]"];
    broken("[sinks.out]", "[sinks]", &[("job.toml:16:1", words), ("job.toml:17:1", words)]);
}

#[test]
fn no_source() {
    check("[job]\n", &[("job.toml", &["the topology has no source; write [sources.NAME]"])]);
    check("", &[("job.toml", &["has no source"])]);
}

#[test]
fn an_input_of_another_type() {
    let words: &[&str] = &["sink \"out\"", "input \"words\" carries String, but u64 is needed"];
    broken("inputs = [\"counts\"]", "inputs = [\"words\"]", &[("job.toml:17:11", words)]);
}

#[test]
fn inputs_too_few_or_the_wrong_way_round() {
    let matching = |inputs: &str| format!("{GOOD}[operators.m]\ntype = \"match\"\ninputs = {inputs}\n");
    check(&matching("[\"ticks\"]"), &[("job.toml:20:10", &["operator \"m\": takes 2 inputs, not 1"])]);
    check(
        &matching("[\"words\", \"ticks\"]"),
        &[
            ("job.toml:20:11", &["input \"words\" carries String, but u64 is needed"]),
            ("job.toml:20:20", &["input \"ticks\" carries u64, but String is needed"]),
        ],
    );
}
