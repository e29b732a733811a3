//! Changes the path on its way to the server: strips or replaces a prefix, or replaces what a regular expression matches.
//! See README.md.
//!
//! A path with dot segments, in whatever spelling, is refused where it would be rewritten: behind another prefix it would lead
//! to a place that the rule does not name.

mod pattern;
mod prefix;
mod settings;

use std::borrow::Cow;

use tidegate_sdk::path;
use tidegate_sdk::prelude::*;

use pattern::Pattern;
use prefix::Prefix;
use settings::Settings;

/// The longest result, and the longest path that a prefix is taken from.
const LONGEST: usize = 4096;

const FORWARDED_PREFIX: &str = "x-forwarded-prefix";

pub struct Rewrite {
    rule: Rule,
}

enum Rule {
    Prefix(Prefix),
    Pattern(Pattern),
}

impl Plugin for Rewrite {
    type Settings = Settings;

    fn new(settings: Settings, _: &Context) -> Result<Self, String> {
        Ok(Rewrite {
            rule: settings.rule()?,
        })
    }

    fn interest(&self) -> Interest {
        let interest = Interest::none().path().pure();
        match &self.rule {
            Rule::Pattern(pattern) if pattern.sets_query() => interest.query(),
            Rule::Prefix(Prefix {
                forwarded: true, ..
            }) => interest.header(FORWARDED_PREFIX),
            _ => interest,
        }
    }
}

impl RequestFilter for Rewrite {
    fn request(&self, r: &Request) -> Outcome {
        let sent = r.bytes(&Input::Path).unwrap_or_default();
        if !sent.starts_with(b"/") || !self.rule.concerns(sent) {
            return next();
        }
        if sent.len() > self.rule.longest() {
            return refuse(
                414,
                "The path is too long to be rewritten.\n",
                "path too long",
            );
        }
        let visible = visible(sent);
        let Some(new) = self.rule.apply(&visible, r) else {
            return next();
        };
        if path::has_dot_segments(sent) {
            return refuse(
                400,
                "The path holds dot segments. Send it without them.\n",
                "dot segments in a path to rewrite",
            );
        }
        match rooted(new) {
            new if new.len() > LONGEST => refuse(
                414,
                "The path is too long to be rewritten.\n",
                "path too long",
            ),
            new => self.rule.tell(next().path(new), r),
        }
    }
}

export!(Rewrite: RequestFilter);

impl Rule {
    fn longest(&self) -> usize {
        match self {
            Rule::Prefix(_) => LONGEST,
            Rule::Pattern(_) => pattern::LONGEST,
        }
    }

    /// False when a look at the beginning says that nothing will change.
    fn concerns(&self, sent: &[u8]) -> bool {
        match self {
            Rule::Prefix(prefix) => prefix.takes(sent),
            Rule::Pattern(_) => true,
        }
    }

    fn apply(&self, path: &str, r: &Request) -> Option<String> {
        match self {
            Rule::Prefix(prefix) => prefix.apply(path),
            Rule::Pattern(pattern) if pattern.sets_query() => {
                let query = r.bytes(&Input::Query).map(visible);
                pattern.apply(path, query.as_deref())
            }
            Rule::Pattern(pattern) => pattern.apply(path, None),
        }
    }

    /// Tells the server what was stripped, behind what an earlier plugin or a trusted proxy stripped: together they lead back
    /// to the path that the client knows.
    fn tell(&self, outcome: Outcome, r: &Request) -> Outcome {
        let Rule::Prefix(Prefix {
            from,
            forwarded: true,
            ..
        }) = self
        else {
            return outcome;
        };
        let before = r.header(FORWARDED_PREFIX).unwrap_or_default();
        let before =
            Some(before.trim_end_matches('/')).filter(|b| b.starts_with('/') && b.len() <= LONGEST);
        outcome.set(
            FORWARDED_PREFIX,
            format!("{}{from}", before.unwrap_or_default()),
        )
    }
}

