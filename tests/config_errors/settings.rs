//! Settings that are wrong, or do not go together.

use super::*;

#[test]
fn an_unknown_table() {
    broken(
        "[checkpoint]",
        "[checkpoints]",
        &[("job.toml:3:2", &["unknown table \"checkpoints\"", "did you mean \"checkpoint\"?"])],
    );
}

#[test]
fn an_unknown_option() {
    broken(
        "interval",
        "intervall",
        &[("job.toml:4:1", &["unknown option \"intervall\"; did you mean \"interval\"?", "min_pause"])],
    );
}

#[test]
fn a_duration_without_a_unit() {
    broken("\"1s\"", "10", &[("job.toml:4:12", &["`10` has no unit; write \"10s\" or \"10ms\""])]);
    broken("\"1s\"", "\"10 secs\"", &[("job.toml:4:12", &["`secs` is not a unit of time", "ms, s, m, h, d"])]);
}

#[test]
fn a_choice_that_there_is_not() {
    broken(
        "interval = \"1s\"",
        "mode = \"exactly_once\"",
        &[("job.toml:4:8", &["\"exactly_once\" is not one of the choices; did you mean \"exactly-once\"?"])],
    );
}

#[test]
fn a_value_of_another_type() {
    broken(
        "parallelism = 2",
        "parallelism = \"two\"",
        &[("job.toml:2:15", &["expected a whole number", "not the text \"two\""])],
    );
    broken("parallelism = 2", "name = 5", &[("job.toml:2:8", &["expected text in quotes, not 5"])]);
    broken(
        "[checkpoint]\ninterval = \"1s\"",
        "[checkpoint]\nmode = 1",
        &[("job.toml:4:8", &["expected text in quotes"])],
    );
}

#[test]
fn numbers_out_of_bounds() {
    broken("parallelism = 2", "parallelism = 0", &[("job.toml:2:15", &["job.parallelism must be at least 1"])]);
    broken("parallelism = 2", "key_groups = 0", &[("job.toml:2:14", &["job.key_groups must be at least 1"])]);
    broken("parallelism = 2", "key_groups = 99999", &[("job.toml:2:14", &["at most 32768"])]);
    broken(
        "parallelism = 2",
        "parallelism = 8\nkey_groups = 4",
        &[("job.toml:3:14", &["key_groups (4) is less than job.parallelism (8)", "raise key_groups"])],
    );
    broken("interval = \"1s\"", "interval = \"0s\"", &[("job.toml:4:12", &["must be longer than 0s"])]);
    broken("interval = \"1s\"", "max_concurrent = 0", &[("job.toml:4:18", &["must be at least 1"])]);
}

#[test]
fn unaligned_checkpoints() {
    let unaligned = "alignment = \"unaligned\"";
    let at_least_once = format!("{unaligned}\nmode = \"at-least-once\"");
    broken("interval = \"1s\"", &at_least_once, &[("job.toml:4:13", &["mode = \"exactly-once\""])]);
    let concurrent = format!("{unaligned}\nmax_concurrent = 2");
    broken("interval = \"1s\"", &concurrent, &[("job.toml:4:13", &["one at a time", "max_concurrent = 1"])]);
    broken(
        "interval = \"1s\"",
        "aligned_timeout = \"1s\"\nmax_concurrent = 2",
        &[("job.toml:4:19", &["one at a time", "max_concurrent = 1"])],
    );
}

#[test]
fn sizes_and_rates_of_recovery() {
    let recovery = |lines: &str| format!("{GOOD}[recovery]\n{lines}\n");
    check(&recovery("journal = 64"), &[("job.toml:19:11", &["`64` has no unit; write \"64MiB\""])]);
    check(&recovery("journal = \"64mb\""), &[("job.toml:19:11", &["`mb` is not a unit of size", "MiB"])]);
    check(
        &recovery("journal = \"2GiB\""),
        &[("job.toml:19:11", &["(2GiB) is more than recovery.journal_total (1GiB)"])],
    );
    check(&recovery("backoff_multiplier = 0.5"), &[("job.toml:19:22", &["at least 1"])]);
    check(
        &recovery("initial_backoff = \"2m\""),
        &[("job.toml:19:19", &["(2m) is longer than recovery.max_backoff (1m)"])],
    );
    check(&recovery("strategy = \"exponential\""), &[("job.toml:19:12", &["did you mean \"exponential-delay\"?"])]);
    check(&recovery("attempts = \"many\""), &[("job.toml:19:12", &["neither a number nor \"unlimited\""])]);
    check(&recovery("jitter_factor = 2"), &[("job.toml:19:17", &["between 0 and 1"])]);
}

