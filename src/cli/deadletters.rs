//! `piton deadletters`: the records that were set aside as poison. The job must not be running meanwhile.

use crate::cli::args::{DeadLettersCommand, LettersFormatArg, ShowLettersArgs};
use crate::cli::resume::{open_store, refused};
use crate::cli::table::{Table, print};
use crate::cli::terminal::Terminal;
use crate::cli::text::{count, number};
use crate::error::{Error, Result};
use crate::protocol::manifest::DeadLetter;
use crate::runtime::shown::letter::{is_json, line};
use crate::store::{OpenOptions, SledStore};
use crate::topology::{Plan, Registry};

/// How much of a reason is listed, in characters.
const REASON: usize = 80;

/// Carries out one of the commands.
///
/// # Errors
/// Of kind `State` if the state directory cannot be opened, if letters are lost, or if one that is asked for is not
/// there; of kind `Config` if none is asked for.
pub(super) fn run(command: &DeadLettersCommand, registry: &Registry, terminal: &Terminal) -> Result {
    match command {
        DeadLettersCommand::List(args) => {
            let plan = args.plan(registry)?;
            let letters = letters(&plan)?;
            if letters.is_empty() { nothing(&plan, terminal) } else { list(&letters) }
        }
        DeadLettersCommand::Show(args) => {
            let plan = args.plan(registry)?;
            let wanted = Wanted::read(args)?;
            show(&letters(&plan)?, &wanted, &plan)
        }
        DeadLettersCommand::Export(args) => {
            let plan = args.job.plan(registry)?;
            let letters = letters(&plan)?;
            match args.format {
                _ if letters.is_empty() => nothing(&plan, terminal),
                LettersFormatArg::Ndjson => export(&letters),
            }
        }
    }
}

/// A letter and its region.
struct Letter {
    region: String,
    letter: DeadLetter,
}

impl Letter {
    /// By what it is asked for.
    fn id(&self) -> String {
        let DeadLetter { operator, subtask, number, .. } = &self.letter;
        format!("{operator}/{}/{number}", subtask.index)
    }
}

/// Returns the letters of all regions, those of each oldest first.
fn letters(plan: &Plan) -> Result<Vec<Letter>> {
    let mut letters = Vec::new();
    if !SledStore::is_there(&plan.settings.store.path).map_err(refused)? {
        return Ok(letters);
    }
    let options = OpenOptions { retain: plan.settings.checkpoint.retain as usize, allow_rollback: false };
    let mut store = open_store(plan, options).map_err(refused)?;
    for region in store.regions().map_err(refused)? {
        let of_region = store.letters(&region).map_err(refused)?;
        letters.extend(of_region.into_iter().map(|letter| Letter { region: region.clone(), letter }));
    }
    Ok(letters)
}

fn nothing(plan: &Plan, terminal: &Terminal) -> Result {
    terminal.say(&format!("no dead letters in \"{}\"", plan.settings.store.path.display()));
    Ok(())
}

fn list(letters: &[Letter]) -> Result {
    let mut table = Table::new(&["REGION", "OPERATOR", ">SUBTASK", ">NUMBER", ">WINDOW", "REASON"]);
    for Letter { region, letter } in letters {
        table.row([
            region.clone(),
            letter.operator.clone(),
            letter.subtask.index.to_string(),
            letter.number.to_string(),
            letter.window.to_string(),
            shortened(&letter.reason),
        ]);
    }
    print(&table.to_text(""))
}

/// Returns the first line of a text, or as much of it as fits into a table.
fn shortened(text: &str) -> String {
    let mut lines = text.trim().lines();
    let line = lines.next().unwrap_or_default();
    let mut short: String = line.chars().take(REASON).collect();
    if short.len() < line.len() || lines.next().is_some() {
        short.push('…');
    }
    short
}

/// Which letters are asked for.
struct Wanted(Vec<String>);

impl Wanted {
    fn read(args: &ShowLettersArgs) -> Result<Wanted> {
        const HOW: &str = "write its number, or OPERATOR/SUBTASK/NUMBER, as `piton deadletters list` shows them";
        let ids = args.ids();
        if ids.is_empty() {
            return Err(Error::config(format!("which dead letter is to be shown? {HOW}")));
        }
        if let Some(id) = ids.iter().find(|id| !is_letter(id)) {
            return Err(Error::config(format!("\"{id}\" is not a dead letter: {HOW}")));
        }
        Ok(Wanted(ids.to_vec()))
    }
}

/// Returns whether a text is the number of a letter, or OPERATOR/SUBTASK/NUMBER.
pub(super) fn is_letter(text: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.split('/').collect::<Vec<_>>()[..] {
        [number] => is_number(number),
        [operator, subtask, number] => !operator.is_empty() && is_number(subtask) && is_number(number),
        _ => false,
    }
}

