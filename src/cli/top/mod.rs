//! `piton top`: what a running job does, in the terminal, as its page shows it.
//!
//! All of it is asked of the job's HTTP API, each second. What is drawn follows from the answers alone (`draw`); keys are
//! read by `screen`, which gives the terminal back as it was.

mod address;
mod client;
mod draw;
mod screen;

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use serde_json::Value;

use crate::cli::args::TopArgs;
use crate::cli::table::print;
use crate::cli::terminal::Terminal;
use crate::cli::top::address::Address;
use crate::cli::top::draw::{Seen, draw};
use crate::cli::top::screen::{Key, Screen};
use crate::error::{Error, Result};
use crate::topology::Registry;

/// How often the job is asked.
const EVERY: Duration = Duration::from_secs(1);

/// Shows the job until somebody has seen enough; once, if nobody sits there.
///
/// # Errors
/// Of kind `Config` if it is not said where the job answers; of kind `Failed` if it does not.
pub(super) fn run(args: &TopArgs, registry: &Registry, terminal: &Terminal) -> Result {
    let (address, warnings) = Address::of(args, registry)?;
    for warning in &warnings {
        terminal.say(&format!("warning: {warning}"));
    }
    let before = see(&address)?;
    if args.once || !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        // Rates need two looks.
        wait();
        let now = see(&address)?;
        return print(&draw(&[before, now], None));
    }
    let screen = Screen::open().map_err(|error| Error::failed(format!("the terminal cannot be used: {error}")))?;
    let mut seen = vec![before];
    let mut lost = None;
    loop {
        let mut text = draw(&seen, screen.size());
        if let Some(lost) = &lost {
            text = format!("{lost}: what is below is from before\n{text}");
        }
        screen.show(&text).map_err(|error| Error::failed(format!("cannot write to the terminal: {error}")))?;
        if screen.key() == Some(Key::Quit) {
            return Ok(());
        }
        match see(&address) {
            Ok(now) => {
                lost = None;
                seen = draw::remember(seen, now);
            }
            // Whoever looks wants to see it come back.
            Err(error) => lost = Some(error.lines().join("; ")),
        }
    }
}

/// Asks for what is shown.
fn see(address: &Address) -> Result<Seen> {
    let job = match &address.job {
        Some(job) => job.clone(),
        None => only_job(&client::get(address, "/api/jobs")?)?,
    };
    let path = format!("/api/jobs/{}", address::encoded(&job));
    Ok(Seen { job: client::get(address, &path)?, checkpoints: client::get(address, &format!("{path}/checkpoints"))? })
}

/// Returns the name of the job, if there is one alone.
fn only_job(jobs: &Value) -> Result<String> {
    let names: Vec<&str> =
        jobs["jobs"].as_array().into_iter().flatten().filter_map(|job| job["name"].as_str()).collect();
    match names[..] {
        [name] => Ok(name.to_string()),
        [] => Err(Error::failed("no job runs there")),
        _ => Err(Error::config(format!(
            "several jobs run there ({}): write which, as in http://HOST:PORT/api/jobs/{}",
            names.join(", "),
            address::encoded(names[0])
        ))),
    }
}

#[expect(clippy::disallowed_methods, reason = "somebody waits for it at a terminal")]
fn wait() {
    std::thread::sleep(EVERY);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn of_several_jobs_one_has_to_be_named() {
        let jobs =
            |names: &[&str]| json!({ "jobs": names.iter().map(|name| json!({ "name": name })).collect::<Vec<_>>() });
        assert_eq!(only_job(&jobs(&["a b"])).unwrap(), "a b");
        assert!(only_job(&jobs(&[])).unwrap_err().lines()[0].contains("no job"));
        let several = only_job(&jobs(&["a b", "c"])).unwrap_err();
        assert!(several.lines()[0].ends_with("http://HOST:PORT/api/jobs/a%20b"), "{several:?}");
    }
}
