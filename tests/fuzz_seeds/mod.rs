//! Seeds for the fuzz targets, made by hand.

use super::{artifact_support, runtime_ops, vs_interpreter};
use crate::common::{asm::asm, case, programs::ALL, rng::Rng, types::FORKS};
use arbitrary::{Arbitrary, Unstructured};
use revm::bytecode::opcode::OpCode;
use revm::primitives::{U256, hex, keccak256};
use std::path::Path;

/// Writes seeds, made by hand, beside what fuzzing kept.
///
/// ```text
/// cargo test --test fuzz_corpus -- --ignored write_seeds
/// ```
#[test]
#[ignore = "writes into fuzz/"]
fn write_seeds() {
    write("vs_interpreter", vs_interpreter_seeds());
    write("programs", programs_seeds());
    write("rules", rules_seeds());
    write("map_ops", map_ops_seeds());
    write("artifact_bytes", artifact_bytes_seeds());
    write("runtime_ops", runtime_ops_seeds());
}

fn write(target: &str, seeds: Vec<(&str, Vec<u8>)>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target);
    std::fs::create_dir_all(&folder).expect("writable");
    for (name, seed) in seeds {
        let words: Vec<&str> = name.split(|c: char| !c.is_ascii_alphanumeric()).collect();
        let hash = hex::encode(&keccak256(&seed)[..4]);
        let name = format!("{}-{hash}", words.join("-").to_lowercase());
        std::fs::write(folder.join(name), seed).expect("writable");
    }
}

/// The hand-written programs and the edge programs.
fn vs_interpreter_seeds() -> Vec<(&'static str, Vec<u8>)> {
    let newest = FORKS.len() as u8 - 1;
    let mut seeds = Vec::new();
    for (name, text) in ALL.iter().flat_map(|(_, table)| *table) {
        seeds.push((*name, vs_interpreter::input(newest, &[0; 40], &asm(text))));
    }
    for case in case::edge_programs() {
        let fork = FORKS.iter().position(|fork| *fork == case.spec_id);
        let fork = fork.expect("a known fork") as u8;
        let seed = vs_interpreter::input(fork, &case.input, &case.code);
        seeds.push(("edge program", seed));
    }
    seeds.extend(arithmetic_seeds().map(|seed| ("pairs of edges", seed)));
    seeds
}

/// Each operation on all pairs of a few numbers, which only the call data has.
fn arithmetic_seeds() -> impl Iterator<Item = Vec<u8>> {
    const OPERATIONS: [&str; 3] = [
        "ADD MUL SUB DIV SDIV MOD SMOD",
        "SIGNEXTEND LT GT SLT SGT EQ BYTE",
        "SHL SHR SAR AND OR XOR EXP",
    ];
    const ONE: U256 = U256::from_limbs([1, 0, 0, 0]);
    let small = |n: u64| U256::from(n);
    let power = |n: usize| ONE << n;
    let sets = [
        [0, 1, 2, 30, 31, 255, 256].map(small),
        [32, 63, 64, 65, 127, 128, u64::MAX].map(small),
        [
            power(64),
            power(128),
            power(128) - ONE,
            power(255),
            power(255) - ONE,
            U256::MAX - ONE,
            U256::MAX,
        ],
        [
            small(7),
            U256::MAX - small(6),
            power(192) + small(5),
            power(255) + ONE,
            power(128) + small(3),
            power(72) + small(9),
            small(0),
        ],
    ];
    let newest = FORKS.len() as u8 - 1;
    sets.into_iter().flat_map(move |set| {
        let calldata = set.map(|number| number.to_be_bytes::<32>()).concat();
        OPERATIONS.map(|operations| {
            let mut text = String::new();
            for operation in operations.split(' ') {
                for a in 0..set.len() {
                    for b in 0..set.len() {
                        let (a, b) = (32 * a, 32 * b);
                        text += &format!("{a} CALLDATALOAD {b} CALLDATALOAD {operation} ");
                        text += "MSIZE MSTORE ";
                    }
                }
            }
            vs_interpreter::input(newest, &calldata, &asm(&text))
        })
    })
}

