//! The shapes of values that several tables share: flags, lists, maps, names, and a plugin's name with or without settings.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::Map as JsonMap;
use toml::de::DeValue;

use super::problem::Located;
use super::read::{Reader, Value, Written};
use super::schema;
use super::text::{Text, reference};

/// One value, or a list of them.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct OneOrMany<T>(pub Vec<Located<T>>);

/// `[[name]]` sections.
#[derive(Clone, Debug)]
pub(super) struct Sections<T>(pub Vec<Located<T>>);

/// A table whose keys the user chooses, in the order of the file.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Map<T>(pub Vec<(Located<String>, Located<T>)>);

/// A name that the file gives to something: 1 to 64 letters, digits, `_`, `.` or `-`. It shows up in metrics, URLs and
/// file names.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Name(pub String);

/// A plugin's settings: JSON of any shape below an object.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Settings(pub JsonMap<String, serde_json::Value>);

/// A plugin where it is used.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum PluginName {
    /// One of the file or a shipped one, as it is.
    Named(Text),
    /// The same under settings of its own: `{ plugin = "…", key = … }`.
    With {
        plugin: Located<Text>,
        settings: JsonMap<String, serde_json::Value>,
    },
}

impl Written for bool {
    fn expected() -> String {
        "true or false".to_owned()
    }

    fn read(value: &Value<'_>, reader: &mut Reader<'_>) -> Option<bool> {
        let flag = value.get_ref().as_bool();
        if flag.is_none() {
            let quoted = value.get_ref().as_str();
            let quoted = quoted.filter(|text| ["true", "false"].contains(text));
            let remedy = quoted.map(|text| format!("write {text} without quotes"));
            reader.wrong_type(value, &Self::expected(), remedy);
        }
        flag
    }

    fn schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "boolean" })
    }
}

impl Written for Text {
    fn expected() -> String {
        "a string".to_owned()
    }

    fn read(value: &Value<'_>, reader: &mut Reader<'_>) -> Option<Text> {
        reader.text(value, &Self::expected())
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        schema::text(json_schema!({ "type": "string" }), generator)
    }
}

impl Written for Name {
    fn expected() -> String {
        "a name of 1 to 64 letters, digits, `_`, `.` or `-`".to_owned()
    }

    /// A bad name is read too: what refers to it would be reported as dangling otherwise.
    fn read(value: &Value<'_>, reader: &mut Reader<'_>) -> Option<Name> {
        let text = reader.text(value, &Self::expected())?;
        let fits = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
        if text.value.is_empty() || text.value.len() > 64 || !text.value.chars().all(fits) {
            let message = format!("{} is no name", text.shown());
            reader.problem(value.span(), message, format!("write {}", Self::expected()));
        }
        Some(Name(text.value))
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        let string = json_schema!({ "type": "string", "pattern": "^[A-Za-z0-9_.-]{1,64}$" });
        schema::text(string, generator)
    }
}

impl<T: Written> Written for Vec<Located<T>> {
    fn expected() -> String {
        format!("a list, each item {}", T::expected())
    }

    /// All of it or nothing: what is left after a bad item would be judged wrongly.
    fn read(value: &Value<'_>, reader: &mut Reader<'_>) -> Option<Self> {
        let Some(array) = value.get_ref().as_array() else {
            let text = value.get_ref().as_str();
            let remedy = text.map(|text| format!("put it in brackets: [{text:?}]"));
            reader.wrong_type(value, &Self::expected(), remedy);
            return None;
        };
        let items: Vec<_> = array.iter().map(|item| reader.value(item)).collect();
        items.into_iter().collect()
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "array", "items": T::schema(generator) })
    }
}

impl<T: Written> Written for OneOrMany<T> {
    fn expected() -> String {
        format!("{}, or a list of them", T::expected())
    }

    fn read(value: &Value<'_>, reader: &mut Reader<'_>) -> Option<Self> {
        match value.get_ref() {
            DeValue::Array(_) => Written::read(value, reader).map(OneOrMany),
            _ => reader.value(value).map(|one| OneOrMany(vec![one])),
        }
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        let (one, many) = (T::schema(generator), Vec::<Located<T>>::schema(generator));
        json_schema!({ "anyOf": [one, many] })
    }
}

impl<T: Written> Written for Sections<T> {
    fn expected() -> String {
        T::expected()
    }

    /// Those that can be read: each is reported by itself.
    fn read(value: &Value<'_>, reader: &mut Reader<'_>) -> Option<Self> {
        match value.get_ref() {
            DeValue::Array(array) => {
                let sections = array.iter().filter_map(|section| reader.value(section));
                Some(Sections(sections.collect()))
            }
            _ => {
                let remedy = "begin it with double brackets".to_owned();
                reader.wrong_type(value, &T::expected(), Some(remedy));
                None
            }
        }
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "array", "items": T::schema(generator) })
    }
}

impl<T: Written> Written for Map<T> {
    fn expected() -> String {
        format!("a table, each value {}", T::expected())
    }

    fn read(value: &Value<'_>, reader: &mut Reader<'_>) -> Option<Self> {
        let Some(table) = value.get_ref().as_table() else {
            let remedy = format!("write {{ key = … }}, each value {}", T::expected());
            reader.wrong_type(value, &Self::expected(), Some(remedy));
            return None;
        };
        let mut entries = Vec::with_capacity(table.len());
        for (key, item) in table {
            let (value, span) = (key.get_ref().to_string(), key.span());
            entries.push((Located { value, span }, reader.value(item)?));
        }
        entries.sort_by_key(|(key, _)| key.span.start);
        Some(Map(entries))
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "object", "additionalProperties": T::schema(generator) })
    }
}

impl Written for Settings {
    fn expected() -> String {
        "a table of the plugin's settings".to_owned()
    }

    fn read(value: &Value<'_>, reader: &mut Reader<'_>) -> Option<Settings> {
        match value.get_ref() {
            // It is no string, so `file` or `env` alone in it is a setting.
            DeValue::Table(table) => reader.json_object(table, &[]).map(Settings),
            _ => {
                reader.wrong_type(value, &Self::expected(), None);
                None
            }
        }
    }

    fn schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "object" })
    }
}

impl Written for PluginName {
    fn expected() -> String {
        "a plugin's name, or { plugin = \"name\", … } with its settings".to_owned()
    }

    fn read(value: &Value<'_>, reader: &mut Reader<'_>) -> Option<PluginName> {
        match value.get_ref() {
            DeValue::Table(table) if reference(value.get_ref()).is_none() => {
                let Some(plugin) = table.get("plugin") else {
                    let remedy = "add `plugin` with its name: { plugin = \"…\", … }";
                    reader.problem(value.span(), "this table names no plugin", remedy);
                    return None;
                };
                let plugin = reader.value(plugin);
                let settings = reader.json_object(table, &["plugin"])?;
                plugin.map(|plugin| PluginName::With { plugin, settings })
            }
            _ => reader.text(value, &Self::expected()).map(PluginName::Named),
        }
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        generator.subschema_for::<Self>()
    }
}

impl JsonSchema for PluginName {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "PluginName".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let name = Text::schema(generator);
        json_schema!({
            "description": "A [[plugin]] of this file or a shipped plugin, by name; or a table with `plugin` and the settings that it gets here.",
            "anyOf": [name, {
                "type": "object",
                "properties": { "plugin": Text::schema(generator) },
                "required": ["plugin"],
            }],
        })
    }
}
