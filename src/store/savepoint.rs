//! Savepoints: checkpoints that somebody asked for and gave a name.
//!
//! A savepoint keeps everything it needs beside the checkpoints of the job: nothing that happens to those (retention,
//! discarding the state, a damaged catalogue) touches it, and its folder may be copied into the state directory of
//! another job. It appears whole or not at all.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ids::WindowId;
use crate::protocol::manifest::{ChunkRef, Manifest};
use crate::store::StoreError;

/// What a savepoint says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Savepoint {
    /// Its name.
    pub name: String,
    /// The name of the job.
    pub job: String,
    /// When it was complete, in ms since 1970.
    pub created_ms: i64,
    /// The window of each region.
    pub regions: BTreeMap<String, WindowId>,
    /// How many bytes of state it holds.
    pub bytes: u64,
}

/// Returns what is wrong with the name of a savepoint, if anything is: it becomes that of a folder, and must not be
/// taken for the number of a window.
pub fn check_savepoint_name(name: &str) -> Result<(), String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if name.is_empty() || name.len() > 100 || !name.chars().all(is_plain) {
        return Err(format!(
            "\"{name}\" cannot be the name of a savepoint: use up to 100 letters, digits, \"_\" and \"-\""
        ));
    }
    if name.bytes().all(|byte| byte.is_ascii_digit()) || ["latest", "none"].contains(&name) {
        return Err(format!("\"{name}\" cannot be the name of a savepoint: it means something else to `--resume`"));
    }
    Ok(())
}

/// Keeps savepoints. A savepoint is made in parts, one for each region, as soon as that has committed its window; nobody
/// sees it before it is sealed, and what was not sealed is gone when the store is opened again.
pub trait Savepoints {
    /// Adds the checkpoint of a retained window to a savepoint that is being made.
    ///
    /// # Errors
    /// If the disk says no, or the window is not retained. The parts so far are still there.
    fn add_to_savepoint(&mut self, name: &str, region: &str, window: WindowId) -> Result<(), StoreError>;

    /// Makes a savepoint of its parts, durably.
    ///
    /// # Errors
    /// If there is one of that name already, or the disk says no: there is none then.
    fn seal_savepoint(&mut self, name: &str, job: &str, created_ms: i64) -> Result<Savepoint, StoreError>;

    /// Throws the parts of a savepoint away that is not to be.
    ///
    /// # Errors
    /// If the disk says no; they go when the store is opened again.
    fn abort_savepoint(&mut self, name: &str) -> Result<(), StoreError>;

    /// Removes a savepoint; returns whether there was one.
    ///
    /// # Errors
    /// If the disk says no. What is left is no savepoint any more.
    fn drop_savepoint(&mut self, name: &str) -> Result<bool, StoreError>;

    /// Returns all savepoints, oldest first.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] names one that cannot be read.
    fn list_savepoints(&mut self) -> Result<Vec<Savepoint>, StoreError>;

    /// Returns the manifest of a region in a savepoint.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if it is not there whole.
    fn load_savepoint(&mut self, name: &str, region: &str) -> Result<Manifest, StoreError>;

    /// Returns a chunk of a savepoint, verified.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] names the file and what was expected.
    fn read_saved_chunk(&mut self, name: &str, chunk: &ChunkRef) -> Result<Vec<u8>, StoreError>;

    /// Keeps the chunks of a region in a savepoint as those of a checkpoint, so that a commit may list them.
    ///
    /// # Errors
    /// If one is damaged, or the disk says no.
    fn reuse_savepoint(&mut self, name: &str, region: &str) -> Result<(), StoreError>;

    /// Removes savepoints and checkpoints that were complete before this time, in ms since 1970; never the newest
    /// checkpoint of a region. Returns one line for each.
    ///
    /// # Errors
    /// If the disk says no.
    fn expire(&mut self, before_ms: i64) -> Result<Vec<String>, StoreError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_plain_and_no_number() {
        for name in ["before-upgrade", "v2", "2026-01-01", "A_b"] {
            assert_eq!(check_savepoint_name(name), Ok(()));
        }
        for name in ["", "42", "latest", "none", "a b", "../x", ".hidden", "a.tmp", &"x".repeat(101)] {
            assert!(check_savepoint_name(name).is_err(), "{name}");
        }
    }
}
