//! Joins and `deduplicate`, written in a topology file, give what a plain loop over their inputs gives, whatever their
//! parallelism and whatever fails meanwhile.

#[path = "support/binary/mod.rs"]
mod binary;

use std::fs;
use std::path::Path;
use std::process::Command;

use binary::folder::Folder;
use binary::process::{Job, piton};
use binary::tree::scratch;

const ORDERS: i64 = 3_000;
const PAYMENTS: i64 = 2_500;

/// Key, number, time in ms.
type Row = (Option<i64>, i64, i64);

/// Made-up rows, out of order by less than 50 ms; some have no key.
fn made(count: i64, salt: i64) -> Vec<Row> {
    let of = |number: i64| {
        let mixed = (number + salt).wrapping_mul(6_364_136_223_846_793_005).rotate_left(21).unsigned_abs() as i64;
        let key = Some(mixed % 40).filter(|key| *key > 0);
        (key, number, number * 10 + (mixed / 64) % 40)
    };
    (0..count).map(of).collect()
}

fn write(folder: &Path, name: &str, number: &str, rows: &[Row]) {
    let mut text = format!("k,{number},t\n");
    for (key, number, at) in rows {
        text.push_str(&format!("{},{number},{at}\n", key.map_or_else(String::new, |key| key.to_string())));
    }
    fs::write(folder.join(name), text).unwrap();
}

fn topology(operators: &str, parallelism: u32) -> String {
    format!(
        r#"
        [job]
        name = "joined"
        [window]
        interval = "10ms"
        [checkpoint]
        interval = "20ms"
        [store]
        path = "state"
        [sources.orders]
        type = "csv"
        path = "orders.csv"
        event_time = "t"
        out_of_order = "50ms"
        rate = "20000/s"
        [sources.payments]
        type = "csv"
        path = "payments.csv"
        event_time = "t"
        out_of_order = "50ms"
        [operators.paid]
        type = "select"
        inputs = ["payments"]
        columns = ["k", "p", "t AS at"]
        [operators.result]
        parallelism = {parallelism}
        {operators}
        [operators.broken]
        type = "fail"
        inputs = ["result"]
        where = "o = 107"
        [sinks.out]
        type = "csv"
        inputs = ["broken"]
        path = "out"
        "#
    )
}

/// Runs a job and returns the rows of its sink, sorted.
fn result(operators: &str, parallelism: u32, orders: &[Row], payments: &[Row]) -> Vec<String> {
    let folder = scratch();
    write(folder.path(), "orders.csv", "o", orders);
    write(folder.path(), "payments.csv", "p", payments);
    let job = Job::new(folder.path(), &topology(operators, parallelism));
    job.run(&[]).expect(0);
    let files = Folder::new(job.path("out"), "out").look();
    let mut rows: Vec<String> = files.iter().flat_map(|(_, text)| text.lines().skip(1)).map(str::to_string).collect();
    rows.sort();
    rows
}

fn line(left: &Row, right: Option<&Row>) -> String {
    let text = |value: Option<i64>| value.map_or_else(String::new, |value| value.to_string());
    let (number, at) = (right.map(|right| right.1), right.map(|right| right.2));
    format!("{},{},{},{},{}", text(left.0), left.1, left.2, text(number), text(at))
}

/// Joins by looking at every pair.
fn model(orders: &[Row], payments: &[Row], outer: bool, fits: impl Fn(i64, i64) -> bool, newest: bool) -> Vec<String> {
    let mut rows = Vec::new();
    for order in orders {
        let is_partner = |payment: &&Row| order.0.is_some() && order.0 == payment.0 && fits(order.2, payment.2);
        let mut partners: Vec<&Row> = payments.iter().filter(is_partner).collect();
        if newest {
            partners.sort_by_key(|payment| (payment.2, payment.1));
            partners.drain(..partners.len().saturating_sub(1));
        }
        if partners.is_empty() && outer {
            rows.push(line(order, None));
        }
        rows.extend(partners.into_iter().map(|payment| line(order, Some(payment))));
    }
    rows.sort();
    rows
}

