//! The rules of the house that a compiler does not know: layers point down only, each foreign crate stays in its room,
//! nothing but `clock.rs` asks for time or randomness, files stay short.
//!
//! Each rule is a sentence, and a failure prints the sentence that is broken. Those about layers are also in
//! `ARCHITECTURE.md`, word for word, so that the page and the rule cannot drift apart. The checker reads names, not
//! types; that it can fail is tested on a small made-up tree.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

mod tidy {
    pub(crate) mod paths;
}
use tidy::paths::{Named, code_of, paths_of};

/// A module of the engine, what of the engine it may use, and the sentence for it.
const LAYERS: &[(&str, &[&str], &str)] = &[
    ("ids", &[], "`ids`, `error` and `clock` use nothing else of the engine"),
    ("error", &[], "`ids`, `error` and `clock` use nothing else of the engine"),
    ("clock", &[], "`ids`, `error` and `clock` use nothing else of the engine"),
    ("config", &["ids", "error"], "`config` uses `ids` and `error`"),
    ("topology", &["config", "ids", "error"], "`topology` uses `config`, `ids` and `error`"),
    ("protocol", &["config", "ids", "error"], "`protocol` uses `config`, `ids` and `error`"),
    ("invariants", &["ids"], "`invariants` uses `ids`"),
    ("store", &["protocol", "ids", "error"], "`store` uses `protocol`, `ids` and `error`"),
    (
        "runtime",
        &["store", "invariants", "protocol", "topology", "config", "ids", "error", "clock"],
        "`runtime` uses everything above it in this list, and nothing uses `runtime` but what stands below",
    ),
    (
        "chaos",
        &["runtime", "store", "invariants", "protocol", "topology", "config", "ids", "error", "clock"],
        "`chaos` and `http` use `runtime` and what it uses",
    ),
    (
        "http",
        &["runtime", "store", "invariants", "protocol", "topology", "config", "ids", "error", "clock"],
        "`chaos` and `http` use `runtime` and what it uses",
    ),
    (
        "sim",
        &["chaos", "runtime", "store", "invariants", "protocol", "topology", "config", "ids", "error", "clock"],
        "`sim` uses `chaos` and what it uses",
    ),
    (
        "cli",
        &[
            "sim",
            "chaos",
            "http",
            "runtime",
            "store",
            "invariants",
            "protocol",
            "topology",
            "config",
            "ids",
            "error",
            "clock",
        ],
        "`cli` uses everything, and nothing uses `cli` but `fuzzing`",
    ),
    (
        "fuzzing",
        &["cli", "store", "protocol", "ids", "error"],
        "`fuzzing` opens parts of `cli`, `store` and `protocol` to the fuzz targets, and nothing uses `fuzzing`",
    ),
];

/// A foreign crate, the only places that may name it, and the sentence for it.
const ROOMS: &[(&str, &[&str], &str)] = &[
    ("actix", &["src/runtime/"], "only `src/runtime/` names actix"),
    ("actix_rt", &["src/runtime/"], "only `src/runtime/` names actix"),
    ("actix_web", &["src/http/server.rs"], "only `src/http/server.rs` names actix-web"),
    (
        "rustls",
        &["src/http/tls.rs", "src/cli/client/tls.rs"],
        "only `src/http/tls.rs` and `src/cli/client/tls.rs` name rustls",
    ),
    (
        "rustls_graviola",
        &["src/http/tls.rs", "src/cli/client/tls.rs"],
        "only `src/http/tls.rs` and `src/cli/client/tls.rs` name rustls",
    ),
    ("opentelemetry", &["src/cli/traces/"], "only `src/cli/traces/` names opentelemetry"),
    ("opentelemetry_sdk", &["src/cli/traces/"], "only `src/cli/traces/` names opentelemetry"),
    ("opentelemetry_otlp", &["src/cli/traces/"], "only `src/cli/traces/` names opentelemetry"),
    ("opentelemetry_http", &["src/cli/traces/"], "only `src/cli/traces/` names opentelemetry"),
    ("tracing_opentelemetry", &["src/cli/traces/"], "only `src/cli/traces/` names opentelemetry"),
    ("sled", &["src/store/sled.rs", "src/store/sled/"], "only `src/store/sled.rs` names sled"),
    ("config", &["src/config/"], "only `src/config/` names the crate `config`"),
];

/// What `src/protocol/` may not name, so that a simulator can drive it.
const NOT_IN_PROTOCOL: &[&[&str]] = &[
    &["tokio"],
    &["std", "env"],
    &["std", "fs"],
    &["std", "io"],
    &["std", "net"],
    &["std", "process"],
    &["std", "thread"],
    &["std", "time"],
];
const PROTOCOL_SENTENCE: &str = "`src/protocol/` knows no clock, thread, file or runtime";

