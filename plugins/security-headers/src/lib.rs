//! Gives responses the headers that browsers protect their users by, and takes away those that tell attackers what runs behind
//! the proxy. See README.md.
//!
//! A header that the server set stays as it is, unless `override` is on: the application knows its needs best.

mod settings;

use tidegate_sdk::prelude::*;

use settings::Settings;

pub struct SecurityHeaders {
    headers: Vec<Header>,
    remove: Vec<String>,
    overrules: bool,
}

pub struct Header {
    pub name: &'static str,
    pub value: String,
    /// Sent over https alone.
    pub secure: bool,
}

impl Plugin for SecurityHeaders {
    type Settings = Settings;

    fn new(settings: Settings, _: &Context) -> Result<Self, String> {
        let headers = settings.headers()?;
        let remove = settings.remove()?;
        if let Some(header) = headers
            .iter()
            .find(|header| remove.contains(&header.name.to_owned()))
        {
            let name = header.name;
            return Err(format!(
                "key `remove`: `{name}` is also set; switch it off (`{name} = false` or the like) or leave it out here"
            ));
        }
        Ok(SecurityHeaders {
            headers,
            remove,
            overrules: settings.overrules,
        })
    }

    /// The scheme, then what is to be removed, then what is to be set: `response` finds them by these places.
    fn interest(&self) -> Interest {
        let interest = Interest::none().pure().response(Input::Scheme);
        let interest = self.remove.iter().fold(interest, Interest::response_header);
        let names = self.headers.iter().map(|header| header.name);
        names
            .filter(|_| !self.overrules)
            .fold(interest, Interest::response_header)
    }
}

impl ResponseFilter for SecurityHeaders {
    fn response(&self, r: &Response) -> ResponseOutcome {
        let seen = r.request();
        let secure = seen.at(0) == Some(b"https");
        let (removed, set) = (1, 1 + self.remove.len());
        let mut outcome = ResponseOutcome::unchanged();
        for (place, name) in self.remove.iter().enumerate() {
            if seen.at(removed + place).is_some() {
                outcome = outcome.remove(name);
            }
        }
        for (place, header) in self.headers.iter().enumerate() {
            let kept = !self.overrules && seen.at(set + place).is_some();
            if !kept && (secure || !header.secure) {
                outcome = outcome.set(header.name, header.value.as_bytes());
            }
        }
        outcome
    }
}

