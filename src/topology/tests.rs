//! What a plan looks like for topologies that are right.

use crate::config::{Duration, Overrides};
use crate::topology::testing::{plan, registry, try_plan, wrong};
use crate::topology::{
    Continuation, Fingerprint, Format, Guarantee, Mapping, NodeKind, Partition, Plan, Unmapped, load_text,
};

const WORDS: &str = r#"
[job]
name = "words"
parallelism = 2

[sources.ticks]
type = "numbers"
limit = 10

[operators.scaled]
type = "scale"
inputs = ["ticks"]
factor = 2

[operators.counts]
type = "count"
inputs = ["scaled"]

[sinks.out]
type = "keep"
inputs = ["counts"]
"#;

fn chains(plan: &Plan) -> Vec<String> {
    let name = |node: &usize| plan.nodes[*node].name.to_string();
    plan.chains.iter().map(|chain| chain.nodes.iter().map(name).collect::<Vec<_>>().join("+")).collect()
}

fn partitions(plan: &Plan) -> Vec<Partition> {
    plan.edges.iter().map(|edge| edge.partition).collect()
}

#[test]
fn forward_edges_are_chained_and_keyed_ones_are_not() {
    let plan = plan(WORDS);
    assert_eq!(chains(&plan), ["ticks+scaled", "counts+out"]);
    assert_eq!(partitions(&plan), [Partition::Forward, Partition::Keyed, Partition::Forward]);
    assert_eq!(plan.subtask_count(), 4);
    let subtasks: Vec<String> = plan.subtasks(1).map(|subtask| subtask.to_string()).collect();
    assert_eq!(subtasks, ["counts[0]", "counts[1]"]);
}

#[test]
fn with_one_subtask_each_a_keyed_edge_is_a_forward_edge() {
    let plan = plan(&WORDS.replace("parallelism = 2", "parallelism = 1"));
    assert_eq!(chains(&plan), ["ticks+scaled+counts+out"]);
}

#[test]
fn chaining_off_gives_each_node_its_own_actor() {
    let plan = plan(&WORDS.replace("[job]", "[job]\nchaining = \"off\""));
    assert_eq!(chains(&plan), ["ticks", "scaled", "counts", "out"]);
    assert_eq!(partitions(&plan), [Partition::Forward, Partition::Keyed, Partition::Forward]);
}

#[test]
fn a_dedicated_operator_and_a_fan_out_end_a_chain() {
    let dedicated = plan(&WORDS.replace("factor = 2", "dedicated = true"));
    assert_eq!(chains(&dedicated), ["ticks", "scaled", "counts+out"]);
    let fan_out = format!("{WORDS}\n[sinks.copy]\ntype = \"show\"\ninputs = [\"counts\"]");
    assert_eq!(chains(&plan(&fan_out)), ["ticks+scaled", "counts", "out", "copy"]);
}

/// One source that two operators read, and what else there is.
fn forked(more: &str) -> String {
    let head = "[sources.ticks]\ntype = \"numbers\"\nlimit = 10\n";
    let scale = |name: &str| format!("[operators.{name}]\ntype = \"scale\"\ninputs = [\"ticks\"]\nfactor = 2\n");
    format!("{head}{}{}{more}", scale("a"), scale("b"))
}

fn node(kind: &str, name: &str, type_name: &str, inputs: &str) -> String {
    format!("[{kind}.{name}]\ntype = \"{type_name}\"\ninputs = [{inputs}]\n")
}

#[test]
fn ways_that_come_together_again_are_one_chain() {
    let out = node("sinks", "out", "keep", "\"pairs\"");
    let pairs = node("operators", "pairs", "pair", "\"a\", \"b\"");
    let both = plan(&forked(&format!("{pairs}{out}")));
    assert_eq!(chains(&both), ["ticks+a+b+pairs+out"]);
    let explained = both.explain(Format::Text);
    for expected in
        ["ticks => a + b => pairs => out (1 subtask)", "operator b: scale, emits u64, reads ticks", "reads a, b"]
    {
        assert!(explained.contains(expected), "{expected} is not in\n{explained}");
    }
    assert!(!explained.contains("operator a: scale, emits u64, reads"), "{explained}");
    // One way is shorter, and one end is followed by a fork of its own.
    let short = node("operators", "pairs", "pair", "\"ticks\", \"a\"");
    let again = node("operators", "twice", "pair", "\"pairs\", \"pairs\"");
    let ends = node("operators", "ends", "pair", "\"twice\", \"b\"");
    let nested = plan(&forked(&format!("{short}{again}{ends}{}", out.replace("\"pairs\"", "\"ends\""))));
    assert_eq!(chains(&nested), ["ticks+a+b+pairs+twice+ends+out"]);
}

