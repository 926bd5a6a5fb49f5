//! `piton savepoint` and `piton stop`: what is asked of a running job, and what its store can do without it.

use std::path::Path;

use crate::cli::args::{SavepointArgs, SavepointCommand, StopArgs};
use crate::cli::resume::{open_store, refused};
use crate::cli::table::{Table, print};
use crate::cli::terminal::Terminal;
use crate::cli::text::{bytes, rfc3339};
use crate::error::{Error, Result};
use crate::runtime::{Answer, Request, ask};
use crate::store::{OpenOptions, Savepoint, Savepoints, SledStore, check_savepoint_name};
use crate::topology::{Plan, Registry};

/// Carries out one of the commands.
///
/// # Errors
/// Of kind `Failed` if the job is not running, or could not do it; of kind `State` if the store cannot be opened.
pub(super) fn run(command: &SavepointCommand, registry: &Registry, terminal: &Terminal) -> Result {
    let (SavepointCommand::Create(args) | SavepointCommand::List(args) | SavepointCommand::Drop(args)) = command;
    let plan = args.plan(registry)?;
    match command {
        SavepointCommand::Create(_) => create(&plan, args, terminal),
        SavepointCommand::List(_) => list(&plan, terminal),
        SavepointCommand::Drop(_) => drop_one(&plan, args, terminal),
    }
}

fn create(plan: &Plan, args: &SavepointArgs, terminal: &Terminal) -> Result {
    if let Some(name) = args.name() {
        check_savepoint_name(name).map_err(Error::config)?;
    }
    let request = Request::Savepoint { name: args.name().map(str::to_string) };
    match asked(plan, &request)?.ok_or_else(|| not_running(plan))? {
        Answer::Savepoint { savepoint } => {
            say_made(&savepoint, terminal);
            Ok(())
        }
        other => Err(unexpected(other)),
    }
}

fn list(plan: &Plan, terminal: &Terminal) -> Result {
    let savepoints = match asked(plan, &Request::Savepoints)? {
        Some(Answer::Savepoints { savepoints }) => savepoints,
        Some(other) => return Err(unexpected(other)),
        None => with_store(plan, |kept| kept.list_savepoints().map_err(refused))?.unwrap_or_default(),
    };
    if savepoints.is_empty() {
        terminal.say(&format!("no savepoints in \"{}\"", plan.settings.store.path.display()));
        return Ok(());
    }
    let mut table = Table::new(&["NAME", "CREATED", ">STATE", "WINDOWS", "JOB"]);
    for savepoint in savepoints {
        table.row([
            savepoint.name.clone(),
            rfc3339(savepoint.created_ms),
            bytes(savepoint.bytes),
            windows(&savepoint),
            savepoint.job,
        ]);
    }
    print(&table.to_text(""))
}

fn drop_one(plan: &Plan, args: &SavepointArgs, terminal: &Terminal) -> Result {
    let Some(name) = args.name() else {
        return Err(Error::config("name the savepoint: `piton savepoint drop job.toml NAME`"));
    };
    check_savepoint_name(name).map_err(Error::config)?;
    let was_there = match asked(plan, &Request::DropSavepoint { name: name.to_string() })? {
        Some(Answer::Dropped { was_there }) => was_there,
        Some(other) => return Err(unexpected(other)),
        None => with_store(plan, |kept| kept.drop_savepoint(name).map_err(refused))?.unwrap_or(false),
    };
    if !was_there {
        return Err(Error::config(format!(
            "there is no savepoint \"{name}\" in \"{}\"",
            plan.settings.store.path.display()
        )));
    }
    terminal.say(&format!("savepoint \"{name}\" is dropped"));
    Ok(())
}

/// Stops a running job.
///
/// # Errors
/// Of kind `Failed` if it is not running, or could not stop as it was asked to.
pub(super) fn stop(args: &StopArgs, registry: &Registry, terminal: &Terminal) -> Result {
    let plan = args.job.plan(registry)?;
    if let Some(name) = &args.savepoint {
        check_savepoint_name(name).map_err(Error::config)?;
    }
    let request = if args.cancel {
        Request::Cancel
    } else {
        Request::Stop { savepoint: args.savepoint.clone(), drain: args.drain }
    };
    match asked(&plan, &request)?.ok_or_else(|| not_running(&plan))? {
        Answer::Stopped { windows, savepoint } => {
            if let Some(savepoint) = savepoint {
                say_made(&savepoint, terminal);
            }
            let name = &plan.settings.job.name;
            let newest = windows.values().max().copied().unwrap_or(0);
            let how = match (args.cancel, args.drain) {
                (true, _) => "was cancelled",
                (_, true) => "has finished with what its sources had read so far, and would read nothing more",
                _ => "has stopped",
            };
            terminal.say(&format!("job \"{name}\" {how}; its last committed window is {newest}"));
            Ok(())
        }
        other => Err(unexpected(other)),
    }
}

fn say_made(savepoint: &Savepoint, terminal: &Terminal) {
    terminal.say(&format!(
        "savepoint \"{}\" is made: {}, {} of state",
        savepoint.name,
        windows(savepoint),
        bytes(savepoint.bytes)
    ));
}

/// The windows of a savepoint: one number, or one for each region.
fn windows(savepoint: &Savepoint) -> String {
    let regions: Vec<_> = savepoint.regions.iter().collect();
    match &regions[..] {
        [(_, window)] => format!("window {window}"),
        regions => {
            let of_each: Vec<String> = regions.iter().map(|(region, window)| format!("{region} {window}")).collect();
            of_each.join(", ")
        }
    }
}

/// Asks the job that runs on a state directory; nothing if there is none.
fn asked(plan: &Plan, request: &Request) -> Result<Option<Answer>> {
    let dir: &Path = &plan.settings.store.path;
    let failed = |error| Error::failed(format!("job \"{}\" cannot be asked: {error}", plan.settings.job.name));
    match ask(dir, request).map_err(failed)? {
        Some(Answer::Error { error } | Answer::Ended { error }) => Err(Error::failed(error)),
        answer => Ok(answer),
    }
}

fn unexpected(answer: Answer) -> Error {
    Error::failed(format!("the job answered something else than it was asked: {answer:?}"))
}

fn not_running(plan: &Plan) -> Error {
    Error::failed(format!(
        "job \"{}\" is not running (looked in \"{}\"); start it with `piton run`",
        plan.settings.job.name,
        plan.settings.store.path.display()
    ))
}

/// Does something with the savepoints of a job that is not running; nothing if it never ran.
fn with_store<T>(plan: &Plan, work: impl FnOnce(&mut dyn Savepoints) -> Result<T>) -> Result<Option<T>> {
    if !SledStore::is_there(&plan.settings.store.path).map_err(refused)? {
        return Ok(None);
    }
    let options = OpenOptions { retain: plan.settings.checkpoint.retain as usize, allow_rollback: false };
    let mut store = open_store(plan, options).map_err(refused)?;
    store.savepoints().map(work).transpose()
}
