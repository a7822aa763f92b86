//! Files that are on no disk: a plug-in's working directory lies in dispatcherd's journal, where no secret may be in the clear.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::symlink;
use std::path::Path;

use rustix::fs::{MemfdFlags, memfd_create};

use crate::error::Error;

/// A file in memory, which is gone when this program and those that it started have ended.
#[derive(Debug)]
pub(crate) struct Hidden(#[expect(dead_code, reason = "open as long as this is")] OwnedFd);

impl Hidden {
    /// A file with this content that the programs which this one starts find at `path`.
    ///
    /// They inherit the descriptor, so a link to it means the same to them.
    pub(crate) fn at(path: &Path, content: &[u8]) -> Result<Self, Error> {
        let made = memfd_create("aegir-runner", MemfdFlags::empty()).map_err(Into::into);
        let file = made.and_then(|file| {
            let mut file = File::from(file);
            file.write_all(content)?;
            symlink(format!("/proc/self/fd/{}", file.as_raw_fd()), path)?;
            Ok(file)
        });
        file.map(|file| Self(file.into())).map_err(Error::file(path))
    }
}
