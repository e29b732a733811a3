//! `tidegate plugin new`: a crate that builds and passes its tests as it is, with the SDK that fits this binary beside it.

use std::fs;
use std::path::{Path, PathBuf};

use super::super::arguments::{New, Role};
use super::super::terminal::{Failure, failed, print};
use super::kit;

pub fn new(flags: &New) -> Result<(), Failure> {
    check_name(&flags.name)?;
    let folder = flags
        .path
        .clone()
        .unwrap_or_else(|| PathBuf::from(&flags.name));
    check_folder(&folder)?;
    let draft = Draft {
        name: &flags.name,
        role: flags.role,
    };
    for (path, text) in draft.files() {
        write(&folder.join(path), &text)?;
    }
    print(&draft.next_steps(&folder))
}

struct Draft<'a> {
    name: &'a str,
    role: Role,
}

impl Draft<'_> {
    /// Relative path and text.
    fn files(&self) -> Vec<(String, String)> {
        let template = self.role.template();
        let own = [
            ("Cargo.toml", self.manifest()),
            ("Cargo.lock", kit::lock(self.name, &["serde"])),
            ("src/lib.rs", self.filled_in(template.source)),
            ("cases.toml", self.filled_in(template.cases)),
            ("README.md", self.readme(&template)),
            (".gitignore", "target/\n*.wasm\n".to_owned()),
        ];
        let own = own.into_iter().map(|(path, text)| (path.to_owned(), text));
        let sdk = kit::files().map(|(path, text)| (format!("tidegate-sdk/{path}"), text));
        own.chain(sdk).collect()
    }

    fn manifest(&self) -> String {
        format!(
            r#"[package]
name = "{name}"
version = "0.1.0"
edition = "2024"
rust-version = "{rust}"
publish = false

# cdylib becomes the .wasm; rlib is what `cargo test` links.
[lib]
crate-type = ["cdylib", "rlib"]

[dependencies]
serde = {serde}
tidegate-sdk = {{ path = "tidegate-sdk" }}

[profile.release]
opt-level = 3
lto = true
codegen-units = 1
panic = "abort"
strip = true

# Stands alone, wherever it lies.
[workspace]
"#,
            name = self.name,
            rust = kit::rust_version(),
            serde = kit::dependency("serde"),
        )
    }

    fn readme(&self, template: &Template) -> String {
        let cases = self.filled_in(template.cases);
        let first = cases.find("[[case]]").map_or("", |at| &cases[at..]);
        let first = first.split("\n\n").next().unwrap_or_default();
        self.filled_in(include_str!("template/README.md"))
            .replace("ROLE", self.role.noun())
            .replace("CONFIG", self.filled_in(template.config).trim_end())
            .replace("CASES", first)
            .replace("VERSION", env!("CARGO_PKG_VERSION"))
    }

    fn filled_in(&self, template: &str) -> String {
        template
            .replace("PluginName", &camel(self.name))
            .replace("plugin_name", &snake(self.name))
            .replace("plugin-name", self.name)
    }

    fn next_steps(&self, folder: &Path) -> String {
        format!(
            "{folder} holds a {role} that builds and passes its tests. Next:\n\n  cd {folder}\n  cargo test\n  tidegate plugin build \
             -o {file}.wasm\n  tidegate plugin test {file}.wasm\n\nThen src/lib.rs is yours to change; README.md says how it goes \
             live.\n",
            folder = folder.display(),
            role = self.role.noun(),
            file = snake(self.name),
        )
    }
}

struct Template {
    source: &'static str,
    cases: &'static str,
    config: &'static str,
}

impl Role {
    fn template(self) -> Template {
        match self {
            Role::Balancer => Template {
                source: include_str!("template/balancer.rs"),
                cases: include_str!("template/balancer.cases.toml"),
                config: "[[plugin]]\nname = \"plugin-name\"\npath = \"plugin_name.wasm\"\nconfig = { zone = \"a\" }\n\n\
                         [[pool]]\nname = \"app\"\nbalancer = \"plugin-name\"\nservers = [\n  { name = \"a1\", address = \
                         \"127.0.0.1:8001\", labels = { zone = \"a\" } },\n  { name = \"b1\", address = \"127.0.0.1:8002\", \
                         labels = { zone = \"b\" } },\n]\n",
            },
            Role::Router => Template {
                source: include_str!("template/router.rs"),
                cases: include_str!("template/router.cases.toml"),
                config: "[[plugin]]\nname = \"plugin-name\"\npath = \"plugin_name.wasm\"\nconfig = { tenants = { acme = \
                         \"acme-pool\" } }\n\n[[listener]]\nname = \"web\"\nbind = \"127.0.0.1:8080\"\nrouter = \
                         \"plugin-name\"\npool = \"app\"          # where requests go that it leaves alone\n",
            },
            Role::Filter => Template {
                source: include_str!("template/filter.rs"),
                cases: include_str!("template/filter.cases.toml"),
                config: "[[plugin]]\nname = \"plugin-name\"\npath = \"plugin_name.wasm\"\nconfig = { keys = { open-sesame = \
                         \"ali\" } }\n\n[[listener]]\nname = \"web\"\nbind = \"127.0.0.1:8080\"\nfilters = \
                         [\"plugin-name\"]\npool = \"app\"\n",
            },
        }
    }

    fn noun(self) -> &'static str {
        match self {
            Role::Balancer => "balancer",
            Role::Router => "router",
            Role::Filter => "filter",
        }
    }
}

