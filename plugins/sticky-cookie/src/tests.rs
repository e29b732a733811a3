//! The modes of the cookie, its dates, and its seal.

use std::time::Duration;

use tidegate_sdk::test::{FakeRequest, FakeResponse, Harness, Value, json};

use super::*;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn plugin(settings: Value) -> Harness<StickyCookie> {
    let setup = Harness::setup().pools(["app", "other"]);
    setup.settings(settings).start().unwrap()
}

fn with(cookie: &str) -> FakeRequest {
    FakeRequest::get("/").header("cookie", cookie)
}

fn server(finding: &Finding) -> Option<&str> {
    match &finding.affinity {
        Affinity::Server(name) => Some(name),
        Affinity::None | Affinity::Key(_) => None,
    }
}

/// The response to a request of which this was found.
fn answer(finding: &Finding) -> FakeResponse {
    let noted = |request: FakeRequest, note: &Note| request.note(&note.name, &note.value);
    FakeResponse::new(200).to(finding.notes.iter().fold(FakeRequest::get("/"), noted))
}

/// What is set for SERVERID.
fn set(binding: &Binding) -> Option<String> {
    binding.edits.iter().find_map(|edit| match edit {
        Edit::SetCookie((name, rest)) if name == "SERVERID" => {
            Some(String::from_utf8(rest.clone()).unwrap())
        }
        _ => None,
    })
}

fn value(binding: &Binding) -> String {
    let rest = set(binding).expect("a cookie is set");
    rest.split(';').next().unwrap().to_owned()
}

#[test]
fn a_new_user_gets_a_cookie_and_comes_back_by_it() {
    let plugin = plugin(json!({}));
    let found = plugin.find("app", &FakeRequest::get("/"));
    assert_eq!(found, Finding::none());
    let bound = plugin.bind("app", "web1", &answer(&found));
    assert_eq!(
        bound,
        Binding::none()
            .set_cookie("SERVERID", "web1; Path=/; HttpOnly; SameSite=Lax")
            .append("cache-control", "private")
    );
    let found = plugin.find("app", &with("SERVERID=web1"));
    assert_eq!(server(&found), Some("web1"));
    assert_eq!(
        plugin.bind("app", "web1", &answer(&found)),
        Binding::none(),
        "it has it already"
    );
    assert_eq!(
        value(&plugin.bind("app", "web2", &answer(&found))),
        "web2",
        "it went elsewhere"
    );
}

#[test]
fn servers_do_not_see_it_unless_they_are_to() {
    let plugin = plugin(json!({}));
    let edits = |cookie: &str| plugin.find("app", &with(cookie)).edits;
    assert_eq!(edits("SERVERID=web1"), [Edit::Remove("cookie".into())]);
    assert_eq!(
        edits("a=1; SERVERID=web1;b=2; SERVERID=x"),
        [Edit::Set(("cookie".into(), b"a=1; b=2".to_vec()))]
    );
    assert_eq!(edits("XSERVERID=web1; a=SERVERID"), []);
    let direct = self::plugin(json!({ "indirect": false, "nocache": false }));
    assert_eq!(direct.find("app", &with("SERVERID=web1")).edits, []);
    assert_eq!(
        direct
            .bind("app", "web1", &answer(&Finding::none()))
            .edits
            .len(),
        1
    );
}

#[test]
fn attributes_are_as_told() {
    let plugin = plugin(
        json!({ "secure": true, "httponly": false, "same-site": "none", "path": "/shop", "domain": "example.com" }),
    );
    let bound = plugin.bind("app", "10.0.0.1:80 x", &answer(&Finding::none()));
    let expected = "10.0.0.1:80%20x; Path=/shop; Domain=example.com; Secure; SameSite=None";
    assert_eq!(set(&bound).as_deref(), Some(expected));
    let found = plugin.find("app", &with("SERVERID=10.0.0.1:80%20x"));
    assert_eq!(server(&found), Some("10.0.0.1:80 x"));
}

#[test]
fn a_session_ends_when_it_was_idle_or_is_old() {
    let plugin = plugin(json!({ "max-idle": "16m", "max-life": "1h" }));
    let first = value(&plugin.bind("app", "web1", &answer(&Finding::none())));
    let find = |value: &str| plugin.find("app", &with(&format!("SERVERID={value}")));
    assert!(find(&first).affinity == Affinity::Server("web1".into()));
    assert_eq!(
        plugin.bind("app", "web1", &answer(&find(&first))),
        Binding::none(),
        "fresh enough"
    );
    let mut last = first.clone();
    for minute in 0..60 {
        assert_eq!(server(&find(&last)), Some("web1"), "minute {minute}");
        plugin.host().advance(Duration::from_secs(60));
        if minute < 59 {
            last = value(&plugin.bind("app", "web1", &answer(&find(&last))));
        }
    }
    plugin.host().advance(Duration::from_secs(2));
    assert_eq!(
        find(&last).reason.as_deref(),
        Some("cookie expired"),
        "an hour old"
    );
    assert_eq!(
        find(&first).reason.as_deref(),
        Some("cookie expired"),
        "idle"
    );
    assert_eq!(server(&find("web1")), Some("web1"), "one without a date");
    assert!(
        value(&plugin.bind("app", "web1", &answer(&find("web1")))).contains('|'),
        "gets one"
    );
}

