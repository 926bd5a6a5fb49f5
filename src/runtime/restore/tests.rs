use piton_actors::PartitionId;

use super::*;
use crate::ids::{Fence, WindowId};
use crate::protocol::chain::{PackedChannel, Take};
use crate::protocol::manifest::{ChunkRef, InFlightChannel, InFlightSnapshot, Origin, PendingOutput, Spread, Within};
use crate::topology::Unmapped;
use crate::topology::testing::plan;

/// Scaled is new or not, and each chain has its own parallelism.
fn topology(source: u32, counts: u32, scaled: bool) -> String {
    let (between, reads) = match scaled {
        true => ("[operators.scaled]\ntype = \"scale\"\ninputs = [\"ticks\"]\ndedicated = true\n", "scaled"),
        false => ("", "ticks"),
    };
    format!(
        "[sources.ticks]\ntype = \"numbers\"\nlimit = 1\nparallelism = {source}\n{between}\
         [operators.counts]\ntype = \"count\"\ninputs = [\"{reads}\"]\nparallelism = {counts}\n\
         [sinks.out]\ntype = \"keep\"\ninputs = [\"counts\"]\n"
    )
}

fn chunk(text: &str) -> Vec<ChunkRef> {
    vec![ChunkRef::Inline { bytes: text.into() }]
}

/// A checkpoint of `topology(source, counts, false)`; `finished` sources have come to their end.
fn manifest(source: u32, counts: u32, finished: &[u32]) -> Manifest {
    let old = plan(&topology(source, counts, false));
    let snapshot = |name: &str, index: u32, watermark: i64, operators: Vec<OperatorSnapshot>| SubtaskSnapshot {
        subtask: SubtaskId::new(name, index),
        finished: false,
        watermark,
        told: None,
        channel_watermarks: vec![i64::MAX; 7],
        cursors: vec![9],
        read: 0,
        written: 0,
        set_aside: 0,
        letters: Vec::new(),
        operators,
        within: None,
        in_flight: None,
    };
    let mut subtasks = Vec::new();
    for index in 0..source {
        let position = Some(rmp_serde::to_vec_named(&u64::from(index)).unwrap());
        let at = i64::from(100 - index);
        let ticks = OperatorSnapshot { position, max_time: Some(at + 1), ..OperatorSnapshot::empty("ticks") };
        let is_finished = finished.contains(&index);
        let watermark = if is_finished { i64::MAX } else { at };
        let of = snapshot("ticks", index, watermark, vec![ticks]);
        subtasks.push(SubtaskSnapshot { finished: is_finished, read: 10, ..of });
    }
    for index in 0..counts {
        let counts = OperatorSnapshot { chunks: chunk(&format!("counts{index}")), ..OperatorSnapshot::empty("counts") };
        let pending = vec![PendingOutput { window: WindowId(5), output: vec![index as u8] }];
        let out = OperatorSnapshot { pending, ..OperatorSnapshot::empty("out") };
        let of = snapshot("counts", index, 90, vec![counts, out]);
        subtasks.push(SubtaskSnapshot { written: 1, ..of });
    }
    Manifest {
        job: "job".into(),
        region: "ticks".into(),
        window: WindowId(5),
        fence: Fence::default(),
        triggered_ms: 0,
        completed_ms: 0,
        finished: false,
        topology: old.fingerprint(0).encode(),
        copy_of: WindowId::NONE,
        subtasks,
    }
}

fn blueprint(manifest: &Manifest, text: &str) -> RegionBlueprint {
    let plan = plan(text);
    let stored = crate::topology::Fingerprint::decode(&manifest.topology).unwrap();
    let continued = plan.continue_from(&[("ticks".to_string(), stored)].into(), Unmapped::Refuse).unwrap();
    let mut blueprint = RegionBlueprint::of_plan(&plan, 0);
    blueprint.mapping = continued.regions[0].mapping.clone().unwrap();
    blueprint
}

fn restored(manifest: Manifest, text: &str) -> BTreeMap<SubtaskId, Box<Restored>> {
    let blueprint = blueprint(&manifest, text);
    let bytes = |chunk: &ChunkRef| match chunk {
        ChunkRef::Inline { bytes } => bytes.clone(),
        ChunkRef::Blob { .. } => unreachable!("all are inline"),
    };
    let operators = |subtask: &SubtaskSnapshot| {
        subtask.operators.iter().map(|operator| operator.chunks.iter().map(bytes).collect()).collect()
    };
    let chunks = manifest.subtasks.iter().map(operators).collect();
    split(Loaded { manifest, chunks }, &blueprint).map_err(|(_, error)| error).unwrap()
}

fn of(restored: &BTreeMap<SubtaskId, Box<Restored>>, name: &str, index: u32) -> Restored {
    let found = &restored[&SubtaskId::new(name, index)];
    Restored {
        window: found.window,
        snapshot: found.snapshot.clone(),
        chunks: found.chunks.clone(),
        adopted: found.adopted.clone(),
        abandoned: Vec::new(),
        in_flight: found.in_flight.clone(),
    }
}

