//! A process that is killed at any moment has lost nothing that it acknowledged, and its lock goes with it.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a real process is killed in real time"
)]

mod store_support;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use piton::store::{CheckpointStore, OpenOptions, SledStore, StoreError};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use store_support::{REGIONS, Step, Workload, rounds};

const OPTIONS: OpenOptions = OpenOptions { retain: 2, allow_rollback: false };
const CHILD: &str = "PITON_STORE_CHILD";

/// Not a test by itself: the process that [`kills_lose_nothing_acknowledged`] kills.
#[test]
fn child() {
    let Ok(dir) = std::env::var(CHILD) else { return };
    let mut out = std::io::stdout().lock();
    let (mut store, report) = SledStore::open(Path::new(&dir), OPTIONS).unwrap();
    let mut workload = Workload::default();
    workload.begin(&mut store).unwrap();
    writeln!(out, "\nOPEN {} {:?}", workload.incarnation, report.repairs).unwrap();
    loop {
        assert_eq!(workload.step(&mut store), Step::Acknowledged);
        writeln!(out, "ACK {}", workload.acknowledged["a"]).unwrap();
        out.flush().unwrap();
    }
}

fn spawn(dir: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture"])
        .env(CHILD, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn kills_lose_nothing_acknowledged() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("state");
    let seed = 11;
    let mut rng = Pcg64Mcg::seed_from_u64(seed);
    let mut workload = Workload::default();
    let (mut opened, mut acknowledged) = (0, 0);
    for round in 0..rounds(50) {
        let context = format!("seed {seed}, round {round}");
        let mut child = spawn(&dir);
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        let reader = thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                sender.send(line).ok();
            }
        });
        // A third are killed while they open, the others after some commits; each at any moment.
        let mut seen = Vec::new();
        if rng.random_bool(0.66) {
            let wanted = rng.random_range(1..8);
            while seen.len() < wanted {
                let line = lines.recv_timeout(Duration::from_secs(60)).expect("the process lives and works");
                if line.starts_with("ACK ") || line.starts_with("OPEN ") {
                    seen.push(line);
                }
            }
        }
        thread::sleep(Duration::from_micros(rng.random_range(0..60_000)));
        child.kill().unwrap();
        child.wait().unwrap();
        reader.join().unwrap();
        for line in seen.into_iter().chain(lines.iter()) {
            if let Some(window) = line.strip_prefix("ACK ") {
                let window = window.parse().unwrap();
                workload.acknowledged.extend(REGIONS.map(|region| (region, window)));
                acknowledged += 1;
            } else if let Some(rest) = line.strip_prefix("OPEN ") {
                let (incarnation, repairs) = rest.split_once(' ').unwrap();
                assert_eq!(repairs, "[]", "{context}: a kill damages nothing");
                let incarnation = incarnation.parse().unwrap();
                assert!(incarnation > workload.incarnation, "{context}");
                workload.incarnation = incarnation;
                opened += 1;
            }
        }
        if round % 3 == 0 {
            // The lock is free as soon as the process is gone.
            let (mut store, report) = SledStore::open(&dir, OPTIONS).unwrap();
            assert_eq!(report.repairs, Vec::<String>::new(), "{context}");
            workload.verify(&mut store, &context);
        }
    }
    let (mut store, _) = SledStore::open(&dir, OPTIONS).unwrap();
    workload.verify(&mut store, "at the end");
    assert_eq!(store.verify(), Vec::<String>::new());
    println!("{opened} lives, {acknowledged} windows acknowledged");
    assert!(opened > 10 && acknowledged > 50, "{opened} lives, {acknowledged} windows acknowledged");
}

#[test]
fn a_directory_in_use_is_refused_by_name() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("state");
    let mut child = spawn(&dir);
    let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(output.any(|line| line.unwrap().starts_with("ACK ")));
    let Err(StoreError::Locked(reason)) = SledStore::open(&dir, OPTIONS) else { panic!("it is in use") };
    assert!(reason.contains(dir.to_str().unwrap()), "{reason}");
    child.kill().unwrap();
    child.wait().unwrap();

    let (store, _) = SledStore::open(&dir, OPTIONS).unwrap();
    assert!(matches!(SledStore::open(&dir, OPTIONS), Err(StoreError::Locked(_))), "within one process too");
    drop(store);
    SledStore::open(&dir, OPTIONS).unwrap();
}