#[test]
fn ways_that_do_not_come_together_in_one_subtask_stay_apart() {
    let (one, other) = (node("sinks", "one", "keep", "\"a\""), node("sinks", "other", "keep", "\"b\""));
    assert_eq!(chains(&plan(&forked(&format!("{one}{other}")))), ["ticks", "a+one", "b+other"]);
    // Somebody else reads one of the ways.
    let pairs = node("operators", "pairs", "pair", "\"a\", \"b\"") + &node("sinks", "out", "keep", "\"pairs\"");
    assert_eq!(chains(&plan(&forked(&format!("{pairs}{one}")))), ["ticks", "a", "b", "pairs+out", "one"]);
    // They come together in a sink, which has one input only.
    let sink = node("sinks", "out", "keep", "\"a\", \"b\"");
    assert_eq!(chains(&plan(&forked(&sink))), ["ticks", "a", "b", "out"]);
    // They come together somewhere else, or by way of a thread of its own.
    let elsewhere = forked(&pairs).replace("\"pair\"\n", "\"pair\"\nparallelism = 2\n");
    assert_eq!(chains(&plan(&elsewhere)), ["ticks", "a", "b", "pairs+out"]);
    let dedicated = forked(&pairs).replacen("factor = 2\n", "factor = 2\ndedicated = true\n", 1);
    assert_eq!(chains(&plan(&dedicated)), ["ticks", "a", "b", "pairs+out"]);
    // What fails on one way would be set aside for the other one, too.
    let poison = forked(&pairs) + "[recovery]\non_poison = \"dead-letter\"\n";
    assert_eq!(chains(&plan(&poison)), ["ticks", "a", "b", "pairs+out"]);
    // Another source comes in.
    let source = "[sources.more]\ntype = \"numbers\"\nlimit = 10\n";
    let third = pairs.replace("\"a\", \"b\"", "\"a\", \"more\"") + &other + source;
    assert_eq!(chains(&plan(&forked(&third))), ["ticks", "a", "b+other", "more", "pairs+out"]);
}

#[test]
fn unequal_parallelism_is_rebalanced_and_partition_decides_otherwise() {
    let wider = WORDS.replace("factor = 2", "parallelism = 3");
    assert_eq!(partitions(&plan(&wider))[0], Partition::Rebalance);
    let broadcast = WORDS.replace("factor = 2", "partition = \"broadcast\"");
    assert_eq!(partitions(&plan(&broadcast))[0], Partition::Broadcast);
    assert_eq!(chains(&plan(&broadcast)), ["ticks", "scaled", "counts+out"]);
}

#[test]
fn a_sink_inherits_the_parallelism_of_what_it_reads() {
    let plan = plan(&WORDS.replace("inputs = [\"scaled\"]", "inputs = [\"scaled\"]\nparallelism = 5"));
    assert_eq!(plan.nodes[plan.node("out").unwrap()].parallelism, 5);
}

#[test]
fn nodes_come_after_what_they_read_whatever_the_order_of_the_file() {
    let text = r#"
        [sinks.out]
        type = "keep"
        inputs = ["pairs"]
        [operators.pairs]
        type = "pair"
        inputs = ["b", "a"]
        [sources.a]
        type = "numbers"
        limit = 1
        [sources.b]
        type = "numbers"
        limit = 1
    "#;
    let plan = plan(text);
    let names: Vec<&str> = plan.nodes.iter().map(|node| &*node.name).collect();
    assert_eq!(names, ["a", "b", "pairs", "out"]);
    let ports: Vec<(usize, usize)> =
        plan.inputs(plan.node("pairs").unwrap()).map(|edge| (edge.port, edge.from)).collect();
    assert_eq!(ports, [(0, 1), (1, 0)]);
}

#[test]
fn pipelines_that_share_no_edge_are_regions_of_their_own() {
    let text = format!("{WORDS}\n[sources.b]\ntype=\"pipe\"\n[sinks.c]\ntype=\"show\"\ninputs=[\"b\"]");
    let plan = plan(&text);
    let names: Vec<&str> = plan.regions.iter().map(|region| &*region.name).collect();
    assert_eq!(names, ["ticks", "b"]);
    assert_eq!(plan.region_of(plan.chain_of(plan.node("c").unwrap())), 1);
}

