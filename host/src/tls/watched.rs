//! Whether a file is still what it was. By its stamp, at intervals: it is what works on network file systems, through renames
//! and through symbolic links, which is how certbot and orchestrators change files.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// Of each file: when it was last written, its length, its number; none while it is missing. Symbolic links are followed.
pub type Stamp = Vec<Option<(i64, i64, u64, u64)>>;

pub fn stamp(files: &[PathBuf]) -> Stamp {
    let of = |file: &PathBuf| {
        let data = std::fs::metadata(file).ok()?;
        Some((data.mtime(), data.mtime_nsec(), data.len(), data.ino()))
    };
    files.iter().map(of).collect()
}

/// Files that are read again when they have changed and been left alone since the last look: what is being written is not
/// read half.
#[derive(Clone, Debug)]
pub struct Watched {
    files: Vec<PathBuf>,
    read: Stamp,
    seen: Stamp,
}

impl Watched {
    /// They are about to be read.
    pub fn new(files: Vec<PathBuf>) -> Watched {
        let read = stamp(&files);
        Watched {
            files,
            seen: read.clone(),
            read,
        }
    }

    /// They have not been read.
    pub fn unread(files: Vec<PathBuf>) -> Watched {
        Watched {
            read: Stamp::new(),
            seen: stamp(&files),
            files,
        }
    }

    /// Whether to read them now. They are taken for read then, whatever comes of it.
    pub fn is_due(&mut self) -> bool {
        let now = stamp(&self.files);
        let settled = now == self.seen;
        let due = settled && now != self.read;
        if due {
            self.read = now.clone();
        }
        self.seen = now;
        due
    }

    pub fn len(&self) -> usize {
        self.files.len()
    }
}
