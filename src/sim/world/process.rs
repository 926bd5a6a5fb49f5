//! The process of the job: it ends, and is started again, perhaps with another parallelism.

use piton_actors::WindowId;

use super::{Ended, World};
use crate::chaos::invariants::InvariantId;
use crate::ids::Fence;
use crate::protocol::region::{self, Region};
use crate::protocol::restart::RestartPolicy;
use crate::runtime::restore;
use crate::sim::happening::Happening;
use crate::sim::trace::What;
use crate::store::StoreError;

impl World<'_> {
    /// The process ends at once, and perhaps the machine with it.
    pub(crate) fn crash(&mut self, power: bool) {
        self.trace.note(self.step, self.now, What::Crash, (0, 0), u64::from(power));
        self.stats.crashes += 1;
        for happening in std::mem::take(&mut self.queue).into_values() {
            // What was asked of the outside may have happened all the same.
            if self.schedule.percent(50) {
                happening.reach_outside();
            }
        }
        self.leave(power);
    }

    /// The process is gone; it is started again after a while.
    pub(crate) fn leave(&mut self, power: bool) {
        self.queue.clear();
        for region in &mut self.regions {
            region.machine = None;
            region.attempt = None;
            region.unpublished.clear();
            region.ended = Ended::No;
        }
        self.storage.crash(power);
        let down = self.schedule.between(0, self.settings.down_ms) as i64;
        self.at(self.now + down, Happening::Boot);
    }

    /// The process starts.
    pub(crate) fn boot(&mut self) {
        self.trace.note(self.step, self.now, What::Boot, (0, 0), 0);
        let booted = self.storage.open().and_then(|()| self.storage.claim_incarnation());
        let incarnation = match booted {
            Ok(incarnation) => incarnation,
            Err(error) => return self.boot_failed(&error),
        };
        let mut heads = Vec::new();
        for region in 0..self.regions.len() {
            match self.head_of(region) {
                Ok(head) => heads.push(head),
                Err(error) => return self.boot_failed(&error),
            }
        }
        for (region, head) in heads.iter().enumerate() {
            match self.has_finished(region, *head) {
                Ok(true) => self.regions[region].ended = Ended::Finished,
                Ok(false) => {}
                Err(error) => return self.boot_failed(&error),
            }
        }
        if std::mem::take(&mut self.rescaling) {
            match self.fits_rescaled(&heads) {
                Ok(true) => self.rescale(&heads),
                Ok(false) => {}
                Err(error) => return self.boot_failed(&error),
            }
        }
        for (region, head) in heads.into_iter().enumerate() {
            if self.regions[region].ended == Ended::Finished {
                continue;
            }
            let policy = RestartPolicy::new(self.settings.restart.clone());
            let fence = Fence { incarnation, attempt: 0 };
            let members = self.job.layouts[region].members(self.job.regions[region].topology.encode());
            let machine = Region::new(members, self.settings.checkpoint.clone(), policy, fence);
            self.regions[region].machine = Some(machine);
            self.tell_region(region, region::Event::Begin(head));
        }
        self.region_ended();
    }

    /// Returns whether the checkpoints let the job go on with another parallelism.
    fn fits_rescaled(&mut self, heads: &[WindowId]) -> Result<bool, StoreError> {
        let other = &self.variants[(self.variant + 1) % self.variants.len()].job;
        for (region, head) in heads.iter().enumerate() {
            if *head == WindowId::NONE || self.regions[region].ended == Ended::Finished {
                continue;
            }
            let manifest = self.storage.manifest(&other.layouts[region].name, *head)?;
            if restore::outline(&manifest, &other.regions[region]).is_err() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn rescale(&mut self, heads: &[WindowId]) {
        self.variant = (self.variant + 1) % self.variants.len();
        self.job = &self.variants[self.variant].job;
        (self.losing, self.stalled) = (None, None);
        self.expected.rescaled(heads);
        if let Some(history) = self.expected.history() {
            history.rescaled(self.variant, heads);
        }
    }

    /// Returns whether nothing is left to run of a region: it is not started then.
    fn has_finished(&mut self, region: usize, head: WindowId) -> Result<bool, StoreError> {
        if head == WindowId::NONE {
            return Ok(false);
        }
        self.storage.manifest(&self.job.layouts[region].name, head).map(|manifest| manifest.finished)
    }

    fn boot_failed(&mut self, error: &StoreError) {
        if self.storage.has_crashed() {
            return self.crash(true);
        }
        if !matches!(error, StoreError::Io { .. }) {
            return self.refuse(&error.to_string());
        }
        // Somebody starts it again.
        self.leave(false);
    }

    /// The store cannot give back what it was given.
    pub(crate) fn refuse(&mut self, reason: &str) {
        if self.storage.may_refuse() {
            self.refused = Some(reason.to_string());
            self.over = true;
        } else {
            self.judge(Err(InvariantId::CheckpointRestorable.broken(reason)));
        }
    }

    /// A region has ended; perhaps the job has.
    pub(crate) fn region_ended(&mut self) {
        if self.regions.iter().any(|region| region.ended == Ended::No) {
            return;
        }
        if self.regions.iter().all(|region| region.ended == Ended::Finished) {
            self.over = true;
        } else {
            // It was stopped, and is started again.
            self.leave(false);
        }
    }
}
