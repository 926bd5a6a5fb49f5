//! `check`, `explain` and `list`: nothing runs, and nothing is created.

use super::*;

#[test]
fn check_creates_nothing_and_says_that_the_job_is_ready() {
    let job = Job::new(10);
    let before = job.everything();
    let ended = job.piton(&["check", "job.toml"]).with(0);
    ended.says(&["job.toml: job \"job\" is ready to run"]);
    assert_eq!(ended.out, "");
    assert_eq!(job.everything(), before);
}

#[test]
fn check_tells_every_mistake_at_once_with_its_place() {
    let toml = topology(10, "rowss = 3").replace("type = \"csv\"", "type = \"csvv\"").replace("\"20ms\"", "\"soon\"");
    let job = Job::with(&toml);
    let ended = job.piton(&["check", "job.toml"]).with(2);
    ended.says(&[
        "error: job.toml:5:12: ",
        "`soon`",
        "error: job.toml:10:",
        "rowss",
        "error: job.toml:16:8: ",
        "\"csvv\"",
    ]);
    assert_eq!(ended.err.lines().count(), 3, "{}", ended.err);
    assert!(ended.err.lines().all(|line| line.starts_with("error: job.toml:")), "{}", ended.err);
}

#[test]
fn the_file_may_be_left_out() {
    let job = Job::new(10);
    fs::rename(job.path("job.toml"), job.path("config.toml")).unwrap();
    job.piton(&["check"]).with(0).says(&["config.toml: job \"config\" is ready"]);
    job.piton(&["run"]).with(0).says(&["try next:", "run --resume none", "sources.numbers.rate=1/s", "kill -9"]);
    job.piton(&["checkpoints", "show", "latest"]).with(0).prints(&["region numbers, window "]);
}

#[test]
fn the_environment_and_the_command_line_are_laid_over_the_file() {
    let job = Job::new(10);
    let explained = |variable: &str, args: &[&str]| {
        let mut command = job.command(&[&["explain", "job.toml"], args].concat());
        let output = command.env("PITON__CHECKPOINT__INTERVAL", variable).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(explained("300ms", &[]).contains("a checkpoint is taken every 300ms"));
    assert!(explained("300ms", &["--set", "checkpoint.interval=700ms"]).contains("taken every 700ms"));
}

#[test]
fn explain_shows_the_plan_and_the_guarantees_in_every_format() {
    let job = Job::new(10);
    let before = job.everything();
    let text = job.piton(&["explain", "job.toml"]).with(0);
    text.prints(&["source numbers: generate", "sink rows: csv", "numbers -> odd -> rows: exactly-once"]);
    let dot = job.piton(&["explain", "job.toml", "--format", "dot"]).with(0);
    assert!(dot.out.starts_with("digraph \"job\" {"), "{}", dot.out);
    let mermaid = job.piton(&["explain", "job.toml", "--format", "mermaid"]).with(0);
    assert!(mermaid.out.starts_with("flowchart LR"), "{}", mermaid.out);
    assert_eq!(job.everything(), before);
}

#[test]
fn list_shows_all_types_or_the_options_of_one() {
    let job = Job::new(10);
    let all = job.piton(&["list"]).with(0);
    for name in ["generate", "filter", "aggregate", "csv", "blackhole"] {
        let is_first = |line: &str| line.split_whitespace().nth(1) == Some(name);
        assert!(all.out.lines().any(is_first), "{name} is not listed:\n{}", all.out);
    }
    job.piton(&["list", "generate"]).with(0).prints(&["source generate: ", "rows", "keys", "seed", "parallelism"]);
    job.piton(&["list", "csv"]).with(0).prints(&["source csv: ", "sink csv: ", "(required)"]);
    job.piton(&["list", "genrate"]).with(2).says(&["there is no type \"genrate\"; did you mean \"generate\"?"]);
}