#[test]
fn a_sealed_cookie_is_neither_read_nor_forged() {
    let plugin = plugin(json!({ "secret": SECRET }));
    let sealed = value(&plugin.bind("app", "web1", &answer(&Finding::none())));
    assert!(!sealed.contains("web1"));
    let find = |pool: &str, value: &str| plugin.find(pool, &with(&format!("SERVERID={value}")));
    assert_eq!(server(&find("app", &sealed)), Some("web1"));
    assert_eq!(
        plugin.bind("app", "web1", &answer(&find("app", &sealed))),
        Binding::none()
    );
    for forged in ["web1", "web2|0|0", &sealed[1..], &sealed.to_lowercase()] {
        let found = find("app", forged);
        assert_eq!(
            (server(&found), found.reason.as_deref()),
            (None, Some("cookie not valid")),
            "{forged}"
        );
    }
    assert_eq!(server(&find("other", &sealed)), None, "another pool's");
    let other = self::plugin(json!({ "secret": ["another secret of 32 bytes, or more", SECRET] }));
    assert_eq!(
        server(&other.find("app", &with(&format!("SERVERID={sealed}")))),
        Some("web1")
    );
}

#[test]
fn a_servers_own_cookie_is_rewritten() {
    let plugin = plugin(json!({ "mode": "rewrite" }));
    let response = FakeResponse::new(200)
        .header("set-cookie", "a=1")
        .header("set-cookie", "SERVERID=whatever; Path=/x; Secure");
    let expected = Binding::none().set_cookie("SERVERID", "web1; Path=/x; Secure");
    assert_eq!(plugin.bind("app", "web1", &response), expected);
    assert_eq!(
        plugin.bind("app", "web1", &FakeResponse::new(200)),
        Binding::none()
    );
    let found = plugin.find("app", &with("SERVERID=web1"));
    assert_eq!((server(&found), &found.edits[..]), (Some("web1"), &[][..]));
}

#[test]
fn a_servers_own_cookie_is_prefixed_and_given_back() {
    for settings in [
        json!({ "mode": "prefix", "cookie": "JSESSIONID" }),
        json!({ "mode": "prefix", "cookie": "JSESSIONID", "secret": SECRET }),
    ] {
        let plugin = plugin(settings);
        let response = FakeResponse::new(200).header("set-cookie", "JSESSIONID=abc~d; Path=/");
        let bound = plugin.bind("app", "web1", &response);
        let [Edit::SetCookie((_, rest))] = &bound.edits[..] else {
            panic!("{bound:?}");
        };
        let rest = std::str::from_utf8(rest).unwrap();
        let prefixed = rest.strip_suffix("; Path=/").unwrap();
        assert!(prefixed.ends_with("~abc~d"), "{prefixed}");
        let found = plugin.find("app", &with(&format!("a=1; JSESSIONID={prefixed}; b=2")));
        assert_eq!(server(&found), Some("web1"));
        assert_eq!(
            found.edits,
            [Edit::Set((
                "cookie".into(),
                b"a=1; JSESSIONID=abc~d; b=2".to_vec()
            ))]
        );
        assert_eq!(plugin.find("app", &with("JSESSIONID=abc")), Finding::none());
    }
}

#[test]
fn wrong_settings_are_refused_with_key_and_remedy() {
    let refusal = |settings| Harness::<StickyCookie>::new(settings).unwrap_err();
    let cases = [
        (
            json!({ "cookie": "a b" }),
            "key `cookie`: `a b` is no cookie's name",
        ),
        (
            json!({ "mode": "append" }),
            "key `mode`: unknown variant `append`, expected one of `insert`, `rewrite`, `prefix`",
        ),
        (
            json!({ "mode": "prefix", "max-idle": "1m" }),
            "key `max-idle`: belongs to the mode `insert`",
        ),
        (
            json!({ "max-life": "500d" }),
            "key `max-life`: give 1s to 400d",
        ),
        (
            json!({ "max-idle": "1" }),
            "key `max-idle`: `1` has no unit",
        ),
        (
            json!({ "same-site": "none" }),
            "key `same-site`: browsers take `none` only together with `secure = true`",
        ),
        (
            json!({ "path": "x" }),
            "key `path`: `x` must begin with `/`",
        ),
        (
            json!({ "domain": "a;b" }),
            "key `domain`: `a;b` is no domain",
        ),
        (
            json!({ "secret": "short" }),
            "key `secret`: a secret of 5 bytes can be guessed",
        ),
        (json!({ "cookies": "a" }), "unknown field `cookies`"),
    ];
    for (settings, words) in cases {
        let said = refusal(settings);
        assert!(said.contains(words), "{said}");
    }
}
