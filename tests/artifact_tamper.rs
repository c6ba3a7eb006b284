//! Whatever was changed, by accident or by an attacker, is refused with an error that names it, and
//! is not executed: the samples' machine code would end the process.
#![cfg(target_os = "linux")]

mod artifact_support;

use alloy_primitives::{B256, keccak256};
use artifact_support::{
    OPTIONS, Random, TEXT_LEN, Victim, assemble, attempt_bytes, program, sample, sealed, with_fact,
};
use revmc_jit::primitives::SpecId;
use revmc_jit::{
    aot::{self, BuildOptions},
    artifact::{
        ArtifactError, ArtifactManifest, ArtifactStore, FORMAT, HEADER_LEN, ManifestField,
        StoredArtifact,
    },
    compiler::Tier,
};
use std::fs;

fn mismatch(result: Result<(), ArtifactError>) -> ManifestField {
    match result {
        Err(ArtifactError::Mismatch { field, .. }) => field,
        Err(other) => panic!("another error: {other}"),
        Ok(()) => panic!("accepted"),
    }
}

fn malformed(result: Result<(), ArtifactError>) -> &'static str {
    match result {
        Err(ArtifactError::Malformed { what }) => what,
        Err(other) => panic!("another error: {other}"),
        Ok(()) => panic!("accepted"),
    }
}

type Change = fn(&mut ArtifactManifest);

/// Each field changed by somebody who makes the digests anew, but keeps the library.
#[test]
fn every_manifest_field() {
    use ManifestField as F;
    let victim = Victim::new();
    let table: &[(ManifestField, Change)] = &[
        (F::CodeHash, |m| m.code_hash = B256::repeat_byte(1)),
        // These are bound to the library through the symbol.
        (F::Symbol, |m| m.bytecode_len += 1),
        (F::Symbol, |m| m.table_entries += 1),
        (F::Symbol, |m| m.data_hash = B256::repeat_byte(4)),
        (F::Symbol, |m| m.trial_runs += 1),
        (F::Symbol, |m| m.symbol.push('x')),
        (F::Symbol, |m| m.symbol.clear()),
        (F::TextLen, |m| m.text_len += 1),
        (F::TextLen, |m| m.text_len -= 1),
        (F::LibraryLen, |m| m.text_len += 4096),
        (F::LibraryLen, |m| m.library_len += 1),
        (F::LibraryLen, |m| m.library_len = 0),
        (F::LibraryHash, |m| m.library_hash = B256::repeat_byte(3)),
        (F::DataLen, |m| m.data_len += 1),
    ];
    let mut changed: Vec<_> = table
        .iter()
        .map(|(field, change)| {
            let mut manifest = sample(1, TEXT_LEN).manifest;
            change(&mut manifest);
            (field.clone(), manifest)
        })
        .collect();
    let original = sample(1, TEXT_LEN).manifest;
    for (name, value) in original.determinants.facts() {
        let manifest = with_fact(&original, name, &format!("{value}x"));
        changed.push((F::Determinant(name.into()), manifest));
    }
    assert!(changed.len() >= table.len() + 10);
    for (field, manifest) in changed {
        let artifact = StoredArtifact {
            manifest,
            ..sample(1, TEXT_LEN)
        };
        let bytes = artifact.to_bytes().unwrap();
        assert_eq!(mismatch(victim.with(&bytes)), field);
        // By its own name it is no better, except that it is then another program's artifact.
        let key = artifact.manifest.key();
        let own = victim.store.path().join(key.file_name());
        fs::write(&own, &bytes).unwrap();
        let loaded = victim.store.load(&key).unwrap().unwrap();
        let verdict = attempt_bytes(loaded, program(1)).map(drop);
        assert_eq!(mismatch(verdict), field);
        fs::remove_file(own).unwrap();
    }
    // Library and symbol made anew around a false claim: the claim is still checked.
    let manifest = with_fact(&original, "rules", "12:LONDON");
    let bytes = assemble(manifest, &[0x0f; TEXT_LEN]).to_bytes().unwrap();
    assert_eq!(
        mismatch(victim.with(&bytes)),
        F::Determinant("rules".into())
    );
}

