//! A topology file that is wrong is refused with every mistake at once, each with its line, the nearest name that
//! would have been right, and what to do. Nothing is created.

use std::path::Path;
use std::sync::Arc;

use piton::config::Overrides;
use piton::topology::{Registry, load, load_text};
use piton::{Error, ErrorKind};
use piton_actors::blueprint::{
    Fault, KindDoc, OptionDoc, Options, Site, SourceBlueprint, SourceKind, read_options, source_blueprint,
};
use piton_actors::{
    Context, Either, Feed, InputRef, Key, Operator, Progress, Result, Rows, Sink, Source, Subtask, WindowId,
};
use serde::Deserialize;

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Numbers {
    limit: u64,
    #[serde(default)]
    start: Start,
}

#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Start {
    #[serde(default)]
    offset: u64,
}

impl Source for Numbers {
    type Out = u64;
    type Position = u64;

    async fn open(&mut self, _position: Option<u64>, _subtask: &Subtask) -> Result {
        Ok(())
    }

    async fn poll(&mut self, _feed: &mut Feed<u64>) -> Result<Progress> {
        Ok(Progress::Done)
    }

    fn position(&self) -> u64 {
        self.limit + self.start.offset
    }
}

/// A kind with options of its own, which checks more than their types.
struct Files;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FilesOptions {
    path: String,
    #[serde(default)]
    columns: Vec<String>,
    #[serde(default)]
    delimiter: Option<String>,
}

impl SourceKind for Files {
    fn doc(&self) -> KindDoc {
        let option = |name, doc| OptionDoc { name, default: None, doc };
        let options = vec![option("path", "The file."), option("columns", "What to read."), option("delimiter", "…")];
        KindDoc { doc: "Reads a file.", options }
    }

    fn plan(&self, options: &mut Options<'_>, _site: &Site) -> Result<SourceBlueprint, Vec<Fault>> {
        let options: FilesOptions = read_options(options)?;
        let mut faults = Vec::new();
        for (index, column) in options.columns.iter().enumerate() {
            if column.contains('?') {
                faults.push(Fault::new(format!("columns[{index}]"), format!("there is no column \"{column}\"")));
            }
        }
        if options.path.is_empty() {
            faults.push(Fault::new("path", "the path is empty; name a file"));
        }
        if options.delimiter.is_some_and(|delimiter| delimiter.len() != 1) {
            faults.push(Fault::new("delimiter", "a delimiter is one character"));
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        let mut blueprint = source_blueprint(|| Ok(Numbers { limit: 0, start: Start::default() }))?;
        blueprint.max_parallelism = Some(2);
        Ok(blueprint)
    }
}

/// Its options do not refuse unknown ones: the engine does.
#[derive(Clone, Deserialize)]
struct Split {
    separator: String,
    #[serde(default = "at_most")]
    at_most: u32,
}

fn at_most() -> u32 {
    10
}

impl Operator for Split {
    type In = u64;
    type Out = String;

    fn is_keyed(&self) -> bool {
        false
    }

    fn process(&mut self, _record: &u64, ctx: &mut Context<String>) -> Result {
        for _ in 0..self.at_most {
            ctx.emit(self.separator.clone());
        }
        Ok(())
    }
}

#[derive(Clone, Deserialize)]
struct Count;

impl Operator for Count {
    type In = String;
    type Out = u64;

    fn key(&self, record: &String) -> Key {
        Key::from(record)
    }

    fn is_keyed(&self) -> bool {
        true
    }

    fn process(&mut self, _record: &String, ctx: &mut Context<u64>) -> Result {
        ctx.emit(1);
        Ok(())
    }
}

#[derive(Clone, Deserialize)]
struct Match;

impl Operator for Match {
    type In = Either<u64, String>;
    type Out = u64;

    fn is_keyed(&self) -> bool {
        false
    }

    fn process(&mut self, _record: InputRef<'_, Self>, _ctx: &mut Context<u64>) -> Result {
        Ok(())
    }
}

#[derive(Clone, Deserialize)]
struct Print;

impl Sink for Print {
    type In = u64;
    type Pending = ();

    async fn open(&mut self, _pending: Vec<()>, _subtask: &Subtask) -> Result {
        Ok(())
    }

    async fn write(&mut self, _batch: Arc<Rows<u64>>) -> Result {
        Ok(())
    }

