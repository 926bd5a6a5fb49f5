//! What was under way when a checkpoint was taken, shared out among the subtasks of another topology.
//!
//! An edge whose two ends are as many as they were gives each channel what it held. Otherwise records go by their key,
//! or, where they were dealt out in turn, to some subtask of the receiver; both ends count as being at the end of the
//! checkpoint's window, as if everything had been taken there, and the watermark of a channel follows the records. What
//! was sent to all, or from one to one, has no place where there are more or fewer: that is refused.

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
        origin.operator == sender && origin.port == held.origin.port && origin.spread == held.origin.spread
    };
    let channels = blueprint.origins(chain, 0);
    if !channels.iter().any(leads_here) {
        return Err(homeless(held, head, "the edge between them is another one now"));
    }
    let is = blueprint.chains[chain].parallelism;
    let senders = |origin: &&Origin| leads_here(origin);
    let sends = match held.origin.spread {
        Spread::Forward => is,
        Spread::Keyed | Spread::Rebalance | Spread::Broadcast => channels.iter().filter(senders).count() as u32,
    };
    let was = old.parts(&reader).len() as u32;
    let sent = old.parts(&sender).len() as u32;
    let index = held.receiver.subtask.index;
    let key_groups = blueprint.topology.key_groups;
    let targets: Vec<(u32, Take)> = if (was, sent) == (is, sends) {
        vec![(index, Take::Records)]
    } else {
        match held.origin.spread {
            Spread::Rebalance => vec![(index % is, Take::Records)],
            Spread::Keyed => {
                let held = groups_of(index, was, key_groups);
                let own = (0..is).map(|target| (target, groups_of(target, is, key_groups)));
                own.filter(|(_, own)| own.start < held.end && held.start < own.end)
                    .map(|(target, own)| (target, Take::OfGroups(own, key_groups)))
                    .collect()
            }
            Spread::Forward | Spread::Broadcast => {
                let why = format!("their parallelism was {sent} and {was}, and is {sends} and {is}");
                return Err(homeless(held, head, &why));
            }
        }
    };
    // What the channels of this edge had delivered when it was taken: the records are not later than that.
    let before = held.receiver.channel_watermarks.get(held.was).copied();
    for (target, take) in targets {
        let outline = &mut outlines[firsts[chain] + target as usize];
        let from = held.origin.index % sends;
        let channels = blueprint.origins(chain, target);
        let channel = channels.iter().position(|origin| leads_here(origin) && origin.index == from);
        let Some(channel) = channel else { continue };
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

fn homeless(held: &Held<'_>, head: &str, why: &str) -> Misfit {
    let message = format!(
        "records were under way from \"{}\" to \"{head}\" when the checkpoint was taken, and {why}: run the job as it was, \
         make a savepoint with `piton savepoint create` (nothing is under way in one), and start from that",
        held.origin.operator
    );
    (head.to_string(), UserError::invalid(message))
}
