//! What the guide says of the configuration is what the code says, and its topologies can be run.
//!
//! Its Rust is compiled and run with the documentation tests of the crate (`src/lib.rs`), its links and commands are looked at
//! by `tests/documentation.rs`.

use std::fs;
use std::path::{Path, PathBuf};

mod guide {
    pub(crate) mod reference;
}
use guide::reference;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/guide/src")
}

#[test]
fn the_reference_is_what_the_code_says() {
    let path = folder().join("reference.md");
    let says = reference::page();
    let is_whole = cfg!(feature = "sql");
    if std::env::var_os("PITON_WRITE_REFERENCE").is_some() {
        assert!(is_whole, "without the feature `sql` there are no stock types to write about");
        fs::write(&path, &says).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap();
    let compared = if is_whole { &*written } else { written.split_once(reference::STOCK).unwrap().0.trim_end() };
    let differs = says.trim_end().lines().zip(compared.trim_end().lines()).find(|(says, written)| says != written);
    assert!(
        says.trim_end() == compared.trim_end(),
        "reference.md is not what the code says (PITON_WRITE_REFERENCE=1 writes it anew): {differs:?}"
    );
}

#[test]
fn every_chapter_is_in_the_summary_and_every_chapter_of_the_summary_is_there() {
    let summary = fs::read_to_string(folder().join("SUMMARY.md")).unwrap();
    let mut listed: Vec<&str> = summary.split("](").skip(1).filter_map(|rest| rest.split(')').next()).collect();
    listed.push("SUMMARY.md");
    listed.sort_unstable();
    let mut there = Vec::new();
    for entry in fs::read_dir(folder()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        there.extend(name.ends_with(".md").then_some(name));
    }
    there.sort();
    assert_eq!(there, listed);
}

/// What is written in Rust is tested: each page with Rust in it is named where documentation tests look for it.
#[test]
fn every_page_with_rust_is_tested() {
    let tested = include_str!("../src/lib.rs");
    let mut pages = 0;
    for (name, text) in pages_of_the_guide() {
        if text.contains("```rust") {
            assert!(tested.contains(&format!("docs/guide/src/{name}\"")), "src/lib.rs does not test {name}");
            pages += 1;
        }
        for attribute in ["```rust,ignore", "```ignore", "```rust,no_run"] {
            assert!(!text.contains(attribute), "{name} has Rust that no test runs");
        }
        // Rust is what a documentation test takes it for.
        assert!(!text.contains("\n\n```\n"), "{name} has a block that does not say what it is");
    }
    assert!(pages > 2, "found Rust on {pages} pages only");
}

fn pages_of_the_guide() -> Vec<(String, String)> {
    let mut pages = Vec::new();
    for entry in fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "md") {
            let name = path.file_name().unwrap().to_str().unwrap().to_string();
            pages.push((name, fs::read_to_string(&path).unwrap()));
        }
    }
    pages
}

#[cfg(feature = "sql")]
mod topologies {
    use piton::topology::load_text;
    use piton::{Overrides, Registry};

    use super::*;

    /// Every block that has sources is a whole topology, as if it stood in a file in the folder of this crate.
    #[test]
    fn every_topology_passes_the_check() {
        let place = Path::new(env!("CARGO_MANIFEST_DIR")).join("job.toml");
        let mut topologies = 0;
        for (name, text) in pages_of_the_guide() {
            for block in text.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()) {
                if !block.contains("[sources.") {
                    continue;
                }
                let plan = load_text(block, &place, &Overrides::default(), &Registry::stock())
                    .unwrap_or_else(|error| panic!("{name}: {error}\n{block}"));
                assert!(plan.warnings.is_empty(), "{name}: {:?}\n{block}", plan.warnings);
                topologies += 1;
            }
        }
        assert!(topologies > 4, "found only {topologies} topologies");
    }

    /// What is only a part of one is TOML at least.
    #[test]
    fn every_part_of_a_topology_is_toml() {
        for (name, text) in pages_of_the_guide() {
            for block in text.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()) {
                if let Err(error) = block.parse::<toml::Table>() {
                    panic!("{name}: {error}\n{block}");
                }
            }
        }
    }
}
