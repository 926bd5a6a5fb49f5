//! What the store of a running job holds is told over HTTP: dead letters and keyed state, page by page, while the job goes on.
#![cfg(feature = "sql")]

#[path = "support/binary/mod.rs"]
mod binary;
#[path = "support/served.rs"]
mod served;

use serde_json::{Value, json};
use served::Served;

/// Numbers of which each thousandth is poison, counted by key; and others that are neither.
const TOPOLOGY: &str = r#"
[job]
name = "kept"
[checkpoint]
interval = "100ms"
[recovery]
on_poison = "dead-letter"
[sources.numbers]
type = "generate"
rows = 100000000
rate = "2000/s"
keys = 300
[operators.odd]
type = "fail"
inputs = ["numbers"]
where = "id % 1000 IN (7, 8)"
times = 0
[operators.counted]
type = "aggregate"
inputs = ["odd"]
parallelism = 2
by = ["key"]
columns = ["count(*) AS n"]
[sinks.counts]
type = "blackhole"
inputs = ["counted"]
[sources.ticks]
type = "generate"
rows = 100000000
rate = "100/s"
[sinks.ticks-out]
type = "blackhole"
inputs = ["ticks"]
"#;

const LETTERS: &str = "/api/jobs/kept/deadletters";
const STATE: &str = "/api/jobs/kept/state";

fn list<'v>(said: &'v Value, name: &str) -> &'v [Value] {
    said[name].as_array().unwrap_or_else(|| panic!("no {name}: {said}"))
}

#[test]
fn dead_letters_come_page_by_page_the_newest_first() {
    let served = Served::start(TOPOLOGY, &[]);
    let said = served.get_until(LETTERS, |said| list(said, "letters").len() >= 5);
    let newest = &list(&said, "letters")[0];
    assert_eq!(
        (&newest["region"], &newest["operator"], &newest["subtask"]),
        (&json!("numbers"), &json!("odd"), &json!(0))
    );
    assert!(newest["window"].as_u64() > Some(0) && newest["reason"].as_str().unwrap().contains("odd"), "{newest}");
    let id = |letter: &Value| letter["record"]["id"].as_u64().unwrap_or_else(|| panic!("{letter}"));
    assert!(list(&said, "letters").iter().all(|letter| [7, 8].contains(&(id(letter) % 1_000))), "{said}");
    // All of them, two at a time, from the newest to the first.
    let mut ids = Vec::new();
    let mut from = String::new();
    loop {
        let page = served.get(&format!("{LETTERS}?limit=2&region=numbers{from}")).json(200);
        assert!(list(&page, "letters").len() <= 2, "{page}");
        ids.extend(list(&page, "letters").iter().map(id));
        let Some(next) = page["next"].as_str() else { break };
        from = format!("&from={next}");
    }
    assert!(ids.len() >= 5 && ids.is_sorted_by(|one, other| one > other), "{ids:?}");
    assert_eq!(ids.last(), Some(&7));
    assert_eq!(served.get(&format!("{LETTERS}?region=ticks")).json(200), json!({ "letters": [], "next": null }));
    assert!(served.get(&format!("{LETTERS}?from=x")).error(400).contains("`next`"));
    assert!(served.get(&format!("{LETTERS}?limit=0")).error(400).contains("from 1 to"));
    assert!(served.get(&format!("{LETTERS}?region=nowhere")).error(404).contains("regions: \"numbers\", \"ticks\""));
}

#[test]
fn state_is_told_as_the_newest_checkpoint_has_it() {
    let mut served = Served::start(TOPOLOGY, &[]);
    let counted = |said: &Value| list(said, "operators").iter().find(|of| of["operator"] == "counted").cloned();
    let values = |of: &Value| list(of, "states").iter().map(|state| state["values"].as_u64().unwrap()).sum::<u64>();
    let said = served.get_until(STATE, |said| counted(said).is_some_and(|of| values(&of) >= 300));
    let counted = counted(&said).unwrap();
    assert_eq!((&counted["region"], &counted["parallelism"]), (&json!("numbers"), &json!(2)));
    assert!(counted["state-size"].as_u64() > Some(0) && counted["window"].as_u64() > Some(0), "{counted}");
    assert_eq!(list(&said, "checkpoints").len(), 2, "{said}");

    let one = served.get(&format!("{STATE}/counted?key=17")).json(200);
    assert_eq!(list(&one, "entries").len(), 1, "{one}");
    assert_eq!(one["entries"][0]["key"], json!({ "key": 17 }));
    assert_eq!(one["checkpoint"]["region"], "numbers");
    let mut keys = Vec::new();
    let mut offset = 0;
    loop {
        let page = served.get(&format!("{STATE}/counted?limit=70&offset={offset}")).json(200);
        assert_eq!(page["offset"], json!(offset));
        keys.extend(list(&page, "entries").iter().map(|entry| entry["key"]["key"].as_u64().unwrap()));
        let Some(next) = page["next"].as_u64() else { break };
        assert_eq!(next, keys.len() as u64);
        offset = next;
    }
    // No key comes any more, and each stays where it is.
    keys.sort_unstable();
    assert_eq!(keys, (0..300).collect::<Vec<u64>>());

    assert_eq!(list(&served.get(&format!("{STATE}/odd")).json(200), "entries"), [] as [Value; 0], "it keeps nothing");
    assert!(served.get(&format!("{STATE}/counted?key=300")).error(404).contains("nothing for key \"300\""));
    assert!(served.get(&format!("{STATE}/nobody")).error(404).contains("\"nobody\""));
    assert!(served.get(&format!("{STATE}/counted?of=1")).error(400).contains("key, limit, offset"));
    assert!(served.get(&format!("{STATE}/counted?offset=+3")).error(400).contains("offset"));
    // The job has noticed nothing, and ends as it should.
    let job = served.get("/api/jobs/kept").json(200);
    assert_eq!(job["state"], "RUNNING", "{job}");
    assert!(list(&job, "incidents").iter().all(|incident| incident["scope"] != "region"), "{job}");
    served.send("POST", "/api/jobs/kept/stop", &[], "").json(200);
    served.wait().expect(0);
}
