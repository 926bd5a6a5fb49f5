//! What has become of the topology files since the last look.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The texts of the files that there are.
pub(super) type Texts = BTreeMap<PathBuf, String>;

/// What has become of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// It has come, or is another than before.
    Written(PathBuf, String),
    /// It is gone.
    Gone(PathBuf),
}

/// Returns what has changed, in the order of the paths.
pub(super) fn changes(before: &Texts, now: &Texts) -> Vec<Change> {
    let gone = before.keys().filter(|path| !now.contains_key(*path)).map(|path| Change::Gone(path.clone()));
    let written = now.iter().filter(|(path, text)| before.get(*path) != Some(*text));
    // What is gone comes first: a file that was renamed is the same job.
    gone.chain(written.map(|(path, text)| Change::Written(path.clone(), text.clone()))).collect()
}

/// Reads the files, and those of the folders. What cannot be read now is as it was before: a listing that fails must not
/// stop all jobs.
pub(super) fn look(paths: &[PathBuf], before: &Texts) -> Texts {
    let mut texts = Texts::new();
    for path in paths {
        if !path.is_dir() {
            read(path, before, &mut texts);
            continue;
        }
        let Ok(entries) = fs::read_dir(path) else {
            let kept = before.iter().filter(|(file, _)| file.parent() == Some(path));
            texts.extend(kept.map(|(file, text)| (file.clone(), text.clone())));
            continue;
        };
        for entry in entries.flatten() {
            let file = entry.path();
            let is_hidden = entry.file_name().to_string_lossy().starts_with('.');
            if !is_hidden && file.extension().is_some_and(|extension| extension == "toml") && file.is_file() {
                read(&file, before, &mut texts);
            }
        }
    }
    texts
}

fn read(file: &Path, before: &Texts, texts: &mut Texts) {
    let text = match fs::read(file) {
        Ok(text) => String::from_utf8_lossy(&text).into_owned(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return,
        Err(_) => match before.get(file) {
            Some(text) => text.clone(),
            None => return,
        },
    };
    texts.insert(file.to_path_buf(), text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_changed_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let paths = [dir.path().to_path_buf()];
        fs::write(path("a.toml"), "a").unwrap();
        fs::write(path(".b.toml"), "half").unwrap();
        fs::write(path("notes.txt"), "no job").unwrap();
        let first = look(&paths, &Texts::new());
        assert_eq!(changes(&Texts::new(), &first), [Change::Written(path("a.toml"), "a".into())]);
        assert_eq!(changes(&first, &look(&paths, &first)), []);
        fs::rename(path(".b.toml"), path("b.toml")).unwrap();
        fs::remove_file(path("a.toml")).unwrap();
        let second = look(&paths, &first);
        let expected = [Change::Gone(path("a.toml")), Change::Written(path("b.toml"), "half".into())];
        assert_eq!(changes(&first, &second), expected);
    }
}
