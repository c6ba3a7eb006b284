//! What a disk can do to a store: it is full, read-only, bounded, or somebody else's, and the error says so.
#![cfg(target_os = "linux")]

mod artifact_support;

use artifact_support::{attempt, child, io_problem, names, program, read, role, sample, sealed};
use revmc_jit::artifact::{
    ArtifactStore, DirArtifactStore, DirOptions, IoProblem, TempArtifactStore,
};
use std::{fs, os::unix::fs::PermissionsExt, path::Path};

/// Runs a test's child on a folder of its own to its end; it says "skipped" if the system does not let it
/// do its work.
fn run_child(test: &str) {
    let folder = TempArtifactStore::new(DirOptions::default()).unwrap();
    let output = child(test, folder.path()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    if let Some(line) = text.lines().find(|line| line.contains("skipped")) {
        println!("{line}");
    } else {
        assert!(text.contains("child done"), "{text}");
    }
}

#[test]
fn a_full_and_a_read_only_disk_are_named() {
    let Some(folder) = role() else {
        return run_child("a_full_and_a_read_only_disk_are_named");
    };
    let path = std::ffi::CString::new(folder.to_str().unwrap()).unwrap();
    let mount = |flags: libc::c_ulong| {
        // SAFETY: C strings; the child has a mount namespace of its own.
        unsafe {
            let data = c"size=256k,mode=700".as_ptr().cast();
            libc::mount(
                c"none".as_ptr(),
                path.as_ptr(),
                c"tmpfs".as_ptr(),
                flags,
                data,
            )
        }
    };
    // SAFETY: plain system calls, in a process with one thread of interest.
    let alone = unsafe {
        libc::unshare(libc::CLONE_NEWNS) == 0
            && libc::mount(
                std::ptr::null(),
                c"/".as_ptr(),
                std::ptr::null(),
                libc::MS_REC | libc::MS_PRIVATE,
                std::ptr::null(),
            ) == 0
    };
    if !alone || mount(0) != 0 {
        return println!("skipped: may not mount a small file system");
    }
    let store = DirArtifactStore::open(&folder, DirOptions::default()).unwrap();
    let (stored, error) = (0..)
        .find_map(|i| {
            store
                .store(&sealed(&sample(i, 20_000)))
                .err()
                .map(|error| (i, error))
        })
        .unwrap();
    assert!(stored > 3, "{stored}");
    assert_eq!(io_problem(Err::<(), _>(error)), IoProblem::DiskFull);
    // Nothing half remains, and what was there is still good.
    assert_eq!(names(&folder).len() as u64, stored);
    (0..stored).for_each(|i| assert!(attempt(&store, program(i)).unwrap().is_some()));
    assert!(store.delete(&sample(0, 20_000).manifest.key()).unwrap());
    store.store(&sealed(&sample(stored, 20_000))).unwrap();

    assert_eq!(mount(libc::MS_REMOUNT | libc::MS_RDONLY), 0);
    assert_eq!(
        io_problem(store.store(&sealed(&sample(1, 20_000)))),
        IoProblem::ReadOnly
    );
    assert_eq!(
        io_problem(store.delete(&sample(1, 20_000).manifest.key())),
        IoProblem::ReadOnly
    );
    assert_eq!(io_problem(store.clear()), IoProblem::ReadOnly);
    assert!(attempt(&store, program(1)).unwrap().is_some());
    println!("child done");
}

#[test]
fn a_bound_on_file_sizes_is_named() {
    let Some(folder) = role() else {
        return run_child("a_bound_on_file_sizes_is_named");
    };
    let limit = libc::rlimit {
        rlim_cur: 50_000,
        rlim_max: 50_000,
    };
    // SAFETY: plain system calls; without the signal's default action, writing returns an error.
    unsafe {
        assert_ne!(libc::signal(libc::SIGXFSZ, libc::SIG_IGN), libc::SIG_ERR);
        assert_eq!(libc::setrlimit(libc::RLIMIT_FSIZE, &limit), 0);
    }
    let options = DirOptions {
        max_artifacts: 1,
        ..DirOptions::default()
    };
    let store = DirArtifactStore::open(&folder, options).unwrap();
    let stored = store.store(&sealed(&sample(0, 20_000))).unwrap();
    assert_eq!(stored.removed, []);
    assert_eq!(
        io_problem(store.store(&sealed(&sample(1, 60_000)))),
        IoProblem::FileTooLarge
    );
    assert_eq!(names(&folder), Vec::<String>::new());
    // What went for it is told with the next.
    let stored = store.store(&sealed(&sample(1, 20_000))).unwrap();
    assert_eq!(stored.removed, [sample(0, 20_000).manifest.key()]);
    println!("child done");
}

#[test]
fn lost_permissions_are_named() {
    let Some(folder) = role() else {
        return run_child("lost_permissions_are_named");
    };
    // Permissions do not bind the superuser: become somebody else.
    const NOBODY: u32 = 65534;
    // SAFETY: plain system calls.
    if unsafe { libc::geteuid() } == 0 {
        std::os::unix::fs::chown(&folder, Some(NOBODY), Some(NOBODY)).unwrap();
        // SAFETY: as above.
        if unsafe { libc::setgid(NOBODY) != 0 || libc::setuid(NOBODY) != 0 } {
            return println!("skipped: may not change the user");
        }
    }
    let permit = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    let store = DirArtifactStore::open(&folder, DirOptions::default()).unwrap();
    let (artifact, key) = (sample(1, 100), sample(1, 100).manifest.key());
    store.store(&sealed(&artifact)).unwrap();

    permit(&folder, 0o500);
    assert_eq!(
        io_problem(store.store(&sealed(&artifact))),
        IoProblem::PermissionDenied
    );
    assert_eq!(io_problem(store.delete(&key)), IoProblem::PermissionDenied);
    assert_eq!(io_problem(store.clear()), IoProblem::PermissionDenied);
    assert_eq!(store.load_all().unwrap().entries.len(), 1);
    assert!(attempt(&store, program(1)).unwrap().is_some());

    permit(&folder, 0o000);
    assert_eq!(io_problem(store.load(&key)), IoProblem::PermissionDenied);
    assert_eq!(io_problem(store.load_all()), IoProblem::PermissionDenied);
    let again = DirArtifactStore::open(&folder, DirOptions::default());
    assert_eq!(io_problem(again), IoProblem::PermissionDenied);

    permit(&folder, 0o700);
    permit(&folder.join(key.file_name()), 0o000);
    assert_eq!(io_problem(store.load(&key)), IoProblem::PermissionDenied);
    store.store(&sealed(&artifact)).unwrap();
    assert_eq!(read(&store, &key).unwrap(), Some(artifact));
    println!("child done");
}
