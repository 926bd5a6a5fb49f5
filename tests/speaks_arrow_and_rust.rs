//! Operators of one's own and the ready-made ones in one job: rows of a Rust type become columns for SQL and files, and
//! columns become rows again, whatever fails.
#![cfg(feature = "sql")]

#[path = "support/binary/mod.rs"]
mod binary;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use binary::folder::Folder;
use piton::prelude::*;
use piton::runtime::{Ended, RunOptions};
use piton::topology::load_text;
use piton::{Overrides, Timestamp};
use serde::{Deserialize, Serialize};

const ROWS: u64 = 3_000;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Record)]
struct Sale {
    shop: String,
    cents: i64,
    online: bool,
}

/// Sells something every ms.
#[derive(Clone, Deserialize)]
struct Sales {
    #[serde(skip)]
    next: u64,
}

impl Source for Sales {
    type Out = Sale;
    type Position = u64;

    async fn open(&mut self, position: Option<u64>, _subtask: &Subtask) -> Result {
        self.next = position.unwrap_or(0);
        Ok(())
    }

    async fn poll(&mut self, feed: &mut Feed<Sale>) -> Result<Progress> {
        for _ in 0..feed.room().min(50) {
            if self.next == ROWS {
                return Ok(Progress::Done);
            }
            feed.push_at(self.next as Timestamp, sale(self.next));
            self.next += 1;
        }
        Ok(Progress::Idle(1))
    }

    fn position(&self) -> u64 {
        self.next
    }
}

/// Emits numbers: they have no fields.
#[derive(Clone, Deserialize)]
struct Bare {}

impl Source for Bare {
    type Out = u64;
    type Position = u64;

    async fn open(&mut self, _position: Option<u64>, _subtask: &Subtask) -> Result {
        Ok(())
    }

    async fn poll(&mut self, _feed: &mut Feed<u64>) -> Result<Progress> {
        Ok(Progress::Done)
    }

    fn position(&self) -> u64 {
        0
    }
}

fn sale(number: u64) -> Sale {
    Sale { shop: format!("shop {}", number % 7), cents: (number * 37 % 900) as i64, online: number.is_multiple_of(3) }
}

#[derive(Clone, Debug, Serialize, Deserialize, Record)]
struct Total {
    shop: String,
    euros: f64,
}

#[derive(Clone, Debug, Serialize, Deserialize, Record)]
struct Running {
    shop: String,
    sales: u64,
    euros: f64,
}

const SUM: ValueState<(u64, f64)> = ValueState::new("sum");

/// Adds up what SQL has made of sales.
#[derive(Clone, Deserialize)]
struct Sum {}

impl Operator for Sum {
    type In = Total;
    type Out = Running;

    fn key(&self, total: &Total) -> Key {
        Key::from(&*total.shop)
    }

    fn process(&mut self, total: &Total, ctx: &mut Context<Running>) -> Result {
        let (sales, euros) = ctx.state(SUM).update(|(sales, euros)| {
            *sales += 1;
            *euros += total.euros;
            (*sales, *euros)
        })?;
        ctx.emit(Running { shop: total.shop.clone(), sales, euros });
        Ok(())
    }
}

fn registry() -> Registry {
    let mut registry = Registry::stock();
    registry.source::<Sales>("sales").source::<Bare>("bare").operator::<Sum>("sum");
    registry
}

fn run(folder: &Path, scope: &str, more: &str) {
    let toml = format!(
        r#"
        [job]
        parallelism = 2
        {more}
        [checkpoint]
        interval = "20ms"
        [window]
        interval = "10ms"
        [recovery]
        scope = "{scope}"
        [sources.sales]
        type = "sales"
        parallelism = 1
        [operators.large]
        type = "filter"
        inputs = ["sales"]
        where = "cents >= 300 AND NOT online"
        [operators.failing]
        type = "fail"
        inputs = ["large"]
        where = "cents = 307"
        [operators.euros]
        type = "select"
        inputs = ["failing"]
        columns = ["shop", "cents / 100.0 AS euros"]
        [operators.totals]
        type = "sum"
        inputs = ["euros"]
        [sinks.files]
        type = "csv"
        inputs = ["totals"]
        path = "out"
        [sinks.all]
        type = "ndjson"
        inputs = ["sales"]
        path = "all"
        "#
    );
    let plan = load_text(&toml, &folder.join("job.toml"), &Overrides::default(), &registry()).unwrap();
    match piton::runtime::run(&plan, RunOptions::default()).unwrap() {
        Ended::Ran(outcome) | Ended::AlreadyFinished(outcome) => {
            assert!(outcome.finished && outcome.failures.is_empty(), "{outcome:?}");
        }
    }
}

