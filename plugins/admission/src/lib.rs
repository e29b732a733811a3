//! Lets connections in by the client's address, and sends them to a pool by TLS server name. Its README says what its settings
//! mean.

use std::collections::HashMap;
use std::net::IpAddr;

use serde::Deserialize;
use tidegate_sdk::network::Network;
use tidegate_sdk::prelude::*;

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Settings {
    refuse: Vec<Network>,
    allow: Vec<Network>,
    names: HashMap<String, String>,
    other_names: OtherNames,
}

#[derive(Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum OtherNames {
    #[default]
    Accept,
    Refuse,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            refuse: Vec::new(),
            allow: Vec::new(),
            names: HashMap::new(),
            other_names: OtherNames::Accept,
        }
    }
}

pub struct Gatekeeper {
    refuse: Vec<Network>,
    allow: Vec<Network>,
    /// Lower case. `.example.com` stands for all names below it.
    names: HashMap<String, PoolIndex>,
    other_names: OtherNames,
}

impl Plugin for Gatekeeper {
    type Settings = Settings;

    fn new(settings: Settings, context: &Context) -> Result<Gatekeeper, String> {
        let mut names = HashMap::new();
        for (name, pool) in settings.names {
            let pool = context
                .pool(&pool)
                .map_err(|error| format!("key `names`: {error}"))?;
            if names.insert(known_as(&name)?, pool).is_some() {
                return Err(format!("key `names`: `{name}` is there twice"));
            }
        }
        if names.is_empty() && settings.other_names == OtherNames::Refuse {
            return Err("key `other-names`: without `names` it refuses everybody".into());
        }
        Ok(Gatekeeper {
            refuse: settings.refuse,
            allow: settings.allow,
            names,
            other_names: settings.other_names,
        })
    }

    /// What is not needed is not asked for: without `names` there is no name to be told.
    fn interest(&self) -> Interest {
        let interest = Interest::none().client_address();
        match self.names.is_empty() {
            true => interest,
            false => interest.server_name_indication(),
        }
    }
}

impl Connect for Gatekeeper {
    fn connect(&self, c: &Request) -> Admission {
        if !self.may_come(c.client_address()) {
            return Admission::Refuse;
        }
        if self.names.is_empty() {
            return Admission::Accept;
        }
        let name = c.server_name_indication();
        match (name.and_then(|name| self.pool(name)), self.other_names) {
            (Some(pool), _) => Admission::Pool(pool.0),
            (None, OtherNames::Accept) => Admission::Accept,
            (None, OtherNames::Refuse) => Admission::Refuse,
        }
    }
}

impl Gatekeeper {
    fn may_come(&self, client: &str) -> bool {
        if self.refuse.is_empty() && self.allow.is_empty() {
            return true;
        }
        // An address that is none is nobody's whom we know.
        let Ok(client) = client.parse::<IpAddr>() else {
            return false;
        };
        let within = |networks: &[Network]| networks.iter().any(|network| network.holds(client));
        !within(&self.refuse) && (self.allow.is_empty() || within(&self.allow))
    }

    /// The whole name, then what is below a name, the longest first.
    fn pool(&self, name: &str) -> Option<PoolIndex> {
        let name = name.to_ascii_lowercase();
        let name = name.strip_suffix('.').unwrap_or(&name);
        let ends = name.char_indices().filter(|(_, c)| *c == '.');
        let mut parts = std::iter::once(name).chain(ends.map(|(at, _)| &name[at..]));
        parts.find_map(|part| self.names.get(part).copied())
    }
}

/// As it is looked up.
fn known_as(name: &str) -> Result<String, String> {
    let lower = name.to_ascii_lowercase();
    let (known, plain) = match lower.strip_prefix("*.") {
        Some(rest) => (format!(".{rest}"), rest),
        None => (lower.clone(), lower.as_str()),
    };
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    let label = |label: &str| !label.is_empty() && label.chars().all(fits);
    match plain.split('.').all(label) {
        true => Ok(known),
        false => Err(format!(
            "key `names`: `{name}` is no name; write `app.example.com`, or `*.example.com` for all below it"
        )),
    }
}

