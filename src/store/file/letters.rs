//! Dead letters: an index in the catalogue, and a log in the region's folder as its second copy.
//!
//! A letter is listed by every checkpoint from the first one after it was set aside until its subtask hears of a commit.
//! The first of them that is committed brings it, in the same batch that moves the head; it is not brought again, and it
//! stays when the checkpoint expires. The index answers. If it was lost, or has lost some, the log makes up for it.

use std::collections::BTreeMap;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use tracing::warn;

use super::judge::Trust;
use super::letter_log::{self, Extent, Identity, Kept, Letters, identity};
use super::open::{Chosen, Opening, failed_to};
use super::witness::CatalogueSays;
use super::{FileStore, OpenReport, keys, names, record, region};
use crate::protocol::manifest::{DeadLetter, Manifest};
use crate::store::StoreError;
use crate::store::catalogue::{Batch, Catalogue};
use crate::store::disk::Disk;

/// The letters of a region while its store is opened, if they had to be looked at.
pub(super) struct FoundLetters {
    pub(super) letters: Letters,
    /// Whether the log does not hold them as it should.
    pub(super) is_log_damaged: bool,
}

impl<D: Disk, C: Catalogue<D>> FileStore<D, C> {
    /// Returns the letters that a manifest lists and no commit has brought yet.
    pub(super) fn new_letters(&mut self, number: u32, manifest: &Manifest) -> Result<Letters, StoreError> {
        let mut letters = Letters::new();
        for letter in manifest.subtasks.iter().flat_map(|subtask| &subtask.letters) {
            let identity = identity(letter);
            if self.catalogue.get(&keys::first_piece(&keys::letter(number, &identity)))?.is_none() {
                letters.insert(identity, Kept { commit: manifest.window, letter: letter.clone() });
            }
        }
        Ok(letters)
    }

    /// Appends letters to the log of a region, durably; returns how much of it counts once they are committed.
    pub(super) fn log_letters(&mut self, region: &str, letters: &Letters) -> Result<Extent, StoreError> {
        let region = &self.regions[region];
        let Extent { total, end } = region.letters;
        if letters.is_empty() {
            return Ok(region.letters);
        }
        let bytes = letter_log::encode(letters);
        let folder = region.folder.clone();
        let written = if end == 0 {
            write_log(&self.disk, &folder, &bytes)
        } else {
            let path = log_path(&folder);
            self.disk.overwrite(&path, end, &bytes).map_err(|error| StoreError::io("cannot append to", &path, error))
        };
        // What the file holds beyond its end is not known now, and a second attempt might not make it durable.
        self.poison(written)?;
        Ok(Extent { total: total + letters.len() as u64, end: end + bytes.len() as u64 })
    }

    /// Returns all letters that a region has committed, without those of windows that were given up for an older
    /// checkpoint. These stay in both copies: they count again for who goes back to them.
    pub(super) fn read_letters(&mut self, region: &str) -> Result<Letters, StoreError> {
        self.usable()?;
        let Some(kept) = self.region(region) else { return Ok(Letters::new()) };
        let (number, folder, extent) = (kept.number, kept.folder.clone(), kept.letters);
        let history = kept.history.clone();
        let held = |mut letters: Letters| {
            letters.retain(|(window, ..), _| history.holds(*window));
            Ok(letters)
        };
        let (mut letters, mut damage) = read_index(&mut self.catalogue, &self.dir, number)?;
        if damage.is_empty() && letters.len() as u64 == extent.total {
            return held(letters);
        }
        let (logged, of_log) = read_log(&self.disk, &folder, extent)?;
        letters.extend(logged);
        damage.extend(of_log);
        if letters.len() as u64 != extent.total {
            return Err(StoreError::Damaged(missing(region, &folder, letters.len(), extent, &damage)));
        }
        warn!(region, damage = damage.join("; "), "dead letters were read from their second copy");
        held(letters)
    }