fn check(operators: &str, expected: impl Fn(&[Row], &[Row]) -> Vec<String>) {
    check_some(operators, ORDERS, PAYMENTS, expected);
}

fn check_some(operators: &str, orders: i64, payments: i64, expected: impl Fn(&[Row], &[Row]) -> Vec<String>) {
    let (orders, payments) = (made(orders, 1), made(payments, 77));
    let expected = expected(&orders, &payments);
    assert!(expected.len() > 100);
    for parallelism in [1, 4] {
        let got = result(operators, parallelism, &orders, &payments);
        assert!(got == expected, "parallelism {parallelism}: {} rows, not {}", got.len(), expected.len());
    }
}

#[test]
fn rows_near_each_other_in_time_are_joined() {
    let operators = r#"
        type = "join"
        inputs = ["orders", "paid"]
        on = ["k"]
        kind = "left"
        within = "150ms"
    "#;
    check(operators, |orders, payments| model(orders, payments, true, |l, r| (l - r).abs() <= 150, false));
}

#[test]
fn rows_of_one_time_window_are_joined() {
    let operators = r#"
        type = "join"
        inputs = ["orders", "paid"]
        on = ["k"]
        window = { tumbling = "1s" }
    "#;
    check(operators, |orders, payments| model(orders, payments, false, |l, r| l / 1000 == r / 1000, false));
}

#[test]
fn the_newest_row_is_found() {
    let operators = r#"
        type = "join"
        inputs = ["orders", "paid"]
        on = ["k"]
        kind = "left"
        newest = true
    "#;
    check(operators, |orders, payments| model(orders, payments, true, |l, r| r <= l, true));
}

#[test]
fn all_rows_of_a_key_are_joined() {
    let operators = r#"
        type = "join"
        inputs = ["orders", "paid"]
        on = ["k"]
        kind = "left"
    "#;
    // Each row of one order makes the job fail once, so there should not be too many.
    check_some(operators, 600, 500, |orders, payments| model(orders, payments, true, |_, _| true, false));
}

#[test]
fn the_first_row_of_a_key_passes_once_in_a_time() {
    let operators = r#"
        type = "deduplicate"
        inputs = ["orders"]
        by = ["k"]
        within = "1s"
    "#;
    check(operators, |orders, _| {
        let mut sorted = orders.to_vec();
        sorted.sort_by_key(|row| (row.0, row.2, row.1));
        let mut passed: Vec<Row> = Vec::new();
        for row in sorted {
            if passed.last().is_none_or(|last| last.0 != row.0 || row.2 - last.2 > 1000) {
                passed.push(row);
            }
        }
        let text = |row: &Row| format!("{},{},{}", row.0.map_or_else(String::new, |key| key.to_string()), row.1, row.2);
        let mut rows: Vec<String> = passed.iter().map(text).collect();
        rows.sort();
        rows
    });
}

#[test]
fn mistakes_are_told_at_their_lines() {
    let folder = scratch();
    write(folder.path(), "orders.csv", "o", &made(3, 1));
    write(folder.path(), "payments.csv", "p", &made(3, 1));
    let operators = "type = \"join\"\ninputs = [\"orders\", \"payments\"]\non = [\"k\"]\nwithin = \"1s\"";
    let job = Job::new(folder.path(), &topology(operators, 1));
    let checked = |job: &Job| {
        let mut command = Command::new(piton());
        command.arg("check").arg(job.path("job.toml"));
        job.spawn(command).wait().expect(2)
    };
    checked(&job).says(&["job.toml:", "has a column `t` that the other input has, too", "t AS right_t"]);
    let typed = topology(operators, 1)
        .replace("path = \"payments.csv\"", "path = \"payments.csv\"\nschema = { k = \"double\" }");
    let line = typed.lines().position(|line| line.starts_with("on = ")).unwrap() + 1;
    let job = Job::new(folder.path(), &typed);
    checked(&job).says(&[&format!("job.toml:{line}:"), "column `k` of the left input is of type bigint", "double"]);
}