export!(Gatekeeper: Connect);

#[cfg(test)]
mod tests {
    use tidegate_sdk::test::{FakeRequest, Harness, json};

    use super::*;

    fn harness(settings: serde_json::Value) -> Harness<Gatekeeper> {
        start(settings).unwrap()
    }

    fn start(settings: serde_json::Value) -> Result<Harness<Gatekeeper>, String> {
        let pools = ["app", "other", "third"];
        Harness::setup().settings(settings).pools(pools).start()
    }

    fn from(settings: serde_json::Value, client: &str) -> Admission {
        harness(settings).connect(&FakeRequest::get("/").client_address(client))
    }

    #[test]
    fn addresses_are_refused_or_let_in() {
        let both =
            || json!({ "allow": ["10.0.0.0/8", "2001:db8::/32"], "refuse": ["10.66.0.0/16"] });
        assert_eq!(from(both(), "10.1.2.3"), Admission::Accept);
        assert_eq!(from(both(), "10.66.2.3"), Admission::Refuse);
        assert_eq!(from(both(), "192.0.2.1"), Admission::Refuse);
        assert_eq!(from(both(), "2001:db8::1"), Admission::Accept);
        let refuse = || json!({ "refuse": ["203.0.113.9"] });
        assert_eq!(from(refuse(), "203.0.113.9"), Admission::Refuse);
        assert_eq!(from(refuse(), "203.0.113.8"), Admission::Accept);
        assert_eq!(from(json!({}), "203.0.113.8"), Admission::Accept);
        let mapped = || json!({ "refuse": ["::ffff:203.0.113.0/120"] });
        assert_eq!(from(mapped(), "203.0.113.9"), Admission::Refuse);
        assert_eq!(from(mapped(), "203.0.112.9"), Admission::Accept);
    }

    #[test]
    fn the_longest_name_that_fits_chooses_the_pool() {
        let settings = |others: &str| {
            json!({ "other-names": others, "names": {
                "App.example.com": "app", "*.example.com": "other", "*.deep.example.com": "third",
            } })
        };
        let named = |others: &str, name: Option<&str>| {
            let request = FakeRequest::get("/");
            let request = match name {
                Some(name) => request.fact(Input::ServerNameIndication, name),
                None => request,
            };
            harness(settings(others)).connect(&request)
        };
        let of = |name: &str| named("accept", Some(name));
        assert_eq!(of("app.example.com"), Admission::Pool(0));
        assert_eq!(of("APP.example.com."), Admission::Pool(0));
        assert_eq!(of("b.example.com"), Admission::Pool(1));
        assert_eq!(of("a.b.example.com"), Admission::Pool(1));
        assert_eq!(of("a.deep.example.com"), Admission::Pool(2));
        assert_eq!(of("example.com"), Admission::Accept, "not below itself");
        assert_eq!(of("badexample.com"), Admission::Accept);
        assert_eq!(named("accept", None), Admission::Accept);
        assert_eq!(named("refuse", None), Admission::Refuse);
        assert_eq!(named("refuse", Some("example.net")), Admission::Refuse);
    }

    #[test]
    fn wrong_settings_are_refused_with_their_key() {
        let refusal = |settings| start(settings).expect_err("a refusal");
        for (settings, words) in [
            (json!({ "refuse": ["10.0.0.0/33"] }), "10.0.0.0/33"),
            (json!({ "allow": ["example.com"] }), "example.com"),
            (json!({ "allow": ["10.0.0.1/8"] }), "10.0.0.0/8"),
            (json!({ "names": { "a.test": "ap" } }), "key `names`"),
            (json!({ "names": { "a.*": "app" } }), "`a.*` is no name"),
            (json!({ "names": { "a..b": "app" } }), "`a..b` is no name"),
            (json!({ "other-names": "refuse" }), "refuses everybody"),
            (json!({ "deny": [] }), "unknown field `deny`"),
        ] {
            let said = refusal(settings);
            assert!(said.contains(words), "{said}");
        }
    }
}
