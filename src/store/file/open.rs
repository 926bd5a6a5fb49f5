//! Opening: take the directory, compare its witnesses, mend what can be mended, refuse what cannot.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use super::judge::{self, Evidence, Trust};
use super::record::{self, Place, Record, Root};
use super::region::{self, Depth, Region, Retained};
use super::slots::{Slot, SlotFile};
use super::witness::{self, CatalogueSays, RegionFound};
use super::{FileStore, OpenOptions, OpenReport, commit, keys, names, root_content};
use crate::ids::WindowId;
use crate::store::StoreError;
use crate::store::catalogue::{Batch, Catalogue};
use crate::store::disk::{Disk, DiskLock, create_dirs, list_or_empty, remove_tree};

impl<D: Disk, C: Catalogue<D>> FileStore<D, C> {
    /// Opens a state directory on any disk; see [`SledStore::open`](super::SledStore::open).
    ///
    /// # Errors
    /// See there.
    pub fn open_on(disk: D, dir: &Path, options: OpenOptions) -> Result<(FileStore<D, C>, OpenReport), StoreError> {
        let lock = take_directory::<D, C>(&disk, dir)?;
        Opening { disk, dir, options, report: OpenReport::default() }.run(lock)
    }
}

/// Makes sure that the directory is ours and nobody else's.
pub(super) fn take_directory<D: Disk, C: Catalogue<D>>(disk: &D, dir: &Path) -> Result<DiskLock, StoreError> {
    let failed = |error| StoreError::io("cannot open the state directory", dir, error);
    create_dirs(disk, dir).map_err(failed)?;
    // Not even a lock is left in a directory that is something else.
    check_format::<D, C>(disk, dir)?;
    let lock = disk.lock(&dir.join(names::LOCK)).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => StoreError::Locked(format!(
            "the state directory {} is in use by another process: stop it first, or use another directory",
            dir.display()
        )),
        _ => failed(error),
    })?;
    if !check_format::<D, C>(disk, dir)? {
        // The folder may be that of a process that was killed before its name was durable.
        if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            disk.sync_dir(parent).map_err(failed)?;
        }
        let path = dir.join(names::FORMAT);
        let temporary = names::unfinished(&path);
        disk.write_new(&temporary, &[format_text::<D, C>().as_bytes()]).map_err(failed)?;
        disk.rename(&temporary, &path).map_err(failed)?;
    }
    disk.sync_dir(dir).map_err(failed)?;
    Ok(lock)
}

fn format_text<D: Disk, C: Catalogue<D>>() -> String {
    format!("piton state 1\ncatalogue {}\n", C::NAME)
}

/// Returns whether the directory has been made before.
pub(super) fn check_format<D: Disk, C: Catalogue<D>>(disk: &D, dir: &Path) -> Result<bool, StoreError> {
    let path = dir.join(names::FORMAT);
    let expected = format_text::<D, C>();
    match disk.read(&path) {
        Ok(found) if found == expected.as_bytes() => Ok(true),
        Ok(found) => {
            let found = String::from_utf8_lossy(&found[..found.len().min(80)]).into_owned();
            Err(StoreError::Format(format!("{}: {expected:?} expected, {found:?} found", path.display())))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let unfinished = format!("{}{}", names::FORMAT, names::UNFINISHED);
            let entries = disk.list(dir).map_err(|error| StoreError::io("cannot list", dir, error))?;
            match entries.iter().find(|entry| entry.name != names::LOCK && entry.name != unfinished) {
                None => Ok(false),
                Some(other) => Err(StoreError::Format(format!(
                    "{}: the file is missing, while there is \"{}\": this is not a state directory, or it is damaged",
                    path.display(),
                    other.name
                ))),
            }
        }
        Err(error) => Err(StoreError::io("cannot read", &path, error)),
    }
}

/// A region as it will be once the store is open.
struct Chosen {
    /// The checkpoints that are kept, the last of them the head.
    records: BTreeMap<WindowId, (Place, Record)>,
    joined: BTreeMap<(WindowId, u32), crate::protocol::manifest::JoinedOutput>,
    /// Something that was committed is given up.
    is_less: bool,
}

