//! Which jobs are taken: what they are called, what they may reach, and how much they may ask for.

use std::path::{Component, Path};

use toml::{Table, Value};

use crate::config::{Bytes, Settings};

/// What a job may ask for at most.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Limits {
    pub(super) journal: Option<Bytes>,
    pub(super) mailbox: Option<usize>,
    pub(super) state: Option<Bytes>,
}

/// Returns what is wrong with the name of a job, if anything is: it becomes that of a folder.
pub(super) fn check_name(name: &str) -> Result<(), String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if name.is_empty() || name.len() > 100 || name.starts_with('.') || !name.chars().all(is_plain) {
        return Err(format!(
            "\"{name}\" cannot be the name of a job here: use up to 100 letters, digits, \"_\", \"-\" and \".\", not \
             beginning with \".\""
        ));
    }
    Ok(())
}

impl Limits {
    /// Returns where a job asks for more than it may.
    pub(super) fn exceeded_by(&self, settings: &Settings) -> Vec<String> {
        let mut lines = Vec::new();
        let journal = settings.recovery.journal_total;
        if let Some(most) = self.journal.filter(|most| journal.get() > most.get()) {
            lines.push(format!(
                "recovery.journal_total is {journal}, and a job may have {most} here: set it to that, or less"
            ));
        }
        let rows = settings.mailbox.capacity.saturating_mul(settings.mailbox.batch);
        if let Some(most) = self.mailbox.filter(|most| rows > *most) {
            lines.push(format!(
                "mailbox.capacity times mailbox.batch is {rows} rows, and a queue may hold {most} here: make one of them \
                 smaller"
            ));
        }
        lines
    }

    /// Returns why a job of so much state may not go on, if it may not.
    pub(super) fn outgrown_by(&self, bytes: u64) -> Option<String> {
        let most = self.state.filter(|most| bytes > most.get())?;
        Some(format!("its state is {bytes} bytes, and a job may have {most} here: it was stopped, and nothing is lost"))
    }
}

/// Returns how a topology calls its job, if it does.
pub(super) fn name_in(text: &str) -> Option<String> {
    let topology = toml::from_str::<Table>(text).ok()?;
    Some(topology.get("job")?.get("name")?.as_str()?.to_string())
}

/// Returns the paths of a topology that was submitted which lead out of its own folder.
pub(super) fn paths_outside(text: &str) -> Vec<String> {
    // A text that cannot be read is told of by whoever plans it.
    let Ok(topology) = toml::from_str::<Table>(text) else { return Vec::new() };
    let mut outside = Vec::new();
    for kind in ["sources", "operators", "sinks"] {
        if let Some(nodes) = topology.get(kind) {
            look(nodes, kind, &mut outside);
        }
    }
    outside
}

fn look(value: &Value, at: &str, outside: &mut Vec<String>) {
    match value {
        Value::Table(table) => {
            for (key, value) in table {
                look(value, &format!("{at}.{key}"), outside);
            }
        }
        Value::Array(values) => values.iter().for_each(|value| look(value, at, outside)),
        Value::String(path) if at.ends_with(".path") && leads_out(path) => {
            outside.push(format!("{at} = \"{path}\" leads out of the folder of the job"));
        }
        _ => {}
    }
}

fn leads_out(path: &str) -> bool {
    let is_inside = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
    // A variable may hold anything, and "-" is stdin.
    path == "-" || path.contains("${") || !Path::new(path).components().all(is_inside)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_that_of_a_folder() {
        for name in ["a", "orders-2", "orders.eu", "A_b"] {
            assert_eq!(check_name(name), Ok(()), "{name}");
        }
        for name in ["", ".", "..", ".a", "a/b", "../a", "a b", "ä", "a\0", &"a".repeat(101)] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }

    #[test]
    fn the_name_of_a_job_is_found_in_its_text() {
        assert_eq!(name_in("[job]\nname = \"a\"").as_deref(), Some("a"));
        for text in ["", "[job]", "[job]\nname = 7", "name = \"a\"", "[job"] {
            assert_eq!(name_in(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_submitted_stays_in_its_folder() {
        let text = |path: &str| {
            format!("[sources.a]\ntype = \"csv\"\npath = {path:?}\n[sinks.b]\nitems = [{{ path = {path:?} }}]")
        };
        for path in ["out", "in/*.csv", "./in"] {
            assert_eq!(paths_outside(&text(path)), [""; 0], "{path}");
        }
        for path in ["/etc/passwd", "../a", "a/../../b", "${HOME}/a", "-"] {
            let lines = paths_outside(&text(path));
            assert_eq!(lines.len(), 2, "{path}: {lines:?}");
            assert!(lines[0].contains("sources.a.path"), "{lines:?}");
        }
    }

    #[test]
    fn who_asks_for_too_much_is_told_what() {
        let settings = Settings::default();
        assert_eq!(Limits::default().exceeded_by(&settings), [""; 0]);
        let limits =
            Limits { journal: Some("1KiB".parse().unwrap()), mailbox: Some(10), state: Some("1KiB".parse().unwrap()) };
        let lines = limits.exceeded_by(&settings);
        assert!(lines[0].contains("journal_total") && lines[1].contains("mailbox.capacity"), "{lines:?}");
        assert_eq!(limits.outgrown_by(1024), None);
        assert!(limits.outgrown_by(1025).unwrap().contains("1025 bytes"));
    }
}
