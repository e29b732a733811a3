//! What is changed on one side, request or response: as written in the settings, and checked.

use std::collections::BTreeMap;

use serde::Deserialize;
use tidegate_sdk::{Edit, Input, field};

use crate::template::{Side, Template};

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Written {
    remove: Vec<String>,
    set: BTreeMap<String, String>,
    set_if_absent: BTreeMap<String, String>,
    add: BTreeMap<String, OneOrMore>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "a string or a list of strings")]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

/// Names are lower case; the order is that in which they are applied.
#[derive(Debug, Default)]
pub struct Changes {
    remove: Vec<String>,
    set: Vec<(String, Template)>,
    set_if_absent: Vec<(String, Template)>,
    add: Vec<(String, Template)>,
}

impl Changes {
    /// `key` is where this stands in the settings.
    pub fn new(written: Written, side: Side, key: &str) -> Result<Changes, String> {
        let parse = |list: &str, name: &str, text: &str| {
            let at = format!("key `{key}.{list}.{name}`");
            let template =
                Template::parse(text, side).map_err(|e| format!("{at}: `{text}` {e}"))?;
            Ok((
                field::name(name).map_err(|e| format!("{at}: {e}"))?,
                template,
            ))
        };
        let all = |list: &str, values: &BTreeMap<String, String>| {
            let pairs = values.iter().map(|(name, text)| parse(list, name, text));
            pairs.collect::<Result<Vec<_>, String>>()
        };
        let remove = written
            .remove
            .iter()
            .map(|name| field::name(name).map_err(|e| format!("key `{key}.remove`: {e}")));
        let add = written.add.iter().flat_map(|(name, texts)| {
            let texts = match texts {
                OneOrMore::One(text) => std::slice::from_ref(text),
                OneOrMore::More(texts) => texts,
            };
            texts.iter().map(|text| parse("add", name, text))
        });
        let changes = Changes {
            remove: remove.collect::<Result<_, String>>()?,
            set: all("set", &written.set)?,
            set_if_absent: all("set-if-absent", &written.set_if_absent)?,
            add: add.collect::<Result<_, String>>()?,
        };
        changes.each_name_once(key)?;
        Ok(changes)
    }

    /// What must be known of a request or response.
    pub fn inputs(&self) -> impl Iterator<Item = Input> {
        let templates = [&self.set, &self.set_if_absent, &self.add];
        let variables = templates
            .into_iter()
            .flatten()
            .flat_map(|(_, template)| template.variables());
        let absent = self
            .set_if_absent
            .iter()
            .map(|(name, _)| Input::Header(name.clone()));
        variables.cloned().chain(absent)
    }

    /// A field that comes out empty is not sent, as with nginx's `proxy_set_header`: `set` then removes what the client sent
    /// under that name, so that it can't pass for the proxy's word.
    pub fn edits<'a>(&self, value: impl Fn(&Input) -> Option<&'a [u8]>) -> Vec<Edit> {
        let fill = |template: &Template| template.fill(&value);
        let removed = self.remove.iter().map(|name| Edit::Remove(name.clone()));
        let set = self
            .set
            .iter()
            .map(|(name, template)| match fill(template) {
                Some(value) => Edit::Set((name.clone(), value)),
                None => Edit::Remove(name.clone()),
            });
        let absent = |name: &String| value(&Input::Header(name.clone())).is_none();
        let set_if_absent = self.set_if_absent.iter().filter(|(name, _)| absent(name));
        let set_if_absent = set_if_absent
            .filter_map(|(name, template)| Some(Edit::Set((name.clone(), fill(template)?))));
        let added = self.add.iter();
        let added = added
            .filter_map(|(name, template)| Some(Edit::Append((name.clone(), fill(template)?))));
        removed
            .chain(set)
            .chain(set_if_absent)
            .chain(added)
            .collect()
    }

    fn each_name_once(&self, key: &str) -> Result<(), String> {
        let named = |list: &'static str, pairs: &[(String, Template)]| {
            pairs
                .iter()
                .map(|(name, _)| (name.clone(), list))
                .collect::<Vec<_>>()
        };
        let mut names: Vec<_> = self
            .remove
            .iter()
            .map(|name| (name.clone(), "remove"))
            .collect();
        names.extend(named("set", &self.set));
        names.extend(named("set-if-absent", &self.set_if_absent));
        names.sort();
        match names.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            Some([(name, one), (_, other)]) => Err(format!(
                "key `{key}`: `{name}` stands twice, in `{one}` and `{other}`; only one of them can be meant (`add` may stand beside them)"
            )),
            _ => Ok(()),
        }
    }
}
