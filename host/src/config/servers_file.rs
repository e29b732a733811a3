//! A pool's servers file: TOML or JSON, by its extension, with the same keys as `servers` in the configuration. It is read
//! with the configuration, and by itself when it changes.
//!
//! JSON is read as the TOML that it becomes when each colon between key and value is an equals sign: TOML 1.1 has all of
//! JSON's shapes but null, and every place stays what it is, for the messages.

use std::io;
use std::path::Path;
use std::sync::Arc;

use serde_spanned::Spanned;
use toml::de::{DeTable, DeValue};

use super::check::pools::{self, Listed};
use super::checked::Server;
use super::problem::{Located, Problem, Problems};
use super::read::{Reader, Written};
use super::source::{Source, reason};
use super::written;

/// Servers of the file at `path`. `folder` is where relative paths in it start; `own` are the servers that the configuration
/// itself names, whose names are taken. Blocks.
pub fn read(path: &Path, folder: &Path, own: &[Server]) -> Result<Vec<Server>, Problems> {
    let source = Source::at(path, unreadable, "the servers file")?;
    let (list, moved) = list(&source, folder);
    let mut problems = Problems::new(Arc::new(source));
    let mut servers = Vec::new();
    match list {
        Ok(list) => {
            let mut listed = Listed {
                folder,
                problems: &mut problems,
            };
            servers = listed.servers(&list);
            pools::refuse_taken(&list, own, &mut problems);
        }
        Err(found) => problems.list = found,
    }
    let list = problems.list.into_iter();
    problems.list = list.map(|problem| back(problem, moved)).collect();
    problems.or(servers)
}

/// And how many bytes further on everything was read than it stands.
fn list(source: &Source, folder: &Path) -> (Result<List, Vec<Problem>>, isize) {
    let is_json = source
        .path
        .extension()
        .is_some_and(|end| end.eq_ignore_ascii_case("json"));
    if !is_json {
        let value = source.parse().map_err(|problem| vec![problem]);
        return (value.and_then(|value| read_by(of_table, &value, folder)), 0);
    }
    let (text, moved) = match json_as_toml(source) {
        Ok(text) => text,
        Err(problem) => return (Err(vec![problem]), 0),
    };
    let table = DeTable::parse(&text).map_err(|error| {
        let at = error.span().unwrap_or(0..0);
        let message = error.message().trim_end().to_owned();
        let remedy = "write plain JSON: no null, no `\\/`, no surrogate pairs";
        vec![Problem::at(at, message, remedy)]
    });
    let list = table.and_then(|table| {
        let value = table.get_ref().get("v").expect("it was put there");
        read_by(of_json, value, folder)
    });
    (list, moved)
}

type Value<'d> = Spanned<DeValue<'d>>;

fn read_by(
    of: fn(&Value<'_>, &mut Reader<'_>) -> Option<List>,
    value: &Value<'_>,
    folder: &Path,
) -> Result<List, Vec<Problem>> {
    let mut reader = Reader::new(folder);
    match of(value, &mut reader) {
        Some(list) if reader.problems.is_empty() => Ok(list),
        _ => Err(reader.problems),
    }
}

type List = Vec<Located<written::Server>>;

fn of_table(value: &Value<'_>, reader: &mut Reader<'_>) -> Option<List> {
    written::ServersFile::read(value, reader)?
        .servers
        .map(|servers| servers.value)
}

/// The list alone, or in an object.
fn of_json(value: &Value<'_>, reader: &mut Reader<'_>) -> Option<List> {
    match value.get_ref() {
        DeValue::Array(_) => List::read(value, reader),
        _ => of_table(value, reader),
    }
}

/// The text as TOML, and how many bytes further on everything stands in it.
fn json_as_toml(source: &Source) -> Result<(String, isize), Problem> {
    let json = &source.text;
    if let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(json) {
        let lines = json
            .split_inclusive('\n')
            .take(error.line().saturating_sub(1));
        let at = lines.map(str::len).sum::<usize>() + error.column().saturating_sub(1);
        let words = error.to_string();
        let words = words
            .split(" at line ")
            .next()
            .unwrap_or_default()
            .to_owned();
        return Err(Problem::at(at..at + 1, words, "correct the JSON here"));
    }
    let trimmed = json.trim_start();
    let before = (json.len() - trimmed.len()) as isize;
    let (mut quoted, mut escaped) = (false, false);
    let toml = trimmed.chars().map(|c| {
        let colon = c == ':' && !quoted;
        if c == '"' && !escaped {
            quoted = !quoted;
        }
        escaped = quoted && c == '\\' && !escaped;
        if colon { '=' } else { c }
    });
    Ok(("v=".chars().chain(toml).collect(), 2 - before))
}

fn back(mut problem: Problem, moved: isize) -> Problem {
    let shift = |at: usize| at.saturating_add_signed(-moved);
    let shifted = |span: std::ops::Range<usize>| shift(span.start)..shift(span.end);
    problem.span = problem.span.map(shifted);
    problem.related = problem.related.map(|(span, label)| (shifted(span), label));
    problem
}

fn unreadable(error: &io::Error) -> Problem {
    Problem::of_file(
        format!("the servers file can't be read: {}", reason(error)),
        "name a TOML or JSON file; a relative path starts at the configuration's folder",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(name: &str, text: &str) -> Result<Vec<Server>, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        let taken = Server {
            name: "own".into(),
            address: "10.0.0.1:80".into(),
            resolved_from: None,
            weight: 1,
            backup: false,
            max_connections: 0,
            labels: Vec::new(),
        };
        read(&path, Path::new("/etc"), &[taken]).map_err(|problems| {
            let text = problems.render(false).join("\n");
            text.replace(&folder.path().display().to_string(), "")
        })
    }

    #[test]
    fn toml_and_json_say_the_same() {
        let toml = read_text(
            "s.toml",
            "servers = [{ name = 'a', address = 'unix:a:b', weight = 3, labels = { zone = 'x' } }]",
        );
        let sections = read_text(
            "s.toml",
            "[[servers]]\nname = 'a'\naddress = 'unix:a:b'\nweight = 3\nlabels = { zone = 'x' }\n",
        );
        let json = "\n [\n{\"name\": \"a\", \"address\" : \"unix:a:b\",\n \"weight\":3, \"labels\": {\"zone\": \"x\"}}]\n";
        let list = read_text("s.json", json);
        let object = read_text("s.json", &format!("{{\"servers\": {json}}}"));
        assert_eq!(toml.as_ref().unwrap()[0].address, "unix:/etc/a:b");
        for other in [sections, list, object] {
            assert_eq!(toml, other);
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        for (name, text, place, words) in [
            (
                "s.toml",
                "servers = [\n  { adress = 'a:1' }]",
                "/s.toml:2:5",
                "unknown key `adress`",
            ),
            (
                "s.json",
                "\n[\n  { \"adress\": \"a:1\" }]",
                "/s.json:3:5",
                "unknown key `adress`",
            ),
            (
                "s.json",
                "[\n  { \"address\": }]",
                "/s.json:2:",
                "expected value",
            ),
            (
                "s.toml",
                "servers = [{ name = 'own', address = 'a:1' }]",
                "/s.toml:1:21",
                "is taken",
            ),
        ] {
            let told = read_text(name, text).unwrap_err();
            assert!(told.contains(place) && told.contains(words), "{told}");
        }
    }
}
