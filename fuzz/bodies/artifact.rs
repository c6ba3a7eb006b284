//! What the fuzz targets for artifacts do with one input; `tests/artifact_fuzz.rs` runs the same
//! with generated inputs.

use revmc_jit::artifact::{
    ArtifactKey, ArtifactManifest, ArtifactStore, DirOptions, HEADER_LEN, HeatList, StoredArtifact,
    TempArtifactStore,
};
use std::{ffi::OsStr, fs, os::unix::ffi::OsStrExt};

/// One input for all four below: the first byte says which.
pub fn bytes(data: &[u8]) {
    match data.split_first() {
        Some((0, rest)) => manifest(rest),
        Some((1, rest)) => artifact(rest),
        Some((3, rest)) => heat(rest),
        Some((_, rest)) => listing(rest),
        None => {}
    }
}

/// Any bytes as a manifest: refused, or exactly what writing the manifest gives.
fn manifest(data: &[u8]) {
    if let Ok(manifest) = ArtifactManifest::parse(data) {
        assert_eq!(manifest.encode().as_bytes(), data);
        let key = manifest.key();
        assert_eq!(ArtifactKey::from_file_name(&key.file_name()), Some(key));
        // Whatever lengths it claims, laying out must not panic.
        let _ = manifest.layout();
    }
}

/// Any bytes as an artifact: refused, or exactly what writing the artifact gives; verifying it
/// against its own claims accepts only libraries in the fixed form.
fn artifact(data: &[u8]) {
    if let Ok(artifact) = StoredArtifact::from_bytes(&data.to_vec().into(), None) {
        assert_eq!(artifact.to_bytes().unwrap(), data);
        let manifest = &artifact.manifest;
        let _ = artifact.verify(manifest.code_hash, &manifest.determinants);
    }
}

/// Any bytes as a list of what was hot: refused, or exactly what writing the list gives.
fn heat(data: &[u8]) {
    if let Ok(list) = HeatList::from_bytes(data, None) {
        assert_eq!(list.to_bytes(None), data);
        assert_eq!(HeatList::new(list.entries().to_vec()), list);
    }
}

/// Any names and contents in the folder: the first byte gives a name's length, the second a
/// content's; listing, loading and clearing fail only for single files.
fn listing(mut data: &[u8]) {
    let store = TempArtifactStore::new(DirOptions::default()).unwrap();
    while let [name_len, content_len, rest @ ..] = data {
        let (name, rest) = rest.split_at(rest.len().min(usize::from(*name_len)));
        let (content, rest) = rest.split_at(rest.len().min(usize::from(*content_len)));
        data = rest;
        // Names that the file system refuses never reach the store.
        if !name.contains(&b'/') {
            let _ = fs::write(store.path().join(OsStr::from_bytes(name)), content);
        }
    }
    let index = store.load_all().unwrap();
    for entry in &index.entries {
        assert!(entry.stored_len >= HEADER_LEN as u64);
        // So short a file is never a whole artifact.
        let bytes = store.load(&entry.key).unwrap().unwrap();
        StoredArtifact::from_bytes(&bytes, None).unwrap_err();
    }
    let artifacts = store.clear().unwrap();
    assert!(artifacts >= index.entries.len());
    assert_eq!(store.load_all().unwrap().entries.len(), 0);
}
