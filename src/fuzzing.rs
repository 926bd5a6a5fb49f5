//! Ways in for the fuzz targets, to what reads bytes or writes text and is otherwise private. No part of the API: it
//! may change or go at any time.
//!
//! Everything else is fuzzed through the public API. These cannot be: a log of dead letters is read by a store only as
//! far as the store has written one, what was under way is read only within a running subtask, and letters are
//! printed only by the command line.

use std::sync::Arc;

use crate::cli::deadletters;
use crate::ids::WindowId;
use crate::protocol::capture::InFlight;
use crate::protocol::chain::{
    Chain, ChainAnswer, ChainCall, ChainSpec, First, Packed, PackedChannel, Work, WrittenDown,
};
use crate::protocol::manifest::DeadLetter;
use crate::protocol::workshop::Workshop;
use crate::store::file;

/// Returns the letters of a log, each with the window whose commit has brought it, and what is wrong with the log.
pub fn read_letter_log(bytes: &[u8]) -> (Vec<(WindowId, DeadLetter)>, Vec<String>) {
    file::read_letter_log(bytes)
}

/// Returns the log that some letters make.
pub fn write_letter_log(letters: Vec<(WindowId, DeadLetter)>) -> Vec<u8> {
    file::write_letter_log(letters)
}

/// Returns a letter as `piton deadletters show` prints it, and as `export` does.
pub fn print_letter(region: &str, letter: &DeadLetter) -> (String, String) {
    deadletters::printed(region, letter)
}

/// Reads what was under way to a subtask of one operator, called `name`.
///
/// # Errors
/// What the subtask would fail with.
pub fn read_in_flight(
    name: &str,
    workshop: Arc<dyn Workshop>,
    chunk: Vec<u8>,
    channels: Vec<PackedChannel>,
) -> Result<Vec<(usize, InFlight)>, String> {
    let packed = vec![Packed { chunk: Arc::new(chunk), channels }];
    let open = Work::Open { base: None, ended: false, now: 0, packed };
    Ok(call(name, workshop, open)?.unpacked)
}

/// Writes down what is under way in each channel of a subtask; nothing if there is nothing.
///
/// # Errors
/// What the subtask would fail with.
pub fn write_in_flight(
    name: &str,
    workshop: Arc<dyn Workshop>,
    channels: Vec<Vec<InFlight>>,
) -> Result<Option<WrittenDown>, String> {
    Ok(call(name, workshop, Work::Pack(channels))?.packed)
}

fn call(name: &str, workshop: Arc<dyn Workshop>, work: Work) -> Result<ChainAnswer, String> {
    let spec = ChainSpec { names: vec![name.to_owned()], ..ChainSpec::default() };
    let chain = Chain::new(spec, workshop).map_err(|failure| failure.to_string())?;
    let (_, answer) = Box::new(chain).call(ChainCall { first: First::Nothing, work, undoable: false });
    answer.map_err(|failure| failure.failure.to_string())
}