    async fn prepare(&mut self, _window: WindowId) -> Result<Option<()>> {
        Ok(None)
    }
}

fn registry() -> Registry {
    let mut registry = Registry::new();
    registry.source::<Numbers>("numbers").add_source_kind("files", Arc::new(Files));
    registry.operator::<Split>("split").operator::<Count>("count").operator::<Match>("match");
    registry.sink::<Print>("print");
    registry
}

fn refused_with(text: &str, overrides: &Overrides) -> Error {
    match load_text(text, Path::new("job.toml"), overrides, &registry()) {
        Ok(_) => panic!("this should be refused:\n{text}"),
        Err(error) => error,
    }
}

/// Checks that a text is refused with these lines and no others: each has a place and words that it must contain.
#[track_caller]
fn check(text: &str, expected: &[(&str, &[&str])]) {
    check_with(text, &Overrides::default(), expected);
}

#[track_caller]
fn check_with(text: &str, overrides: &Overrides, expected: &[(&str, &[&str])]) {
    let error = refused_with(text, overrides);
    assert_eq!(error.kind(), ErrorKind::Config);
    assert_eq!(error.kind().exit_code(), 2);
    assert_eq!(error.lines().len(), expected.len(), "other mistakes than expected:\n{error}");
    for (line, (place, words)) in error.lines().iter().zip(expected) {
        assert!(line.starts_with(place), "not at {place}:\n{line}");
        for word in *words {
            assert!(line.contains(word), "does not say {word:?}:\n{line}");
        }
    }
}

/// A topology that is right, to be broken.
const GOOD: &str = r#"[job]
parallelism = 2
[checkpoint]
interval = "1s"
[sources.ticks]
type = "numbers"
limit = 10
[operators.words]
type = "split"
inputs = ["ticks"]
separator = " "
[operators.counts]
type = "count"
inputs = ["words"]
[sinks.out]
type = "print"
inputs = ["counts"]
"#;

/// Checks what is said of the good topology once `from` is replaced.
#[track_caller]
fn broken(from: &str, to: &str, expected: &[(&str, &[&str])]) {
    assert!(GOOD.contains(from), "there is no {from:?} to replace");
    check(&GOOD.replace(from, to), expected);
}

#[test]
fn the_topology_to_be_broken_is_right() {
    let plan = load_text(GOOD, Path::new("job.toml"), &Overrides::default(), &registry()).unwrap();
    assert_eq!((plan.nodes.len(), plan.warnings.len()), (4, 0));
}

mod syntax {
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
}

mod settings {
    use super::*;

    #[test]
    fn an_unknown_table() {
        broken(
            "[checkpoint]",
            "[checkpoints]",
            &[("job.toml:3:2", &["unknown table \"checkpoints\"", "did you mean \"checkpoint\"?"])],
        );
    }

    #[test]
    fn an_unknown_option() {
        broken(
            "interval",
            "intervall",
            &[("job.toml:4:1", &["unknown option \"intervall\"; did you mean \"interval\"?", "min_pause"])],
        );
    }

    #[test]
    fn a_duration_without_a_unit() {
        broken("\"1s\"", "10", &[("job.toml:4:12", &["`10` has no unit; write \"10s\" or \"10ms\""])]);
        broken("\"1s\"", "\"10 secs\"", &[("job.toml:4:12", &["`secs` is not a unit of time", "ms, s, m, h, d"])]);
    }

    #[test]
    fn a_choice_that_there_is_not() {
        broken(
            "interval = \"1s\"",
            "mode = \"exactly_once\"",
            &[("job.toml:4:8", &["\"exactly_once\" is not one of the choices; did you mean \"exactly-once\"?"])],
        );
    }

    #[test]
    fn a_value_of_another_type() {
        broken(
            "parallelism = 2",
            "parallelism = \"two\"",
            &[("job.toml:2:15", &["expected a whole number", "not the text \"two\""])],
        );
        broken("parallelism = 2", "name = 5", &[("job.toml:2:8", &["expected text in quotes, not 5"])]);
        broken(
            "[checkpoint]\ninterval = \"1s\"",
            "[checkpoint]\nmode = 1",
            &[("job.toml:4:8", &["expected text in quotes"])],
        );
    }

    #[test]
    fn numbers_out_of_bounds() {
        broken("parallelism = 2", "parallelism = 0", &[("job.toml:2:15", &["job.parallelism must be at least 1"])]);
        broken("parallelism = 2", "key_groups = 0", &[("job.toml:2:14", &["job.key_groups must be at least 1"])]);
        broken("parallelism = 2", "key_groups = 99999", &[("job.toml:2:14", &["at most 32768"])]);
        broken(
            "parallelism = 2",
            "parallelism = 8\nkey_groups = 4",
            &[("job.toml:3:14", &["key_groups (4) is less than job.parallelism (8)", "raise key_groups"])],
        );
        broken("interval = \"1s\"", "interval = \"0s\"", &[("job.toml:4:12", &["must be longer than 0s"])]);
        broken("interval = \"1s\"", "max_concurrent = 0", &[("job.toml:4:18", &["must be at least 1"])]);
    }