#[test]
fn the_same_topology_restores_what_was_cut() {
    let manifest = manifest(2, 2, &[]);
    let snapshots = manifest.subtasks.clone();
    let restored = restored(manifest, &topology(2, 2, false));
    for snapshot in snapshots {
        let found = &restored[&snapshot.subtask];
        assert_eq!(found.snapshot, snapshot);
        assert!(found.adopted.is_empty());
    }
}

#[test]
fn event_times_of_a_source_go_by_the_slowest_and_those_of_named_partitions_are_named_again() {
    // These two have not begun, so that there is nothing to share out.
    let mut one = manifest(2, 2, &[]);
    one.subtasks[..2].iter_mut().for_each(|subtask| subtask.operators[0].position = None);
    let mut named = one.clone();
    let second = &mut named.subtasks[1].operators[0];
    (second.max_time, second.partitions) = (None, vec![(PartitionId(4), 100), (PartitionId(6), 120)]);
    for (manifest, newest) in [(&one, Some(100)), (&named, None)] {
        let restored = restored(manifest.clone(), &topology(3, 2, false));
        for index in 0..3 {
            let snapshot = of(&restored, "ticks", index).snapshot;
            let source = &snapshot.operators[0];
            assert_eq!((snapshot.watermark, source.max_time, source.partitions.len()), (99, newest, 0));
        }
    }
    let same = restored(named.clone(), &topology(2, 2, false));
    assert_eq!(of(&same, "ticks", 1).snapshot.operators[0].partitions, named.subtasks[1].operators[0].partitions);
}

#[test]
fn state_goes_by_key_group_and_what_has_no_key_from_first_to_first() {
    let texts = |restored: &Restored| -> Vec<String> {
        let states = restored.adopted["counts"].iter();
        states.map(|state| state.iter().map(|chunk| String::from_utf8_lossy(chunk).into_owned()).collect()).collect()
    };
    let up = restored(manifest(2, 2, &[]), &topology(2, 3, false));
    assert_eq!(texts(&of(&up, "counts", 0)), ["counts0"]);
    assert_eq!(texts(&of(&up, "counts", 1)), ["", "counts0", "counts1"], "none of the first's own values");
    assert_eq!(texts(&of(&up, "counts", 2)), ["", "counts1"]);
    let down = restored(manifest(2, 3, &[]), &topology(2, 1, false));
    assert_eq!(texts(&of(&down, "counts", 0)), ["counts0", "counts1", "counts2"]);
    assert!(of(&down, "counts", 0).snapshot.operators[0].chunks.is_empty(), "a new lineage begins");
}

#[test]
fn pending_outputs_go_to_one_subtask_each_and_counts_are_kept() {
    for counts in [1, 2, 5] {
        let restored = restored(manifest(2, 3, &[]), &topology(2, counts, false));
        let mut pending = Vec::new();
        let mut written = 0;
        for index in 0..counts {
            let of = of(&restored, "counts", index);
            pending.extend(of.snapshot.operators[1].pending.iter().map(|pending| pending.output[0]));
            written += of.snapshot.written;
        }
        pending.sort_unstable();
        assert_eq!((pending, written), (vec![0, 1, 2], 3), "{counts}");
    }
}

#[test]
fn channels_begin_with_the_watermarks_of_their_producers() {
    let same = of(&restored(manifest(2, 2, &[0]), &topology(2, 3, false)), "counts", 1).snapshot;
    assert_eq!((same.watermark, same.channel_watermarks, same.cursors), (90, vec![i64::MAX, 99], vec![]));
    // A new operator in between knows what it would have been told, so that nothing behind it waits for ever.
    let grown = restored(manifest(2, 2, &[0]), &topology(2, 2, true));
    let scaled = of(&grown, "scaled", 0).snapshot;
    assert_eq!((scaled.watermark, scaled.channel_watermarks), (99, vec![i64::MAX, 99]));
    assert_eq!(of(&grown, "counts", 0).snapshot.channel_watermarks, [99]);
}

#[test]
fn sources_that_cannot_share_out_what_is_left_are_refused_unless_nobody_has_begun() {
    let mut checkpoint = manifest(2, 2, &[]);
    let blueprint = blueprint(&checkpoint, &topology(3, 2, false));
    let (operator, error) = outline(&checkpoint, &blueprint).err().unwrap();
    assert_eq!(operator, "ticks");
    assert!(error.message().contains("set its parallelism back to 2"), "{error}");
    for subtask in &mut checkpoint.subtasks {
        subtask.operators[0].position = None;
    }
    assert_eq!(outline(&checkpoint, &blueprint).ok().unwrap().len(), 5);
}

