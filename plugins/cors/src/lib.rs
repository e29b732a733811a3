//! Lets pages of other origins read answers: Cross-Origin Resource Sharing, as the Fetch standard has it. See README.md.
//!
//! A preflight is answered here and reaches no server. Of other answers the response filter is in charge: what a server says of
//! CORS itself is removed, so that there is one place that decides.

mod origins;

use serde::Deserialize;
use tidegate_sdk::prelude::*;
use tidegate_sdk::{field, settings};

use origins::Origins;

pub struct Cors {
    origins: Origins,
    credentials: bool,
    /// Of a preflight's answer. `None`: whatever it asks for.
    methods: Option<String>,
    headers: Option<String>,
    expose: Option<String>,
    max_age: String,
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Settings {
    /// `https://app.example`, `https://*.example`, or `*`.
    origins: Vec<String>,
    methods: Vec<String>,
    headers: Vec<String>,
    expose: Vec<String>,
    credentials: bool,
    #[serde(deserialize_with = "settings::duration")]
    max_age: std::time::Duration,
}

impl Default for Settings {
    fn default() -> Settings {
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Settings {
            origins: Vec::new(),
            methods: list(&["GET", "HEAD", "POST"]),
            headers: list(&["content-type"]),
            expose: Vec::new(),
            credentials: false,
            max_age: std::time::Duration::from_secs(600),
        }
    }
}

impl Plugin for Cors {
    type Settings = Settings;

    fn new(settings: Settings, _: &Context) -> Result<Self, String> {
        let origins = Origins::new(&settings.origins)?;
        let credentials = settings.credentials;
        if credentials && origins.any {
            return Err("key `credentials`: with `*` among `origins` every page on the web could act as the user; name the origins".to_owned());
        }
        if settings.max_age.as_secs() > 86_400 {
            return Err("key `max-age`: browsers keep a preflight's answer for a day at most; give up to \"24h\"".to_owned());
        }
        // A star is a name of its own with credentials (Fetch, 3.3.4): what was asked for is then repeated.
        let star = |list: &[String]| list.iter().any(|name| name == "*");
        let joined = |key, list: &[String], check: Check| {
            names(key, list, check).map(|list| list.join(", "))
        };
        let asked = |key, list: &[String], check: Check| match star(list) {
            true if credentials => Ok(None),
            _ => joined(key, list, check).map(Some),
        };
        if credentials && star(&settings.expose) {
            return Err("key `expose`: with `credentials`, `*` means a header of that name; name the headers".to_owned());
        }
        Ok(Cors {
            methods: asked("methods", &settings.methods, method)?,
            headers: asked("headers", &settings.headers, header)?,
            expose: Some(joined("expose", &settings.expose, header)?)
                .filter(|names| !names.is_empty()),
            max_age: settings.max_age.as_secs().to_string(),
            origins,
            credentials,
        })
    }

    fn interest(&self) -> Interest {
        Interest::none()
            .method()
            .header("origin")
            .header("access-control-request-method")
            .header("access-control-request-headers")
            .request_header("origin")
            .response_header("vary")
            .pure()
    }
}

impl RequestFilter for Cors {
    fn request(&self, r: &Request) -> Outcome {
        let asked = r.header("access-control-request-method");
        let (Some(origin), Some(method), "OPTIONS") = (r.header("origin"), asked, r.method())
        else {
            return next();
        };
        if !self.origins.allow(origin) {
            return self
                .preflight(reply(403))
                .text("Pages of this origin may not use this service.\n")
                .why("origin refused");
        }
        let headers = r.header("access-control-request-headers");
        let answer = self
            .preflight(reply(204))
            .set("access-control-allow-origin", self.allowed(origin))
            .set("access-control-max-age", self.max_age.as_str());
        let answer = with(
            answer,
            "access-control-allow-methods",
            self.methods.as_deref().or(Some(method)),
        );
        let answer = with(
            answer,
            "access-control-allow-headers",
            self.headers.as_deref().or(headers),
        );
        match self.credentials {
            true => answer.set("access-control-allow-credentials", "true"),
            false => answer,
        }
        .why("preflight")
    }
}

impl ResponseFilter for Cors {
    fn response(&self, r: &Response) -> ResponseOutcome {
        let outcome = OF_CORS
            .iter()
            .fold(ResponseOutcome::unchanged(), |outcome, name| {
                outcome.remove(*name)
            });
        let outcome = match r.header("vary") {
            _ if !self.varies() => outcome,
            Some(vary) if names_origin(vary) => outcome,
            _ => outcome.append("vary", "Origin"),
        };
        let Some(origin) = r
            .request()
            .header("origin")
            .filter(|o| self.origins.allow(o))
        else {
            return outcome;
        };
        let outcome = outcome.set("access-control-allow-origin", self.allowed(origin));
        let outcome = match &self.expose {
            Some(names) => outcome.set("access-control-expose-headers", names.as_str()),
            None => outcome,
        };
        match self.credentials {
            true => outcome.set("access-control-allow-credentials", "true"),
            false => outcome,
        }
    }
}

export!(Cors: RequestFilter, ResponseFilter);

impl Cors {
    /// What a preflight's answer depends on, for caches in between (Fetch, "CORS protocol and HTTP caches").
    fn preflight(&self, answer: Outcome) -> Outcome {
        answer.set(
            "vary",
            "Origin, Access-Control-Request-Method, Access-Control-Request-Headers",
        )
    }

