//! What the pages say about the tree is so.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(file: &str) -> String {
    fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

fn pages() -> Vec<PathBuf> {
    let mut pages = Vec::new();
    for folder in ["", "docs", "docs/decisions", "docs/guide/src", "data"] {
        let Ok(entries) = fs::read_dir(root().join(folder)) else { continue };
        let files = entries.map(|entry| entry.unwrap().path());
        pages.extend(files.filter(|path| path.extension().is_some_and(|extension| extension == "md")));
    }
    pages
}

#[test]
fn links_lead_somewhere() {
    let mut links = 0;
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for (_, rest) in text.match_indices("](").map(|(at, _)| text.split_at(at + 2)) {
            let target = rest.split([')', '#']).next().unwrap_or_default();
            if target.is_empty() || target.contains("://") {
                continue;
            }
            let path = page.parent().unwrap().join(target);
            assert!(path.exists(), "{} links to {target}, which is not there", page.display());
            links += 1;
        }
    }
    assert!(links > 10, "found only {links} links");
}

#[test]
fn files_that_the_architecture_names_exist() {
    let page = read("ARCHITECTURE.md");
    let mut names = 0;
    for name in page.split('`').skip(1).step_by(2).filter(|name| name.ends_with(".rs") && !name.contains(' ')) {
        let places = ["", "src/", "src/protocol/", "src/runtime/", "src/store/", "actors/src/"];
        let exists = places.iter().any(|place| root().join(place).join(name).exists());
        assert!(exists, "ARCHITECTURE.md names {name}, which is not there");
        names += 1;
    }
    assert!(names > 20, "found only {names} names");
}

/// The tree in the architecture: what is indented belongs to the folder above it.
#[test]
fn places_in_the_tree_of_the_architecture_exist() {
    let page = read("ARCHITECTURE.md");
    let (_, tree) = page.split_once("```text\n").expect("it begins with the tree");
    let (tree, _) = tree.split_once("```").expect("the tree ends");
    let (mut folder, mut names) = ("", 0);
    for line in tree.lines() {
        let is_within = line.starts_with(' ');
        let (places, _) = line.trim_start().split_once("  ").unwrap_or((line.trim(), ""));
        for place in places.split(' ') {
            let path = root().join(if is_within { folder } else { "" }).join(place);
            assert!(path.exists(), "ARCHITECTURE.md shows {place} in {folder:?}, which is not there");
            names += 1;
        }
        if !is_within {
            folder = places;
        }
    }
    assert!(names > 20, "found only {names} places");
}

#[test]
fn files_that_decisions_name_exist() {
    let mut names = 0;
    for page in pages().into_iter().filter(|page| page.parent().is_some_and(|folder| folder.ends_with("decisions"))) {
        let text = fs::read_to_string(&page).unwrap();
        let spans = text.split('`').skip(1).step_by(2);
        for name in spans.filter(|name| (name.ends_with(".rs") || name.ends_with('/')) && !name.contains(' ')) {
            let exists = ["", "src"].iter().any(|place| root().join(place).join(name).exists());
            // Folders of a state directory are no folders of the tree.
            assert!(exists || name.contains("NAME"), "{} names {name}, which is not there", page.display());
            names += 1;
        }
    }
    assert!(names > 10, "found only {names} names");
}

#[test]
fn code_in_the_readme_is_that_of_the_example() {
    let (readme, example) = (read("README.md"), read("examples/word_count.rs"));
    let blocks: Vec<&str> = readme.split("```rust\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(!blocks.is_empty());
    for line in blocks.iter().flat_map(|block| block.lines()) {
        let elsewhere = line.contains("registry.operator");
        assert!(
            elsewhere || example.lines().any(|other| other == line),
            "examples/word_count.rs does not have: {line}"
        );
    }
}

#[test]
fn the_gate_runs_the_test_command_of_the_readme() {
    let (readme, gate) = (read("README.md"), read(".ci/run"));
    let command = readme.lines().find_map(|line| line.strip_prefix("$ cargo test")).unwrap();
    let command = format!("cargo test{}", command.split('#').next().unwrap_or_default());
    assert!(gate.lines().any(|line| line.ends_with(&format!(" {}", command.trim()))), "not in .ci/run: {command}");
}

/// Commands are asked for their help: it has every command that a page shows, and every option.
#[test]
fn commands_in_console_blocks_are_there() {
    const CALLED: [&str; 3] = ["$ piton ", "$ cargo run --release -- ", "$ target/debug/my-job "];
    let mut commands = 0;
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        let blocks = text.split("```console\n").skip(1).filter_map(|rest| rest.split("```").next());
        for line in blocks.flat_map(str::lines) {
            let Some(call) = CALLED.iter().find_map(|called| line.strip_prefix(called)) else { continue };
            // What comes behind is the shell's, or a comment.
            let words = call.split_whitespace().take_while(|word| !["#", "|", ">", "&", "&&"].contains(word));
            let words: Vec<&str> = words.collect();
            let mut help = help(&words[..1]);
            if help.contains("\nCommands:") {
                help = self::help(&words[..2]);
            }
            for option in words.iter().filter(|word| word.starts_with("--")) {
                let is_there = help.split_whitespace().any(|word| word == *option);
                assert!(is_there, "{}: there is no {option}: {line}", page.display());
            }
            commands += 1;
        }
    }
    assert!(commands > 30, "found only {commands} commands");
}

/// Returns the help of a command, which says that there is one.
fn help(command: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_piton")).args(command).arg("--help").output().unwrap();
    assert!(output.status.success(), "there is no command \"{}\"", command.join(" "));
    String::from_utf8(output.stdout).unwrap()
}