impl Chosen {
    fn head(&self) -> Option<&(Place, Record)> {
        self.records.values().next_back()
    }
}

struct Opening<'a, D> {
    disk: D,
    dir: &'a Path,
    options: OpenOptions,
    report: OpenReport,
}

impl<D: Disk> Opening<'_, D> {
    fn run<C: Catalogue<D>>(mut self, lock: DiskLock) -> Result<(FileStore<D, C>, OpenReport), StoreError> {
        let failed = |error| StoreError::io("cannot make the state directory", self.dir, error);
        self.disk.create_dir(&self.dir.join(names::REGIONS)).map_err(failed)?;
        self.disk.sync_dir(self.dir).map_err(failed)?;
        // A killed process may have left a region whose name is there, but not durable.
        self.disk.sync_dir(&self.dir.join(names::REGIONS)).map_err(failed)?;

        let root_path = self.dir.join(names::ROOT);
        let root_slots =
            SlotFile::read(&self.disk, &root_path).map_err(|error| StoreError::io("cannot read", &root_path, error))?;
        let root_says = newest_root(&root_slots);

        let (mut catalogue, says, mut trust) = self.open_catalogue::<C>()?;
        let mut all: BTreeSet<String> = says.regions.keys().cloned().collect();
        all.extend(root_says.iter().flat_map(|root| root.regions.iter().cloned()));
        let found = witness::read_regions(&self.disk, self.dir, &all)?;
        all.extend(found.keys().cloned());

        let incarnation_behind = root_says.as_ref().is_some_and(|root| says.incarnation < root.incarnation);
        let behind = all.iter().filter(|name| judge::is_behind(found.get(*name), says.regions.get(*name)));
        let behind: Vec<&String> = behind.collect();
        if incarnation_behind || !behind.is_empty() {
            trust = Trust::Damaged;
            let what = behind.first().map_or("the incarnation".to_owned(), |name| format!("region \"{name}\""));
            self.report.repair(format!(
                "{}: the catalogue has gone back to an earlier state of {what}",
                self.dir.join(names::CATALOGUE).display()
            ));
        }

        let mut chosen = BTreeMap::new();
        for name in all {
            let region = self.choose(&name, found.get(&name), &says, trust)?;
            chosen.insert(name, region);
        }
        let root = self.choose_root(&root_slots, root_says, &says, &chosen, trust)?;
        if chosen.values().any(|region| region.is_less) {
            trust = Trust::Damaged;
        }

        let numbers: BTreeMap<&String, u32> = match trust {
            Trust::Whole => says.regions.iter().map(|(name, region)| (name, region.number)).collect(),
            Trust::Damaged => chosen.keys().zip(0..).collect(),
        };
        if trust == Trust::Damaged {
            catalogue = Some(self.replace_catalogue(catalogue, fresh_batch(&root, &chosen, &numbers))?);
        }
        let catalogue = catalogue.expect("a catalogue that did not open was replaced");

        // What an earlier life could not sync has names, but not durable ones.
        let folder = self.dir.join(names::REGIONS);
        self.disk.sync_dir(&folder).map_err(failed_to(&folder))?;
        let mut regions = BTreeMap::new();
        let mut free = numbers.values().map(|number| number + 1).max().unwrap_or(0);
        for (name, region) in &chosen {
            let number = numbers.get(name).copied().unwrap_or_else(|| {
                free += 1;
                free - 1
            });
            regions.insert(name.clone(), self.settle(name, region, found.get(name), number, trust)?);
        }
        let root_file = self.settle_root(&root_path, &root_slots, &root)?;
        self.disk.sync_dir(self.dir).map_err(failed_to(self.dir))?;
        self.report.swept += self.sweep_root();

        let Opening { disk, dir, options, report } = self;
        let store = FileStore {
            disk,
            dir: dir.to_owned(),
            options,
            catalogue,
            root,
            root_file,
            regions,
            poisoned: None,
            _lock: lock,
        };
        Ok((store, report))
    }

    /// Opens the catalogue and reads it; nothing is returned of one that does not open.
    fn open_catalogue<C: Catalogue<D>>(&mut self) -> Result<(Option<C>, CatalogueSays, Trust), StoreError> {
        let folder = self.dir.join(names::CATALOGUE);
        let entries = self.disk.list(self.dir).map_err(failed_to(self.dir))?;
        let exists = |name: &str| entries.iter().any(|entry| entry.name == name);
        if !exists(names::CATALOGUE) {
            if exists(names::CATALOGUE_NEW) {
                // A crash between the two renames of a replacement, which was complete.
                self.disk.rename(&self.dir.join(names::CATALOGUE_NEW), &folder).map_err(failed_to(&folder))?;
            } else {
                self.disk.create_dir(&folder).map_err(failed_to(&folder))?;
            }
            self.disk.sync_dir(self.dir).map_err(failed_to(self.dir))?;
        }
        let opened = C::open(&self.disk, &folder).and_then(|mut catalogue| {
            let says = witness::read_catalogue(&self.disk, &mut catalogue, self.dir)?;
            Ok((catalogue, says))
        });
        match opened {
            Ok((catalogue, says)) => {
                let trust = if says.damage.is_empty() { Trust::Whole } else { Trust::Damaged };
                for damage in &says.damage {
                    self.report.repair(damage.clone());
                }
                Ok((Some(catalogue), says, trust))
            }
            Err(StoreError::Damaged(reason)) => {
                self.report.repair(reason);
                Ok((None, CatalogueSays::default(), Trust::Damaged))
            }
            Err(error) => Err(error),
        }
    }

    /// Decides what a region starts from.
    fn choose(
        &mut self,
        name: &str,
        found: Option<&RegionFound>,
        says: &CatalogueSays,
        trust: Trust,
    ) -> Result<Chosen, StoreError> {
        let says = says.regions.get(name);
        let Evidence { proven, mut candidates, mut problems, doubt } = judge::weigh(name, found, says, trust);
        if let Some(doubt) = doubt {
            if !self.options.allow_rollback {
                return Err(StoreError::Damaged(format!(
                    "{doubt}: which window of region \"{name}\" was committed last is not known"
                )));
            }
            self.report.repair(doubt);
        }
        let mut joined = BTreeMap::new();
        for (window, nth, output) in says.into_iter().flat_map(|says| &says.joined) {
            joined.insert((*window, *nth), output.clone());
        }
        for (window, (_, record)) in &candidates {
            for (nth, output) in record.joined.iter().enumerate() {
                joined.insert((*window, nth as u32), output.clone());
            }
        }
        let Some(proven) = proven else {
            return Ok(Chosen { records: BTreeMap::new(), joined: BTreeMap::new(), is_less: false });
        };

        let folder = region::folder(self.dir, name);
        let mut start = None;
        for (window, (_, record)) in candidates.iter().rev() {
            let damage = witness::check_start(&self.disk, &folder, record)?;
            if damage.is_empty() {
                start = Some(*window);
                break;
            }
            problems.extend(damage);
        }
        let refuse = |what: String| {
            let reasons = if problems.is_empty() {
                format!("its manifest is neither in {} nor in the catalogue", folder.join(names::HEAD).display())
            } else {
                problems.join("; ")
            };
            Err(StoreError::Damaged(format!("window {proven} of region \"{name}\" was committed, {what}: {reasons}")))
        };
        let Some(start) = start else { return refuse("and no whole checkpoint is left".to_owned()) };
        if start < proven {
            if !self.options.allow_rollback {
                return refuse(format!("but the newest whole checkpoint is that of window {start}"));
            }
            self.report.repair(format!(
                "region \"{name}\" goes back from window {proven} to {start}: {}",
                problems.join("; ")
            ));
            self.report.rolled_back.push((name.to_owned(), proven, start));
        }
        candidates.retain(|window, _| *window <= start);
        joined.retain(|(window, _), _| *window <= start);
        let head = candidates.get_mut(&start).map(|(_, record)| record).expect("the start is one of the candidates");
        let there = joined.len() as u64;
        let is_less = start < proven || there != head.joined_total;
        if there != head.joined_total {
            let lost = format!(
                "{}: region \"{name}\" has committed {} joined outputs, {there} are left: {}",
                self.dir.join(names::CATALOGUE).display(),
                head.joined_total,
                self.report.repairs.join("; ")
            );
            if !self.options.allow_rollback {
                return Err(StoreError::Damaged(lost));
            }
            self.report.repair(lost);
            head.joined_total = there;
        }
        if trust == Trust::Damaged {
            self.drop_incomplete(name, start, &mut candidates)?;
        }
        Ok(Chosen { records: candidates, joined, is_less })
    }

    /// Drops older checkpoints whose chunks are not there. (Those of a slot may have expired.)
    fn drop_incomplete(
        &mut self,
        name: &str,
        start: WindowId,
        candidates: &mut BTreeMap<WindowId, (Place, Record)>,
    ) -> Result<(), StoreError> {
        let folder = region::folder(self.dir, name);
        let mut incomplete = Vec::new();
        for (window, (_, record)) in candidates.range(..start) {
            if !region::check_chunks(&self.disk, &folder, &record.manifest, Depth::Length)?.is_empty() {
                incomplete.push(*window);
            }
        }
        for window in incomplete {
            candidates.remove(&window);
            self.report.repair(format!(
                "region \"{name}\": the older checkpoint of window {window} is not complete and was dropped"
            ));
        }
        Ok(())
    }

    fn choose_root(
        &mut self,
        slots: &[Slot; 2],
        root_says: Option<Root>,
        says: &CatalogueSays,
        chosen: &BTreeMap<String, Chosen>,
        trust: Trust,
    ) -> Result<Root, StoreError> {
        let heads = chosen.values().filter_map(Chosen::head).map(|(_, record)| record.manifest.fence.incarnation);
        let newest_head = heads.max().unwrap_or(0);
        let is_damaged = slots.iter().any(|slot| slot.content().is_none());
        let mut incarnation = says.incarnation;
        if trust == Trust::Damaged {
            incarnation = incarnation.max(newest_head);
        }
        if let Some(root) = root_says {
            incarnation = incarnation.max(root.incarnation);
            if is_damaged && trust == Trust::Damaged {
                // The slot that cannot be read may have been about the next one.
                incarnation += 1;
            }
        } else if trust == Trust::Damaged && !self.options.allow_rollback {
            return Err(StoreError::Damaged(format!(
                "{} is damaged, and so is the catalogue: how often the job was started is not known",
                self.dir.join(names::ROOT).display()
            )));
        }
        Ok(Root { incarnation, regions: chosen.keys().cloned().collect() })
    }

    /// Puts a new catalogue in the place of a damaged one, which is kept beside it.
    fn replace_catalogue<C: Catalogue<D>>(&mut self, old: Option<C>, batch: Batch) -> Result<C, StoreError> {
        drop(old);
        let folder = self.dir.join(names::CATALOGUE);
        let new = self.dir.join(names::CATALOGUE_NEW);
        let failed = |error| StoreError::io("cannot replace", &folder, error);
        let entries = self.disk.list(self.dir).map_err(failed)?;
        if entries.iter().any(|entry| entry.name == names::CATALOGUE_NEW) {
            remove_tree(&self.disk, &new).map_err(failed)?;
        }
        self.disk.create_dir(&new).map_err(failed)?;
        self.disk.sync_dir(self.dir).map_err(failed)?;
        C::open(&self.disk, &new)?.apply(batch)?;

        let is_free = |number: &u32| {
            let name = format!("{}{number}", names::CATALOGUE_BAD);
            entries.iter().all(|entry| entry.name != name)
        };
        let number = (1..).find(is_free).expect("there are more numbers than folders");
        let bad = self.dir.join(format!("{}{number}", names::CATALOGUE_BAD));
        self.disk.rename(&folder, &bad).map_err(failed)?;
        self.disk.rename(&new, &folder).map_err(failed)?;
        self.disk.sync_dir(self.dir).map_err(failed)?;
        self.report.repair(format!(
            "{}: rebuilt from the heads of the regions; the damaged one is now {}",
            folder.display(),
            bad.display()
        ));
        C::open(&self.disk, &folder)
    }

    /// Makes a region's own witness agree with what was chosen, and remembers the region.
    fn settle(
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
            if is_damaged || found.is_none() {
                self.report.repair(format!("{}: a slot was written anew", path.display()));
            }
        }
        self.disk.create_dir(&folder.join(names::BLOBS)).map_err(&failed)?;
        self.disk.sync_dir(&folder).map_err(&failed)?;

        let mut region = Region::new(number, folder, head_file);
        region.head = chosen.head().map(|(_, record)| (record.manifest.window, record.manifest.fence));
        region.joined_total = chosen.head().map_or(0, |(_, record)| record.joined_total);
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
    fn sweep_root(&self) -> usize {
        let regions = self.dir.join(names::REGIONS);
        let mut gone = Vec::new();
        for dir in [self.dir, &regions] {
            for entry in list_or_empty(&self.disk, dir).unwrap_or_default() {
                if entry.is_dir && (entry.name.ends_with(names::UNFINISHED) || entry.name == names::CATALOGUE_NEW) {
                    if let Err(error) = remove_tree(&self.disk, &dir.join(&entry.name)) {
                        tracing::warn!(folder = entry.name, %error, "an unfinished folder cannot be removed");
                    }
                } else if entry.name.ends_with(names::UNFINISHED) {
                    gone.push(dir.join(entry.name));
                }
            }
        }
        self.remove_all(&gone)
    }

    fn remove_all(&self, paths: &[std::path::PathBuf]) -> usize {
        let mut removed = 0;
        for path in paths {
            match self.disk.remove(path) {
                Ok(()) => removed += 1,
                Err(error) => tracing::warn!(file = %path.display(), %error, "an unlisted file cannot be removed"),
            }
        }
        removed
    }

    fn settle_root(&mut self, path: &Path, slots: &[Slot; 2], root: &Root) -> Result<SlotFile, StoreError> {
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
        if is_damaged {
            self.report.repair(format!("{}: a slot was written anew", path.display()));
        }
        if is_damaged || newest_root(slots).as_ref() != Some(root) {
            file.write(&self.disk, &content).map_err(&failed)?;
        }
        Ok(file)
    }
}

