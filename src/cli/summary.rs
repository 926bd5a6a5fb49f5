//! What is said at the end of a run.

use std::path::Path;
use std::time::Duration;

use crate::cli::output::file_sinks;
use crate::cli::terminal::Terminal;
use crate::cli::text::{count, number, span};
use crate::config::OnCancel;
use crate::runtime::Outcome;
use crate::topology::{NodeKind, Plan, Registry};

/// How many seconds a run should take that somebody wants to crash.
const TIME_TO_CRASH: u64 = 20;

/// Says that there was nothing to do.
pub(super) fn already_finished(plan: &Plan, outcome: &Outcome, terminal: &Terminal) {
    terminal
        .say(&format!("job \"{}\" has finished before: nothing was run and nothing written", plan.settings.job.name));
    details(plan, outcome, terminal);
    terminal.say("  to run it anew, add `--resume none --discard-state --discard-output`");
}

/// Says how a run ended that did not fail.
pub(super) fn ended(plan: &Plan, outcome: &Outcome, took: Duration, terminal: &Terminal) {
    let took = span(u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
    let how = match (outcome.finished, outcome.cancelled) {
        (true, _) => "has finished",
        (false, true) => "was cancelled",
        (false, false) => "was stopped",
    };
    terminal.say(&format!("job \"{}\" {how} after {took}", plan.settings.job.name));
    details(plan, outcome, terminal);
    let is_gone = outcome.cancelled && plan.settings.checkpoint.on_cancel == OnCancel::Delete;
    match (outcome.finished, is_gone) {
        (true, _) => {}
        (false, false) => terminal.say("  the next start continues from there"),
        (false, true) => terminal.say(
            "  its checkpoints are removed (checkpoint.on_cancel = \"delete\"): to run it anew, add `--resume none \
             --discard-output`",
        ),
    }
}

fn details(plan: &Plan, outcome: &Outcome, terminal: &Terminal) {
    let (read, written) = (number(outcome.records_in), number(outcome.records_out));
    terminal.say(&format!("  records: {read} in, {written} out"));
    for (region, window) in &outcome.windows {
        terminal.say(&format!("  region {region}: committed up to window {window}"));
    }
    if outcome.restarts > 0 {
        terminal.say(&format!("  restarts: {}", number(outcome.restarts)));
    }
    for sink in file_sinks(plan) {
        let folder = short(sink.folder);
        match sink.files() {
            Ok(files) => {
                let files = count(files.committed.len() as u64, "file");
                terminal.say(&format!("  output of {}: {files} in {folder}", sink.name));
            }
            Err(error) => terminal.say(&format!("warning: {error}")),
        }
    }
}

/// Says what can be tried with the default job.
pub(super) fn try_next(plan: &Plan, outcome: &Outcome, registry: &Registry, terminal: &Terminal) {
    let program = std::env::args().next().unwrap_or_else(|| "piton".to_string());
    terminal.say("\ntry next:");
    terminal.say(&format!("  {program} explain              # the plan, and what is guaranteed"));
    terminal.say(&format!("  {program} checkpoints list     # what was kept"));
    if let Some(source) = slowable(plan, registry) {
        let rate = (outcome.records_in / TIME_TO_CRASH).max(1);
        let anew = "--resume none --discard-state --discard-output";
        terminal.say("crash it in the middle, then let it go on; the output is the same:");
        terminal.say(&format!("  {program} run {anew} --set sources.{source}.rate={rate}/s & sleep 5; kill -9 $!"));
        terminal.say(&format!("  {program} run"));
    }
}

/// Returns a source that can be told to take its time.
fn slowable<'p>(plan: &'p Plan, registry: &Registry) -> Option<&'p str> {
    plan.nodes.iter().find_map(|node| {
        let NodeKind::Source(..) = node.kind else { return None };
        let doc = registry.sources().get(&node.type_name)?.doc();
        doc.options.iter().any(|option| option.name == "rate").then_some(&*node.name)
    })
}

/// Returns a path as seen from the current folder, if it lies below it.
fn short(path: &Path) -> String {
    let current = std::env::current_dir().ok();
    let below = current.and_then(|current| path.strip_prefix(current).ok());
    below.unwrap_or(path).display().to_string()
}
