//! Reads a TOML document into the types of `written`, and goes on after a mistake, so that all are reported at once.
//! serde's derive stops at the first, which is why this small reader stands in its place.

use std::path::Path;

use schemars::{Schema, SchemaGenerator};
use serde_spanned::Spanned;
use toml::de::{DeTable, DeValue};

use super::nearest;
use super::problem::{Located, Problem, Span};
use super::text::reference;

pub(super) type Value<'d> = Spanned<DeValue<'d>>;

/// A value that can stand in the file.
pub(super) trait Written: Sized {
    /// With its article: `a duration such as "30s"`.
    fn expected() -> String;
    /// None: refused, and the reader holds the problem.
    fn read(value: &Value<'_>, reader: &mut Reader<'_>) -> Option<Self>;
    fn schema(generator: &mut SchemaGenerator) -> Schema;
}

/// A value that is written as a string.
pub(super) trait FromText: Sized {
    /// With its article: `a duration such as "30s"`.
    fn form() -> String;
    fn from_text(text: &str) -> Result<Self, Fault>;
    /// The schema of the string.
    fn text_schema() -> Schema;
    /// The remedy when a bare number stands where this is wanted.
    fn number_remedy(_number: &str) -> Option<String> {
        None
    }
}

/// What is wrong with a text, as the end of a sentence that begins with the text: `has no unit`.
pub(super) struct Fault {
    pub says: String,
    pub remedy: String,
}

/// What stands for a key.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Key<T> {
    Absent,
    /// Reported already: nothing more is to be said about it.
    Refused,
    Given(Located<T>),
}

pub(super) struct Reader<'a> {
    /// Where relative paths start.
    pub folder: &'a Path,
    pub problems: Vec<Problem>,
}

/// A table whose unknown keys have been reported.
pub(super) struct Table<'t, 'd> {
    entries: &'t DeTable<'d>,
    pub span: Span,
    title: &'static str,
    /// The known keys that unknown ones were taken for.
    meant: Vec<&'static str>,
}

impl<T> Key<T> {
    pub fn given(&self) -> Option<&Located<T>> {
        match self {
            Key::Given(value) => Some(value),
            _ => None,
        }
    }

    pub fn is_absent(&self) -> bool {
        matches!(self, Key::Absent)
    }

    /// Absent or given, but not refused.
    pub fn is_sound(&self) -> bool {
        !matches!(self, Key::Refused)
    }
}

impl Fault {
    pub fn new(says: impl Into<String>, remedy: impl Into<String>) -> Fault {
        Fault {
            says: says.into(),
            remedy: remedy.into(),
        }
    }
}

impl<'a> Reader<'a> {
    pub fn new(folder: &'a Path) -> Reader<'a> {
        Reader {
            folder,
            problems: Vec::new(),
        }
    }

    pub fn problem(&mut self, span: Span, message: impl Into<String>, remedy: impl Into<String>) {
        self.problems.push(Problem::at(span, message, remedy));
    }

    pub fn value<T: Written>(&mut self, value: &Value<'_>) -> Option<Located<T>> {
        let span = value.span();
        T::read(value, self).map(|value| Located { value, span })
    }

    pub fn wrong_type(&mut self, value: &Value<'_>, expected: &str, remedy: Option<String>) {
        let found = found(value.get_ref());
        let remedy = remedy.unwrap_or_else(|| format!("write {expected}"));
        let message = format!("expected {expected}, found {found}");
        self.problem(value.span(), message, remedy);
    }

    /// A table; its keys that are not in `known` are reported.
    pub fn table<'t, 'd>(
        &mut self,
        value: &'t Value<'d>,
        title: &'static str,
        known: &'static [&'static str],
    ) -> Option<Table<'t, 'd>> {
        let DeValue::Table(entries) = value.get_ref() else {
            let remedy = table_remedy(title, known);
            self.wrong_type(value, &section(title), Some(remedy));
            return None;
        };
        let mut meant = Vec::new();
        for key in entries
            .keys()
            .filter(|key| !known.contains(&key.get_ref().as_ref()))
        {
            meant.extend(nearest::nearest(key.get_ref(), known.iter().copied()));
            let message = format!("unknown key `{}` in {title}", key.get_ref());
            self.problem(
                key.span(),
                message,
                nearest::remedy(key.get_ref(), "key", known),
            );
        }
        Some(Table {
            entries,
            span: value.span(),
            title,
            meant,
        })
    }

