//! `piton new` makes a project that builds, and passes its own test, as it is.

#![cfg(feature = "sql")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_new_project_builds_and_passes_and_runs() {
    let folder = tempfile::tempdir().unwrap();
    let made =
        Command::new(env!("CARGO_BIN_EXE_piton")).args(["new", "deep/My Job"]).current_dir(&folder).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    assert!(text(&made.stderr).contains("\"my-job\" is made in deep/My Job"), "{made:?}");
    let project = folder.path().join("deep/My Job");

    // The versions that this crate is tested with: nothing is fetched.
    let locked = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.lock");
    std::fs::copy(locked, project.join("Cargo.lock")).unwrap();
    let try_cargo = |args: &[&str]| {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("new-project");
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args(args).current_dir(&project).env("CARGO_TARGET_DIR", target).env("CARGO_INCREMENTAL", "0");
        // What is set for the tests of this workspace is nothing to the project.
        cargo.env_remove("RUSTFLAGS").env("CARGO_PROFILE_DEV_DEBUG", "0");
        cargo.output().unwrap()
    };
    let cargo = |args: &[&str]| {
        let ended = try_cargo(args);
        assert!(ended.status.success(), "{args:?}: {}\n{}", text(&ended.stdout), text(&ended.stderr));
        ended
    };
    let tested = text(&cargo(&["test", "--offline"]).stdout);
    for test in ["a_count_survives_a_crash ... ok", "the_job_survives_whatever_a_seed_can_think_of ... ok"] {
        assert!(tested.contains(test), "{tested}");
    }
    cargo(&["run", "--offline", "--", "run", "job.toml"]);
    let mut lines = Vec::new();
    for file in std::fs::read_dir(project.join("out/counts")).unwrap() {
        lines.extend(std::fs::read_to_string(file.unwrap().path()).unwrap().lines().map(str::to_string));
    }
    lines.sort();
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    let input = std::fs::read_to_string(project.join("input.txt")).unwrap();
    let counted = input.lines().map(|line| {
        let times = seen.entry(line).or_default();
        *times += 1;
        format!("{line}\t{times}")
    });
    let mut counted: Vec<String> = counted.collect();
    counted.sort();
    assert_eq!(lines, counted);

    // Its simulation finds what a beginner does first: a count that is kept in a field.
    let source = std::fs::read_to_string(project.join("src/main.rs")).unwrap();
    let forgetful = source
        .replace("struct Count {}", "struct Count {\n    #[serde(default)]\n    seen: std::collections::HashMap<String, u64>,\n}")
        .replace("Count {})", "Count { seen: Default::default() })")
        .replace("ctx.state(SEEN).update(|times| {\n            *times += 1;\n            *times\n        })?", "{\n            let times = self.seen.entry(line.clone()).or_default();\n            *times += 1;\n            *times\n        }");
    assert!(forgetful.contains("self.seen.entry"), "{forgetful}");
    std::fs::write(project.join("src/main.rs"), forgetful).unwrap();
    let found = try_cargo(&["test", "--offline", "the_job_survives"]);
    assert!(
        !found.status.success() && text(&found.stdout).contains("keeps something where no snapshot finds it"),
        "{}",
        text(&found.stdout)
    );
}
