//! What the files of a state directory say, before anybody has judged it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::record::{self, Place, Record, Reference};
use super::region::{self, Depth};
use super::slots::{Kind, Slot, SlotFile};
use super::{keys, names};
use crate::ids::WindowId;
use crate::protocol::manifest::JoinedOutput;
use crate::store::StoreError;
use crate::store::catalogue::Catalogue;
use crate::store::disk::{Disk, list_or_empty};

/// Up to this size the state of a head is read and verified before a job starts from it; above, its length is.
const VERIFIED_UP_TO: u64 = 1 << 30;

/// A joined output with its window and its number within.
pub(super) type Joined = (WindowId, u32, JoinedOutput);

/// What the catalogue says.
#[derive(Debug, Default)]
pub(super) struct CatalogueSays {
    pub(super) incarnation: u64,
    pub(super) regions: BTreeMap<String, RegionSays>,
    /// What in it contradicts itself.
    pub(super) damage: Vec<String>,
}

/// What the catalogue says of a region.
#[derive(Debug)]
pub(super) struct RegionSays {
    pub(super) number: u32,
    pub(super) head: Option<WindowId>,
    pub(super) places: BTreeMap<WindowId, Place>,
    pub(super) records: BTreeMap<WindowId, Record>,
    pub(super) joined: Vec<Joined>,
}

/// A region's folder as it was found.
#[derive(Debug)]
pub(super) struct RegionFound {
    pub(super) folder: PathBuf,
    pub(super) slots: [Slot; 2],
    /// The records that the slots hold or refer to.
    pub(super) records: BTreeMap<WindowId, (Place, Record)>,
    /// Why a record that a slot refers to is not among them.
    pub(super) missing: BTreeMap<WindowId, String>,
}

/// Reads all that a catalogue says; what it says of chunks and files is not looked at.
pub(super) fn read_catalogue<D: Disk, C: Catalogue<D>>(
    disk: &D,
    catalogue: &mut C,
    dir: &Path,
) -> Result<CatalogueSays, StoreError> {
    let mut says = CatalogueSays::default();
    let folder = dir.join(names::CATALOGUE);
    let long = |value: Vec<u8>| value.try_into().ok().map(u64::from_be_bytes);
    if let Some(value) = catalogue.get(&keys::incarnation())? {
        match long(value) {
            Some(incarnation) => says.incarnation = incarnation,
            None => says.damage.push(format!("{}: the incarnation is not a number", folder.display())),
        }
    }
    for (key, name) in catalogue.scan(keys::REGIONS)? {
        let (Some(number), Ok(name)) = (keys::region_number(&key), String::from_utf8(name)) else {
            says.damage.push(format!("{}: the name of a region is damaged", folder.display()));
            continue;
        };
        let head = catalogue.get(&keys::head(number))?.and_then(long).map(WindowId);
        let mut region =
            RegionSays { number, head, places: BTreeMap::new(), records: BTreeMap::new(), joined: Vec::new() };
        for (key, place) in catalogue.scan(&keys::places(number))? {
            let (Some(window), Some(place)) = (keys::place_window(&key), record::decode::<Place>(&place)) else {
                says.damage.push(format!("{}: a checkpoint of region \"{name}\" is damaged", folder.display()));
                continue;
            };
            region.places.insert(window, place);
            let found = match place {
                Place::Catalogue => {
                    let sealed = keys::join(catalogue.scan(&keys::record(number, window))?);
                    record::open(&sealed, &folder, &name, window)
                }
                Place::File { .. } => region::read_manifest(disk, &region::folder(dir, &name), &name, window),
            };
            match found {
                Ok(record) => drop(region.records.insert(window, record)),
                Err(error @ StoreError::Io { .. }) => return Err(error),
                Err(error) => says.damage.push(error.to_string()),
            }
        }
        if region.head.is_none_or(|head| !region.places.contains_key(&head)) {
            says.damage.push(format!("{}: region \"{name}\" has no head", folder.display()));
        }
        match read_joined(catalogue, dir, &name, number) {
            Ok(joined) => region.joined = joined,
            Err(StoreError::Damaged(reason)) => says.damage.push(reason),
            Err(error) => return Err(error),
        }
        let head = region.head.and_then(|head| region.records.get(&head));
        if let Some(head) = head.filter(|head| head.joined_total != region.joined.len() as u64) {
            says.damage.push(format!(
                "{}: region \"{name}\" has committed {} joined outputs, {} are there",
                folder.display(),
                head.joined_total,
                region.joined.len()
            ));
        }
        says.regions.insert(name, region);
    }
    Ok(says)
}

