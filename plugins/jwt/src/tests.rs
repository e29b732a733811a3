//! Tokens good and bad. With HMAC the signature is the real one; for other kinds the harness stands in, and the end-to-end tests
//! have real keys.

use std::time::Duration;

use tidegate_sdk::base64::{self, encode_url as url};
use tidegate_sdk::crypto::Scheme;
use tidegate_sdk::test::{FakeRequest, Harness, Value, json};

use super::*;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// Of `openssl genpkey -algorithm ed25519 | openssl pkey -pubout`.
const ED25519: &str = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n";

/// 2023-11-14, where the harness's clock stands.
const NOW: u64 = 1_700_000_000;

fn der() -> Vec<u8> {
    let digits: String = ED25519
        .lines()
        .filter(|line| !line.starts_with('-'))
        .collect();
    base64::decode(&digits).unwrap()
}

fn token_of(
    plugin: &Harness<Jwt>,
    scheme: Scheme,
    key: &[u8],
    header: Value,
    claims: Value,
) -> String {
    let signed = format!(
        "{}.{}",
        url(header.to_string().as_bytes()),
        url(claims.to_string().as_bytes())
    );
    let signature = plugin.host().sign(scheme, key, signed.as_bytes());
    format!("{signed}.{}", url(&signature))
}

fn token(plugin: &Harness<Jwt>, claims: Value) -> String {
    token_of(
        plugin,
        Scheme::HmacSha256,
        SECRET.as_bytes(),
        json!({ "alg": "HS256" }),
        claims,
    )
}

fn plugin(more: Value) -> Harness<Jwt> {
    let mut settings = json!({ "keys": [{ "secret": SECRET }] });
    for (key, value) in more.as_object().unwrap() {
        settings[key] = value.clone();
    }
    Harness::new(settings).unwrap()
}

fn bearer(token: &str) -> FakeRequest {
    FakeRequest::get("/").header("authorization", format!("Bearer {token}"))
}

/// The status and the reason; 200 for who comes in.
fn said(plugin: &Harness<Jwt>, token: &str) -> (u16, String) {
    told(plugin.request(&bearer(token)).outcome())
}

fn told(outcome: Outcome) -> (u16, String) {
    let status = outcome.replied().map_or(200, |reply| reply.status);
    (status, outcome.reason.unwrap_or_default())
}

fn refused(why: &str) -> (u16, String) {
    (401, format!("token: {why}"))
}

#[test]
fn a_good_token_comes_in_and_its_claims_are_told() {
    let settings = json!({ "notes": { "user": "sub", "roles": "roles" }, "headers": { "X-User": "sub", "x-team": "team" } });
    let plugin = plugin(settings);
    let token = token(
        &plugin,
        json!({ "exp": NOW + 60, "sub": "ada", "roles": ["a", "b"], "team": { "x": 1 } }),
    );
    let expected = next()
        .note("roles", "a b")
        .note("user", "ada")
        .set("x-user", "ada")
        .remove("x-team");
    assert_eq!(
        plugin.request(&bearer(&token)).outcome().notes,
        expected.notes
    );
    let mut edits = plugin.request(&bearer(&token)).outcome().edits;
    edits.sort_by_key(|edit| format!("{edit:?}"));
    assert_eq!(
        edits,
        [
            Edit::Remove("x-team".into()),
            Edit::Set(("x-user".into(), "ada".into()))
        ]
    );
}

#[test]
fn times_are_kept_with_leeway() {
    let plugin = plugin(json!({ "leeway": "10s" }));
    let at = |claims| said(&plugin, &token(&plugin, claims));
    assert_eq!(at(json!({ "exp": NOW - 9 })).0, 200);
    assert_eq!(at(json!({ "exp": NOW - 10 })), refused("expired"));
    assert_eq!(
        at(json!({ "exp": NOW as f64 + 0.5, "nbf": NOW + 10 })).0,
        200
    );
    assert_eq!(
        at(json!({ "exp": NOW + 60, "nbf": NOW + 11 })),
        refused("not valid yet")
    );
    assert_eq!(at(json!({})), refused("no expiry"));
    assert_eq!(at(json!({ "exp": "never" })), refused("malformed"));
    assert_eq!(at(json!({ "exp": null })), refused("malformed"));
    let lasting = self::plugin(json!({ "without-expiry": true }));
    assert_eq!(said(&lasting, &token(&lasting, json!({}))).0, 200);
    assert_eq!(
        said(&lasting, &token(&lasting, json!({ "exp": NOW - 99 }))),
        refused("expired")
    );
}

