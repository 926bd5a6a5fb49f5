//! Savepoints that are asked for at the same time are made one after the other, in the order in which they were asked for;
//! nobody is turned away, and a stop that wants one waits for those before it.

mod support;

use std::collections::BTreeMap;

use piton::Overrides;
use piton::runtime::{Answer, Ended, Event, Request, RunOptions, ask, run};
use support::registry;

const TOPOLOGY: &str = r#"
    [checkpoint]
    interval = "20ms"
    min_pause = "20ms"
    [window]
    interval = "10ms"
    [sources.numbers]
    type = "numbers"
    rows = 1000000000
    keys = 7
    idle_ms = 1
    [operators.count]
    type = "count"
    inputs = ["numbers"]
    [sinks.out]
    type = "collect"
    inputs = ["count"]
    name = "queued"
"#;

#[test]
fn savepoints_asked_for_at_once_are_all_made() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("job.toml");
    let plan = piton::topology::load_text(TOPOLOGY, &file, &Overrides::default(), &registry()).unwrap();
    let state = plan.settings.store.path.clone();
    let (ended, windows, last) = std::thread::scope(|scope| {
        let (committed, enough) = std::sync::mpsc::channel();
        let listener = Box::new(move |event: &Event| {
            if let Event::Committed { .. } = event {
                committed.send(()).ok();
            }
        });
        let options = RunOptions { control: Some(state.clone()), listener, ..RunOptions::default() };
        let job = scope.spawn(|| run(&plan, options));
        for _ in 0..3 {
            enough.recv().unwrap();
        }
        let asked = (0..8).map(|_| {
            let state = state.clone();
            scope.spawn(move || ask(&state, &Request::Savepoint { name: None }).unwrap().expect("the job runs"))
        });
        let asked: Vec<_> = asked.collect();
        let mut windows = BTreeMap::new();
        for answer in asked.into_iter().map(|asked| asked.join().unwrap()) {
            let Answer::Savepoint { savepoint } = answer else { panic!("{answer:?}") };
            windows.insert(savepoint.name.clone(), savepoint.regions["numbers"]);
        }
        let request = Request::Stop { savepoint: Some("last".into()), drain: false };
        let answer = ask(&state, &request).unwrap().expect("the job runs");
        let Answer::Stopped { savepoint: Some(savepoint), .. } = answer else { panic!("{answer:?}") };
        (job.join().unwrap(), windows, savepoint.regions["numbers"])
    });
    let Ended::Ran(outcome) = ended.unwrap() else { panic!("it ran") };
    assert!(outcome.failures.is_empty() && outcome.restarts == 0, "{outcome:?}");
    assert_eq!(windows.len(), 8, "each has a name of its own: {windows:?}");
    assert!(windows.values().all(|window| *window < last), "{windows:?}, and then {last}");
    let distinct: std::collections::BTreeSet<_> = windows.values().collect();
    assert_eq!(distinct.len(), 8, "each has a checkpoint of its own");
}
