//! Beginning anew removes what it was told to remove, nothing before that, and nothing of anybody else's.

use super::*;

#[test]
fn each_thing_that_would_be_lost_has_to_be_named() {
    let job = Job::new(1_000);
    job.piton(&["run", "job.toml"]).with(0);
    fs::write(job.path("out/README"), "mine").unwrap();
    fs::write(job.path("out/rows-total.csv"), "mine, too").unwrap();
    fs::write(job.path(".piton/job/notes"), "also mine").unwrap();
    // sled writes to its own folder even when it is only read.
    let everything = || {
        let mut all = job.everything();
        all.retain(|path| !path.starts_with(job.path(".piton/job/catalog")));
        all
    };
    let before = everything();

    let refused = job.piton(&["run", "job.toml", "--resume", "none"]).with(3);
    refused.says(&["holds checkpoints", "region \"numbers\"", "add `--discard-state`"]);
    let refused = job.piton(&["run", "job.toml", "--resume", "none", "--discard-output"]).with(3);
    refused.says(&["holds checkpoints"]);
    let refused = job.piton(&["run", "job.toml", "--resume", "none", "--discard-state"]).with(3);
    refused.says(&["has left its output", "sink \"rows\": ", "add `--discard-output`"]);
    assert_eq!(everything(), before, "a refused start removed something");

    let args = ["run", "job.toml", "--resume", "none", "--discard-state", "--discard-output"];
    let set = ["--set", "sources.numbers.rows=500", "--events", "events.ndjson"];
    job.piton(&[&args[..], &set].concat()).with(0).says(&["500 in, 500 out"]);
    let events = fs::read_to_string(job.path("events.ndjson")).unwrap();
    assert!(events.contains(r#""resumed_from":{},"incarnation":1"#), "{events}");
    let rows = job.everything().into_iter().filter(|path| path.ends_with("rows-total.csv")).count();
    assert_eq!(rows, 1);
    fs::remove_file(job.path("out/rows-total.csv")).unwrap();
    assert_eq!(job.rows(), (0..500).collect::<Vec<_>>());
    assert!(job.path("out/README").exists() && job.path(".piton/job/notes").exists());
}

#[test]
fn output_of_a_run_whose_state_is_gone_is_not_mixed_with_that_of_another() {
    let job = Job::new(1_000);
    job.piton(&["run", "job.toml"]).with(0);
    fs::remove_dir_all(job.path(".piton")).unwrap();
    let rows = job.rows();
    job.piton(&["run", "job.toml"]).with(3).says(&["has left its output", "--resume none --discard-output"]);
    assert_eq!(job.rows(), rows);
    job.piton(&["run", "job.toml", "--resume", "none", "--discard-output"]).with(0);
    assert_eq!(job.rows(), rows);
}

#[test]
fn a_damaged_state_directory_can_be_discarded() {
    let job = Job::new(1_000);
    job.piton(&["run", "job.toml"]).with(0);
    for file in ["ROOT", "regions/numbers/HEAD", "catalog/db", "catalog/conf"] {
        fs::write(job.path(".piton/job").join(file), "noise").unwrap();
    }
    job.piton(&["run", "job.toml"]).with(3).says(&["error: "]);
    job.piton(&["run", "job.toml", "--resume", "none", "--discard-state", "--discard-output"]).with(0);
    assert_eq!(job.rows(), (0..1_000).collect::<Vec<_>>());
}

#[test]
fn an_older_window_is_started_from_only_if_newer_output_may_go() {
    // With so many kept, the oldest is one that rows came behind.
    let kept = "interval = \"20ms\"\nretain = 20";
    let job = Job::with(&topology(300, "rate = \"1000/s\"").replace("interval = \"20ms\"", kept));
    job.piton(&["run", "job.toml", "--resume", "7"]).with(3).says(&["there is nothing to go on from"]);
    assert!(!job.path(".piton").exists(), "a refusal creates nothing");
    job.piton(&["run", "job.toml"]).with(0);
    let listed = job.piton(&["checkpoints", "list", "job.toml"]).with(0).out;
    let windows: Vec<&str> = listed.lines().skip(1).filter_map(|line| line.split_whitespace().nth(1)).collect();
    assert!(windows.len() > 1, "{listed}");
    let latest = job.piton(&["run", "job.toml", "--resume", windows[windows.len() - 1]]).with(0);
    latest.says(&["has finished before"]);
    job.piton(&["run", "job.toml", "--resume", "999999"]).with(3).says(&["no checkpoint of window 999999", windows[0]]);
    let older = ["run", "job.toml", "--resume", windows[0]];
    job.piton(&older).with(3).says(&["would be published a second time", "sink \"rows\"", "--discard-output"]);
    job.piton(&[&older[..], &["--discard-output"]].concat()).with(0).says(&["has finished"]);
    assert_eq!(job.rows(), (0..300).collect::<Vec<_>>());
    assert!(job.piton(&["checkpoints", "verify", "job.toml"]).with(0).err.contains("nothing is damaged"));
}