    /// Settings for a plugin: any table, with its strings resolved.
    pub fn json(&mut self, value: &Value<'_>) -> Option<serde_json::Value> {
        match value.get_ref() {
            DeValue::Table(table) if reference(value.get_ref()).is_none() => {
                self.json_object(table, &[]).map(serde_json::Value::Object)
            }
            DeValue::Table(_) => self.text(value, "a string").map(|text| text.value.into()),
            DeValue::Array(array) => {
                let items: Vec<_> = array.iter().map(|item| self.json(item)).collect();
                items.into_iter().collect()
            }
            other => {
                let json = super::shown::scalar(other);
                if json.is_none() {
                    self.problem(
                        value.span(),
                        format!("{} can't be handed to a plugin", found(other)),
                        "plugins are configured in JSON: write a finite number, or a string",
                    );
                }
                json
            }
        }
    }

    pub fn json_object(
        &mut self,
        table: &DeTable<'_>,
        without: &[&str],
    ) -> Option<serde_json::Map<String, serde_json::Value>> {
        let entries = table.iter();
        let entries = entries.filter(|(key, _)| !without.contains(&key.get_ref().as_ref()));
        let read: Vec<_> = entries
            .map(|(key, value)| Some((key.get_ref().to_string(), self.json(value)?)))
            .collect();
        read.into_iter().collect()
    }
}

impl Table<'_, '_> {
    pub fn optional<T: Written>(&self, reader: &mut Reader<'_>, key: &str) -> Key<T> {
        match self.entries.get(key) {
            None => Key::Absent,
            Some(value) => reader.value(value).map_or(Key::Refused, Key::Given),
        }
    }

    /// None is reported.
    pub fn required<T: Written>(&self, reader: &mut Reader<'_>, key: &str) -> Option<Located<T>> {
        let value = self.optional(reader, key);
        // A key that is there under a wrong name is not missing too.
        if value.is_absent() && !self.meant.contains(&key) {
            let message = format!("{} lacks `{key}`", self.title);
            let remedy = format!("add `{key}`: {}", T::expected());
            reader.problem(self.span.clone(), message, remedy);
        }
        value.given_owned()
    }

    /// `default` is TOML, and valid: a test reads them all.
    pub fn or_default<T: Written>(
        &self,
        reader: &mut Reader<'_>,
        key: &str,
        default: &str,
    ) -> Located<T> {
        if let Key::Given(value) = self.optional(reader, key) {
            return value;
        }
        Located {
            value: default_of(default),
            span: self.span.clone(),
        }
    }
}

impl<T> Key<T> {
    fn given_owned(self) -> Option<Located<T>> {
        match self {
            Key::Given(value) => Some(value),
            _ => None,
        }
    }
}

/// A value of the type from TOML of ours.
pub(super) fn default_of<T: Written>(toml: &str) -> T {
    let value = DeValue::parse(toml).expect("a default is TOML");
    let mut reader = Reader::new(Path::new(""));
    T::read(&value, &mut reader).expect("a default is valid")
}

impl<T: FromText> Written for T {
    fn expected() -> String {
        T::form()
    }

    fn read(value: &Value<'_>, reader: &mut Reader<'_>) -> Option<Self> {
        if let DeValue::Integer(number) = value.get_ref()
            && let Some(remedy) = T::number_remedy(&number.to_string())
        {
            reader.wrong_type(value, &T::form(), Some(remedy));
            return None;
        }
        let text = reader.text(value, &T::form())?;
        match T::from_text(&text.value) {
            Ok(parsed) => Some(parsed),
            Err(fault) => {
                let (message, remedy) = match text.secret {
                    // What a fault says may quote a part of the text.
                    true => (
                        format!("{} is not {}", text.shown(), T::form()),
                        "correct the file or the variable".to_owned(),
                    ),
                    false => (format!("{} {}", text.shown(), fault.says), fault.remedy),
                };
                reader.problem(value.span(), message, remedy);
                None
            }
        }
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        super::schema::text(T::text_schema(), generator)
    }
}

/// What is expected in a table's place, by the table's title.
pub(super) fn section(title: &str) -> String {
    match title.starts_with('[') {
        true => format!("a {title} section"),
        false => format!("{title} as a table"),
    }
}

fn table_remedy(title: &str, known: &[&str]) -> String {
    if title.starts_with("[[") {
        format!("begin each with {title}")
    } else if title.starts_with('[') {
        format!("write it once, as {title}")
    } else {
        format!("write {{ … }} with the keys {}", known.join(", "))
    }
}

/// A value for a message; long ones by their type alone.
pub(super) fn found(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(_) => "a string".to_owned(),
        DeValue::Integer(number) => format!("the number {number}"),
        DeValue::Float(number) => format!("the number {number}"),
        DeValue::Boolean(value) => format!("`{value}`"),
        DeValue::Datetime(_) => "a date".to_owned(),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}
