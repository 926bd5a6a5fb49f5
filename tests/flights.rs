//! The default job's committed files hold what a plain loop over its input computes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Carrier and origin, as they stand in the files.
type Group = (String, String);

/// Flights, mean delay, share delayed over 30 minutes.
type Values = (u64, f64, f64);

/// A folder that holds what the job needs of the repository, and that is removed if the test passes.
fn workplace() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("flights-{}", std::process::id()));
    fs::create_dir_all(folder.join("data")).unwrap();
    for file in ["config.toml", "data/flights-2013-01.csv"] {
        fs::copy(root.join(file), folder.join(file)).unwrap();
    }
    folder
}

fn piton_run(folder: &Path) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_piton")).arg("run").current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    output
}

/// Reads rows below a header; none of these files has a quoted field.
fn rows(path: &Path) -> (Vec<String>, Vec<Vec<String>>) {
    let text = fs::read_to_string(path).unwrap();
    let mut lines = text.lines().map(|line| line.split(',').map(str::to_string).collect::<Vec<_>>());
    let header = lines.next().unwrap();
    (header, lines.collect())
}

fn expected() -> BTreeMap<Group, Values> {
    let (header, rows) = rows(&Path::new(env!("CARGO_MANIFEST_DIR")).join("data/flights-2013-01.csv"));
    let column = |name: &str| header.iter().position(|column| column == name).unwrap();
    let (carrier, origin, delay) = (column("carrier"), column("origin"), column("dep_delay"));
    let mut sums: BTreeMap<Group, (u64, i64, u64)> = BTreeMap::new();
    for row in rows {
        let Ok(delay) = row[delay].parse::<i64>() else { continue };
        let (flights, minutes, late) = sums.entry((row[carrier].clone(), row[origin].clone())).or_default();
        *flights += 1;
        *minutes += delay;
        *late += u64::from(delay > 30);
    }
    let values = |(flights, minutes, late): (u64, i64, u64)| {
        (flights, minutes as f64 / flights as f64, late as f64 / flights as f64)
    };
    sums.into_iter().map(|(group, sums)| (group, values(sums))).collect()
}

/// The names of the committed files, in the order in which they were committed.
fn committed(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder.join("out/delays")).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    let hidden = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().starts_with('.');
    assert!(!files.iter().any(hidden), "a job that has ended leaves nothing uncommitted: {files:?}");
    files.sort();
    files
}

#[test]
fn the_committed_files_hold_what_a_plain_loop_computes() {
    let folder = workplace();
    piton_run(&folder);
    let files = committed(&folder);
    let mut last: BTreeMap<Group, Values> = BTreeMap::new();
    for file in &files {
        let (header, rows) = rows(file);
        assert_eq!(header, ["carrier", "origin", "flights", "mean_delay", "share_delayed_30"]);
        for row in rows {
            let values = (row[2].parse().unwrap(), row[3].parse().unwrap(), row[4].parse().unwrap());
            let before = last.insert((row[0].clone(), row[1].clone()), values);
            assert!(before.is_none_or(|before| before.0 < values.0), "{row:?} does not follow {before:?}");
        }
    }
    let expected = expected();
    assert_eq!(expected.len(), 33);
    assert_eq!(last, expected);

    piton_run(&folder);
    assert_eq!(committed(&folder), files, "a job that has finished writes nothing when it is run again");
    fs::remove_dir_all(folder).unwrap();
}