/// What the translator keeps beside the code is under a digest, and the code is not run without it.
#[test]
fn data_beside_the_code() {
    use ManifestField as F;
    let victim = Victim::new();
    let with = |data: &[u8], honest: bool| {
        let mut artifact = sample(1, TEXT_LEN);
        artifact.data = data.to_vec().into();
        if honest {
            artifact.manifest.data_len = data.len() as u32;
            artifact.manifest.data_hash = keccak256(data);
            artifact.manifest.symbol = artifact.manifest.expected_symbol();
        }
        let text = [0x0f; TEXT_LEN];
        if honest {
            let library = assemble(artifact.manifest, &text);
            artifact = StoredArtifact {
                data: artifact.data,
                ..library
            };
        }
        victim.with(&artifact.to_bytes().unwrap())
    };
    let mut other = artifact_support::DATA;
    other[4] = 9;
    let twice = [other, other].concat();
    assert_eq!(mismatch(with(&other, false)), F::DataHash);
    assert_eq!(mismatch(with(&twice, false)), F::DataLen);
    assert_eq!(mismatch(with(&[], false)), F::DataLen);
    // Whole, but not what this translator keeps.
    assert_eq!(malformed(with(&[3, 0, 0], true)), "entry table");
    assert_eq!(malformed(with(&[], true)), "entry table");
    // Its entries are in order.
    assert_eq!(malformed(with(&twice, true)), "entry table");
    with(&other, true).unwrap();
}

/// Code that was made for another CPU has another name; by this one's name it is refused.
#[test]
fn another_cpu() {
    let victim = Victim::new();
    let original = sample(1, TEXT_LEN).manifest;
    for features in ["avx9000", ""] {
        let manifest = with_fact(&original, "cpu-features", features);
        assert_ne!(manifest.key(), original.key());
        let artifact = assemble(manifest, &[0x0f; TEXT_LEN]);
        assert_eq!(
            mismatch(victim.with(&artifact.to_bytes().unwrap())),
            ManifestField::Determinant("cpu-features".into())
        );
    }
}

/// Every bit of header and manifest, and many of the library.
#[test]
fn flipped_bits() {
    let victim = Victim::new();
    let manifest_end = HEADER_LEN + sample(1, TEXT_LEN).manifest.encode().len();
    let data_start = victim.bytes.len() - sample(1, TEXT_LEN).data.len();
    let flip = |at: usize, bit: usize| {
        let mut bytes = victim.bytes.clone();
        bytes[at] ^= 1 << bit;
        // Not through the file: thousands of writes would be slow.
        attempt_bytes(bytes.into(), program(1)).map(drop)
    };
    use ArtifactError as E;
    for (at, bit) in (0..manifest_end).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
        let error = flip(at, bit).expect_err("a flipped bit");
        let named = match at {
            0..8 => matches!(error, E::NotAnArtifact),
            8..12 => matches!(error, E::Format { .. }),
            12..16 => matches!(
                error,
                E::Malformed { what: "header" } | E::Authentication(_) | E::ManifestDigest
            ),
            16..20 => matches!(error, E::TooLarge { .. } | E::Length { .. }),
            20..24 => matches!(error, E::TooLarge { .. } | E::Length { .. }),
            24..32 => matches!(error, E::Length { .. }),
            64..96 => matches!(error, E::Malformed { what: "header" }),
            _ => matches!(error, E::ManifestDigest),
        };
        assert!(named, "bit {bit} of byte {at}: {error}");
    }
    let mut random = Random::new(1);
    for _ in 0..1000 {
        let at = manifest_end + random.below(victim.bytes.len() - manifest_end);
        let field = if at < data_start {
            ManifestField::LibraryHash
        } else {
            ManifestField::DataHash
        };
        assert_eq!(mismatch(flip(at, random.below(8))), field);
    }
    for at in data_start..victim.bytes.len() {
        assert_eq!(mismatch(flip(at, 0)), ManifestField::DataHash);
    }
    // Several bits at once, anywhere, and through the file.
    for _ in 0..200 {
        let mut bytes = victim.bytes.clone();
        for _ in 0..1 + random.below(16) {
            let at = random.below(bytes.len());
            bytes[at] ^= 1 << random.below(8);
        }
        if bytes != victim.bytes {
            victim.with(&bytes).expect_err("flipped bits");
        }
    }
}

