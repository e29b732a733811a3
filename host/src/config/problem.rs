//! What is wrong with a configuration: where, what, and the remedy. All problems are reported at once.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

/// A text that spans point into.
#[derive(Debug)]
pub struct Source {
    pub path: PathBuf,
    pub text: String,
}

/// A place in the configuration file, in bytes.
pub type Span = Range<usize>;

/// A value and the place where it was written; the place of the table that lacks it when it is a default.
#[derive(Clone, Debug, PartialEq)]
pub struct Located<T> {
    pub value: T,
    pub span: Span,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// None: of the file as a whole.
    pub span: Option<Span>,
    /// What is wrong, without the place: `pool "app" has no server named "web9"`.
    pub message: String,
    /// What to do about it: `known servers: web1, web2`.
    pub remedy: String,
}

#[derive(Clone, Debug)]
pub struct Problems {
    pub source: Arc<Source>,
    pub list: Vec<Problem>,
}
