//! What is done to a job, and when: drawn from a seed beforehand, and then plain data.
//!
//! A plan is a TOML file that can be read, cut down by hand and played again. A live run plays the plan again, not the
//! interleaving: what the machine does between two faults is its own.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::chaos::kind::{FaultKind, Reach};
use crate::chaos::target::{Target, point, points};
use crate::config::{ChaosSettings, Duration};
use crate::error::{Error, ErrorKind, Result};
use crate::topology::{Plan, whom};

/// A plan of faults.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChaosPlan {
    /// The name of the job that it was drawn for.
    pub job: String,
    /// The seed that it was drawn from.
    pub seed: u64,
    /// How long faults go on, from the start of the run.
    pub duration: Duration,
    /// How long the job has to be well again after that.
    pub settle: Duration,
    /// The faults, in the order of their times; those at exact points come first.
    #[serde(default, rename = "fault")]
    pub faults: Vec<PlannedFault>,
}

/// One fault of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedFault {
    /// By what it is known in reports, from 1.
    pub number: u32,
    /// What happens.
    pub kind: FaultKind,
    /// When, from the start of the run under faults; nothing: at its point, from the start of each process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Duration>,
    /// The operator, source or sink that it hits; nothing: the process or the store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator: Option<String>,
    /// Which of its subtasks; nothing: the first that comes by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subtask: Option<u32>,
    /// In which call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub point: Option<String>,
    /// In the how manieth of these calls; nothing: the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nth: Option<u64>,
    /// Where in the call; nothing: instead of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moment: Option<Moment>,
    /// For how long, if it takes time; nothing: as long as it needs to be noticed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lasts: Option<Duration>,
    /// How many writes fail; nothing: one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u32>,
}

/// Where in a call a panic or an error comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Moment {
    /// Instead of the call.
    Before,
    /// When half of the batch has been processed.
    Midway,
    /// When the call has done all that it does.
    After,
}

impl PlannedFault {
    /// Makes a fault of a kind, with nothing else said.
    pub fn new(number: u32, kind: FaultKind) -> PlannedFault {
        PlannedFault {
            number,
            kind,
            at: None,
            operator: None,
            subtask: None,
            point: None,
            nth: None,
            moment: None,
            lasts: None,
            times: None,
        }
    }

    /// Returns whom it hits, as people read it: `count[1]`, `count`; nothing if that is the store or the process.
    pub fn whom(&self) -> Option<String> {
        let operator = self.operator.as_deref()?;
        Some(self.subtask.map_or_else(|| operator.to_string(), |index| format!("{operator}[{index}]")))
    }

    /// Returns whether it comes at its point, whenever that is.
    pub fn is_exact(&self) -> bool {
        self.at.is_none()
    }

    /// Returns whether it waits for a call that only a restart makes: it may wait for long, and harms nobody meanwhile.
    pub fn waits_for_a_restart(&self) -> bool {
        matches!(self.point.as_deref(), Some("open" | "restore" | "abort" | "close"))
    }
}

impl ChaosPlan {
    /// Writes it as TOML.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("a plan is numbers and texts, which TOML can hold")
    }

    /// Reads a plan from a file: TOML, or a report in JSON that holds it.
    ///
    /// # Errors
    /// Of kind `Config` if there is none in it.
    pub fn read(file: &Path) -> Result<ChaosPlan> {
        let name = file.display();
        let text =
            std::fs::read_to_string(file).map_err(|error| Error::config(format!("cannot read \"{name}\": {error}")))?;
        let failed = |error: String| Error::config(format!("\"{name}\" holds no plan of faults: {}", error.trim()));
        if !text.trim_start().starts_with('{') {
            return toml::from_str(&text).map_err(|error| failed(error.to_string()));
        }
        #[derive(Deserialize)]
        struct Report {
            plan: ChaosPlan,
        }
        serde_json::from_str(&text).map(|Report { plan }| plan).map_err(|error| failed(error.to_string()))
    }

    /// Checks that it was drawn for this job, and that everybody whom it names is there.
    ///
    /// # Errors
    /// Of kind `Config`, with a line for each fault that cannot happen.
    pub fn check(&self, topology: &Plan) -> Result {
        let targets = Target::all(topology);
        let mut wrong = Vec::new();
        let name = &topology.settings.job.name;
        if self.job != *name {
            wrong.push(format!(
                "the plan of faults was drawn for the job \"{}\", and this one is \"{name}\": give the topology file of \
                 \"{0}\", or change `job` in the plan if it is the same under another name",
                self.job
            ));
        }
        for fault in &self.faults {
            if let Err(why) = check(fault, &targets) {
                wrong.push(format!("fault {} ({}): {why}", fault.number, fault.kind));
            }
        }
        let mut numbers: Vec<u32> = self.faults.iter().map(|fault| fault.number).collect();
        numbers.sort_unstable();
        if let Some(pair) = numbers.windows(2).find(|pair| pair[0] == pair[1]) {
            wrong.push(format!("there are two faults with the number {}", pair[0]));
        }
        if wrong.is_empty() { Ok(()) } else { Err(Error::new(ErrorKind::Config, wrong)) }
    }

    /// Returns whether any of its faults can happen before they are over.
    pub fn has_time(&self) -> bool {
        self.faults.iter().any(|fault| fault.at.is_none_or(|at| at < self.duration))
    }
}

