//! Files for people to read, in folders where others may be able to write, too.
//!
//! What is created is for this user alone, and no symbolic link is followed in its place. Of the
//! folders above it the caller has to be sure.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
};

/// Creates a file to append to, in place of a regular file of that name. Anything else that has the
/// name stays, and is an error.
pub(crate) fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    // O_EXCL: a symbolic link is not followed.
    options.append(true).create_new(true).mode(0o600);
    match options.open(path) {
        Err(error)
            if error.kind() == io::ErrorKind::AlreadyExists
                && fs::symlink_metadata(path)?.is_file() =>
        {
            // The name alone goes: another link to the file keeps it as it is.
            fs::remove_file(path)?;
            options.open(path)
        }
        opened => opened,
    }
}

/// Creates a folder, unless it is there. A symbolic link to one is an error.
pub(crate) fn create_folder(path: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error)
            if error.kind() == io::ErrorKind::AlreadyExists
                && fs::symlink_metadata(path)?.is_dir() =>
        {
            Ok(())
        }
        created => created,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::{DirOptions, TempArtifactStore};
    use std::{
        io::Write,
        os::unix::fs::{MetadataExt, symlink},
    };

    #[test]
    fn a_file_replaces_a_file_and_nothing_else() {
        let dir = TempArtifactStore::new(DirOptions::default()).unwrap();
        let [path, victim, other] = ["new", "victim", "other"].map(|name| dir.path().join(name));
        fs::write(&victim, "precious").unwrap();
        // A link to it, of either kind.
        symlink(&victim, &path).unwrap();
        assert!(create(&path).is_err());
        assert_eq!(fs::read_link(&path).unwrap(), victim);
        fs::remove_file(&path).unwrap();
        fs::hard_link(&victim, &path).unwrap();
        write!(create(&path).unwrap(), "mine").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        // A folder, and a link that leads nowhere.
        fs::create_dir(&other).unwrap();
        assert!(create(&other).is_err() && other.is_dir());
        symlink(dir.path().join("nowhere"), dir.path().join("dangling")).unwrap();
        assert!(create(&dir.path().join("dangling")).is_err());
        assert!(!dir.path().join("nowhere").exists());
    }

    #[test]
    fn a_folder_may_be_there_and_a_link_to_one_may_not() {
        let dir = TempArtifactStore::new(DirOptions::default()).unwrap();
        let [path, link] = ["new", "link"].map(|name| dir.path().join(name));
        create_folder(&path).unwrap();
        create_folder(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
        symlink(&path, &link).unwrap();
        assert!(create_folder(&link).is_err());
        assert!(create_folder(&dir.path().join("no/such")).is_err());
    }
}