#[test]
fn issuer_audience_and_claims_must_be_right() {
    let settings = json!({ "issuer": "me", "audience": ["shop", "api"], "require": { "scope": "write", "level": ["2", "3"] } });
    let plugin = plugin(settings);
    let good = json!({ "exp": NOW + 60, "iss": "me", "aud": ["x", "api"], "scope": "read write", "level": 3 });
    let at = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        said(&plugin, &token(&plugin, claims))
    };
    assert_eq!(said(&plugin, &token(&plugin, good.clone())).0, 200);
    assert_eq!(at("aud", json!("shop")).0, 200);
    assert_eq!(at("iss", json!("you")), refused("wrong issuer"));
    assert_eq!(at("iss", Value::Null), refused("wrong issuer"));
    assert_eq!(at("aud", json!(["x"])), refused("wrong audience"));
    assert_eq!(at("aud", json!([])), refused("wrong audience"));
    assert_eq!(
        at("scope", json!("rewrite")),
        (403, "token: a claim is missing".into())
    );
    assert_eq!(
        at("level", json!([1])),
        (403, "token: a claim is missing".into())
    );
}

#[test]
fn who_brings_no_token_is_asked_for_one() {
    let plugin = plugin(json!({ "realm": "api" }));
    for request in [
        FakeRequest::get("/"),
        FakeRequest::get("/").header("authorization", "Basic YTpi"),
        FakeRequest::get("/").header("authorization", "Bearer "),
        FakeRequest::get("/").header("authorization", "Bearer"),
    ] {
        let outcome = plugin.request(&request).outcome();
        let challenge = outcome
            .replied()
            .unwrap()
            .header("www-authenticate")
            .unwrap();
        assert_eq!(challenge, b"Bearer realm=\"api\"");
        assert_eq!(told(outcome), refused("no token"));
    }
    let outcome = plugin.request(&bearer("x")).outcome();
    let challenge = outcome
        .replied()
        .unwrap()
        .header("www-authenticate")
        .unwrap();
    assert_eq!(
        challenge,
        b"Bearer realm=\"api\", error=\"invalid_token\", error_description=\"malformed\""
    );
}

#[test]
fn what_is_no_token_of_ours_is_refused() {
    let plugin = plugin(json!({}));
    let claims = json!({ "exp": NOW + 60 });
    let good = token(&plugin, claims.clone());
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let (header, body) = signed.split_once('.').unwrap();
    let other = url(json!({ "exp": NOW + 61 }).to_string().as_bytes());
    let with = |header: Value| {
        token_of(
            &plugin,
            Scheme::HmacSha256,
            SECRET.as_bytes(),
            header,
            claims.clone(),
        )
    };
    let cases = [
        (format!("{header}.{other}.{signature}"), "wrong signature"),
        (format!("{header}.{body}."), "wrong signature"),
        (format!("{header}.{body}"), "malformed"),
        (format!("{good}.x"), "malformed"),
        (format!("{good}="), "malformed"),
        (with(json!({ "alg": "none" })), "unknown algorithm"),
        (with(json!({ "alg": "hs256" })), "unknown algorithm"),
        (with(json!({ "alg": "HS512" })), "algorithm not of this key"),
        (with(json!({ "alg": "RS256" })), "algorithm not of this key"),
        (
            with(json!({ "alg": "HS256", "crit": ["exp"] })),
            "unknown extension",
        ),
        (with(json!({ "kid": "x" })), "malformed"),
        ("a".repeat(9000), "too long"),
        ("..".into(), "malformed"),
    ];
    for (text, why) in cases {
        assert_eq!(said(&plugin, &text), refused(why), "{text}");
    }
}

