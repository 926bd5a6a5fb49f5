//! `piton checkpoints`: what a state directory holds. The job must not be running meanwhile.

use crate::cli::args::{CheckpointsArgs, CheckpointsCommand};
use crate::cli::diff::diff;
use crate::cli::kept::{self, Kept};
use crate::cli::resume::{open_store, refused};
use crate::cli::table::{Table, print};
use crate::cli::terminal::Terminal;
use crate::cli::text::{bytes, count, number, rfc3339, span};
use crate::error::{Error, ErrorKind, Result};
use crate::protocol::manifest::{Manifest, OperatorSnapshot, SubtaskSnapshot};
use crate::store::{CheckpointInfo, CheckpointStore, OpenOptions, SledStore};
use crate::topology::{Plan, Registry};

/// Carries out one of the commands.
///
/// # Errors
/// Of kind `State` if the state directory cannot be opened, or if there is damage.
pub(super) fn run(command: &CheckpointsCommand, registry: &Registry, terminal: &Terminal) -> Result {
    let (CheckpointsCommand::List(args)
    | CheckpointsCommand::Show(args)
    | CheckpointsCommand::Diff(args)
    | CheckpointsCommand::Verify(args)) = command;
    let plan = args.plan(registry)?;
    if let CheckpointsCommand::Diff(_) = command {
        return diff_two(&plan, args.ids());
    }
    let wanted = Wanted::read(args)?;
    if !SledStore::is_there(&plan.settings.store.path).map_err(refused)? {
        return nothing(&plan, &wanted, terminal);
    }
    let options = OpenOptions { retain: plan.settings.checkpoint.retain as usize, allow_rollback: false };
    let mut store = open_store(&plan, options).map_err(refused)?;
    let kept = kept(store.as_mut())?;
    if kept.is_empty() {
        return nothing(&plan, &wanted, terminal);
    }
    match command {
        CheckpointsCommand::List(_) => list(&wanted.of(kept, Else::All)?),
        CheckpointsCommand::Show(_) => show(store.as_mut(), &wanted.of(kept, Else::Latest)?),
        // It was done above: what it takes may be savepoints.
        CheckpointsCommand::Diff(_) => Ok(()),
        CheckpointsCommand::Verify(_) => verify(store.as_mut(), &wanted, kept, terminal),
    }
}

fn diff_two(plan: &Plan, ids: &[String]) -> Result {
    let [left, right] = ids else {
        return Err(Error::config("name two checkpoints: `piton checkpoints diff job.toml 7 latest`"));
    };
    let (left, right) = (kept::Id::read(left)?, kept::Id::read(right)?);
    if !SledStore::is_there(&plan.settings.store.path).map_err(refused)? {
        let place = plan.settings.store.path.display();
        return Err(Error::state(format!("there are no checkpoints in \"{place}\" yet")));
    }
    let options = OpenOptions { retain: plan.settings.checkpoint.retain as usize, allow_rollback: false };
    let mut store = open_store(plan, options).map_err(refused)?;
    let left = Kept::find(store.as_mut(), &left)?;
    diff(&left, &Kept::find(store.as_mut(), &right)?)
}

fn nothing(plan: &Plan, wanted: &Wanted, terminal: &Terminal) -> Result {
    let place = plan.settings.store.path.display();
    if !wanted.0.is_empty() {
        return Err(Error::config(format!("there are no checkpoints in \"{place}\" yet")));
    }
    terminal.say(&format!("no checkpoints yet in \"{place}\""));
    Ok(())
}

/// Returns the checkpoints of all regions, those of each oldest first.
fn kept(store: &mut dyn CheckpointStore) -> Result<Vec<CheckpointInfo>> {
    let mut kept = Vec::new();
    for region in store.regions().map_err(refused)? {
        kept.extend(store.list(&region).map_err(refused)?);
    }
    Ok(kept)
}

/// Which checkpoints are asked for.
struct Wanted(Vec<Id>);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Id {
    Latest,
    Window(u64),
}

/// What is meant when no checkpoint is named.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Else {
    All,
    Latest,
}

impl Wanted {
    fn read(args: &CheckpointsArgs) -> Result<Wanted> {
        let mut ids = Vec::new();
        for id in args.ids() {
            match (id.as_str(), id.parse()) {
                ("latest", _) => ids.push(Id::Latest),
                (_, Ok(window)) => ids.push(Id::Window(window)),
                _ => {
                    let message = format!("\"{id}\" is not a checkpoint: write the number of its window, or `latest`");
                    return Err(Error::config(message));
                }
            }
        }
        Ok(Wanted(ids))
    }

    /// Picks those that are wanted, each once and in order.
    fn of(&self, kept: Vec<CheckpointInfo>, otherwise: Else) -> Result<Vec<CheckpointInfo>> {
        let is_latest =
            |info: &CheckpointInfo| !kept.iter().any(|other| other.region == info.region && other.window > info.window);
        let fits = |id: &Id, info: &CheckpointInfo| match id {
            Id::Latest => is_latest(info),
            Id::Window(window) => info.window.0 == *window,
        };
        for id in &self.0 {
            if let Id::Window(window) = id
                && !kept.iter().any(|info| fits(id, info))
            {
                let windows: Vec<String> = kept.iter().map(|info| info.window.to_string()).collect();
                let message = format!("there is no checkpoint of window {window} (kept: {})", windows.join(", "));
                return Err(Error::config(message));
            }
        }
        let is_wanted = |info: &CheckpointInfo| match otherwise {
            _ if !self.0.is_empty() => self.0.iter().any(|id| fits(id, info)),
            Else::All => true,
            Else::Latest => is_latest(info),
        };
        Ok(kept.iter().filter(|info| is_wanted(info)).cloned().collect())
    }
}