fn show(letters: &[Letter], wanted: &Wanted, plan: &Plan) -> Result {
    let fits = |id: &String, letter: &Letter| *id == letter.id() || *id == letter.letter.number.to_string();
    if let Some(id) = wanted.0.iter().find(|id| !letters.iter().any(|letter| fits(id, letter))) {
        let place = plan.settings.store.path.display();
        let there = count(letters.len() as u64, "dead letter");
        return Err(Error::config(format!("there is no dead letter {id} in \"{place}\" ({there} in all)")));
    }
    let found = letters.iter().filter(|letter| wanted.0.iter().any(|id| fits(id, letter)));
    let parts: Vec<String> = found.map(describe).collect();
    print(&parts.join("\n"))
}

/// Returns a letter of a region as `show` prints it, and as `export` does.
pub(crate) fn printed(region: &str, letter: &DeadLetter) -> (String, String) {
    let found = Letter { region: region.to_owned(), letter: letter.clone() };
    (describe(&found), line(letter))
}

fn describe(found: &Letter) -> String {
    let Letter { region, letter } = found;
    let indented = |text: &str| text.lines().map(|line| format!("    {line}\n")).collect::<String>();
    let mut text = format!("dead letter {}\n", found.id());
    text.push_str(&format!("  region {region}, subtask {}, window {}", letter.subtask, letter.window));
    text.push_str(&format!(", position {}\n", number(letter.position)));
    text.push_str(&format!("  reason\n{}", indented(letter.reason.trim())));
    let record = if is_json(&letter.record) { indented_json(&letter.record) } else { letter.record.clone() };
    text.push_str(&format!("  record\n{}", indented(&record)));
    text
}

fn export(letters: &[Letter]) -> Result {
    let mut lines = String::new();
    for Letter { letter, .. } in letters {
        lines.push_str(&line(letter));
        lines.push('\n');
    }
    print(&lines)
}

/// Returns JSON with each value on a line of its own, and otherwise as it is.
fn indented_json(json: &str) -> String {
    let mut text = String::new();
    let mut depth = 0;
    let mut is_text = false;
    let mut chars = json.chars().peekable();
    while let Some(char) = chars.next() {
        if is_text {
            text.push(char);
            match char {
                '\\' => text.extend(chars.next()),
                '"' => is_text = false,
                _ => {}
            }
            continue;
        }
        match char {
            '"' => {
                is_text = true;
                text.push(char);
            }
            '{' | '[' => {
                text.push(char);
                while chars.next_if(|next| next.is_ascii_whitespace()).is_some() {}
                match chars.next_if(|next| matches!(next, '}' | ']')) {
                    Some(end) => text.push(end),
                    None => {
                        depth += 1;
                        end_line(&mut text, depth);
                    }
                }
            }
            '}' | ']' => {
                depth -= 1;
                end_line(&mut text, depth);
                text.push(char);
            }
            ',' => {
                text.push(char);
                end_line(&mut text, depth);
            }
            ':' => text.push_str(": "),
            char if char.is_ascii_whitespace() => {}
            char => text.push(char),
        }
    }
    text
}

fn end_line(text: &mut String, depth: usize) {
    text.push('\n');
    text.push_str(&"  ".repeat(depth));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{SubtaskId, WindowId};

    fn letter(record: &str) -> DeadLetter {
        DeadLetter {
            operator: "parse".into(),
            subtask: SubtaskId::new("in", 3),
            number: 7,
            window: WindowId(42),
            position: 1_234,
            reason: "a \"panic\"\nof two lines".into(),
            record: record.into(),
            kept: true,
        }
    }

    #[test]
    fn what_is_shown_can_be_read() {
        let found = Letter { region: "numbers".into(), letter: letter(r#"{"z":[1,{"b":"x, {\"}"}],"a":{ },"t":[]}"#) };
        let expected = r#"dead letter parse/3/7
  region numbers, subtask in[3], window 42, position 1,234
  reason
    a "panic"
    of two lines
  record
    {
      "z": [
        1,
        {
          "b": "x, {\"}"
        }
      ],
      "a": {},
      "t": []
    }
"#;
        assert_eq!(describe(&found), expected);
        let torn = describe(&Letter { letter: letter("{]torn"), ..found });
        assert!(torn.ends_with("  record\n    {]torn\n"), "{torn}");
    }

    #[test]
    fn reasons_are_shortened_to_a_line() {
        assert_eq!(shortened("short"), "short");
        assert_eq!(shortened("two\nlines"), "two…");
        assert_eq!(shortened(&"ö".repeat(200)), format!("{}…", "ö".repeat(REASON)));
        assert_eq!(shortened(""), "");
    }

    #[test]
    fn letters_are_told_from_files() {
        for id in ["7", "parse/3/7"] {
            assert!(is_letter(id), "{id}");
        }
        for file in ["", "job.toml", "parse/3", "a/b/c", "/3/7", "./jobs/7/8", "7.toml"] {
            assert!(!is_letter(file), "{file}");
        }
    }
}
