//! What the operator says: keys, where a token stands, what it must hold, and who is told of it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use tidegate_sdk::{Context, Input, field, settings};

use crate::claims::Rules;
use crate::fetched::{Fetched, Source};
use crate::jwk;
use crate::keys::{Key, Kind};

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Settings {
    keys: Vec<Written>,
    jwks: Option<Jwks>,
    from: Option<Input>,
    issuer: Option<OneOrMore>,
    audience: Option<OneOrMore>,
    #[serde(deserialize_with = "settings::duration")]
    leeway: Duration,
    without_expiry: bool,
    /// Claims and values, one of which must be there.
    require: BTreeMap<String, OneOrMore>,
    notes: BTreeMap<String, String>,
    headers: BTreeMap<String, String>,
    realm: String,
    pub optional: bool,
    pub pass_on: bool,
}

#[derive(Debug, Deserialize)]
#[serde(
    untagged,
    expecting = "a key in PEM, or a table with `pem` or `secret`"
)]
enum Written {
    Pem(String),
    Table(Described),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Described {
    pem: Option<String>,
    secret: Option<String>,
    kid: Option<String>,
    algorithm: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(
    untagged,
    expecting = "a JWKS as text, such as that of { file = \"…\" }, or a table with `pool`, `path` and `refresh`"
)]
enum Jwks {
    Text(String),
    Fetched(Source),
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "a text or a list of texts")]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            keys: Vec::new(),
            jwks: None,
            from: None,
            issuer: None,
            audience: None,
            leeway: Duration::from_secs(30),
            without_expiry: false,
            require: BTreeMap::new(),
            notes: BTreeMap::new(),
            headers: BTreeMap::new(),
            realm: "restricted".to_owned(),
            optional: false,
            pass_on: true,
        }
    }
}

impl Settings {
    pub fn fetched(&self, context: &Context) -> Result<Option<Fetched>, String> {
        match &self.jwks {
            Some(Jwks::Fetched(_)) if !self.keys.is_empty() => {
                Err("keys `keys` and `jwks`: keys that are given and keys that are fetched exclude each other".to_owned())
            }
            Some(Jwks::Fetched(source)) => Fetched::new(source, context).map(Some),
            Some(Jwks::Text(_)) | None => Ok(None),
        }
    }

    pub fn keys(&self) -> Result<Vec<Key>, String> {
        let mut keys = Vec::new();
        for (at, written) in self.keys.iter().enumerate() {
            let more = written
                .keys()
                .map_err(|e| format!("key `keys[{at}]`: {e}"))?;
            keys.extend(more);
        }
        if let Some(Jwks::Text(text)) = &self.jwks {
            keys.extend(jwk::set(text.as_bytes(), true).map_err(|e| format!("key `jwks`: {e}"))?);
        }
        match keys.is_empty() {
            true => Err(
                "key `keys`: without a key no token can be checked; give `keys` (PEM) or `jwks`"
                    .to_owned(),
            ),
            false => Ok(keys),
        }
    }

    pub fn from(&self) -> Result<Input, String> {
        match &self.from {
            None => Ok(Input::Header("authorization".to_owned())),
            Some(input @ (Input::Header(_) | Input::Cookie(_) | Input::QueryParameter(_))) => {
                Ok(input.clone())
            }
            Some(other) => Err(format!(
                "key `from`: `{other}` brings no token; give `header:NAME`, `cookie:NAME` or `query:NAME`"
            )),
        }
    }

    pub fn rules(&self) -> Result<Rules, String> {
        if self.leeway > Duration::from_secs(600) {
            return Err(
                "key `leeway`: more than \"10m\" makes an expiry meaningless; set the clocks"
                    .to_owned(),
            );
        }
        let wanted = self.require.iter();
        let wanted = wanted
            .map(|(name, values)| Ok((name.clone(), values.list(&format!("require.{name}"))?)));
        Ok(Rules {
            issuers: listed("issuer", self.issuer.as_ref())?,
            audiences: listed("audience", self.audience.as_ref())?,
            leeway: self.leeway,
            without_expiry: self.without_expiry,
            wanted: wanted.collect::<Result<_, String>>()?,
        })
    }

    pub fn realm(&self) -> Result<String, String> {
        let fits = |b: u8| (0x20..0x7f).contains(&b) && b != b'"' && b != b'\\';
        match self.realm.bytes().all(fits) {
            true => Ok(self.realm.clone()),
            false => Err(format!(
                "key `realm`: {:?} holds a quote, a backslash or what is not ASCII; leave it out",
                self.realm
            )),
        }
    }

    pub fn notes(&self) -> Result<Vec<(String, String)>, String> {
        let fits = |name: &str| {
            (1..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_graphic())
        };
        if let Some(name) = self.notes.keys().find(|name| !fits(name)) {
            return Err(format!(
                "key `notes`: `{name}` is no note's name: 1 to 64 printable characters without blanks make one"
            ));
        }
        if self.notes.len() > 32 {
            return Err(format!(
                "key `notes`: {} notes; at most 32",
                self.notes.len()
            ));
        }
        Ok(self.notes.clone().into_iter().collect())
    }

    pub fn headers(&self) -> Result<Vec<(String, String)>, String> {
        if self.headers.len() > 32 {
            return Err(format!(
                "key `headers`: {} headers; at most 32",
                self.headers.len()
            ));
        }
        let named = |(name, claim): (&String, &String)| Ok((field::name(name)?, claim.clone()));
        let named: Result<_, String> = self.headers.iter().map(named).collect();
        named.map_err(|e| format!("key `headers`: {e}"))
    }
}

impl Written {
    fn keys(&self) -> Result<Vec<Key>, String> {
        let table = match self {
            Written::Pem(pem) => return Key::of_pem(pem, None, None),
            Written::Table(table) => table,
        };
        let algorithm = table.algorithm.as_deref();
        match (&table.pem, &table.secret) {
            (Some(pem), None) => Key::of_pem(pem, table.kid.as_deref(), algorithm),
            (None, Some(secret)) => {
                let bytes = secret.trim_end_matches(['\r', '\n']).as_bytes().to_vec();
                let algorithm = algorithm.unwrap_or("HS256");
                Key::new(Kind::Secret, bytes, table.kid.clone(), Some(algorithm))
                    .map(|key| vec![key])
            }
            _ => Err("give either `pem` or `secret`".to_owned()),
        }
    }
}

impl OneOrMore {
    /// An empty list would mean, to one reader, that nobody fits, and to another, that anybody does.
    fn list(&self, key: &str) -> Result<Vec<String>, String> {
        match self {
            OneOrMore::One(text) => Ok(vec![text.clone()]),
            OneOrMore::More(texts) if texts.is_empty() => Err(format!(
                "key `{key}`: an empty list; name what is let in, or leave the key out"
            )),
            OneOrMore::More(texts) => Ok(texts.clone()),
        }
    }
}

fn listed(key: &str, list: Option<&OneOrMore>) -> Result<Vec<String>, String> {
    list.map_or(Ok(Vec::new()), |list| list.list(key))
}