/// Reads all joined outputs of a region, oldest first.
pub(super) fn read_joined<D: Disk, C: Catalogue<D>>(
    catalogue: &mut C,
    dir: &Path,
    region: &str,
    number: u32,
) -> Result<Vec<Joined>, StoreError> {
    let damaged = |reason: &str| {
        let folder = dir.join(names::CATALOGUE);
        StoreError::Damaged(format!("{}: a joined output of region \"{region}\": {reason}", folder.display()))
    };
    let mut outputs = Vec::new();
    let mut pairs = catalogue.scan(&keys::joined(number))?.into_iter().peekable();
    while let Some((key, piece)) = pairs.next() {
        let mut sealed = piece;
        while let Some((_, piece)) = pairs.next_if(|(next, _)| keys::whole(next) == keys::whole(&key)) {
            sealed.extend(piece);
        }
        let (window, nth) = keys::joined_numbers(&key).ok_or_else(|| damaged("its key is damaged"))?;
        let body = record::unseal(&sealed).map_err(|reason| damaged(&reason))?;
        let output = record::decode(body).ok_or_else(|| damaged("it is whole but cannot be understood"))?;
        outputs.push((window, nth, output));
    }
    Ok(outputs)
}

/// Reads the heads of all regions that have a folder. `known` are the names of regions from elsewhere, by which a
/// folder whose own witness is damaged is told.
pub(super) fn read_regions<D: Disk>(
    disk: &D,
    dir: &Path,
    known: &BTreeSet<String>,
) -> Result<BTreeMap<String, RegionFound>, StoreError> {
    let all = dir.join(names::REGIONS);
    let mut regions = BTreeMap::new();
    for entry in list_or_empty(disk, &all).map_err(|error| StoreError::io("cannot list", &all, error))? {
        if !entry.is_dir || entry.name.ends_with(names::UNFINISHED) {
            continue;
        }
        let folder = all.join(&entry.name);
        let head = folder.join(names::HEAD);
        let slots = SlotFile::read(disk, &head).map_err(|error| StoreError::io("cannot read", &head, error))?;
        let (region, mut found) = read_slots(disk, folder, slots)?;
        let region = region.or_else(|| known.iter().find(|name| names::region(name) == entry.name).cloned());
        let Some(region) = region else {
            return Err(StoreError::Damaged(format!(
                "{}: the file is missing or damaged, and nothing else says what region it is of",
                head.display()
            )));
        };
        if names::region(&region) != entry.name {
            found.slots = [Slot::Unreadable, Slot::Unreadable];
            found.records.clear();
        }
        regions.insert(region, found);
    }
    Ok(regions)
}

fn read_slots<D: Disk>(
    disk: &D,
    folder: PathBuf,
    slots: [Slot; 2],
) -> Result<(Option<String>, RegionFound), StoreError> {
    let mut name = None;
    let mut records = BTreeMap::new();
    let mut missing = BTreeMap::new();
    for content in slots.iter().filter_map(Slot::content) {
        match content.kind {
            Kind::Nothing => name = record::decode::<String>(&content.body).or(name),
            Kind::Record => match record::decode::<Record>(&content.body) {
                Some(record) => {
                    name = Some(record.manifest.region.clone());
                    records.insert(content.window, (Place::Catalogue, record));
                }
                None => {
                    let path = folder.join(names::HEAD);
                    missing.insert(content.window, format!("{}: it cannot be understood", path.display()));
                }
            },
            Kind::Reference => {
                let Some(Reference { region, place }) = record::decode(&content.body) else { continue };
                match region::read_manifest(disk, &folder, &region, content.window) {
                    Ok(record) => drop(records.insert(content.window, (place, record))),
                    Err(error @ StoreError::Io { .. }) => return Err(error),
                    Err(error) => drop(missing.insert(content.window, error.to_string())),
                }
                name = Some(region);
            }
            Kind::Root => {}
        }
    }
    Ok((name, RegionFound { folder, slots, records, missing }))
}

/// Returns what is wrong with the chunks of a record that a job may start from.
pub(super) fn check_start<D: Disk>(disk: &D, folder: &Path, record: &Record) -> Result<Vec<String>, StoreError> {
    let depth = if record.manifest.bytes() <= VERIFIED_UP_TO { Depth::Content } else { Depth::Length };
    region::check_chunks(disk, folder, &record.manifest, depth)
}
