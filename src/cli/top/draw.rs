//! What `piton top` shows, as a text: made from the answers of the API, and from nothing else.

use serde_json::Value;

use crate::cli::table::Table;
use crate::cli::text::{bytes, count, number, span};

/// How far back rates go, in ms.
const REMEMBERED_MS: i64 = 5_000;
const NOTHING: &str = "-";

/// What was answered at one moment: the job, and its checkpoints.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) job: Value,
    pub(super) checkpoints: Value,
}

impl Seen {
    fn now(&self) -> i64 {
        self.job["now"].as_i64().unwrap_or(0)
    }
}

/// Returns what was seen in the last seconds, with what is seen now; of another run nothing is kept.
pub(super) fn remember(mut seen: Vec<Seen>, now: Seen) -> Vec<Seen> {
    seen.retain(|old| old.job["start-time"] == now.job["start-time"] && old.now() < now.now());
    // One that is older is better than none.
    while seen.len() > 1 && seen[0].now() < now.now() - REMEMBERED_MS {
        seen.remove(0);
    }
    seen.push(now);
    seen
}

/// Draws what was seen, oldest first; lines and columns that have no room are left out.
pub(super) fn draw(seen: &[Seen], size: Option<(usize, usize)>) -> String {
    let (Some(oldest), Some(newest)) = (seen.first(), seen.last()) else { return String::new() };
    let mut text = head(oldest, newest);
    text.push('\n');
    text.push_str(&operators(oldest, newest));
    match size {
        None => text,
        Some((columns, rows)) => {
            text.push_str("\nq: quit\n");
            let cut = |line: &str| line.chars().take(columns).collect::<String>();
            text.lines().take(rows).map(cut).collect::<Vec<String>>().join("\n")
        }
    }
}

fn head(oldest: &Seen, newest: &Seen) -> String {
    let job = &newest.job;
    let text = |name: &str| job[name].as_str().unwrap_or(NOTHING).to_string();
    let of = |name: &str| number(job[name].as_u64().unwrap_or(0));
    let since = job["timestamps"]["RUNNING"].as_i64().or(job["timestamps"]["CREATED"].as_i64());
    let up = since.map_or(NOTHING.to_string(), |since| span(apart(since, newest.now())));
    let rate = |name: &str| rate_of(oldest, newest, |seen| seen.job[name].as_u64());
    format!(
        "{}: {}, up {up}, incarnation {}\n\
         records in {} ({}), out {} ({})\n\
         restarts {}, dead letters {}\n\
         {}\n",
        text("name"),
        text("state").to_lowercase().replace('_', " "),
        of("incarnation"),
        of("records-in"),
        rate("records-in"),
        of("records-out"),
        rate("records-out"),
        of("restarts"),
        of("dead-letters"),
        checkpoint(newest),
    )
}

fn checkpoint(newest: &Seen) -> String {
    let counts = &newest.checkpoints["counts"];
    let of = |name: &str| counts[name].as_u64().unwrap_or(0);
    let latest = &newest.checkpoints["latest"]["completed"];
    let (Some(id), Some(at), Some(took)) =
        (latest["id"].as_u64(), latest["trigger_timestamp"].as_i64(), latest["end_to_end_duration"].as_u64())
    else {
        return format!("no checkpoint has completed yet ({} failed)", number(of("failed")));
    };
    let ended = at.saturating_add(i64::try_from(took).unwrap_or(i64::MAX));
    format!(
        "last checkpoint {} of {}, {} ago, took {}, {}; {} completed, {} failed",
        number(id),
        latest["region"].as_str().unwrap_or(NOTHING),
        span(apart(ended, newest.now())),
        span(took),
        bytes(latest["state_size"].as_u64().unwrap_or(0)),
        number(of("completed")),
        number(of("failed")),
    )
}

fn operators(oldest: &Seen, newest: &Seen) -> String {
    let heads = ["OPERATOR", "STATE", ">TASKS", ">RATE", ">BUSY", ">BLOCKED", ">IDLE", ">MAILBOX", ">LAG", ">RESTARTS"];
    let mut table = Table::new(&heads);
    for vertex in vertices(newest) {
        let subtasks: Vec<&Value> = vertex["subtasks"].as_array().into_iter().flatten().collect();
        let share = |name: &str| {
            let of: f64 = subtasks.iter().filter_map(|subtask| subtask[name].as_f64()).sum();
            if subtasks.is_empty() { NOTHING.into() } else { format!("{:.0} %", of * 100.0 / subtasks.len() as f64) }
        };
        let sum = |name: &str| subtasks.iter().filter_map(|of| of["mailbox"][name].as_u64()).sum::<u64>();
        let (waiting, capacity) = (sum("waiting"), sum("capacity"));
        let mailbox = match (waiting * 100).checked_div(capacity) {
            Some(filled) => format!("{filled} %"),
            None => NOTHING.into(),
        };
        let id = &vertex["id"];
        let read = |seen: &Seen| vertices(seen).find(|of| of["id"] == *id)?["metrics"]["read-records"].as_u64();
        table.row([
            vertex["name"].as_str().unwrap_or(NOTHING).to_string(),
            vertex["status"].as_str().unwrap_or(NOTHING).to_lowercase(),
            number(vertex["parallelism"].as_u64().unwrap_or(0)),
            rate_of(oldest, newest, read),
            share("busy"),
            share("blocked"),
            share("idle"),
            mailbox,
            vertex["watermark"].as_i64().map_or(NOTHING.into(), |watermark| lag(newest.now(), watermark)),
            number(vertex["restarts"].as_u64().unwrap_or(0)),
        ]);
    }
    let all = vertices(newest).count();
    format!("{}\n{}", count(all as u64, "operator"), table.to_text(""))
}

