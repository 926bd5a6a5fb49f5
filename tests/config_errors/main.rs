//! A topology file that is wrong is refused with every mistake at once, each with its line, the nearest name that
//! would have been right, and what to do. Nothing is created.

#[cfg(feature = "sql")]
mod event_time;
mod kinds;
mod layers;
mod nodes;
mod options;
mod partitions;
mod settings;
mod syntax;

use std::path::Path;

use piton::config::Overrides;
use piton::topology::{load, load_text};
use piton::{Error, ErrorKind};

use rand::Rng;

use crate::kinds::registry;

fn refused_with(text: &str, overrides: &Overrides) -> Error {
    match load_text(text, Path::new("job.toml"), overrides, &registry()) {
        Ok(_) => panic!("this should be refused:\n{text}"),
        Err(error) => error,
    }
}

/// Checks that a text is refused with these lines and no others: each has a place and words that it must contain.
#[track_caller]
fn check(text: &str, expected: &[(&str, &[&str])]) {
    check_with(text, &Overrides::default(), expected);
}

#[track_caller]
fn check_with(text: &str, overrides: &Overrides, expected: &[(&str, &[&str])]) {
    let error = refused_with(text, overrides);
    assert_eq!(error.kind(), ErrorKind::Config);
    assert_eq!(error.kind().exit_code(), 2);
    assert_eq!(error.lines().len(), expected.len(), "other mistakes than expected:\n{error}");
    for (line, (place, words)) in error.lines().iter().zip(expected) {
        assert!(line.starts_with(place), "not at {place}:\n{line}");
        for word in *words {
            assert!(line.contains(word), "does not say {word:?}:\n{line}");
        }
    }
}

/// A topology that is right, to be broken.
const GOOD: &str = r#"[job]
parallelism = 2
[checkpoint]
interval = "1s"
[sources.ticks]
type = "numbers"
limit = 10
[operators.words]
type = "split"
inputs = ["ticks"]
separator = " "
[operators.counts]
type = "count"
inputs = ["words"]
[sinks.out]
type = "print"
inputs = ["counts"]
"#;

/// Checks what is said of the good topology once `from` is replaced.
#[track_caller]
fn broken(from: &str, to: &str, expected: &[(&str, &[&str])]) {
    assert!(GOOD.contains(from), "there is no {from:?} to replace");
    check(&GOOD.replace(from, to), expected);
}

#[test]
fn the_topology_to_be_broken_is_right() {
    let plan = load_text(GOOD, Path::new("job.toml"), &Overrides::default(), &registry()).unwrap();
    assert_eq!((plan.nodes.len(), plan.warnings.len()), (4, 0));
}

#[test]
fn every_mistake_of_a_file_is_told_at_once() {
    let text = r#"
[checkpoints]
[job]
paralelism = 2
[recovery]
scope = "batches"
journal = 5
[sources.ticks]
type = "numbers"
[operators.words]
type = "split"
inputs = ["tcks"]
[operators.words2]
type = "splitt"
inputs = ["ticks"]
[sinks.out]
type = "print"
inputs = ["words"]
colour = "red"
"#;
    check(
        text,
        &[
            ("job.toml:2:2", &["unknown table \"checkpoints\""]),
            ("job.toml:4:1", &["did you mean \"parallelism\"?"]),
            ("job.toml:6:9", &["\"batches\" is not one of the choices; did you mean \"batch\"?"]),
            ("job.toml:7:11", &["`5` has no unit"]),
            ("job.toml:8:10", &["\"limit\" is missing"]),
            ("job.toml:10:12", &["\"separator\" is missing"]),
            ("job.toml:12:11", &["did you mean \"ticks\"?"]),
            ("job.toml:14:8", &["did you mean \"split\"?"]),
            ("job.toml:19:1", &["unknown option \"colour\""]),
        ],
    );
}

#[test]
fn a_file_that_is_not_there_is_named_with_the_one_that_is() {
    let folder = std::env::temp_dir().join(format!("piton-config-errors-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("flights.toml"), GOOD).unwrap();
    let error = load(&folder.join("flihgts.toml"), &Overrides::default(), &registry()).err().unwrap();
    let plan = load(&folder.join("flights.toml"), &Overrides::default(), &registry()).unwrap();
    let left: Vec<_> = std::fs::read_dir(&folder).unwrap().flatten().map(|entry| entry.file_name()).collect();
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(error.to_string().contains("did you mean \"flights.toml\"?"), "{error}");
    assert_eq!(plan.settings.store.path, folder.join(".piton/flights"));
    assert_eq!(left, ["flights.toml"], "loading created something");
}

#[test]
fn no_file_whatever_makes_the_loader_panic() {
    const PIECES: [&str; 16] =
        ["", "=", "[", "]", "\"", "{", "}", "\n", ".", "ä", "${", "1", "-", "inputs = [\"out\"]\n", "true", ","];
    for seed in 0..3000 {
        let mut rng = piton::clock::rng(seed, "broken topology files");
        let mut text: Vec<char> = GOOD.chars().collect();
        for _ in 0..=rng.next_u32() % 3 {
            let at = rng.next_u32() as usize % text.len();
            let until = (at + rng.next_u32() as usize % 6).min(text.len());
            let piece = PIECES[rng.next_u32() as usize % PIECES.len()];
            text.splice(at..until, piece.chars());
        }
        let text: String = text.into_iter().collect();
        let loaded =
            std::panic::catch_unwind(|| load_text(&text, Path::new("job.toml"), &Overrides::default(), &registry()));
        match loaded {
            Ok(Ok(plan)) => assert!(!plan.nodes.is_empty(), "seed {seed}"),
            Ok(Err(error)) => {
                assert!(error.lines().iter().all(|line| line.starts_with("job.toml")), "seed {seed}: {error}")
            }
            Err(_) => panic!("seed {seed}:\n{text}"),
        }
    }
}
