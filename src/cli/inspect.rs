//! `piton check` and `piton explain`: what a topology file says, without running it.

use crate::cli::args::{CheckArgs, ExplainArgs};
use crate::cli::table::print;
use crate::cli::terminal::Terminal;
use crate::cli::text::count;
use crate::error::Result;
use crate::topology::Registry;

/// Says that a topology file is right, or everything that is wrong with it.
pub(super) fn check(args: &CheckArgs, registry: &Registry, terminal: &Terminal) -> Result {
    let plan = args.job.plan(registry)?;
    for warning in &plan.warnings {
        terminal.say(&format!("warning: {warning}"));
    }
    let subtasks = count(plan.subtask_count().into(), "subtask");
    let regions = count(plan.regions.len() as u64, "region");
    terminal.say(&format!(
        "{}: job \"{}\" is ready to run: {subtasks} in {regions}",
        args.job.file().display(),
        plan.settings.job.name
    ));
    Ok(())
}

/// Prints the plan.
pub(super) fn explain(args: &ExplainArgs, registry: &Registry, terminal: &Terminal) -> Result {
    let plan = args.job.plan(registry)?;
    let format = args.format.into();
    if format != crate::topology::Format::Text {
        // The text shows them itself.
        for warning in &plan.warnings {
            terminal.say(&format!("warning: {warning}"));
        }
    }
    print(&plan.explain(format))
}
