//! The fuzz targets' bodies, with inputs from a generator that repeats.
#![cfg(target_os = "linux")]

mod artifact_support;
#[path = "../fuzz/bodies/artifact.rs"]
mod bodies;

use artifact_support::{Random, sample};
use revmc_jit::artifact::{ArtifactKey, HeatEntry, HeatList};
use revmc_jit::primitives::keccak256;

/// Feeds the target's body as the fuzzer does: the first byte picks the part.
fn feed(part: u8, data: &[u8]) {
    bodies::bytes(&[&[part], data].concat());
}

/// `data` with some bytes changed, inserted, removed or repeated.
fn mutated(data: &[u8], random: &mut Random) -> Vec<u8> {
    let mut data = data.to_vec();
    for _ in 0..1 + random.below(4) {
        let at = random.below(data.len() + 1);
        match random.below(4) {
            0 if at < data.len() => data[at] = random.next() as u8,
            1 => data.insert(at, b"\n 0,:-x~"[random.below(8)]),
            2 if at < data.len() => drop(data.remove(at)),
            _ => {
                let end = (at + random.below(40)).min(data.len());
                let part = data[at..end].to_vec();
                data.splice(at..at, part);
            }
        }
    }
    data
}

#[test]
fn manifests() {
    let mut random = Random::new(1);
    let good = sample(1, 100).manifest.encode();
    feed(0, good.as_bytes());
    for _ in 0..3000 {
        feed(0, &mutated(good.as_bytes(), &mut random));
        let len = random.below(300);
        feed(0, &random.bytes(len));
    }
}

#[test]
fn artifacts() {
    let mut random = Random::new(2);
    let good = sample(1, 100).to_bytes().unwrap();
    feed(1, &good);
    for _ in 0..500 {
        feed(1, &mutated(&good, &mut random));
        // With digests that fit, so that what is behind them is reached.
        let mut artifact = sample(1, 100);
        artifact.manifest.symbol = "a".repeat(random.below(200));
        artifact.manifest.text_len = random.next() >> random.below(64);
        artifact.manifest.table_entries = random.next() as u32 >> random.below(32);
        artifact.manifest.data_len = random.next() as u32 >> random.below(32);
        feed(1, &artifact.to_bytes().unwrap());
    }
}

#[test]
fn heat_lists() {
    let mut random = Random::new(4);
    let key = sample(1, 100).manifest.key();
    let entries = (0..5).map(|heat| HeatEntry {
        key: ArtifactKey::new([heat as u8; 32].into(), key.build),
        heat,
    });
    let good = HeatList::new(entries.collect()).to_bytes(None);
    feed(3, &good);
    for _ in 0..3000 {
        let mut data = mutated(&good, &mut random);
        feed(3, &data);
        // With a digest that fits, so that what is behind it is reached.
        if data.len() > 88 {
            let digest = keccak256([&data[..24], &data[88..]].concat());
            data[24..56].copy_from_slice(digest.as_slice());
            feed(3, &data);
        }
    }
}

#[test]
fn listings() {
    let mut random = Random::new(3);
    let good = sample(1, 100).manifest.key().file_name();
    for _ in 0..50 {
        let mut data = Vec::new();
        for _ in 0..random.below(10) {
            let name = match random.below(4) {
                0 => good.clone().into_bytes(),
                1 => mutated(good.as_bytes(), &mut random),
                2 => mutated(b".store-1-2-3", &mut random),
                _ => random.bytes(12),
            };
            let content = random.bytes(200);
            data.extend_from_slice(&[name.len() as u8, content.len() as u8]);
            data.extend_from_slice(&name);
            data.extend_from_slice(&content);
        }
        feed(2, &data);
    }
}
