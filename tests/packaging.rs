//! The script that builds a static program asks the compiler for one, and passes nothing else off as one. Nothing is
//! compiled here: cargo and the tool that looks at the file are stand-ins.
#![cfg(target_os = "linux")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

/// Writes down what it is asked for, and makes the file that would be built.
const CARGO: &str = r#"#!/usr/bin/env bash
set -eu
echo "$RUSTFLAGS|$*" >"$CARGO_TARGET_DIR/asked"
while [ "$1" != --target ]; do shift; done
mkdir -p "$CARGO_TARGET_DIR/$2/release"
echo built >"$CARGO_TARGET_DIR/$2/release/piton"
"#;

fn build(folder: &Path, headers: &str, words: &[&str]) -> Output {
    let readelf = format!("#!/usr/bin/env bash\n[ -f \"${{@: -1}}\" ] && echo '{headers}'\n");
    for (name, text) in [("cargo", CARGO), ("readelf", readelf.as_str()), ("cc", "#!/bin/sh\n")] {
        let file = folder.join(name);
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
    Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/static"))
        .args(words)
        .current_dir(folder)
        .env("PATH", path)
        .env("CARGO_TARGET_DIR", folder)
        .env("RUSTFLAGS", "-C debuginfo=0")
        .output()
        .unwrap()
}

#[test]
fn a_static_program_is_asked_for_and_put_where_it_is_wanted() {
    let folder = tempfile::tempdir().unwrap();
    let done = build(folder.path(), "  LOAD", &["here", "--no-default-features"]);
    assert!(done.status.success(), "{done:?}");
    let asked = fs::read_to_string(folder.path().join("asked")).unwrap();
    let (flags, words) = asked.trim().split_once('|').unwrap();
    assert_eq!(flags, "-C debuginfo=0 -C target-feature=+crt-static");
    for word in ["build --release --locked", "--bin piton", "--target", "-unknown-linux-gnu", "--no-default-features"] {
        assert!(words.contains(word), "{word}: {words}");
    }
    let file = folder.path().join("here");
    assert_eq!(fs::read_to_string(&file).unwrap(), "built\n");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o755);
}

#[test]
fn a_program_that_needs_libraries_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let done = build(folder.path(), "  INTERP", &["here"]);
    assert_eq!(done.status.code(), Some(1), "{done:?}");
    assert!(String::from_utf8_lossy(&done.stderr).contains("needs shared libraries"), "{done:?}");
    assert!(!folder.path().join("here").exists());
}
