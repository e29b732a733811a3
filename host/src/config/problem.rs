//! What is wrong with a configuration: where, what, and the remedy. All problems are reported at once, each as
//! `file:line:column`, the line with a caret, and `help:` with the remedy, in the form that rustc made familiar.
//!
//! Whoever finds a problem later than the file's check (a plugin that can't be read, one that refuses its settings)
//! reports it here too, with the spans that `checked` keeps.

use std::fmt;
use std::io::IsTerminal;
use std::ops::Range;
use std::sync::Arc;

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};

use super::source::Source;

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
    /// Another place that has to do with it, and what is there: `first used here`.
    pub related: Option<(Span, String)>,
    /// The text that the places are in, where that is not the configuration's.
    pub elsewhere: Option<Arc<Source>>,
}

#[derive(Clone, Debug)]
pub struct Problems {
    pub source: Arc<Source>,
    pub list: Vec<Problem>,
}

impl<T> Located<T> {
    /// Another value at the same place.
    pub fn located<U>(&self, value: U) -> Located<U> {
        Located {
            value,
            span: self.span.clone(),
        }
    }
}

impl Problem {
    pub fn at(span: Span, message: impl Into<String>, remedy: impl Into<String>) -> Problem {
        Problem {
            span: Some(span),
            message: message.into(),
            remedy: remedy.into(),
            related: None,
            elsewhere: None,
        }
    }

    /// One that has no place in the file.
    pub fn of_file(message: impl Into<String>, remedy: impl Into<String>) -> Problem {
        Problem {
            span: None,
            message: message.into(),
            remedy: remedy.into(),
            related: None,
            elsewhere: None,
        }
    }

    pub fn related(mut self, span: Span, label: impl Into<String>) -> Problem {
        self.related = Some((span, label.into()));
        self
    }
}

impl Problems {
    pub fn new(source: Arc<Source>) -> Problems {
        Problems {
            source,
            list: Vec::new(),
        }
    }

    pub fn push(&mut self, problem: Problem) {
        self.list.push(problem);
    }

    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// `Ok` when there are none; else they stand in the order of the file.
    pub fn or<T>(mut self, value: T) -> Result<T, Problems> {
        if self.list.is_empty() {
            return Ok(value);
        }
        self.sort();
        Err(self)
    }

    /// Those of another file, to be told with this one's.
    pub(super) fn adopt(&mut self, others: Problems) {
        let source = others.source;
        self.list
            .extend(others.list.into_iter().map(|problem| Problem {
                elsewhere: Some(source.clone()),
                ..problem
            }));
    }

    /// In the order of the file; those of the file as a whole after them, and those of other files last.
    pub fn sort(&mut self) {
        let place = |p: &Problem| {
            let start = p.span.as_ref().map_or(usize::MAX, |span| span.start);
            let other = p.elsewhere.as_ref().map(|source| source.path.clone());
            (other, start)
        };
        self.list.sort_by_key(place);
        self.list.dedup();
    }

    /// Each problem as a text of several lines, without a line break at its end. `color` is for terminals: see
    /// [`color_for`].
    pub fn render(&self, color: bool) -> Vec<String> {
        let renderer = if color {
            Renderer::styled()
        } else {
            Renderer::plain()
        };
        let renderer = renderer.decor_style(DecorStyle::Ascii);
        let list = self.list.iter();
        list.map(|problem| render(&renderer, &self.source, problem))
            .collect()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false).join("\n\n"))
    }
}

impl std::error::Error for Problems {}

/// Whether to colour what goes there: a terminal, unless `NO_COLOR` is set (<https://no-color.org>) or `TERM` is `dumb`.
pub fn color_for(stream: &impl IsTerminal) -> bool {
    let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    stream.is_terminal()
        && !set("NO_COLOR")
        && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

fn render(renderer: &Renderer, source: &Source, problem: &Problem) -> String {
    let source = problem.elsewhere.as_deref().unwrap_or(source);
    let path = source.path.display().to_string();
    let title = Level::ERROR.primary_title(problem.message.as_str());
    let group = match &problem.span {
        Some(span) => with_place(Group::with_title(title), source, path, span, problem),
        None => title.element(Origin::path(path)),
    };
    let group = group.element(Level::HELP.message(problem.remedy.as_str()));
    renderer.render(&[group])
}

fn with_place<'a>(
    group: Group<'a>,
    source: &'a Source,
    path: String,
    span: &Span,
    problem: &'a Problem,
) -> Group<'a> {
    let main = AnnotationKind::Primary.span(source.first_line(span));
    let mut snippet = Snippet::source(source.text.as_str())
        .path(path)
        .annotation(main);
    if let Some((span, label)) = &problem.related {
        let place = AnnotationKind::Context.span(source.first_line(span));
        snippet = snippet.annotation(place.label(label.as_str()));
    }
    group.element(snippet)
}
