//! Plugins where they are used: those of the file, shipped ones by name alone, and those made on the spot with settings of
//! their own.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use serde_json::Map;

use super::names::unknown;
use super::plugins::routes_given;
use super::{Check, ROUTER};
use crate::base::ids::PluginIndex;
use crate::config::checked::{Plugin, PluginSource, PluginUse};
use crate::config::problem::{Located, Span};
use crate::config::text::Text;
use crate::config::value::PluginName;

/// All plugins of the configuration, as they come up.
pub(super) struct Uses {
    /// The file's sections first, at their own indices.
    pub plugins: Vec<Plugin>,
    /// Shipped ones that are used by name alone.
    implicit: HashMap<String, PluginIndex>,
    /// The names of those made on the spot.
    made: HashSet<String>,
}

/// What a shipped plugin gets that is used without a section: as `written::Plugin` has it.
const CPU_LIMIT: Duration = Duration::from_millis(2);
const MEMORY: u64 = 16 << 20;

impl Uses {
    pub(super) fn new(sections: Vec<Plugin>) -> Uses {
        Uses {
            plugins: sections,
            implicit: HashMap::new(),
            made: HashSet::new(),
        }
    }

    fn add(&mut self, plugin: Plugin) -> PluginIndex {
        self.plugins.push(plugin);
        PluginIndex(self.plugins.len() as u32 - 1)
    }

    /// `PLUGIN@WHERE`, with a number from the second on.
    fn made_name(&mut self, plugin: &str, place: &str) -> String {
        let name = format!("{plugin}@{place}");
        let numbered = (2..).map(|number| format!("{name}#{number}"));
        let mut names = std::iter::once(name.clone()).chain(numbered);
        let free = names.find(|name| !self.made.contains(name));
        let free = free.expect("numbers don't end");
        self.made.insert(free.clone());
        free
    }
}

impl Check<'_> {
    /// A plugin that something at `place` names. None is reported.
    pub(super) fn plugin_use(
        &mut self,
        written: &Located<PluginName>,
        place: &str,
        uses: &mut Uses,
    ) -> Option<PluginUse> {
        let index = match &written.value {
            PluginName::Named(name) => self.named(&written.located(name.clone()), uses)?,
            PluginName::With { plugin, settings } => {
                self.made(plugin, settings, &written.span, place, uses)?
            }
        };
        Some(written.located(index))
    }

    pub(super) fn plugin_uses(
        &mut self,
        written: &[Located<PluginName>],
        place: &str,
        uses: &mut Uses,
    ) -> Vec<PluginUse> {
        let written = written.iter();
        written
            .filter_map(|name| self.plugin_use(name, place, uses))
            .collect()
    }

    /// A plugin that the file doesn't name, used since nothing else is said.
    pub(super) fn default_use(&mut self, name: &str, span: &Span, uses: &mut Uses) -> PluginUse {
        let name = Located {
            value: Text {
                value: name.to_owned(),
                secret: false,
            },
            span: span.clone(),
        };
        let index = self.named(&name, uses);
        name.located(index.unwrap_or(PluginIndex(0)))
    }

    fn named(&mut self, name: &Located<Text>, uses: &mut Uses) -> Option<PluginIndex> {
        let text = &name.value.value;
        if let Some(section) = self.plugins.index(text) {
            return Some(PluginIndex(section as u32));
        }
        if let Some(known) = uses.implicit.get(text) {
            return Some(*known);
        }
        let plugin = self.shipped_plugin(name)?;
        let index = uses.add(plugin);
        uses.implicit.insert(text.clone(), index);
        Some(index)
    }

    /// A plugin of the file or a shipped one, under other settings; limits and grants stay.
    fn made(
        &mut self,
        name: &Located<Text>,
        settings: &Map<String, serde_json::Value>,
        span: &Span,
        place: &str,
        uses: &mut Uses,
    ) -> Option<PluginIndex> {
        let base = match self.plugins.index(&name.value.value) {
            Some(section) => uses.plugins[section].clone(),
            None => self.shipped_plugin(name)?,
        };
        let is_router = base.source == PluginSource::Shipped(ROUTER.to_owned());
        if is_router && settings.contains_key("routes") {
            self.problem(routes_given(span.clone()));
        }
        let made = Plugin {
            name: uses.made_name(&name.value.value, place),
            config: serde_json::Value::Object(settings.clone()),
            span: span.clone(),
            source_span: name.span.clone(),
            config_span: span.clone(),
            ..base
        };
        Some(uses.add(made))
    }

    fn shipped_plugin(&mut self, name: &Located<Text>) -> Option<Plugin> {
        let text = name.value.value.as_str();
        if !self.shipped.contains(&text) {
            let sections = self.plugins.list();
            let known: Vec<&str> = sections.chain(self.shipped.iter().copied()).collect();
            let problem = unknown("plugin", name, &known);
            self.problems.push(problem);
            return None;
        }
        Some(shipped(text, &name.span))
    }
}

/// A shipped plugin that is used at `span` by its name alone.
pub(super) fn shipped(name: &str, span: &Span) -> Plugin {
    Plugin {
        name: name.to_owned(),
        source: PluginSource::Shipped(name.to_owned()),
        config: serde_json::json!({}),
        on_failure: None,
        cpu_limit: CPU_LIMIT,
        memory: MEMORY,
        fetch_grants: Vec::new(),
        span: span.clone(),
        source_span: span.clone(),
        config_span: span.clone(),
    }
}