fn lines(folder: PathBuf, sink: &str) -> Vec<String> {
    let files = Folder::new(folder, sink).look();
    files.iter().flat_map(|(_, text)| text.lines()).map(str::to_owned).collect()
}

#[track_caller]
fn check(scope: &str, more: &str) {
    piton_actors::stock::forget_failures();
    let folder = tempfile::tempdir().unwrap();
    run(folder.path(), scope, more);
    let mut wanted: BTreeMap<String, (u64, f64)> = BTreeMap::new();
    for number in 0..ROWS {
        let sale = sale(number);
        if sale.cents >= 300 && !sale.online {
            let (sales, euros) = wanted.entry(sale.shop).or_default();
            *sales += 1;
            *euros += sale.cents as f64 / 100.0;
        }
    }
    let mut seen: BTreeMap<String, Vec<(u64, f64)>> = BTreeMap::new();
    for line in lines(folder.path().join("out"), "files").into_iter().filter(|line| line != "shop,sales,euros") {
        let [shop, sales, euros] = line.split(',').collect::<Vec<_>>()[..] else { panic!("{line}") };
        seen.entry(shop.to_owned()).or_default().push((sales.parse().unwrap(), euros.parse().unwrap()));
    }
    for (shop, (sales, euros)) in &wanted {
        let mut of_shop = seen.remove(shop).unwrap_or_default();
        of_shop.sort_by_key(|(number, _)| *number);
        let numbers: Vec<u64> = of_shop.iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers, (1..=*sales).collect::<Vec<_>>(), "{scope}: {shop}");
        assert!((of_shop[of_shop.len() - 1].1 - euros).abs() < 1e-6, "{scope}: {shop} {of_shop:?}");
    }
    assert!(seen.is_empty(), "{seen:?}");
    let mut all: Vec<Sale> =
        lines(folder.path().join("all"), "all").iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let mut sold: Vec<Sale> = (0..ROWS).map(sale).collect();
    all.sort_by_key(|sale| (sale.shop.clone(), sale.cents, sale.online));
    sold.sort_by_key(|sale| (sale.shop.clone(), sale.cents, sale.online));
    assert_eq!(all, sold);
}

#[test]
fn a_batch_that_fails_is_taken_back() {
    check("batch", "");
    check("batch", "chaining = \"off\"");
}

#[test]
fn an_operator_that_fails_starts_again_alone() {
    check("operator", "");
    check("operator", "chaining = \"off\"");
}

#[test]
fn a_region_that_fails_rolls_back() {
    check("region", "");
}

fn refused(operator: &str) -> String {
    let toml = format!(
        "[sources.sales]\ntype = \"sales\"\n[operators.some]\ntype = \"select\"\ninputs = [\"sales\"]\n\
         columns = [\"shop\", \"cents AS cent\"]\n{operator}[sinks.out]\ntype = \"blackhole\"\ninputs = [\"totals\"]\n"
    );
    let refused = load_text(&toml, Path::new("job.toml"), &Overrides::default(), &registry());
    refused.err().expect("it cannot be planned").to_string()
}

#[test]
fn what_cannot_be_read_is_named_with_its_place() {
    let error = refused("[operators.totals]\ntype = \"sum\"\ninputs = [\"some\"]\n");
    assert!(error.contains("job.toml:9:"), "{error}");
    assert!(error.contains("unknown column `euros`"), "{error}");
    let error = refused(
        "[sources.numbers]\ntype = \"bare\"\n[operators.totals]\ntype = \"filter\"\ninputs = [\"numbers\"]\n\
         where = \"true\"\n",
    );
    assert!(error.contains("job.toml:11:"), "{error}");
    assert!(error.contains("\"numbers\" carries u64, which cannot be taken apart into columns"), "{error}");
}

#[test]
fn the_plan_shows_what_stands_between() {
    let toml = "[sources.sales]\ntype = \"sales\"\n[sinks.one]\ntype = \"blackhole\"\ninputs = [\"sales\"]\n\
                [sinks.two]\ntype = \"print\"\ninputs = [\"sales\"]\n";
    let plan = load_text(toml, Path::new("job.toml"), &Overrides::default(), &registry()).unwrap();
    let names: Vec<&str> = plan.nodes.iter().map(|node| &*node.name).collect();
    assert_eq!(names, ["sales", "sales.table", "one", "two"], "both sinks share it");
}
