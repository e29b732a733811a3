//! The JSON Schema (2020-12) of the file as typed, put together by schemars from what `table` declares. What a schema
//! can't tell (that a name exists, that a port is free) is told by `tidegate check`.

use std::borrow::Cow;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value};
use toml::de::DeValue;

use super::shown;
use super::written::File;

/// The schema of the whole file.
pub fn schema() -> Value {
    let settings = SchemaSettings::draft2020_12();
    let mut schema = settings.into_generator().into_root_schema_for::<File>();
    schema.insert("title".into(), "tidegate.toml".into());
    schema.to_value()
}

/// One key of a table.
pub(super) struct Entry {
    pub key: String,
    pub schema: Schema,
    pub about: &'static str,
    /// The value, as messages name it.
    pub takes: String,
    pub required: bool,
    /// TOML; empty for none.
    pub default: &'static str,
}

pub(super) fn table(about: &str, entries: Vec<Entry>) -> Schema {
    let required = entries.iter().filter(|entry| entry.required);
    let required: Vec<String> = required.map(|entry| entry.key.clone()).collect();
    let mut schema = json_schema!({
        "type": "object",
        "description": about.trim(),
        "additionalProperties": false,
    });
    if !required.is_empty() {
        schema.insert("required".into(), required.into());
    }
    let properties: Map<String, Value> = entries.into_iter().map(property).collect();
    schema.insert("properties".into(), properties.into());
    schema
}

fn property(entry: Entry) -> (String, Value) {
    let mut schema = entry.schema;
    schema.insert("title".into(), entry.takes.into());
    schema.insert("description".into(), entry.about.trim().into());
    if !entry.default.is_empty() {
        let default = DeValue::parse(entry.default).expect("a default is TOML");
        schema.insert("default".into(), shown::value(default.get_ref()));
    }
    (entry.key, schema.to_value())
}

/// A string, or where it comes from.
pub(super) fn text(string: Schema, generator: &mut SchemaGenerator) -> Schema {
    let reference = generator.subschema_for::<Reference>();
    json_schema!({ "anyOf": [string, reference] })
}

/// `{ file = "…" }` or `{ env = "…" }`.
struct Reference;

impl JsonSchema for Reference {
    fn schema_name() -> Cow<'static, str> {
        "Reference".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "description": "A string that stands elsewhere, and is never shown.",
            "properties": {
                "file": { "type": "string", "description": "The file that holds it; a relative path starts at this file's folder. A line break at its end is left out." },
                "env": { "type": "string", "description": "The environment variable that holds it." },
            },
            "additionalProperties": false,
            "minProperties": 1,
            "maxProperties": 1,
        })
    }
}
