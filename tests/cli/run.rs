//! `run`: to the end, through signals and crashes.

use std::collections::BTreeMap;

use serde_json::Value;

use super::*;

fn events(path: &Path) -> Vec<Value> {
    fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn of<'e>(events: &'e [Value], name: &str) -> Vec<&'e Value> {
    events.iter().filter(|event| event["event"] == name).collect()
}

#[test]
fn a_job_runs_to_its_end_and_says_so_when_it_is_run_again() {
    let job = Job::new(5_000);
    let ended = job.piton(&["run", "job.toml"]).with(0);
    ended.says(&["job \"job\" has finished", "5,000 in, 5,000 out", "region numbers: committed", "output of rows"]);
    assert_eq!(ended.out, "");
    assert!(!ended.err.contains("try next"), "only the default job comes with advice");
    assert_eq!(job.rows(), (0..5_000).collect::<Vec<_>>());

    let files = || job.everything().into_iter().filter(|path| is_below(path, &job.path("out"))).collect::<Vec<_>>();
    let before = files();
    let again = job.piton(&["run", "job.toml"]).with(0);
    again.says(&["has finished before", "5,000 in, 5,000 out"]);
    assert_eq!(files(), before);
}

#[test]
fn events_are_lines_of_json_that_begin_with_started_and_end_with_finished() {
    let job = Job::with(&topology(300, "rate = \"1000/s\""));
    job.piton(&["run", "job.toml", "--events", "events.ndjson"]).with(0);
    let events = events(&job.path("events.ndjson"));
    for event in &events {
        let at = event["at"].as_str().unwrap();
        assert!(at.len() == 24 && at.ends_with('Z') && at.as_bytes()[10] == b'T', "{at}");
    }
    assert_eq!(events[0]["event"], "started");
    assert_eq!(events[0]["job"], "job");
    assert_eq!(events[0]["incarnation"], 1);
    let finished = of(&events, "finished");
    assert_eq!(finished.len(), 1);
    assert_eq!(events.last(), finished.first().copied());
    assert_eq!((&finished[0]["records_in"], &finished[0]["records_out"]), (&300.into(), &300.into()));
    let windows: Vec<u64> = of(&events, "committed").iter().map(|event| event["window"].as_u64().unwrap()).collect();
    assert!(windows.len() > 2 && windows.is_sorted_by(|a, b| a < b), "{windows:?}");
    assert_eq!(finished[0]["window"].as_u64(), windows.last().copied());

    job.piton(&["run", "job.toml", "--events", "events.ndjson"]).with(0);
    let both = self::events(&job.path("events.ndjson"));
    assert_eq!(both[..events.len()], events, "the events of an earlier run stay");
    assert_eq!(of(&both, "finished").len(), 2);
}

#[test]
fn metrics_are_those_of_the_whole_run_once_it_is_over() {
    let job = Job::with(&topology(300, "rate = \"1000/s\""));
    job.piton(&["run", "job.toml", "--metrics", "job.prom", "--events", "events.ndjson"]).with(0);
    let text = fs::read_to_string(job.path("job.prom")).unwrap();
    let committed = of(&events(&job.path("events.ndjson")), "committed").len();
    for line in [
        "# TYPE piton_records_in gauge".to_string(),
        "piton_records_in{job_name=\"job\"} 300".into(),
        "piton_records_out{job_name=\"job\"} 300".into(),
        format!("piton_checkpoint_duration_seconds_count{{region=\"numbers\",job_name=\"job\"}} {committed}"),
        "piton_promises_broken_total{invariant=\"committed-is-durable\",job_name=\"job\"} 0".into(),
    ] {
        assert!(text.lines().any(|said| said == line), "{line} is not in\n{text}");
    }
    assert!(!job.path(".job.prom.new").exists());
    job.piton(&["run", "job.toml", "--metrics", "job.prom"]).with(0);
    assert_eq!(
        fs::read_to_string(job.path("job.prom")).unwrap(),
        text,
        "a job that has finished before tells nothing new"
    );
    let refused = job.piton(&["run", "job.toml", "--metrics", "job.toml/job.prom"]).with(2);
    refused.says(&["metrics cannot be written to \"job.toml/job.prom\""]);
    job.piton(&["run", "job.toml", "--metrics", "-"]).with(2).says(&["metrics are kept in a file"]);
    job.piton(&["run", "job.toml", "--metrics", "made/job.prom"]).with(0);
    assert!(job.path("made").is_dir());
}

#[test]
fn a_killed_job_goes_on_where_it_was_committed() {
    let job = Job::with(&topology(2_000, "rate = \"4000/s\""));
    let mut running = job.start(&[], 3);
    running.child.kill().unwrap();
    running.wait();
    let committed = job.rows().len();
    assert!(committed > 0 && committed < 2_000, "{committed} rows were committed");

    job.piton(&["run", "job.toml", "--events", "events.ndjson"]).with(0);
    assert_eq!(job.rows(), (0..2_000).collect::<Vec<_>>());
    let events = events(&job.path("events.ndjson"));
    let resumed: BTreeMap<String, u64> = serde_json::from_value(events[0]["resumed_from"].clone()).unwrap();
    assert!(resumed["numbers"] > 0);
    assert_eq!(events[0]["incarnation"], 2);
}