fn failed_to(path: &Path) -> impl Fn(io::Error) -> StoreError + '_ {
    move |error| StoreError::io("cannot open or mend", path, error)
}

fn newest_root(slots: &[Slot; 2]) -> Option<Root> {
    let newest = slots.iter().filter(|slot| slot.content().is_some()).max_by_key(|slot| slot.sequence())?;
    record::decode(&newest.content()?.body)
}

/// Returns all that a new catalogue has to know.
fn fresh_batch(root: &Root, chosen: &BTreeMap<String, Chosen>, numbers: &BTreeMap<&String, u32>) -> Batch {
    let mut batch = Batch::default();
    batch.put(keys::incarnation(), root.incarnation.to_be_bytes().to_vec());
    for (name, region) in chosen {
        let Some((_, head)) = region.head() else { continue };
        let number = numbers[name];
        batch.put(keys::region(number), name.clone().into_bytes());
        batch.put(keys::head(number), head.manifest.window.0.to_be_bytes().to_vec());
        for (window, (place, record)) in &region.records {
            commit::add_retained(&mut batch, number, *window, *place, &record::seal(&record::encode(record)));
        }
        for ((window, nth), output) in &region.joined {
            commit::add_joined(&mut batch, number, *window, *nth, output);
        }
    }
    batch
}
