//! A job of this process, from the text of its topology.

use std::path::Path;

use piton::runtime::{Ended, Event, RunOptions, Shared};
use piton::{Overrides, Registry};

/// Runs a job until its input has ended, and lets somebody see what it tells. State is kept in the folder.
pub(crate) fn run(
    toml: &str,
    folder: &Path,
    registry: &Registry,
    shared: Option<Shared>,
    mut see: impl FnMut(&Event) + Send + 'static,
) -> Result<(), String> {
    let plan = piton::topology::load_text(toml, &folder.join("bench.toml"), &Overrides::default(), registry)
        .map_err(|error| format!("there is no plan: {error}"))?;
    let listener = Box::new(move |event: &Event| match event {
        // What is done twice would be measured twice.
        Event::Restarted { reason, .. } => panic!("the job was restarted: {reason}"),
        event => see(event),
    });
    let options = RunOptions { shared, listener, ..RunOptions::default() };
    match piton::runtime::run(&plan, options) {
        Ok(Ended::Ran(outcome)) if outcome.finished => Ok(()),
        Ok(other) => Err(format!("the job did not finish: {other:?}")),
        Err(error) => Err(format!("the job failed: {error}")),
    }
}
