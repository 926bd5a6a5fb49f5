//! A manifest that can be read says the same after it was written and read again, and so does the topology in it.
//! Whatever stands in it, it can be counted and listed.

use piton::protocol::manifest::{ChunkRef, Manifest};
use piton::store::CheckpointInfo;
use piton::topology::Fingerprint;

pub fn check(input: &[u8]) {
    fingerprint(input);
    let Ok(manifest) = rmp_serde::from_slice::<Manifest>(input) else { return };
    let written = rmp_serde::to_vec_named(&manifest).expect("a manifest that was read can be written");
    let again: Manifest = rmp_serde::from_slice(&written).expect("a manifest that was written can be read");
    assert_eq!(again, manifest);
    assert_eq!(rmp_serde::to_vec_named(&again).expect("as before"), written);

    let info = CheckpointInfo::of(&manifest);
    assert_eq!(info.bytes, manifest.bytes());
    let inline = manifest.chunks().filter(|chunk| matches!(chunk, ChunkRef::Inline { .. }));
    assert!(inline.map(ChunkRef::len).sum::<u64>() <= info.bytes);
    for snapshot in &manifest.subtasks {
        assert!(manifest.subtask(&snapshot.subtask).is_some());
        snapshot.under_way();
        assert!(snapshot.parts().count() >= snapshot.operators.len());
    }
    fingerprint(&manifest.topology);
}

fn fingerprint(bytes: &[u8]) {
    let Ok(print) = Fingerprint::decode(bytes) else { return };
    assert_eq!(Fingerprint::decode(&print.encode()), Ok(print));
}
