//! Holds the house in order: the floors of `host/src`, which folder may name which library, the names at the root, a README
//! for each plugin, and a first line in each file that says what the file is for. It reads the sources as text: comments
//! and literals are blanked first, so that prose may name what code may not.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// What stands on which floor. `shipped` is a table of bytes and imports nothing.
const FLOORS: &[(&str, u32)] = &[
    ("base", 0),
    ("shipped", 0),
    ("config", 1),
    ("hook", 1),
    ("net", 2),
    ("state", 2),
    ("tls", 3),
    ("upstream", 3),
    ("http", 4),
    ("plugin", 4),
    ("pipeline", 5),
    ("discovery", 5),
    ("health", 5),
    ("observe", 5),
    ("control", 6),
    ("admin", 7),
    ("cli", 7),
];

/// The only files outside all folders; they know every floor.
const TOP: &[&str] = &["app", "lib", "main"];

/// Libraries, and the only folders that may name them.
const LIBRARIES: &[(&str, &[&str])] = &[
    ("aws_lc_rs", &["http", "plugin"]),
    ("wasmtime", &["plugin"]),
    ("wasmtime_wasi", &["plugin"]),
    ("wit_component", &["plugin", "cli"]),
    ("hyper", &["admin", "cli"]),
    ("hyper_util", &["admin", "cli"]),
    ("h2", &["http"]),
    ("hickory_resolver", &["discovery"]),
    ("axum", &["admin", "cli"]),
    ("toml", &["config", "cli"]),
    ("clap", &["cli", "main"]),
    ("redis", &["state"]),
    ("rustls", &["tls"]),
    ("tokio_rustls", &["tls"]),
    ("rustls_native_certs", &["tls"]),
    ("x509_parser", &["tls"]),
];

const ROOT: &[&str] = &[
    "CHANGELOG.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "examples",
    "host",
    "plugins",
    "rust-toolchain.toml",
    "sdk",
    "tests",
    "wit",
];

