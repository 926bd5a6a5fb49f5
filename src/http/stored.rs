//! What the store of a job holds, for those who ask: dead letters, and the state of the newest checkpoint.
//!
//! Both come in pages. Of the dead letters only those of a page are read; state is read subtask by subtask, one request
//! at a time, and no more of it than fits into memory beside the job. What is larger is for `piton state`, which reads a
//! checkpoint without the job.

use std::time::Duration;

use parking_lot::Mutex;
use piton_actors::state::StateReader;
use serde_json::{Map, Value, json};

use crate::clock::Clock;
use crate::error::Error;
use crate::http::query::{Query, number};
use crate::ids::{SubtaskId, WindowId};
use crate::protocol::manifest::Manifest;
use crate::runtime::shown::{self, Part, json::of_written, letter};
use crate::runtime::{Left, Look, Unseen};
use crate::store::{LetterId, OpenOptions, SledStore, letter_id};
use crate::topology::Plan;

/// How many things a page has, if nobody says, and at most.
const PAGE: u64 = 50;
const LONGEST_PAGE: u64 = 500;
/// A page ends when it is as long as this, in bytes.
const PAGE_BYTES: usize = 1 << 20;
/// How much state is read for one answer, in bytes: of one subtask, or of all whose names are listed.
const MOST_STATE: u64 = 64 << 20;
/// How long somebody waits for others who read, and how long one may read.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often a checkpoint is looked for that newer ones replace while it is read.
const ATTEMPTS: u32 = 3;

/// A status and a reason.
pub(super) type Refusal = (u16, String);

/// See the module.
pub(super) struct Stored {
    plan: Plan,
    look: Look,
    clock: Clock,
    reading: Mutex<()>,
    /// Held by whoever reads what a job that has ended has left.
    whose: Mutex<Whose>,
}

/// Whose the store is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    /// That of the job, which runs.
    Job,
    /// Nobody's: the job has ended.
    Nobody,
    /// That of whoever comes after the job.
    Next,
}

/// Why the state of a page is not read on.
enum Stop {
    /// The page is full.
    Full,
    Late,
    Unreadable(String),
}

impl From<piton_actors::Error> for Stop {
    fn from(error: piton_actors::Error) -> Stop {
        Stop::Unreadable(error.message().to_string())
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Stop {
        Stop::Unreadable(error.lines().join("; "))
    }
}

impl Stored {
    pub(super) fn new(plan: &Plan, look: &Look, clock: Clock) -> Stored {
        Stored { plan: plan.clone(), look: look.clone(), clock, reading: Mutex::new(()), whose: Mutex::new(Whose::Job) }
    }

    /// Says that the job has ended, and has closed its store.
    pub(super) fn left(&self) {
        *self.whose.lock() = Whose::Nobody;
    }

    /// Leaves the store to whoever comes next, once nobody reads it any more.
    pub(super) fn leave(&self) {
        *self.whose.lock() = Whose::Next;
    }

    /// Reads something while the store is open: by the job, or, if that has ended, for this alone.
    ///
    /// # Errors
    /// If it cannot be opened, or what is read is refused.
    pub(super) fn read<T>(&self, read: impl FnOnce(&Stored) -> Result<T, Refusal>) -> Result<T, Refusal> {
        let whose = self.whose.try_lock_for(PATIENCE).ok_or_else(busy)?;
        match *whose {
            Whose::Job => {
                drop(whose);
                read(self)
            }
            Whose::Nobody => {
                let _left = self.open()?;
                read(self)
            }
            Whose::Next => Err((503, "the job starts again, or is being deleted: ask again".into())),
        }
    }

    fn open(&self) -> Result<Left, Refusal> {
        let path = self.plan.settings.store.path.clone();
        // To open it would make it.
        if !SledStore::is_there(&path).unwrap_or(true) {
            return Err((409, format!("the job has left nothing in \"{}\"", path.display())));
        }
        let options = OpenOptions { retain: self.plan.settings.checkpoint.retain as usize, ..OpenOptions::default() };
        let opener = Box::new(move || SledStore::open(&path, options).map(|(store, _)| Box::new(store) as _));
        self.look.open_left(opener, &self.clock).map_err(refused)
    }

