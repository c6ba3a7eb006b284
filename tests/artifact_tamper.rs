//! Whatever was changed, by accident or by an attacker, is refused with an error that names it, and
//! is not executed: the samples' machine code would end the process.
#![cfg(target_os = "linux")]

mod artifact_support;

use alloy_primitives::{B256, keccak256};
use artifact_support::{OPTIONS, Random, assemble, attempt, program, sample};
use revmc_jit::revmc::primitives::SpecId;
use revmc_jit::{
    artifact::{
        ArtifactError, ArtifactKey, ArtifactManifest, ArtifactStore, BuildId, BuildOptions,
        DirArtifactStore, DirOptions, FORMAT, FileProblem, FolderProblem, HEADER_LEN,
        ManifestField, StoredArtifact, TempArtifactStore,
    },
    engine::Tier,
};
use std::{
    fs,
    os::unix::fs::{PermissionsExt, chown, symlink},
    path::PathBuf,
};

const TEXT_LEN: usize = 300;

/// A store in which the program of seed 1 has an artifact file, whose path and bytes these are.
struct Victim {
    store: TempArtifactStore,
    path: PathBuf,
    bytes: Vec<u8>,
}

impl Victim {
    fn new() -> Self {
        let store = TempArtifactStore::new(DirOptions::default()).unwrap();
        let artifact = sample(1, TEXT_LEN);
        store.store(&artifact).unwrap();
        let path = store.path().join(artifact.manifest.key().file_name());
        let bytes = fs::read(&path).unwrap();
        let victim = Self { store, path, bytes };
        assert!(
            attempt(&*victim.store, program(1)).unwrap().is_some(),
            "accepted unless changed"
        );
        victim
    }

    /// What comes of the file with these bytes.
    fn with(&self, bytes: &[u8]) -> Result<(), ArtifactError> {
        fs::write(&self.path, bytes).unwrap();
        self.outcome()
    }

    fn outcome(&self) -> Result<(), ArtifactError> {
        attempt(&*self.store, program(1)).map(|found| assert!(found.is_some()))
    }
}

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
        (F::Spec, |m| m.spec_id = SpecId::LONDON),
        (F::CrateVersion, |m| {
            m.environment.crate_version = "9.9.9".into()
        }),
        (F::RevmcVersion, |m| {
            m.environment.revmc_version = "0.0.9".into()
        }),
        (F::EngineVersion, |m| m.environment.engine_version += 1),
        (F::Rustc, |m| m.environment.rustc = "older".into()),
        (F::Target, |m| {
            m.environment.target = "aarch64-linux-gnu".into()
        }),
        (F::LayoutFingerprint, |m| {
            m.environment.layout_fingerprint = B256::repeat_byte(2)
        }),
        (F::TableEntries, |m| m.environment.table_entries += 1),
        (F::Options, |m| {
            m.options = BuildOptions {
                tier: Tier::Baseline,
                ..m.options
            }
        }),
        (F::Options, |m| {
            m.options = BuildOptions {
                debug_assertions: true,
                ..m.options
            }
        }),
        // These are bound to the library through the symbol.
        (F::Symbol, |m| m.bytecode_len += 1),
        (F::Symbol, |m| m.resume_points += 1),
        (F::Symbol, |m| m.symbol.push('x')),
        (F::Symbol, |m| m.symbol.clear()),
        (F::TextLen, |m| m.text_len += 1),
        (F::TextLen, |m| m.text_len -= 1),
        (F::LibraryLen, |m| m.text_len += 4096),
        (F::LibraryLen, |m| m.library_len += 1),
        (F::LibraryLen, |m| m.library_len = 0),
        (F::LibraryHash, |m| m.library_hash = B256::repeat_byte(3)),
    ];
    for (i, (field, change)) in table.iter().enumerate() {
        let mut artifact = sample(1, TEXT_LEN);
        change(&mut artifact.manifest);
        let bytes = artifact.to_bytes(None).unwrap();
        assert_eq!(mismatch(victim.with(&bytes)), *field, "row {i}");
        // By its own name it is no better, except that it is then another program's artifact.
        let own = victim
            .store
            .path()
            .join(artifact.manifest.key().file_name());
        fs::write(&own, &bytes).unwrap();
        let key = artifact.manifest.key();
        let loaded = victim.store.load(&key);
        let verdict = loaded.and_then(|artifact| {
            let artifact = artifact.unwrap();
            revmc_jit::artifact::load(&artifact, program(1), OPTIONS).map(drop)
        });
        assert_eq!(mismatch(verdict), *field, "row {i}");
        fs::remove_file(own).unwrap();
    }
    // Library and symbol made anew around a false claim: the claim is still checked.
    let mut manifest = sample(1, TEXT_LEN).manifest;
    manifest.spec_id = SpecId::LONDON;
    let bytes = assemble(manifest, &[0x0f; TEXT_LEN])
        .to_bytes(None)
        .unwrap();
    assert_eq!(mismatch(victim.with(&bytes)), F::Spec);
}

