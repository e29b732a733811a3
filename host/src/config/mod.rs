//! The configuration file: read with its spans (`source`), as typed (`written`), checked and resolved (`check` makes
//! `checked`), what was changed of it at run time (`edits`), and what is wrong with it (`problem`). Knows nothing of plugins' insides: whether a plugin has the role it
//! is used in, and takes its settings, is found when a candidate is built, and reported with the spans kept here.

use std::path::Path;
use std::sync::Arc;

mod address;
mod check;
pub mod checked;
mod choice;
mod edge;
pub mod edits;
mod logging;
pub mod lookup;
mod nearest;
mod probing;
pub mod problem;
mod read;
pub mod said;
mod schema;
pub mod servers_file;
mod shared;
mod shown;
pub mod source;
mod table;
mod text;
mod tls;
mod traces;
mod unit;
mod value;
mod word;
mod written;

pub use checked::Config;
pub use problem::{Located, Problem, Problems, Span, color_for};
pub use schema::schema;
pub use source::Source;

use read::{Reader, Written as _};

/// Reads and checks the file; all its problems at once. `shipped` are the names of the plugins in the binary.
pub fn load(path: &Path, shipped: &[&str]) -> Result<Config, Problems> {
    parse(Source::read(path)?, shipped)
}

/// Checks a text; all its problems at once, but a syntax error alone.
pub fn parse(source: Source, shipped: &[&str]) -> Result<Config, Problems> {
    let Read {
        file,
        shown,
        secrets,
        problems: list,
    } = match read(&source) {
        Ok(read) => read,
        Err(problem) => {
            let mut problems = Problems::new(Arc::new(source));
            problems.push(problem);
            return Err(problems);
        }
    };
    let source = Arc::new(source.masked(&secrets));
    let mut problems = Problems {
        source: Arc::clone(&source),
        list,
    };
    let mut config = check::check(&file, &source, shipped, &mut problems);
    problems.or(())?;
    config.shown = shown;
    Ok(config)
}

/// What the shipped `router` is configured with beside settings of its own: `{"routes": [...]}`, in the file's order.
pub fn router_settings(config: &Config) -> serde_json::Value {
    check::routes::settings(config)
}

/// A document that is TOML, with the problems of its keys and values.
struct Read {
    file: written::File,
    shown: serde_json::Value,
    /// Where secrets stand that no message may quote.
    secrets: Vec<Span>,
    problems: Vec<Problem>,
}

fn read(source: &Source) -> Result<Read, Problem> {
    let document = source.parse()?;
    let mut reader = Reader::new(source.folder());
    let file = written::File::read(&document, &mut reader).expect("a document is a table");
    Ok(Read {
        file,
        shown: shown::document(document.get_ref()),
        secrets: shown::secrets(document.get_ref()),
        problems: reader.problems,
    })
}
