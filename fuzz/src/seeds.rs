//! Writes the seeds that can be made: `cargo run --example seeds`, in the folder `fuzz`. Others were found, and stay.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use piton::fuzzing::write_letter_log;
use piton::host::AnyOperator;
use piton::ids::{Fence, SubtaskId, WindowId};
use piton::protocol::manifest::{
    ChunkRef, DeadLetter, InFlightChannel, InFlightSnapshot, Manifest, Origin, PendingOutput, Spread, Within,
};
use piton::state::Draft;
use piton::store::conformance::{chunk_id, letter, manifest};
use piton::topology::{EdgePrint, Fingerprint, OperatorPrint, Role};
use piton::{AnyBatch, Rows};
use piton_fuzz::checks::in_flight::{self, Line, Order};
use piton_fuzz::checks::input::piece;
use piton_fuzz::checks::{sled, state, store};

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds");
    let write = |target: &str, name: &str, bytes: &[u8]| {
        let folder = root.join(target);
        fs::create_dir_all(&folder).expect("the folder can be made");
        fs::write(folder.join(name), bytes).expect("the seed can be written");
    };
    for (name, text) in TOPOLOGIES {
        write("topology", name, text.as_bytes());
    }
    for (name, text) in FAULTS {
        write("faults", name, text.as_bytes());
    }
    let manifest = a_manifest();
    write("manifest", "manifest", &rmp_serde::to_vec_named(&manifest).expect("it can be written"));
    write("manifest", "positions", &rmp_serde::to_vec(&manifest).expect("it can be written"));
    write("manifest", "topology", &manifest.topology);
    letters(&write);
    states(&write);
    under_way(&write);
    stores(&write);
    let files = &sled::Whole::get().files;
    for (nth, file) in files.iter().enumerate() {
        let nth = nth as u8;
        let name = file.to_string_lossy().replace('/', "-");
        let name = name.split('.').next().unwrap_or_default();
        write("sled", &format!("{name}-cut"), &[nth, 2, 200, 0, 0]);
        write("sled", &format!("{name}-patched"), &[nth, 1, 30, 0, 0, 255, 0, 7]);
        write("sled", &format!("{name}-short"), &[nth, 3, 16, 0, 0, 5, 0, 0]);
        write("sled", &format!("{name}-other"), &[nth, 0, 1, 2, 3]);
        write("sled", &format!("{name}-removed"), &[nth, 4]);
    }
}

type Write<'a> = &'a dyn Fn(&str, &str, &[u8]);

fn letters(write: Write<'_>) {
    let of = |number, window, len| (WindowId(window + 1), letter(&SubtaskId::new("count", 0), number, window, len));
    let odd = DeadLetter {
        reason: "a \"panic\"\nof two lines".into(),
        record: "{\"a\":[1,\n2.5e3],\"b\":{ },\"c\":\"\\\"]\\u00e9\"}".into(),
        kept: false,
        ..of(9, 2, 3).1
    };
    let log = write_letter_log(vec![of(1, 1, 3), of(2, 1, 30), of(3, 4, 500), (WindowId(5), odd)]);
    write("letters", "whole", &[&[0], &log[..]].concat());
    write("letters", "forged", &[&[1], &log[..]].concat());
    let last = write_letter_log(vec![of(4, 7, 3)]);
    write("letters", "torn", &[&[0], &last[..last.len() - 5], &last[..]].concat());
}

fn states(write: Write<'_>) {
    let mut operator = state::fresh();
    let mut chunks = Vec::new();
    for round in 0..3u64 {
        let records = (0..4).map(|n| (["", "tea", "milk"][(n % 3) as usize].to_string(), n + 2 * round)).collect();
        operator.begin_entry(round as i64);
        operator.process(0, &(Arc::new(Rows::new(records)) as _)).expect("the operator does not fail");
        operator.advance_watermark(2 * round as i64).expect("the operator does not fail");
        chunks.push(operator.cut().and_then(Draft::write).expect("it can be cut"));
    }
    let of = |how: u8, chunks: &[Vec<u8>]| [vec![how], chunks.iter().flat_map(|chunk| piece(chunk)).collect()].concat();
    write("state", "whole", &of(0, &chunks));
    write("state", "forged", &of(state::FORGED, &chunks));
    write("state", "first", &of(state::FORGED, &chunks[..1]));
    write("state", "base-missing", &of(state::FORGED, &chunks[1..]));
    write("state", "adopted", &of(state::FORGED | state::ADOPTED, &[&chunks[..], &chunks[..]].concat()));
}