/// What cargo takes as a crate's name, rustc as a file's, and the config as a plugin's.
fn check_name(name: &str) -> Result<(), Failure> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    let wrong = if !name.starts_with(|c: char| c.is_ascii_lowercase()) {
        "it must begin with a lower-case letter"
    } else if !name.chars().all(plain) {
        "it may hold lower-case letters, digits, `-` and `_`"
    } else if name.ends_with(['-', '_']) || name.contains("--") {
        "hyphens stand between words"
    } else if name.len() > 64 {
        "64 characters are the most"
    } else if TAKEN.contains(&name) {
        "Rust or the SDK uses that name itself"
    } else {
        return Ok(());
    };
    Err(Failure::new(format!(
        "{name:?} is no name for a plugin: {wrong}; for example by-tenant"
    )))
}

/// Rust's keywords and cargo's reserved names as far as they pass the other rules, and what the new crate depends on.
#[rustfmt::skip]
const TAKEN: &[&str] = &[
    "abstract", "alloc", "as", "async", "await", "become", "box", "break", "const", "continue", "core", "crate", "do", "dyn",
    "else", "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl", "in", "let", "loop", "macro", "match", "mod",
    "move", "mut", "override", "priv", "proc-macro", "proc_macro", "pub", "ref", "return", "self", "serde", "serde_json",
    "static", "std", "struct", "super", "test", "tidegate-sdk", "tidegate_sdk", "trait", "true", "try", "type", "typeof",
    "unsafe", "unsized", "use", "virtual", "where", "while", "wit-bindgen", "wit_bindgen", "yield",
];

fn check_folder(folder: &Path) -> Result<(), Failure> {
    let occupied = match fs::read_dir(folder) {
        Ok(mut entries) => entries.next().is_some(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
        Err(error) => {
            return Err(failed(format_args!("use the folder {}", folder.display()))(
                error,
            ));
        }
    };
    if occupied {
        return Err(Failure::new(format!(
            "{} is not empty, and nothing was written; name another folder with --path",
            folder.display()
        )));
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let folder = path.parent().expect("a file lies in a folder");
    fs::create_dir_all(folder)
        .map_err(failed(format_args!("make the folder {}", folder.display())))?;
    fs::write(path, text).map_err(failed(format_args!("write {}", path.display())))
}

fn snake(name: &str) -> String {
    name.replace('-', "_")
}

/// `by-tenant` is `ByTenant`. A name that the SDK's prelude uses too is made another.
fn camel(name: &str) -> String {
    let words = name.split(['-', '_']).map(|word| {
        let (first, rest) = word.split_at(word.len().min(1));
        first.to_ascii_uppercase() + rest
    });
    let joined: String = words.collect();
    if PRELUDE.contains(&joined.as_str()) {
        joined + "Plugin"
    } else {
        joined
    }
}

/// Names of Rust's and the SDK's prelude, and of the templates, that a type of the same name would hide.
#[rustfmt::skip]
const PRELUDE: &[&str] = &[
    "Admission", "Affinity", "Answer", "Balancer", "Binding", "Box", "Clone", "Connect", "Context", "Copy", "Counter",
    "Decision", "Default", "Deserialize", "Drop", "Edit", "Eq", "Err", "Extend", "FakeRequest", "FakeResponse", "Fetch",
    "FetchError", "FetchFilter", "Fn", "From", "Harness", "HashMap", "Health", "Input", "Interest", "Into", "Iterator",
    "NoSettings", "None", "Note", "Ok", "Option", "Ord", "Ordering", "Outcome", "PerPool", "Pick", "Plugin", "Pool",
    "PoolIndex", "Probe", "Reply", "Request", "RequestBalancer", "RequestFilter", "RequestPick", "Response",
    "ResponseFilter", "ResponseOutcome", "Result", "Route", "RouteIndex", "Router", "Self", "Send", "Server", "ServerState",
    "Settings", "Slot", "Some", "Stateful", "Step", "Sticky", "String", "Sync", "Ticket", "ToString", "Vec", "Verdict",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_that_cargo_takes() {
        for good in ["by-tenant", "a", "x2", "by_tenant"] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "By-Tenant",
            "2x",
            "a b",
            "../x",
            "a--b",
            "a-",
            "fn",
            "test",
            "serde",
            "é",
            "-x",
            "a.b",
        ] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_type_is_named_after_the_crate() {
        assert_eq!(camel("by-tenant"), "ByTenant");
        assert_eq!(camel("router"), "RouterPlugin");
        assert_eq!(camel("x2_y"), "X2Y");
    }

    #[test]
    fn an_occupied_folder_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        assert!(check_folder(folder.path()).is_ok(), "an empty one will do");
        assert!(check_folder(&folder.path().join("fresh")).is_ok());
        fs::write(folder.path().join("x"), "").unwrap();
        let refusal = check_folder(folder.path()).unwrap_err();
        assert!(refusal.to_string().contains("--path"), "{refusal}");
        assert!(
            check_folder(&folder.path().join("x")).is_err(),
            "a file is no folder"
        );
    }

    #[test]
    fn no_placeholder_is_left() {
        for role in [Role::Balancer, Role::Router, Role::Filter] {
            let draft = Draft {
                name: "by-zone",
                role,
            };
            for (path, text) in draft
                .files()
                .iter()
                .filter(|(path, _)| !path.starts_with("tidegate-sdk/"))
            {
                for left in [
                    "PluginName",
                    "plugin-name",
                    "plugin_name",
                    "ROLE",
                    "CONFIG",
                    "CASES",
                    "VERSION",
                ] {
                    assert!(!text.contains(left), "{path} of {role:?} holds {left}");
                }
            }
            let paths: Vec<String> = draft.files().into_iter().map(|(path, _)| path).collect();
            assert!(paths.contains(&"tidegate-sdk/src/lib.rs".to_owned()));
            assert!(draft.manifest().parse::<toml::Table>().is_ok());
        }
    }
}