#[test]
fn a_cpu_that_lacks_a_feature() {
    let victim = Victim::new();
    let mut artifact = sample(1, TEXT_LEN);
    artifact.manifest.environment.cpu_features = vec!["avx9000".into()];
    match victim.with(&artifact.to_bytes(None).unwrap()) {
        Err(ArtifactError::CpuFeature { missing }) => assert_eq!(missing, "avx9000"),
        other => panic!("{other:?}"),
    }
    // The other way round: this machine's code on a lesser machine.
    let artifact = sample(1, TEXT_LEN);
    let mut lesser = artifact.manifest.environment.clone();
    if let Some(missing) = lesser.cpu_features.pop() {
        match artifact.verify(&program(1), OPTIONS, &lesser) {
            Err(ArtifactError::CpuFeature { missing: named }) => assert_eq!(named, missing),
            other => panic!("{other:?}"),
        }
    }
    // Code that uses less than the CPU has is welcome.
    let mut artifact = sample(1, TEXT_LEN);
    artifact.manifest.environment.cpu_features.clear();
    victim.with(&artifact.to_bytes(None).unwrap()).unwrap();
}

/// Every bit of header and manifest, and many of the library.
#[test]
fn flipped_bits() {
    let victim = Victim::new();
    let manifest_end = HEADER_LEN + sample(1, TEXT_LEN).manifest.encode().len();
    let flip = |at: usize, bit: usize| {
        let mut bytes = victim.bytes.clone();
        bytes[at] ^= 1 << bit;
        // Not through the file: thousands of writes would be slow.
        let artifact = StoredArtifact::from_bytes(&bytes.into(), None)?;
        revmc_jit::artifact::load(&artifact, program(1), OPTIONS).map(drop)
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
            20..24 => matches!(error, E::Malformed { what: "header" }),
            24..32 => matches!(error, E::Length { .. }),
            64..96 => matches!(error, E::Malformed { what: "header" }),
            _ => matches!(error, E::ManifestDigest),
        };
        assert!(named, "bit {bit} of byte {at}: {error}");
    }
    let mut random = Random::new(1);
    for _ in 0..1000 {
        let at = manifest_end + random.below(victim.bytes.len() - manifest_end);
        assert_eq!(
            mismatch(flip(at, random.below(8))),
            ManifestField::LibraryHash
        );
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
        };
        victim.with(&artifact.to_bytes(None).unwrap())
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
    assert_eq!(swap("\nfork ", "\nfork\nfork "), "fork");
    assert_eq!(swap("17:CANCUN", "17:LONDON"), "fork");
    assert_eq!(swap("17:CANCUN", "99:CANCUN"), "fork");
    assert_eq!(swap("17:CANCUN", "17"), "fork");
    assert_eq!(swap("bytecode-len 100", "bytecode-len -1"), "bytecode-len");
    assert_eq!(
        swap("bytecode-len 100", "bytecode-len 4294967296"),
        "bytecode-len"
    );
    assert_eq!(swap("gas-metered", "gas-free"), "options");
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
    for features in ["b,a", "a,a", ",a", "a,,b"] {
        let mut manifest = sample(1, TEXT_LEN).manifest;
        manifest.environment.cpu_features = vec![features.into()];
        assert_eq!(
            malformed(parse(&manifest.encode())),
            "cpu-features",
            "{features}"
        );
    }
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
    let mut other_fork = sample(1, TEXT_LEN).manifest;
    other_fork.spec_id = SpecId::SHANGHAI;
    let mut other_options = sample(1, TEXT_LEN).manifest;
    other_options.options.tier = Tier::Baseline;
    let text = [0x0f; TEXT_LEN];
    for (field, artifact) in [
        (ManifestField::CodeHash, sample(2, TEXT_LEN)),
        (ManifestField::Spec, assemble(other_fork, &text)),
        (ManifestField::Options, assemble(other_options, &text)),
    ] {
        victim.store.store(&artifact).unwrap();
        let path = victim
            .store
            .path()
            .join(artifact.manifest.key().file_name());
        fs::rename(path, &victim.path).unwrap();
        assert_eq!(mismatch(victim.outcome()), field);
    }
}