#[test]
fn subtasks_of_which_only_some_have_ended_keep_their_number_if_they_remember_something() {
    let text = |parallelism: u32| {
        format!(
            "[sources.ticks]\ntype = \"numbers\"\nlimit = 1\nparallelism = {parallelism}\n[operators.scaled]\ntype = \
             \"scale\"\ninputs = [\"ticks\"]\nparallelism = {parallelism}\n[sinks.out]\ntype = \"keep\"\ninputs = \
             [\"scaled\"]\n"
        )
    };
    let mut checkpoint = manifest(2, 1, &[1]);
    checkpoint.subtasks.truncate(2);
    checkpoint.topology = plan(&text(2)).fingerprint(0).encode();
    for subtask in &mut checkpoint.subtasks {
        subtask.operators[0].position = None;
        subtask.operators.push(OperatorSnapshot::empty("scaled"));
        subtask.operators.push(OperatorSnapshot::empty("out"));
    }
    let blueprint = blueprint(&checkpoint, &text(3));
    let outlines = outline(&checkpoint, &blueprint).ok().unwrap();
    assert!(outlines.iter().all(|outline| !outline.snapshot.finished && outline.snapshot.watermark == 100));
    checkpoint.subtasks[1].operators[1].chunks = chunk("local");
    let (_, error) = outline(&checkpoint, &blueprint).err().unwrap();
    assert!(error.message().contains("subtask 1 of it has come to its end"), "{error}");
}

/// As the checkpoint of `topology(source, counts, false)`, with one record under way in each channel of a subtask.
fn under_way(source: u32, counts: u32, of: u32) -> Manifest {
    let mut manifest = manifest(source, counts, &[]);
    let snapshot = &mut manifest.subtasks[(source + of) as usize];
    let origin = |index| Origin { operator: "ticks".into(), output: None, index, port: 0, spread: Spread::Keyed };
    let channels = (0..source).map(|index| InFlightChannel { origin: origin(index), records: 1 }).collect();
    snapshot.in_flight = Some(InFlightSnapshot { channels, chunks: chunk("under way") });
    snapshot.channel_watermarks = (0..source).map(|index| 40 - i64::from(index)).collect();
    snapshot.within = Some(Within { ended: WindowId(3), channels: vec![WindowId(4); source as usize] });
    manifest
}

/// Says of each subtask of "counts" which channels it takes from which, and the watermarks before and behind.
fn placed(manifest: &Manifest, text: &str, counts: u32) -> Vec<String> {
    let outlines = outline(manifest, &blueprint(manifest, text)).map_err(|(_, error)| error).unwrap();
    let mut said = Vec::new();
    for index in 0..counts {
        let id = SubtaskId::new("counts", index);
        let outline = outlines.iter().find(|outline| outline.snapshot.subtask == id).unwrap();
        let mut parts = Vec::new();
        for (subtask, channels) in &outline.in_flight.parts {
            for PackedChannel { was, channel, take, .. } in channels {
                let take = match take {
                    Take::All => "all".into(),
                    Take::Records => "records".into(),
                    Take::OfGroups(own, of) => format!("groups {own:?} of {of}"),
                };
                parts.push(format!("{subtask}.{was} to {channel}: {take}"));
            }
        }
        let watermarks = &outline.snapshot.channel_watermarks;
        said.push(format!("{} | {watermarks:?} then {:?}", parts.join(", "), outline.in_flight.then));
    }
    said
}

#[test]
fn what_was_under_way_stays_in_its_channel_while_nothing_has_changed() {
    let manifest = under_way(2, 2, 1);
    let said = placed(&manifest, &topology(2, 2, false), 2);
    assert_eq!(said[1], "3.0 to 0: all, 3.1 to 1: all | [40, 39] then []");
    let blueprint = blueprint(&manifest, &topology(2, 2, false));
    let outlines = outline(&manifest, &blueprint).ok().unwrap();
    assert_eq!(outlines[3].snapshot.within, manifest.subtasks[3].within, "it goes on within its window");
}

#[test]
fn what_was_under_way_goes_by_its_keys_when_the_parallelism_has_changed() {
    // Of two subtasks the second had half of 1024 key groups: of three it is the last two that may have its records now.
    let said = placed(&under_way(2, 2, 1), &topology(2, 3, false), 3);
    let of = |groups: &str| {
        format!(
            "3.0 to 0: groups {groups} of 1024, 3.1 to 1: groups {groups} of 1024 | [40, 39] then [(0, 100), (1, 99)]"
        )
    };
    assert_eq!(said, [" | [100, 99] then []".to_string(), of("342..683"), of("683..1024")]);
    // Fewer senders: a channel takes what two held, and begins with the lower watermark.
    let mut manifest = under_way(2, 2, 1);
    for subtask in &mut manifest.subtasks {
        subtask.operators[0].position = None;
    }
    let said = placed(&manifest, &topology(1, 2, false), 2);
    assert_eq!(said[1], "3.0 to 0: groups 512..1024 of 1024, 3.1 to 0: groups 512..1024 of 1024 | [39] then [(0, 99)]");
}

#[test]
fn what_was_under_way_to_somebody_who_is_gone_is_refused() {
    let manifest = under_way(2, 2, 0);
    let blueprint = blueprint(&manifest, &topology(2, 2, true));
    let (operator, error) = outline(&manifest, &blueprint).err().unwrap();
    assert_eq!(operator, "counts");
    let said = error.message();
    assert!(said.contains("from \"ticks\" to \"counts\"") && said.contains("piton savepoint create"), "{said}");
}