/// Choices enough for programs of every size.
fn programs_seeds() -> Vec<(&'static str, Vec<u8>)> {
    let mut rng = Rng::new(1);
    let mut choices = |index: usize| rng.bytes(8 + 16 * index);
    (0..48).map(|index| ("choices", choices(index))).collect()
}

/// Hand-written programs under rules that change a few of their own opcodes.
fn rules_seeds() -> Vec<(&'static str, Vec<u8>)> {
    let mut rng = Rng::new(2);
    let mut seeds = Vec::new();
    for (index, (name, text)) in ALL.iter().flat_map(|(_, table)| *table).enumerate() {
        let code = asm(text);
        if index % 4 != 0 || code.is_empty() || code.len() > 500 {
            continue;
        }
        let (rules, deeds) = (1 + rng.below(3), rng.below(12));
        let fork = FORKS.len() as u8 - 1 - (index % 3) as u8;
        let mut seed = vec![fork, 0xff, 0xff, 0x03, rules as u8, deeds as u8];
        seed.extend(rng.bytes(2));
        for _ in 0..rules {
            // A number that is none of the code's opcodes is added, if it is no opcode at all.
            let opcode = *rng.pick(&code);
            let kind = match OpCode::new(opcode) {
                Some(_) => rng.below(3) as u8,
                None => 3,
            };
            seed.extend([opcode, kind, rng.below(200) as u8]);
        }
        seed.extend(rng.bytes(2 * deeds));
        seed.extend(code);
        seeds.push((*name, seed));
    }
    seeds
}

/// For each hasher and order of the final drops: insertions, lookups of every kind that are kept,
/// removals, a clear, audits.
fn map_ops_seeds() -> Vec<(&'static str, Vec<u8>)> {
    let operations = |keys: u16, list: &[u8]| -> Vec<u8> {
        (0..keys)
            .flat_map(|key| list.iter().map(move |&operation| (operation, key)))
            .flat_map(|(operation, key)| {
                let [low, high] = key.to_le_bytes();
                [operation, low, high]
            })
            .collect()
    };
    let shapes = [
        ("hits of every kind", operations(24, &[0, 7, 8, 9, 10, 15])),
        (
            "negatives and misses",
            operations(24, &[0x34, 7, 8, 9, 10, 5, 7]),
        ),
        ("removed while lent", operations(24, &[0, 7, 8, 5, 14, 11])),
        ("replaced while lent", operations(12, &[0, 7, 8, 1, 14, 12])),
        ("cleared while lent", operations(20, &[0, 8, 7, 15, 0, 13])),
        (
            "grows",
            [operations(300, &[0]), operations(8, &[14, 7])].concat(),
        ),
    ];
    let mut seeds = Vec::new();
    for (n, (name, operations)) in shapes.into_iter().enumerate() {
        for head in [0x00, 0x11, 0x22, 0x5b, 0xfe] {
            // Not all of them for each, which would be many.
            if (usize::from(head) + n) % 2 == 0 {
                seeds.push((name, [&[head], &operations[..]].concat()));
            }
        }
    }
    seeds
}

/// A manifest, artifacts of several sizes, folders with such files, and each with a fault.
fn artifact_bytes_seeds() -> Vec<(&'static str, Vec<u8>)> {
    use artifact_support::sample;
    let part = |part: u8, data: &[u8]| [&[part], data].concat();
    let good = sample(1, 100);
    let manifest = good.manifest.encode();
    let bytes = good.to_bytes().expect("a whole artifact");
    let mut seeds = vec![
        ("manifest", part(0, manifest.as_bytes())),
        ("manifest cut", part(0, &manifest.as_bytes()[..60])),
        ("manifest twice", part(0, manifest.repeat(2).as_bytes())),
        ("artifact", part(1, &bytes)),
        ("artifact cut in the header", part(1, &bytes[..20])),
        ("artifact cut", part(1, &bytes[..bytes.len() - 1])),
        ("no folder entry", part(2, &[])),
    ];
    for text_len in [1, 4097] {
        let artifact = sample(2, text_len).to_bytes().expect("as above");
        seeds.push(("artifact of another size", part(1, &artifact)));
    }
    let name = good.manifest.key().file_name();
    let entry = |name: &str, content: &[u8]| {
        let head = [name.len() as u8, content.len() as u8];
        [&head[..], name.as_bytes(), content].concat()
    };
    let folder = [
        entry(&name, &bytes[..200]),
        entry(".store-1-2-3", b"left by a writer"),
        entry("other", b""),
    ];
    for n in 1..=folder.len() {
        seeds.push(("folder", part(2, &folder[..n].concat())));
    }
    seeds
}