fn list(checkpoints: &[CheckpointInfo]) -> Result {
    let mut table = Table::new(&["REGION", ">WINDOW", "COMPLETED", ">TOOK", ">STATE", "LIFE", "NOTE"]);
    for info in checkpoints {
        table.row([
            info.region.clone(),
            info.window.to_string(),
            rfc3339(info.completed_ms),
            took(info.triggered_ms, info.completed_ms),
            bytes(info.bytes),
            info.fence.to_string(),
            if info.finished { "the end of the job".to_string() } else { String::new() },
        ]);
    }
    print(&table.to_text(""))
}

fn took(triggered_ms: i64, completed_ms: i64) -> String {
    // A clock that was set back in between says nothing.
    u64::try_from(completed_ms - triggered_ms).map_or("?".to_string(), span)
}

fn show(store: &mut dyn CheckpointStore, checkpoints: &[CheckpointInfo]) -> Result {
    let mut parts = Vec::new();
    for info in checkpoints {
        parts.push(describe(&store.load(&info.region, info.window).map_err(refused)?));
    }
    print(&parts.join("\n"))
}

fn describe(manifest: &Manifest) -> String {
    let Manifest { region, window, fence, .. } = manifest;
    let mut text = format!("region {region}, window {window}\n");
    text.push_str(&format!("  job {}, life {fence}\n", manifest.job));
    let took = took(manifest.triggered_ms, manifest.completed_ms);
    text.push_str(&format!("  completed {}, took {took}\n", rfc3339(manifest.completed_ms)));
    let chunks = count(manifest.chunks().count() as u64, "chunk");
    text.push_str(&format!("  state: {} in {chunks}\n", bytes(manifest.bytes())));
    if manifest.copy_of.0 > 0 {
        text.push_str(&format!("  a copy of window {}, to which the job went back\n", manifest.copy_of));
    }
    let under_way: u64 = manifest.subtasks.iter().map(SubtaskSnapshot::under_way).sum();
    if under_way > 0 {
        text.push_str(&format!("  under way: {}\n", count(under_way, "record")));
    }
    if manifest.finished {
        text.push_str("  the job had come to its end\n");
    }
    let mut table = Table::new(&["SUBTASK", "OPERATOR", ">CHUNKS", ">STATE", "POSITION", ">PENDING", "NOTE"]);
    for subtask in &manifest.subtasks {
        for (position, operator) in subtask.operators.iter().enumerate() {
            table.row(row(subtask, operator, position == 0));
        }
    }
    text.push_str(&table.to_text("  "));
    text
}

fn row(subtask: &SubtaskSnapshot, operator: &OperatorSnapshot, is_head: bool) -> [String; 7] {
    let state: u64 = operator.chunks.iter().map(|chunk| chunk.len()).sum();
    let position = operator.position.as_ref().map_or(String::new(), |position| bytes(position.len() as u64));
    let mut notes = Vec::new();
    if operator.position.is_some() {
        notes.push(format!("{} read", number(subtask.read)));
    }
    if is_head && subtask.under_way() > 0 {
        notes.push(format!("{} under way to it", number(subtask.under_way())));
    }
    if subtask.finished {
        notes.push("finished".to_string());
    }
    [
        subtask.subtask.to_string(),
        operator.operator.clone(),
        operator.chunks.len().to_string(),
        bytes(state),
        position,
        operator.pending.len().to_string(),
        notes.join(", "),
    ]
}

fn verify(store: &mut dyn CheckpointStore, wanted: &Wanted, kept: Vec<CheckpointInfo>, terminal: &Terminal) -> Result {
    let checkpoints = wanted.of(kept, Else::All)?;
    let damage = if wanted.0.is_empty() {
        store.verify()
    } else {
        checkpoints.iter().flat_map(|info| damage_of(store, info)).collect()
    };
    if !damage.is_empty() {
        return Err(Error::new(ErrorKind::State, damage));
    }
    let size = checkpoints.iter().map(|info| info.bytes).sum();
    let checkpoints = count(checkpoints.len() as u64, "checkpoint");
    terminal.say(&format!("{checkpoints} read completely, {} of state: nothing is damaged", bytes(size)));
    Ok(())
}

/// Reads a checkpoint completely; returns what is damaged, one line for each.
fn damage_of(store: &mut dyn CheckpointStore, info: &CheckpointInfo) -> Vec<String> {
    let manifest = match store.load(&info.region, info.window) {
        Ok(manifest) => manifest,
        Err(error) => return vec![error.to_string()],
    };
    let line = |error| format!("checkpoint of window {} of region \"{}\": {error}", info.window, info.region);
    manifest.chunks().filter_map(|chunk| store.read_chunk(chunk).err()).map(line).collect()
}
