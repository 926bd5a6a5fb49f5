//! Two jobs that write to one folder do not touch each other's files.

use super::*;

/// Writes another job beside the first, to the same folder, and returns the arguments that run it.
fn another(job: &Job, path: &str) -> [String; 2] {
    let toml = fs::read_to_string(job.path("job.toml")).unwrap();
    assert!(toml.contains("path = \"out\""), "{toml}");
    fs::write(job.path("other.toml"), toml.replace("path = \"out\"", &format!("path = \"{path}\""))).unwrap();
    ["run".into(), "other.toml".into()]
}

#[test]
fn a_job_is_refused_where_another_one_writes_or_was_killed() {
    let job = Job::with(&topology(1_000_000, "rate = \"2000/s\""));
    let mut running = job.start(&[], 1);
    let other = another(&job, "out");
    let other: Vec<&str> = other.iter().map(String::as_str).collect();
    let refused = |more: &[&str]| {
        let refused = job.piton(&[&other[..], more].concat()).with(3);
        refused.says(&["would write among the files of another job", "sink \"rows\"", "job \"job\"", "another `path`"]);
    };
    refused(&[]);
    refused(&["--resume", "none", "--discard-state", "--discard-output"]);
    running.signal("-KILL");
    running.child.wait().unwrap();
    let rows = job.rows();
    assert!(!rows.is_empty());
    refused(&["--resume", "none", "--discard-output"]);
    assert_eq!(job.rows(), rows);
    // Elsewhere there is room for both, and the first one goes on.
    another(&job, "elsewhere");
    job.piton(&[&other[..], &["--set", "sources.numbers.rows=100"]].concat()).with(0);
    running = job.start(&[], 1);
    running.signal("-TERM");
    assert_eq!(running.wait().0, Some(0));
    assert!(job.rows().starts_with(&rows));
    let hidden = |path: &&PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(".owner"));
    assert_eq!(job.everything().iter().find(hidden), None, "a job that has ended leaves nothing behind");
}

#[test]
fn a_job_goes_on_with_its_files_when_it_was_killed_and_moved_or_renamed() {
    let job = Job::with(&topology(1_000_000, "rate = \"2000/s\""));
    let mut running = job.start(&[], 1);
    running.signal("-KILL");
    running.child.wait().unwrap();
    let short = ["--set", "sources.numbers.rate=1000000/s", "--set", "sources.numbers.rows=20000"];
    // Under another name, with its state: it is the same.
    fs::rename(job.path("job.toml"), job.path("renamed.toml")).unwrap();
    let run = ["run", "renamed.toml", "--state", ".piton/job"];
    job.piton(&[&run[..], &short].concat()).with(0);
    assert_eq!(job.rows().len(), 20_000);
}

#[test]
fn a_job_that_was_killed_just_before_its_end_leaves_nothing_once_it_is_run_again() {
    let job = Job::new(1);
    job.piton(&["run", "job.toml"]).with(0);
    let written =
        || -> Vec<PathBuf> { job.everything().into_iter().filter(|path| path.starts_with(job.path("out"))).collect() };
    let (before, marked) = (written(), job.path("out/.rows.owner"));
    let owner = |name: &str| format!("job = {name:?}\nstate = {:?}\n", job.path(".piton").join(name));
    fs::write(&marked, owner("job")).unwrap();
    job.piton(&["run", "job.toml"]).with(0);
    assert_eq!(written(), before);
    fs::write(&marked, owner("another")).unwrap();
    job.piton(&["run", "job.toml"]).with(3).says(&["job \"another\""]);
    assert!(marked.exists(), "it is not ours");
}
