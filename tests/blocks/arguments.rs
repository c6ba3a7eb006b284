//! The command line of a program that runs a folder of blocks.

use super::format::OWN;
use std::path::PathBuf;

/// The folder that is named; without one, the blocks that come with the crate. `flag` takes each flag,
/// with the arguments that belong to it. `None` where that is for it, and where two folders are named.
pub fn folder(
    mut arguments: impl Iterator<Item = String>,
    mut flag: impl FnMut(&str, &mut dyn Iterator<Item = String>) -> Option<()>,
) -> Option<PathBuf> {
    let mut folder = None;
    while let Some(argument) = arguments.next() {
        if argument.starts_with('-') {
            flag(&argument, &mut arguments)?;
        } else if folder.replace(argument.into()).is_some() {
            return None;
        }
    }
    Some(folder.unwrap_or_else(|| OWN.into()))
}

/// A number that is not zero.
pub fn number(arguments: &mut dyn Iterator<Item = String>) -> Option<usize> {
    arguments.next()?.parse().ok().filter(|&number| number > 0)
}
