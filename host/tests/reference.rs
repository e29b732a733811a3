//! The README's configuration reference says what the schema says: its tables are made of it. After a change of a key or its
//! description, `TIDEGATE_GOLDEN=write cargo test -p tidegate --test reference` writes the tables anew.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use serde_json::Value;
use tidegate::config::{self, Source};

const BEGIN: &str = "<!-- keys begin -->\n";
const END: &str = "<!-- keys end -->";

/// The tables in the order of the reference: the schema's name, and the heading.
const TABLES: &[(&str, &str)] = &[
    ("Proxy", "`[proxy]`"),
    ("Admin", "`[admin]`"),
    ("Log", "`[log]`"),
    ("Tracing", "`[tracing]`"),
    ("Dns", "`[dns]`"),
    ("State", "`[state]`"),
    ("Plugin", "`[[plugin]]`"),
    ("Listener", "`[[listener]]`"),
    ("ListenerTimeouts", "`timeouts` of a listener"),
    ("Http2", "`http2` of a listener"),
    ("Compression", "`compression` of a listener"),
    ("ListenerTls", "`tls` of a listener"),
    ("KeyPair", "`certificates` with chain and key apart"),
    ("Route", "`[[route]]`"),
    ("Pool", "`[[pool]]`"),
    ("PoolTimeouts", "`timeouts` of a pool"),
    ("RetryBudget", "`retry-budget` of a pool"),
    ("PoolTls", "`tls` of a pool"),
    ("Health", "`health` of a pool"),
    ("Passive", "`passive` of a pool"),
    ("Server", "`servers` of a pool"),
];

#[test]
fn the_reference_says_what_the_schema_says() {
    let readme = fs::read_to_string(readme_path()).unwrap();
    let (before, rest) = readme.split_once(BEGIN).expect("the README has its mark");
    let (found, after) = rest.split_once(END).expect("the README has its mark");
    let expected = reference(&config::schema());
    if std::env::var_os("TIDEGATE_GOLDEN").is_some_and(|value| value == "write") {
        fs::write(
            readme_path(),
            format!("{before}{BEGIN}{expected}{END}{after}"),
        )
        .unwrap();
        return;
    }
    assert_eq!(
        found, expected,
        "run this test with TIDEGATE_GOLDEN=write and read the difference"
    );
}

#[test]
fn every_table_of_the_schema_is_in_the_reference() {
    let schema = config::schema();
    let tables = schema["$defs"].as_object().unwrap();
    let with_keys = tables
        .iter()
        .filter(|(_, table)| table["required"] != serde_json::json!(["plugin"]));
    for (name, table) in with_keys {
        // A reference to a file or variable, and a plugin's name, are explained in words.
        let in_words = ["Reference", "PluginName"].contains(&name.as_str());
        let listed = TABLES.iter().any(|(listed, _)| listed == name);
        assert!(in_words || listed, "{name} is missing: {table}");
    }
    let sections = schema["properties"].as_object().unwrap();
    for section in sections.keys() {
        let heading = TABLES
            .iter()
            .any(|(_, heading)| heading.contains(&format!("[{section}]")));
        assert!(heading, "[{section}] is missing");
    }
}

/// The reference's example is a valid file.
#[test]
fn the_example_is_valid() {
    let readme = fs::read_to_string(readme_path()).unwrap();
    let section = readme.split_once("\n## Configuration\n").unwrap().1;
    let (_, example) = section.split_once("```toml\n").unwrap();
    let (example, _) = example.split_once("```").unwrap();
    let source = Source {
        path: PathBuf::from("tidegate.toml"),
        text: example.to_owned(),
    };
    config::parse(source, &["round-robin"]).unwrap_or_else(|problems| panic!("{problems}"));
}

fn reference(schema: &Value) -> String {
    let mut text = String::new();
    for (name, heading) in TABLES {
        let table = &schema["$defs"][name];
        let about = table["description"]
            .as_str()
            .expect("a table has a description");
        write!(text, "\n### {heading}\n\n{about}\n\n").unwrap();
        text.push_str("| key | value | default | meaning |\n|---|---|---|---|\n");
        for (key, property) in in_order(table) {
            let required = required(table, key);
            text.push_str(&row(key, property, required));
        }
    }
    text + "\n"
}

/// What is required comes first; the schema sorts by name.
fn in_order(table: &Value) -> Vec<(&String, &Value)> {
    let properties = table["properties"].as_object().expect("a table has keys");
    let mut list: Vec<_> = properties.iter().collect();
    list.sort_by_key(|(key, _)| (!required(table, key), key.as_str() != "name"));
    list
}

fn required(table: &Value, key: &str) -> bool {
    let required = table["required"].as_array();
    required.is_some_and(|required| required.iter().any(|name| name == key))
}

fn row(key: &str, property: &Value, required: bool) -> String {
    let text = |name: &str| {
        property[name]
            .as_str()
            .expect("a key has it")
            .replace('|', "\\|")
    };
    let default = match &property["default"] {
        _ if required => "**required**".to_owned(),
        Value::Null => "none".to_owned(),
        default => format!("`{default}`"),
    };
    format!(
        "| `{key}` | {} | {default} | {} |\n",
        text("title"),
        text("description")
    )
}

fn readme_path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../README.md")
}