#[test]
fn cut_and_lengthened_files() {
    let victim = Victim::new();
    let len = victim.bytes.len();
    for cut in (0..len).step_by(97).chain([7, 8, 95, 96, 97, len - 1]) {
        let error = victim.with(&victim.bytes[..cut]).expect_err("a cut file");
        assert!(
            matches!(error, ArtifactError::Length { .. }),
            "{cut}: {error}"
        );
    }
    let longer = [victim.bytes.as_slice(), &[0]].concat();
    assert!(matches!(
        victim.with(&longer),
        Err(ArtifactError::Length { .. })
    ));
    assert!(matches!(
        victim.with(&[b'x'; 500]),
        Err(ArtifactError::NotAnArtifact)
    ));
}

#[test]
fn older_and_newer_formats() {
    let victim = Victim::new();
    for format in [0, FORMAT - 1, FORMAT + 1, u32::MAX] {
        let mut bytes = victim.bytes.clone();
        bytes[8..12].copy_from_slice(&format.to_le_bytes());
        match victim.with(&bytes) {
            Err(ArtifactError::Format { found, expected }) => {
                assert_eq!((found, expected), (format, FORMAT));
            }
            other => panic!("{other:?}"),
        }
    }
}

/// A forger who has the folder and makes every digest anew, but bends the object.
#[test]
fn a_library_that_is_not_in_the_fixed_form() {
    let victim = Victim::new();
    let original = sample(1, TEXT_LEN);
    let forge = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut library = original.library.to_vec();
        change(&mut library);
        let mut manifest = original.manifest.clone();
        manifest.library_len = library.len() as u64;
        manifest.library_hash = keccak256(&library);
        let artifact = StoredArtifact {
            manifest,
            library: library.into(),
            ..original.clone()
        };
        victim.with(&artifact.to_bytes().unwrap())
    };
    let dynamic = original
        .library
        .windows(16)
        .position(|w| w[..8] == 30u64.to_le_bytes() && w[8..] == 8u64.to_le_bytes());
    let dynamic = dynamic.expect("DT_FLAGS is there");
    // An initialiser in place of the flags; a needed library; an executable stack; writable code.
    for (at, value) in [
        (dynamic, 12u8),
        (dynamic, 1),
        (64 + 5 * 56 + 4, 7),
        (64 + 56 + 4, 7),
    ] {
        match forge(&|library| library[at] = value) {
            Err(ArtifactError::Object { offset }) => assert_eq!(offset, at),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(
        mismatch(forge(&|library| library.push(0))),
        ManifestField::LibraryLen
    );
    assert_eq!(
        mismatch(forge(&|library| library.clear())),
        ManifestField::LibraryLen
    );
}

#[test]
fn manifests_that_are_not_in_their_one_form() {
    let good = sample(1, TEXT_LEN).manifest.encode();
    let parse = |text: &str| ArtifactManifest::parse(text.as_bytes()).map(drop);
    parse(&good).unwrap();
    let swap = |from: &str, to: &str| {
        assert!(good.contains(from), "{from}");
        malformed(parse(&good.replacen(from, to, 1)))
    };
    assert_eq!(swap("code-hash ", "code-hash  "), "code-hash");
    assert_eq!(swap("code-hash ", "code_hash "), "code-hash");
    let facts = "determinants";
    assert_eq!(swap("\nrules ", "\nrules\nrules "), facts);
    assert_eq!(swap("\nrules ", "\nRules "), facts);
    assert_eq!(
        swap("\ndeterminants 10", "\ndeterminants 9"),
        "bytecode-len"
    );
    assert_eq!(
        swap("\ndeterminants 10", "\ndeterminants 11"),
        "bytecode-len"
    );
    assert_eq!(swap("\ndeterminants 10", "\ndeterminants 99"), facts);
    assert_eq!(swap("\ndeterminants 10", "\ndeterminants x"), facts);
    assert_eq!(swap("bytecode-len 100", "bytecode-len -1"), "bytecode-len");
    assert_eq!(
        swap("bytecode-len 100", "bytecode-len 4294967296"),
        "bytecode-len"
    );
    let form = "manifest: not in its one form";
    assert_eq!(swap("bytecode-len 100", "bytecode-len +100"), form);
    assert_eq!(swap("bytecode-len 100", "bytecode-len 0100"), form);
    assert_eq!(swap("code-hash 0x", "code-hash "), form);
    assert_eq!(malformed(parse(&format!("{good}\n"))), form);
    assert_eq!(malformed(parse(&format!("{good}more 1\n"))), form);
    assert_eq!(malformed(parse(good.trim_end())), form);
    assert_eq!(malformed(parse("")), "code-hash");
    assert_eq!(
        malformed(parse(&good.replacen('\n', "\r\n", 1))),
        "manifest: not printable ASCII"
    );
    assert_eq!(
        malformed(ArtifactManifest::parse(b"\xff").map(drop)),
        "manifest: not text"
    );
    let long = format!("{good}{}", "x".repeat(5000));
    assert!(matches!(
        parse(&long),
        Err(ArtifactError::TooLarge {
            what: "manifest",
            ..
        })
    ));
}

#[test]
fn swapped_files() {
    let victim = Victim::new();
    let original = sample(1, TEXT_LEN).manifest;
    let baseline = BuildOptions {
        tier: Tier::Baseline,
        ..OPTIONS
    };
    let shanghai = aot::determinants(
        SpecId::SHANGHAI,
        revmc_jit::Chain::mainnet().rules(SpecId::SHANGHAI),
        OPTIONS,
    );
    let shanghai = shanghai.unwrap();
    let rules = shanghai.get("rules").unwrap();
    let other_fork = with_fact(&original, "rules", rules);
    assert_eq!(other_fork.determinants, shanghai);
    let other_options = with_fact(&original, "options", &baseline.to_string());
    let text = [0x0f; TEXT_LEN];
    let fact = |name: &str| ManifestField::Determinant(name.into());
    for (field, artifact) in [
        (ManifestField::CodeHash, sample(2, TEXT_LEN)),
        (fact("rules"), assemble(other_fork, &text)),
        (fact("options"), assemble(other_options, &text)),
    ] {
        victim.store.store(&sealed(&artifact)).unwrap();
        let path = victim
            .store
            .path()
            .join(artifact.manifest.key().file_name());
        fs::rename(path, &victim.path).unwrap();
        assert_eq!(mismatch(victim.outcome()), field);
    }
}

#[cfg(feature = "hmac-manifest")]
mod authenticated {
    use super::*;
    use crate::artifact_support::{Shelf, believe, rules, wanted};
    use revmc_jit::artifact::{
        AuthenticationProblem, DirOptions, ManifestKey, TempArtifactStore, TrustedStore,
    };
    use std::{os::unix::fs::PermissionsExt, sync::Arc};

    fn problem(result: Result<(), ArtifactError>) -> AuthenticationProblem {
        match result {
            Err(ArtifactError::Authentication(problem)) => problem,
            other => panic!("{other:?}"),
        }
    }

    fn read(store: &TrustedStore) -> Result<(), ArtifactError> {
        let verified = store.load(program(1).code_hash, &wanted())?.unwrap();
        aot::load(&verified, program(1), &rules(), OPTIONS).map(drop)
    }

    fn good(key: &ManifestKey) -> Vec<u8> {
        let bytes = sample(1, TEXT_LEN).to_bytes().unwrap().into();
        let verified = believe(bytes, program(1).code_hash, &wanted()).unwrap();
        verified.seal(Some(key)).unwrap().bytes().to_vec()
    }

    #[test]
    fn only_the_key_makes_artifacts() {
        let key = ManifestKey::new(&[7; 32]);
        let temporary = Arc::new(TempArtifactStore::new(DirOptions::default()).unwrap());
        let path = temporary
            .path()
            .join(sample(1, TEXT_LEN).manifest.key().file_name());
        let store = TrustedStore::authenticated(temporary.clone(), key.clone());
        let with = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            read(&store)
        };
        let good = good(&key);
        with(&good).unwrap();
        assert_eq!(
            problem(with(&sample(1, TEXT_LEN).to_bytes().unwrap())),
            AuthenticationProblem::Missing
        );
        let other = self::good(&ManifestKey::new(&[8; 32]));
        assert_eq!(problem(with(&other)), AuthenticationProblem::Wrong);
        // Another library under the old code: the manifest names the library's hash.
        let mut forged = sample(1, TEXT_LEN + 1).to_bytes().unwrap();
        forged[12] |= 1;
        let digest = {
            let len = u32::from_le_bytes(forged[16..20].try_into().unwrap()) as usize;
            keccak256([&forged[..32], &forged[HEADER_LEN..HEADER_LEN + len]].concat())
        };
        forged[32..64].copy_from_slice(digest.as_slice());
        forged[64..96].copy_from_slice(&good[64..96]);
        assert_eq!(problem(with(&forged)), AuthenticationProblem::Wrong);
        for at in 64..96 {
            let mut flipped = good.clone();
            flipped[at] ^= 1;
            assert_eq!(problem(with(&flipped)), AuthenticationProblem::Wrong);
        }
        // The data is the last thing in the file, the library stands before it.
        for (back, field) in [
            (1, ManifestField::DataHash),
            (
                crate::artifact_support::DATA.len() + 1,
                ManifestField::LibraryHash,
            ),
        ] {
            let mut changed = good.clone();
            let at = changed.len() - back;
            changed[at] ^= 1;
            assert_eq!(mismatch(with(&changed)), field);
        }

        with(&good).unwrap();
        // Who has no key to check with does not take it, on whatever grounds.
        let keyless = TrustedStore::from(temporary.clone());
        assert_eq!(problem(read(&keyless)), AuthenticationProblem::NoKey);
        // SAFETY: nothing of it is run.
        let promised = unsafe { TrustedStore::promised(temporary.clone()) };
        assert_eq!(problem(read(&promised)), AuthenticationProblem::NoKey);
    }

    /// With a key, a store of one's own is no other way in, whatever it returns.
    #[test]
    fn nothing_unauthenticated_is_loaded_from_an_own_store() {
        let key = ManifestKey::new(&[7; 32]);
        let trusted = |bytes: Vec<u8>| {
            TrustedStore::authenticated(Arc::new(Shelf(bytes.into())), key.clone())
        };
        read(&trusted(good(&key))).unwrap();
        assert_eq!(
            problem(read(&trusted(sample(1, TEXT_LEN).to_bytes().unwrap()))),
            AuthenticationProblem::Missing
        );
        let other = good(&ManifestKey::new(&[8; 32]));
        assert_eq!(problem(read(&trusted(other))), AuthenticationProblem::Wrong);
    }

    #[test]
    fn the_code_is_hmac_sha_256_of_header_and_manifest() {
        use hmac::Mac;
        let bytes = good(&ManifestKey::new(&[7; 32]));
        let len = u32::from_le_bytes(bytes[16..20].try_into().unwrap()) as usize;
        let mut mac = hmac::Hmac::<sha2::Sha256>::new_from_slice(&[7; 32]).unwrap();
        mac.update(&bytes[..32]);
        mac.update(&bytes[HEADER_LEN..HEADER_LEN + len]);
        assert_eq!(mac.finalize().into_bytes()[..], bytes[64..96]);
    }
}