#[test]
fn a_public_key_is_never_taken_for_a_secret() {
    let plugin = Harness::<Jwt>::new(json!({ "keys": [ED25519] })).unwrap();
    let claims = json!({ "exp": NOW + 60 });
    let good = token_of(
        &plugin,
        Scheme::Ed25519,
        &der(),
        json!({ "alg": "EdDSA" }),
        claims.clone(),
    );
    assert_eq!(said(&plugin, &good).0, 200);
    for secret in [ED25519.as_bytes(), &der()] {
        let forged = token_of(
            &plugin,
            Scheme::HmacSha256,
            secret,
            json!({ "alg": "HS256" }),
            claims.clone(),
        );
        assert_eq!(said(&plugin, &forged), refused("algorithm not of this key"));
    }
}

#[test]
fn a_token_names_its_key() {
    let other = "another secret, as long as it must be";
    let settings =
        json!({ "keys": [{ "secret": SECRET, "kid": "old" }, { "secret": other, "kid": "new" }] });
    let plugin = Harness::<Jwt>::new(settings).unwrap();
    let by = |secret: &str, header: Value| {
        let claims = json!({ "exp": NOW + 60 });
        said(
            &plugin,
            &token_of(
                &plugin,
                Scheme::HmacSha256,
                secret.as_bytes(),
                header,
                claims,
            ),
        )
    };
    assert_eq!(by(SECRET, json!({ "alg": "HS256", "kid": "old" })).0, 200);
    assert_eq!(by(other, json!({ "alg": "HS256" })).0, 200, "each is tried");
    assert_eq!(
        by(SECRET, json!({ "alg": "HS256", "kid": "new" })),
        refused("wrong signature")
    );
    assert_eq!(
        by(SECRET, json!({ "alg": "HS256", "kid": "x" })),
        refused("unknown key")
    );
}

#[test]
fn it_may_stand_elsewhere_and_go_no_further() {
    let plugin = plugin(json!({ "from": "cookie:session" }));
    let good = token(&plugin, json!({ "exp": NOW + 60 }));
    assert_eq!(
        plugin
            .request(&FakeRequest::get("/").cookie("session", &good))
            .outcome(),
        next()
    );
    assert_eq!(
        said_of(&plugin, &FakeRequest::get("/").cookie("session", "x")),
        refused("malformed")
    );
    let plugin = self::plugin(json!({ "from": "header:x-jwt", "pass-on": false }));
    let request = FakeRequest::get("/").header("x-jwt", &good);
    assert_eq!(plugin.request(&request).outcome(), next().remove("x-jwt"));
}

fn said_of(plugin: &Harness<Jwt>, request: &FakeRequest) -> (u16, String) {
    told(plugin.request(request).outcome())
}

#[test]
fn where_it_is_optional_a_bad_one_is_still_refused() {
    let plugin = plugin(json!({ "optional": true, "headers": { "x-user": "sub" } }));
    let outcome = plugin
        .request(&FakeRequest::get("/").header("x-user", "forged"))
        .outcome();
    assert_eq!(outcome, next().remove("x-user"));
    assert_eq!(said(&plugin, "a.b.c").0, 401);
}

fn fetching() -> Harness<Jwt> {
    let settings = json!({ "jwks": { "pool": "idp", "path": "/jwks.json", "refresh": "5m" } });
    let setup = Harness::setup().pools(["app", "idp"]);
    setup.settings(settings).start().unwrap()
}

fn set_of(kid: &str) -> Answer {
    let key = url(&der()[12..]);
    let set = json!({ "keys": [
        { "kty": "OKP", "crv": "Ed25519", "kid": kid, "x": key },
        { "kty": "oct", "k": url(SECRET.as_bytes()) },
        { "kty": "EC", "crv": "secp256k1", "x": "", "y": "" },
        { "kty": "OKP", "crv": "Ed25519", "use": "enc", "x": key },
    ]});
    Answer::new(200).with_body(set.to_string())
}

fn signed(plugin: &Harness<Jwt>, kid: &str) -> String {
    let header = json!({ "alg": "EdDSA", "kid": kid });
    token_of(
        plugin,
        Scheme::Ed25519,
        &der(),
        header,
        json!({ "exp": NOW + 86_400 * 2 }),
    )
}

