//! Lets in who knows a key, tells the servers who that is, and marks each response with the server that gave it.
//!
//! Settings (`config = { … }` of the `[[plugin]]`):
//!
//! | key | what it is | default |
//! |---|---|---|
//! | `keys` | key = user; none: everybody is let in | none |
//! | `header` | the request header that carries the key | `x-api-key` |

use std::collections::HashMap;

use serde::Deserialize;
use tidegate_sdk::prelude::*;

pub struct PluginName {
    header: String,
    keys: HashMap<String, String>,
}

// An unknown key is refused, with the known ones named: a typing error doesn't go unnoticed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Settings {
    header: String,
    keys: HashMap<String, String>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            header: "x-api-key".into(),
            keys: HashMap::new(),
        }
    }
}

impl Plugin for PluginName {
    type Settings = Settings;

    fn new(settings: Settings, _: &Context) -> Result<Self, String> {
        if let Some((_, user)) = settings.keys.iter().find(|(key, _)| key.len() < 8) {
            return Err(format!("`keys`: the key of {user} is too short; use 8 characters or more"));
        }
        Ok(PluginName {
            header: settings.header,
            keys: settings.keys,
        })
    }

    /// Just this is passed to `request` and `response`, and nothing else.
    /// While answers follow from this alone (no counting, no clock, no log), `.pure()` may be added: the proxy then asks the same once.
    fn interest(&self) -> Interest {
        Interest::none().header(&self.header).server()
    }
}

impl RequestFilter for PluginName {
    fn request(&self, r: &Request) -> Outcome {
        // Whatever the client says of itself is dropped.
        let clean = next().remove("x-user").remove(&self.header);
        if self.keys.is_empty() {
            return clean;
        }
        match r.header(&self.header).and_then(|key| self.keys.get(key)) {
            Some(user) => clean.set("x-user", user.as_str()).note("user", user),
            None => reply(401).body("a key is needed\n").why("no valid key"),
        }
    }
}

impl ResponseFilter for PluginName {
    /// Also sees the replies above, and the proxy's own error pages: those have no server.
    fn response(&self, r: &Response) -> ResponseOutcome {
        ResponseOutcome::unchanged().set("x-served-by", r.server().unwrap_or("proxy"))
    }
}

export!(PluginName: RequestFilter, ResponseFilter);

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_sdk::test::{FakeRequest, FakeResponse, Harness, json};

    fn plugin() -> Harness<PluginName> {
        Harness::new(json!({ "keys": { "open-sesame": "ali" } })).unwrap()
    }

    #[test]
    fn who_has_a_key_is_named_to_the_servers() {
        let request = FakeRequest::get("/").header("x-api-key", "open-sesame");
        let outcome = plugin().request(&request).outcome();
        let on = next().remove("x-user").remove("x-api-key").set("x-user", "ali");
        assert_eq!(outcome, on.note("user", "ali"));
    }

    #[test]
    fn who_has_none_is_turned_away() {
        let outcome = plugin().request(&FakeRequest::get("/")).outcome();
        assert_eq!(outcome.replied().map(|reply| reply.status), Some(401));
    }

    #[test]
    fn a_response_names_its_server() {
        let outcome = plugin().response(&FakeResponse::new(200).server("web1"));
        assert_eq!(outcome, ResponseOutcome::unchanged().set("x-served-by", "web1"));
    }

    #[test]
    fn a_short_key_is_refused() {
        let refusal = Harness::<PluginName>::new(json!({ "keys": { "abc": "ali" } })).err().unwrap();
        assert!(refusal.contains("too short"), "{refusal}");
    }
}
