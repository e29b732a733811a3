//! What commands write: results to standard output, errors and progress to standard error. Progress shows on a terminal alone.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

use crate::config::{Problems, color_for};

/// Why a command ends with 1: each problem whole.
#[derive(Debug)]
pub struct Failure(Vec<Told>);

#[derive(Debug)]
enum Told {
    /// To be preceded by `error: `.
    Plain(String),
    /// Has its heading and colours.
    Rendered(String),
    /// What is wrong has been written already.
    Nothing,
}

impl Failure {
    pub fn new(problem: impl Into<String>) -> Failure {
        Failure(vec![Told::Plain(problem.into())])
    }

    /// Problems that a floor below made into text: those of the config file begin with `error` already.
    pub fn of_texts(problems: Vec<String>) -> Failure {
        let told = problems.into_iter().map(|text| {
            if text.starts_with("error") {
                Told::Rendered(text)
            } else {
                Told::Plain(text)
            }
        });
        Failure(told.collect())
    }

    pub fn of_problems(problems: &Problems) -> Failure {
        let rendered = problems.render(color_for(&io::stderr()));
        Failure(rendered.into_iter().map(Told::Rendered).collect())
    }

    /// Ends with 1 and says nothing more.
    pub fn silent() -> Failure {
        Failure(vec![Told::Nothing])
    }

    pub fn tell(&self) {
        let (bold_red, plain) = if color_for(&io::stderr()) {
            ("\x1b[1;31m", "\x1b[0m")
        } else {
            ("", "")
        };
        let mut first = true;
        for told in &self.0 {
            let text = match told {
                Told::Plain(text) => format!("{bold_red}error{plain}: {text}"),
                Told::Rendered(text) => text.clone(),
                Told::Nothing => continue,
            };
            let gap = if first { "" } else { "\n" };
            // There is nowhere left to complain to.
            let _ = writeln!(io::stderr(), "{gap}{}", text.trim_end());
            first = false;
        }
    }
}

/// The problems' own words, without heading.
impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let texts = self.0.iter().map(|told| match told {
            Told::Plain(text) | Told::Rendered(text) => text.as_str(),
            Told::Nothing => "",
        });
        f.write_str(&texts.collect::<Vec<_>>().join("\n"))
    }
}

/// What failed and at what: `cannot read x.wasm: No such file …`.
pub fn failed<E: Display>(doing: impl Display) -> impl FnOnce(E) -> Failure {
    move |error| Failure::new(format!("cannot {doing}: {error}"))
}

/// To standard output. A reader that has seen enough (`| head`) is no error.
pub fn print(text: &str) -> Result<(), Failure> {
    print_on(text).map(drop)
}

/// The same, again and again. False: the reader has seen enough.
pub fn print_on(text: &str) -> Result<bool, Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(failed("write to standard output")(error)),
    }
}

/// One line on the terminal that says what takes so long; gone when dropped.
pub struct Progress {
    shown: bool,
}

impl Progress {
    pub fn new(doing: &str) -> Progress {
        let mut progress = Progress {
            shown: io::stderr().is_terminal(),
        };
        progress.now(doing);
        progress
    }

    pub fn now(&mut self, doing: &str) {
        if self.shown {
            let _ = write!(io::stderr(), "\r\x1b[K{doing} …");
            let _ = io::stderr().flush();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

/// `1.2 kB`, `3.4 MB`.
pub fn size(bytes: usize) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}

/// Rows under a heading, columns as wide as what is in them. Control characters are escaped.
pub fn table(heading: &[&str], rows: &[Vec<String>]) -> String {
    let rows: Vec<Vec<String>> = std::iter::once(heading.iter().map(|s| (*s).to_owned()).collect())
        .chain(
            rows.iter()
                .map(|row| row.iter().map(|cell| shown(cell)).collect()),
        )
        .collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<usize> = (0..heading.len()).filter_map(width).collect();
    let mut out = String::new();
    for row in &rows {
        let cells = row.iter().zip(&widths);
        let line: Vec<String> = cells
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        out += line.join("  ").trim_end();
        out.push('\n');
    }
    out
}

/// Text that may come from elsewhere, safe for a terminal.
pub fn shown(text: &str) -> String {
    text.chars().fold(String::new(), |mut out, c| {
        if c.is_control() {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
        out
    })
}