    fn allowed<'a>(&self, origin: &'a str) -> &'a str {
        if self.origins.any { "*" } else { origin }
    }

    /// Whether answers differ by origin, also to a request that has none.
    fn varies(&self) -> bool {
        !self.origins.any
    }
}

/// What a server may have said of it.
const OF_CORS: [&str; 3] = [
    "access-control-allow-origin",
    "access-control-allow-credentials",
    "access-control-expose-headers",
];

fn with(answer: Outcome, name: &str, value: Option<&str>) -> Outcome {
    match value {
        Some(value) if !value.is_empty() && field::value(value).is_ok() => answer.set(name, value),
        _ => answer,
    }
}

fn names_origin(vary: &str) -> bool {
    vary.split(',')
        .map(str::trim)
        .any(|name| name == "*" || name.eq_ignore_ascii_case("origin"))
}

fn names(key: &str, list: &[String], check: Check) -> Result<Vec<String>, String> {
    let checked = |name: &String| match name.as_str() {
        "*" => Ok("*".to_owned()),
        name => check(name).map_err(|e| format!("key `{key}`: {e}")),
    };
    list.iter().map(checked).collect()
}

/// A name as it is sent, or what is wrong with it.
type Check = fn(&str) -> Result<String, String>;

fn method(name: &str) -> Result<String, String> {
    let fits = !name.is_empty() && name.bytes().all(|b| b.is_ascii_uppercase() || b == b'-');
    match fits {
        true => Ok(name.to_owned()),
        false => Err(format!(
            "`{name}` is no method; write it in capitals, such as `PUT`"
        )),
    }
}

fn header(name: &str) -> Result<String, String> {
    field::name(name)
}

#[cfg(test)]
mod tests {
    use tidegate_sdk::test::{FakeRequest, FakeResponse, Harness, Value, json};

    use super::*;

    fn plugin(settings: Value) -> Harness<Cors> {
        Harness::new(settings).unwrap()
    }

    fn preflight(origin: &str, method: &str) -> FakeRequest {
        FakeRequest::new("OPTIONS", "/")
            .header("origin", origin)
            .header("access-control-request-method", method)
    }

    fn fields(reply: &Reply) -> Vec<(&str, &str)> {
        let text = |value: &'_ [u8]| std::str::from_utf8(value).unwrap().to_owned();
        let fields = reply.headers.iter();
        fields
            .map(|(name, value)| (name.as_str(), &*text(value).leak()))
            .collect()
    }

    const VARY: (&str, &str) = (
        "vary",
        "Origin, Access-Control-Request-Method, Access-Control-Request-Headers",
    );

    #[test]
    fn a_preflight_is_answered_here() {
        let plugin = plugin(json!({
            "origins": ["https://app.example"], "methods": ["GET", "PUT"], "headers": ["X-Token"],
            "credentials": true, "max-age": "1h",
        }));
        let outcome = plugin
            .request(&preflight("https://app.example", "PUT"))
            .outcome();
        let reply = outcome.replied().unwrap();
        assert_eq!(reply.status, 204);
        assert_eq!(
            fields(reply),
            [
                VARY,
                ("access-control-allow-origin", "https://app.example"),
                ("access-control-max-age", "3600"),
                ("access-control-allow-methods", "GET, PUT"),
                ("access-control-allow-headers", "x-token"),
                ("access-control-allow-credentials", "true"),
            ]
        );
    }

    #[test]
    fn a_foreign_preflight_is_refused() {
        let plugin = plugin(json!({ "origins": ["https://app.example"] }));
        for origin in [
            "https://evil.example",
            "null",
            "http://app.example",
            "https://app.example:444",
            "https://APP.example.evil",
        ] {
            let outcome = plugin.request(&preflight(origin, "GET")).outcome();
            let reply = outcome.replied().unwrap();
            assert_eq!(reply.status, 403, "{origin}");
            assert_eq!(reply.header("access-control-allow-origin"), None);
        }
    }

