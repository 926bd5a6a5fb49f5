//! The last step of opening: the files are made to agree with what was chosen, and what belongs to nothing goes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use tracing::warn;

use super::judge::Trust;
use super::letters::settle_log;
use super::open::{Chosen, Opening, failed_to, newest_root};
use super::record::{self, Root};
use super::region::{self, Depth, Region, Retained};
use super::slots::{self, Slot, SlotFile};
use super::witness::RegionFound;
use super::{names, root_content};
use crate::store::StoreError;
use crate::store::disk::{Disk, list_or_empty, remove_tree};

impl<D: Disk> Opening<'_, D> {
    /// Makes a region's own witness agree with what was chosen, and remembers the region.
    pub(super) fn settle(
        &mut self,
        name: &str,
        chosen: &Chosen,
        found: Option<&RegionFound>,
        number: u32,
        trust: Trust,
    ) -> Result<Region, StoreError> {
        let folder = region::folder(self.dir, name);
        let content = match chosen.head() {
            Some((place, record)) => region::slot_content(record, record::encode(record), *place),
            None => region::nothing(name),
        };
        let path = folder.join(names::HEAD);
        let failed = failed_to(&path);
        if found.is_none() {
            Region::create(&self.disk, self.dir, name, number)?;
        }
        let slots = match found {
            Some(found) => found.slots.clone(),
            None => SlotFile::read(&self.disk, &path).map_err(&failed)?,
        };
        settle_log(&self.disk, &folder, chosen.letters.as_ref(), &mut self.report)?;
        let is_lost = slots.iter().all(|slot| slot.content().is_none());
        let mut head_file = SlotFile::resume(&path, &slots);
        if is_lost || chosen.is_less {
            SlotFile::create(&self.disk, &path, &content).map_err(&failed)?;
            self.disk.sync_dir(&folder).map_err(&failed)?;
            let slots = SlotFile::read(&self.disk, &path).map_err(&failed)?;
            head_file = SlotFile::resume(&path, &slots);
            self.report.repair(format!("{}: written anew from the catalogue", path.display()));
        } else {
            let newest = slots.iter().filter_map(Slot::content).map(|content| content.window).max();
            let is_damaged = slots.iter().any(|slot| slot.content().is_none());
            if is_damaged || newest != Some(content.window) {
                // The slot that cannot be read, or the older one.
                head_file.write(&self.disk, &content).map_err(&failed)?;
            }
            // The commit of a slot that was cut short is in the catalogue, which comes first.
            if (is_damaged && !slots::is_cut_short(&slots)) || found.is_none() {
                self.report.repair(format!("{}: a slot was written anew", path.display()));
            }
        }
        self.disk.create_dir(&folder.join(names::BLOBS)).map_err(&failed)?;
        self.disk.sync_dir(&folder).map_err(&failed)?;

        let mut region = Region::new(number, folder, head_file);
        region.head = chosen.head().map(|(_, record)| (record.manifest.window, record.manifest.fence));
        region.joined_total = chosen.head().map_or(0, |(_, record)| record.joined_total);
        region.letters = chosen.head().map(|(_, record)| record.letters).unwrap_or_default();
        region.history = chosen.head().map(|(_, record)| record.history.clone()).unwrap_or_default();
        for (window, (place, record)) in &chosen.records {
            let sealed = record::seal(&record::encode(record));
            region.retained.insert(*window, Retained::new(&record.manifest, *place, sealed.len()));
            for damage in region::check_chunks(&self.disk, &region.folder, &record.manifest, Depth::Length)? {
                self.report
                    .repair(format!("checkpoint of window {window} of region \"{name}\" cannot be restored: {damage}"));
            }
        }
        self.sweep_region(&mut region, trust)?;
        Ok(region)
    }

    /// Removes what no checkpoint lists. After damage only what is unfinished goes: somebody may want to look.
    fn sweep_region(&mut self, region: &mut Region, trust: Trust) -> Result<(), StoreError> {
        let blobs = region.folder.join(names::BLOBS);
        let mut gone = Vec::new();
        for entry in self.disk.list(&blobs).map_err(failed_to(&blobs))? {
            let is_unfinished = entry.name.ends_with(names::UNFINISHED);
            if is_unfinished || (trust == Trust::Whole && !region.lists(&entry.name)) {
                gone.push(blobs.join(entry.name));
            } else {
                region.found_blob(entry.name);
            }
        }
        let kept: BTreeSet<String> = region.retained.keys().map(|window| names::manifest(*window)).collect();
        for entry in self.disk.list(&region.folder).map_err(failed_to(&region.folder))? {
            let is_unlisted = names::is_manifest(&entry.name) && !kept.contains(&entry.name);
            if entry.name.ends_with(names::UNFINISHED) || (trust == Trust::Whole && is_unlisted) {
                gone.push(region.folder.join(entry.name));
            }
        }
        self.report.swept += self.remove_all(&gone);
        Ok(())
    }

    /// Removes what is unfinished beside the regions.
    pub(super) fn sweep_root(&self) -> usize {
        let regions = self.dir.join(names::REGIONS);
        let mut gone = Vec::new();
        let savepoints = self.dir.join(names::SAVEPOINTS);
        for dir in [self.dir, &regions, &savepoints] {
            for entry in list_or_empty(&self.disk, dir).unwrap_or_default() {
                if entry.is_dir && (entry.name.ends_with(names::UNFINISHED) || entry.name == names::CATALOGUE_NEW) {
                    if let Err(error) = remove_tree(&self.disk, &dir.join(&entry.name)) {
                        warn!(folder = entry.name, %error, "an unfinished folder cannot be removed");
                    }
                } else if entry.name.ends_with(names::UNFINISHED) {
                    gone.push(dir.join(entry.name));
                }
            }
        }
        self.remove_all(&gone)
    }

    fn remove_all(&self, paths: &[PathBuf]) -> usize {
        let mut removed = 0;
        for path in paths {
            match self.disk.remove(path) {
                Ok(()) => removed += 1,
                Err(error) => warn!(file = %path.display(), %error, "an unlisted file cannot be removed"),
            }
        }
        removed
    }

    /// Makes the store's own witness agree with what was chosen.
    pub(super) fn settle_root(&mut self, path: &Path, slots: &[Slot; 2], root: &Root) -> Result<SlotFile, StoreError> {
        let failed = failed_to(path);
        let content = root_content(root);
        if slots.iter().all(|slot| slot.content().is_none()) {
            if root.incarnation > 0 || !root.regions.is_empty() {
                self.report.repair(format!("{}: written anew from the catalogue", path.display()));
            }
            SlotFile::create(&self.disk, path, &content).map_err(&failed)?;
            let slots = SlotFile::read(&self.disk, path).map_err(&failed)?;
            return Ok(SlotFile::resume(path, &slots));
        }
        let mut file = SlotFile::resume(path, slots);
        let is_damaged = slots.iter().any(|slot| slot.content().is_none());
        if is_damaged && !slots::is_cut_short(slots) {
            self.report.repair(format!("{}: a slot was written anew", path.display()));
        }
        if is_damaged || newest_root(slots).as_ref() != Some(root) {
            file.write(&self.disk, &content).map_err(&failed)?;
        }
        Ok(file)
    }
}
