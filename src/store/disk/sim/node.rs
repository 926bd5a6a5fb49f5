//! What a simulated disk holds: files of sectors and folders of names, each as the process sees it and as the medium
//! has it.

use std::collections::BTreeMap;

use rand::{Rng, RngExt};

/// The unit in which writes tear.
pub(super) const SECTOR: u64 = 512;

/// Content by sector; sectors that were never written read as zeros.
#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    sectors: BTreeMap<u64, Vec<u8>>,
    len: u64,
}

impl Content {
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn read(&self, offset: u64, len: u64) -> Vec<u8> {
        let end = offset.saturating_add(len).min(self.len);
        let start = offset.min(end);
        let mut bytes = vec![0; (end - start) as usize];
        for (index, sector) in self.sectors.range(start / SECTOR..end.div_ceil(SECTOR)) {
            let base = index * SECTOR;
            let (from, to) = (base.max(start), (base + SECTOR).min(end));
            if from < to {
                bytes[(from - start) as usize..(to - start) as usize]
                    .copy_from_slice(&sector[(from - base) as usize..(to - base) as usize]);
            }
        }
        bytes
    }

    fn put(&mut self, write: &SectorWrite) {
        self.sectors.insert(write.index, write.bytes.clone());
        self.len = self.len.max(write.end);
    }

    pub(super) fn truncate(&mut self, len: u64) {
        self.len = self.len.min(len);
        self.sectors.split_off(&self.len.div_ceil(SECTOR));
        if let Some(sector) = self.sectors.get_mut(&(self.len / SECTOR)) {
            sector[(self.len % SECTOR) as usize..].fill(0);
        }
    }

    pub(super) fn flip(&mut self, bit: u64) {
        let byte = bit / 8;
        if byte < self.len {
            let sector = self.sectors.entry(byte / SECTOR).or_insert_with(|| vec![0; SECTOR as usize]);
            sector[(byte % SECTOR) as usize] ^= 1 << (bit % 8);
        }
    }
}

/// One sector as it is after a write, and how far the file reached then.
#[derive(Clone, Debug)]
struct SectorWrite {
    index: u64,
    bytes: Vec<u8>,
    end: u64,
}

/// A file.
#[derive(Clone, Debug, Default)]
pub(super) struct FileNode {
    pub(super) current: Content,
    pub(super) durable: Content,
    pending: Vec<SectorWrite>,
}

impl FileNode {
    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) {
        let end = offset + bytes.len() as u64;
        let mut at = offset;
        while at < end {
            let index = at / SECTOR;
            let base = index * SECTOR;
            let to = (base + SECTOR).min(end);
            let mut sector = self.current.sectors.get(&index).cloned().unwrap_or_else(|| vec![0; SECTOR as usize]);
            sector[(at - base) as usize..(to - base) as usize]
                .copy_from_slice(&bytes[(at - offset) as usize..(to - offset) as usize]);
            let write = SectorWrite { index, bytes: sector, end: to };
            self.current.put(&write);
            self.pending.push(write);
            at = to;
        }
    }

    pub(super) fn sync(&mut self) {
        for write in self.pending.drain(..) {
            self.durable.put(&write);
        }
    }

    /// Lets some of what was not synced reach the medium. The rest stays visible until a crash, and no later sync
    /// makes it durable: its pages count as clean.
    pub(super) fn sync_badly(&mut self, rng: &mut impl Rng) {
        let luck = Luck::draw(rng, self.pending.len());
        for (nth, write) in self.pending.drain(..).enumerate() {
            if luck.keeps(nth, rng) {
                self.durable.put(&write);
            }
        }
    }

    pub(super) fn crash(&mut self, rng: &mut impl Rng) {
        self.sync_badly(rng);
        self.current = self.durable.clone();
    }
}

/// Several names that change in one step: what each of them stands for afterwards.
type NameChange = Vec<(String, Option<usize>)>;

/// A folder.
#[derive(Clone, Debug, Default)]
pub(super) struct DirNode {
    pub(super) current: BTreeMap<String, usize>,
    pub(super) durable: BTreeMap<String, usize>,
    pending: Vec<NameChange>,
}

impl DirNode {
    /// Returns all nodes that a name here stands for, or may stand for after a crash.
    pub(super) fn nodes(&self) -> impl Iterator<Item = usize> {
        let pending = self.pending.iter().flatten().filter_map(|(_, node)| *node);
        self.current.values().chain(self.durable.values()).copied().chain(pending)
    }

    pub(super) fn change(&mut self, change: NameChange) {
        apply(&mut self.current, &change);
        self.pending.push(change);
    }

    pub(super) fn sync(&mut self) {
        for change in self.pending.drain(..) {
            apply(&mut self.durable, &change);
        }
    }

    /// Of the changes that were not synced some survive, each as a whole. (A failed sync leaves them as they are:
    /// unlike with pages, a file system that cannot write its journal does not go on as if it had.)
    pub(super) fn crash(&mut self, rng: &mut impl Rng) {
        let luck = Luck::draw(rng, self.pending.len());
        for (nth, change) in self.pending.drain(..).enumerate() {
            if luck.keeps(nth, rng) {
                apply(&mut self.durable, &change);
            }
        }
        self.current = self.durable.clone();
    }
}

fn apply(names: &mut BTreeMap<String, usize>, change: &NameChange) {
    for (name, node) in change {
        match node {
            Some(node) => names.insert(name.clone(), *node),
            None => names.remove(name),
        };
    }
}

/// Which of the pending writes of one file or folder survive a crash.
enum Luck {
    Nothing,
    Everything,
    Prefix(usize),
    Subset(f64),
}

impl Luck {
    fn draw(rng: &mut impl Rng, pending: usize) -> Luck {
        match rng.random_range(0..8) {
            0..=1 => Luck::Nothing,
            2 => Luck::Everything,
            3..=4 => Luck::Prefix(rng.random_range(0..=pending)),
            _ => Luck::Subset(rng.random_range(0.05..0.95)),
        }
    }

    fn keeps(&self, nth: usize, rng: &mut impl Rng) -> bool {
        match self {
            Luck::Nothing => false,
            Luck::Everything => true,
            Luck::Prefix(len) => nth < *len,
            Luck::Subset(chance) => rng.random_bool(*chance),
        }
    }
}
