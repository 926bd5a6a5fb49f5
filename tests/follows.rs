//! A job with `follow = true` reads files as they are written, whatever becomes of its process: each whole line once.

#[path = "support/binary/mod.rs"]
mod binary;

use std::fs;
use std::path::Path;
use std::time::Duration;

use binary::folder::Folder;
use binary::process::{Job, Life, now, pause};
use binary::tree::{self, scratch};

const TOPOLOGY: &str = r#"
    [job]
    name = "followed"
    [window]
    interval = "20ms"
    [checkpoint]
    interval = "50ms"
    [store]
    path = "state"
    [sources.log]
    type = "csv"
    path = "in/*.csv"
    follow = true
    parallelism = 2
    [sinks.out]
    type = "csv"
    inputs = ["log"]
    path = "out"
"#;

fn append(folder: &Path, name: &str, text: &str) {
    tree::append(&folder.join("in").join(name), "n", text);
}

/// The numbers that are committed, sorted.
fn committed(job: &Job) -> Vec<u64> {
    let mut numbers = Vec::new();
    for (_, text) in Folder::new(job.path("out"), "out").look() {
        numbers.extend(text.lines().skip(1).map(|number| number.parse::<u64>().unwrap()));
    }
    numbers.sort_unstable();
    numbers
}

fn wait_for(job: &Job, life: &mut Life, numbers: u64) {
    let expected: Vec<u64> = (0..numbers).collect();
    let began = now();
    while committed(job) != expected {
        assert!(life.is_alive() && began.elapsed() < Duration::from_secs(60), "{:?}\n{}", committed(job), life.said());
        pause(Duration::from_millis(10));
    }
}

#[test]
fn every_line_is_read_once_through_stops_and_kills() {
    let folder = scratch();
    let job = Job::new(folder.path(), TOPOLOGY);
    fs::create_dir(folder.path().join("in")).unwrap();
    append(folder.path(), "m.csv", "0\n1\n");
    let mut life = job.start(&[]);
    wait_for(&job, &mut life, 2);
    append(folder.path(), "m.csv", "2\n");
    wait_for(&job, &mut life, 3);
    append(folder.path(), "m.csv", "3\n4");
    append(folder.path(), "a.csv", "4\n5\n");
    append(folder.path(), "z.csv", "6\n");
    wait_for(&job, &mut life, 7);
    life.signal("TERM");
    life.wait().expect(0);

    append(folder.path(), "a.csv", "7\n");
    let mut next = 8;
    for _ in 0..3 {
        let mut life = job.start(&[]);
        for _ in 0..20 {
            append(folder.path(), ["a.csv", "k.csv", "z.csv"][next as usize % 3], &format!("{next}\n"));
            next += 1;
            pause(Duration::from_millis(7));
        }
        assert!(life.is_alive(), "{}", life.said());
        assert!(life.kill_after(Duration::from_millis(60)).is_none());
    }
    let mut life = job.start(&[]);
    wait_for(&job, &mut life, next);
    drop(life);

    fs::write(folder.path().join("in/z.csv"), "n\n").unwrap();
    job.run(&[]).expect(1).says(&["z.csv", "is not the one that was read before"]);
}