#[test]
fn paths_and_names_follow_from_the_file() {
    let text = "[sources.a]\ntype = \"pipe\"\nout_of_order = \"5s\"";
    let plan = plan(text);
    assert_eq!(plan.settings.job.name, "job");
    assert_eq!(plan.settings.store.path, std::path::Path::new("/jobs/.piton/job"));
    let NodeKind::Source(_, event_time) = &plan.nodes[0].kind else { panic!("a source") };
    assert_eq!(event_time.out_of_order, Duration::from_secs(5));
    let [unread, lossy] = plan.warnings.as_slice() else { panic!("two warnings: {:?}", plan.warnings) };
    assert_eq!(unread, "/jobs/job.toml:1:10: nothing reads source \"a\": what it emits is dropped");
    assert!(lossy.contains("source \"a\" cannot go back"));
}

#[test]
fn later_layers_win() {
    let overrides = Overrides {
        environment: [
            ("PITON__CHECKPOINT__INTERVAL", "300ms"),
            ("PITON__SOURCES__TICKS__LIMIT", "7"),
            ("PITON__HTTP__TOKEN", "12345"),
            ("LIMIT", "3"),
            ("HOME", "/root"),
        ]
        .map(|(name, value)| (name.to_string(), value.to_string()))
        .into(),
        set: vec!["checkpoint.interval=200ms".into(), "operators.counts.parallelism=4".into()],
    };
    let text = WORDS.replace("factor = 2", "factor = \"${LIMIT}\"");
    let plan = load_text(&text, std::path::Path::new("job.toml"), &overrides, &registry()).unwrap();
    assert_eq!(plan.settings.checkpoint.interval, Duration::from_millis(200));
    assert_eq!(plan.settings.http.token.as_deref(), Some("12345"));
    assert_eq!(plan.nodes[plan.node("counts").unwrap()].parallelism, 4);
}

#[test]
fn what_is_odd_but_possible_is_a_warning() {
    let checkpoint = "[checkpoint]\ntimeout = \"500ms\"\nmin_pause = \"2s\"\nmax_concurrent = 2\n";
    let plan = plan(&format!("{WORDS}{checkpoint}[recovery]\nstrategy = \"none\"\ndelay = \"1s\""));
    let expected = [
        "shorter than checkpoint.interval (1s): is the unit right?",
        "so the interval never counts",
        "so checkpoint.max_concurrent never counts",
        "belongs to strategy \"fixed-delay\" or \"failure-rate\", but the strategy is \"none\"",
    ];
    assert_eq!(plan.warnings.len(), expected.len(), "{:#?}", plan.warnings);
    for (warning, expected) in plan.warnings.iter().zip(expected) {
        assert!(warning.contains(expected), "{warning}");
    }
}

#[test]
fn explain_names_chains_edges_and_guarantees() {
    let text = format!("{WORDS}\n[sources.p]\ntype=\"pipe\"\n[sinks.s]\ntype=\"show\"\ninputs=[\"p\", \"scaled\"]");
    let plan = plan(&text);
    let guarantees: Vec<Guarantee> = plan.guarantees().into_iter().map(|path| path.guarantee).collect();
    assert_eq!(guarantees, [Guarantee::ExactlyOnce, Guarantee::AtLeastOnce, Guarantee::BestEffort]);
    let explained = plan.explain(Format::Text);
    for expected in [
        "counts => out (2 subtasks)",
        "operator counts: count, emits u64, keyed (512 key groups each)",
        "reads scaled by keyed (2 to 2, by key)",
        "ticks -> scaled -> counts -> out: exactly-once",
        "source \"p\" cannot go back",
        "8 subtasks in 1 region, 1024 key groups",
    ] {
        assert!(explained.contains(expected), "{expected} is not in\n{explained}");
    }
    let dot = plan.explain(Format::Dot);
    assert!(dot.starts_with("digraph \"words\"") && dot.contains("\"scaled\" -> \"counts\" [label = \"keyed\"]"));
    let mermaid = plan.explain(Format::Mermaid);
    assert!(mermaid.starts_with("flowchart LR") && mermaid.contains("n1 -->|keyed| n2"), "{mermaid}");
}

