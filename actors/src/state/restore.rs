//! How a store becomes what chunks hold.

use std::sync::Arc;

use super::chunk::{self, Picked, Row};
use super::columns::Columns;
use super::local::Locals;
use super::store::StateStore;
use crate::key::Key;
use crate::{Error, Result};

/// From so many keys on, a restore takes a second thread.
const HUGE: usize = 1 << 20;

impl StateStore {
    /// Replaces everything by what the chunks of one subtask hold, oldest first.
    ///
    /// If this subtask owns all key groups in the chunks, it goes on where they end: every key has its slot again,
    /// nothing is dirty, and the next cut follows on the last. Otherwise the rest is left out and it is as with
    /// [`adopt`](StateStore::adopt).
    ///
    /// Values that are not primitives stay as they were written until their key is looked at: they are decoded one by
    /// one then, and until all are, the chunks are kept in memory.
    ///
    /// # Errors
    /// If a chunk is damaged or missing; the store is then as before.
    pub fn restore(&mut self, chunks: impl Into<Vec<Vec<u8>>>) -> Result {
        let chunks = chunks.into();
        let mut store = match chunk::restore(&chunks, self.current.own(), self.current.key_groups())? {
            Some(picked) => self.load(&picked)?,
            None => {
                let mut store = StateStore::new(self.current.own().clone(), self.current.key_groups());
                store.expiries.declare(&self.declared);
                store
            }
        };
        store.columns.keep(&Arc::new(chunks));
        self.replace(store);
        Ok(())
    }

    /// Replaces everything by what belongs to this subtask in the chunks of several, after the parallelism was
    /// changed: each lineage oldest first, the lineages in the order of the old subtasks.
    ///
    /// The next cut writes everything and begins a new lineage. Local values are those of the first lineage, so it is
    /// for the caller to give it to one subtask only.
    ///
    /// # Errors
    /// As [`restore`](StateStore::restore).
    pub fn adopt(&mut self, lineages: &[Vec<Vec<u8>>]) -> Result {
        let picked = chunk::adopt(lineages, self.current.own(), self.current.key_groups())?;
        let store = self.load(&picked)?;
        self.replace(store);
        Ok(())
    }

    fn load(&self, picked: &Picked<'_>) -> Result<StateStore> {
        let mut store = StateStore::new(self.current.own().clone(), self.current.key_groups());
        match picked.integers() {
            Some(integers) => {
                let mut hashes = Vec::with_capacity(picked.slots());
                for integer in integers {
                    let Some(integer) = integer else {
                        return Err(Error::invalid("a chunk of state is damaged: a row that has not one key"));
                    };
                    let key = Key::from(integer);
                    self.check_owned(&key)?;
                    hashes.push(key.hash());
                }
                store.slots.append_integers(hashes);
            }
            None => self.load_rows(picked, &mut store)?,
        }
        let (is_indexed, columns) = if store.slots.len() >= HUGE {
            // Neither needs the other, and both take long: nothing is processed until they are done.
            std::thread::scope(|scope| {
                let index = scope.spawn(|| store.slots.index_all());
                let columns = Columns::load(picked, &self.declared);
                (index.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), columns)
            })
        } else {
            (store.slots.index_all(), Columns::load(picked, &self.declared))
        };
        if !is_indexed {
            return Err(Error::invalid("the chunks of state hold a key twice"));
        }
        let (columns, mut is_migrated) = columns?;
        store.columns = columns;
        is_migrated |= store.expiries.load(picked, &self.declared, &mut store.columns)?;
        store.locals = Locals::restore(&picked.locals, &self.declared)?;
        if let Some(next) = picked.next {
            store.next = next;
            // What was migrated is written as it is now, all of it: then the older versions can be forgotten.
            store.whole = is_migrated;
            store.slots.mark_cut(true);
        }
        Ok(store)
    }

    /// Restores keys of any kind, and timers.
    fn load_rows(&self, picked: &Picked<'_>, store: &mut StateStore) -> Result {
        for slot in 0..picked.slots() {
            let Some(Row { key, timers }) = picked.row(slot)? else {
                store.slots.skip();
                continue;
            };
            self.check_owned(&key)?;
            store.slots.append(&key);
            if let Some(timers) = timers
                && store.timers.decode(slot as u32, timers).is_none()
            {
                return Err(Error::invalid(format!("a chunk of state is damaged: the timers of key {key:?}")));
            }
        }
        store.timers.order_all();
        Ok(())
    }

    #[inline]
    fn check_owned(&self, key: &Key) -> Result {
        if self.current.own().contains(&key.group(self.current.key_groups())) {
            return Ok(());
        }
        Err(Error::invalid(format!("a chunk of state is damaged: key {key:?} is misplaced")))
    }

    fn replace(&mut self, mut store: StateStore) {
        store.current.set_keyed(self.current.is_keyed());
        store.expiries.keep_time(&self.expiries);
        store.declared = std::mem::take(&mut self.declared);
        *self = store;
    }
}
