//! Remembers which server a user was sent to, by a part of the request or by a cookie that the server sets: HAProxy's
//! `stick on` and `stick store-response`. See README.md.
//!
//! The table is the host's: all workers share it, it is bounded, and it outlives swaps. Keys are hashed, as they may be
//! sessions' names, and long.

use std::time::Duration;

use serde::Deserialize;
use tidegate_sdk::prelude::*;
use tidegate_sdk::settings;

pub struct StickyTable {
    by: By,
    expire: Duration,
}

enum By {
    /// Parts of the request.
    Request(Vec<Input>),
    /// A cookie of the server's own.
    Cookie(String),
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Settings {
    on: Option<OneOrMore>,
    learn: Option<String>,
    #[serde(deserialize_with = "settings::duration")]
    expire: Duration,
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "a part of the request or a list of them")]
enum OneOrMore {
    One(Input),
    More(Vec<Input>),
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            on: None,
            learn: None,
            expire: Duration::from_secs(30 * 60),
        }
    }
}

impl Plugin for StickyTable {
    type Settings = Settings;

    fn new(settings: Settings, _: &Context) -> Result<Self, String> {
        let most = Duration::from_secs(30 * 86_400);
        if !(Duration::from_secs(1)..=most).contains(&settings.expire) {
            return Err("key `expire`: give 1s to 30d".to_owned());
        }
        let by = match (settings.on, settings.learn) {
            (Some(OneOrMore::One(part)), None) => By::request(vec![part])?,
            (Some(OneOrMore::More(parts)), None) => By::request(parts)?,
            (None, Some(cookie)) => By::cookie(cookie)?,
            (None, None) => return Err("key `on`: is missing; give a part of the request, such as \"header:x-user\", or in `learn` a cookie that the servers set".to_owned()),
            (Some(_), Some(_)) => return Err("keys `on` and `learn`: exclude each other; leave one".to_owned()),
        };
        Ok(StickyTable {
            by,
            expire: settings.expire,
        })
    }

    fn interest(&self) -> Interest {
        match &self.by {
            By::Request(parts) => parts.iter().fold(Interest::none(), |interest, part| {
                interest.request(part.clone()).response(in_response(part))
            }),
            By::Cookie(name) => {
                let interest = Interest::none().cookie(name).set_cookie(name);
                interest.response(Input::Cookie(name.clone()))
            }
        }
    }
}

impl Sticky for StickyTable {
    fn find(&self, _: PoolIndex, r: &Request) -> Finding {
        let key = match &self.by {
            By::Request(parts) => key(parts.iter().map(|part| r.bytes(part))),
            By::Cookie(name) => key([r.cookie(name).map(str::as_bytes)]),
        };
        key.map_or(Finding::none(), Finding::key)
    }

    fn bind(&self, _: PoolIndex, _: &str, r: &Response) -> Binding {
        let request = r.request();
        let key = match &self.by {
            By::Request(parts) => key(parts.iter().map(|part| request.bytes(&in_response(part)))),
            // What the server sets now; else what it set before, which is in use.
            By::Cookie(name) => {
                let set = r.set_cookie(name).map(value);
                key([set.or(request.cookie(name)).map(str::as_bytes)])
            }
        };
        match key {
            Some(key) => Binding::none().remember(key, self.expire),
            None => Binding::none(),
        }
    }
}

export!(StickyTable: Sticky);

impl By {
    fn request(parts: Vec<Input>) -> Result<By, String> {
        let unknown = parts
            .iter()
            .find(|part| matches!(part, Input::Status | Input::Server | Input::SetCookie(_)));
        if let Some(part) = unknown {
            return Err(format!(
                "key `on`: `{part}` is not known before there is an answer; give a part of the request, such as `header:x-user`"
            ));
        }
        if parts.is_empty() || parts.len() > 16 {
            return Err("key `on`: give 1 to 16 parts of the request".to_owned());
        }
        Ok(By::Request(parts))
    }

    fn cookie(name: String) -> Result<By, String> {
        match tidegate_sdk::field::name(&name) {
            Ok(_) => Ok(By::Cookie(name)),
            Err(_) => Err(format!(
                "key `learn`: `{name}` is no cookie's name: letters, digits and `-` make one"
            )),
        }
    }
}

/// In a response's interest `header` means the response's.
fn in_response(part: &Input) -> Input {
    match part {
        Input::Header(name) => Input::RequestHeader(name.clone()),
        other => other.clone(),
    }
}

