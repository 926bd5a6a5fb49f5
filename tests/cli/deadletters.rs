//! `deadletters`: the records that were set aside, without running the job.

use super::*;

/// A job in which some rows are poison.
fn poisoned() -> Job {
    let operator = "[operators.odd]\ntype = \"fail\"\ntimes = 0\ninputs = [\"numbers\"]\nwhere = \"id % 100 = 7\"";
    let toml = topology(300, "")
        .replace("[operators.odd]\ntype = \"filter\"\ninputs = [\"numbers\"]\nwhere = \"id >= 0\"", operator);
    assert!(toml.contains("times = 0"), "the topology has changed");
    Job::with(&format!("[recovery]\non_poison = \"dead-letter\"\n{toml}"))
}

#[test]
fn where_nothing_was_set_aside_there_is_nothing_to_see_and_nothing_is_created() {
    let job = Job::new(10);
    let before = job.everything();
    for command in ["list", "export"] {
        let ended = job.piton(&["deadletters", command, "job.toml"]).with(0);
        ended.says(&["no dead letters in "]);
        assert_eq!(ended.out, "");
    }
    job.piton(&["deadletters", "show", "job.toml", "7"]).with(2).says(&["no dead letter 7"]);
    assert_eq!(job.everything(), before);
    job.piton(&["run", "job.toml"]).with(0);
    job.piton(&["deadletters", "list", "job.toml"]).with(0).says(&["no dead letters in "]);
}

#[test]
fn letters_are_listed_shown_and_exported() {
    let job = poisoned();
    job.piton(&["run", "job.toml"]).with(0);
    let rows: Vec<u64> = (0..300).filter(|id| id % 100 != 7).collect();
    assert_eq!(job.rows(), rows, "all others are there");

    let listed = job.piton(&["deadletters", "list", "job.toml"]).with(0).out;
    let lines: Vec<&str> = listed.lines().collect();
    assert!(lines.len() == 1 + 3 && lines[0].starts_with("REGION"), "{listed}");
    let cells: Vec<&str> = lines[2].split_whitespace().collect();
    assert_eq!(cells[..4], ["numbers", "odd", "0", "2"], "{listed}");

    for id in ["2", "odd/0/2"] {
        let shown = job.piton(&["deadletters", "show", "job.toml", id]).with(0);
        shown.prints(&["dead letter odd/0/2\n", "region numbers, subtask numbers[0], window ", "\"id\": 107,"]);
        assert!(!shown.out.contains("odd/0/1"), "{shown:?}");
    }
    job.piton(&["deadletters", "show", "job.toml", "1", "3"]).with(0).prints(&["\"id\": 7,", "\"id\": 207,"]);
    job.piton(&["deadletters", "show", "job.toml", "9"]).with(2).says(&["no dead letter 9", "3 dead letters in all"]);
    job.piton(&["deadletters", "show", "job.toml"]).with(2).says(&["which dead letter", "OPERATOR/SUBTASK/NUMBER"]);
    job.piton(&["deadletters", "show", "job.toml", "odd"]).with(2).says(&["\"odd\" is not a dead letter"]);

    let exported = job.piton(&["deadletters", "export", "job.toml", "--format", "ndjson"]).with(0).out;
    let letters: Vec<serde_json::Value> =
        exported.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect();
    let numbers: Vec<u64> = letters.iter().map(|letter| letter["number"].as_u64().unwrap()).collect();
    assert_eq!(numbers, [1, 2, 3]);
    assert_eq!(letters[1]["record"]["id"], 107);
    assert_eq!((&letters[1]["operator"], &letters[1]["subtask"]), (&"odd".into(), &0.into()));
    assert!(letters[1]["window"].is_u64() && letters[1]["position"].is_u64(), "{exported}");
    let names: Vec<&String> = letters[1].as_object().unwrap().keys().collect();
    assert_eq!(names.len(), 7, "{names:?}");
}

#[test]
fn the_state_of_a_running_job_is_left_alone() {
    let job = Job::with(&topology(100_000, "rate = \"1000/s\""));
    let mut running = job.start(&[], 1);
    job.piton(&["deadletters", "list", "job.toml"]).with(3).says(&["error: "]);
    running.child.kill().unwrap();
    running.child.wait().unwrap();
}
