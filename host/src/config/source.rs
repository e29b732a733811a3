//! The configuration file's text: read with a bound, parsed as TOML 1.1 with the place of every key and value. Knows
//! nothing of what the keys mean.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde_spanned::Spanned;
use toml::de::DeTable;

use super::problem::{Problem, Span};

/// A text that spans point into.
#[derive(Debug)]
pub struct Source {
    /// As the operator named it; relative paths in the text are relative to its folder.
    pub path: PathBuf,
    pub text: String,
}

/// Ten thousand servers with labels are about a megabyte.
const LARGEST: u64 = 32 << 20;

impl Source {
    /// Reads the file. An error is a problem of the file as a whole, and comes with an empty source that names it.
    pub fn read(path: &Path) -> Result<Source, (Source, Problem)> {
        let source = |text| Source {
            path: path.to_owned(),
            text,
        };
        let bytes = read_bounded(path, LARGEST)
            .map_err(|error| (source(String::new()), unreadable(&error)))?;
        match String::from_utf8(bytes) {
            Ok(text) => Ok(source(text)),
            Err(error) => {
                let at = error.utf8_error().valid_up_to();
                let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
                Err((source(text), not_utf8(at)))
            }
        }
    }

    /// The folder that relative paths start from.
    pub fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }

    pub(super) fn parse(&self) -> Result<Spanned<DeTable<'_>>, Problem> {
        DeTable::parse(&self.text).map_err(|error| {
            let message = error.message().trim_end().to_owned();
            let remedy = syntax_remedy(&message).to_owned();
            Problem {
                span: error.span(),
                message,
                remedy,
                related: None,
            }
        })
    }

    /// The part of a span that lies on its first line, at least one character wide, within the text: what a caret
    /// marks. A table of twenty lines is known by its first.
    pub(super) fn first_line(&self, span: &Span) -> Span {
        let start = self
            .text
            .floor_char_boundary(span.start.min(self.text.len()));
        let end = self
            .text
            .ceil_char_boundary(span.end.clamp(start, self.text.len()));
        let first = self.text[start..end].lines().next().unwrap_or("");
        start..start + first.len()
    }
}

/// A whole file of at most `most` bytes.
pub(super) fn read_bounded(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = File::open(path)?.take(most + 1).read_to_end(&mut bytes)?;
    if read as u64 > most {
        return Err(io::Error::other(format!("it is larger than {most} bytes")));
    }
    Ok(bytes)
}

/// What `error` says without its number: `No such file or directory`.
pub(super) fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

fn unreadable(error: &io::Error) -> Problem {
    let remedy = match error.kind() {
        io::ErrorKind::NotFound => {
            "name the configuration file with -c, or try `tidegate demo`, which needs none"
        }
        io::ErrorKind::PermissionDenied => "let the user that runs tidegate read it",
        io::ErrorKind::IsADirectory => "name the file in it",
        _ => "name a readable TOML file with -c",
    };
    Problem::of_file(
        format!("the configuration can't be read: {}", reason(error)),
        remedy,
    )
}

fn not_utf8(at: usize) -> Problem {
    Problem::at(
        at..at + 1,
        "the configuration is not UTF-8 from here on",
        "save the file as UTF-8",
    )
}

fn syntax_remedy(message: &str) -> &'static str {
    if message.contains("duplicate key") {
        "keep one of the two"
    } else if message.contains("must be quoted") || message.contains("literal string") {
        "put the text in double quotes"
    } else if message.contains("unclosed") {
        "close it"
    } else {
        "correct the TOML here; its rules are on https://toml.io/en/v1.1.0"
    }
}