    fn regions(&self) -> impl Iterator<Item = &str> {
        self.plan.regions.iter().map(|region| &*region.name)
    }

    /// Returns a page of dead letters, region by region, the newest of each first.
    ///
    /// # Errors
    /// If the query makes no sense, or the store cannot be read.
    pub(super) fn letters(&self, query: &Query) -> Result<String, Refusal> {
        let limit = page(query)?;
        let mut before = None;
        let mut regions: Vec<&str> = self.regions().collect();
        if let Some(region) = query.get("region") {
            let known: Vec<String> = regions.iter().map(|known| format!("\"{known}\"")).collect();
            regions.retain(|known| *known == region);
            if regions.is_empty() {
                return Err((404, format!("there is no region \"{region}\" (regions: {})", known.join(", "))));
            }
        }
        if let Some(from) = query.get("from") {
            let (region, id) =
                cursor(from).ok_or_else(|| (400, format!("\"from\" is no `next` of a page: \"{from}\"")))?;
            let place = regions.iter().position(|known| *known == region);
            regions.drain(..place.ok_or_else(|| (404, format!("there is no region \"{region}\"")))?);
            before = Some(id);
        }
        let mut found: Vec<(&str, _)> = Vec::new();
        let mut bytes = 0;
        for region in regions {
            // One more says whether there are more.
            let most = limit + 1 - found.len();
            let left = PAGE_BYTES.saturating_sub(bytes);
            if most == 0 || left == 0 {
                break;
            }
            for letter in self.look.letters(region, before.take(), most, left).map_err(refused)? {
                bytes += letter.record.len();
                found.push((region, letter));
            }
        }
        let has_more = found.len() > limit || bytes >= PAGE_BYTES;
        found.truncate(limit);
        let next = found.last().filter(|_| has_more).map(|(region, letter)| cursor_of(region, &letter_id(letter)));
        let lines = found.iter().map(|(region, letter)| {
            // Its record is passed on as it is, so this is text and not a value.
            let line = letter::line(letter);
            format!("{{\"region\":{},{}", json!(region), line.strip_prefix('{').unwrap_or_default())
        });
        let lines: Vec<String> = lines.collect();
        Ok(format!("{{\"letters\":[{}],\"next\":{}}}", lines.join(","), json!(next)))
    }

    /// Says which operators keep what, in the newest checkpoint of each region.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub(super) fn states(&self) -> Result<Value, Refusal> {
        let _reading = self.reading.try_lock_for(PATIENCE).ok_or_else(busy)?;
        let (mut operators, mut checkpoints) = (Vec::new(), Vec::new());
        let mut left = MOST_STATE;
        for region in self.regions() {
            let budget = left;
            let Some((manifest, (of_region, spent))) =
                self.newest(region, |manifest| self.states_of(manifest, budget))?
            else {
                continue;
            };
            left = left.saturating_sub(spent);
            checkpoints.push(checkpoint(&manifest));
            operators.extend(of_region);
        }
        Ok(json!({ "checkpoints": checkpoints, "operators": operators }))
    }

    /// Returns what the operators of a region keep, and how much was read for that; nothing if it went meanwhile.
    fn states_of(&self, manifest: &Manifest, budget: u64) -> Result<Option<(Vec<Value>, u64)>, Refusal> {
        let mut parts = Part::of(&self.plan, manifest).map_err(unreadable)?;
        parts.sort_by_key(|part| part.operator);
        let (mut operators, mut spent) = (Vec::new(), 0);
        for parts in parts.chunk_by(|one, other| one.operator == other.operator) {
            let bytes = parts.iter().map(Part::bytes).fold(0, u64::saturating_add);
            let mut states = Value::Null;
            if bytes <= budget - spent {
                spent += bytes;
                let mut names: Map<String, Value> = Map::new();
                for part in parts {
                    let Some(chunks) = self.chunks(manifest, part)? else { return Ok(None) };
                    let reader = part.open(&chunks).map_err(unreadable)?;
                    for (name, kind, encoding, values) in shown::names(&reader).map_err(unreadable)? {
                        let state = names.entry(&*name).or_insert_with(
                            || json!({ "name": name, "kind": kind, "written-as": encoding, "values": 0 }),
                        );
                        state["values"] = json!(state["values"].as_u64().unwrap_or(0) + values);
                    }
                }
                states = names.into_iter().map(|(_, state)| state).collect();
            }
            operators.push(json!({
                "operator": parts[0].operator,
                "region": manifest.region,
                "window": manifest.window,
                "parallelism": parts.len(),
                "state-size": bytes,
                "states": states,
            }));
        }
        Ok(Some((operators, spent)))
    }