/// As text in which all is visible ASCII: what is not is percent-encoded.
fn visible(sent: &[u8]) -> Cow<'_, str> {
    let plain = |b: &u8| b.is_ascii_graphic() && *b != b'#';
    match std::str::from_utf8(sent) {
        Ok(text) if sent.iter().all(plain) => Cow::Borrowed(text),
        _ => Cow::Owned(sent.iter().fold(String::new(), |text, b| match plain(b) {
            true => text + char::from(*b).encode_utf8(&mut [0; 4]),
            false => text + &format!("%{b:02X}"),
        })),
    }
}

/// Begins with one slash: two would read as a host (RFC 3986, 4.2).
fn rooted(new: String) -> String {
    match new.trim_start_matches('/') {
        rest if rest.len() + 1 == new.len() => new,
        rest => format!("/{rest}"),
    }
}

fn refuse(status: u16, words: &str, why: &str) -> Outcome {
    reply(status).text(words).why(why)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use tidegate_sdk::test::{FakeRequest, Harness, json};

    use super::*;

    fn rewritten(settings: Value, path: &str) -> Outcome {
        let plugin = Harness::<Rewrite>::new(settings).unwrap();
        plugin.request(&FakeRequest::get(path)).outcome()
    }

    fn path(settings: Value, path: &str) -> Option<String> {
        rewritten(settings, path).path
    }

    #[test]
    fn a_prefix_is_stripped_at_a_segment_boundary() {
        let strip = |sent| path(json!({ "strip-prefix": "/api" }), sent);
        assert_eq!(strip("/api/users").as_deref(), Some("/users"));
        assert_eq!(strip("/api").as_deref(), Some("/"));
        assert_eq!(strip("/api/").as_deref(), Some("/"));
        assert_eq!(
            strip("/api//evil.example").as_deref(),
            Some("/evil.example")
        );
        assert_eq!(
            strip("/api/x?q=/api").as_deref(),
            Some("/x"),
            "the query is left to the host"
        );
        assert_eq!(strip("/apix"), None);
        assert_eq!(strip("/x/api"), None);
    }

    #[test]
    fn what_was_stripped_is_told_unless_switched_off() {
        let told = rewritten(json!({ "strip-prefix": "/api/" }), "/api/x");
        assert_eq!(
            told.edits,
            [Edit::Set(("x-forwarded-prefix".into(), "/api".into()))]
        );
        let silent = rewritten(
            json!({ "strip-prefix": "/api", "forwarded-prefix": false }),
            "/api/x",
        );
        assert_eq!(
            (silent.path.as_deref(), silent.edits.len()),
            (Some("/x"), 0)
        );
        assert_eq!(rewritten(json!({ "strip-prefix": "/api" }), "/x"), next());
        let plugin = Harness::<Rewrite>::new(json!({ "strip-prefix": "/v1" })).unwrap();
        let twice = FakeRequest::get("/v1/x").header("x-forwarded-prefix", "/api/");
        let edits = plugin.request(&twice).outcome().edits;
        assert_eq!(
            edits,
            [Edit::Set(("x-forwarded-prefix".into(), "/api/v1".into()))]
        );
    }

    #[test]
    fn a_prefix_is_replaced() {
        let replace = |from, to, sent| {
            path(
                json!({ "replace-prefix": { "from": from, "to": to } }),
                sent,
            )
        };
        assert_eq!(replace("/old", "/new", "/old/x").as_deref(), Some("/new/x"));
        assert_eq!(replace("/old", "/new/", "/old").as_deref(), Some("/new"));
        assert_eq!(replace("/", "/app", "/x").as_deref(), Some("/app/x"));
        assert_eq!(replace("/old", "/", "/old/x").as_deref(), Some("/x"));
        assert_eq!(replace("/old", "/new", "/older"), None);
    }

    #[test]
    fn a_pattern_takes_its_captures_along() {
        let settings =
            json!({ "regex": "^/u/([0-9]+)/(?<rest>.*)$", "replacement": "/users/${rest}/$1" });
        assert_eq!(
            path(settings.clone(), "/u/7/a/b").as_deref(),
            Some("/users/a/b/7")
        );
        assert_eq!(path(settings, "/u/x/a"), None);
        let every = json!({ "regex": "_", "replacement": "-" });
        assert_eq!(path(every, "/a_b_c").as_deref(), Some("/a-b-c"));
        let bare = json!({ "regex": "^/a", "replacement": "" });
        assert_eq!(path(bare, "/a").as_deref(), Some("/"));
    }

    #[test]
    fn a_query_in_the_replacement_comes_before_the_requests_own() {
        let settings = json!({ "regex": "^/u/(.*)$", "replacement": "/user?id=$1" });
        assert_eq!(
            path(settings.clone(), "/u/7?x=1").as_deref(),
            Some("/user?id=7&x=1")
        );
        assert_eq!(path(settings, "/u/7").as_deref(), Some("/user?id=7"));
    }

    #[test]
    fn dot_segments_and_long_paths_are_refused() {
        let status = |sent: &str| {
            let outcome = rewritten(
                json!({ "replace-prefix": { "from": "/a", "to": "/b" } }),
                sent,
            );
            outcome.replied().map(|reply| reply.status)
        };
        for sent in ["/a/../x", "/a/%2e%2e/x", "/a/x%2f..%2fy", "/a/./x"] {
            assert_eq!(status(sent), Some(400), "{sent}");
        }
        assert_eq!(status("/x/../a"), None);
        assert_eq!(status(&format!("/a/{}", "x".repeat(LONGEST))), Some(414));
        assert_eq!(status(&format!("/x/{}", "x".repeat(LONGEST))), None);
        let pattern = json!({ "regex": "^/x/(.*)$", "replacement": "/$1" });
        let long = |length| rewritten(pattern.clone(), &format!("/x/{}", "x".repeat(length)));
        assert_eq!(
            long(pattern::LONGEST).replied().map(|r| r.status),
            Some(414)
        );
        assert_eq!(
            long(pattern::LONGEST - 3).path.map(|p| p.len()),
            Some(pattern::LONGEST - 2)
        );
        let grows = json!({ "regex": "x", "replacement": "123456789" });
        let grown = rewritten(grows, &format!("/{}", "x".repeat(1000)));
        assert_eq!(grown.replied().map(|r| r.status), Some(414));
    }

    #[test]
    fn bytes_that_are_no_text_are_encoded() {
        let plugin = Harness::<Rewrite>::new(json!({ "strip-prefix": "/a" })).unwrap();
        let outcome = plugin.request(&FakeRequest::get("/a/caf\u{e9}#")).outcome();
        assert_eq!(outcome.path.as_deref(), Some("/caf%C3%A9%23"));
    }

    #[test]
    fn wrong_settings_are_refused_with_a_remedy() {
        let refusal = |settings| Harness::<Rewrite>::new(settings).unwrap_err();
        let cases = [
            (
                json!({}),
                "give one of `strip-prefix`, `replace-prefix` and `regex`",
            ),
            (
                json!({ "strip-prefix": "/a", "regex": "b", "replacement": "" }),
                "give one of",
            ),
            (
                json!({ "strip-prefix": "api" }),
                "key `strip-prefix`: `api` must begin with `/`",
            ),
            (
                json!({ "strip-prefix": "/" }),
                "key `strip-prefix`: `/` strips nothing",
            ),
            (
                json!({ "replace-prefix": { "from": "/a", "to": "b" } }),
                "key `replace-prefix.to`: `b` must begin with `/`",
            ),
            (
                json!({ "replace-prefix": { "from": "/a", "to": "/b?c" } }),
                "no query",
            ),
            (
                json!({ "regex": "(" , "replacement": "" }),
                "key `regex`: `(`: ",
            ),
            (json!({ "regex": "a" }), "`replacement`"),
            (json!({ "replacement": "a" }), "give one of"),
            (
                json!({ "regex": "(a)", "replacement": "$1x" }),
                "key `replacement`: the pattern has no group `1x`; write `${1}`",
            ),
            (
                json!({ "regex": "(a)", "replacement": "${2}" }),
                "no group `2`",
            ),
            (json!({ "strip": "/a" }), "unknown field `strip`"),
            (
                json!({ "regex": "a", "replacement": "b", "forwarded-prefix": true }),
                "key `forwarded-prefix`",
            ),
        ];
        for (settings, words) in cases {
            let said = refusal(settings);
            assert!(said.contains(words), "{said}");
        }
    }
}
