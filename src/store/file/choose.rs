//! What a store starts from: the newest whole checkpoint of each region, or a refusal that says why there is none.

use std::collections::BTreeMap;

use super::judge::{self, Evidence, Trust};
use super::names;
use super::open::{Chosen, Opening};
use super::record::{Place, Record, Root};
use super::region::{self, Depth};
use super::slots::Slot;
use super::witness::{self, CatalogueSays, RegionFound};
use crate::ids::WindowId;
use crate::store::StoreError;
use crate::store::disk::Disk;

impl<D: Disk> Opening<'_, D> {
    /// Decides what a region starts from.
    pub(super) fn choose(
        &mut self,
        name: &str,
        found: Option<&RegionFound>,
        says: &CatalogueSays,
        trust: Trust,
    ) -> Result<Chosen, StoreError> {
        let says = says.regions.get(name);
        let Evidence { proven, mut candidates, mut problems, doubt } = judge::weigh(name, found, says, trust);
        if let Some(doubt) = doubt {
            if !self.options.allow_rollback {
                return Err(StoreError::Damaged(format!(
                    "{doubt}: which window of region \"{name}\" was committed last is not known"
                )));
            }
            self.report.repair(doubt);
        }
        let mut joined = BTreeMap::new();
        for (window, nth, output) in says.into_iter().flat_map(|says| &says.joined) {
            joined.insert((*window, *nth), output.clone());
        }
        for (window, (_, record)) in &candidates {
            for (nth, output) in record.joined.iter().enumerate() {
                joined.insert((*window, nth as u32), output.clone());
            }
        }
        let Some(proven) = proven else {
            return Ok(Chosen { records: BTreeMap::new(), joined: BTreeMap::new(), letters: None, is_less: false });
        };

        let folder = region::folder(self.dir, name);
        let mut start = None;
        for (window, (_, record)) in candidates.iter().rev() {
            let damage = witness::check_start(&self.disk, &folder, record)?;
            if damage.is_empty() {
                start = Some(*window);
                break;
            }
            problems.extend(damage);
        }
        let refuse = |what: String| {
            let reasons = if problems.is_empty() {
                format!("its manifest is neither in {} nor in the catalogue", folder.join(names::HEAD).display())
            } else {
                problems.join("; ")
            };
            Err(StoreError::Damaged(format!("window {proven} of region \"{name}\" was committed, {what}: {reasons}")))
        };
        let Some(start) = start else { return refuse("and no whole checkpoint is left".to_owned()) };
        if start < proven {
            if !self.options.allow_rollback {
                return refuse(format!("but the newest whole checkpoint is that of window {start}"));
            }
            self.report.repair(format!(
                "region \"{name}\" goes back from window {proven} to {start}: {}",
                problems.join("; ")
            ));
            self.report.rolled_back.push((name.to_owned(), proven, start));
        }
        candidates.retain(|window, _| *window <= start);
        joined.retain(|(window, _), _| *window <= start);
        let head = candidates.get_mut(&start).map(|(_, record)| record).expect("the start is one of the candidates");
        let there = joined.len() as u64;
        let is_less = start < proven || there != head.joined_total;
        if there != head.joined_total {
            let lost = format!(
                "{}: region \"{name}\" has committed {} joined outputs, {there} are left: {}",
                self.dir.join(names::CATALOGUE).display(),
                head.joined_total,
                self.report.repairs.join("; ")
            );
            if !self.options.allow_rollback {
                return Err(StoreError::Damaged(lost));
            }
            self.report.repair(lost);
            head.joined_total = there;
        }
        if trust == Trust::Damaged {
            self.drop_incomplete(name, start, &mut candidates)?;
        }
        Ok(Chosen { records: candidates, joined, letters: None, is_less })
    }

    /// Drops older checkpoints whose chunks are not there. (Those of a slot may have expired.)
    fn drop_incomplete(
        &mut self,
        name: &str,
        start: WindowId,
        candidates: &mut BTreeMap<WindowId, (Place, Record)>,
    ) -> Result<(), StoreError> {
        let folder = region::folder(self.dir, name);
        let mut incomplete = Vec::new();
        for (window, (_, record)) in candidates.range(..start) {
            if !region::check_chunks(&self.disk, &folder, &record.manifest, Depth::Length)?.is_empty() {
                incomplete.push(*window);
            }
        }
        for window in incomplete {
            candidates.remove(&window);
            self.report.repair(format!(
                "region \"{name}\": the older checkpoint of window {window} is not complete and was dropped"
            ));
        }
        Ok(())
    }

    /// Decides how often the job was started, and which regions there are.
    pub(super) fn choose_root(
        &mut self,
        slots: &[Slot; 2],
        root_says: Option<Root>,
        says: &CatalogueSays,
        chosen: &BTreeMap<String, Chosen>,
        trust: Trust,
    ) -> Result<Root, StoreError> {
        let heads = chosen.values().filter_map(Chosen::head).map(|(_, record)| record.manifest.fence.incarnation);
        let newest_head = heads.max().unwrap_or(0);
        let is_damaged = slots.iter().any(|slot| slot.content().is_none());
        let mut incarnation = says.incarnation;
        if trust == Trust::Damaged {
            incarnation = incarnation.max(newest_head);
        }
        if let Some(root) = root_says {
            incarnation = incarnation.max(root.incarnation);
            if is_damaged && trust == Trust::Damaged {
                // The slot that cannot be read may have been about the next one.
                incarnation = incarnation.saturating_add(1);
            }
        } else if trust == Trust::Damaged && !self.options.allow_rollback {
            return Err(StoreError::Damaged(format!(
                "{} is damaged, and so is the catalogue: how often the job was started is not known",
                self.dir.join(names::ROOT).display()
            )));
        }
        Ok(Root { incarnation, regions: chosen.keys().cloned().collect() })
    }
}
