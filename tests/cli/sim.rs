//! `piton sim`.

use super::*;

/// A filter, a keyed aggregate and two sinks, behind two sources.
fn job() -> Job {
    Job::with(
        r#"
        [sources.left]
        type = "generate"
        rows = 100000
        keys = 20
        rate = "1000/s"
        parallelism = 2
        [sources.right]
        type = "generate"
        rows = 5000
        keys = 30
        seed = 1
        [operators.some]
        type = "filter"
        inputs = ["left", "right"]
        where = "value > 100"
        [operators.sums]
        type = "aggregate"
        inputs = ["some"]
        parallelism = 2
        by = ["key"]
        columns = ["count(*) AS n", "sum(value) AS total"]
        [sinks.sums_out]
        type = "csv"
        inputs = ["sums"]
        path = "out/sums"
        [sinks.rows_out]
        type = "ndjson"
        inputs = ["some"]
        path = "out/rows"
        "#,
    )
}

#[test]
fn a_sound_job_passes_and_leaves_nothing_behind() {
    let job = job();
    let ended = job.piton(&["sim", "job.toml", "--seeds", "60"]).with(0);
    ended.prints(&["60 seeds", "faults", "PASS"]);
    assert_eq!(job.everything(), [job.path("job.toml")]);
}

#[test]
fn too_few_seeds_do_not_reach_every_cell() {
    let job = job();
    let ended = job.piton(&["sim", "job.toml", "--seed", "3", "--coverage"]).with(1);
    ended.prints(&["REPLAYING", "power cut"]);
    ended.says(&["cells of the table never happened; ", " seeds usually reach all, not 1\n  ", "\n  power cut while "]);
    assert!(ended.err.lines().all(|line| line.len() < 120), "{}", ended.err);
}

#[test]
fn that_what_is_found_can_be_written_is_found_out_first() {
    let job = job();
    let mut command = job.command(&["sim", job.path("job.toml").to_str().unwrap(), "--seeds", "1000000000"]);
    // Nobody can make a file there, whoever they are.
    let ended = command.current_dir("/proc").stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(2), "{said}");
    assert!(said.contains("\"sim-0.toml\" cannot be written"), "{said}");
}

#[test]
fn a_plan_is_played_again_or_refused() {
    let job = job();
    let plan = |fault: &str| fs::write(job.path("plan.toml"), format!("seed = 5\nrows = 40\n{fault}")).unwrap();
    plan(
        "[[fault]]\nstep = 200\nkind = \"hook\"\nwhom = \"sums[1]\"\nhook = \"process\"\nact = \"panic\"\nafter = 2\n",
    );
    job.piton(&["sim", "job.toml", "--plan", "plan.toml"]).with(0).prints(&["ok", "seed 5", "1 fault"]);
    plan("[[fault]]\nstep = 200\nkind = \"lose\"\nsubtask = \"sums[2]\"\n");
    job.piton(&["sim", "job.toml", "--plan", "plan.toml"]).with(2).says(&["sums[2]", "does not have"]);
    plan("job = \"another\"\n");
    let refused = job.piton(&["sim", "job.toml", "--plan", "plan.toml"]).with(2);
    refused.says(&["was found in the job \"another\", and this one is \"job\""]);
    plan("job = \"job\"\n");
    job.piton(&["sim", "job.toml", "--plan", "plan.toml"]).with(0).prints(&["ok", "0 faults"]);
    plan("[[fault]]\nstep = 200\nkind = \"earthquake\"\n");
    job.piton(&["sim", "job.toml", "--plan", "plan.toml"]).with(2).says(&["plan.toml", "earthquake"]);
    job.piton(&["sim", "job.toml", "--plan", "none.toml"]).with(2).says(&["cannot read", "none.toml"]);
}

#[test]
fn the_same_seeds_say_the_same_and_nothing_of_what_is_meant() {
    let job = job();
    let sim = |more: &[&str]| job.piton(&[&["sim", "job.toml", "--seeds", "70"], more].concat()).with(0);
    let (first, second) = (sim(&[]), sim(&[]));
    assert_eq!(first.out, second.out);
    assert!(!first.err.contains("WARN") && !first.err.contains("ERROR"), "{}", first.err);
    first.says(&["sim: 70 seeds from 0 on", "sim took ", "a minute"]);
    sim(&["--verbose"]).says(&["WARN"]);
    let asked = job.command(&["sim", "job.toml", "--seeds", "70"]).env("RUST_LOG", "warn").output().unwrap();
    assert!(String::from_utf8_lossy(&asked.stderr).contains("WARN"));
}

#[test]
fn whoever_stops_it_is_told_what_there_is_so_far() {
    let job = job();
    let mut command = job.command(&["sim", "job.toml", "--seeds", "1000000000"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).stdin(Stdio::null()).spawn().unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(said.any(|line| line.starts_with("sim: 1,000,000,000 seeds")));
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    assert!(said.any(|line| line.starts_with("stopped after ")));
    let output = child.wait_with_output().unwrap();
    let out = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{out}");
    assert!(out.contains("seed") && out.contains("PASS no promise was broken"), "{out}");
}

#[test]
fn a_source_that_cannot_go_back_is_refused() {
    let job = Job::with(
        "[checkpoint]\nmode = \"at-least-once\"\n[sources.in]\ntype = \"lines\"\npath = \"-\"\n[sinks.out]\ntype = \
         \"blackhole\"\ninputs = [\"in\"]\n",
    );
    job.piton(&["sim", "job.toml"]).with(2).says(&["source \"in\" cannot be simulated"]);
}
