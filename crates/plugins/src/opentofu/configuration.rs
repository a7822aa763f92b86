//! The role's files, and a copy of them to work in.

use std::fs;
use std::path::{Path, PathBuf};

use crate::digest::Inputs;
use crate::error::Error;

/// Copies a directory, and adds what is in it to what a plan depends on.
pub(super) fn copy(from: &Path, to: &Path, inputs: &mut Inputs) -> Result<(), Error> {
    let mut files = Vec::new();
    collect(from, Path::new(""), &mut files)?;
    files.sort();
    for within in files {
        let content = fs::read(from.join(&within)).map_err(Error::file(&within))?;
        inputs.add(within.as_os_str().as_encoded_bytes());
        inputs.add(&content);
        let target = to.join(&within);
        let made =
            target.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(&target, content));
        made.map_err(Error::file(&target))?;
    }
    Ok(())
}

fn collect(root: &Path, within: &Path, files: &mut Vec<PathBuf>) -> Result<(), Error> {
    let directory = root.join(within);
    for entry in fs::read_dir(&directory).map_err(Error::file(&directory))? {
        let entry = entry.map_err(Error::file(&directory))?;
        let path = within.join(entry.file_name());
        let kind = entry.file_type().map_err(Error::file(&path))?;
        if kind.is_dir() {
            // What a role's author left behind when trying it.
            if entry.file_name() != ".terraform" {
                collect(root, &path, files)?;
            }
        } else if kind.is_file() {
            files.push(path);
        } else {
            return Err(Error::Role(format!("{} is neither a file nor a directory", path.display())));
        }
    }
    Ok(())
}