/// The user after this process's, who is not this one.
fn somebody_else() -> u32 {
    // SAFETY: no requirement.
    unsafe { libc::geteuid() + 1 }
}

fn file_problem(result: Result<(), ArtifactError>) -> FileProblem {
    match result {
        Err(ArtifactError::File { problem, .. }) => problem,
        other => panic!("{other:?}"),
    }
}

#[test]
fn files_that_are_not_plain_or_not_ours() {
    let victim = Victim::new();
    let listed = || {
        let index = victim.store.load_all().unwrap();
        assert_eq!(index.entries.len(), 0);
        let rejected = index
            .rejected
            .into_iter()
            .find(|r| r.name.ends_with(".aot"))
            .unwrap();
        file_problem(Err(rejected.error))
    };
    fs::set_permissions(&victim.path, fs::Permissions::from_mode(0o620)).unwrap();
    assert_eq!(
        file_problem(victim.outcome()),
        FileProblem::WritableByOthers { mode: 0o620 }
    );
    assert_eq!(listed(), FileProblem::WritableByOthers { mode: 0o620 });
    fs::set_permissions(&victim.path, fs::Permissions::from_mode(0o600)).unwrap();
    victim.outcome().unwrap();

    // A link to a good artifact is refused as well.
    let elsewhere = victim.store.path().join("elsewhere");
    fs::rename(&victim.path, &elsewhere).unwrap();
    symlink(&elsewhere, &victim.path).unwrap();
    assert_eq!(file_problem(victim.outcome()), FileProblem::Symlink);
    assert_eq!(listed(), FileProblem::Symlink);
    // Storing replaces the link, not what it leads to.
    victim.store.store(&sample(1, TEXT_LEN)).unwrap();
    assert!(!fs::symlink_metadata(&victim.path).unwrap().is_symlink());
    victim.outcome().unwrap();
    fs::remove_file(&victim.path).unwrap();

    fs::create_dir(&victim.path).unwrap();
    assert_eq!(file_problem(victim.outcome()), FileProblem::NotAFile);
    assert_eq!(listed(), FileProblem::NotAFile);
    fs::remove_dir(&victim.path).unwrap();

    let fifo = std::ffi::CString::new(victim.path.to_str().unwrap()).unwrap();
    // SAFETY: a C string.
    assert_eq!(unsafe { libc::mkfifo(fifo.as_ptr(), 0o600) }, 0);
    assert_eq!(file_problem(victim.outcome()), FileProblem::NotAFile);
    fs::remove_file(&victim.path).unwrap();

    let socket = std::os::unix::net::UnixListener::bind(&victim.path);
    // The path may be too long for a socket's name.
    if socket.is_ok() {
        assert_eq!(file_problem(victim.outcome()), FileProblem::NotAFile);
        fs::remove_file(&victim.path).unwrap();
    }

    let index = victim.store.load_all().unwrap();
    assert_eq!((index.entries.len(), index.rejected_count), (0, 1));
    assert_eq!(index.rejected[0].name, "elsewhere");
    assert_eq!(
        index.rejected[0].error.to_string(),
        "file elsewhere does not have an artifact's name"
    );

    fs::rename(&elsewhere, &victim.path).unwrap();
    match chown(&victim.path, Some(somebody_else()), None) {
        Ok(()) => {
            let expected = FileProblem::Owner {
                found: somebody_else(),
                expected: somebody_else() - 1,
            };
            assert_eq!(file_problem(victim.outcome()), expected);
            assert_eq!(listed(), expected);
        }
        Err(_) => println!("skipped: may not give files away"),
    }
}

fn folder_problem<T: std::fmt::Debug>(result: Result<T, ArtifactError>) -> FolderProblem {
    match result {
        Err(ArtifactError::Folder { problem, .. }) => problem,
        other => panic!("{other:?}"),
    }
}