#[test]
fn a_signal_stops_a_job_with_a_checkpoint() {
    let job = Job::with(&topology(1_000_000, "rate = \"2000/s\""));
    let mut so_far = 0;
    for signal in ["-TERM", "-INT"] {
        let running = job.start(&[], 2);
        running.signal(signal);
        let (code, events) = running.wait();
        assert_eq!(code, Some(0), "{signal}: {events:?}");
        let last: Value = serde_json::from_str(events.last().unwrap()).unwrap();
        assert_eq!(last["event"], "finished", "{signal}");
        let shown = job.piton(&["checkpoints", "show", "job.toml"]).with(0).out;
        let rows = job.rows();
        assert!(rows.len() > so_far, "{signal}: nothing was committed");
        assert_eq!(rows, (0..rows.len() as u64).collect::<Vec<_>>(), "{signal}");
        assert!(shown.replace(',', "").contains(&format!(" {} read", rows.len())), "{signal}: {shown}");
        so_far = rows.len();
    }
}

#[test]
fn a_job_that_gives_up_ends_with_1_and_its_reason() {
    let fail = "[operators.broken]\ntype = \"fail\"\ninputs = [\"odd\"]\nwhere = \"id = 77\"\ntimes = 0\n[sinks.rows]";
    let toml = topology(1_000, "")
        .replace("[sinks.rows]", fail)
        .replace("inputs = [\"odd\"]\npath", "inputs = [\"broken\"]\npath");
    let job = Job::with(&format!("{toml}\n[recovery]\nstrategy = \"fixed-delay\"\nattempts = 2\ndelay = \"1ms\"\n"));
    let ended = job.piton(&["run", "job.toml", "--events", "events.ndjson"]).with(1);
    ended.says(&["error: region \"numbers\" gave up: \"broken\" panicked"]);
    let events = events(&job.path("events.ndjson"));
    let failed = of(&events, "failed");
    assert_eq!((failed.len(), of(&events, "finished").len()), (1, 0));
    assert!(failed[0]["reason"].as_str().unwrap().contains("\"broken\" panicked"), "{failed:?}");
    assert_eq!(events.last(), failed.first().copied());
}

#[test]
fn a_state_directory_that_is_in_use_is_refused_with_3() {
    let job = Job::with(&topology(1_000_000, "rate = \"1000/s\""));
    let mut running = job.start(&[], 1);
    for args in [
        &["run", "job.toml"][..],
        &["run", "job.toml", "--resume", "none", "--discard-state", "--discard-output"],
        &["checkpoints", "list", "job.toml"],
    ] {
        job.piton(args).with(3).says(&["error: ", "in use by another process"]);
    }
    assert!(!job.rows().is_empty(), "the output of a running job was removed");
    running.child.kill().unwrap();
    running.wait();
}

#[test]
fn a_job_that_was_killed_a_moment_ago_is_in_nobodys_way() {
    for _ in 0..3 {
        let job = Job::with(&topology(20_000, "rate = \"1000/s\""));
        let mut running = job.start(&[], 1);
        // Whoever kills it does not wait until it is gone.
        running.signal("-KILL");
        job.piton(&["run", "job.toml", "--set", "sources.numbers.rate=1000000/s"]).with(0);
        assert_eq!(job.rows().len(), 20_000);
        running.child.wait().unwrap();
    }
}

#[test]
fn the_state_directory_can_be_elsewhere() {
    let job = Job::new(100);
    job.piton(&["run", "job.toml", "--state", "kept/here"]).with(0);
    assert!(job.path("kept/here/FORMAT").exists() && !job.path(".piton").exists());
    job.piton(&["run", "job.toml", "--state", "kept/here"]).with(0).says(&["has finished before"]);
    fs::create_dir(job.path("other")).unwrap();
    fs::write(job.path("other/letter.txt"), "dear").unwrap();
    let refused = job.piton(&["run", "job.toml", "--state", "other"]).with(3);
    refused.says(&["not a state directory"]);
    assert_eq!(fs::read_dir(job.path("other")).unwrap().count(), 1, "something was left in a foreign folder");
}

#[test]
fn rows_of_the_print_sink_are_all_there_is_on_stdout() {
    let toml = topology(3, "").replace("type = \"csv\"", "type = \"print\"").replace("path = \"out\"", "");
    let ended = Job::with(&toml).piton(&["run", "job.toml"]).with(0);
    assert_eq!(ended.out.lines().count(), 3, "{}", ended.out);
    ended.says(&["has finished"]);
}
