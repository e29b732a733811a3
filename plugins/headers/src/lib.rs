//! Sets, adds and removes headers, of requests and of responses, with values that may hold variables. See README.md.

mod changes;
mod template;

use serde::Deserialize;
use tidegate_sdk::prelude::*;

use changes::{Changes, Written};
use template::Side;

pub struct Headers {
    request: Changes,
    response: Changes,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    #[serde(default)]
    request: Written,
    #[serde(default)]
    response: Written,
}

impl Plugin for Headers {
    type Settings = Settings;

    fn new(settings: Settings, _: &Context) -> Result<Self, String> {
        Ok(Headers {
            request: Changes::new(settings.request, Side::Request, "request")?,
            response: Changes::new(settings.response, Side::Response, "response")?,
        })
    }

    fn interest(&self) -> Interest {
        let (request, response) = (self.request.inputs.0.iter(), self.response.inputs.0.iter());
        let interest = Interest::none().pure();
        let interest = request.cloned().fold(interest, Interest::request);
        response.cloned().fold(interest, Interest::response)
    }
}

impl RequestFilter for Headers {
    fn request(&self, r: &Request) -> Outcome {
        Outcome {
            edits: self.request.edits(|input| r.at(input)),
            ..next()
        }
    }
}

impl ResponseFilter for Headers {
    fn response(&self, r: &Response) -> ResponseOutcome {
        ResponseOutcome {
            edits: self.response.edits(|input| r.request().at(input)),
            ..ResponseOutcome::unchanged()
        }
    }
}

export!(Headers: RequestFilter, ResponseFilter);

#[cfg(test)]
mod tests {
    use tidegate_sdk::test::{FakeRequest, FakeResponse, Harness, json};

    use super::*;

    fn set(name: &str, value: &str) -> Edit {
        Edit::Set((name.into(), value.into()))
    }

    #[test]
    fn a_request_gets_its_headers() {
        let plugin = Harness::<Headers>::new(json!({ "request": {
            "remove": ["X-Debug"],
            "set": { "X-Client-Ip": "{client-address}", "x-via": "{listener}:{scheme}://{host}{path}" },
            "set-if-absent": { "x-tenant": "none", "accept-language": "en" },
            "add": { "x-seen": ["a", "{cookie:id}"] },
        }}))
        .unwrap();
        let sent = FakeRequest::get("/p?q=1")
            .host("example.com")
            .listener("web")
            .client_address("192.0.2.7")
            .header("accept-language", "de")
            .header("cookie", "id=7");
        let edits = plugin.request(&sent).outcome().edits;
        let expected = [
            Edit::Remove("x-debug".into()),
            set("x-client-ip", "192.0.2.7"),
            set("x-via", "web:http://example.com/p"),
            set("x-tenant", "none"),
            Edit::Append(("x-seen".into(), "a".into())),
            Edit::Append(("x-seen".into(), "7".into())),
        ];
        assert_eq!(edits, expected);
    }

    #[test]
    fn an_empty_value_removes_what_the_client_sent() {
        let settings = json!({ "request": {
            "set": { "x-client-cert": "{client-certificate-subject}" },
            "set-if-absent": { "x-a": "{cookie:a}" },
            "add": { "x-b": "{cookie:b}" },
        }});
        let plugin = Harness::<Headers>::new(settings).unwrap();
        let edits = plugin.request(&FakeRequest::get("/")).outcome().edits;
        assert_eq!(edits, [Edit::Remove("x-client-cert".into())]);
    }

    #[test]
    fn a_response_knows_its_request_and_server() {
        let plugin = Harness::<Headers>::new(json!({ "response": {
            "set": { "x-served-by": "{server}", "x-from": "{request-header:origin} {header:age} {status}" },
            "set-if-absent": { "cache-control": "no-store" },
            "remove": ["server"],
        }}))
        .unwrap();
        let response = FakeResponse::new(200)
            .server("app1")
            .header("age", "3")
            .header("cache-control", "max-age=1");
        let response = response.to(FakeRequest::get("/").header("origin", "o"));
        let edits = plugin.response(&response).edits;
        assert_eq!(
            edits,
            [
                Edit::Remove("server".into()),
                set("x-from", "o 3 200"),
                set("x-served-by", "app1")
            ]
        );
    }

    #[test]
    fn a_client_cannot_make_more_than_the_host_takes() {
        let names = (0..20).map(|n| (format!("x-{n}"), json!("{header:x-long}")));
        let settings = json!({ "request": { "set": names.collect::<serde_json::Map<_, _>>() } });
        let plugin = Harness::<Headers>::new(settings).unwrap();
        let long = FakeRequest::get("/").header("x-long", "a".repeat(8_000));
        let edits = plugin.request(&long).outcome().edits;
        let size = |edit: &Edit| match edit {
            Edit::Set((name, value))
            | Edit::Append((name, value))
            | Edit::SetCookie((name, value)) => name.len() + value.len(),
            Edit::Remove(name) => name.len(),
        };
        let total: usize = edits.iter().map(size).sum();
        assert_eq!(edits.len(), 20);
        assert!((50_000..64 << 10).contains(&total), "{total}");
    }

    #[test]
    fn wrong_settings_are_refused_with_key_and_remedy() {
        let refusal = |settings| Harness::<Headers>::new(settings).unwrap_err();
        let cases = [
            (
                json!({ "request": { "set": { "x": "{hots}" } } }),
                "key `request.set`: `x`: `hots` is no part of a request",
            ),
            (
                json!({ "request": { "set": { "Content-Length": "1" } } }),
                "belongs to the proxy itself",
            ),
            (
                json!({ "response": { "remove": ["a b"] } }),
                "key `response.remove`: `a b`: `a b` is no header name",
            ),
            (
                json!({ "request": { "set": { "x": "1" }, "remove": ["X"] } }),
                "stands twice, in `remove` and `set`",
            ),
            (
                json!({ "request": { "set": { "X-Real-IP": "1" } } }),
                "the proxy sets it itself",
            ),
            (
                json!({ "request": { "set": { "x": "a".repeat(9_000) } } }),
                "too long",
            ),
            (
                json!({ "request": { "add": { "x": 1 } } }),
                "a string or a list of strings",
            ),
            (json!({ "set": {} }), "unknown field `set`"),
        ];
        for (settings, words) in cases {
            let said = refusal(settings);
            assert!(said.contains(words), "{said}");
        }
    }
}