#[test]
fn listening_off_loopback_without_a_token() {
    let text = format!("{GOOD}[http]\nlisten = \"0.0.0.0:80\"\n");
    check(&text, &[("job.toml:19:10", &["0.0.0.0 needs a token", "http.token"])]);
    let text = format!("{GOOD}[http]\nlisten = \"somewhere\"\n");
    check(&text, &[("job.toml:19:10", &["`somewhere` is not an address", "\"127.0.0.1:8080\""])]);
}

#[test]
fn half_of_what_tls_needs() {
    let text = format!("{GOOD}[http]\ntls = {{ certificate = \"a.pem\" }}\n");
    check(&text, &[("job.toml:19:", &["key"])]);
    let text = format!("{GOOD}[http]\ntls = {{ certificate = \"a.pem\", keys = \"b.pem\" }}\n");
    check(&text, &[("job.toml:19:1", &["\"key\" is missing"]), ("job.toml:19:32", &["keys", "did you mean \"key\"?"])]);
}

#[test]
fn a_setting_where_a_table_should_be() {
    let text = format!("window = 5\n{GOOD}");
    check(&text, &[("job.toml:1:10", &["expected a table, not 5"])]);
}

#[test]
fn an_unknown_option_of_chaos() {
    let chaos = |text: &str| format!("[checkpoint]\ninterval = \"1s\"\n{text}");
    for (text, place, expected) in [
        ("[chaos]\nduraton = \"1m\"", "job.toml:6:1", "did you mean \"duration\"?"),
        ("[chaos.weights]\npanics = 1", "job.toml:6:1", "did you mean \"panic\"?"),
        ("[chaos.expect]\nmax_rs = \"1GiB\"", "job.toml:6:1", "did you mean \"max_rss\"?"),
    ] {
        broken("[checkpoint]\ninterval = \"1s\"", &chaos(text), &[(place, &["unknown option", expected])]);
    }
    broken(
        "[checkpoint]\ninterval = \"1s\"",
        &chaos("[[chaos.at]]\noperator = \"words\"\npoint = \"open\"\naction = \"panic\"\nonn = \"nth(3)\""),
        &[("job.toml", &["unknown option \"onn\"; did you mean \"on\"?"])],
    );
}

#[test]
fn exactly_once_is_not_expected_of_at_least_once() {
    broken(
        "interval = \"1s\"",
        "mode = \"at-least-once\"\n[chaos.expect]\noutput = \"exactly-once\"",
        &[("job.toml:6:10", &["chaos.expect.output cannot be \"exactly-once\"", "rows may come twice"])],
    );
}

#[test]
fn whom_chaos_names_and_who_is_not_there() {
    let chaos = |text: &str, expected: &[(&str, &[&str])]| check(&format!("{GOOD}{text}"), expected);
    chaos(
        "[chaos]\ntargets = [\"cou*\", \"tocks\"]\n",
        &[("job.toml:19:20", &["chaos.targets names nobody with \"tocks\"", "there are: ticks, words, counts, out"])],
    );
    let at = |operator: &str, point: &str| {
        format!("[[chaos.at]]\noperator = \"{operator}\"\npoint = \"{point}\"\naction = \"panic\"\n")
    };
    chaos(&at("cuonts", "open"), &[("job.toml:19:12", &["there is no \"cuonts\"", "did you mean \"counts\"?"])]);
    chaos(&at("counts[2]", "open"), &[("job.toml:19:12", &["\"counts\" has no subtask 2: there are 2"])]);
    chaos(&at("counts[x]", "open"), &[("job.toml:19:12", &["names no subtask; write \"counts[0]\""])]);
    chaos(&at("counts", "proces"), &[("job.toml:20:9", &["no call \"proces\"", "did you mean \"process\"?"])]);
    chaos(&at("out", "process"), &[("job.toml:20:9", &["sink \"out\" has no call", "write, prepare"])]);
    chaos(
        "[chaos.expect.sinks]\nuot = \"rows\"\ncounts = \"rows\"\n",
        &[("job.toml:19:1", &["no sink \"uot\"", "did you mean \"out\"?"]), ("job.toml:20:1", &["no sink \"counts\""])],
    );
}