    #[test]
    fn unaligned_checkpoints() {
        let unaligned = "alignment = \"unaligned\"";
        broken("interval = \"1s\"", unaligned, &[("job.toml:4:13", &["not available in this version", "\"aligned\""])]);
        let concurrent = format!("{unaligned}\nmax_concurrent = 2");
        broken("interval = \"1s\"", &concurrent, &[("job.toml:4:13", &["one at a time", "max_concurrent = 1"])]);
        broken(
            "interval = \"1s\"",
            "aligned_timeout = \"1s\"",
            &[("job.toml:4:19", &["remove checkpoint.aligned_timeout"])],
        );
    }

    #[test]
    fn sizes_and_rates_of_recovery() {
        let recovery = |lines: &str| format!("{GOOD}[recovery]\n{lines}\n");
        check(&recovery("journal = 64"), &[("job.toml:19:11", &["`64` has no unit; write \"64MiB\""])]);
        check(&recovery("journal = \"64mb\""), &[("job.toml:19:11", &["`mb` is not a unit of size", "MiB"])]);
        check(
            &recovery("journal = \"2GiB\""),
            &[("job.toml:19:11", &["(2GiB) is more than recovery.journal_total (1GiB)"])],
        );
        check(&recovery("backoff_multiplier = 0.5"), &[("job.toml:19:22", &["at least 1"])]);
        check(
            &recovery("initial_backoff = \"2m\""),
            &[("job.toml:19:19", &["(2m) is longer than recovery.max_backoff (1m)"])],
        );
        check(&recovery("strategy = \"exponential\""), &[("job.toml:19:12", &["did you mean \"exponential-delay\"?"])]);
        check(&recovery("attempts = \"many\""), &[("job.toml:19:12", &["neither a number nor \"unlimited\""])]);
        check(&recovery("jitter_factor = 2"), &[("job.toml:19:17", &["between 0 and 1"])]);
    }

    #[test]
    fn listening_off_loopback_without_a_token() {
        let text = format!("{GOOD}[http]\nlisten = \"0.0.0.0:80\"\n");
        check(&text, &[("job.toml:19:10", &["0.0.0.0 needs a token", "http.token"])]);
        let text = format!("{GOOD}[http]\nlisten = \"somewhere\"\n");
        check(&text, &[("job.toml:19:10", &["`somewhere` is not an address", "\"127.0.0.1:8080\""])]);
    }

    #[test]
    fn a_setting_where_a_table_should_be() {
        let text = format!("window = 5\n{GOOD}");
        check(&text, &[("job.toml:1:10", &["expected a table, not 5"])]);
    }
}

mod nodes {
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
        broken(
            "inputs = [\"words\"]\n",
            "",
            &[("job.toml:12:12", &["operator \"counts\" has no inputs; write inputs ="])],
        );
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
        broken(
            "inputs = [\"words\"]",
            "inputs = [\"out\"]",
            &[("job.toml:14:11", &["reads \"out\", which is a sink"])],
        );
    }

    #[test]
    fn an_output_that_there_is_not() {
        let words: &[&str] = &["reads \"words.late\"", "operator \"words\" has no output \"late\"", "\"words\""];
        broken("inputs = [\"words\"]", "inputs = [\"words.late\"]", &[("job.toml:14:11", words)]);
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
}

mod partitions {
    use super::*;

    #[test]
    fn parallelism_that_cannot_be() {
        broken(
            "limit = 10",
            "limit = 10\nparallelism = 0",
            &[("job.toml:8:15", &["source \"ticks\": parallelism must be at least 1"])],
        );
        broken("limit = 10", "limit = 10\nparallelism = \"2\"", &[("job.toml:8:15", &["not the text \"2\""])]);
        broken(
            "inputs = [\"words\"]",
            "inputs = [\"words\"]\nparallelism = 2000",
            &[("job.toml:15:15", &["parallelism 2000 is more than job.key_groups (1024)"])],
        );
    }

