//! `[[plugin]]` sections: an artifact each, with limits and grants.

use std::path::PathBuf;

use super::names::unknown;
use super::{Check, ROUTER};
use crate::base::ids::PoolIndex;
use crate::config::checked::{Plugin, PluginSource};
use crate::config::problem::{Located, Problem, Span};
use crate::config::text::Text;
use crate::config::written::{self, File};

impl Check<'_> {
    /// One for each section, in their order, whatever is wrong with it.
    pub(super) fn written_plugins(&mut self, file: &File) -> Vec<Plugin> {
        let sections = file.plugin.value.0.iter();
        sections
            .map(|section| self.plugin(&section.value))
            .collect()
    }

    fn plugin(&mut self, written: &written::Plugin) -> Plugin {
        let (source, source_span) = self.plugin_source(written);
        self.no_routes(written, &source);
        Plugin {
            name: written
                .name
                .as_ref()
                .map_or(String::new(), |name| name.value.0.clone()),
            source,
            config: serde_json::Value::Object(written.config.value.0.clone()),
            on_failure: written.on_failure.given().map(|answer| answer.value),
            cpu_limit: written.cpu_limit.value.0,
            memory: written.memory.value.0,
            fetch_grants: self.grants(written),
            span: written
                .name
                .as_ref()
                .map_or(&written.span, |name| &name.span)
                .clone(),
            source_span,
            config_span: written.config.span.clone(),
        }
    }

    fn plugin_source(&mut self, written: &written::Plugin) -> (PluginSource, Span) {
        let (path, shipped) = (&written.path, &written.shipped);
        match (path.given(), shipped.given()) {
            (Some(path), None) if shipped.is_absent() => self.file_source(written, path),
            (None, Some(shipped)) if path.is_absent() => self.shipped_source(written, shipped),
            (Some(path), Some(shipped)) => {
                let message = "a plugin has a `path` or is `shipped`, not both";
                let problem = Problem::at(shipped.span.clone(), message, "keep one of the two");
                self.problem(problem.related(path.span.clone(), "its path"));
                nothing(written)
            }
            _ => {
                if path.is_absent() && shipped.is_absent() {
                    self.problem(Problem::at(
                        written.span.clone(),
                        "[[plugin]] lacks `path` or `shipped`",
                        "add `path = \"FILE.wasm\"` for one of your own, or `shipped = \"NAME\"`",
                    ));
                }
                nothing(written)
            }
        }
    }

    fn file_source(&self, written: &written::Plugin, path: &Located<Text>) -> (PluginSource, Span) {
        let source = PluginSource::File {
            path: self.source.folder().join(&path.value.value),
            sha256: written.sha256.given().map(|hash| hash.value.0),
        };
        (source, path.span.clone())
    }

    fn shipped_source(
        &mut self,
        written: &written::Plugin,
        shipped: &Located<Text>,
    ) -> (PluginSource, Span) {
        if !self.shipped.contains(&shipped.value.value.as_str()) {
            self.problem(unknown("shipped plugin", shipped, self.shipped));
        }
        if let Some(hash) = written.sha256.given() {
            self.problem(Problem::at(
                hash.span.clone(),
                "a shipped plugin has no `sha256`",
                "leave it out: a shipped plugin is part of the binary",
            ));
        }
        let source = PluginSource::Shipped(shipped.value.value.clone());
        (source, shipped.span.clone())
    }

    /// The shipped router's routes are the file's.
    fn no_routes(&mut self, written: &written::Plugin, source: &PluginSource) {
        let has_routes = written.config.value.0.contains_key("routes");
        if has_routes && *source == PluginSource::Shipped(ROUTER.to_owned()) {
            self.problem(routes_given(written.config.span.clone()));
        }
    }

    fn grants(&mut self, written: &written::Plugin) -> Vec<PoolIndex> {
        let mut pools = Vec::new();
        for grant in &written.grants.value {
            let name = grant.located(Text {
                value: grant.value.0.clone(),
                secret: false,
            });
            pools.extend(self.pool(&name));
        }
        pools
    }

    /// A pool by name. None is reported.
    pub(super) fn pool(&mut self, name: &Located<Text>) -> Option<PoolIndex> {
        let index = self.pools.find(name, self.problems)?;
        Some(PoolIndex(index as u32))
    }
}

pub(super) fn routes_given(span: Span) -> Problem {
    Problem::at(
        span,
        "the shipped router takes no `routes` here",
        "write them as [[route]] sections",
    )
}

/// In place of a source that can't be told; a problem says why.
fn nothing(written: &written::Plugin) -> (PluginSource, Span) {
    let source = PluginSource::File {
        path: PathBuf::new(),
        sha256: None,
    };
    (source, written.span.clone())
}
