//! A power cut at any sync of the real store loses nothing acknowledged, although its database does not sync itself.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

mod store_support;

use std::fs;

use piton::store::catalogue::{Batch, Catalogue};
use piton::store::disk::{RealDisk, ShadowDisk};
use piton::store::{FileStore, OpenOptions, SledCatalogue, SledStore};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use store_support::{Step, Workload, rounds, scratch};

type ShadowStore = FileStore<ShadowDisk, SledCatalogue<ShadowDisk>>;

const OPTIONS: OpenOptions = OpenOptions { retain: 2, allow_rollback: false };

#[test]
fn a_power_cut_at_any_sync_loses_nothing_acknowledged() {
    let cuts = rounds(500);
    let real = scratch();
    let images = scratch();
    let disk = ShadowDisk::new(real.path());
    // Some nine syncs make a commit; an image after one in two of them.
    disk.keep_images(images.path(), (0..cuts * 2).step_by(2).map(|sync| sync + sync / 64 % 2));
    let dir = real.path().join("state");
    let mut workload = Workload::default();
    let mut acknowledged = vec![(0, workload.acknowledged.clone())];
    let mut rng = Pcg64Mcg::seed_from_u64(7);
    let mut torn = 0;
    while disk.syncs() < cuts * 2 {
        let (mut store, report) = ShadowStore::open_on(disk.clone(), &dir, OPTIONS).unwrap();
        assert_eq!(report.repairs, Vec::<String>::new());
        workload.begin(&mut store).unwrap();
        for _ in 0..rng.random_range(3..12) {
            assert_eq!(workload.step(&mut store), Step::Acknowledged);
            acknowledged.push((disk.syncs(), workload.acknowledged.clone()));
            if rng.random_bool(0.1) {
                torn += 1;
                disk.image_torn(&images.path().join(format!("{}-idle{torn}", disk.syncs())), &mut rng).unwrap();
            }
        }
    }

    let mut reopened = 0;
    let mut rebuilt = 0;
    for entry in fs::read_dir(images.path()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let sync: u64 = name.split('-').next().unwrap().parse().unwrap();
        let (_, before) = acknowledged.iter().rfind(|(at, _)| *at <= sync).unwrap();
        let mut expected = workload.clone();
        expected.acknowledged = before.clone();
        let image = images.path().join(&name).join("state");
        if !image.exists() {
            assert_eq!(expected.acknowledged.len(), 0, "image {name}");
            continue;
        }
        let (mut store, report) =
            SledStore::open(&image, OPTIONS).unwrap_or_else(|error| panic!("image {name}: {error}"));
        expected.verify(&mut store, &format!("image {name}, {report:?}"));
        reopened += 1;
        if !report.repairs.is_empty() {
            assert!(name.contains('-'), "image {name}: what was synced is enough: {:?}", report.repairs);
            rebuilt += 1;
        }
        drop(store);
        fs::remove_dir_all(images.path().join(&name)).unwrap();
    }
    println!("{reopened} images opened, in {rebuilt} torn ones the catalogue had to be made again");
    assert!(reopened > cuts - 10, "{reopened} of {cuts}");
}

/// The images do lose what is not synced; otherwise the test above would prove nothing.
#[test]
fn what_was_not_synced_is_not_in_an_image() {
    let real = scratch();
    let images = scratch();
    let disk = ShadowDisk::new(real.path());
    let mut catalogue: SledCatalogue<ShadowDisk> = SledCatalogue::open(&disk, real.path()).unwrap();
    let mut batch = Batch::default();
    batch.put(b"key".to_vec(), b"value".to_vec());
    let next = disk.syncs() + 1;
    disk.keep_images(images.path(), [next]);
    disk.image(&images.path().join("before")).unwrap();
    catalogue.apply(batch).unwrap();
    drop(catalogue);
    let value = |image: &str| {
        let dir = images.path().join(image);
        let disk = RealDisk;
        SledCatalogue::open(&disk, &dir).unwrap().get(b"key").unwrap()
    };
    assert_eq!(value("before"), None);
    assert_eq!(value(&next.to_string()), Some(b"value".to_vec()));
}
