//! What is written on the command line.

use super::*;

const COMMANDS: [&[&str]; 27] = [
    &[],
    &["run"],
    &["sim"],
    &["check"],
    &["explain"],
    &["new"],
    &["completions"],
    &["man"],
    &["list"],
    &["checkpoints"],
    &["checkpoints", "list"],
    &["checkpoints", "show"],
    &["checkpoints", "verify"],
    &["checkpoints", "diff"],
    &["savepoint"],
    &["savepoint", "create"],
    &["savepoint", "list"],
    &["savepoint", "drop"],
    &["stop"],
    &["state"],
    &["state", "list"],
    &["state", "get"],
    &["state", "export"],
    &["deadletters"],
    &["deadletters", "list"],
    &["deadletters", "show"],
    &["deadletters", "export"],
];

#[test]
fn every_command_has_help_with_an_example_on_stdout() {
    let job = Job::new(1);
    for command in COMMANDS {
        let help = job.piton(&[command, &["--help"]].concat()).with(0);
        help.prints(&["Usage:", "Example", &["  piton", command.first().unwrap_or(&"run")].join(" ")]);
        assert_eq!(help.err, "", "{command:?}");
    }
    job.piton(&["--version"]).with(0).prints(&["piton ", env!("CARGO_PKG_VERSION")]);
}

#[test]
fn mistakes_on_the_command_line_end_with_2_on_stderr() {
    let job = Job::new(1);
    let before = job.everything();
    for (args, words) in [
        (&["chek", "job.toml"][..], &["error: ", "'check'"][..]),
        (&["run", "job.toml", "--resum", "none"], &["error: ", "--resume"]),
        (&["run", "job.toml", "more"], &["error: ", "more"]),
        (&["explain", "job.toml", "--format", "dott"], &["error: ", "dot"]),
        (&["checkpoints", "show", "job.toml", "newest"], &["error: ", "newest", "latest"]),
        (&["run", "job.toml", "--discard-state"], &["error: ", "--discard-state", "--resume none"]),
        (&["run", "job.toml", "--resume", "yester.day"], &["error: ", "yester.day", "latest"]),
        (&["run", "job.toml", "--events", "no/such/folder/events"], &["error: ", "no/such/folder/events"]),
        (&["run", "job.toml", "--set", "checkpoint.intervall=1s"], &["error: ", "did you mean \"interval\"?"]),
        (&["check"], &["error: ", "config.toml"]),
        (&[], &["Usage:"]),
    ] {
        let ended = job.piton(args).with(2);
        ended.says(words);
        assert_eq!(ended.out, "", "{args:?}");
    }
    assert_eq!(job.everything(), before, "a mistake created something");
}

#[test]
fn a_log_level_that_there_is_not_is_a_mistake() {
    let job = Job::new(1);
    let output = job.command(&["list"]).env("PITON_LOG", "loud=very").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).starts_with("error: PITON_LOG=loud=very"));
}

/// Everything on stderr: the life of the job, what is said of it, panics, and what is wrong.
#[test]
fn with_a_format_for_programs_every_line_on_stderr_is_an_object() {
    let job = Job::new(20);
    let objects = |ended: &Ended| -> Vec<serde_json::Value> {
        let object = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let lines: Vec<serde_json::Value> = ended.err.lines().map(object).collect();
        for line in &lines {
            for field in ["timestamp", "level", "message", "target"] {
                assert!(line[field].is_string(), "no {field}: {line}");
            }
        }
        lines
    };
    let lines = objects(&job.piton(&["--log-format", "json", "run", "job.toml", "--set", "operators.x=1"]).with(2));
    assert!(lines.iter().all(|line| line["level"] == "ERROR") && !lines.is_empty(), "{lines:?}");
    let lines = objects(&job.piton(&["run", "job.toml", "--log-format=json"]).with(0));
    let committed = lines.iter().find(|line| line["message"] == "committed").expect("commits are logged");
    assert!(committed["window"].is_u64() && committed["region"].is_string(), "{committed}");
    assert!(lines.iter().any(|line| line["message"].as_str().unwrap().contains("has finished")), "{lines:?}");

    let mut command = job.command(&["run", "job.toml"]);
    let output = command.env("PITON_LOG_FORMAT", "json").output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.lines().all(|line| line.starts_with('{')) && said.contains("has finished before"), "{said}");
    let output = job.command(&["list"]).env("PITON_LOG_FORMAT", "xml").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).starts_with("error: PITON_LOG_FORMAT=xml"));
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let job = Job::new(1);
    for args in [&["explain", "job.toml"][..], &["list"], &["run", "job.toml", "--events", "-"]] {
        let mut child = job.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        let err = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(0), "{args:?}: {err}");
        assert!(!err.contains("panicked") && !err.contains("error"), "{args:?}: {err}");
    }
}

#[test]
fn a_new_project_leaves_alone_what_stands_in_a_folder() {
    let job = Job::new(1);
    let before = job.everything();
    for (dir, words) in [
        (".", "error: .: there is something in it already"),
        ("job.toml", "job.toml cannot be made"),
        ("job.toml/deep", "job.toml/deep cannot be made"),
    ] {
        job.piton(&["new", dir]).with(2).says(&[words]);
    }
    assert_eq!(job.everything(), before);
    assert!(fs::read_to_string(job.path("job.toml")).unwrap().contains("[sources.numbers]"));
}

#[test]
fn shells_and_man_are_told_of_every_command() {
    let job = Job::new(1);
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = job.piton(&["completions", shell]).with(0);
        script.prints(&["piton", "checkpoints", "discard-output"]);
    }
    job.piton(&["completions", "cmd"]).with(2).says(&["bash", "fish"]);
    job.piton(&["man", "pages/man1"]).with(0);
    for command in COMMANDS {
        let page = [&["piton"], command].concat().join("-");
        let page = fs::read_to_string(job.path("pages/man1").join(format!("{page}.1"))).unwrap();
        assert!(page.starts_with(".ie") || page.starts_with(".TH"), "{page}");
    }
    job.piton(&["man", "job.toml"]).with(2).says(&["job.toml"]);
}