#[test]
fn keys_are_fetched_once_for_all_workers() {
    let plugin = fetching();
    let (other, token) = (plugin.another_worker(), signed(&plugin, "a"));
    let (call, state) = plugin.request(&bearer(&token)).fetch();
    assert_eq!(
        (call.path.as_str(), call.to),
        ("/jwks.json", PoolIndex(1).into())
    );
    assert_eq!(
        told(other.resume(state, set_of("a")).outcome()).0,
        200,
        "by the token that waited"
    );
    assert_eq!(said(&plugin, &token).0, 200);
    assert_eq!(said(&other, &token).0, 200);
    let secret = token_of(
        &plugin,
        Scheme::HmacSha256,
        SECRET.as_bytes(),
        json!({ "alg": "HS256" }),
        json!({ "exp": NOW + 60 }),
    );
    assert_eq!(
        said(&plugin, &secret).1,
        "token: algorithm not of this key",
        "what is published is no secret"
    );
}

#[test]
fn keys_are_fetched_again_behind_a_request_and_the_old_ones_go_on() {
    let plugin = fetching();
    let (other, token) = (plugin.another_worker(), signed(&plugin, "a"));
    let (_, state) = plugin.request(&bearer(&token)).fetch();
    plugin.resume(state, set_of("a")).outcome();
    plugin.host().advance(Duration::from_secs(301));
    let step = plugin.request(&bearer(&token));
    assert!(matches!(step, Step::DoneAndFetch(..)), "{step:?}");
    assert_eq!(told(step.outcome()).0, 200);
    assert_eq!(
        other.request(&bearer(&token)),
        Step::Done(next()),
        "one is enough"
    );
    plugin.resume(0, FetchError::Timeout);
    assert_eq!(
        plugin.request(&bearer(&token)),
        Step::Done(next()),
        "not the very next"
    );
    plugin.host().advance(Duration::from_secs(11));
    plugin.request(&bearer(&token)).fetch();
    other.resume(0, set_of("b"));
    assert_eq!(
        said(&plugin, &token),
        refused("unknown key"),
        "the new ones are known to all"
    );
    plugin.host().advance(Duration::from_secs(86_401));
    let (_, state) = plugin.request(&bearer(&token)).fetch();
    let outcome = plugin.resume(state, FetchError::Refused).outcome();
    assert_eq!(told(outcome), (503, "token: no keys".into()), "too old");
}

#[test]
fn a_new_key_is_found_and_made_up_ones_are_not_looked_for_all_the_time() {
    let plugin = fetching();
    let token = signed(&plugin, "a");
    let (_, state) = plugin.request(&bearer(&token)).fetch();
    plugin.resume(state, set_of("a")).outcome();
    let new = signed(&plugin, "b");
    assert!(
        matches!(plugin.request(&bearer(&new)), Step::Done(_)),
        "fetched a moment ago"
    );
    plugin.host().advance(Duration::from_secs(31));
    let (_, state) = plugin.request(&bearer(&new)).fetch();
    assert_eq!(said(&plugin, &new), refused("unknown key"), "one waits");
    assert_eq!(told(plugin.resume(state, set_of("b")).outcome()).0, 200);
    assert_eq!(said(&plugin, &token), refused("unknown key"));
}

#[test]
fn without_keys_nobody_comes_in() {
    let plugin = fetching();
    for answer in [
        Answer::new(500),
        Answer::new(200).with_body("{}"),
        FetchError::Refused.into(),
    ] {
        let (_, state) = plugin.request(&bearer(&signed(&plugin, "a"))).fetch();
        assert_eq!(
            told(plugin.resume(state, answer).outcome()),
            (503, "token: no keys".into())
        );
    }
}

