//! Limits how fast requests come, by client, header, route or what else tells them apart. See README.md.
//!
//! The buckets live in the host, so that all workers draw on the same ones, each draw is one step, and memory is bounded. What
//! the response filter says of them travels from the request filter as a note.

mod by;
mod limit;
mod settings;

use std::time::Duration;

use tidegate_sdk::prelude::*;

use limit::{Limit, Said};
use settings::Settings;

pub struct RateLimit {
    limits: Vec<Limit>,
    status: u16,
    headers: bool,
    /// `RateLimit-Policy`, the same at all times.
    policy: String,
    /// The note that `RateLimit` travels in; of this plugin alone, for a request may pass several.
    note: String,
    refused: Counter,
}

impl Plugin for RateLimit {
    type Settings = Settings;

    fn new(settings: Settings, context: &Context) -> Result<Self, String> {
        let limits = settings.limits()?;
        let policies: Vec<String> = limits.iter().map(Limit::policy).collect();
        Ok(RateLimit {
            status: settings.status()?,
            headers: settings.headers,
            policy: policies.join(", "),
            note: note(&context.name),
            refused: Counter::open("refused", &[]),
            limits,
        })
    }

    fn interest(&self) -> Interest {
        let inputs = self.limits.iter().flat_map(|limit| limit.by.inputs());
        let interest = inputs.fold(Interest::none(), Interest::request);
        match self.headers {
            true => interest.response(Input::Note(self.note.clone())),
            false => interest,
        }
    }
}

impl RequestFilter for RateLimit {
    fn request(&self, r: &Request) -> Outcome {
        let mut said = Vec::new();
        for limit in &self.limits {
            match limit.draw(r) {
                Said::Allowed(words) => said.push(words),
                Said::Refused(wait, words) => return self.refuse(limit, wait, words),
            }
        }
        match self.headers {
            true => next().note(&self.note, said.join(", ")),
            false => next(),
        }
    }
}

impl ResponseFilter for RateLimit {
    fn response(&self, r: &Response) -> ResponseOutcome {
        let outcome = ResponseOutcome::unchanged();
        if !self.headers {
            return outcome;
        }
        match r.request().note(&self.note) {
            Some(said) => outcome
                .append("ratelimit-policy", self.policy.as_str())
                .append("ratelimit", said),
            None => outcome,
        }
    }
}

impl RateLimit {
    fn refuse(&self, limit: &Limit, wait: Duration, said: String) -> Outcome {
        self.refused.add(1);
        let answer = reply(self.status)
            .text("Too many requests. Try again later.\n")
            .retry_after(wait)
            .why(format!("over limit {}", limit.name));
        match self.headers {
            true => answer
                .set("ratelimit-policy", self.policy.as_str())
                .set("ratelimit", said),
            false => answer,
        }
    }
}

export!(RateLimit: RequestFilter, ResponseFilter);

/// Of printable characters, at most 64, as the host wants a note's name.
fn note(plugin: &str) -> String {
    let graphic = plugin.chars().filter(char::is_ascii_graphic);
    "ratelimit:".chars().chain(graphic).take(64).collect()
}

#[cfg(test)]
mod tests {
    use tidegate_sdk::test::{FakeRequest, FakeResponse, Harness, Value, json};

    use super::*;

    fn plugin(settings: Value) -> Harness<RateLimit> {
        Harness::new(settings).unwrap()
    }

    fn allowed(plugin: &Harness<RateLimit>, request: &FakeRequest) -> bool {
        plugin.request(request).outcome().replied().is_none()
    }

    fn from(address: &str) -> FakeRequest {
        FakeRequest::get("/").client_address(address)
    }

    #[test]
    fn a_burst_passes_and_then_the_rate_holds() {
        let plugin = plugin(json!({ "rate": "2/s", "burst": 5 }));
        let count = |plugin: &Harness<RateLimit>| {
            (0..9)
                .filter(|_| allowed(plugin, &from("192.0.2.1")))
                .count()
        };
        assert_eq!(count(&plugin), 5);
        assert!(allowed(&plugin, &from("192.0.2.2")), "another client");
        plugin.host().advance(Duration::from_secs(1));
        assert_eq!(count(&plugin), 2);
        assert_eq!(plugin.host().counter("refused", &[]), 11);
    }

    #[test]
    fn all_workers_draw_on_the_same_bucket() {
        let plugin = plugin(json!({ "rate": "1/m", "burst": 10 }));
        let workers = [plugin.another_worker(), plugin.another_worker(), plugin];
        let draws = (0..30).filter(|n| allowed(&workers[n % 3], &from("192.0.2.1")));
        assert_eq!(draws.count(), 10);
    }

    #[test]
    fn a_refused_request_is_told_when_to_come_again() {
        let plugin = plugin(json!({ "rate": "10/m" }));
        for _ in 0..10 {
            assert!(allowed(&plugin, &from("192.0.2.1")));
        }
        let outcome = plugin.request(&from("192.0.2.1")).outcome();
        let reply = outcome.replied().unwrap();
        let header = |name| std::str::from_utf8(reply.header(name).unwrap()).unwrap();
        assert_eq!(reply.status, 429);
        assert_eq!(header("retry-after"), "6");
        assert_eq!(header("ratelimit-policy"), "\"default\";q=10;w=60");
        assert_eq!(header("ratelimit"), "\"default\";r=0;t=6");
        assert_eq!(outcome.reason.as_deref(), Some("over limit default"));
    }

