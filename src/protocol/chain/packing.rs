//! What is under way to a subtask, on its way to the store and back.
//!
//! A record is written down by its own code, as state is, so it is the chain that does it. One chunk holds all channels
//! of a subtask, in their order; each of them its elements.

use std::ops::Range;

use piton_actors::host::Keyer;
use piton_actors::{Batch, Error as UserError, Result as UserResult, Timestamp, WindowId, group_of};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use super::{Chain, ChainAnswer, Packed, PackedChannel, Take, WrittenDown};
use crate::protocol::capture::InFlight;
use crate::protocol::failure::{Failure, guard};
use crate::protocol::mutant::{self, Mutant};

/// An element as it is written down.
#[derive(Serialize, Deserialize)]
enum Written {
    Batch(ByteBuf),
    Watermark(Timestamp),
    Marker(WindowId),
}

impl Chain {
    /// Who is blamed for what its records do: the first operator, or whoever else reads.
    fn reader(&self) -> &str {
        self.spec.names.first().map_or("", String::as_str)
    }

    /// Encodes what is under way in each channel; nothing if there is nothing.
    pub(super) fn pack(&self, channels: &[Vec<InFlight>]) -> Result<Option<WrittenDown>, Failure> {
        if channels.iter().all(Vec::is_empty) {
            return Ok(None);
        }
        let mut records = Vec::with_capacity(channels.len());
        let bytes = guard(self.reader(), || {
            let mut all = Vec::with_capacity(channels.len());
            for channel in channels {
                let mut count = 0;
                let mut written = Vec::with_capacity(channel.len());
                for element in channel {
                    written.push(match element {
                        InFlight::Batch(batch) => {
                            count += batch.len() as u64;
                            Written::Batch(ByteBuf::from(batch.pack()?))
                        }
                        InFlight::Watermark(watermark) => Written::Watermark(*watermark),
                        InFlight::Marker(window) => Written::Marker(*window),
                    });
                }
                records.push(count);
                all.push(written);
            }
            Ok(rmp_serde::to_vec(&all)?)
        })?;
        Ok(Some(WrittenDown { bytes, records }))
    }

    /// Decodes what was under way.
    pub(super) fn unpack(&self, packed: &[Packed], answer: &mut ChainAnswer) -> Result<(), Failure> {
        if mutant::is(Mutant::InFlightNotRestored) {
            return Ok(());
        }
        guard(self.reader(), || {
            for Packed { chunk, channels } in packed {
                let mut all: Vec<Vec<Written>> = rmp_serde::from_slice(chunk).map_err(|error| unreadable(&error))?;
                for part in channels {
                    let written = all.get_mut(part.was).ok_or_else(|| unreadable(&"a channel is missing"))?;
                    self.unpack_channel(part, std::mem::take(written), answer)?;
                }
            }
            Ok(())
        })
    }

    fn unpack_channel(&self, part: &PackedChannel, written: Vec<Written>, answer: &mut ChainAnswer) -> UserResult {
        let keyer = match &part.take {
            Take::All | Take::Records => None,
            Take::OfGroups(own, key_groups) => {
                let link = self.links.first().ok_or_else(|| unreadable(&"nobody here has a key"))?;
                Some((own, *key_groups, link.operator.keyer(part.port)))
            }
        };
        for written in written {
            match written {
                Written::Batch(bytes) => {
                    let batch = self.workshop.unpack(part.port, &bytes)?;
                    let kept = match &keyer {
                        Some((own, key_groups, keyer)) => of_own_keys(&batch, own, *key_groups, &**keyer)?,
                        None => vec![batch],
                    };
                    answer.unpacked.extend(kept.into_iter().map(|rows| (part.channel, InFlight::Batch(rows))));
                }
                Written::Watermark(_) | Written::Marker(_) if part.take != Take::All => {}
                Written::Watermark(watermark) => {
                    answer.unpacked.push((part.channel, InFlight::Watermark(watermark)));
                }
                Written::Marker(window) => answer.unpacked.push((part.channel, InFlight::Marker(window))),
            }
        }
        Ok(())
    }
}

fn unreadable(why: &dyn std::fmt::Display) -> UserError {
    UserError::invalid(format!("what was under way cannot be read: {why}"))
}

/// Returns the records whose keys belong to some key groups, in their order: a batch for each run of them.
fn of_own_keys(batch: &Batch, own: &Range<u32>, key_groups: u32, keyer: &dyn Keyer) -> UserResult<Vec<Batch>> {
    let mut hashes = Vec::with_capacity(batch.len());
    keyer.hashes(batch, &mut hashes)?;
    let mut runs: Vec<Range<usize>> = Vec::new();
    for (row, hash) in hashes.iter().enumerate() {
        if !own.contains(&group_of(*hash, key_groups)) {
            continue;
        }
        match runs.last_mut().filter(|run| run.end == row) {
            Some(run) => run.end += 1,
            None => runs.push(row..row + 1),
        }
    }
    Ok(runs.into_iter().map(|run| batch.slice(run)).collect())
}
