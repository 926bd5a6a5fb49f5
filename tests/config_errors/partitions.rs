//! Parallelism and partitions that cannot be.

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