#[test]
fn a_file_imports_lower_floors_and_its_own_folder_only() {
    let mut wrong = Vec::new();
    for file in sources("host/src") {
        let folder = folder_of(&file);
        if TOP.contains(&folder.as_str()) {
            continue;
        }
        let Some(own) = floor(&folder) else {
            wrong.push(format!(
                "{}: `{folder}` has no floor: give it one in FLOORS",
                shown(&file)
            ));
            continue;
        };
        let code = code_of(&file);
        for (line, target) in crate_paths(&code) {
            let allowed = target == folder || floor(&target).is_some_and(|other| other < own);
            if !allowed {
                wrong.push(format!(
                    "{}:{line}: `{folder}` (floor {own}) imports `crate::{target}`{}",
                    shown(&file),
                    floor(&target).map_or(String::new(), |f| format!(" (floor {f})")),
                ));
            }
        }
        for line in climbs(&file, &code) {
            wrong.push(format!(
                "{}:{line}: `super` leaves the folder: write `crate::` so that the floor shows",
                shown(&file)
            ));
        }
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn a_library_is_named_by_its_own_folder_only() {
    let mut wrong = Vec::new();
    for file in sources("host/src") {
        let (folder, code) = (folder_of(&file), code_of(&file));
        for (library, folders) in LIBRARIES {
            if folders.contains(&folder.as_str()) {
                continue;
            }
            for line in uses_of(&code, library) {
                wrong.push(format!(
                    "{}:{line}: only {} may name `{library}`",
                    shown(&file),
                    folders.join(", ")
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn the_root_shows_the_agreed_names_only() {
    let seen: BTreeSet<String> = fs::read_dir(root())
        .expect("the root can be listed")
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .filter(|name| !name.starts_with('.') && name != "target")
        .collect();
    let agreed: BTreeSet<String> = ROOT.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(agreed, seen, "left: agreed, right: found");
}

#[test]
fn each_plugin_has_a_readme_under_its_name() {
    let mut wrong = Vec::new();
    for entry in fs::read_dir(root().join("plugins")).expect("plugins can be listed") {
        let folder = entry.expect("an entry").path();
        // The overview lies beside them.
        if folder.is_file() {
            continue;
        }
        let name = folder
            .file_name()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        match fs::read_to_string(folder.join("README.md")) {
            Ok(text) if text.lines().next() == Some(&format!("# {name}")) => {}
            Ok(_) => wrong.push(format!(
                "plugins/{name}/README.md does not begin with `# {name}`"
            )),
            Err(e) => wrong.push(format!("plugins/{name}/README.md: {e}")),
        }
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn each_file_opens_with_what_it_is_for() {
    let mut wrong = Vec::new();
    for folder in ["host", "sdk", "plugins", "tests", "examples"] {
        for file in sources(folder) {
            let text = fs::read_to_string(&file).expect("a source is text");
            if !text.starts_with("//! ") {
                wrong.push(shown(&file));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "no `//!` at the top of:\n{}\n",
        wrong.join("\n")
    );
}

fn floor(folder: &str) -> Option<u32> {
    FLOORS
        .iter()
        .find(|(name, _)| *name == folder)
        .map(|(_, floor)| *floor)
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("host lies in the workspace")
        .to_owned()
}

fn shown(file: &Path) -> String {
    file.strip_prefix(root())
        .unwrap_or(file)
        .display()
        .to_string()
}

/// The first name below `host/src`, without `.rs`: `pipeline` for `pipeline/route.rs`, `app` for `app.rs`.
fn folder_of(file: &Path) -> String {
    let inside = file
        .strip_prefix(root().join("host/src"))
        .expect("a file of the host");
    let first = inside
        .components()
        .next()
        .expect("a name")
        .as_os_str()
        .to_string_lossy()
        .into_owned();
    first.trim_end_matches(".rs").to_owned()
}

/// Every `.rs` file below the folder, build output aside, sorted.
fn sources(folder: &str) -> Vec<PathBuf> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
            let path = entry.expect("an entry").path();
            if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
                walk(&path, found);
            } else if path.extension().is_some_and(|e| e == "rs") {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(&root().join(folder), &mut found);
    assert!(!found.is_empty(), "{folder} holds no sources");
    found.sort();
    found
}

fn code_of(file: &Path) -> String {
    blank(&fs::read_to_string(file).unwrap_or_else(|e| panic!("{}: {e}", file.display())))
}

/// The line and first segment of each path that begins with `crate::`, groups (`crate::{a, b::c}`) included.
fn crate_paths(code: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$') {
            continue;
        }
        let rest = code[at + "crate::".len()..].trim_start();
        let names = match rest.strip_prefix('{') {
            Some(group) => group_heads(group),
            None => vec![identifier(rest)],
        };
        found.extend(names.into_iter().map(|name| (line_of(code, at), name)));
    }
    found
}

/// The first segments of a `use` group whose `{` has been read.
fn group_heads(group: &str) -> Vec<String> {
    let (mut depth, mut heads, mut fresh) = (1, Vec::new(), true);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => fresh = true,
            c if fresh && depth == 1 && !c.is_whitespace() => {
                heads.push(identifier(&group[at..]));
                fresh = false;
            }
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    heads
}

fn identifier(text: &str) -> String {
    text.chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect()
}

/// Lines, outside inline modules, where a chain of `super::` reaches the crate's root.
fn climbs(file: &Path, code: &str) -> Vec<usize> {
    let inside = file
        .strip_prefix(root().join("host/src"))
        .expect("a file of the host");
    let parts = inside.components().count();
    let depth = if inside.ends_with("mod.rs") {
        parts - 1
    } else {
        parts
    };
    code.lines()
        .enumerate()
        .filter(|(_, line)| !line.starts_with(' '))
        .filter(|(_, line)| line.matches("super::").count() >= depth)
        .map(|(number, _)| number + 1)
        .collect()
}

/// The lines where the library is named in a path or a `use`.
fn uses_of(code: &str, library: &str) -> Vec<usize> {
    let path = format!("{library}::");
    code.match_indices(&path)
        .filter(|(at, _)| {
            !code[..*at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':')
        })
        .map(|(at, _)| line_of(code, at))
        .collect()
}

fn line_of(code: &str, at: usize) -> usize {
    code[..at].matches('\n').count() + 1
}

/// The text with comments and the insides of literals replaced by spaces; line ends stay.
fn blank(text: &str) -> String {
    let mut rest = text;
    let mut code = String::with_capacity(text.len());
    while let Some(first) = rest.chars().next() {
        let previous = code.chars().next_back();
        let (length, keep) = match literal_or_comment(rest, previous) {
            Some(length) => (length, false),
            None => (first.len_utf8(), true),
        };
        let piece = &rest[..length];
        if keep {
            code.push_str(piece);
        } else {
            code.extend(piece.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        }
        rest = &rest[length..];
    }
    code
}

/// How long the comment or literal is that the text begins with.
fn literal_or_comment(text: &str, previous: Option<char>) -> Option<usize> {
    let inside_name = previous.is_some_and(|c| c.is_alphanumeric() || c == '_');
    if text.starts_with("//") {
        Some(text.find('\n').unwrap_or(text.len()))
    } else if text.starts_with("/*") {
        Some(block_comment(text))
    } else if text.starts_with('"') {
        Some(quoted(text))
    } else if !inside_name && (text.starts_with('r') || text.starts_with("br")) {
        raw(text)
    } else if text.starts_with('\'') {
        character(text)
    } else {
        None
    }
}

fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        let rest = &text[at..];
        if rest.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with("*/") {
            depth -= 1;
            at += 2;
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn quoted(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// `r"…"`, `r#"…"#` and the byte forms; None: a raw identifier, or no literal at all.
fn raw(text: &str) -> Option<usize> {
    let start = if text.starts_with("br") { 2 } else { 1 };
    let hashes = text[start..].chars().take_while(|c| *c == '#').count();
    text[start + hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let body = start + hashes + 1;
    Some(
        text[body..]
            .find(&end)
            .map_or(text.len(), |at| body + at + end.len()),
    )
}

/// A character; None: a lifetime.
fn character(text: &str) -> Option<usize> {
    let mut rest = text.char_indices().skip(1);
    let (_, first) = rest.next()?;
    if first == '\\' {
        let after = rest.next()?.0 + 1;
        return text.get(after..)?.find('\'').map(|at| after + at + 1);
    }
    rest.next()
        .filter(|(_, c)| *c == '\'')
        .map(|(at, _)| at + 1)
}

#[test]
fn blanking_keeps_code_and_lines() {
    let text = "use crate::a; // crate::b\nlet x = \"crate::c\"; /* crate::d\n */ r#\"crate::e\"# '\\'' 'x' &'a crate::f";
    let code = blank(text);
    let seen: Vec<String> = crate_paths(&code)
        .into_iter()
        .map(|(line, name)| format!("{line}{name}"))
        .collect();
    assert_eq!(seen, ["1a", "3f"]);
    assert_eq!(crate_paths("use crate::{a::{b, c}, d};").len(), 2);
}