fn check(fault: &PlannedFault, targets: &[Target]) -> Result<(), String> {
    if fault.number == 0 {
        return Err("the numbers of faults begin with 1".to_string());
    }
    if fault.nth == Some(0) {
        return Err("calls are counted from 1: nth = 0 is none of them".to_string());
    }
    if fault.times == Some(0) {
        return Err("0 writes that fail are no fault: `times` is at least 1".to_string());
    }
    if fault.lasts.is_some() && !fault.kind.takes_time() {
        return Err("it happens at once: leave `lasts` out".to_string());
    }
    if fault.times.is_some() && fault.kind != FaultKind::StoreEio {
        return Err(format!(
            "`times` is how many writes fail, and says nothing of it ({} has it)",
            FaultKind::StoreEio
        ));
    }
    if fault.operator.is_some() && fault.kind.reach() == Reach::Store {
        return Err("it hits the store, and so everybody: leave `operator` out".to_string());
    }
    let Some(name) = fault.operator.as_deref() else {
        return match fault.kind.reach() {
            Reach::Call | Reach::Subtask => Err("name the operator that it hits".to_string()),
            Reach::Store | Reach::Process => Ok(()),
        };
    };
    let Some(target) = targets.iter().find(|target| target.name == name) else {
        let names: Vec<&str> = targets.iter().map(|target| target.name.as_str()).collect();
        return Err(format!("there is no \"{name}\" in the topology (there are: {})", names.join(", ")));
    };
    if let Some(index) = fault.subtask.filter(|index| *index >= target.parallelism) {
        return Err(format!("\"{name}\" has no subtask {index}: there are {}, counted from 0", target.parallelism));
    }
    match fault.point.as_deref() {
        Some(at) if point(target.role, at).is_none() => {
            let known: Vec<&str> = points(target.role).iter().map(|(name, _)| *name).collect();
            Err(format!("{} \"{name}\" has no call \"{at}\" (it has: {})", target.role, known.join(", ")))
        }
        Some(_) => Ok(()),
        None if fault.kind.reach() == Reach::Call => {
            Err("name the call in which it happens: point = \"…\"".to_string())
        }
        None => Ok(()),
    }
}

