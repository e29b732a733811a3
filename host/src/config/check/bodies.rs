//! What a listener does with bodies: how answers are compressed, and the pages for its own errors, which are read here.

use std::path::Path;

use super::Check;
use crate::config::checked::{Coding, Compression, ErrorPage};
use crate::config::problem::{Located, Problem};
use crate::config::source::{read_bounded, reason};
use crate::config::text::Text;
use crate::config::value::Map;
use crate::config::written;

/// Bytes of an error page.
const LARGEST_PAGE: u64 = 1 << 20;

/// Endings of names, and what is in such files.
const TYPES: [(&str, &str); 6] = [
    ("html", "text/html; charset=utf-8"),
    ("htm", "text/html; charset=utf-8"),
    ("txt", "text/plain; charset=utf-8"),
    ("json", "application/json"),
    ("xml", "application/xml"),
    ("svg", "image/svg+xml"),
];

impl Check<'_> {
    pub(super) fn compression(&mut self, written: &written::Compression) -> Compression {
        let mut codings: Vec<Coding> = Vec::new();
        for coding in &written.algorithms.value {
            if codings.contains(&coding.value) {
                self.problem(Problem::at(
                    coding.span.clone(),
                    format!("{:?} is there twice", coding.value.name()),
                    "name each algorithm once, the preferred one first",
                ));
            }
            codings.push(coding.value);
        }
        let types = written.types.value.iter();
        Compression {
            codings,
            types: types.map(|range| range.value.0.clone()).collect(),
            min_size: written.min_size.value.0,
            gzip_level: written.gzip_level.value.0 as u32,
            brotli_level: written.brotli_level.value.0 as u32,
            zstd_level: written.zstd_level.value.0 as u32,
        }
    }

    /// Those that can be read.
    pub(super) fn error_pages(&mut self, written: &Map<Text>) -> Vec<ErrorPage> {
        let pages = written.0.iter();
        let pages = pages.filter_map(|(status, file)| {
            let status = self.error_status(status);
            let page = self.page(file);
            status
                .zip(page)
                .map(|(status, page)| ErrorPage { status, ..page })
        });
        pages.collect()
    }

    fn error_status(&mut self, key: &Located<String>) -> Option<u16> {
        let status = match key.value.as_str() {
            "4xx" => Some(4),
            "5xx" => Some(5),
            text => text
                .parse()
                .ok()
                .filter(|status| (400..600).contains(status)),
        };
        if status.is_none() {
            self.problem(Problem::at(
                key.span.clone(),
                format!("{:?} is no status of an error", key.value),
                "write a status from \"400\" to \"599\", or \"4xx\" or \"5xx\" for all of a class",
            ));
        }
        status
    }

    fn page(&mut self, file: &Located<Text>) -> Option<ErrorPage> {
        let path = self.source.folder().join(&file.value.value);
        let content_type = content_type(&path);
        if content_type.is_none() {
            let endings: Vec<_> = TYPES
                .iter()
                .map(|(ending, _)| format!(".{ending}"))
                .collect();
            self.problem(Problem::at(
                file.span.clone(),
                "the name of this page does not tell its type",
                format!("give the file one of the endings {}", endings.join(", ")),
            ));
        }
        let text = read_bounded(&path, LARGEST_PAGE);
        if let Err(error) = &text {
            self.problem(Problem::at(
                file.span.clone(),
                format!("{} can't be read: {}", path.display(), reason(error)),
                "name a readable file of 1 MiB at most; a relative path starts at this file's folder",
            ));
        }
        Some(ErrorPage {
            path,
            status: 0,
            content_type: content_type?,
            text: text.ok()?.into(),
        })
    }
}

fn content_type(path: &Path) -> Option<&'static str> {
    let ending = path.extension()?.to_str()?.to_ascii_lowercase();
    let mut types = TYPES.iter();
    let found = types.find(|(known, _)| *known == ending);
    found.map(|(_, kind)| *kind)
}
