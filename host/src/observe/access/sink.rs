//! Where lines go: standard output, standard error, or a file that is appended to. Each is written without a buffer in
//! between: the rings are the buffer.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;

use crate::config::checked::AccessTarget;

/// Readable for the group, as logs are (`adm` on Debian); the umask may take more away.
const MODE: u32 = 0o640;
/// How often, and how far apart, a target is tried that says it is busy: somebody has made the terminal or pipe that they
/// share with us non-blocking.
const BUSY_TRIES: u32 = 200;
const BUSY_PAUSE: Duration = Duration::from_millis(1);

pub struct Sink {
    file: File,
    name: Name,
    /// The last byte written was not a line's end.
    mid_line: bool,
    /// A write failed there: the rest of that line is lost.
    torn: bool,
}

enum Name {
    Stdout,
    Stderr,
    Path(PathBuf),
}

impl Sink {
    /// None: off.
    pub fn open(target: &AccessTarget) -> io::Result<Option<Sink>> {
        let (file, name) = match target {
            AccessTarget::Off => return Ok(None),
            AccessTarget::Stdout => (
                io::stdout().as_fd().try_clone_to_owned()?.into(),
                Name::Stdout,
            ),
            AccessTarget::Stderr => (
                io::stderr().as_fd().try_clone_to_owned()?.into(),
                Name::Stderr,
            ),
            AccessTarget::File(path) => (append_to(path)?, Name::Path(path.clone())),
        };
        Ok(Some(Sink {
            file,
            name,
            mid_line: false,
            torn: false,
        }))
    }

    #[cfg(test)]
    pub fn to(file: File) -> Sink {
        Sink {
            file,
            name: Name::Stdout,
            mid_line: false,
            torn: false,
        }
    }

    /// Opens the path again; standard output and error stay as they are.
    pub fn reopen(&mut self) -> io::Result<()> {
        if let Name::Path(path) = &self.name {
            self.file = append_to(path)?;
            (self.mid_line, self.torn) = (false, false);
        }
        Ok(())
    }

    /// Writes all of it, or says how much of it went out. What follows a line that broke off begins on a line of its own.
    pub fn write(&mut self, lines: &[u8]) -> Result<(), (usize, io::Error)> {
        if self.torn {
            write_all(&mut self.file, b"\n").map_err(|(_, error)| (0, error))?;
            self.torn = false;
        }
        let result = write_all(&mut self.file, lines);
        let written = match &result {
            Ok(()) => lines.len(),
            Err((written, _)) => *written,
        };
        if let Some(last) = lines[..written].last() {
            self.mid_line = *last != b'\n';
        }
        self.torn = result.is_err() && self.mid_line;
        result
    }
}

/// A disk may hang: this is for a thread that may wait. A named pipe that nobody reads is an error, it is not waited for.
fn append_to(path: &Path) -> io::Result<File> {
    let opened = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(MODE)
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
        .open(path);
    let blocking = |file: File| {
        fcntl_setfl(&file, fcntl_getfl(&file)? - OFlags::NONBLOCK)?;
        Ok(file)
    };
    opened.and_then(blocking).map_err(|error| {
        let path = path.display();
        match error.raw_os_error() {
            Some(number) if number == Errno::NXIO.raw_os_error() => io::Error::new(
                io::ErrorKind::NotConnected,
                format!("{path}: nobody reads this pipe"),
            ),
            _ => io::Error::new(error.kind(), format!("{path}: {error}")),
        }
    })
}

fn write_all(file: &mut File, bytes: &[u8]) -> Result<(), (usize, io::Error)> {
    let mut written = 0;
    let mut tries = 0;
    while written < bytes.len() {
        match file.write(&bytes[written..]) {
            Ok(0) => return Err((written, io::ErrorKind::WriteZero.into())),
            Ok(more) => {
                written += more;
                tries = 0;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && tries < BUSY_TRIES => {
                tries += 1;
                thread::sleep(BUSY_PAUSE);
            }
            Err(error) => return Err((written, error)),
        }
    }
    Ok(())
}

impl fmt::Display for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Name::Stdout => f.write_str("standard output"),
            Name::Stderr => f.write_str("standard error"),
            Name::Path(path) => path.display().fmt(f),
        }
    }
}
