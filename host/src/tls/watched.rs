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

    /// They have been neither read nor looked at: they may be being written.
    pub fn unread(files: Vec<PathBuf>) -> Watched {
        Watched {
            read: Stamp::new(),
            seen: Stamp::new(),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_being_written_is_left_alone() {
        let file = std::env::temp_dir().join(format!("tidegate-watched-{}", std::process::id()));
        std::fs::write(&file, "half").unwrap();
        let mut watched = Watched::unread(vec![file.clone()]);
        assert!(!watched.is_due(), "it may not be whole at first sight");
        std::fs::write(&file, "half and more").unwrap();
        assert!(!watched.is_due(), "it has just changed");
        assert!(watched.is_due());
        assert!(!watched.is_due(), "once");
        std::fs::remove_file(&file).unwrap();
    }
}