/// What only `src/clock.rs` may call, by how the path ends.
const CLOCK_ONLY: &[&[&str]] = &[
    &["Instant", "now"],
    &["SystemTime", "now"],
    &["rand", "rng"],
    &["rand", "random"],
    &["thread_rng"],
    &["OsRng"],
    &["SysRng"],
];
const CLOCK_SENTENCE: &str = "only `src/clock.rs` asks for time or randomness";

const UNFINISHED: &[&str] = &["todo", "unimplemented", "dbg"];

/// What the operator kit may not depend on: it is the lower layer, and a user's operators depend on it alone.
const NOT_IN_KIT: &[&str] = &["piton", "actix", "actix-rt", "sled", "tokio"];
const KIT_SENTENCE: &str = "`actors/` depends on neither the engine nor actix, sled or tokio";

const LONGEST: usize = 500;

/// Files by their path from the root, with `/`.
type Tree = BTreeMap<String, String>;

/// Returns what is wrong, one line for each.
fn faults(tree: &Tree) -> Vec<String> {
    let mut faults = Vec::new();
    let exported = tree.get("src/lib.rs").map(|text| exported_names(text)).unwrap_or_default();
    for (path, text) in tree {
        if path.ends_with("Cargo.toml") {
            check_manifest(path, text, &mut faults);
            continue;
        }
        let code = code_of(text);
        let named = paths_of(&code);
        check_layer(path, &named, &exported, &mut faults);
        check_rooms(path, &code, &named, &mut faults);
        check_protocol(path, &named, &mut faults);
        check_clock(path, &named, &mut faults);
        check_finished(path, &code, &mut faults);
        check_shape(path, text, &mut faults);
    }
    faults
}

/// Returns whether a file holds nothing but tests. Tests may be long lists, and may say how long they took.
fn is_test(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.contains("/tests/") || path.starts_with("tests/")
}

/// Returns the module of a file of the engine, and how deep in the module tree it is; nothing for the root itself.
fn module_of(path: &str) -> Option<(&str, usize)> {
    let inner = path.strip_prefix("src/")?.strip_suffix(".rs")?;
    let inner = inner.strip_suffix("/mod").unwrap_or(inner);
    if matches!(inner, "lib" | "main") || inner.starts_with("bin/") {
        return None;
    }
    Some((inner.split('/').next()?, inner.split('/').count()))
}

/// Returns which module each name comes from that the root re-exports.
fn exported_names(lib: &str) -> BTreeMap<String, String> {
    let mut names = BTreeMap::new();
    for named in paths_of(&code_of(lib)) {
        let segments: Vec<&str> =
            named.segments.iter().map(String::as_str).filter(|segment| *segment != "crate").collect();
        if let [module, .., name] = segments[..]
            && LAYERS.iter().any(|(layer, ..)| *layer == module)
        {
            names.insert(name.to_string(), module.to_string());
        }
    }
    names
}

fn check_layer(path: &str, named: &[Named], exported: &BTreeMap<String, String>, faults: &mut Vec<String>) {
    let Some((module, depth)) = module_of(path) else { return };
    let Some((_, allowed, sentence)) = LAYERS.iter().find(|(layer, ..)| *layer == module) else {
        faults.push(format!(
            "{path}: the module `{module}` is in no layer: give it one in tests/tidy.rs and ARCHITECTURE.md"
        ));
        return;
    };
    for Named { line, segments } in named {
        let supers = segments.iter().take_while(|segment| *segment == "super").count();
        let inner = match segments.first().map(String::as_str) {
            Some("crate") => &segments[1..],
            Some("super") if supers >= depth => &segments[supers..],
            _ => continue,
        };
        let Some(first) = inner.first() else { continue };
        let used = exported.get(first).unwrap_or(first);
        let is_layer = LAYERS.iter().any(|(layer, ..)| layer == used);
        if is_layer && used != module && !allowed.contains(&used.as_str()) {
            faults.push(format!("{path}:{line}: `{}` breaks: {sentence}", segments.join("::")));
        }
    }
}

fn check_rooms(path: &str, code: &str, named: &[Named], faults: &mut Vec<String>) {
    if !path.starts_with("src/") {
        return;
    }
    for (foreign, rooms, sentence) in ROOMS {
        let room = |room: &&str| path == *room || (room.ends_with('/') && path.starts_with(*room));
        // A module of ours may have the name of a foreign crate: where it is declared, and where it is imported.
        let is_ours = code.contains(&format!("mod {foreign};"))
            || named.iter().any(|named| named.segments.len() > 1 && named.segments.ends_with(&[foreign.to_string()]));
        if is_ours || rooms.iter().any(room) {
            continue;
        }
        for Named { line, segments } in named {
            if segments.len() > 1 && segments[0] == *foreign {
                faults.push(format!("{path}:{line}: `{}` breaks: {sentence}", segments.join("::")));
            }
        }
    }
}

