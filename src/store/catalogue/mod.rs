//! A small ordered map that changes by atomic, durable batches: where a store keeps what it knows about checkpoints.
//!
//! It is never the only witness of a commit (see [`crate::store::file`]), so that a catalogue which lost its mind may be
//! thrown away and made again.

mod log;

use std::ops::ControlFlow;
use std::path::Path;

pub use log::LogCatalogue;

use crate::store::StoreError;
use crate::store::disk::Disk;

/// The longest value a catalogue is asked to keep.
pub const MAX_VALUE: usize = 4096;

/// Keys and values, in order of the keys.
pub type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

/// Is shown a key and its value, and says whether it wants more.
pub type Visit<'v> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'v;

/// Changes that happen together or not at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    changes: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl Batch {
    /// Sets a key. The value is no longer than [`MAX_VALUE`].
    pub fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        debug_assert!(value.len() <= MAX_VALUE, "a value of {} bytes", value.len());
        self.changes.push((key, Some(value)));
    }

    /// Removes a key.
    pub fn remove(&mut self, key: Vec<u8>) {
        self.changes.push((key, None));
    }

    /// Returns the changes, in order.
    pub fn changes(&self) -> &[(Vec<u8>, Option<Vec<u8>>)] {
        &self.changes
    }

    /// Returns the changes, in order.
    pub fn into_changes(self) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
        self.changes
    }
}

/// See the module.
pub trait Catalogue<D: Disk>: Sized + Send {
    /// What the `FORMAT` file calls it: a directory is opened only by the kind of catalogue that made it.
    const NAME: &'static str;

    /// Opens the catalogue in a folder that exists, making it if the folder is empty.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if what is there cannot be read; [`StoreError::Io`] if the disk says no.
    fn open(disk: &D, dir: &Path) -> Result<Self, StoreError>;

    /// Applies a batch; on return it is durable.
    ///
    /// # Errors
    /// After any error it is not known whether the batch happened: the catalogue has to be opened again.
    fn apply(&mut self, batch: Batch) -> Result<(), StoreError>;

    /// Returns the value of a key.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if it cannot be read.
    fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// Returns all keys with a prefix, and their values, in order.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if they cannot be read.
    fn scan(&mut self, prefix: &[u8]) -> Result<Pairs, StoreError>;

    /// Shows the keys from `from` on and before `to`, and their values, the last first, as long as `visit` wants more.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if they cannot be read.
    fn scan_back(&mut self, from: &[u8], to: &[u8], visit: &mut Visit<'_>) -> Result<(), StoreError>;
}
