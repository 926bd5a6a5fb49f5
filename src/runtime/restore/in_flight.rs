//! What was under way when a checkpoint was taken, shared out among the subtasks of another topology.
//!
//! An edge whose two ends are as many as they were gives each channel what it held. Otherwise records go by their key,
//! or, where they have none, to some subtask of the receiver. Both ends count as being at the end of the checkpoint's
//! window, as if everything had been taken there, and the watermark of a channel follows the records. What was sent to
//! all has no place where there are more or fewer, since some may have taken it and others not; and from one to one the
//! order would be lost. These are refused.

use piton_actors::{Error as UserError, Timestamp, groups_of};

use super::{Misfit, Old, Outline};
use crate::protocol::chain::{PackedChannel, Take};
use crate::protocol::manifest::{InFlightChannel, Origin, Spread, SubtaskSnapshot};
use crate::runtime::build::RegionBlueprint;

/// What goes to one subtask of what was under way.
#[derive(Default)]
pub(super) struct Placed {
    /// From subtasks of the checkpoint, by their place in the manifest: which channels.
    pub(super) parts: Vec<(usize, Vec<PackedChannel>)>,
    /// The watermark of channels behind that, in ms.
    pub(super) then: Vec<(usize, Timestamp)>,
}

/// A channel of the checkpoint that held records.
struct Held<'a> {
    /// The place of its receiver in the manifest.
    subtask: usize,
    receiver: &'a SubtaskSnapshot,
    was: usize,
    origin: &'a Origin,
}

/// Places everything that was under way. `outlines` are those of all subtasks, chain by chain, which begin at `firsts`.
///
/// # Errors
/// If something has no place.
pub(super) fn place(
    old: &Old<'_>,
    blueprint: &RegionBlueprint,
    outlines: &mut [Outline],
    firsts: &[usize],
) -> Result<(), Misfit> {
    for (subtask, receiver) in old.manifest.subtasks.iter().enumerate() {
        let Some(in_flight) = &receiver.in_flight else { continue };
        for (was, InFlightChannel { origin, records }) in in_flight.channels.iter().enumerate() {
            if *records > 0 {
                place_channel(&Held { subtask, receiver, was, origin }, old, blueprint, outlines, firsts)?;
            }
        }
    }
    Ok(())
}

fn place_channel(
    held: &Held<'_>,
    old: &Old<'_>,
    blueprint: &RegionBlueprint,
    outlines: &mut [Outline],
    firsts: &[usize],
) -> Result<(), Misfit> {
    let head = held.receiver.operators.first().map_or("", |operator| operator.operator.as_str());
    let (Some(sender), Some(reader)) = (old.present(&held.origin.operator, blueprint), old.present(head, blueprint))
    else {
        return Err(homeless(held, head, "one of them is not there any more"));
    };
    let chain = blueprint.chains.iter().position(|chain| chain.names().next() == Some(&reader));
    let Some(chain) = chain else {
        return Err(homeless(held, head, "they share a subtask now"));
    };
    let leads_here = |origin: &Origin| {
        origin.operator == sender && origin.output == held.origin.output && origin.port == held.origin.port
    };
    let channels = blueprint.origins(chain, 0);
    let Some(spread) = channels.iter().find(|origin| leads_here(origin)).map(|origin| origin.spread) else {
        return Err(homeless(held, head, "the edge between them is another one now"));
    };
    let is = blueprint.chains[chain].parallelism;
    let sends = match spread {
        Spread::Forward => is,
        Spread::Keyed | Spread::Rebalance | Spread::Broadcast => {
            channels.iter().filter(|origin| leads_here(origin)).count() as u32
        }
    };
    let was = old.parts(&reader).len() as u32;
    let sent = old.parts(&sender).len() as u32;
    let index = held.receiver.subtask.index;
    let key_groups = blueprint.topology.key_groups;
    let is_same = (was, sent) == (is, sends) && spread == held.origin.spread;
    if !is_same && (is_ordered(held.origin.spread, spread, is) || spread == Spread::Broadcast) {
        let why = format!("their parallelism was {sent} and {was}, and is {sends} and {is}");
        return Err(homeless(held, head, &why));
    }
    let targets: Vec<(u32, Take)> = match spread {
        _ if is_same => vec![(index, Take::Records)],
        Spread::Keyed => {
            // Where it went by the key, or there was only one, no other subtask can have its records.
            let held =
                if held.origin.spread == Spread::Keyed { groups_of(index, was, key_groups) } else { 0..key_groups };
            let own = (0..is).map(|target| (target, groups_of(target, is, key_groups)));
            own.filter(|(_, own)| own.start < held.end && held.start < own.end)
                .map(|(target, own)| (target, Take::OfGroups(own, key_groups)))
                .collect()
        }
        Spread::Forward | Spread::Rebalance | Spread::Broadcast => vec![(index % is, Take::Records)],
    };
    // What the channels of this edge had delivered when it was taken: the records are not later than that.
    let before = held.receiver.channel_watermarks.get(held.was).copied();
    for (target, take) in targets {
        let outline = &mut outlines[firsts[chain] + target as usize];
        let from = if spread == Spread::Forward { target } else { held.origin.index % sends };
        let channels = blueprint.origins(chain, target);
        let channel = channels.iter().position(|origin| leads_here(origin) && origin.index == from);
        let Some(channel) = channel else {
            return Err(homeless(held, head, "there is no channel for them"));
        };
        let part = PackedChannel { was: held.was, channel, port: held.origin.port, take };
        let Placed { parts, then } = &mut outline.in_flight;
        match parts.last_mut().filter(|(subtask, _)| *subtask == held.subtask) {
            Some((_, channels)) => channels.push(part),
            None => parts.push((held.subtask, vec![part])),
        }
        let (Some(before), Some(watermark)) = (before, outline.snapshot.channel_watermarks.get_mut(channel)) else {
            continue;
        };
        if !then.iter().any(|(of, _)| *of == channel) {
            then.push((channel, *watermark));
        }
        *watermark = before.min(*watermark);
    }
    Ok(())
}

/// Returns whether it matters at which of so many receivers a record of an edge is, although it has no key.
fn is_ordered(was: Spread, is: Spread, receivers: u32) -> bool {
    match (was, is) {
        (Spread::Broadcast, _) => true,
        (Spread::Forward, Spread::Forward) => receivers > 1,
        _ => false,
    }
}

fn homeless(held: &Held<'_>, head: &str, why: &str) -> Misfit {
    let message = format!(
        "records were under way from \"{}\" to \"{head}\" when the checkpoint was taken, and {why}: run the job as it was, \
         make a savepoint with `piton savepoint create` (nothing is under way in one), and start from that",
        held.origin.operator
    );
    (head.to_string(), UserError::invalid(message))
}