    /// Returns a page of what an operator keeps, key by key; or what it keeps for one key.
    ///
    /// # Errors
    /// If there is no such operator, the query makes no sense, or the state is too large or cannot be read.
    pub(super) fn state(&self, operator: &str, query: &Query) -> Result<Value, Refusal> {
        let unknown = || (404, format!("there is no operator \"{operator}\""));
        let chain = self.plan.chain_of(self.plan.node(operator).ok_or_else(unknown)?);
        let region = &*self.plan.regions[self.plan.region_of(chain)].name;
        let wanted = Wanted {
            operator,
            key: query.get("key"),
            offset: query.number("offset", 0, 0, u64::MAX).map_err(bad)?,
            limit: page(query)?,
            until: self.clock.monotonic() + PATIENCE,
        };
        let _reading = self.reading.try_lock_for(PATIENCE).ok_or_else(busy)?;
        let found = self.newest(region, |manifest| self.page_of(manifest, &wanted))?;
        let (at, (entries, has_more)) = match found {
            Some((manifest, found)) => (checkpoint(&manifest), found),
            None => (json!({ "region": region, "window": null, "completed_timestamp": null }), (Vec::new(), false)),
        };
        if let (Some(key), []) = (wanted.key, &entries[..]) {
            return Err((404, format!("operator \"{operator}\" keeps nothing for key \"{key}\"")));
        }
        let next = has_more.then(|| wanted.offset + entries.len() as u64);
        Ok(json!({ "operator": operator, "checkpoint": at, "offset": wanted.offset, "entries": entries, "next": next }))
    }

    fn page_of(&self, manifest: &Manifest, wanted: &Wanted<'_>) -> Result<Option<(Vec<Value>, bool)>, Refusal> {
        let parts = Part::of(&self.plan, manifest).map_err(unreadable)?;
        let mut page = Page { passed: 0, entries: Vec::new(), bytes: 0, looked: 0 };
        for part in parts.iter().filter(|part| part.operator == wanted.operator) {
            if part.bytes() > MOST_STATE {
                let reason =
                    "is too large to be read beside the job: make a savepoint, and read that with `piton state`";
                return Err((413, format!("the state of \"{}\" #{} {reason}", part.operator, part.subtask)));
            }
            let Some(chunks) = self.chunks(manifest, part)? else { return Ok(None) };
            let reader = part.open(&chunks).map_err(unreadable)?;
            match page.read(part, &reader, wanted, &self.clock) {
                Ok(()) => {}
                Err(Stop::Full) => return Ok(Some((page.entries, true))),
                Err(Stop::Late) => return Err((503, "it takes too long to read the state that far".into())),
                Err(Stop::Unreadable(reason)) => return Err((500, reason)),
            }
        }
        Ok(Some((page.entries, false)))
    }

    fn chunks(&self, manifest: &Manifest, part: &Part<'_>) -> Result<Option<Vec<Vec<u8>>>, Refusal> {
        self.look.chunks(part.region, manifest.window, part.chunks).map_err(refused)
    }

    /// Reads something of the newest checkpoint of a region, anew if it has gone meanwhile; nothing if there is none.
    fn newest<T>(
        &self,
        region: &str,
        read: impl Fn(&Manifest) -> Result<Option<T>, Refusal>,
    ) -> Result<Option<(Manifest, T)>, Refusal> {
        for _ in 0..ATTEMPTS {
            let Some(manifest) = self.look.newest(region).map_err(refused)? else { return Ok(None) };
            if let Some(found) = read(&manifest)? {
                return Ok(Some((manifest, found)));
            }
        }
        Err((
            503,
            "checkpoints are replaced faster than their state can be read: ask again, or make a savepoint".into(),
        ))
    }
}

