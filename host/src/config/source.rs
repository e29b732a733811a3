//! The configuration file's text: read with a bound, parsed as TOML 1.1 with the place of every key and value. Knows
//! nothing of what the keys mean.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_spanned::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{Problem, Problems, Span};

/// A text that spans point into.
#[derive(Debug, PartialEq, Eq)]
pub struct Source {
    /// As the operator named it; relative paths in the text are relative to its folder.
    pub path: PathBuf,
    pub text: String,
}

/// Ten thousand servers with labels are about a megabyte.
const LARGEST: u64 = 32 << 20;

impl Source {
    /// Reads the file.
    pub fn read(path: &Path) -> Result<Source, Problems> {
        Source::at(path, unreadable, "the configuration")
    }

    /// Reads a file that is called `title`; `unreadable` says so when it can't be.
    pub(super) fn at(
        path: &Path,
        unreadable: fn(&io::Error) -> Problem,
        title: &str,
    ) -> Result<Source, Problems> {
        let source = |text| Source {
            path: path.to_owned(),
            text,
        };
        let refuse = |text, problem| {
            let mut problems = Problems::new(Arc::new(source(text)));
            problems.push(problem);
            problems
        };
        let bytes = read_bounded(path, LARGEST)
            .map_err(|error| refuse(String::new(), unreadable(&error)))?;
        String::from_utf8(bytes).map(source).map_err(|error| {
            let at = error.utf8_error().valid_up_to();
            let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
            refuse(text, not_utf8(title, at))
        })
    }

    /// The folder that relative paths start from.
    pub fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }

    /// A table.
    pub(super) fn parse(&self) -> Result<Spanned<DeValue<'_>>, Problem> {
        let table = DeTable::parse(&self.text);
        let value =
            table.map(|table| Spanned::new(table.span(), DeValue::Table(table.into_inner())));
        value.map_err(|error| self.syntax_problem(&error))
    }

    fn syntax_problem(&self, error: &toml::de::Error) -> Problem {
        let span = error.span().unwrap_or(0..0);
        let rest = self.text.get(span.start..).unwrap_or("");
        let (message, remedy) = syntax(error.message().trim_end(), rest);
        Problem::at(span, message, remedy)
    }

    /// The same with asterisks in these places, so that no message quotes it; all places stay what they are.
    pub(super) fn masked(mut self, places: &[Span]) -> Source {
        for place in places {
            let stars = "*".repeat(place.len());
            self.text.replace_range(place.clone(), &stars);
        }
        self
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

fn not_utf8(title: &str, at: usize) -> Problem {
    Problem::at(
        at..at + 1,
        format!("{title} is not UTF-8 from here on"),
        "save the file as UTF-8",
    )
}

/// The parser's message and what to do about it; `rest` is the text from the place on. Where the parser guesses wrongly what
/// was meant, the message is ours.
fn syntax(message: &str, rest: &str) -> (String, String) {
    let line = rest.lines().next().unwrap_or("").trim_end();
    let word: String = line.chars().take_while(|c| c.is_alphanumeric()).collect();
    let of_value = ["quoted", "float", "integer", "number", "literal", "date"];
    let of_value = of_value.iter().any(|kind| message.contains(kind));
    if of_value && (line.is_empty() || line.starts_with('#')) {
        let remedy = "write a value after the `=`, or leave the key out";
        return ("a key without a value".to_owned(), remedy.to_owned());
    }
    if of_value && word.starts_with(char::is_alphabetic) {
        let message = "a string without quotes".to_owned();
        return (message, "put it in double quotes: \"…\"".to_owned());
    }
    let remedy = if message.contains("duplicate key") {
        "keep one of the two, or join them"
    } else if message.contains("string, expected") {
        "close the string with a quote"
    } else if message.contains("unclosed") {
        "close it"
    } else {
        "correct the TOML here; its rules are on https://toml.io/en/v1.1.0"
    };
    (message.to_owned(), remedy.to_owned())
}
