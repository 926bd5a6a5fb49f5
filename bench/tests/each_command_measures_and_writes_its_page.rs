//! Each command measures something on a small size, and writes its page and its charts.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use std::fs;
use std::process::Command;

/// Runs a command with a page, and returns the rows of its tables, without their headings.
fn rows(arguments: &[&str], page: &str, charts: &[&str]) -> Vec<Vec<String>> {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_bench"))
        .args(arguments)
        .args(["--write", "--folder"])
        .arg(folder.path())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {told}");
    for chart in charts {
        let drawn = fs::read_to_string(folder.path().join(chart)).unwrap();
        assert!(drawn.contains("<svg") && drawn.contains("<circle"), "{chart} shows nothing");
    }
    let page = fs::read_to_string(folder.path().join(page)).unwrap();
    assert!(page.contains("- machine: ") && page.contains("- command: "), "{page}");
    let mut rows: Vec<Vec<String>> = Vec::new();
    let mut lines = page.lines().peekable();
    while let Some(line) = lines.next() {
        let is_heading = lines.peek().is_some_and(|next| next.starts_with("|---"));
        if line.starts_with("| ") && !is_heading {
            rows.push(line.trim_matches('|').split('|').map(|cell| cell.trim().to_string()).collect());
        }
    }
    for row in &rows {
        assert!(!row.iter().any(|cell| cell.contains("NaN")), "a figure is missing: {row:?}");
    }
    rows
}

#[test]
fn latency() {
    let arguments = [
        "latency",
        "--rate",
        "2000",
        "--seconds",
        "0.5",
        "--interval",
        "50,20",
        "--learns",
        "woken,idle",
        "--rounds",
        "1",
    ];
    let rows = rows(&arguments, "latency.md", &["latency.svg"]);
    assert_eq!(rows.len(), 8, "{rows:?}");
    for row in rows {
        let [seen, committed] = [2, 6].map(|column| row[column].parse::<f64>().unwrap());
        assert!(0.0 < seen && seen < committed, "{row:?}");
        assert!(row[10].parse::<u64>().unwrap() > 1, "{row:?}");
    }
}

#[test]
fn scale() {
    let sizes = ["--parallelism", "1,2", "--subtasks", "1,5", "--jobs", "1,3", "--keys", "1000,5000", "--state", "1,2"];
    let runs = ["--rows", "6000", "--idle", "500", "--changes", "2", "--interval", "600", "--rounds", "1"];
    let arguments: Vec<&str> = ["scale"].into_iter().chain(sizes).chain(runs).collect();
    let rows = rows(&arguments, "scale.md", &["scale-rows.svg", "scale-checkpoints.svg"]);
    let sizes: Vec<&str> = rows.iter().map(|row| row[0].as_str()).collect();
    assert_eq!(sizes, ["1", "2", "1", "5", "1", "5", "1", "3", "1000", "5000", "1", "2", "1000"]);
    for row in &rows[8..12] {
        let [full, changed] = [4, 9].map(|column| row[column].parse::<f64>().unwrap());
        assert!(changed > 0.0 && changed < full / 4.0, "a change of 1 % writes little: {row:?}");
    }
}
