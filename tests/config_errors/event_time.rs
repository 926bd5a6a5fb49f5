//! What goes by event time, behind sources that have none.

use super::*;
use piton::Registry;

/// An operator of the file behind two sources of made-up rows; `$` stands for what the left one has besides.
fn job(left: &str, operator: &str) -> String {
    format!(
        "[sources.a]\ntype = \"generate\"\nrows = 9\n{left}\n[sources.b]\ntype = \"generate\"\nrows = 9\n\
         event_time = \"time\"\n[operators.some]\ntype = \"filter\"\ninputs = [\"a\"]\nwhere = \"id > 1\"\n\
         [operators.it]\n{operator}\n[sinks.out]\ntype = \"blackhole\"\ninputs = [\"it\"]\n"
    )
}

const SOME: &str = "inputs = [\"some\"]";
const COUNTS: &str = "type = \"aggregate\"\ncolumns = [\"count(*) AS n\"]";

fn load_job(left: &str, operator: &str) -> Result<(), Error> {
    let text = job(left, operator);
    load_text(&text, Path::new("job.toml"), &Overrides::default(), &Registry::stock()).map(|_| ())
}

#[test]
fn what_would_wait_for_the_end_is_refused_where_it_stands() {
    for (operator, place, option) in [
        (format!("{COUNTS}\n{SOME}\nwindow = {{ tumbling = \"1h\" }}"), "job.toml:17:1:", "window"),
        (format!("type = \"deduplicate\"\nby = [\"key\"]\n{SOME}\nwithin = \"1h\""), "job.toml:17:10", "within"),
        (
            format!(
                "type = \"join\"\ninputs = [\"b\", \"named\"]\non = [\"key\"]\nwithin = \"1h\"\n\
                 [operators.named]\ntype = \"select\"\n{SOME}\ncolumns = [\"key\", \"id AS other\"]"
            ),
            "job.toml:17:10",
            "within",
        ),
    ] {
        let error = load_job("", &operator).unwrap_err();
        let [line] = error.lines() else { panic!("{error}") };
        assert!(line.starts_with(place), "{line}");
        assert!(
            line.contains(&format!("`{option}` goes by event time, but no row that comes from \"a\" has one")),
            "{line}"
        );
        assert!(line.contains("set `event_time` there"), "{line}");
        if !operator.contains("join") {
            load_job("event_time = \"time\"", &operator).unwrap();
        }
    }
}

#[test]
fn what_does_not_wait_is_let_pass() {
    for operator in [
        format!("{COUNTS}\n{SOME}"),
        format!("{COUNTS}\n{SOME}\nwindow = {{ tumbling = \"1h\" }}\ntime = \"processing\""),
        format!("{COUNTS}\n{SOME}\nwindow = {{ count = 3 }}"),
        format!("{COUNTS}\ninputs = [\"b\"]\nwindow = {{ tumbling = \"1h\" }}"),
        format!("type = \"deduplicate\"\nby = [\"key\"]\n{SOME}"),
    ] {
        load_job("", &operator).unwrap_or_else(|error| panic!("{operator}\n{error}"));
    }
}
