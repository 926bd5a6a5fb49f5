//! Loads a topology file.

use std::path::{Path, PathBuf};

use crate::config::{
    DidYouMean, Layered, Overrides, Place, Problem, Problems, Settings, Severity, nearest, read_settings,
};
use crate::error::{Error, ErrorKind, Result};
use crate::topology::build::build;
use crate::topology::chains::{chains, regions};
use crate::topology::plan::Plan;
use crate::topology::registry::Registry;
use crate::topology::spec::{TABLES, read_nodes};
use crate::topology::{aims, event_time};

/// The tables of a file that are settings.
const SETTINGS: [&str; 8] = ["job", "window", "checkpoint", "recovery", "mailbox", "store", "http", "chaos"];

/// Loads a topology file. Nothing is started and nothing is created.
///
/// # Errors
/// Everything that is wrong, a line for each: `job.toml:12:9: operator "count" has type "cuont", …`.
pub fn load(file: &Path, overrides: &Overrides, registry: &Registry) -> Result<Plan> {
    let text = std::fs::read(file)
        .map_err(|error| Error::config(format!("cannot read \"{}\": {error}{}", file.display(), beside(file))))?;
    match String::from_utf8(text) {
        Ok(text) => load_text(&text, file, overrides, registry),
        Err(error) => {
            let valid = error.utf8_error().valid_up_to();
            let text = String::from_utf8_lossy(&error.as_bytes()[..valid]).into_owned();
            let place = Place::of_offset(&text, valid).prefix(&file.display().to_string());
            Err(Error::config(format!("{place}: this is not UTF-8 text; save the file as UTF-8")))
        }
    }
}

/// Loads a topology whose text is at hand, as if it stood in `file`.
///
/// # Errors
/// As [`load`].
pub fn load_text(text: &str, file: &Path, overrides: &Overrides, registry: &Registry) -> Result<Plan> {
    let mut problems = Problems::default();
    let known: Vec<&str> = TABLES.iter().chain(&SETTINGS).copied().collect();
    let Some(layered) = Layered::read(text, overrides, &known, &mut problems) else {
        let lines = lines(&problems, Severity::Error, file, |problem| Layered::place_in_text(text, problem));
        return Err(Error::new(ErrorKind::Config, lines));
    };
    let mut tables = layered.values.clone();
    tables.retain(|key, _| SETTINGS.contains(&key));
    let mut settings = read_settings(&layered, tables, file, &mut problems);
    let folder = folder_of(file)?;
    complete(&mut settings, &folder);

    let specs = read_nodes(&layered, &mut problems);
    let built = build(&specs, &layered, &settings, &folder, registry, &mut problems);
    aims::check(&settings.chaos, &specs, &built, &mut problems);
    event_time::check(&specs, &built, &mut problems);
    if problems.any_errors() {
        let lines = lines(&problems, Severity::Error, file, |problem| layered.place(problem));
        return Err(Error::new(ErrorKind::Config, lines));
    }
    let chains = chains(&built.nodes, &built.edges, &settings);
    let regions = regions(&built.nodes, &built.edges, &chains);
    Ok(Plan {
        settings,
        file: file.to_path_buf(),
        folder,
        nodes: built.nodes,
        edges: built.edges,
        chains,
        regions,
        warnings: lines(&problems, Severity::Warning, file, |problem| layered.place(problem)),
    })
}

/// Fills in what depends on where the file is.
fn complete(settings: &mut Settings, folder: &Path) {
    let given = &settings.store.path;
    settings.store.path =
        if given.as_os_str().is_empty() { folder.join(".piton").join(&settings.job.name) } else { folder.join(given) };
    if let Some(tls) = &mut settings.http.tls {
        tls.certificate = folder.join(&tls.certificate);
        tls.key = folder.join(&tls.key);
    }
}

fn folder_of(file: &Path) -> Result<PathBuf> {
    let absolute = std::path::absolute(file)
        .map_err(|error| Error::config(format!("cannot tell where \"{}\" is: {error}", file.display())))?;
    Ok(absolute.parent().map_or_else(|| absolute.clone(), Path::to_path_buf))
}

/// Writes the problems of one severity as lines, in the order of their places.
fn lines(problems: &Problems, severity: Severity, file: &Path, place: impl Fn(&Problem) -> Place) -> Vec<String> {
    let file = file.display().to_string();
    let mut lines: Vec<(Place, String)> = Vec::new();
    for problem in problems.iter().filter(|problem| problem.severity == severity) {
        let place = place(problem);
        let line = format!("{}: {}", place.prefix(&file), problem.message);
        lines.push((place, line));
    }
    lines.sort_by(|left, right| left.0.cmp(&right.0));
    lines.dedup();
    lines.into_iter().map(|(_, line)| line).collect()
}

/// Returns a hint at the topology file beside a missing one whose name is most like it.
fn beside(file: &Path) -> String {
    let folder = match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let Ok(entries) = std::fs::read_dir(folder) else { return String::new() };
    let mut names: Vec<String> =
        entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.retain(|other| other.ends_with(".toml") && *other != name);
    names.sort();
    DidYouMean(nearest(&name, names.iter().map(String::as_str))).to_string()
}