fn check_protocol(path: &str, named: &[Named], faults: &mut Vec<String>) {
    if !path.starts_with("src/protocol/") {
        return;
    }
    for Named { line, segments } in named {
        let forbidden = |start: &&[&str]| segments.len() >= start.len() && segments[..start.len()] == **start;
        if NOT_IN_PROTOCOL.iter().any(forbidden) {
            faults.push(format!("{path}:{line}: `{}` breaks: {PROTOCOL_SENTENCE}", segments.join("::")));
        }
    }
}

fn check_clock(path: &str, named: &[Named], faults: &mut Vec<String>) {
    let shipped = path.starts_with("src/") || path.starts_with("actors/src/");
    if !shipped || is_test(path) || path == "src/clock.rs" {
        return;
    }
    for Named { line, segments } in named {
        let forbidden = |end: &&[&str]| segments.len() >= end.len() && segments[segments.len() - end.len()..] == **end;
        if CLOCK_ONLY.iter().any(forbidden) {
            faults.push(format!("{path}:{line}: `{}` breaks: {CLOCK_SENTENCE}", segments.join("::")));
        }
    }
}

fn check_finished(path: &str, code: &str, faults: &mut Vec<String>) {
    for (index, line) in code.lines().enumerate() {
        for name in UNFINISHED {
            let called = line
                .match_indices(&format!("{name}!"))
                .any(|(at, _)| !line[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_'));
            if called {
                faults.push(format!("{path}:{}: `{name}!` breaks: code in the tree is finished", index + 1));
            }
        }
    }
}

fn check_shape(path: &str, text: &str, faults: &mut Vec<String>) {
    if is_test(path) {
        return;
    }
    if !text.starts_with("//!") {
        faults.push(format!("{path}:1: breaks: a file begins with `//!`, which says what it is for"));
    }
    let lines = text.lines().count();
    if lines > LONGEST {
        faults.push(format!(
            "{path}: has {lines} lines, which breaks: a file has at most {LONGEST} lines (look for the second noun in it)"
        ));
    }
}

fn check_manifest(path: &str, text: &str, faults: &mut Vec<String>) {
    if !path.starts_with("actors/") {
        return;
    }
    let mut section = "";
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        let mut names = Vec::new();
        if let Some(header) = line.strip_prefix('[') {
            section = header.trim_end_matches(']');
            names.extend(section.rsplit_once("dependencies.").map(|(_, name)| name));
        } else if section.ends_with("dependencies") {
            names.extend(line.split(['=', '.']).next());
            names.extend(line.split_once("package = \"").and_then(|(_, rest)| rest.split('"').next()));
        }
        for name in names.iter().map(|name| name.trim()) {
            if NOT_IN_KIT.contains(&name) {
                faults.push(format!("{path}:{}: `{name}` breaks: {KIT_SENTENCE}", index + 1));
            }
        }
    }
}

/// Reads all files below a folder that the rules are about.
fn read_tree(root: &Path, folder: &str, tree: &mut Tree) {
    let Ok(entries) = fs::read_dir(root.join(folder)) else { return };
    for entry in entries {
        let name = entry.expect("a folder that can be opened can be read").file_name();
        let path = format!("{folder}/{}", name.to_string_lossy());
        if root.join(&path).is_dir() {
            if name != "target" {
                read_tree(root, &path, tree);
            }
        } else if path.ends_with(".rs") || path.ends_with("Cargo.toml") {
            let text = fs::read_to_string(root.join(&path)).expect("source files are UTF-8");
            tree.insert(path, text);
        }
    }
}

#[test]
fn the_house_is_tidy() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut tree = Tree::new();
    for folder in ["src", "actors", "tests", "examples", "benches", "bench", "fuzz"] {
        read_tree(root, folder, &mut tree);
    }
    assert!(tree.len() > 50, "found only {} files: the rules were not looked at", tree.len());
    let faults = faults(&tree);
    assert!(faults.is_empty(), "{} broken:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn the_sentences_about_layers_are_in_the_architecture() {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("ARCHITECTURE.md")).unwrap();
    let page = page.split_whitespace().collect::<Vec<_>>().join(" ");
    let sentences =
        LAYERS.iter().map(|(_, _, sentence)| *sentence).chain(ROOMS.iter().map(|(_, _, sentence)| *sentence));
    for sentence in sentences.chain([PROTOCOL_SENTENCE, CLOCK_SENTENCE, KIT_SENTENCE]) {
        assert!(page.contains(sentence), "ARCHITECTURE.md does not say: {sentence}");
    }
}

/// A tree of one file, beside the root of the engine.
fn with(path: &str, text: &str) -> Vec<String> {
    let mut tree = Tree::new();
    tree.insert("src/lib.rs".into(), "//! Root.\nmod topology;\npub use topology::{Registry, load};\n".into());
    tree.insert(path.into(), text.into());
    faults(&tree)
}

#[test]
fn what_is_allowed_passes() {
    let allowed = [
        ("src/runtime/job.rs", "//! A.\nuse actix::prelude::*;\nuse crate::{store::Store, config, clock::Clock};\n"),
        ("src/store/sled.rs", "//! A.\nuse crate::protocol::commit::Commit;\nfn f() { sled::open(\"x\") }\n"),
        ("src/config/mod.rs", "//! A.\nuse config::Config;\nmod tests { use super::super::Error; }\n"),
        ("src/topology/plan.rs", "//! A.\nuse crate::config;\nfn f() { config::load() }\n"),
        ("src/store/mod.rs", "//! A.\nmod sled;\npub use sled::SledCatalogue;\n"),
        ("src/clock.rs", "//! A.\nfn f() { std::time::Instant::now() }\n"),
        (
            "src/protocol/align.rs",
            "//! Not std::time::Instant::now, no crate::runtime.\nuse std::collections::BTreeMap;\n",
        ),
        ("src/protocol/mutant.rs", "//! A.\nstd::thread_local! { static A: &str = \"todo!\"; }\n"),
        ("src/topology/tests.rs", "use super::*;\n"),
        ("tests/some_promise.rs", "fn f() { std::time::Instant::now(); }\n"),
        (
            "actors/Cargo.toml",
            "[package]\nname = \"piton-actors\"\n[dependencies]\npiton-derive = { workspace = true }\n",
        ),
    ];
    for (path, text) in allowed {
        assert_eq!(with(path, text), Vec::<String>::new());
    }
}

#[test]
fn what_is_not_allowed_is_named() {
    let broken = [
        ("src/store/a.rs", "//! A.\nuse crate::runtime::Event;\n", ":2: `crate::runtime::Event` breaks: `store` uses"),
        (
            "src/store/a.rs",
            "//! A.\nuse crate::{ids, runtime::{a, b}};\n",
            ":2: `crate::runtime::a` breaks: `store` uses",
        ),
        ("src/store/a.rs", "//! A.\nuse super::super::runtime;\n", "`super::super::runtime` breaks: `store` uses"),
        ("src/store/mod.rs", "//! A.\nfn f() { super::clock::f() }\n", "`super::clock::f` breaks: `store` uses"),
        ("src/protocol/a.rs", "//! A.\nuse crate::Registry;\n", "`crate::Registry` breaks: `protocol` uses"),
        ("src/helpers.rs", "//! A.\n", "the module `helpers` is in no layer"),
        ("src/cli/a.rs", "//! A.\nfn f(a: &actix::Addr<A>) {}\n", "only `src/runtime/` names actix"),
        ("src/store/a.rs", "//! A.\nuse ::sled::Db;\n", "only `src/store/sled.rs` names sled"),
        ("src/topology/a.rs", "//! A.\nuse config::Config;\n", "names the crate `config`"),
        (
            "src/protocol/a.rs",
            "//! A.\nuse std::{fmt, time::Duration};\n",
            "`std::time::Duration` breaks: `src/protocol/`",
        ),
        ("src/protocol/a/b.rs", "//! A.\nuse tokio::time;\n", "`tokio::time` breaks: `src/protocol/`"),
        ("src/runtime/a.rs", "//! A.\n\nfn f() { Instant::now() }\n", ":3: `Instant::now` breaks: only `src/clock.rs`"),
        ("actors/src/a.rs", "//! A.\nfn f() { rand::rng().next_u64() }\n", "`rand::rng` breaks: only `src/clock.rs`"),
        ("src/cli/a.rs", "//! A.\nfn f() { todo!() }\n", ":2: `todo!` breaks"),
        ("tests/a.rs", "fn f() { dbg!(1); }\n", ":1: `dbg!` breaks"),
        ("src/cli/a.rs", "use std::fmt;\n", "begins with `//!`"),
        ("src/cli/a.rs", &format!("//! A.\n{}", "\n".repeat(LONGEST)), "has 501 lines"),
        ("actors/Cargo.toml", "[dependencies]\nsled = \"0.34\"\n", ":2: `sled` breaks: `actors/`"),
        ("actors/Cargo.toml", "[dev-dependencies.piton]\npath = \"..\"\n", ":1: `piton` breaks: `actors/`"),
        ("actors/derive/Cargo.toml", "[dependencies]\nengine = { package = \"piton\" }\n", "`piton` breaks"),
    ];
    for (path, text, expected) in broken {
        let faults = with(path, text);
        assert!(
            faults.iter().any(|fault| fault.starts_with(path) && fault.contains(expected)),
            "{expected}: {faults:#?}"
        );
    }
}