fn under_way(write: Write<'_>) {
    let lines = vec![Line::Empty, Line::Piece(7, 2.5), Line::Many { of: vec![1 << 100, 3] }];
    let order = Order {
        id: 3,
        name: "rope".into(),
        price: 9.5,
        lines,
        notes: [("a".to_string(), Some(-1)), ("b".to_string(), None)].into(),
        paid: true,
        letter: 'ö',
    };
    let pairs = vec![(1, "one".to_string()), (2, "two".to_string())];
    let of = |how: u8, bytes: Vec<u8>| [vec![how], bytes].concat();
    let packed = |batch: &dyn AnyBatch| batch.pack().expect("records can be packed");
    write("in_flight", "orders", &of(0, packed(&Rows::new(vec![order.clone(), Order::default()]))));
    write("in_flight", "pairs", &of(1, packed(&Rows::with_times(pairs.clone(), vec![-5, 6]))));
    write("in_flight", "nothings", &of(2, packed(&Rows::new(vec![(), (), ()]))));
    write("in_flight", "options", &of(3, packed(&Rows::new(vec![None, Some(vec![None, Some('x')])]))));
    write("in_flight", "port", &of(4, packed(&Rows::new(pairs.clone()))));
    write("in_flight", "channels", &of(5, in_flight::seed(vec![order], pairs)));
}

fn stores(write: Write<'_>) {
    for long in [0, store::LONG] {
        let whole = store::Whole::get(long != 0);
        for (nth, path) in whole.files.iter().enumerate() {
            let nth = nth as u8;
            let content = whole.read(path);
            let name = path.to_string_lossy().trim_start_matches("/state/").replace(['/', '.'], "-");
            let name = if long == 0 { name } else { format!("long-{name}") };
            // One chunk is like another.
            let is_new = !name.contains("blobs") || name.ends_with("0-1-0-42");
            if long == 0 && is_new || name.contains("manifest") || name == "long-regions-b-HEAD" {
                write("store", &format!("{name}-patched"), &[long, nth, 1, 20, 0, 0, 255, 0]);
                write("store", &format!("{name}-cut"), &[long, nth, 2, 100, 0, 0, 1]);
                write("store", &format!("{name}-removed"), &[long, nth, 4]);
                write("store", &format!("{name}-forged"), &[long | store::FORGED, nth, 1, 80, 0, 0, 1]);
            }
            if long == 0 && content.len() < 3_000 {
                write("store", &format!("{name}-same"), &[&[store::FORGED, nth, 0], &content[..]].concat());
            }
            if name.ends_with("HEAD") || name.ends_with("ROOT") {
                // The beginning of the second slot.
                write("store", &format!("{name}-second"), &[long, nth, 1, 0, 16, 16, 80]);
                let back = long | store::FORGED | store::BACK;
                write("store", &format!("{name}-back"), &[back, nth, 1, 40, 0, 0, 1]);
            }
            if long == 0 && name.ends_with("HEAD") {
                // A record as it stands in a slot, to be changed under a right checksum.
                let slot = &content[..content.len().min(2_000)];
                write("store", &format!("{name}-slot"), &[&[store::FORGED, nth, 1, 0, 0, 0], slot].concat());
            }
        }
    }
}

fn a_manifest() -> Manifest {
    let fence = Fence { incarnation: 2, attempt: 1 };
    let id = chunk_id("a", fence, 4);
    let chunks = vec![ChunkRef::Inline { bytes: vec![1; 5] }, ChunkRef::Blob { id, len: 70_000, checksum: 9 }];
    let mut manifest = manifest("a", 7, fence, chunks.clone());
    let print = OperatorPrint {
        role: Role::Operator,
        type_name: "count".into(),
        keyed: true,
        parallelism: 2,
        state: Some("of u64".into()),
    };
    let edge = EdgePrint { from: "in".into(), output: None, to: "count".into(), port: 0, partition: "keyed".into() };
    let operators = [("count".to_string(), print)].into();
    manifest.topology = Fingerprint { key_groups: 1024, operators, edges: vec![edge] }.encode();
    let snapshot = &mut manifest.subtasks[0];
    snapshot.letters = vec![letter(&snapshot.subtask, 1, 6, 10)];
    snapshot.within = Some(Within { ended: WindowId(6), channels: vec![WindowId(6), WindowId(7)] });
    let origin = Origin { operator: "in".into(), output: None, index: 0, port: 0, spread: Spread::Keyed };
    let channels = vec![InFlightChannel { origin, records: 3 }];
    snapshot.in_flight = Some(InFlightSnapshot { channels, chunks });
    snapshot.operators[0].max_time = Some(-1);
    snapshot.operators[0].pending = vec![PendingOutput { window: WindowId(6), output: vec![4; 3] }];
    manifest
}

