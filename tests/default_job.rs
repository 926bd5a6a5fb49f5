//! The default job shows every option of the engine, commented out, at its default.

use std::collections::BTreeSet;

use piton::config::Settings;
use toml::{Table, Value};

/// Options whose default is not one value: it comes from the file's name, or is that there is none.
const WITHOUT_A_DEFAULT: &[&str] = &[
    "job.name",
    "checkpoint.aligned_timeout",
    "store.path",
    "http.listen",
    "http.token",
    "http.tls",
    "chaos.seed",
    "chaos.at",
    "chaos.expect",
];

/// The part of the file that is commented out, as if it were not.
fn commented_out() -> Table {
    let text = include_str!("../config.toml");
    let (_, shown) = text.split_once("# [job]").expect("the options begin with [job]");
    let shown: Vec<&str> = shown.lines().map(|line| line.strip_prefix("# ").unwrap_or(line)).collect();
    format!("[job]{}", shown.join("\n")).parse().expect("the options are TOML when they are not commented out")
}

#[test]
fn every_option_is_shown_at_its_default() {
    let shown = commented_out();
    let read: Settings = Value::Table(shown.clone()).try_into().expect("every option that is shown exists");
    let read = Table::try_from(read).unwrap();
    let defaults = Table::try_from(Settings::default()).unwrap();
    for name in WITHOUT_A_DEFAULT {
        let (table, option) = name.split_once('.').expect("options stand in tables");
        assert!(shown[table].get(option).is_some(), "{name} is not shown");
    }
    for (table, options) in &defaults {
        for (option, default) in options.as_table().expect("settings are tables of options") {
            let name = format!("{table}.{option}");
            assert!(shown.get(table).and_then(|options| options.get(option)).is_some(), "{name} is not shown");
            if !WITHOUT_A_DEFAULT.contains(&name.as_str()) {
                assert_eq!(&read[table][option], default, "the default of {name}");
            }
        }
    }
}

#[test]
fn every_option_says_what_it_does() {
    let text = include_str!("../config.toml");
    let mut names = BTreeSet::new();
    for line in text.lines().filter(|line| line.starts_with("# ") && line.contains(" = ") && !line.starts_with("#   "))
    {
        let (option, doc) = line.split_once(" # ").unwrap_or((line, ""));
        assert!(!doc.trim().is_empty(), "{option}: no word about it");
        names.insert(option);
    }
    assert!(names.len() > 35, "found only {} options", names.len());
}