    /// Returns the newest of them, or those before one of them, from the index alone: at most so many, and no more when
    /// their records come to so many bytes.
    pub(super) fn read_newest_letters(
        &mut self,
        region: &str,
        before: Option<&Identity>,
        most: usize,
        bytes: usize,
    ) -> Result<Vec<DeadLetter>, StoreError> {
        self.usable()?;
        let Some(kept) = self.regions.get(region) else { return Ok(Vec::new()) };
        let (number, history) = (kept.number, &kept.history);
        let to = before.map_or_else(|| keys::letters(number + 1), |before| keys::letter(number, before));
        let (mut found, mut len, mut damage) = (Vec::new(), 0, None);
        // Of one letter, the last piece first.
        let mut pieces: Vec<Vec<u8>> = Vec::new();
        self.catalogue.scan_back(&keys::letters(number), &to, &mut |key, piece| {
            if found.len() == most || len >= bytes {
                return ControlFlow::Break(());
            }
            pieces.push(piece.to_vec());
            if !keys::is_first_piece(key) {
                return ControlFlow::Continue(());
            }
            let sealed: Vec<u8> = pieces.drain(..).rev().flatten().collect();
            let kept = record::unseal(&sealed).ok().and_then(record::decode::<Kept>);
            let Some(Kept { letter, .. }) = kept else {
                damage = Some(format!("{}: a dead letter is damaged", self.dir.join(names::CATALOGUE).display()));
                return ControlFlow::Break(());
            };
            if history.holds(letter.window) {
                len += letter.record.len();
                found.push(letter);
            }
            ControlFlow::Continue(())
        })?;
        damage.map_or(Ok(found), |damage| Err(StoreError::Damaged(damage)))
    }

    /// Returns what is wrong with either copy of the letters, one line for each region and copy.
    pub(super) fn verify_letters(&mut self) -> Vec<String> {
        let regions: Vec<_> = self
            .regions
            .iter()
            .map(|(name, region)| (name.clone(), region.number, region.folder.clone(), region.letters))
            .collect();
        let mut lines = Vec::new();
        for (name, number, folder, extent) in regions {
            let copies = [
                (self.dir.join(names::CATALOGUE), read_index(&mut self.catalogue, &self.dir, number)),
                (log_path(&folder), read_log(&self.disk, &folder, extent)),
            ];
            for (path, read) in copies {
                match read {
                    Err(error) => lines.push(format!("dead letters of region \"{name}\": {error}")),
                    Ok((letters, damage)) if letters.len() as u64 != extent.total => {
                        lines.push(missing(&name, &path, letters.len(), extent, &damage));
                    }
                    Ok((_, damage)) => {
                        lines.extend(damage.iter().map(|what| format!("dead letters of region \"{name}\": {what}")));
                    }
                }
            }
        }
        lines
    }
}

impl<D: Disk> Opening<'_, D> {
    /// Looks at the letters of each region up to its chosen head, if its index is to be made again or its log is cut
    /// short.
    pub(super) fn choose_letters<C: Catalogue<D>>(
        &mut self,
        chosen: &mut BTreeMap<String, Chosen>,
        says: &CatalogueSays,
        mut catalogue: Option<&mut C>,
        trust: Trust,
    ) -> Result<(), StoreError> {
        for (name, region) in chosen {
            let number = says.regions.get(name).map(|says| says.number);
            self.choose_letters_of(name, region, catalogue.as_deref_mut().zip(number), trust)?;
        }
        Ok(())
    }

    fn choose_letters_of<C: Catalogue<D>>(
        &mut self,
        name: &str,
        chosen: &mut Chosen,
        index: Option<(&mut C, u32)>,
        trust: Trust,
    ) -> Result<(), StoreError> {
        let Some((_, head)) = chosen.head() else { return Ok(()) };
        let (window, extent) = (head.manifest.window, head.letters);
        let folder = region::folder(self.dir, name);
        if chosen.letters.is_some() || (trust == Trust::Whole && self.is_as_long(&folder, extent)?) {
            return Ok(());
        }
        let (mut letters, mut damage) = read_log(&self.disk, &folder, extent)?;
        let is_log_damaged = !damage.is_empty() || letters.len() as u64 != extent.total;
        if is_log_damaged {
            if let Some((catalogue, number)) = index {
                let (indexed, of_index) = read_index(catalogue, self.dir, number)?;
                letters.extend(indexed.into_iter().filter(|(_, kept)| kept.commit <= window));
                damage.extend(of_index);
            }
            for (commit, (_, record)) in &chosen.records {
                for letter in record.manifest.subtasks.iter().flat_map(|subtask| &subtask.letters) {
                    let kept = || Kept { commit: *commit, letter: letter.clone() };
                    letters.entry(identity(letter)).or_insert_with(kept);
                }
            }
        }
        let found = Extent { total: letters.len() as u64, end: letter_log::encode(&letters).len() as u64 };
        if found.total != extent.total {
            let lost = missing(name, &log_path(&folder), letters.len(), extent, &damage);
            if !self.options.allow_rollback {
                return Err(StoreError::Damaged(lost));
            }
            self.report.repair(lost);
        }
        if found != extent {
            // The head has to say so from now on.
            chosen.is_less = true;
            chosen.head_mut().expect("there is a head, as was seen above").letters = found;
        }
        chosen.letters = Some(FoundLetters { letters, is_log_damaged });
        Ok(())
    }

    fn is_as_long(&self, folder: &Path, extent: Extent) -> Result<bool, StoreError> {
        if extent.end == 0 {
            return Ok(true);
        }
        let path = log_path(folder);
        match self.disk.read_at(&path, extent.end - 1, 1) {
            Ok(last) => Ok(!last.is_empty()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(failed_to(&path)(error)),
        }
    }
}