/// As `WORDS`, with an operator in the middle of a chain that sends some of its records to a sink.
fn parted(input: &str) -> String {
    let chained = WORDS
        .replace("type = \"count\"", "type = \"scale\"")
        .replace("\"scale\"\ninputs = [\"ticks\"]", "\"part\"\ninputs = [\"ticks\"]");
    format!("{}\n[sinks.large]\ntype = \"keep\"\ninputs = [{input}]", chained.replace("factor = 2\n", ""))
}

#[test]
fn a_side_output_leaves_a_chain_that_the_main_output_goes_on_with() {
    let plan = plan(&parted("\"scaled.large\""));
    assert_eq!(chains(&plan), ["ticks+scaled+counts+out", "large"]);
    assert_eq!(
        plan.nodes[plan.node("large").unwrap()].parallelism,
        2,
        "a sink inherits the parallelism of what it reads"
    );
    let aside = plan.edges.last().unwrap();
    assert_eq!((plan.emitter(aside).as_str(), aside.partition), ("scaled.large", Partition::Forward));
    let explained = plan.explain(Format::Text);
    for expected in [
        "operator scaled: part, emits u64, to \"large\" u64, to \"odd\" String",
        "reads scaled.large by forward (each to its own)",
        "ticks -> scaled.large -> large: exactly-once",
        "ticks -> scaled -> counts -> out: exactly-once",
    ] {
        assert!(explained.contains(expected), "{expected} is not in\n{explained}");
    }
    assert!(plan.explain(Format::Dot).contains("\"scaled\" -> \"large\" [label = \"large: forward\"]"));
    assert!(plan.explain(Format::Mermaid).contains("n1 -->|large: forward| n"), "{}", plan.explain(Format::Mermaid));
    assert!(plan.warnings.is_empty(), "{:?}", plan.warnings);
}

#[test]
fn a_side_output_is_an_input_like_others() {
    let both = plan(&parted("\"scaled\", \"scaled.large\", \"ticks\""));
    assert_eq!(chains(&both), ["ticks", "scaled", "counts+out", "large"]);
    let read: Vec<String> = both.inputs(both.node("large").unwrap()).map(|edge| both.emitter(edge)).collect();
    assert_eq!(read, ["scaled", "scaled.large", "ticks"]);
    let only_aside = plan(&parted("\"scaled.large\"").replace("inputs = [\"scaled\"]", "inputs = [\"scaled.large\"]"));
    assert_eq!(only_aside.warnings.len(), 1);
    let warning = "nothing reads operator \"scaled\", only what it sends aside: what it emits is dropped";
    assert!(only_aside.warnings[0].ends_with(warning), "{:?}", only_aside.warnings);
}

#[test]
fn an_output_that_there_is_not_is_told_with_the_nearest() {
    let error = wrong(&parted("\"scaled.lage\""));
    let expected = "sink \"large\" reads \"scaled.lage\", but operator \"scaled\" has no output \"lage\"; did you mean \
                    \"large\"? (it has: scaled, scaled.large, scaled.odd)";
    assert!(error.lines().len() == 1 && error.lines()[0].ends_with(expected), "{error}");
    assert!(error.lines()[0].starts_with("/jobs/job.toml:24:11: "), "{error}");
    let of_another_type = wrong(&parted("\"scaled.odd\""));
    assert!(of_another_type.lines()[0].contains("carries String, but u64 is needed"), "{of_another_type}");
}

#[test]
fn a_checkpoint_remembers_which_output_was_read() {
    let of = |text: &str| plan(text).fingerprint(0);
    let aside = of(&parted("\"scaled.large\""));
    assert_eq!(Fingerprint::decode(&aside.encode()).unwrap(), aside);
    assert_ne!(aside.encode(), of(&parted("\"scaled\"")).encode());
    // Where there is no side output, it is what earlier versions have written: nothing counts as changed.
    let encoded = of(WORDS).encode();
    assert!(!encoded.windows(6).any(|bytes| bytes == b"output"));
    assert_eq!(Fingerprint::decode(&encoded).unwrap().edges[0].output, None);
}

/// Plans a text and has it go on from checkpoints of another.
fn go_on(new: &str, old: &str, unmapped: Unmapped) -> Result<Continuation, Vec<String>> {
    let old = plan(old);
    let print = |region: usize| Fingerprint::decode(&old.fingerprint(region).encode()).unwrap();
    let stored = old.regions.iter().enumerate().map(|(index, region)| (region.name.to_string(), print(index)));
    plan(new).continue_from(&stored.collect(), unmapped)
}