#[test]
fn everything_that_is_wrong_with_a_point_is_told_at_once() {
    let at = "[[chaos.at]]\noperator = \"cuonts\"\npoint = \"proces\"\naction = \"explode\"\non = \"3\"\nwhy = 1\n\
              [[chaos.at]]\npoint = \"\"\n";
    check(
        &format!("{GOOD}{at}"),
        &[
            ("job.toml:19:12", &["there is no \"cuonts\"", "did you mean \"counts\"?"]),
            ("job.toml:20:9", &["no source, operator or sink has a call \"proces\"; did you mean \"process\"?"]),
            ("job.toml:21:10", &["\"explode\" is not one of the choices"]),
            ("job.toml:22:6", &["write \"nth(1)\""]),
            ("job.toml:23:1", &["unknown option \"why\""]),
            ("job.toml:24:", &["option \"operator\" is missing"]),
            ("job.toml:24:", &["option \"point\" is missing"]),
            ("job.toml:24:", &["option \"action\" is missing"]),
        ],
    );
}

#[test]
fn chaos_that_can_do_nothing() {
    let nothing = "panic = 0\nhang = 0\nslow = 0\nkill_actor = 0\nkill_supervisor = 0\nprocess_kill9 = 0\n\
                   process_pause = 0\ndrop_ack = 0\ndup_commit = 0\nstore_eio = 0\nstore_enospc = 0\nstore_slow = 0\n";
    for (text, place, expected) in [
        ("[chaos]\nduration = \"0s\"\n", "job.toml:19:12", "chaos.duration must be longer than 0s"),
        ("[chaos]\nduration = \"3s\"\n", "job.toml:19:12", "no fault falls within 3s (chaos.duration): the first 3s"),
        ("[chaos]\nwarmup = \"2m\"\n", "job.toml:19:10", "no fault falls within 1m (chaos.duration): the first 2m"),
        (&*format!("[chaos.weights]\n{nothing}"), "job.toml:18:", "every weight in [chaos.weights] is 0"),
    ] {
        check(&format!("{GOOD}{text}"), &[(place, &[expected])]);
    }
    let at = "[[chaos.at]]\noperator = \"words\"\npoint = \"open\"\naction = \"panic\"\n";
    let exact = format!("{GOOD}[chaos]\nduration = \"1s\"\n{at}[chaos.weights]\n{nothing}");
    load_text(&exact, Path::new("job.toml"), &Overrides::default(), &registry()).unwrap();
}

#[test]
fn a_sink_is_compared_by_some_column() {
    check(&format!("{GOOD}[chaos.expect.sinks]\nout = []\n"), &[("job.toml:19:7", &["names no column", "\"rows\""])]);
}

#[test]
#[cfg(feature = "sql")]
fn a_sink_is_compared_by_columns_that_it_takes() {
    let text = "[sources.in]\ntype = \"generate\"\nrows = 9\n[sinks.o]\ntype = \"csv\"\ninputs = [\"in\"]\npath = \"out\"\n\
                [chaos.expect.sinks]\no = [\"id\", \"kye\"]\n";
    let refused =
        load_text(text, Path::new("job.toml"), &Overrides::default(), &piton::Registry::stock()).err().unwrap();
    let [line] = refused.lines() else { panic!("{refused}") };
    let expected = "job.toml:9:12: sink \"o\" takes no column \"kye\"; did you mean \"key\"? (there are: id, key, ";
    assert!(line.starts_with(expected), "{line}");
}

#[test]
fn poison_that_nobody_looks_for() {
    let warnings = |recovery: &str| {
        let text = format!("{GOOD}[recovery]\n{recovery}");
        load_text(&text, Path::new("job.toml"), &Overrides::default(), &registry()).unwrap().warnings
    };
    for scope in ["region", "job"] {
        let warned = warnings(&format!("scope = \"{scope}\"\non_poison = \"skip\""));
        let [warning] = &warned[..] else { panic!("{warned:?}") };
        assert!(warning.contains("recovery.on_poison has no effect") && warning.contains("job.toml:20:"), "{warning}");
        assert_eq!(warnings(&format!("scope = \"{scope}\"")), [] as [String; 0]);
    }
    assert_eq!(warnings("scope = \"operator\"\non_poison = \"dead-letter\""), [] as [String; 0]);
}