fn vertices(seen: &Seen) -> impl Iterator<Item = &Value> {
    seen.job["vertices"].as_array().into_iter().flatten()
}

/// How many a second; a rollback takes some back, which is no rate.
fn rate_of(oldest: &Seen, newest: &Seen, measure: impl Fn(&Seen) -> Option<u64>) -> String {
    let took = apart(oldest.now(), newest.now());
    match (measure(oldest), measure(newest)) {
        (Some(from), Some(to)) if took > 0 => {
            let records = u128::from(to.saturating_sub(from)) * 1_000 / u128::from(took);
            format!("{}/s", number(u64::try_from(records).unwrap_or(u64::MAX)))
        }
        _ => NOTHING.into(),
    }
}

/// How far event time is behind: it may be days, where the input is old.
fn lag(now: i64, watermark: i64) -> String {
    const DAY: u64 = 86_400_000;
    match apart(watermark, now) {
        0 if watermark > now => "0 ms".into(),
        lag if lag >= 2 * DAY => format!("{} d", number(lag / DAY)),
        lag => span(lag),
    }
}

fn apart(from: i64, to: i64) -> u64 {
    u64::try_from(to.saturating_sub(from)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn seen(now: i64, read: u64) -> Seen {
        let subtask = |waiting: u64, busy: f64| json!({ "busy": busy, "blocked": 0.25, "idle": 0.75 - busy, "mailbox": { "waiting": waiting, "capacity": 16 } });
        let vertex = |id: &str, watermark: Value, subtasks: Vec<Value>| {
            json!({
                "id": id, "name": format!("{id} -> out"), "status": "RUNNING", "parallelism": subtasks.len(), "restarts": 2,
                "watermark": watermark, "metrics": { "read-records": read }, "subtasks": subtasks,
            })
        };
        Seen {
            job: json!({
                "name": "my job", "state": "RUNNING", "incarnation": 3, "records-in": read, "records-out": read / 2,
                "restarts": 2, "dead-letters": 1_000, "start-time": 0, "now": now, "timestamps": { "CREATED": 0, "RUNNING": 1_000 },
                "vertices": [
                    vertex("numbers", json!(now - 250), vec![json!({ "busy": 0.5, "blocked": 0.0, "idle": 0.5, "mailbox": { "waiting": 0, "capacity": 0 } })]),
                    vertex("counted", json!(now - 300 * 86_400_000), vec![subtask(0, 0.5), subtask(8, 0.25)]),
                    vertex("new", Value::Null, vec![]),
                ],
            }),
            checkpoints: json!({
                "counts": { "completed": 41, "failed": 1 },
                "latest": { "completed": { "id": 42, "region": "numbers", "trigger_timestamp": now - 800, "end_to_end_duration": 12, "state_size": 4_608 } },
            }),
        }
    }

    #[test]
    fn a_job_is_drawn() {
        let drawn = draw(&[seen(60_000, 10_000), seen(62_000, 13_000)], None);
        let expected = "\
my job: running, up 1 min 1 s, incarnation 3
records in 13,000 (1,500/s), out 6,500 (750/s)
restarts 2, dead letters 1,000
last checkpoint 42 of numbers, 788 ms ago, took 12 ms, 4.5 KiB; 41 completed, 1 failed

3 operators
OPERATOR        STATE    TASKS     RATE  BUSY  BLOCKED  IDLE  MAILBOX     LAG  RESTARTS
numbers -> out  running      1  1,500/s  50 %      0 %  50 %        -  250 ms         2
counted -> out  running      2  1,500/s  38 %     25 %  38 %     25 %   300 d         2
new -> out      running      0  1,500/s     -        -     -        -       -         2
";
        assert_eq!(drawn, expected);
    }

    #[test]
    fn before_anything_is_known_nothing_is_made_up() {
        let nothing = Seen { job: json!({}), checkpoints: json!({}) };
        let drawn = draw(std::slice::from_ref(&nothing), None);
        assert!(drawn.starts_with("-: -, up -, incarnation 0\nrecords in 0 (-), out 0 (-)\n"), "{drawn}");
        assert!(drawn.contains("no checkpoint has completed yet (0 failed)\n\n0 operators\n"), "{drawn}");
        assert_eq!(draw(&[], None), "");
        // A rollback is not a rate.
        assert!(draw(&[seen(1_000, 500), seen(2_000, 400)], None).contains("records in 400 (0/s)"));
    }

    #[test]
    fn what_has_no_room_is_left_out() {
        let drawn = draw(&[seen(60_000, 10_000)], Some((20, 3)));
        assert_eq!(drawn, "my job: running, up \nrecords in 10,000 (-\nrestarts 2, dead let");
        assert!(draw(&[seen(60_000, 10_000)], Some((200, 50))).ends_with("q: quit"));
    }

    #[test]
    fn rates_are_of_the_last_seconds_of_one_run() {
        let times = |seen: &[Seen]| seen.iter().map(Seen::now).collect::<Vec<i64>>();
        let mut all = Vec::new();
        for second in 1..=9 {
            all = remember(all, seen(second * 1_000, 0));
        }
        assert_eq!(times(&all), [4_000, 5_000, 6_000, 7_000, 8_000, 9_000]);
        assert_eq!(times(&remember(all.clone(), seen(60_000, 0))), [9_000, 60_000], "an old one is better than none");
        let mut other = seen(10_000, 0);
        other.job["start-time"] = json!(9_500);
        assert_eq!(times(&remember(all, other)), [10_000]);
    }
}