/// Makes a log that was damaged again.
pub(super) fn settle_log<D: Disk>(
    disk: &D,
    folder: &Path,
    found: Option<&FoundLetters>,
    report: &mut OpenReport,
) -> Result<(), StoreError> {
    let Some(FoundLetters { letters, is_log_damaged: true }) = found else { return Ok(()) };
    write_log(disk, folder, &letter_log::encode(letters))?;
    report.repair(format!("{}: written anew", log_path(folder).display()));
    Ok(())
}

/// Adds letters to a batch.
pub(super) fn add<'a>(batch: &mut Batch, number: u32, letters: impl IntoIterator<Item = &'a Kept>) {
    for kept in letters {
        let sealed = record::seal(&record::encode(kept));
        for (key, piece) in keys::pieces(&keys::letter(number, &identity(&kept.letter)), &sealed) {
            batch.put(key, piece);
        }
    }
}

fn log_path(folder: &Path) -> PathBuf {
    folder.join(names::LETTERS)
}

/// Makes a log that holds this and nothing else, in place of any there is.
fn write_log<D: Disk>(disk: &D, folder: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let path = log_path(folder);
    let temporary = names::unfinished(&path);
    disk.write_new(&temporary, bytes)
        .and_then(|()| disk.rename(&temporary, &path))
        .and_then(|()| disk.sync_dir(folder))
        .map_err(|error| StoreError::io("cannot write", &path, error))
}

/// Returns the letters of the log, and what is wrong with it.
fn read_log<D: Disk>(disk: &D, folder: &Path, extent: Extent) -> Result<(Letters, Vec<String>), StoreError> {
    if extent.end == 0 {
        return Ok((Letters::new(), Vec::new()));
    }
    let path = log_path(folder);
    let bytes = match disk.read_at(&path, 0, extent.end) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok((Letters::new(), vec![format!("{}: the file is missing", path.display())]));
        }
        other => other.map_err(|error| StoreError::io("cannot read", &path, error))?,
    };
    let (letters, mut damage) = letter_log::decode(&bytes);
    if bytes.len() as u64 != extent.end {
        damage.push(format!("{} bytes expected, {} found", extent.end, bytes.len()));
    }
    Ok((letters, damage.iter().map(|what| format!("{}: {what}", path.display())).collect()))
}

/// Returns the letters of the index, and what is wrong with it.
fn read_index<D: Disk, C: Catalogue<D>>(
    catalogue: &mut C,
    dir: &Path,
    number: u32,
) -> Result<(Letters, Vec<String>), StoreError> {
    let folder = dir.join(names::CATALOGUE);
    let (mut letters, mut damage) = (Letters::new(), Vec::new());
    let pairs = match catalogue.scan(&keys::letters(number)) {
        Err(StoreError::Damaged(reason)) => return Ok((letters, vec![reason])),
        other => other?,
    };
    let mut pairs = pairs.into_iter().peekable();
    while let Some((key, piece)) = pairs.next() {
        let mut sealed = piece;
        while let Some((_, piece)) = pairs.next_if(|(next, _)| keys::whole(next) == keys::whole(&key)) {
            sealed.extend(piece);
        }
        let body = record::unseal(&sealed);
        let kept = body.and_then(|body| {
            record::decode::<Kept>(body).ok_or_else(|| "it is whole but cannot be understood".to_owned())
        });
        match kept {
            Ok(kept) => drop(letters.insert(identity(&kept.letter), kept)),
            Err(reason) => damage.push(format!("{}: a dead letter: {reason}", folder.display())),
        }
    }
    Ok((letters, damage))
}

fn missing(region: &str, path: &Path, found: usize, extent: Extent, damage: &[String]) -> String {
    let mut line = format!(
        "{}: region \"{region}\" has set aside {} records in its dead letters, {found} are left",
        path.display(),
        extent.total
    );
    if !damage.is_empty() {
        line.push_str(&format!(": {}", damage.join("; ")));
    }
    line
}

#[cfg(test)]
mod tests;
