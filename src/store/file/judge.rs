//! Which checkpoint of a region is true, given what its witnesses say: a pure decision.

use std::collections::BTreeMap;

use super::record::{Place, Record};
use super::slots::Slot;
use super::witness::{RegionFound, RegionSays};
use crate::ids::WindowId;

/// How far the catalogue is to be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trust {
    /// It opened and agrees with everything else.
    Whole,
    /// It is damaged somewhere: what it has is used, what it lacks proves nothing.
    Damaged,
}

/// What can be started from, and what was committed.
#[derive(Debug, Default)]
pub(super) struct Evidence {
    /// The newest window that a witness proves was committed.
    pub(super) proven: Option<WindowId>,
    /// The records that can be read; their chunks have not been looked at.
    pub(super) candidates: BTreeMap<WindowId, (Place, Record)>,
    /// What is known to be wrong with windows that are no candidates.
    pub(super) problems: Vec<String>,
    /// Why a later window may have been committed than the one that is proven.
    pub(super) doubt: Option<String>,
}

/// Returns whether the catalogue is behind a region's own witness, which only damage brings about.
pub(super) fn is_behind(found: Option<&RegionFound>, says: Option<&RegionSays>) -> bool {
    let slots = newest_slot(found).unwrap_or_default();
    let head = says.and_then(|says| says.head).unwrap_or_default();
    head < slots
}

/// Weighs what a region's own witness and the catalogue say.
pub(super) fn weigh(region: &str, found: Option<&RegionFound>, says: Option<&RegionSays>, trust: Trust) -> Evidence {
    let mut evidence = Evidence::default();
    let head = says.and_then(|says| says.head).filter(|head| *head != WindowId::NONE);
    let slots = newest_slot(found).filter(|window| *window != WindowId::NONE);
    evidence.proven = head.max(slots);

    if let Some(says) = says {
        for (window, record) in &says.records {
            if let Some(place) = says.places.get(window) {
                evidence.candidates.insert(*window, (*place, record.clone()));
            }
        }
    }
    if let Some(found) = found {
        // The older slot of a whole store may be about a window that is not kept any more.
        let kept = |window: &WindowId| trust == Trust::Damaged || evidence.candidates.contains_key(window);
        let records: Vec<_> = found.records.iter().filter(|(window, _)| kept(window)).collect();
        evidence.candidates.extend(records.into_iter().map(|(window, record)| (*window, record.clone())));
        evidence.problems.extend(found.missing.values().cloned());
    }
    // Records above the head of the catalogue do not exist: the head is moved by the batch that brings the record.
    evidence.candidates.retain(|window, _| Some(*window) <= evidence.proven);

    let unreadable = found.map_or(2, |found| found.slots.iter().filter(|slot| **slot == Slot::Unreadable).count());
    let path = found.map_or(format!("the folder of region \"{region}\""), |found| {
        found.folder.join(super::names::HEAD).display().to_string()
    });
    evidence.doubt = if unreadable == 2 && head.is_none() {
        Some(format!("{path} is missing or damaged, and the catalogue knows nothing of the region"))
    } else if unreadable > 0 && trust == Trust::Damaged && head <= slots {
        // The slot may have been about a window which the catalogue has lost.
        Some(format!("{path} is damaged, and so is the catalogue"))
    } else {
        None
    };
    evidence
}

