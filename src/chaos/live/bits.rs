//! Bits that flip while nobody runs: in one of the files that a store holds, which is kept as it was beside it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rand::Rng as _;

use crate::clock::rng;

/// A bit that was flipped.
pub(super) struct Flipped {
    state: PathBuf,
    before: PathBuf,
    /// Which bit of which file, in words.
    pub(super) what: String,
}

impl Flipped {
    /// Flips a bit that follows from the seed, in a file that holds something.
    ///
    /// # Errors
    /// If there is no such file, or it cannot be written.
    pub(super) fn flip(state: &Path, seed: u64, number: u32) -> io::Result<Flipped> {
        let before = state.with_extension("before");
        if before.exists() {
            fs::remove_dir_all(&before)?;
        }
        copy(state, &before)?;
        let mut files = Vec::new();
        list(state, &mut files)?;
        files.sort();
        let mut random = rng(seed, &format!("bit of fault {number}"));
        let mut below = |end: usize| usize::try_from(random.next_u64() % end.max(1) as u64).unwrap_or(0);
        let file = files.get(below(files.len())).ok_or_else(|| io::Error::other("the store holds no file yet"))?;
        let mut bytes = fs::read(file)?;
        let (byte, bit) = (below(bytes.len()), below(8));
        bytes[byte] ^= 1 << bit;
        fs::write(file, bytes)?;
        let name = file.strip_prefix(state).unwrap_or(file).display();
        Ok(Flipped { state: state.to_path_buf(), before, what: format!("bit {bit} of byte {byte} of {name}") })
    }

    /// Puts everything back as it was.
    ///
    /// # Errors
    /// If that cannot be done.
    pub(super) fn put_back(self) -> io::Result<()> {
        fs::remove_dir_all(&self.state)?;
        fs::rename(&self.before, &self.state)
    }

    /// Forgets how it was before.
    ///
    /// # Errors
    /// If that cannot be removed.
    pub(super) fn forget(self) -> io::Result<()> {
        fs::remove_dir_all(&self.before)
    }
}

/// Lists the files that hold something of the store: not its lock, what is damaged already, or the socket.
fn list(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let kind = entry.file_type()?;
        if kind.is_dir() && !name.starts_with("catalog.bad") && name != "control" {
            list(&entry.path(), files)?;
        } else if kind.is_file() && name != "LOCK" && entry.metadata()?.len() > 0 {
            files.push(entry.path());
        }
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (kind, target) = (entry.file_type()?, to.join(entry.file_name()));
        if kind.is_dir() {
            copy(&entry.path(), &target)?;
        } else if kind.is_file() {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bit_flips_and_can_be_put_back() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        fs::create_dir_all(state.join("regions/in")).unwrap();
        fs::write(state.join("LOCK"), "x").unwrap();
        fs::write(state.join("empty"), "").unwrap();
        fs::write(state.join("regions/in/HEAD"), [0u8; 64]).unwrap();
        let flipped = Flipped::flip(&state, 7, 1).unwrap();
        let ones = |path: &str| fs::read(state.join(path)).unwrap().iter().map(|byte| byte.count_ones()).sum::<u32>();
        assert_eq!(ones("regions/in/HEAD"), 1, "{}", flipped.what);
        assert!(flipped.what.ends_with("regions/in/HEAD"));
        flipped.put_back().unwrap();
        assert_eq!(ones("regions/in/HEAD"), 0);
        let same = Flipped::flip(&state, 7, 1).unwrap();
        same.forget().unwrap();
        assert!(!folder.path().join("state.before").exists());
        assert_eq!(ones("regions/in/HEAD"), 1);
    }
}
