//! A savepoint while it is being made: which windows it is made of, and whether it is worth another attempt. A plain
//! state machine; what it asks for is the supervisor's to do.
//!
//! Each region takes a checkpoint of its own for it. A checkpoint that fails, or that is lost to a restart of its region,
//! is asked for again; after some attempts the savepoint has failed. For a savepoint at the stop of a job, or of a job
//! that has come to its end, the last checkpoint of each region serves.

use crate::ids::WindowId;

/// How often it is tried.
const ATTEMPTS: u32 = 3;

/// When a savepoint is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    /// Now, while the job goes on.
    Now,
    /// With the last checkpoint of each region.
    AtTheEnd,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// A checkpoint was asked for, or the region's last one is waited for.
    Asked,
    /// The one that closes this window, or any later one.
    Awaited(WindowId),
    /// It is committed, and on its way into the savepoint.
    Adding(WindowId),
    Added,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Ask this region for a checkpoint.
    Trigger(usize),
    /// Add the checkpoint of this window of a region.
    Add(usize, WindowId),
    /// Everything is there.
    Seal,
    /// It is given up, for this reason: throw away what there is of it.
    Abort(String),
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Saving {
    pub(crate) name: String,
    when: When,
    parts: Vec<Part>,
    failed: u32,
    over: bool,
}

impl Saving {
    /// Begins a savepoint of these regions; those that have come to their end say with which window.
    pub(crate) fn begin(name: String, when: When, regions: &[Option<WindowId>]) -> (Saving, Vec<Step>) {
        let mut saving = Saving { name, when, parts: vec![Part::Asked; regions.len()], failed: 0, over: false };
        let mut steps = Vec::new();
        for (region, over) in regions.iter().enumerate() {
            match over {
                Some(window) => steps.extend(saving.ended(region, *window)),
                None if when == When::Now => steps.push(Step::Trigger(region)),
                None => {}
            }
        }
        (saving, steps)
    }

    /// Returns whether a region's checkpoint has to be asked for, because it has begun anew.
    pub(crate) fn region_is_ready(&self, region: usize) -> Vec<Step> {
        let is_asked = !self.over && self.when == When::Now && self.parts[region] == Part::Asked;
        if is_asked { vec![Step::Trigger(region)] } else { Vec::new() }
    }

    /// A region has triggered a checkpoint.
    pub(crate) fn triggered(&mut self, region: usize, window: WindowId) {
        if self.when == When::Now && self.parts[region] == Part::Asked {
            self.parts[region] = Part::Awaited(window);
        }
    }

    /// A region has committed.
    pub(crate) fn committed(&mut self, region: usize, window: WindowId) -> Vec<Step> {
        match self.parts[region] {
            Part::Awaited(awaited) if window >= awaited && !self.over => self.add(region, window),
            _ => Vec::new(),
        }
    }

    /// A region has come to its end with this window.
    pub(crate) fn ended(&mut self, region: usize, window: WindowId) -> Vec<Step> {
        match self.parts[region] {
            Part::Asked | Part::Awaited(_) if !self.over => self.add(region, window),
            _ => Vec::new(),
        }
    }

    fn add(&mut self, region: usize, window: WindowId) -> Vec<Step> {
        self.parts[region] = Part::Adding(window);
        vec![Step::Add(region, window)]
    }

    /// The checkpoint of a window has failed, not because a newer one has come before it.
    pub(crate) fn checkpoint_failed(&mut self, region: usize, window: WindowId, reason: &str) -> Vec<Step> {
        if self.parts[region] != Part::Awaited(window) {
            return Vec::new();
        }
        self.parts[region] = Part::Asked;
        self.again(reason, vec![Step::Trigger(region)])
    }

    /// A region starts again: what was under way is lost. It is asked when it is ready.
    pub(crate) fn restarting(&mut self, region: usize, reason: &str) -> Vec<Step> {
        if !matches!(self.parts[region], Part::Awaited(_)) {
            return Vec::new();
        }
        self.parts[region] = Part::Asked;
        self.again(reason, Vec::new())
    }

