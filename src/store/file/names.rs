//! Where things are in a state directory, and how names of regions and chunks become names of files.

use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_64;

use crate::ids::WindowId;
use crate::protocol::manifest::ChunkId;

pub(super) const FORMAT: &str = "FORMAT";
pub(super) const LOCK: &str = "LOCK";
pub(super) const ROOT: &str = "ROOT";
pub(super) const REGIONS: &str = "regions";
pub(super) const SAVEPOINTS: &str = "savepoints";
pub(super) const CATALOGUE: &str = "catalog";
pub(super) const CATALOGUE_NEW: &str = "catalog.new";
pub(super) const CATALOGUE_BAD: &str = "catalog.bad-";
pub(super) const HEAD: &str = "HEAD";
pub(super) const BLOBS: &str = "blobs";
pub(super) const LETTERS: &str = "LETTERS";
/// Ends the name of a file or folder that is not finished.
pub(super) const UNFINISHED: &str = ".tmp";
const MANIFEST: &str = ".manifest";

/// Escaped names are no longer than this; file systems stop at 255.
const LONGEST: usize = 180;

/// Returns the folder of a region, relative to the folder of all regions.
pub(super) fn region(name: &str) -> String {
    escape(name)
}

/// Returns the folder of a savepoint, relative to the folder of all savepoints.
pub(super) fn savepoint(name: &str) -> String {
    escape(name)
}

/// Returns the name of the file of a chunk.
pub(super) fn blob(id: &ChunkId) -> String {
    escape(&id.to_string())
}

/// Returns the name of the file of a manifest.
pub(super) fn manifest(window: WindowId) -> String {
    format!("{:020}{MANIFEST}", window.0)
}

pub(super) fn is_manifest(name: &str) -> bool {
    name.ends_with(MANIFEST)
}

/// Returns whether the store has made what has this name in a state directory for its checkpoints. `FORMAT` and `LOCK`
/// are not part of them, and neither are savepoints.
pub(super) fn is_own(name: &str) -> bool {
    [ROOT, REGIONS, CATALOGUE, CATALOGUE_NEW].contains(&name)
        || name.starts_with(CATALOGUE_BAD)
        || [FORMAT, ROOT, HEAD, CATALOGUE].iter().any(|own| name.strip_suffix(UNFINISHED) == Some(own))
}

/// Returns the path under which a file is written before it gets its name.
pub(super) fn unfinished(path: &Path) -> PathBuf {
    let mut name = path.file_name().expect("the store's own paths end in a name").to_owned();
    name.push(UNFINISHED);
    path.with_file_name(name)
}

/// Writes a name with letters that every file system takes; different names stay different.
///
/// There is no dot in the result, so that no name ends like a temporary file.
fn escape(name: &str) -> String {
    let mut escaped = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_') {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    if escaped.len() > LONGEST || escaped.is_empty() {
        escaped.truncate(LONGEST);
        escaped.push_str(&format!("~{:016x}", xxh3_64(name.as_bytes())));
    }
    escaped
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_safe_and_distinct() {
        let long = "é".repeat(200);
        let longer = format!("{long}x");
        let names =
            ["", ".", "..", "a/b", "a%2Fb", "a.tmp", "A", "a b", "é", "a~", "\0", long.as_str(), longer.as_str()];
        let escaped: BTreeSet<String> = names.iter().map(|name| escape(name)).collect();
        assert_eq!(escaped.len(), names.len());
        for name in &escaped {
            assert!(!name.contains(['/', '.', '\0']) && !name.is_empty() && name.len() < 200, "{name}");
        }
    }
}
