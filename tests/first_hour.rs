//! The first hour of the README, run as it stands there: from a clone to an operator of one's own that was killed in the
//! middle and has lost nothing. What the README says that a command shows, it shows.
//!
//! The clone is a copy of this tree, and what was built before is built no second time.

use std::fs;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const MOST: usize = 10;
/// How long the hour may take: one of its commands waits for what another one writes, and waits for ever if that fails.
const LONGEST: Duration = Duration::from_mins(30);
/// Stands in the README for anything at all.
const ANYTHING: char = '…';
/// Comes before what a command shows, and behind it with the code that it ended with.
const MARK: &str = ":: command";
/// What a clone does not have.
const NOT_CLONED: [&str; 6] = ["target", ".git", ".piton", "out", "node_modules", ".library"];

/// A command, and the lines that it shows, among others.
struct Step {
    command: String,
    shows: Vec<String>,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn block(page: &str, heading: &str) -> String {
    let page = fs::read_to_string(root().join(page)).unwrap();
    let (_, section) = page.split_once(heading).expect("the page has the section");
    let (_, block) = section.split_once("```console\n").expect("the section has commands");
    block.split("```").next().unwrap().to_string()
}

fn steps(block: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for line in block.lines() {
        match (line.strip_prefix("$ "), steps.last_mut()) {
            (Some(command), _) => steps.push(Step { command: command.to_string(), shows: Vec::new() }),
            (None, Some(step)) => step.shows.push(line.to_string()),
            (None, None) => panic!("the block does not begin with a command: {line}"),
        }
    }
    steps
}

/// Returns whether a line is as the README has it.
fn is_as(line: &str, pattern: &str) -> bool {
    let parts: Vec<&str> = pattern.split(ANYTHING).map(str::trim).collect();
    let [first, middle @ .., last] = &parts[..] else { return line == pattern };
    let mut rest = match line.strip_prefix(first) {
        Some(rest) => rest,
        None => return false,
    };
    for part in middle {
        match rest.split_once(part) {
            Some((_, behind)) => rest = behind,
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// Makes one folder like another, and leaves files alone that are so already: they are not built again.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (source, copied) = (entry.path(), to.join(entry.file_name()));
        if NOT_CLONED.iter().any(|name| entry.file_name() == *name) {
            continue;
        }
        if entry.file_type().unwrap().is_dir() {
            copy(&source, &copied);
        } else if fs::read(&source).ok() != fs::read(&copied).ok() {
            fs::copy(&source, &copied).unwrap();
        }
    }
    for entry in fs::read_dir(to).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() && !from.join(path.file_name().unwrap()).exists() {
            fs::remove_file(path).unwrap();
        }
    }
}

/// Writes the commands as one script, since one changes the folder and another waits for one that was sent to the background.
fn script(steps: &[Step], built: &Path) -> String {
    // The versions that this crate is tested with: nothing is fetched. And `target` is where it always is.
    let found = format!("cp -n Cargo.lock ../my-job/; ln -sfn '{}' ../my-job/target\n", built.display());
    let mut script = format!("exec 2>&1\nexport CARGO_TARGET_DIR='{}'\n", built.display());
    for (number, step) in steps.iter().enumerate() {
        script.push_str(&format!(
            "echo '{MARK} {number}'\n{}\ncode=$?\necho \"{MARK} {number} ended: $code\"\n",
            step.command
        ));
        script.push_str("if [ $code != 0 ]; then exit $code; fi\n");
        if step.command.ends_with(" new ../my-job") {
            script.push_str(&found);
        }
    }
    script
}

/// Runs a command that leads a process group; if it takes too long, all of the group is killed.
#[expect(
    clippy::disallowed_methods,
    reason = "no actor runs here: a program is waited for, by the clock of the machine"
)]
fn ends_in_time(mut command: Command) -> bool {
    let (mut child, began) = (command.spawn().unwrap(), Instant::now());
    while child.try_wait().unwrap().is_none() {
        if began.elapsed() > LONGEST {
            Command::new("kill").args(["-9", "--", &format!("-{}", child.id())]).status().unwrap();
            child.wait().unwrap();
            return false;
        }
        thread::sleep(Duration::from_millis(50));
    }
    true
}

#[test]
fn the_first_hour_is_as_the_readme_has_it() {
    let steps = steps(&block("README.md", "## The first hour\n"));
    assert!(!steps.is_empty() && steps.len() <= MOST, "{} commands", steps.len());
    assert!(steps.iter().any(|step| step.command.contains("kill -9")), "nothing is crashed");
    let promised: usize = steps.iter().map(|step| step.shows.len()).sum();
    assert!(promised >= 5, "only {promised} lines say what is shown");

    let own = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let place = own.join("first-hour");
    let clone = place.join("piton");
    copy(root(), &clone);
    let project = place.join("my-job");
    if project.exists() {
        fs::remove_dir_all(&project).unwrap();
    }
    // Not the target folder of this tree: the tests beside this one need the binary that is there, with all features.
    let built = own.join("new-project");
    let shown = place.join("shown");
    let mut bash = Command::new("bash");
    bash.arg("-c").arg(script(&steps, &built)).current_dir(&clone).stdin(Stdio::null());
    bash.stdout(File::create(&shown).unwrap()).process_group(0);
    // What is set for the tests of this workspace is nothing to somebody in their first hour.
    for variable in ["RUSTFLAGS", "PITON_LOG", "PITON_LOG_FORMAT", "RUST_LOG", "CARGO_MANIFEST_DIR"] {
        bash.env_remove(variable);
    }
    bash.env("CARGO_INCREMENTAL", "0").env("CARGO_PROFILE_DEV_DEBUG", "0").env("CARGO_NET_OFFLINE", "true");
    let in_time = ends_in_time(bash);
    let said = fs::read(&shown).unwrap();
    let said = String::from_utf8_lossy(&said);
    assert!(in_time, "not at its end after {LONGEST:?}:\n{said}");

    for (number, step) in steps.iter().enumerate() {
        let shown = said.split_once(&format!("{MARK} {number}\n")).map(|(_, rest)| rest);
        let shown = shown.and_then(|rest| rest.split_once(&format!("{MARK} {number} ended: 0\n")));
        let (shown, _) = shown.unwrap_or_else(|| panic!("this failed: {}\n{said}", step.command));
        for pattern in &step.shows {
            let is_shown = shown.lines().any(|line| is_as(line.trim_end(), pattern));
            assert!(is_shown, "not shown by `{}`: {pattern}\n{said}", step.command);
        }
    }
    // Ten million lines: nobody needs them any more.
    fs::remove_dir_all(&project).unwrap();
}

#[test]
fn the_guide_explains_the_same_commands() {
    let commands = |page: &str, heading: &str| -> Vec<String> {
        steps(&block(page, heading)).into_iter().map(|step| step.command).collect()
    };
    let readme = commands("README.md", "## The first hour\n");
    assert_eq!(commands("docs/guide/src/first-hour.md", "# First hour\n"), readme);
}

#[test]
fn a_line_that_is_not_as_promised_is_found() {
    assert!(is_as("job \"job\" has finished after 3 s", "job \"job\" has finished after …"));
    assert!(is_as("INFO continued from window=3", "… continued from …"));
    assert!(is_as("10000000", "10000000") && !is_as("10000001", "10000000"));
    assert!(!is_as("100000001", "10000000") && !is_as("started from nothing", "… continued from …"));
    assert!(!is_as("the job has finished", "job \"job\" has finished after …"));
    assert!(is_as("a b c", "a …") && is_as("a b c", "… c") && is_as("a b c", "a … c") && !is_as("a b c", "a … d"));
}