    #[test]
    fn an_allowed_one_is_told_what_is_left() {
        let plugin = plugin(json!({ "rate": "10/m" }));
        let outcome = plugin.request(&from("192.0.2.1")).outcome();
        let note = &outcome.notes[0];
        assert_eq!(
            (note.name.as_str(), note.value.as_str()),
            ("ratelimit:test", "\"default\";r=9;t=6")
        );
        let response = FakeResponse::new(200).to(from("192.0.2.1").note(&note.name, &note.value));
        let expected = ResponseOutcome::unchanged()
            .append("ratelimit-policy", "\"default\";q=10;w=60")
            .append("ratelimit", "\"default\";r=9;t=6");
        assert_eq!(plugin.response(&response), expected);
        let quiet = self::plugin(json!({ "rate": "10/m", "headers": false }));
        assert_eq!(quiet.request(&from("192.0.2.1")).outcome(), next());
    }

    #[test]
    fn networks_are_told_apart_by_their_prefix() {
        let settings = json!({ "rate": "1/m", "ipv4-prefix": 24 });
        let plugin = plugin(settings);
        assert!(allowed(&plugin, &from("192.0.2.1")));
        assert!(!allowed(&plugin, &from("192.0.2.255")));
        assert!(allowed(&plugin, &from("192.0.3.1")));
        assert!(allowed(&plugin, &from("2001:db8::1")));
        assert!(
            !allowed(&plugin, &from("2001:db8::ffff:1")),
            "64 bits by default"
        );
        assert!(allowed(&plugin, &from("2001:db8:0:1::1")));
    }

    #[test]
    fn several_parts_make_a_key_and_several_limits_hold() {
        let plugin = plugin(json!({ "limits": [
            { "name": "key", "rate": "2/m", "by": ["header:x-key", "route"] },
            { "name": "all", "rate": "3/m", "by": [] },
        ]}));
        let request = |key: &str, route: &str| {
            FakeRequest::get("/")
                .header("x-key", key)
                .fact(Input::Route, route)
        };
        assert!(allowed(&plugin, &request("a", "r")));
        assert!(allowed(&plugin, &request("a", "r")));
        let outcome = plugin.request(&request("a", "r")).outcome();
        assert_eq!(outcome.reason.as_deref(), Some("over limit key"));
        assert!(
            allowed(&plugin, &request("ar", "")),
            "the parts don't run together"
        );
        let outcome = plugin.request(&request("b", "r")).outcome();
        assert_eq!(outcome.reason.as_deref(), Some("over limit all"));
    }

    #[test]
    fn who_lacks_the_header_shares_a_bucket() {
        let plugin = plugin(json!({ "rate": "1/m", "by": "header:x-key" }));
        assert!(allowed(&plugin, &FakeRequest::get("/")));
        assert!(!allowed(&plugin, &FakeRequest::get("/")));
        assert!(allowed(&plugin, &FakeRequest::get("/").header("x-key", "")));
    }

    #[test]
    fn a_long_key_is_as_good_as_a_short_one() {
        let plugin = plugin(json!({ "rate": "1/m", "by": "header:x-key" }));
        let long = |end: &str| FakeRequest::get("/").header("x-key", "k".repeat(7_000) + end);
        assert!(allowed(&plugin, &long("a")));
        assert!(!allowed(&plugin, &long("a")));
        assert!(allowed(&plugin, &long("b")));
    }

    #[test]
    fn wrong_settings_are_refused_with_key_and_remedy() {
        let refusal = |settings| Harness::<RateLimit>::new(settings).unwrap_err();
        let cases = [
            (json!({}), "give `rate`, or several `limits`"),
            (
                json!({ "rate": "10/s", "limits": [] }),
                "`rate` and `limits` exclude each other",
            ),
            (json!({ "limits": [] }), "give `rate`, or several `limits`"),
            (json!({ "burst": 5 }), "`burst` belongs to a `rate`"),
            (
                json!({ "rate": "10" }),
                "key `rate`: `10` is no rate: write requests and time, such as \"10/s\"",
            ),
            (
                json!({ "rate": "0/s" }),
                "key `rate`: `0/s` lets nobody through",
            ),
            (json!({ "rate": "10/w" }), "such as \"10/s\""),
            (
                json!({ "rate": "10/s", "burst": 0 }),
                "key `burst`: 0 lets nobody through",
            ),
            (
                json!({ "rate": "10/s", "by": ["header"] }),
                "key `by`: `header` is no part of a request",
            ),
            (
                json!({ "rate": "10/s", "by": ["status"] }),
                "key `by`: `status` is not known before there is an answer",
            ),
            (
                json!({ "rate": "10/s", "ipv4-prefix": 33 }),
                "key `ipv4-prefix`: 33 is not from 1 to 32",
            ),
            (
                json!({ "rate": "10/s", "status": 200 }),
                "key `status`: 200 is no refusal",
            ),
            (
                json!({ "limits": [{ "name": "a", "rate": "1/s" }, { "name": "a", "rate": "2/s" }] }),
                "key `limits[1].name`: `a` stands twice",
            ),
            (
                json!({ "limits": [{ "name": "a b", "rate": "1/s" }] }),
                "key `limits[0].name`: `a b`",
            ),
            (json!({ "rates": "1/s" }), "unknown field `rates`"),
        ];
        for (settings, words) in cases {
            let said = refusal(settings);
            assert!(said.contains(words), "{said}");
        }
    }
}