    /// A checkpoint was added, or not.
    pub(crate) fn added(&mut self, region: usize, outcome: Result<(), String>) -> Vec<Step> {
        let Part::Adding(window) = self.parts[region] else { return Vec::new() };
        if let Err(reason) = outcome {
            return self.again(&reason, vec![Step::Add(region, window)]);
        }
        self.parts[region] = Part::Added;
        let all = self.parts.iter().all(|part| *part == Part::Added);
        if all && !self.over { vec![Step::Seal] } else { Vec::new() }
    }

    /// It cannot be: a region has given up, or the disk does not take it.
    pub(crate) fn fail(&mut self, reason: &str) -> Vec<Step> {
        if std::mem::replace(&mut self.over, true) {
            return Vec::new();
        }
        vec![Step::Abort(reason.to_string())]
    }

    fn again(&mut self, reason: &str, steps: Vec<Step>) -> Vec<Step> {
        if self.over {
            return Vec::new();
        }
        self.failed += 1;
        if self.failed < ATTEMPTS {
            return steps;
        }
        self.fail(&format!("it was tried {ATTEMPTS} times: {reason}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const W: fn(u64) -> WindowId = WindowId;

    #[test]
    fn a_checkpoint_that_was_under_way_before_does_not_count() {
        let (mut saving, steps) = Saving::begin("s".into(), When::Now, &[None, Some(W(9))]);
        assert_eq!(steps, [Step::Trigger(0), Step::Add(1, W(9))]);
        assert_eq!(saving.committed(0, W(4)), []);
        saving.triggered(0, W(5));
        saving.triggered(0, W(6));
        assert_eq!(saving.committed(0, W(4)), []);
        assert_eq!(saving.added(1, Ok(())), []);
        assert_eq!(saving.committed(0, W(6)), [Step::Add(0, W(6))], "a later one holds what an earlier one would");
        assert_eq!(saving.committed(0, W(7)), []);
        assert_eq!(saving.added(0, Ok(())), [Step::Seal]);
    }

    #[test]
    fn failures_are_tried_again_and_then_reported() {
        let (mut saving, _) = Saving::begin("s".into(), When::Now, &[None]);
        saving.triggered(0, W(5));
        assert_eq!(saving.checkpoint_failed(0, W(4), "older"), []);
        assert_eq!(saving.checkpoint_failed(0, W(5), "declined"), [Step::Trigger(0)]);
        saving.triggered(0, W(6));
        assert_eq!(saving.restarting(0, "a panic"), []);
        assert_eq!(saving.region_is_ready(0), [Step::Trigger(0)]);
        saving.triggered(0, W(7));
        let [Step::Abort(reason)] = &saving
            .committed(0, W(7))
            .into_iter()
            .chain(saving.added(0, Err("full".into())))
            .skip(1)
            .collect::<Vec<_>>()[..]
        else {
            panic!("the third failure is the last")
        };
        assert_eq!(reason, "it was tried 3 times: full");
        assert_eq!(saving.fail("once is enough"), []);
        assert_eq!(saving.region_is_ready(0), []);
    }

    #[test]
    fn at_the_end_only_the_last_checkpoint_counts() {
        let (mut saving, steps) = Saving::begin("s".into(), When::AtTheEnd, &[None, None]);
        assert_eq!(steps, []);
        saving.triggered(0, W(5));
        assert_eq!(saving.committed(0, W(5)), []);
        assert_eq!(saving.ended(0, W(6)), [Step::Add(0, W(6))]);
        assert_eq!(saving.ended(1, W(3)), [Step::Add(1, W(3))]);
        assert_eq!(saving.added(0, Err("busy".into())), [Step::Add(0, W(6))]);
        assert_eq!(saving.added(0, Ok(())), []);
        assert_eq!(saving.added(1, Ok(())), [Step::Seal]);
    }
}
