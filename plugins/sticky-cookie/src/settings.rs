//! What the operator says of the cookie.

use std::time::Duration;

use serde::{Deserialize, Deserializer};
use tidegate_sdk::seal::Seal;
use tidegate_sdk::{field, settings};

use crate::value::Values;

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Settings {
    pub cookie: String,
    pub mode: Mode,
    pub indirect: bool,
    pub nocache: bool,
    httponly: bool,
    secure: bool,
    same_site: SameSite,
    path: String,
    domain: Option<String>,
    #[serde(deserialize_with = "some_duration")]
    pub max_idle: Option<Duration>,
    #[serde(deserialize_with = "some_duration")]
    pub max_life: Option<Duration>,
    secret: Secrets,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// We set it.
    Insert,
    /// The server sets it, and we change its value.
    Rewrite,
    /// The server sets it, and we put the server's name before its value.
    Prefix,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum SameSite {
    Strict,
    Lax,
    None,
    /// Not said.
    Unset,
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "a secret or a list of secrets")]
enum Secrets {
    One(String),
    More(Vec<String>),
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            cookie: "SERVERID".to_owned(),
            mode: Mode::Insert,
            indirect: true,
            nocache: true,
            httponly: true,
            secure: false,
            same_site: SameSite::Lax,
            path: "/".to_owned(),
            domain: None,
            max_idle: None,
            max_life: None,
            secret: Secrets::More(Vec::new()),
        }
    }
}

fn some_duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    settings::duration(deserializer).map(Some)
}

/// A date has 32 bits, and a cookie that is good for longer is as good for ever.
const LONGEST: Duration = Duration::from_secs(400 * 86_400);

impl Settings {
    pub fn check(&self) -> Result<(), String> {
        field::name(&self.cookie).map_err(|_| {
            format!(
                "key `cookie`: `{}` is no cookie's name: letters, digits and `-` make one",
                self.cookie
            )
        })?;
        for (key, time) in [("max-idle", self.max_idle), ("max-life", self.max_life)] {
            let Some(time) = time else { continue };
            if self.mode != Mode::Insert {
                return Err(format!(
                    "key `{key}`: belongs to the mode `insert`; in the others the cookie is the server's, and so is its end"
                ));
            }
            if !(Duration::from_secs(1)..=LONGEST).contains(&time) {
                return Err(format!("key `{key}`: give 1s to 400d"));
            }
        }
        if self.same_site == SameSite::None && !self.secure {
            return Err(
                "key `same-site`: browsers take `none` only together with `secure = true`"
                    .to_owned(),
            );
        }
        Ok(())
    }

    /// As they follow the value.
    pub fn attributes(&self) -> Result<String, String> {
        let fits = |text: &str| {
            text.bytes()
                .all(|b| b.is_ascii_graphic() && b != b';' && b != b',')
        };
        if !self.path.starts_with('/') || !fits(&self.path) {
            return Err(format!(
                "key `path`: `{}` must begin with `/`, and hold no blank, `;` or `,`",
                self.path
            ));
        }
        let mut text = format!("; Path={}", self.path);
        if let Some(domain) = &self.domain {
            if domain.is_empty() || !fits(domain) {
                return Err(format!(
                    "key `domain`: `{domain}` is no domain, such as `example.com`"
                ));
            }
            text += &format!("; Domain={domain}");
        }
        for (is, name) in [(self.httponly, "; HttpOnly"), (self.secure, "; Secure")] {
            text += if is { name } else { "" };
        }
        text += match self.same_site {
            SameSite::Strict => "; SameSite=Strict",
            SameSite::Lax => "; SameSite=Lax",
            SameSite::None => "; SameSite=None",
            SameSite::Unset => "",
        };
        Ok(text)
    }

    pub fn values(&self) -> Result<Values, String> {
        let secrets = match &self.secret {
            Secrets::More(secrets) if secrets.is_empty() => return Ok(Values::Plain),
            Secrets::More(secrets) => secrets.clone(),
            Secrets::One(secret) => vec![secret.clone()],
        };
        let seal = Seal::new(&secrets).map_err(|e| format!("key `secret`: {e}"))?;
        Ok(Values::Sealed(seal))
    }
}
