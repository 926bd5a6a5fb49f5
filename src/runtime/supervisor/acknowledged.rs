//! What a subtask's part of a checkpoint is told as.

use super::Supervisor;
use crate::ids::Fence;
use crate::protocol::manifest::ChunkRef;
use crate::protocol::subtask::Ack;
use crate::runtime::event::{Event, Part};

impl Supervisor {
    /// Tells of an acknowledgement, unless it comes from an attempt that is over.
    pub(super) fn acknowledged(&mut self, region: usize, fence: Fence, ack: &Ack) {
        let machine = &self.regions[region].machine;
        if machine.fence() != fence {
            return;
        }
        let region = machine.name().to_string();
        let part = part(ack, self.time.now());
        self.tell(&Event::Acknowledged { region, window: ack.window.0, part: Box::new(part) });
    }
}

fn part(ack: &Ack, now: i64) -> Part {
    let snapshot = &ack.snapshot;
    let bytes = |chunks: &[ChunkRef]| chunks.iter().map(ChunkRef::len).fold(0, u64::saturating_add);
    let under_way = snapshot.in_flight.as_ref().map_or(0, |in_flight| bytes(&in_flight.chunks));
    Part {
        operator: snapshot.subtask.operator.to_string(),
        subtask: snapshot.subtask.index,
        heard_ms: ack.timing.heard,
        aligned_ms: ack.timing.aligned,
        taken_ms: ack.timing.taken,
        acknowledged_ms: now,
        state: snapshot.operators.iter().map(|of| (of.operator.clone(), bytes(&of.chunks))).collect(),
        fresh: ack.timing.fresh,
        under_way: (snapshot.under_way(), under_way),
        unaligned: snapshot.within.is_some(),
        watermark: snapshot.watermark,
    }
}