fn mapping(continuation: &Continuation, region: usize) -> &Mapping {
    continuation.regions[region].mapping.as_ref().unwrap()
}

const PAIR: &str = "[sources.a]\ntype = \"pipe\"\n[sinks.x]\ntype = \"show\"\ninputs = [\"a\"]\n\
                    [sources.b]\ntype = \"pipe\"\n[sinks.y]\ntype = \"show\"\ninputs = [\"b\"]\n";

#[test]
fn a_topology_fits_its_own_checkpoint_and_may_grow_and_rescale() {
    let old = plan(WORDS);
    assert_eq!(Fingerprint::decode(&old.fingerprint(0).encode()).unwrap(), old.fingerprint(0));
    let grown = format!("{WORDS}\n[sinks.copy]\ntype = \"show\"\ninputs = [\"counts\"]");
    for new in [WORDS, &grown, &WORDS.replace("parallelism = 2", "parallelism = 4")] {
        let continuation = go_on(new, WORDS, Unmapped::Refuse).unwrap();
        assert_eq!(*mapping(&continuation, 0), Mapping::default());
        assert_eq!(continuation.losses, Vec::<String>::new());
    }
}

#[test]
fn what_does_not_fit_is_told_with_its_remedy() {
    let misfits = |new: &str| go_on(new, WORDS, Unmapped::Refuse).unwrap_err().join("\n");
    let renamed = misfits(&WORDS.replace("counts", "count"));
    let remedy = "operator \"counts\" is gone, and \"count\" is new: if it was renamed, write renamed_from = \"counts\" in \
                  [operators.count]; to drop its state, add `--allow-unmapped`";
    assert_eq!(renamed, remedy);
    let regrouped = misfits(&WORDS.replace("[job]", "[job]\nkey_groups = 128"));
    assert!(regrouped.contains("job.key_groups is 128, but the state was made with 1024"), "{regrouped}");
    let retyped = misfits(&WORDS.replace("type = \"count\"", "type = \"scale\""));
    assert!(retyped.contains("was of type \"count\" and now is of type \"scale\""), "{retyped}");
    let joined = go_on(&PAIR.replace("[\"b\"]", "[\"b\", \"a\"]"), PAIR, Unmapped::Drop).unwrap_err();
    assert!(joined[0].contains("began with \"a\" and \"b\" now are one"), "{joined:?}");
    let split = go_on(PAIR, &PAIR.replace("[\"b\"]", "[\"b\", \"a\"]"), Unmapped::Drop).unwrap_err();
    assert!(split[0].contains("\"a\" and \"b\" were one pipeline and now are two"), "{split:?}");
}

#[test]
fn what_was_renamed_keeps_its_state_and_a_region_its_name() {
    let new = WORDS.replace("ticks", "tocks").replace("limit = 10", "limit = 10\nrenamed_from = \"ticks\"");
    let continuation = go_on(&new, WORDS, Unmapped::Refuse).unwrap();
    assert_eq!(continuation.regions[0].name, "ticks");
    assert_eq!(mapping(&continuation, 0).name("ticks"), Some("tocks"));
    assert_eq!(mapping(&continuation, 0).name("counts"), Some("counts"));
    // The next start finds the new name, and nothing of the old one.
    let stored = [("ticks".to_string(), plan(&new).fingerprint(0))].into();
    let again = plan(&new).continue_from(&stored, Unmapped::Refuse).unwrap();
    assert_eq!((again.regions[0].name.as_str(), mapping(&again, 0)), ("ticks", &Mapping::default()));
    // A new pipeline under the name that the old one stands under would be mixed up with it.
    let other = format!("{new}\n[sources.ticks]\ntype = \"pipe\"");
    let refused = plan(&other.replace("renamed_from = \"ticks\"", "")).continue_from(&stored, Unmapped::Refuse);
    assert!(refused.unwrap_err()[0].contains("\"ticks\" begins a new pipeline"));
}

#[test]
fn a_rename_that_cannot_be_is_told() {
    let error = wrong(&WORDS.replace("factor = 2", "renamed_from = \"counts\""));
    assert!(
        error.lines()[0].contains("cannot be renamed from \"counts\": [operators.counts] has that name"),
        "{error}"
    );
    let twice = PAIR.replace("\"show\"", "\"show\"\nrenamed_from = \"old\"");
    assert!(wrong(&twice).lines()[0].contains("sink \"y\" and [sinks.x] are both renamed from \"old\""));
    let both = WORDS.replace("factor = 2", "renamed_from = \"counts\"").replace("counts]", "counted]");
    let error = go_on(&both.replace("\"counts\"]", "\"counted\"]"), WORDS, Unmapped::Refuse).unwrap_err();
    assert!(error[0].contains("\"scaled\" is renamed from \"counts\", but the state knows both"), "{error:?}");
}

