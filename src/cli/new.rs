//! `piton new`: a project to begin with, with one operator, its topology and a test that crashes it.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use crate::cli::terminal::Terminal;
use crate::error::{Error, Result};

/// What stands in a project: where, and what. `{name}` is what it is called, `{piton}` where this crate is found.
const FILES: [(&str, &str); 6] = [
    ("Cargo.toml", include_str!("new/Cargo.toml.in")),
    ("src/main.rs", include_str!("new/main.rs.in")),
    ("job.toml", include_str!("new/job.toml.in")),
    ("input.txt", include_str!("new/input.txt.in")),
    ("README.md", include_str!("new/README.md.in")),
    (".gitignore", include_str!("new/gitignore.in")),
];

/// What the project is called if its folder has no name that a package can have.
const UNNAMED: &str = "piton-job";

/// Names that mean something else to cargo, or are those of what it depends on.
const TAKEN: [&str; 8] = ["piton", "serde", "std", "core", "alloc", "test", "proc-macro", "proc_macro"];

/// Makes a project in a folder, which may be there if it is empty.
///
/// # Errors
/// Of kind `Config` if something stands in the folder, or it cannot be written.
pub(super) fn new(dir: &Path, terminal: &Terminal) -> Result {
    let failed =
        |what: &Path, error: std::io::Error| Error::config(format!("{} cannot be made: {error}", what.display()));
    match fs::read_dir(dir).map(|mut entries| entries.next().is_some()) {
        Ok(false) => {}
        Ok(true) => {
            let why = "there is something in it already; name a folder that is new or empty";
            return Err(Error::config(format!("{}: {why}", dir.display())));
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(failed(dir, error)),
    }
    fs::create_dir_all(dir.join("src")).map_err(|error| failed(dir, error))?;
    // A path such as `.` or `a/..` is named by where it leads to.
    let place = fs::canonicalize(dir).map_err(|error| failed(dir, error))?;
    let name = package_name(place.file_name().map(|name| name.to_string_lossy()).unwrap_or_default().as_ref());
    let piton = dependency(Path::new(env!("CARGO_MANIFEST_DIR")));
    for (file, template) in FILES {
        let path = dir.join(file);
        let content = template.replace("{name}", &name).replace("{piton}", &piton);
        fs::write(&path, content).map_err(|error| failed(&path, error))?;
    }
    let to = quoted(&dir.to_string_lossy());
    let dir = dir.display();
    terminal
        .say(&format!("\"{name}\" is made in {dir}; go on with\n  cd {to}\n  cargo test\n  cargo run -- run job.toml"));
    Ok(())
}

/// Returns a path as one word of a shell.
fn quoted(path: &str) -> String {
    let is_plain = |char: char| char.is_alphanumeric() || "/._-+,:@%".contains(char);
    let word = if path.chars().all(is_plain) { path.to_string() } else { format!("'{}'", path.replace('\'', "'\\''")) };
    // What begins with "-" would be an option.
    if path.starts_with('-') { format!("-- {word}") } else { word }
}

/// Returns how a manifest names this crate: where its source is, if it is there, or its version.
fn dependency(source: &Path) -> String {
    match source.to_str().filter(|_| source.join("Cargo.toml").is_file()) {
        Some(path) => format!("path = {}", toml::Value::from(path)),
        None => format!("version = \"{}\"", env!("CARGO_PKG_VERSION")),
    }
}

/// Returns a name that a package can have, as near to that of its folder as possible.
fn package_name(folder: &str) -> String {
    let is_fit = |letter: char| letter.is_ascii_alphanumeric() || letter == '-' || letter == '_';
    let fit: String = folder.to_lowercase().chars().map(|letter| if is_fit(letter) { letter } else { '-' }).collect();
    let fit = fit.trim_matches('-');
    if fit.is_empty() || TAKEN.contains(&fit) {
        return UNNAMED.to_string();
    }
    if fit.starts_with(|letter: char| letter.is_ascii_alphabetic()) {
        fit.to_string()
    } else {
        format!("{UNNAMED}-{fit}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_is_called_as_its_folder_if_it_can_be() {
        for (folder, name) in [
            ("my_job", "my_job"),
            ("My Job", "my-job"),
            ("größe", "gr--e"),
            ("2026", "piton-job-2026"),
            ("…", "piton-job"),
            ("", "piton-job"),
            ("serde", "piton-job"),
        ] {
            assert_eq!(package_name(folder), name, "{folder}");
        }
    }

    #[test]
    fn a_folder_is_advised_as_one_word_of_a_shell() {
        for (path, word) in [
            ("my-job", "my-job"),
            ("/tmp/größe/a.b", "/tmp/größe/a.b"),
            ("n w", "'n w'"),
            ("$HOME;x", "'$HOME;x'"),
            ("it's", "'it'\\''s'"),
            ("-x", "-- -x"),
        ] {
            assert_eq!(quoted(path), word, "{path}");
        }
    }

    #[test]
    fn a_project_finds_the_source_if_it_is_there_and_the_version_if_not() {
        assert!(dependency(Path::new(env!("CARGO_MANIFEST_DIR"))).starts_with("path = \""));
        assert_eq!(dependency(Path::new("/nowhere")), format!("version = \"{}\"", env!("CARGO_PKG_VERSION")));
    }
}
