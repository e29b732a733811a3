//! The settings as written; one rule comes out.

use serde::Deserialize;

use crate::Rule;
use crate::pattern::Pattern;
use crate::prefix::Prefix;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Settings {
    strip_prefix: Option<String>,
    replace_prefix: Option<Replace>,
    regex: Option<String>,
    replacement: Option<String>,
    /// Whether a stripped prefix is told to the server. On unless said otherwise.
    forwarded_prefix: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Replace {
    from: String,
    to: String,
}

impl Settings {
    pub(crate) fn rule(&self) -> Result<Rule, String> {
        let forwarded = self.forwarded_prefix;
        match (&self.strip_prefix, &self.replace_prefix, &self.regex, &self.replacement) {
            (Some(from), None, None, None) => strip(from, forwarded.unwrap_or(true)),
            _ if forwarded.is_some() => Err("key `forwarded-prefix`: goes with `strip-prefix` only".to_owned()),
            (None, Some(Replace { from, to }), None, None) => replace(from, to),
            (None, None, Some(regex), Some(replacement)) => Pattern::new(regex, replacement).map(Rule::Pattern),
            (None, None, Some(_), None) => Err("key `regex`: needs a `replacement` beside it; \"\" removes what matches".to_owned()),
            _ => Err("give one of `strip-prefix`, `replace-prefix` and `regex` (with `replacement`); several rules are several plugins".to_owned()),
        }
    }
}

fn strip(from: &str, forwarded: bool) -> Result<Rule, String> {
    let from = checked("strip-prefix", from)?;
    if from.is_empty() {
        return Err(
            "key `strip-prefix`: `/` strips nothing; name the first segments, such as `/api`"
                .to_owned(),
        );
    }
    Ok(Rule::Prefix(Prefix {
        from,
        to: String::new(),
        forwarded,
    }))
}

fn replace(from: &str, to: &str) -> Result<Rule, String> {
    let from = checked("replace-prefix.from", from)?;
    let to = checked("replace-prefix.to", to)?;
    Ok(Rule::Prefix(Prefix {
        from,
        to,
        forwarded: false,
    }))
}

/// Without its last slash: `/api` and `/api/` mean the same.
fn checked(key: &str, path: &str) -> Result<String, String> {
    if !path.starts_with('/') {
        return Err(format!("key `{key}`: `{path}` must begin with `/`"));
    }
    if path.contains(['?', '#']) {
        return Err(format!(
            "key `{key}`: `{path}` must be a path alone, with no query or fragment"
        ));
    }
    if !path.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(format!(
            "key `{key}`: `{path}` must be written as clients send it: percent-encode what is no visible ASCII"
        ));
    }
    Ok(path.strip_suffix('/').unwrap_or(path).to_owned())
}