export!(SecurityHeaders: ResponseFilter);

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::Value;
    use tidegate_sdk::test::{FakeRequest, FakeResponse, Harness, json};

    use super::*;

    /// The response's header as the client gets it.
    fn sent(
        settings: Value,
        scheme: &str,
        from_server: &[(&str, &str)],
    ) -> BTreeMap<String, String> {
        let plugin = Harness::<SecurityHeaders>::new(settings).unwrap();
        let fake = FakeResponse::new(200).to(FakeRequest::get("/").scheme(scheme));
        let fake = from_server
            .iter()
            .fold(fake, |fake, (name, value)| fake.header(name, *value));
        let mut headers: BTreeMap<_, _> = from_server
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .collect();
        for edit in plugin.response(&fake).edits {
            match edit {
                Edit::Set((name, value)) => {
                    drop(headers.insert(name, String::from_utf8(value).unwrap()))
                }
                Edit::Remove(name) => drop(headers.remove(&name)),
                Edit::Append(_) | Edit::SetCookie(_) => panic!("nothing is appended"),
            }
        }
        headers
    }

    fn pairs(headers: &BTreeMap<String, String>) -> Vec<(&str, &str)> {
        headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect()
    }

    #[test]
    fn the_defaults_over_https() {
        let headers = sent(
            json!({}),
            "https",
            &[("server", "nginx"), ("x-powered-by", "PHP"), ("etag", "1")],
        );
        let expected = [
            ("etag", "1"),
            ("referrer-policy", "strict-origin-when-cross-origin"),
            ("strict-transport-security", "max-age=31536000"),
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "SAMEORIGIN"),
        ];
        assert_eq!(pairs(&headers), expected);
    }

    #[test]
    fn hsts_is_never_sent_over_http() {
        let settings = json!({ "override": true });
        assert!(!sent(settings, "http", &[]).contains_key("strict-transport-security"));
        assert!(!sent(json!({}), "http", &[]).contains_key("strict-transport-security"));
    }

    #[test]
    fn what_the_server_set_stays_unless_overruled() {
        let own = [
            ("x-frame-options", "DENY"),
            ("strict-transport-security", "max-age=1"),
        ];
        let kept = sent(json!({}), "https", &own);
        assert_eq!(kept["x-frame-options"], "DENY");
        assert_eq!(kept["strict-transport-security"], "max-age=1");
        let overruled = sent(json!({ "override": true }), "https", &own);
        assert_eq!(overruled["x-frame-options"], "SAMEORIGIN");
        assert_eq!(overruled["strict-transport-security"], "max-age=31536000");
    }

    #[test]
    fn everything_can_be_switched_off() {
        let settings = json!({
            "hsts": false, "content-type-options": false, "frame-options": false, "referrer-policy": false, "remove": [],
        });
        let own = [("server", "nginx")];
        assert_eq!(pairs(&sent(settings, "https", &own)), own);
    }

    #[test]
    fn everything_can_be_set() {
        let settings = json!({
            "hsts": { "max-age": "730d", "include-subdomains": true, "preload": true },
            "frame-options": "DENY",
            "referrer-policy": "no-referrer, same-origin",
            "content-security-policy": "default-src 'self'",
            "permissions-policy": "camera=()",
            "cross-origin-opener-policy": "same-origin",
            "cross-origin-embedder-policy": "require-corp",
            "cross-origin-resource-policy": "same-site",
            "remove": ["X-AspNet-Version"],
        });
        let expected = [
            ("content-security-policy", "default-src 'self'"),
            ("cross-origin-embedder-policy", "require-corp"),
            ("cross-origin-opener-policy", "same-origin"),
            ("cross-origin-resource-policy", "same-site"),
            ("permissions-policy", "camera=()"),
            ("referrer-policy", "no-referrer, same-origin"),
            ("server", "nginx"),
            (
                "strict-transport-security",
                "max-age=63072000; includeSubDomains; preload",
            ),
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
        ];
        let headers = sent(
            settings,
            "https",
            &[("x-aspnet-version", "4"), ("server", "nginx")],
        );
        assert_eq!(pairs(&headers), expected);
    }

    #[test]
    fn wrong_settings_are_refused_with_key_and_remedy() {
        let refusal = |settings| Harness::<SecurityHeaders>::new(settings).unwrap_err();
        let cases = [
            (
                json!({ "frame-options": "ALLOW" }),
                "key `frame-options`: `ALLOW` is none of `DENY`, `SAMEORIGIN`",
            ),
            (
                json!({ "referrer-policy": "orign" }),
                "key `referrer-policy`: `orign` is none of",
            ),
            (
                json!({ "content-security-policy": true }),
                "key `content-security-policy`: has no default; give the policy",
            ),
            (json!({ "permissions-policy": "a\nb" }), "control character"),
            (
                json!({ "cross-origin-opener-policy": "unsafe" }),
                "is none of",
            ),
            (json!({ "hsts": { "max-age": "365" } }), "`365` has no unit"),
            (json!({ "hsts": { "preload": true } }), "key `hsts.preload`"),
            (json!({ "hsts": "1y" }), "key `hsts`"),
            (json!({ "frame-options": 1 }), "key `frame-options`"),
            (
                json!({ "remove": ["x-frame-options"] }),
                "key `remove`: `x-frame-options` is also set",
            ),
            (
                json!({ "remove": ["connection"] }),
                "key `remove`: `connection` belongs to the proxy",
            ),
            (json!({ "csp": "x" }), "unknown field `csp`"),
        ];
        for (settings, words) in cases {
            let said = refusal(settings);
            assert!(said.contains(words), "{said}");
        }
    }
}
