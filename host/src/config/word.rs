//! Strings with a grammar: paths, methods, hashes, grants, the token. Each tells what it expects and, when it refuses a
//! text, why.

use schemars::{Schema, json_schema};

use super::read::{Fault, FromText};

/// A request's path.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Path(pub String);

/// A request's method.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Method(pub String);

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sha256(pub [u8; 32]);

/// `fetch:POOL`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Grant(pub String);

/// The admin's token.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Token(pub String);

impl FromText for Path {
    fn form() -> String {
        "a path such as \"/api\"".to_owned()
    }

    fn from_text(text: &str) -> Result<Path, Fault> {
        if !text.starts_with('/') {
            return Err(Fault::new(
                "does not begin with a slash",
                format!("write \"/{text}\""),
            ));
        }
        if let Some(odd) = text.chars().find(|c| "?#".contains(*c)) {
            return Err(Fault::new(
                format!("has a `{odd}`, which no path has"),
                "match the query with `query`, such as query = { page = \"1\" }",
            ));
        }
        if text.chars().any(|c| !c.is_ascii_graphic()) {
            return Err(Fault::new(
                "has a character that no path has",
                "write it percent-encoded, as requests do: %20 for a space",
            ));
        }
        Ok(Path(text.to_owned()))
    }

    fn text_schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^/[^?#\\s]*$" })
    }
}

impl FromText for Method {
    fn form() -> String {
        "a method such as \"GET\"".to_owned()
    }

    fn from_text(text: &str) -> Result<Method, Fault> {
        if !is_token(text) {
            return Err(Fault::new(
                "is no method",
                format!("write {}", Method::form()),
            ));
        }
        // Methods are case-sensitive (RFC 9110 section 9.1), and no registered one has lower case.
        if text.bytes().any(|c| c.is_ascii_lowercase()) {
            let upper = text.to_ascii_uppercase();
            return Err(Fault::new(
                "would never match: methods are upper case",
                format!("write {upper:?}"),
            ));
        }
        Ok(Method(text.to_owned()))
    }

    fn text_schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^[!#$%&'*+.^_`|~0-9A-Z-]+$" })
    }
}

/// RFC 9110 section 5.6.2.
pub(super) fn is_token(text: &str) -> bool {
    let fits = |c: u8| c.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&c);
    !text.is_empty() && text.bytes().all(fits)
}

impl FromText for Sha256 {
    fn form() -> String {
        "a SHA-256 hash of 64 hexadecimal digits".to_owned()
    }

    fn from_text(text: &str) -> Result<Sha256, Fault> {
        let fault = || {
            let remedy = "write what `sha256sum FILE` or `tidegate plugin inspect FILE` prints";
            Fault::new("is no SHA-256 hash of 64 hexadecimal digits", remedy)
        };
        if text.len() != 64 || !text.bytes().all(|c| c.is_ascii_hexdigit()) {
            return Err(fault());
        }
        let mut hash = [0; 32];
        for (byte, pair) in hash.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| fault())?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| fault())?;
        }
        Ok(Sha256(hash))
    }

    fn text_schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^[0-9A-Fa-f]{64}$" })
    }
}

impl FromText for Grant {
    fn form() -> String {
        "a grant such as \"fetch:POOL\"".to_owned()
    }

    fn from_text(text: &str) -> Result<Grant, Fault> {
        let pool = text.strip_prefix("fetch:").filter(|pool| !pool.is_empty());
        pool.map(|pool| Grant(pool.to_owned())).ok_or_else(|| {
            Fault::new(
                "is no grant",
                "write \"fetch:POOL\" with the name of a pool that it may call",
            )
        })
    }

    fn text_schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^fetch:.+$" })
    }
}

impl FromText for Token {
    fn form() -> String {
        "a token of visible ASCII characters without space".to_owned()
    }

    /// It travels in `Authorization: Bearer` (RFC 6750 section 2.1).
    fn from_text(text: &str) -> Result<Token, Fault> {
        let remedy = "make one with `openssl rand -hex 32`";
        if text.is_empty() {
            return Err(Fault::new("is empty", remedy));
        }
        if !text.bytes().all(|c| c.is_ascii_graphic()) {
            return Err(Fault::new(
                "has a character that no request can carry",
                remedy,
            ));
        }
        Ok(Token(text.to_owned()))
    }

    fn text_schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^[!-~]+$" })
    }
}

/// A choice among a few words; `says` is what is wrong with another, `kind` what they are.
macro_rules! words {
    ($type:ty, $says:literal, $kind:literal, $($word:literal => $value:expr),+) => {
        impl FromText for $type {
            fn form() -> String {
                $crate::config::word::listed(&[$($word),+])
            }

            fn from_text(text: &str) -> Result<$type, Fault> {
                match text {
                    $($word => Ok($value),)+
                    _ => {
                        let remedy = $crate::config::nearest::remedy(text, $kind, &[$($word),+]);
                        Err(Fault::new($says, remedy))
                    }
                }
            }

            fn text_schema() -> Schema {
                json_schema!({ "type": "string", "enum": [$($word),+] })
            }
        }
    };
}

pub(super) use words;

/// `a, b or c`.
pub(super) fn listed(words: &[&str]) -> String {
    match words {
        [first @ .., last] if !first.is_empty() => format!("{} or {last}", first.join(", ")),
        _ => words.concat(),
    }
}
