//! Answers by itself: a maintenance page, the proxy's own `/health`. See README.md.

mod settings;

use tidegate_sdk::path::under;
use tidegate_sdk::prelude::*;

use settings::{Settings, Where};

pub struct Respond {
    place: Where,
    answer: Outcome,
}

impl Plugin for Respond {
    type Settings = Settings;

    fn new(settings: Settings, _: &Context) -> Result<Self, String> {
        Ok(Respond {
            place: settings.place()?,
            answer: settings.answer()?,
        })
    }

    fn interest(&self) -> Interest {
        let interest = Interest::none().pure();
        match self.place {
            Where::Everywhere => interest,
            Where::Exact(_) | Where::Under(_) => interest.path(),
        }
    }
}

impl RequestFilter for Respond {
    fn request(&self, r: &Request) -> Outcome {
        let path = || r.bytes(&Input::Path).unwrap_or_default();
        let concerned = match &self.place {
            Where::Everywhere => true,
            Where::Exact(exact) => path() == exact.as_bytes(),
            Where::Under(prefix) => under(path(), prefix.as_bytes()).is_some(),
        };
        if concerned {
            self.answer.clone()
        } else {
            next()
        }
    }
}

export!(Respond: RequestFilter);

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use tidegate_sdk::test::{FakeRequest, Harness, json};

    use super::*;

    fn answered(settings: Value, path: &str) -> Option<Reply> {
        let plugin = Harness::<Respond>::new(settings).unwrap();
        plugin
            .request(&FakeRequest::get(path))
            .outcome()
            .replied()
            .cloned()
    }

    #[test]
    fn a_maintenance_page() {
        let settings = json!({
            "status": 503, "body": "<h1>Back soon</h1>", "content-type": "text/html", "retry-after": "2m",
            "headers": { "Cache-Control": "no-store" },
        });
        let reply = answered(settings, "/any").unwrap();
        assert_eq!(
            (reply.status, &reply.body[..]),
            (503, &b"<h1>Back soon</h1>"[..])
        );
        let header = |name| std::str::from_utf8(reply.header(name).unwrap()).unwrap();
        assert_eq!(header("content-type"), "text/html");
        assert_eq!(header("retry-after"), "120");
        assert_eq!(header("cache-control"), "no-store");
    }

    #[test]
    fn the_proxys_own_health() {
        let at = |path| answered(json!({ "path-exact": "/health", "body": "ok\n" }), path);
        let reply = at("/health?x").unwrap();
        assert_eq!((reply.status, &reply.body[..]), (200, &b"ok\n"[..]));
        assert_eq!(
            reply.header("content-type"),
            Some(&b"text/plain; charset=utf-8"[..])
        );
        assert_eq!(at("/health/"), None);
        assert_eq!(at("/"), None);
    }

    #[test]
    fn a_prefix_ends_at_a_segment() {
        let at = |path| {
            answered(json!({ "path": "/old/", "status": 410 }), path).map(|reply| reply.status)
        };
        assert_eq!(at("/old"), Some(410));
        assert_eq!(at("/old/x"), Some(410));
        assert_eq!(at("/older"), None);
        assert_eq!(
            answered(json!({ "path": "/" }), "/x").map(|reply| reply.headers),
            Some(vec![])
        );
    }

    #[test]
    fn a_refused_request_is_logged_with_a_reason() {
        let plugin =
            Harness::<Respond>::new(json!({ "status": 503, "reason": "maintenance" })).unwrap();
        let outcome = plugin.request(&FakeRequest::get("/")).outcome();
        assert_eq!(outcome.reason.as_deref(), Some("maintenance"));
    }

    #[test]
    fn wrong_settings_are_refused_with_key_and_remedy() {
        let refusal = |settings| Harness::<Respond>::new(settings).unwrap_err();
        let cases = [
            (
                json!({ "status": 100 }),
                "key `status`: 100 is no final status; give 200 to 599",
            ),
            (
                json!({ "status": 204, "body": "x" }),
                "key `body`: a 204 has none",
            ),
            (
                json!({ "path": "/a", "path-exact": "/b" }),
                "give one of the two",
            ),
            (
                json!({ "path": "a" }),
                "key `path`: `a` must begin with `/`",
            ),
            (
                json!({ "retry-after": "5" }),
                "key `retry-after`: `5` has no unit",
            ),
            (
                json!({ "headers": { "content-length": "1" } }),
                "key `headers`: `content-length` belongs to the proxy",
            ),
            (json!({ "headers": { "x": "a\nb" } }), "control character"),
            (json!({ "content-type": "a\r\n" }), "key `content-type`"),
            (
                json!({ "body": "x".repeat(settings::LARGEST + 1) }),
                "key `body`",
            ),
            (
                json!({ "reason": "r".repeat(300) }),
                "key `reason`: 300 bytes",
            ),
            (json!({ "code": 200 }), "unknown field `code`"),
        ];
        for (settings, words) in cases {
            let said = refusal(settings);
            assert!(said.contains(words), "{said}");
        }
    }
}