const TOPOLOGIES: [(&str, &str); 6] = [
    (
        "words",
        r#"[job]
name = "words"
parallelism = 2
[checkpoint]
interval = "1s"
[sources.ticks]
type = "numbers"
limit = 10
start = { offset = 3, steps = [0.5, 1e3] }
[operators.scaled]
type = "scale"
inputs = ["ticks"]
factor = -2
how = { between = { low = 1, high = 0x10 } }
names = { a = "x", "b c" = 'y' }
[operators.counts]
type = "count"
inputs = ["scaled"]
renamed_from = "old"
[sinks.out]
type = "keep"
inputs = ["counts"]
"#,
    ),
    (
        "settings",
        r#"[job]
name = "all"
key_groups = 64
chaining = "off"
seed = 7
[window]
interval = "200ms"
[checkpoint]
interval = "500ms"
mode = "at-least-once"
alignment = "unaligned"
aligned_timeout = "1s"
retain = 2
timeout = "1m"
min_pause = "10ms"
[recovery]
scope = "batch"
journal = "64MiB"
on_poison = "dead-letter"
poison_after = 2
hang_timeout = "30s"
[mailbox]
batches = 16
[store]
path = "state"
[chaos]
seed = 3
[sources.in]
type = "pipe"
dedicated = true
out_of_order = "2s"
[sinks.out]
type = "show"
inputs = ["in"]
partition = "broadcast"
parallelism = 3
"#,
    ),
    (
        "pair",
        r#"[sources.a]
type = "numbers"
limit = ${NAME}
[sources.b]
type = "numbers"
limit = "${MISSING:-4}"
[operators.both]
type = "pair"
inputs = ["a", "b"]
[operators.again]
type = "pair"
inputs = ["both", "both"]
[sinks.one]
type = "keep"
inputs = ["again"]
[sinks.two]
type = "show"
inputs = ["a"]
"#,
    ),
    (
        "wrong",
        "[job]\nnmae = x\nparallelism = 99999999999999999999\n[sources.ä]\ntype = \"numbrs\"\nlimit = 10s\n\
         [operators.a]\ntype = \"scale\"\ninputs = [\"b\", \"c\"]\nfactor = \"many\"\n\
         [operators.b]\ntype = \"count\"\ninputs = [\"a\"]\n[sinks.s]\ntype = \"pair\"\ninputs = [1]\n[else]\n",
    ),
    (
        "overrides",
        "[sources.s]\ntype = \"numbers\"\nlimit = 1\n[sinks.k]\ntype = \"keep\"\ninputs = [\"s\"]\n\
         \0checkpoint.interval=2s\0sources.s.limit=7\0PITON__JOB__NAME=other\0PITON__SINKS__K__PARALLELISM=2\0nothing\0a.b.c=[1, {",
    ),
    (
        "dotted",
        "sources.s = { type = \"numbers\", limit = 1 }\nsinks.k.type = 'keep'\nsinks.k.inputs = [\"\"\"s\"\"\"]\n",
    ),
];

const FAULTS: [(&str, &str); 3] = [
    ("empty", "seed = 7\nrows = 20\n"),
    (
        "some",
        r#"# what it breaks
seed = 3
rows = 12
[[fault]]
step = 20
kind = "hook"
whom = "sums[1]"
hook = "process"
act = "panic_midway"
after = 2
[[fault]]
step = 25
kind = "crash_in_storage"
call = 3
power = true
[[fault]]
step = 60
kind = "stall"
subtask = "numbers[0]"
ms = 300
[[fault]]
step = 90
kind = "lose"
subtask = "sums[0]"
"#,
    ),
    (
        "storage",
        r#"seed = 18446744073709551615
rows = 9
[[fault]]
step = 5
kind = "disk"
after = 2
calls = 3
[[fault]]
step = 40
kind = "decay"
bits = 2
[[fault]]
step = 50
kind = "fail_commits"
commits = 2
ms = 40
failure = "unanswered"
[[fault]]
step = 60
kind = "slow_messages"
messages = 3
ms = 70
[[fault]]
step = 70
kind = "hook"
whom = "out[0]"
hook = "sink_commit"
act = { unavailable = 3 }
after = 0
[[fault]]
step = 80
kind = "trigger"
"#,
    ),
];