/// What a client does, and what it should not do, under several configurations.
fn runtime_ops_seeds() -> Vec<(&'static str, Vec<u8>)> {
    let sessions = [
        (
            "promotion by lookups",
            "LookupOften 0 31, Lookup 0, LookupOften 1 31, Stats, Lookup 1, Keep 0, RunKept",
        ),
        (
            "compiled on demand",
            "CompileJitSync 0, Lookup 0, LookupBorrowed 0, CompileJit 1, LookupBlocking 1, \
             GetCompiled 1, GetCompiledTracked 0, RunKept, Stats",
        ),
        (
            "wrong keys and nonsense",
            "LookupWrongKey 0, CompileWrongKey 1, LookupNonsense 1 239 1 0 1 1 0, \
             LookupNonsense 1 86 1 86 0, Lookup 0, Stats",
        ),
        (
            "cleared while kept",
            "CompileJitSync 2, Keep 2, ClearResident, RunKept, Lookup 2, CompileJitSync 3, \
             Keep 3, ClearAll, RunKept, Stats",
        ),
        (
            "artifacts",
            "PrepareAot 0, PrepareAotBatch 1 2, LookupBlocking 0, ClearResident, \
             LookupBlocking 1, ClearPersisted, LookupBlocking 2, Stats",
        ),
        (
            "off and on, paused",
            "SetEnabled 1, CompileJitSync 0, SetEnabled 0, Lookup 0, SetEnabled 1, Lookup 0, \
             Pause, CompileJit 1, LookupOften 2 31, Pause, Resume, Resume, LookupBlocking 1, Stats",
        ),
        (
            "clones and work",
            "Clone, RecordInterpreted 0 0 0 0 0 0 1 0 0, Lookup 0, Clone, DropClone, \
             RecordInterpreted 1 7 0 0 0 0 0 0 0, DropClone, Lookup 0, Stats",
        ),
        (
            "more than the cache holds",
            "CompileJitSync 0, Keep 0, CompileJitSync 1, Keep 1, CompileJitSync 2, Keep 2, \
             CompileJitSync 3, Keep 3, LookupOften 0 9, CompileJitSync 4, CompileJitSync 5, \
             LookupOften 5 9, RunKept, Stats",
        ),
    ];
    let mut seeds = Vec::new();
    for (name, calls) in sessions {
        // Enabled with a store; everything there is; nothing, not even enabled.
        for setup in [[1, 0, 0, 1, 0, 0, 0, 0], [1; 8], [0; 8]] {
            let mut seed = setup.to_vec();
            // One byte says that there is another call, and `false` ends the list.
            calls
                .split(", ")
                .for_each(|call| seed.extend([vec![1], encoded(call)].concat()));
            assert_eq!(runtime_ops::calls(&seed), calls.split(", ").count());
            seeds.push((name, seed));
        }
    }
    seeds
}

/// The bytes of a call: those that give a variant of this name, then its arguments.
fn encoded(call: &str) -> Vec<u8> {
    let mut words = call.split(' ');
    let name = words.next();
    let is_named = |choice: &[u8; 4]| {
        let mut data = Unstructured::new(choice);
        let call = runtime_ops::Call::arbitrary(&mut data).expect("a variant");
        format!("{call:?}").split(['(', ' ']).next() == name
    };
    let mut choices = (0..u32::MAX / 2)
        .step_by(1 << 24)
        .flat_map(|n| [n, n + u32::MAX / 2])
        .map(u32::to_le_bytes);
    let mut bytes = choices.find(is_named).expect(call).to_vec();
    bytes.extend(words.map(|word| word.parse::<u8>().expect(call)));
    bytes
}
