//! `checkpoints`: what a state directory holds, without running the job.

use super::*;

#[test]
fn without_a_state_directory_there_is_nothing_to_see_and_nothing_is_created() {
    let job = Job::new(10);
    let before = job.everything();
    for command in ["list", "show", "verify"] {
        job.piton(&["checkpoints", command, "job.toml"]).with(0).says(&["no checkpoints yet"]);
    }
    job.piton(&["checkpoints", "show", "job.toml", "7"]).with(2).says(&["no checkpoints"]);
    assert_eq!(job.everything(), before);
}

#[test]
fn checkpoints_are_listed_shown_and_verified() {
    let job = Job::with(&topology(300, "rate = \"1000/s\""));
    job.piton(&["run", "job.toml"]).with(0);

    let listed = job.piton(&["checkpoints", "list", "job.toml"]).with(0).out;
    let lines: Vec<&str> = listed.lines().collect();
    assert!(lines[0].starts_with("REGION"), "{listed}");
    assert_eq!(lines.len(), 1 + 3, "checkpoint.retain is 3: {listed}");
    assert!(lines[3].starts_with("numbers") && lines[3].ends_with("the end of the job"), "{listed}");
    assert!(lines[1].contains("T") && lines[1].contains("Z") && lines[1].contains(" B"), "{listed}");
    let window = lines[1].split_whitespace().nth(1).unwrap();

    let latest = job.piton(&["checkpoints", "show", "job.toml"]).with(0);
    latest.prints(&["region numbers, window ", "the job had come to its end", "numbers[0]", "300 read, finished"]);
    let older = job.piton(&["checkpoints", "show", "job.toml", window]).with(0);
    older.prints(&[&format!("region numbers, window {window}\n"), "numbers", "odd", "rows"]);
    job.piton(&["checkpoints", "show", "job.toml", "999999"]).with(2).says(&["window 999999", "kept: ", window]);

    job.piton(&["checkpoints", "verify", "job.toml"]).with(0).says(&["3 checkpoints", "nothing is damaged"]);
    job.piton(&["checkpoints", "verify", "job.toml", window]).with(0).says(&["1 checkpoint read"]);
}

/// A job whose state is too large to be kept in the manifest.
fn with_much_state() -> Job {
    let count = "[operators.odd]\ntype = \"aggregate\"\nby = [\"id\"]\ncolumns = [\"count(*) AS n\"]";
    let toml =
        topology(20_000, "").replace("[operators.odd]\ntype = \"filter\"", count).replace("where = \"id >= 0\"", "");
    Job::with(&toml)
}

#[test]
fn damage_is_named_and_ends_with_3() {
    let job = with_much_state();
    job.piton(&["run", "job.toml"]).with(0);
    job.piton(&["checkpoints", "verify", "job.toml"]).with(0);
    let blobs = job.path(".piton/job/regions/numbers/blobs");
    let blob = fs::read_dir(&blobs).unwrap().map(|entry| entry.unwrap().path()).max().unwrap();
    let mut content = fs::read(&blob).unwrap();
    let middle = content.len() / 2;
    content[middle] ^= 1;
    fs::write(&blob, content).unwrap();
    let name = blob.file_name().unwrap().to_str().unwrap();
    job.piton(&["checkpoints", "verify", "job.toml"]).with(3).says(&["error: ", name]);
}