/// Of a Set-Cookie.
fn value(rest: &str) -> &str {
    let value = rest.split(';').next().unwrap_or_default().trim();
    let inner = value.strip_prefix('"').and_then(|v| v.strip_suffix('"'));
    inner.unwrap_or(value)
}

/// None: a part is missing or empty, so there is nobody to tell from others.
fn key<'a>(parts: impl IntoIterator<Item = Option<&'a [u8]>>) -> Option<Vec<u8>> {
    let mut words = Vec::new();
    for part in parts {
        let part = part.filter(|part| !part.is_empty())?;
        words.extend_from_slice(&(part.len() as u32).to_le_bytes());
        words.extend_from_slice(part);
    }
    Some(crypto::sha256(&words))
}

#[cfg(test)]
mod tests {
    use tidegate_sdk::test::{FakeRequest, FakeResponse, Harness, Value, json};

    use super::*;

    fn plugin(settings: Value) -> Harness<StickyTable> {
        Harness::new(settings).unwrap()
    }

    fn found(plugin: &Harness<StickyTable>, request: &FakeRequest) -> Option<Vec<u8>> {
        match plugin.find("app", request).affinity {
            Affinity::Key(key) => Some(key),
            Affinity::None => None,
            Affinity::Server(name) => panic!("{name}"),
        }
    }

    fn kept(plugin: &Harness<StickyTable>, response: FakeResponse) -> Option<(Vec<u8>, u32)> {
        let memory = plugin.bind("app", "web1", &response).remember?;
        Some((memory.key, memory.ttl_ms))
    }

    #[test]
    fn a_part_of_the_request_is_remembered() {
        let plugin = plugin(json!({ "on": ["header:X-User", "client-address"], "expire": "10m" }));
        let request = |user: &str| FakeRequest::get("/").header("x-user", user);
        let key = found(&plugin, &request("ada")).unwrap();
        let response = FakeResponse::new(200)
            .header("x-user", "the response's")
            .to(request("ada"));
        assert_eq!(kept(&plugin, response), Some((key.clone(), 600_000)));
        assert_ne!(found(&plugin, &request("bob")), Some(key.clone()));
        assert_ne!(
            found(&plugin, &request("ada").client_address("192.0.2.9")),
            Some(key)
        );
        assert_eq!(found(&plugin, &FakeRequest::get("/")), None);
        assert_eq!(kept(&plugin, FakeResponse::new(200)), None);
        assert_eq!(found(&plugin, &request("")), None);
    }

    #[test]
    fn a_servers_cookie_is_learned() {
        let plugin = plugin(json!({ "learn": "SID" }));
        let key = found(&plugin, &FakeRequest::get("/").cookie("SID", "7f")).unwrap();
        let set = FakeResponse::new(200)
            .header("set-cookie", "a=b")
            .header("set-cookie", "SID=\"7f\"; Path=/");
        assert_eq!(kept(&plugin, set), Some((key.clone(), 1_800_000)));
        let used = FakeResponse::new(200).to(FakeRequest::get("/").cookie("SID", "7f"));
        assert_eq!(kept(&plugin, used), Some((key, 1_800_000)), "in use");
        assert_eq!(kept(&plugin, FakeResponse::new(200)), None);
        assert_eq!(found(&plugin, &FakeRequest::get("/")), None);
    }

    #[test]
    fn wrong_settings_are_refused_with_key_and_remedy() {
        let refusal = |settings| Harness::<StickyTable>::new(settings).unwrap_err();
        let cases = [
            (json!({}), "key `on`: is missing"),
            (
                json!({ "on": "path", "learn": "SID" }),
                "exclude each other",
            ),
            (
                json!({ "on": "status" }),
                "key `on`: `status` is not known before",
            ),
            (json!({ "on": [] }), "key `on`: give 1 to 16 parts"),
            (json!({ "on": "user" }), "a part of the request"),
            (
                json!({ "learn": "a b" }),
                "key `learn`: `a b` is no cookie's name",
            ),
            (
                json!({ "on": "path", "expire": "0s" }),
                "key `expire`: give 1s to 30d",
            ),
            (json!({ "by": "path" }), "unknown field `by`"),
        ];
        for (settings, words) in cases {
            let said = refusal(settings);
            assert!(said.contains(words), "{said}");
        }
    }
}
