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
fn a_job_is_refused_where_another_one_has_its_files() {
    let job = Job::new(1_000);
    job.piton(&["run", "job.toml"]).with(0);
    let rows = job.rows();
    let other = another(&job, "out");
    let other: Vec<&str> = other.iter().map(String::as_str).collect();
    for more in [
        &[][..],
        &["--resume", "none", "--discard-output"],
        &["--resume", "none", "--discard-state", "--discard-output"],
    ] {
        let refused = job.piton(&[&other[..], more].concat()).with(3);
        refused.says(&["would write among the files of another job", "sink \"rows\"", "job \"job\"", "another `path`"]);
        assert_eq!(job.rows(), rows);
    }
    // The other one is not disturbed, and elsewhere there is room for both.
    job.piton(&["run", "job.toml"]).with(0).says(&["has finished before"]);
    another(&job, "elsewhere");
    job.piton(&other).with(0);
    assert_eq!(job.rows(), rows);
}

#[test]
fn a_job_goes_on_with_its_files_when_it_was_moved_or_renamed_or_the_other_has_gone() {
    let job = Job::new(1_000);
    job.piton(&["run", "job.toml"]).with(0);
    // Under another name, with its state: it is the same.
    fs::rename(job.path("job.toml"), job.path("renamed.toml")).unwrap();
    job.piton(&["run", "renamed.toml", "--state", ".piton/job"]).with(0).says(&["has finished before"]);
    // Under its name, with its state elsewhere.
    fs::rename(job.path("renamed.toml"), job.path("job.toml")).unwrap();
    fs::rename(job.path(".piton/job"), job.path("moved")).unwrap();
    job.piton(&["run", "job.toml", "--state", "moved"]).with(0).says(&["has finished before"]);
    // Its files are gone, but for the hidden one: who comes next begins.
    let other = another(&job, "out");
    for file in fs::read_dir(job.path("out")).unwrap().map(|file| file.unwrap().path()) {
        if file.extension().is_some_and(|extension| extension == "csv") {
            fs::remove_file(file).unwrap();
        }
    }
    job.piton(&other.iter().map(String::as_str).collect::<Vec<_>>()).with(0);
    job.piton(&["run", "job.toml", "--state", "third"]).with(3).says(&["job \"other\""]);
}