#[test]
fn folders_that_others_can_write() {
    let victim = Victim::new();
    let path = victim.store.path().to_owned();
    let open = || DirArtifactStore::open(&path, DirOptions::default());
    let key = ArtifactKey::new(program(1), BuildId::host(OPTIONS).unwrap());
    for mode in [0o777, 0o770, 0o702, 0o720, 0o1777] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let expected = FolderProblem::WritableByOthers { mode };
        assert_eq!(folder_problem(open()), expected);
        // The change is noticed by a store that is open, too.
        assert_eq!(folder_problem(victim.outcome()), expected);
        assert_eq!(folder_problem(victim.store.load_all()), expected);
        assert_eq!(
            folder_problem(victim.store.store(&sample(1, TEXT_LEN))),
            expected
        );
        assert_eq!(folder_problem(victim.store.delete(&key)), expected);
        assert_eq!(folder_problem(victim.store.clear()), expected);
    }
    for mode in [0o755, 0o750, 0o700] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        open().unwrap();
        victim.outcome().unwrap();
    }

    let link = path.join("link");
    symlink(&path, &link).unwrap();
    let opened = DirArtifactStore::open(&link, DirOptions::default());
    assert_eq!(folder_problem(opened), FolderProblem::Symlink);
    let opened = DirArtifactStore::open(&victim.path, DirOptions::default());
    assert_eq!(folder_problem(opened), FolderProblem::NotAFolder);

    match chown(&path, Some(somebody_else()), None) {
        Ok(()) => {
            let expected = FolderProblem::Owner {
                found: somebody_else(),
                expected: somebody_else() - 1,
            };
            assert_eq!(folder_problem(open()), expected);
            assert_eq!(folder_problem(victim.outcome()), expected);
        }
        Err(_) => println!("skipped: may not give folders away"),
    }
}

/// A path exchanged after the folder was opened leads nowhere.
#[test]
fn an_exchanged_folder_is_not_followed() {
    let victim = Victim::new();
    let path = victim.store.path().to_owned();
    let aside = path.with_extension("aside");
    fs::rename(&path, &aside).unwrap();
    fs::create_dir(&path).unwrap();
    victim.outcome().unwrap();
    victim.store.store(&sample(2, TEXT_LEN)).unwrap();
    assert_eq!(fs::read_dir(&path).unwrap().count(), 0);
    assert_eq!(fs::read_dir(&aside).unwrap().count(), 2);
    fs::remove_dir_all(aside).unwrap();
}

#[cfg(feature = "hmac-manifest")]
mod authenticated {
    use super::*;
    use revmc_jit::artifact::{AuthenticationProblem, ManifestKey};

    fn problem(result: Result<(), ArtifactError>) -> AuthenticationProblem {
        match result {
            Err(ArtifactError::Authentication(problem)) => problem,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn only_the_key_makes_artifacts() {
        let key = ManifestKey::new(&[7; 32]);
        let options = DirOptions {
            key: Some(key.clone()),
            ..DirOptions::default()
        };
        let store = TempArtifactStore::new(options).unwrap();
        let artifact = sample(1, TEXT_LEN);
        store.store(&artifact).unwrap();
        let path = store.path().join(artifact.manifest.key().file_name());
        let outcome = || attempt(&*store, program(1)).map(|found| assert!(found.is_some()));
        outcome().unwrap();

        let good = fs::read(&path).unwrap();
        let with = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            outcome()
        };
        assert_eq!(
            problem(with(&artifact.to_bytes(None).unwrap())),
            AuthenticationProblem::Missing
        );
        let other = artifact
            .to_bytes(Some(&ManifestKey::new(&[8; 32])))
            .unwrap();
        assert_eq!(problem(with(&other)), AuthenticationProblem::Wrong);
        // Another library under the old code: the manifest names the library's hash.
        let mut forged = sample(1, TEXT_LEN + 1).to_bytes(None).unwrap();
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
        let mut library = good.clone();
        *library.last_mut().unwrap() ^= 1;
        assert_eq!(mismatch(with(&library)), ManifestField::LibraryHash);

        with(&good).unwrap();
        let keyless = DirArtifactStore::open(store.path(), DirOptions::default()).unwrap();
        let result = attempt(&keyless, program(1)).map(drop);
        assert_eq!(problem(result), AuthenticationProblem::NoKey);
    }

    #[test]
    fn the_code_is_hmac_sha_256_of_header_and_manifest() {
        use hmac::Mac;
        let bytes = sample(1, 64)
            .to_bytes(Some(&ManifestKey::new(&[7; 32])))
            .unwrap();
        let len = u32::from_le_bytes(bytes[16..20].try_into().unwrap()) as usize;
        let mut mac = hmac::Hmac::<sha2::Sha256>::new_from_slice(&[7; 32]).unwrap();
        mac.update(&bytes[..32]);
        mac.update(&bytes[HEADER_LEN..HEADER_LEN + len]);
        assert_eq!(mac.finalize().into_bytes()[..], bytes[64..96]);
    }
}