fn newest_slot(found: Option<&RegionFound>) -> Option<WindowId> {
    found?.slots.iter().filter_map(Slot::window).max()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::ids::Fence;
    use crate::protocol::manifest::Manifest;
    use crate::store::file::letter_log::Extent;
    use crate::store::file::slots::{Content, Kind};
    use crate::store::history::History;

    fn record(window: u64) -> Record {
        let manifest = Manifest {
            job: "job".to_owned(),
            region: "a".to_owned(),
            window: WindowId(window),
            fence: Fence::default(),
            triggered_ms: 0,
            completed_ms: 0,
            finished: false,
            topology: Vec::new(),
            copy_of: WindowId::NONE,
            subtasks: Vec::new(),
        };
        Record {
            manifest,
            joined: Vec::new(),
            joined_total: 0,
            letters: Extent::default(),
            history: History::default(),
        }
    }

    fn slot(sequence: u64, window: u64) -> Slot {
        let kind = if window == 0 { Kind::Nothing } else { Kind::Record };
        let content = Content { kind, window: WindowId(window), fence: Fence::default(), body: Vec::new() };
        Slot::Whole { sequence, content }
    }

    fn found(slots: [Slot; 2]) -> RegionFound {
        let windows = slots.iter().filter_map(Slot::content).map(|content| content.window);
        let records =
            windows.filter(|window| window.0 > 0).map(|window| (window, (Place::Catalogue, record(window.0))));
        RegionFound { folder: PathBuf::from("a"), records: records.collect(), missing: BTreeMap::new(), slots }
    }

    fn says(windows: &[u64]) -> RegionSays {
        RegionSays {
            number: 0,
            head: windows.last().copied().map(WindowId),
            places: windows.iter().map(|window| (WindowId(*window), Place::Catalogue)).collect(),
            records: windows.iter().map(|window| (WindowId(*window), record(*window))).collect(),
            joined: Vec::new(),
        }
    }

    fn newest(evidence: &Evidence) -> Option<u64> {
        evidence.candidates.keys().next_back().map(|window| window.0)
    }

    #[test]
    fn a_crash_before_the_slot_is_written_leaves_the_catalogue_ahead() {
        let (found, says) = (found([slot(3, 1), slot(4, 2)]), says(&[1, 2, 3]));
        assert!(!is_behind(Some(&found), Some(&says)));
        let evidence = weigh("a", Some(&found), Some(&says), Trust::Whole);
        assert_eq!((evidence.proven, newest(&evidence)), (Some(WindowId(3)), Some(3)));
        assert_eq!(evidence.doubt, None);
    }

    #[test]
    fn a_catalogue_behind_the_slots_is_damaged_and_made_up_for() {
        let (found, says) = (found([slot(3, 5), slot(4, 6)]), says(&[1, 2, 3]));
        assert!(is_behind(Some(&found), Some(&says)));
        let evidence = weigh("a", Some(&found), Some(&says), Trust::Damaged);
        assert_eq!((evidence.proven, newest(&evidence)), (Some(WindowId(6)), Some(6)));
        assert_eq!(evidence.doubt, None);
        assert!(is_behind(Some(&found), None));
    }

    #[test]
    fn a_torn_slot_proves_its_window() {
        let torn = Slot::Torn { sequence: 5, window: WindowId(7) };
        let (found, says) = (found([torn, slot(4, 6)]), says(&[5, 6]));
        let evidence = weigh("a", Some(&found), Some(&says), Trust::Whole);
        assert_eq!((evidence.proven, newest(&evidence)), (Some(WindowId(7)), Some(6)));
    }

    #[test]
    fn a_damaged_slot_beside_a_damaged_catalogue_is_a_doubt() {
        let found = found([Slot::Unreadable, slot(4, 6)]);
        assert!(weigh("a", Some(&found), Some(&says(&[5, 6])), Trust::Whole).doubt.is_none());
        assert!(weigh("a", Some(&found), Some(&says(&[5, 6])), Trust::Damaged).doubt.is_some());
        assert!(weigh("a", Some(&found), Some(&says(&[5, 6, 7])), Trust::Damaged).doubt.is_none());
        assert!(weigh("a", Some(&found), None, Trust::Damaged).doubt.is_some());
    }

    #[test]
    fn no_witness_at_all_is_a_doubt_and_no_commit_is_none() {
        let lost = found([Slot::Unreadable, Slot::Unreadable]);
        assert!(weigh("a", Some(&lost), None, Trust::Whole).doubt.is_some());
        assert!(weigh("a", None, None, Trust::Whole).doubt.is_some());
        assert!(weigh("a", Some(&lost), Some(&says(&[1])), Trust::Whole).doubt.is_none());
        let fresh = found([slot(1, 0), slot(2, 0)]);
        let evidence = weigh("a", Some(&fresh), None, Trust::Whole);
        assert_eq!((evidence.proven, evidence.doubt), (None, None));
    }
}
