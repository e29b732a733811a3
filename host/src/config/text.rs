//! Strings, and where they come from: any may be `{ file = "…" }` or `{ env = "…" }`. What comes that way is a secret, and
//! no message quotes it.

use toml::de::DeValue;

use super::problem::Span;
use super::read::{Fault, Reader, Value};
use super::source::{read_bounded, reason};

/// A string, and whether it may be shown.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Text {
    pub value: String,
    pub secret: bool,
}

pub(super) struct Reference<'t, 'd> {
    /// `file` or `env`.
    pub kind: &'t str,
    name: &'t DeValue<'d>,
    span: Span,
}

/// A secret from a file is short: a token, a key, an address.
const LARGEST_TEXT: u64 = 64 << 10;

impl Text {
    /// For messages: quoted, or without its value when that is secret.
    pub fn shown(&self) -> String {
        if self.secret {
            "the value given here".to_owned()
        } else {
            format!("{:?}", self.value)
        }
    }
}

impl Reader<'_> {
    /// A string, written here, in a file or in an environment variable.
    pub fn text(&mut self, value: &Value<'_>, expected: &str) -> Option<Text> {
        match value.get_ref() {
            DeValue::String(text) => Some(Text {
                value: text.to_string(),
                secret: false,
            }),
            other => match reference(other) {
                Some(reference) => self.resolve(reference),
                None => {
                    let remedy = "write a string, { file = \"…\" } or { env = \"…\" }";
                    let remedy = other.is_table().then(|| remedy.to_owned());
                    self.wrong_type(value, expected, remedy);
                    None
                }
            },
        }
    }

    fn resolve(&mut self, reference: Reference<'_, '_>) -> Option<Text> {
        let (name, span) = (reference.name, reference.span);
        let Some(name) = name.as_str() else {
            let message = format!("`{}` takes a string", reference.kind);
            self.problem(
                span,
                message,
                format!("write {{ {} = \"…\" }}", reference.kind),
            );
            return None;
        };
        let result = match reference.kind {
            "file" => self.file(name),
            _ => variable(name),
        };
        match result {
            Ok(value) => Some(Text {
                value,
                secret: true,
            }),
            Err(fault) => {
                self.problem(span, fault.says, fault.remedy);
                None
            }
        }
    }

    /// The text of a file, without the line break that editors put at its end.
    fn file(&self, name: &str) -> Result<String, Fault> {
        let path = self.folder.join(name);
        let shown = path.display();
        let bytes = read_bounded(&path, LARGEST_TEXT).map_err(|error| {
            let says = format!("{shown} can't be read: {}", reason(&error));
            Fault::new(
                says,
                "name a readable file; a relative path starts at this file's folder",
            )
        })?;
        let mut text = String::from_utf8(bytes)
            .map_err(|_| Fault::new(format!("{shown} is not UTF-8"), "save the file as UTF-8"))?;
        if text.ends_with('\n') {
            text.pop();
            if text.ends_with('\r') {
                text.pop();
            }
        }
        Ok(text)
    }
}

/// A table with exactly that one key.
pub(super) fn reference<'t, 'd>(value: &'t DeValue<'d>) -> Option<Reference<'t, 'd>> {
    let table = value.as_table().filter(|table| table.len() == 1)?;
    let (key, name) = table.iter().next()?;
    let kind: &str = key.get_ref();
    ["file", "env"].contains(&kind).then(|| Reference {
        kind,
        name: name.get_ref(),
        span: name.span(),
    })
}

fn variable(name: &str) -> Result<String, Fault> {
    // A name with `=` or NUL is none, and `var` answers so.
    std::env::var(name).map_err(|error| match error {
        std::env::VarError::NotPresent => Fault::new(
            format!("the environment variable {name:?} is not set"),
            "set it for the tidegate process, or give the value in another way",
        ),
        std::env::VarError::NotUnicode(_) => Fault::new(
            format!("the environment variable {name:?} is not UTF-8"),
            "set it to UTF-8 text",
        ),
    })
}
