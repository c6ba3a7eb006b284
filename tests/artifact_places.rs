//! Files and folders that others could have made or could change are refused, with an error that names why.
#![cfg(target_os = "linux")]

mod artifact_support;

use artifact_support::{TEXT_LEN, Victim, build_id, program, sample, sealed};
use revmc_jit::artifact::{
    ArtifactError, ArtifactKey, ArtifactStore, DirArtifactStore, DirOptions, FileProblem,
    FolderProblem,
};
use std::{
    fs,
    os::unix::fs::{PermissionsExt, chown, symlink},
};

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
    victim.store.store(&sealed(&sample(1, TEXT_LEN))).unwrap();
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
    let key = ArtifactKey::new(program(1).code_hash, build_id());
    for mode in [0o777, 0o770, 0o702, 0o720, 0o1777] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let expected = FolderProblem::WritableByOthers { mode };
        assert_eq!(folder_problem(open()), expected);
        // The change is noticed by a store that is open, too.
        assert_eq!(folder_problem(victim.outcome()), expected);
        assert_eq!(folder_problem(victim.store.load_all()), expected);
        assert_eq!(
            folder_problem(victim.store.store(&sealed(&sample(1, TEXT_LEN)))),
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
    // However it is written.
    for end in ["", "/", "//", "/.", "/./", "/.//."] {
        let written = format!("{}{end}", link.display());
        let opened = DirArtifactStore::open(written, DirOptions::default());
        assert_eq!(folder_problem(opened), FolderProblem::Symlink, "{end:?}");
    }
    for end in ["/..", "/../", "/x/..", "/../."] {
        let written = format!("{}{end}", link.display());
        let opened = DirArtifactStore::open(written, DirOptions::default());
        assert_eq!(folder_problem(opened), FolderProblem::Parent, "{end:?}");
    }
    // The folder itself may be written in any way.
    for end in ["", "/", "/./"] {
        DirArtifactStore::open(format!("{}{end}", path.display()), DirOptions::default()).unwrap();
    }
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
    victim.store.store(&sealed(&sample(2, TEXT_LEN))).unwrap();
    assert_eq!(fs::read_dir(&path).unwrap().count(), 0);
    assert_eq!(fs::read_dir(&aside).unwrap().count(), 2);
    fs::remove_dir_all(aside).unwrap();
}
