//! Opening: take the directory, compare its witnesses, mend what can be mended, refuse what cannot.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use super::judge::{self, Trust};
use super::letters::{self, FoundLetters};
use super::record::{self, Place, Record, Root};
use super::slots::{Slot, SlotFile};
use super::witness::{self, CatalogueSays};
use super::{FileStore, OpenOptions, OpenReport, commit, directory, keys, names};
use crate::ids::WindowId;
use crate::protocol::manifest::JoinedOutput;
use crate::store::StoreError;
use crate::store::catalogue::{Batch, Catalogue};
use crate::store::disk::{Disk, DiskLock, list_or_empty, remove_tree};

impl<D: Disk, C: Catalogue<D>> FileStore<D, C> {
    /// Opens a state directory on any disk; see [`SledStore::open`](super::SledStore::open).
    ///
    /// # Errors
    /// See there.
    pub fn open_on(disk: D, dir: &Path, options: OpenOptions) -> Result<(FileStore<D, C>, OpenReport), StoreError> {
        let lock = directory::take::<D, C>(&disk, dir)?;
        Opening { disk, dir, options, report: OpenReport::default() }.run(lock)
    }
}

/// A region as it will be once the store is open.
pub(super) struct Chosen {
    /// The checkpoints that are kept, the last of them the head.
    pub(super) records: BTreeMap<WindowId, (Place, Record)>,
    /// What became visible up to the head.
    pub(super) joined: BTreeMap<(WindowId, u32), JoinedOutput>,
    /// What became set aside up to the head, if that was looked at.
    pub(super) letters: Option<FoundLetters>,
    /// Something that was committed is given up, or is not where the head says.
    pub(super) is_less: bool,
}

impl Chosen {
    pub(super) fn head(&self) -> Option<&(Place, Record)> {
        self.records.values().next_back()
    }

    pub(super) fn head_mut(&mut self) -> Option<&mut Record> {
        self.records.values_mut().next_back().map(|(_, record)| record)
    }
}

/// A store while it is being opened.
pub(super) struct Opening<'a, D> {
    pub(super) disk: D,
    pub(super) dir: &'a Path,
    pub(super) options: OpenOptions,
    pub(super) report: OpenReport,
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
        self.choose_letters(&mut chosen, &says, catalogue.as_mut(), trust)?;
        if chosen.values().any(|region| region.is_less) {
            trust = Trust::Damaged;
            self.choose_letters(&mut chosen, &says, catalogue.as_mut(), trust)?;
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
                self.create_catalogue::<C>(&folder)?;
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

    /// Makes a catalogue under another name first: one that is cut short on its way looks like a damaged one.
    fn create_catalogue<C: Catalogue<D>>(&self, folder: &Path) -> Result<(), StoreError> {
        let unfinished = names::unfinished(folder);
        let failed = failed_to(&unfinished);
        if !list_or_empty(&self.disk, &unfinished).map_err(&failed)?.is_empty() {
            remove_tree(&self.disk, &unfinished).map_err(&failed)?;
        }
        self.disk.create_dir(&unfinished).map_err(&failed)?;
        drop(C::open(&self.disk, &unfinished)?);
        self.disk.rename(&unfinished, folder).map_err(&failed)
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
}

pub(super) fn failed_to(path: &Path) -> impl Fn(io::Error) -> StoreError + '_ {
    move |error| StoreError::io("cannot open or mend", path, error)
}

/// Returns what the newest whole slot says.
pub(super) fn newest_root(slots: &[Slot; 2]) -> Option<Root> {
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
        if let Some(found) = &region.letters {
            letters::add(&mut batch, number, found.letters.values());
        }
    }
    batch
}
