//! The names that one kind of section gives out, each once, and what refers to them.

use std::collections::HashMap;

use crate::config::nearest;
use crate::config::problem::{Located, Problem, Problems};
use crate::config::text::Text;
use crate::config::value::Name;

/// The names of one kind, with the index of the section that has it.
pub(super) struct Names {
    kind: &'static str,
    /// The first of a name that is given twice.
    index: HashMap<String, usize>,
    list: Vec<String>,
    /// Each section has its name.
    complete: bool,
}

impl Names {
    /// `names` has an entry for each section, None when it lacks its name.
    pub(super) fn of<'a>(
        kind: &'static str,
        names: impl Iterator<Item = Option<&'a Located<Name>>> + Clone,
        problems: &mut Problems,
    ) -> Names {
        let given = names.clone().flatten().map(|name| {
            let message = format!("the {kind} name {:?} is taken", name.value.0);
            (name.value.0.clone(), name.located(message))
        });
        super::refuse_twice(
            given,
            &format!("give each {kind} a name of its own"),
            problems,
        );
        let mut index = HashMap::new();
        let mut list = Vec::new();
        let mut complete = true;
        for (place, name) in names.enumerate() {
            let Some(name) = name else {
                complete = false;
                continue;
            };
            index.entry(name.value.0.clone()).or_insert(place);
            list.push(name.value.0.clone());
        }
        Names {
            kind,
            index,
            list,
            complete,
        }
    }

    pub(super) fn index(&self, name: &str) -> Option<usize> {
        self.index.get(name).copied()
    }

    pub(super) fn list(&self) -> impl Iterator<Item = &str> {
        self.list.iter().map(String::as_str)
    }

    /// None is reported; but what is missing may be what a section without a name was to have, which is reported already.
    pub(super) fn find(&self, name: &Located<Text>, problems: &mut Problems) -> Option<usize> {
        let found = self.index(&name.value.value);
        if found.is_none() && self.complete {
            let known: Vec<&str> = self.list().collect();
            problems.push(unknown(self.kind, name, &known));
        }
        found
    }
}

/// A reference to what isn't there.
pub(super) fn unknown(kind: &str, name: &Located<Text>, known: &[&str]) -> Problem {
    let text = name.value.value.as_str();
    let (message, text) = match name.value.secret {
        true => (format!("no {kind} has the name given here"), ""),
        false => (format!("no {kind} is called {text:?}"), text),
    };
    Problem::at(
        name.span.clone(),
        message,
        nearest::remedy(text, kind, known),
    )
}
