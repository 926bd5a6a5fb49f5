//! Why faults of a plan did not happen.

use crate::chaos::live::hits::Hits;
use crate::chaos::plan::PlannedFault;
use crate::config::Duration;

/// How a run has ended.
pub(super) struct Over {
    pub(super) took_ms: u64,
    /// How long faults went on, or were to.
    pub(super) faults: Duration,
    pub(super) was_stopped: bool,
    /// Whether that was the end of it, before faults were over.
    pub(super) input_was_read: bool,
}

/// Says of the faults that did not happen why not; of each that waited for its call it is remarked, too.
pub(super) fn notes(hits: &mut Hits, over: &Over) -> Vec<String> {
    let all = hits.all().len();
    let mut notes = Vec::new();
    let timed = || hits.all().iter().filter(|hit| hit.injected.is_none()).filter_map(|hit| hit.fault.at);
    let (due, left) = (timed().filter(|at| *at < over.faults).count(), timed().count());
    if over.was_stopped {
        notes.push(format!("it was stopped after {} ms: {left} of {all} faults did not happen", over.took_ms));
    } else if over.input_was_read && due > 0 {
        notes.push(format!(
            "the input was read after {} ms, before faults were over: {due} of {all} did not happen; give it more rows, or a \
             lower rate",
            over.took_ms
        ));
    } else if due > 0 {
        notes.push(format!("{due} of {all} faults did not happen: others were going on (chaos.max_concurrent_faults)"));
    }
    if left > due && !over.was_stopped {
        notes.push(format!(
            "{} of {all} faults did not happen: faults are over after {}, and they are due after that; give a longer \
             --duration",
            left - due,
            over.faults
        ));
    }
    let waiting = hits.all().iter().filter(|hit| hit.fault.is_exact() && hit.struck.is_none());
    let waiting: Vec<(PlannedFault, Option<String>)> =
        waiting.map(|hit| (hit.fault.clone(), hit.remark.clone())).collect();
    for (fault, remark) in waiting {
        let PlannedFault { number, kind, nth, .. } = fault;
        let why = remark.unwrap_or_else(|| match nth {
            Some(nth) if nth > 1 => format!("no process made that call {nth} times while there were faults"),
            _ => "that call was never made while there were faults".to_string(),
        });
        let (whom, point) = (fault.whom().unwrap_or_default(), fault.point.unwrap_or_default());
        notes.push(format!("fault {number} ({kind} of {whom} at \"{point}\") did not happen: {why}"));
        hits.remark(number, why);
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chaos::kind::FaultKind;
    use crate::chaos::plan::ChaosPlan;

    #[test]
    fn of_each_fault_that_did_not_happen_it_is_said_why() {
        let exact = |number: u32, nth: u64| PlannedFault {
            operator: Some("count".into()),
            subtask: Some(0),
            point: Some("restore".into()),
            nth: Some(nth),
            ..PlannedFault::new(number, FaultKind::Panic)
        };
        let timed = |number: u32, at: u64| PlannedFault {
            at: Some(Duration::from_secs(at)),
            ..PlannedFault::new(number, FaultKind::ProcessPause)
        };
        let plan =
            ChaosPlan { faults: vec![exact(1, 1), exact(2, 3), timed(3, 1), timed(4, 9)], ..ChaosPlan::default() };
        let mut hits = Hits::new(&plan, &[]);
        // Each process was told of the first two.
        hits.injected(1, 100);
        hits.injected(2, 100);
        let mut said = |was_stopped, input_was_read| {
            let faults = Duration::from_secs(5);
            notes(&mut hits, &Over { took_ms: 7, faults, was_stopped, input_was_read })
        };
        let all = said(false, true);
        assert_eq!(all.len(), 4);
        assert!(all[0].contains("read after 7 ms") && all[0].contains("1 of 4 did not happen"), "{all:?}");
        assert!(all[1].starts_with("1 of 4 faults did not happen: faults are over after 5s"), "{all:?}");
        assert!(all[2].starts_with("fault 1 (panic of count[0] at \"restore\")") && all[2].contains("never made"));
        assert!(all[3].contains("made that call 3 times"), "{all:?}");
        assert!(said(false, false)[0].contains("max_concurrent_faults"));
        assert!(said(true, false)[0].contains("stopped after 7 ms: 2 of 4"));
        assert!(hits.all()[0].remark.as_ref().is_some_and(|remark| remark.contains("never made")));
    }
}