/// What of the state of an operator is asked for.
struct Wanted<'w> {
    operator: &'w str,
    key: Option<&'w str>,
    offset: u64,
    limit: usize,
    /// Until when.
    until: Duration,
}

/// A page while it is filled.
struct Page {
    /// How many entries came before it.
    passed: u64,
    entries: Vec<Value>,
    bytes: usize,
    looked: u64,
}

impl Page {
    fn read(
        &mut self,
        part: &Part<'_>,
        reader: &StateReader<'_>,
        wanted: &Wanted<'_>,
        clock: &Clock,
    ) -> Result<(), Stop> {
        for (whose, kept) in [("local", reader.locals()), ("broadcast", reader.broadcasts())] {
            if kept.is_empty() || wanted.key.is_some() {
                continue;
            }
            self.add(wanted, || {
                let mut values = Map::new();
                for (name, value) in kept {
                    values.insert(name.to_string(), of_written(value).map_err(Stop::Unreadable)?);
                }
                Ok(json!({ "operator": part.operator, "subtask": part.subtask, whose: values }))
            })?;
        }
        reader.each(|state| {
            self.looked += 1;
            if self.looked.is_multiple_of(1_000) && clock.monotonic() > wanted.until {
                return Err(Stop::Late);
            }
            if wanted.key.is_some_and(|key| !shown::is_meant(&part.key(&state.key), key)) {
                return Ok(());
            }
            self.add(wanted, || Ok(part.of_key(&state)?))
        })
    }

    fn add(&mut self, wanted: &Wanted<'_>, entry: impl FnOnce() -> Result<Value, Stop>) -> Result<(), Stop> {
        if self.passed < wanted.offset {
            self.passed += 1;
            return Ok(());
        }
        if self.entries.len() == wanted.limit || self.bytes >= PAGE_BYTES {
            return Err(Stop::Full);
        }
        let entry = entry()?;
        self.bytes += entry.to_string().len();
        self.entries.push(entry);
        Ok(())
    }
}

fn checkpoint(manifest: &Manifest) -> Value {
    json!({ "region": manifest.region, "window": manifest.window, "completed_timestamp": manifest.completed_ms })
}

fn page(query: &Query) -> Result<usize, Refusal> {
    let limit = query.number("limit", PAGE, 1, LONGEST_PAGE).map_err(bad)?;
    Ok(usize::try_from(limit).unwrap_or(usize::MAX))
}

/// Where a page of dead letters begins: behind this one.
fn cursor_of(region: &str, (window, subtask, nth): &LetterId) -> String {
    format!("{region}/{window}/{}/{}/{nth}", subtask.operator, subtask.index)
}

fn cursor(text: &str) -> Option<(&str, LetterId)> {
    let [region, window, operator, index, nth] = text.split('/').collect::<Vec<_>>()[..] else { return None };
    let index = u32::try_from(number(index)?).ok()?;
    Some((region, (WindowId(number(window)?), SubtaskId::new(operator, index), number(nth)?)))
}

fn bad(reason: String) -> Refusal {
    (400, reason)
}

fn busy() -> Refusal {
    (503, "others read state at the moment: ask again".into())
}

fn refused(unseen: Unseen) -> Refusal {
    match unseen {
        Unseen::NotNow(reason) => (503, reason),
        Unseen::Damaged(reason) => (500, reason),
    }
}

fn unreadable(error: Error) -> Refusal {
    (500, error.lines().join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_goes_on_where_the_one_before_ended() {
        let id = (WindowId(7), SubtaskId::new("numbers", 3), 12);
        assert_eq!(cursor_of("a region", &id), "a region/7/numbers/3/12");
        assert_eq!(cursor("a region/7/numbers/3/12"), Some(("a region", id)));
        for wrong in ["", "a/7/b/3", "a/7/b/3/12/1", "a/x/b/3/12", "a/07/b/3/12", "a/7/b/-1/12", "a/7/b/4294967296/12"]
        {
            assert_eq!(cursor(wrong), None, "{wrong}");
        }
    }
}