    #[test]
    fn more_subtasks_than_a_source_can_have() {
        let files = "type = \"files\"\npath = \"x\"\nparallelism = 3";
        broken(
            "type = \"numbers\"\nlimit = 10",
            files,
            &[("job.toml:8:15", &["parallelism 3 is more than the 2 that there can be"])],
        );
        let text = GOOD
            .replace("type = \"numbers\"\nlimit = 10", "type = \"files\"\npath = \"x\"")
            .replace("parallelism = 2", "parallelism = 8");
        let plan = load_text(&text, Path::new("job.toml"), &Overrides::default(), &registry()).unwrap();
        assert_eq!(plan.nodes[0].parallelism, 2, "the job's parallelism is bounded by what the source can have");
    }

    #[test]
    fn forward_between_unequal_parallelism() {
        broken(
            "separator = \" \"",
            "separator = \" \"\nparallelism = 3\npartition = \"forward\"",
            &[("job.toml:13:13", &["needs equal parallelism, but \"ticks\" has 2 and \"words\" has 3"])],
        );
    }

    #[test]
    fn a_partition_for_what_has_a_key() {
        broken(
            "inputs = [\"words\"]",
            "inputs = [\"words\"]\npartition = \"rebalance\"",
            &[("job.toml:15:13", &["operator \"counts\" has a key", "remove partition"])],
        );
        broken(
            "separator = \" \"",
            "separator = \" \"\npartition = \"broadcst\"",
            &[("job.toml:12:13", &["did you mean \"broadcast\"?"])],
        );
    }
}

mod options {
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
            "(known: separator, at_most)",
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
        broken(
            "separator = \" \"\n",
            "",
            &[("job.toml:8:12", &["operator \"words\": option \"separator\" is missing"])],
        );
    }

    #[test]
    fn of_another_type() {
        broken(
            "separator = \" \"",
            "separator = 5",
            &[("job.toml:11:13", &["operator \"words\": expected text in quotes, not 5"])],
        );
        broken(
            "limit = 10",
            "limit = -1",
            &[("job.toml:7:9", &["expected a whole number that is not negative, not -1"])],
        );
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
        let text = GOOD
            .replace("type = \"numbers\"", "type = \"nmbers\"")
            .replace("separator = \" \"", "separator = 1\nx = 2");
        check(
            &text,
            &[
                ("job.toml:6:8", &["did you mean \"numbers\"?"]),
                ("job.toml:11:13", &["not 1"]),
                ("job.toml:12:1", &["unknown option \"x\""]),
            ],
        );
    }
}

mod layers {
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
        check_with(
            GOOD,
            &set("sources.ticks.limit=few"),
            &[("--set sources.ticks.limit: ", &["not the text \"few\""])],
        );
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
}

#[test]
fn every_mistake_of_a_file_is_told_at_once() {
    let text = r#"
[checkpoints]
[job]
paralelism = 2
[recovery]
scope = "batches"
journal = 5
[sources.ticks]
type = "numbers"
[operators.words]
type = "split"
inputs = ["tcks"]
[operators.words2]
type = "splitt"
inputs = ["ticks"]
[sinks.out]
type = "print"
inputs = ["words"]
colour = "red"
"#;
    check(
        text,
        &[
            ("job.toml:2:2", &["unknown table \"checkpoints\""]),
            ("job.toml:4:1", &["did you mean \"parallelism\"?"]),
            ("job.toml:6:9", &["\"batches\" is not one of the choices; did you mean \"batch\"?"]),
            ("job.toml:7:11", &["`5` has no unit"]),
            ("job.toml:8:10", &["\"limit\" is missing"]),
            ("job.toml:10:12", &["\"separator\" is missing"]),
            ("job.toml:12:11", &["did you mean \"ticks\"?"]),
            ("job.toml:14:8", &["did you mean \"split\"?"]),
            ("job.toml:19:1", &["unknown option \"colour\""]),
        ],
    );
}

#[test]
fn a_file_that_is_not_there_is_named_with_the_one_that_is() {
    let folder = std::env::temp_dir().join(format!("piton-config-errors-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("flights.toml"), GOOD).unwrap();
    let error = load(&folder.join("flihgts.toml"), &Overrides::default(), &registry()).err().unwrap();
    let plan = load(&folder.join("flights.toml"), &Overrides::default(), &registry()).unwrap();
    let left: Vec<_> = std::fs::read_dir(&folder).unwrap().flatten().map(|entry| entry.file_name()).collect();
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(error.to_string().contains("did you mean \"flights.toml\"?"), "{error}");
    assert_eq!(plan.settings.store.path, folder.join(".piton/flights"));
    assert_eq!(left, ["flights.toml"], "loading created something");
}
