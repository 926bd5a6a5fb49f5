//! The format of state at rest.
//!
//! One cut of a store is one chunk: what changed since the cut before, or everything. A chunk describes itself (its
//! schema is written once, in front), so chunks can be checked, merged and looked into without the operator's types.
//! A row is everything that one key has, in one slot; a row replaces any older one of its slot, whole.
//!
//! ```text
//! magic            8 bytes    89 "pst" 0D 0A 1A 0A
//! format           u16        1; or 2, if a version of anything is not 1; or 3, if anything has a deadline or
//!                             is broadcast
//! whole            u8         1: everything, what came before is void; 0: what changed
//! first, last      u64 u64    numbers of the cuts this covers; a lineage of chunks has no gap
//! key groups       u32        of the job
//! rows, removed    u32 u32    how many
//! directory        u32 count, then for each group present, ascending: group u32, rows u32, removed u32
//! slots            u32 each   of the rows, in order of group, then slot
//! removed          u32 each   slots of keys that went, in the same order
//! integer keys     block of 8 bytes
//! other keys       block of varying width; each row has one key of either
//! timers           block of varying width: 9 bytes a timer, kind u8 and time i64
//! columns          u32 count, then for each: name, kind u8, encoding, version u16 (from format 2 on), block
//! local values     u32 count, then for each: name, version u16 (from format 2 on), length u32, MessagePack
//! checksum         u32        CRC-32 of everything before
//! ```
//!
//! Names and encodings are a u16 length and UTF-8. All numbers are little-endian. A block has one value or none for
//! each row: a u8 (0: no row has one, 1: each has, 2: a bitmap of u64 words follows), the u32 length of each value
//! if the width varies, and the values. Rows are ordered by key group so that a store with other groups than the
//! one that was cut can take its range alone. The version of a column or local value is that of its type, which its user
//! counts (see `migration`): of one name there may be a column of each version, with values for different rows. What has a
//! time to live has a second column, of deadlines (see `expiry`). Local values that all subtasks have alike are told by their
//! names (see `local`).

mod block;
mod draft;
mod encoding;
mod lineage;
mod merge;
mod out;
mod read;
mod write;

pub(super) use block::BlockWriter;
pub(super) use draft::Taken;
pub use draft::{Draft, Ordered};
pub(super) use encoding::{Encoding, Primitive, for_primitives};
pub(super) use lineage::{Cells, Picked, Row, adopt, restore};
pub use merge::{broadcast_chunk, merge_chunks};
pub use read::is_whole_chunk;
#[cfg(test)]
pub(super) use write::ChunkWriter;
pub(super) use write::{ColumnWriter, LocalWriter};

use crate::Error;

/// Not text, and changed by a transfer that takes it for text.
const MAGIC: [u8; 8] = *b"\x89pst\r\n\x1a\n";

/// What was written before there were versions of types, and still is where all of them are the first.
const FORMAT: u16 = 1;

/// With versions.
const FORMAT_WITH_VERSIONS: u16 = 2;

/// With versions, and with deadlines or broadcast values that are not to be taken for something else.
const FORMAT_WITH_MORE: u16 = 3;

/// A value that belongs to no key, as it was written.
#[derive(Clone, Copy)]
pub(super) struct WrittenLocal<'a> {
    pub(super) version: u16,
    pub(super) bytes: &'a [u8],
}

/// What a column holds for each key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Value,
    Map,
    List,
}

impl Kind {
    pub(super) fn word(self) -> &'static str {
        match self {
            Kind::Value => "value",
            Kind::Map => "map",
            Kind::List => "list",
        }
    }
}

/// The bytes of a chunk are not what a cut has written.
fn damaged(what: &str) -> Error {
    Error::invalid(format!("a chunk of state is damaged: {what}"))
}