/// Returns the faults at the exact points of the settings.
///
/// # Errors
/// Of kind `Config` if somebody's name cannot be read.
pub(super) fn exact(settings: &ChaosSettings) -> Result<Vec<PlannedFault>> {
    let mut faults = Vec::new();
    for (index, at) in settings.at.iter().enumerate() {
        let number = u32::try_from(index).unwrap_or(u32::MAX).saturating_add(1);
        let (operator, subtask) =
            whom(&at.operator).map_err(|why| Error::config(format!("chaos.at[{index}]: {why}")))?;
        faults.push(PlannedFault {
            operator: Some(operator.to_string()),
            subtask,
            point: Some(at.point.clone()),
            nth: at.on.map(|nth| nth.0),
            ..PlannedFault::new(number, at.action.into())
        });
    }
    Ok(faults)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ChaosAction, ChaosPoint, Nth};
    use crate::topology::testing::plan as planned;

    fn plan() -> ChaosPlan {
        let faults = vec![
            PlannedFault {
                operator: Some("count".into()),
                subtask: Some(1),
                point: Some("process".into()),
                moment: Some(Moment::Midway),
                at: Some(Duration::from_millis(3_214)),
                ..PlannedFault::new(1, FaultKind::Panic)
            },
            PlannedFault {
                lasts: Some(Duration::from_millis(800)),
                at: Some(Duration::from_secs(4)),
                ..PlannedFault::new(2, FaultKind::ProcessPause)
            },
        ];
        ChaosPlan {
            job: "job".into(),
            seed: 7,
            duration: Duration::from_secs(60),
            settle: Duration::from_secs(10),
            faults,
        }
    }

    #[test]
    fn a_plan_survives_a_round_trip_through_files() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("plan.toml");
        std::fs::write(&file, plan().to_toml()).unwrap();
        assert_eq!(ChaosPlan::read(&file).unwrap(), plan());
        let report = serde_json::json!({ "verdict": "pass", "plan": plan() });
        std::fs::write(&file, report.to_string()).unwrap();
        assert_eq!(ChaosPlan::read(&file).unwrap(), plan());
        std::fs::write(&file, "[[fault]]\nnumber = 1\nkind = \"earthquake\"\n").unwrap();
        let error = ChaosPlan::read(&file).unwrap_err();
        assert_eq!(error.kind().exit_code(), 2);
        assert!(error.to_string().contains("earthquake"), "{error}");
    }

    #[test]
    fn the_plan_of_the_readme_is_one_and_shows_everything_that_a_plan_can_say() {
        let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
        let text = readme.split("```toml\n").find_map(|block| block.split("```").next().filter(|text| is_plan(text)));
        let shown: ChaosPlan = toml::from_str(text.expect("the plan in README.md begins with `job = `")).unwrap();
        let topology = planned(
            "[job]\nname = \"counts\"\n[sources.numbers]\ntype = \"numbers\"\nlimit = 1\n[operators.totals]\n\
             type = \"count\"\ninputs = [\"numbers\"]\nparallelism = 2\n",
        );
        shown.check(&topology).unwrap();
        assert!(shown.has_time());
        let PlannedFault { number: _, kind: _, at, operator, subtask, point, nth, moment, .. } = &shown.faults[0];
        assert!(at.is_some() && operator.is_some() && subtask.is_some() && point.is_some());
        assert!(nth.is_some() && moment.is_some());
        assert!(shown.faults.iter().any(|fault| fault.lasts.is_some()));
        assert!(shown.faults.iter().any(|fault| fault.times.is_some()));
    }

    fn is_plan(text: &str) -> bool {
        text.starts_with("job = ")
    }

    #[test]
    fn whoever_is_named_has_to_be_there() {
        let topology = planned(
            "[sources.numbers]\ntype = \"numbers\"\nlimit = 1\n[operators.count]\ntype = \"count\"\n\
             inputs = [\"numbers\"]\nparallelism = 2\n",
        );
        plan().check(&topology).unwrap();
        let other = ChaosPlan { job: "other".into(), ..plan() }.check(&topology).unwrap_err();
        assert!(other.to_string().contains("drawn for the job \"other\", and this one is \"job\""), "{other}");
        let wrong = |change: fn(&mut PlannedFault)| {
            let mut plan = plan();
            change(&mut plan.faults[0]);
            plan.check(&topology).unwrap_err().to_string()
        };
        assert!(wrong(|fault| fault.operator = Some("cuont".into())).contains("no \"cuont\""));
        assert!(wrong(|fault| fault.subtask = Some(2)).contains("no subtask 2"));
        assert!(wrong(|fault| fault.point = Some("poll".into())).contains("no call \"poll\""));
        assert!(wrong(|fault| fault.point = None).contains("name the call"));
        assert!(wrong(|fault| fault.operator = None).contains("name the operator"));
        assert!(wrong(|fault| fault.number = 2).contains("two faults"));
        assert!(wrong(|fault| fault.number = 0).contains("begin with 1"));
        assert!(wrong(|fault| fault.nth = Some(0)).contains("counted from 1"));
        assert!(wrong(|fault| fault.times = Some(0)).contains("at least 1"));
        assert!(wrong(|fault| fault.times = Some(2)).contains("`times` is how many"));
        assert!(wrong(|fault| fault.lasts = Some(Duration::from_secs(1))).contains("leave `lasts` out"));
    }

    #[test]
    fn a_plan_has_time_for_what_is_due_before_its_end_or_has_no_time() {
        let within = |duration| ChaosPlan { duration, ..plan() };
        assert!(plan().has_time());
        let mut late = within(Duration::from_secs(2));
        late.faults.iter_mut().for_each(|fault| fault.at = Some(Duration::from_secs(2)));
        assert!(!late.has_time());
        late.faults[0].at = None;
        assert!(late.has_time(), "it comes with a call");
    }

    #[test]
    fn exact_points_become_faults_without_a_time() {
        let mut settings = ChaosSettings::default();
        let at = |operator: &str| ChaosPoint {
            operator: operator.into(),
            point: "before_checkpoint".into(),
            action: ChaosAction::Hang,
            on: Some(Nth(3)),
        };
        settings.at = vec![at("count[1]"), at("count")];
        let faults = exact(&settings).unwrap();
        assert_eq!(faults[0].whom().as_deref(), Some("count[1]"));
        assert_eq!((faults[1].number, faults[1].subtask, faults[1].nth, faults[1].at), (2, None, Some(3), None));
        settings.at[0].operator = "count[x]".into();
        assert!(exact(&settings).unwrap_err().to_string().contains("chaos.at[0]"));
    }
}