    #[test]
    fn what_is_no_preflight_goes_on() {
        let plugin = plugin(json!({ "origins": ["https://app.example"] }));
        for request in [
            FakeRequest::get("/").header("origin", "https://evil.example"),
            FakeRequest::new("OPTIONS", "/"),
            FakeRequest::new("OPTIONS", "/").header("origin", "https://app.example"),
        ] {
            assert_eq!(plugin.request(&request).outcome(), next());
        }
    }

    #[test]
    fn a_star_repeats_what_was_asked_where_it_must() {
        let settings = json!({ "origins": ["https://*.example"], "methods": ["*"], "headers": ["*"], "credentials": true });
        let plugin = plugin(settings);
        let request = preflight("https://a.b.example", "PATCH")
            .header("access-control-request-headers", "x-a,x-b");
        let outcome = plugin.request(&request).outcome();
        let reply = outcome.replied().unwrap();
        assert_eq!(
            reply.header("access-control-allow-methods"),
            Some(&b"PATCH"[..])
        );
        assert_eq!(
            reply.header("access-control-allow-headers"),
            Some(&b"x-a,x-b"[..])
        );
    }

    #[test]
    fn an_answer_says_who_may_read_it() {
        let plugin = plugin(json!({ "origins": ["https://app.example"], "expose": ["X-Total"] }));
        let answer = |origin: &str, vary: &str| {
            let response = FakeResponse::new(200)
                .header("access-control-allow-origin", "*")
                .header("vary", vary)
                .to(FakeRequest::get("/").header("origin", origin));
            plugin.response(&response).edits
        };
        let removed = OF_CORS.map(|name| Edit::Remove(name.into()));
        let vary = Edit::Append(("vary".into(), "Origin".into()));
        let allowed = [
            &removed[..],
            &[
                vary.clone(),
                Edit::Set((
                    "access-control-allow-origin".into(),
                    "https://app.example".into(),
                )),
                Edit::Set(("access-control-expose-headers".into(), "x-total".into())),
            ],
        ];
        assert_eq!(answer("https://app.example", "accept"), allowed.concat());
        assert_eq!(
            answer("https://evil.example", "accept"),
            [&removed[..], &[vary]].concat()
        );
        assert_eq!(answer("https://evil.example", "accept, ORIGIN"), removed);
    }

    #[test]
    fn everybody_needs_no_vary() {
        let plugin = plugin(json!({ "origins": ["*"] }));
        let response = FakeResponse::new(200).to(FakeRequest::get("/").header("origin", "null"));
        let edits = plugin.response(&response).edits;
        assert_eq!(
            edits[3..],
            [Edit::Set((
                "access-control-allow-origin".into(),
                "*".into()
            ))]
        );
    }

    #[test]
    fn wrong_settings_are_refused_with_key_and_remedy() {
        let refusal = |settings| Harness::<Cors>::new(settings).unwrap_err();
        let cases = [
            (json!({}), "key `origins`: name at least one"),
            (
                json!({ "origins": ["app.example"] }),
                "key `origins[0]`: `app.example` is no origin",
            ),
            (json!({ "origins": ["https://app.example/"] }), "no path"),
            (
                json!({ "origins": ["https://a.*.example"] }),
                "key `origins[0]`",
            ),
            (json!({ "origins": ["https://*"] }), "key `origins[0]`"),
            (
                json!({ "origins": ["https://app.example:*"] }),
                "`:*` is no port; write its number",
            ),
            (
                json!({ "origins": ["https://*.example:"] }),
                "`:` is no port",
            ),
            (
                json!({ "origins": ["http://[::1]:080"] }),
                "`:080` is no port",
            ),
            (
                json!({ "origins": ["http://app.example:65536"] }),
                "`:65536` is no port",
            ),
            (
                json!({ "origins": ["*"], "credentials": true }),
                "key `credentials`",
            ),
            (
                json!({ "origins": ["*"], "methods": ["get"] }),
                "key `methods`: `get` is no method",
            ),
            (
                json!({ "origins": ["*"], "headers": ["x y"] }),
                "key `headers`: `x y` is no header name",
            ),
            (
                json!({ "origins": ["https://a.example"], "expose": ["*"], "credentials": true }),
                "key `expose`",
            ),
            (
                json!({ "origins": ["*"], "max-age": "2d" }),
                "key `max-age`",
            ),
            (json!({ "origin": ["*"] }), "unknown field `origin`"),
        ];
        for (settings, words) in cases {
            let said = refusal(settings);
            assert!(said.contains(words), "{said}");
        }
    }
}