#[test]
fn what_is_gone_is_dropped_only_if_that_is_asked_for() {
    let without = WORDS.replace("inputs = [\"scaled\"]", "inputs = [\"ticks\"]");
    let at = without.find("[operators.scaled]").unwrap();
    let without = format!("{}{}", &without[..at], &without[without.find("[operators.counts]").unwrap()..]);
    let refused = go_on(&without, WORDS, Unmapped::Refuse).unwrap_err();
    assert!(refused[0].contains("operator \"scaled\" is gone") && refused[0].contains("--allow-unmapped"));
    let continuation = go_on(&without, WORDS, Unmapped::Drop).unwrap();
    assert_eq!(mapping(&continuation, 0).name("scaled"), None);
    assert_eq!(continuation.losses, ["operator \"scaled\" is gone: its state is dropped"]);
    let half = &PAIR[..PAIR.find("[sources.b]").unwrap()];
    assert!(go_on(half, PAIR, Unmapped::Refuse).unwrap_err()[0].contains("source \"b\" is gone"));
    let continuation = go_on(half, PAIR, Unmapped::Drop).unwrap();
    assert_eq!((continuation.abandoned, continuation.losses.len()), (vec!["b".to_string()], 2));
}

#[test]
fn state_that_was_made_for_something_else_does_not_fit() {
    let made_for = |what: Option<&str>| {
        let mut fingerprint = plan(WORDS).fingerprint(0);
        let counts = fingerprint.operators.get_mut("counts").unwrap();
        counts.state = what.map(str::to_string);
        Fingerprint::decode(&fingerprint.encode()).unwrap().operators["counts"].clone()
    };
    let misfits = made_for(Some("by [b]")).misfits("counts", &made_for(Some("by [a]")));
    let [line] = &misfits[..] else { panic!("one line: {misfits:?}") };
    assert!(line.contains("operator \"counts\" has state for by [a], and now is for by [b]"), "{line}");
    // A checkpoint of an earlier version does not say what its state was made for.
    assert!(made_for(Some("by [a]")).misfits("counts", &made_for(None)).is_empty());
    assert!(made_for(Some("by [a]")).misfits("counts", &made_for(Some("by [a]"))).is_empty());
}

#[test]
fn mistakes_far_apart_are_told_together_in_the_order_of_the_file() {
    let text = WORDS
        .replace("parallelism = 2", "parallelism = -2")
        .replace("limit = 10", "limit = \"ten\"\nmore = 1")
        .replace("factor = 2", "facto = 2")
        .replace("type = \"count\"", "type = \"cuont\"");
    let error = wrong(&text);
    let lines: Vec<usize> = error
        .lines()
        .iter()
        .map(|line| line.trim_start_matches("/jobs/job.toml:").split(':').next().unwrap().parse().unwrap())
        .collect();
    assert_eq!(lines, [4, 8, 9, 14, 17], "{error}");
}

#[test]
fn a_job_plans_the_same_way_every_time() {
    let explain = || try_plan(WORDS).unwrap().explain(Format::Text);
    assert_eq!(explain(), explain());
}

#[test]
fn exactly_once_that_is_asked_for_is_not_weakened_in_silence() {
    let lossy = WORDS.replace("type = \"numbers\"\nlimit = 10", "type = \"pipe\"");
    let at_once = WORDS.replace("type = \"keep\"", "type = \"show\"");
    for (text, what) in [(lossy, "source \"ticks\" cannot go back"), (at_once, "sink \"out\" shows rows at once")] {
        let warned = plan(&text);
        assert!(warned.warnings.iter().any(|warning| warning.contains(what)), "{:?}", warned.warnings);
        let asked = format!("[checkpoint]\nmode = \"exactly-once\"\n{text}");
        let error = wrong(&asked);
        let lines = error.lines();
        assert!(lines.len() == 1 && lines[0].contains("job.toml:2:8") && lines[0].contains(what), "{lines:?}");
        let weaker = plan(&asked.replace("exactly-once", "at-least-once"));
        assert!(weaker.warnings.is_empty(), "{:?}", weaker.warnings);
    }
}