#[test]
fn what_is_no_token_fetches_no_keys() {
    let plugin = fetching();
    let header = url(br#"{"alg":"EdDSA"}"#);
    for (text, why) in [
        ("x".to_owned(), "malformed"),
        (format!("{header}.{}.x", "a".repeat(9 << 10)), "too long"),
    ] {
        assert_eq!(
            plugin.request(&bearer(&text)),
            Step::Done(plugin.plugin().refuse(Some(Refusal::Invalid(why))))
        );
    }
}

#[test]
fn only_so_many_wait_for_keys() {
    let plugin = fetching();
    let token = signed(&plugin, "a");
    let waits = |step: Step| matches!(step, Step::Fetch(..));
    let first = plugin.request(&bearer(&token)).fetch().1;
    let others = (0..100).filter(|_| waits(plugin.request(&bearer(&token))));
    assert_eq!(others.count(), 63);
    assert_eq!(said(&plugin, &token), (503, "token: no keys".into()));
    plugin.host().advance(Duration::from_secs(5));
    assert!(waits(plugin.request(&bearer(&token))), "a while later");
    plugin.resume(first, set_of("a")).outcome();
    assert_eq!(said(&plugin, &token).0, 200);
}

#[test]
fn wrong_settings_are_refused_with_key_and_remedy() {
    let setup = |settings| {
        Harness::<Jwt>::setup()
            .pools(["app", "idp"])
            .settings(settings)
    };
    let refusal = |settings| setup(settings).start().unwrap_err();
    let pem = |label: &str| format!("-----BEGIN {label}-----\nAAAA\n-----END {label}-----\n");
    let cases = [
        (json!({}), "key `keys`: without a key"),
        (
            json!({ "keys": [ED25519], "issuer": [] }),
            "key `issuer`: an empty list",
        ),
        (
            json!({ "keys": [ED25519], "audience": [] }),
            "key `audience`: an empty list",
        ),
        (
            json!({ "keys": [ED25519], "require": { "groups": [] } }),
            "key `require.groups`: an empty list",
        ),
        (
            json!({ "keys": ["secret"] }),
            "key `keys[0]`: it is no public key in PEM",
        ),
        (
            json!({ "keys": [pem("PUBLIC KEY")] }),
            "key `keys[0]`: the key is none of RSA",
        ),
        (
            json!({ "keys": [pem("CERTIFICATE")] }),
            "openssl x509 -pubkey",
        ),
        (
            json!({ "keys": [pem("PRIVATE KEY")] }),
            "needs the public one alone",
        ),
        (
            json!({ "keys": [{ "secret": "short" }] }),
            "a secret of 5 bytes can be guessed",
        ),
        (
            json!({ "keys": [{ "secret": SECRET, "algorithm": "RS256" }] }),
            "algorithm `RS256` is none of this key's, which are HS256, HS384, HS512",
        ),
        (
            json!({ "keys": [{ "pem": ED25519, "algorithm": "HS256" }] }),
            "which are EdDSA",
        ),
        (
            json!({ "keys": [{ "pem": ED25519, "secret": SECRET }] }),
            "give either `pem` or `secret`",
        ),
        (
            json!({ "jwks": "{\"keys\": []}" }),
            "key `jwks`: it holds no key",
        ),
        (json!({ "jwks": "[]" }), "key `jwks`: it is no JWKS"),
        (
            json!({ "jwks": { "pool": "x", "path": "/" } }),
            "key `jwks.pool`: no pool is named `x`",
        ),
        (
            json!({ "jwks": { "pool": "idp", "path": "keys" } }),
            "key `jwks.path`: `keys` is no path",
        ),
        (
            json!({ "jwks": { "pool": "idp", "path": "/", "refresh": "1s" } }),
            "key `jwks.refresh`",
        ),
        (
            json!({ "jwks": { "pool": "idp", "path": "/" }, "keys": [ED25519] }),
            "exclude each other",
        ),
        (
            json!({ "keys": [ED25519], "from": "path" }),
            "key `from`: `path` brings no token",
        ),
        (json!({ "keys": [ED25519], "leeway": "1h" }), "key `leeway`"),
        (json!({ "keys": [ED25519], "realm": "\"" }), "key `realm`"),
        (
            json!({ "keys": [ED25519], "notes": { "a b": "sub" } }),
            "key `notes`: `a b`",
        ),
        (
            json!({ "keys": [ED25519], "headers": { "te": "sub" } }),
            "key `headers`: `te` belongs to the proxy",
        ),
        (
            json!({ "keys": [ED25519], "issuers": "x" }),
            "unknown field `issuers`",
        ),
    ];
    for (settings, words) in cases {
        let said = refusal(settings);
        assert!(said.contains(words), "{said}");
    }
}
