//! Parquet files: tables into one as they come, and out of one from any row on.
//!
//! Of all modules only these name the crate `parquet`. They know neither checkpoints nor positions of sources: the sink
//! and the source `parquet` do.

mod read;
mod write;

use std::fs::File;

pub(super) use read::{Footer, Reader};
pub(super) use write::{Writer, unwritable};

use crate::table::{Encoding, Table};
use crate::{Error, Result};

/// Returns the rows of a Parquet file as JSON objects, one on each line, as a sink `ndjson` writes them.
///
/// # Errors
/// If it is not a Parquet file that can be read here.
pub fn parquet_as_json(file: File) -> Result<String> {
    const AT_ONCE: usize = 4096;
    let footer = Footer::read(file).map_err(Error::invalid)?;
    let columns = footer.columns();
    let mut rows = footer.rows(&columns, 0, 0)?;
    let mut text = Vec::new();
    loop {
        let batch = rows.read(AT_ONCE)?;
        let is_last = batch.num_rows() < AT_ONCE;
        Encoding::Json.rows(&Table::new(batch), &mut text)?;
        if is_last {
            return String::from_utf8(text).map_err(Error::from);
        }
    }
}
