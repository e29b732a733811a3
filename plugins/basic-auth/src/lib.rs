//! Asks for user and password: HTTP Basic authentication (RFC 7617). See README.md.
//!
//! Passwords are hashed with PBKDF2, which the host computes: in Wasm it would take several times as long. It is slow on purpose,
//! so what was right once is remembered, as a hash under a key that lives in this instance alone, and a user's next request
//! costs a microsecond. A user that is not known costs what a wrong password costs, where all
//! have as many iterations.

mod hash;

use std::cell::RefCell;
use std::collections::HashMap;

use serde::Deserialize;
use tidegate_sdk::prelude::*;
use tidegate_sdk::{base64, random};

use hash::Hash;

pub struct BasicAuth {
    users: HashMap<String, User>,
    /// Stands for the users that are not known.
    nobody: Hash,
    challenge: String,
    pass_on: bool,
    user_header: Option<String>,
    key: [u8; 32],
}

struct User {
    hash: Hash,
    /// Of the last right password.
    right: RefCell<Option<Vec<u8>>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Settings {
    /// Hashes by name, or a text with `name:hash` a line.
    users: Users,
    #[serde(default = "restricted")]
    realm: String,
    /// Whether the server gets the credentials too.
    #[serde(default)]
    pass_on: bool,
    /// A header that tells the server who it is.
    user_header: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(
    untagged,
    expecting = "a table of users and their hashes, or a text with `name:hash` a line, such as that of { file = \"…\" }"
)]
enum Users {
    Table(HashMap<String, String>),
    Lines(String),
}

impl Plugin for BasicAuth {
    type Settings = Settings;

    fn new(settings: Settings, _: &Context) -> Result<Self, String> {
        let users = settings.users.read()?;
        if users.is_empty() {
            return Err(
                "key `users`: names nobody, so that nobody could come in; give at least one"
                    .to_owned(),
            );
        }
        let header = |name: String| tidegate_sdk::field::name(&name);
        let user_header = settings.user_header.map(header).transpose();
        let longest = users
            .values()
            .map(|user| &user.hash)
            .max_by_key(|hash| hash.iterations);
        Ok(BasicAuth {
            nobody: Hash {
                salt: b"nobody".to_vec(),
                expected: vec![0; 32],
                iterations: longest.map_or(1, |hash| hash.iterations),
            },
            challenge: challenge(&settings.realm)?,
            pass_on: settings.pass_on,
            user_header: user_header.map_err(|e| format!("key `user-header`: {e}"))?,
            key: std::array::from_fn(|_| random() as u8),
            users,
        })
    }

    fn interest(&self) -> Interest {
        Interest::none().header("authorization")
    }
}

impl RequestFilter for BasicAuth {
    fn request(&self, r: &Request) -> Outcome {
        let Some(header) = r.header_bytes("authorization") else {
            return self.refuse("no credentials");
        };
        let Some((name, password)) = credentials(header) else {
            return self.refuse("no valid credentials");
        };
        if !self.is_right(&name, &password) {
            return self
                .refuse("wrong user or password")
                .note("user", shown(&name));
        }
        let outcome = match self.pass_on {
            true => next(),
            false => next().remove("authorization"),
        };
        let outcome = outcome.note("user", name.as_str());
        match &self.user_header {
            Some(header) => outcome.set(header, name),
            None => outcome,
        }
    }
}

impl BasicAuth {
    fn is_right(&self, name: &str, password: &[u8]) -> bool {
        let Some(user) = self.users.get(name) else {
            self.nobody.fits(password);
            return false;
        };
        let mark = crypto::hmac_sha256(&self.key, password);
        if user.right.borrow().as_ref() == Some(&mark) {
            return true;
        }
        let right = user.hash.fits(password);
        if right {
            user.right.replace(Some(mark));
        }
        right
    }

    fn refuse(&self, why: &str) -> Outcome {
        reply(401)
            .set("www-authenticate", self.challenge.as_str())
            .set("cache-control", "no-store")
            .text("User and password are needed.\n")
            .why(why)
    }
}

export!(BasicAuth: RequestFilter);

impl Users {
    fn read(self) -> Result<HashMap<String, User>, String> {
        match self {
            Users::Table(table) => table
                .into_iter()
                .map(|(name, hash)| {
                    let user =
                        user(&name, &hash).map_err(|e| format!("key `users.{name}`: {e}"))?;
                    Ok((name, user))
                })
                .collect(),
            Users::Lines(text) => {
                let mut users = HashMap::new();
                for (at, line) in text.lines().map(str::trim).enumerate() {
                    if line.is_empty() || line.starts_with('#') {
                        continue;
                    }
                    let wrong = |e: String| format!("key `users`: line {}: {e}", at + 1);
                    let (name, hash) = line
                        .split_once(':')
                        .ok_or_else(|| wrong("write `name:hash`".to_owned()))?;
                    let user = user(name, hash).map_err(wrong)?;
                    if users.insert(name.to_owned(), user).is_some() {
                        return Err(wrong(format!("`{name}` stands there twice; leave one")));
                    }
                }
                Ok(users)
            }
        }
    }
}

fn user(name: &str, hash: &str) -> Result<User, String> {
    if name.is_empty() || name.contains(':') || name.chars().any(char::is_control) {
        return Err(format!(
            "{name:?} is no user's name: it must not be empty nor hold `:` or control characters (RFC 7617, 2)"
        ));
    }
    Ok(User {
        hash: Hash::parse(hash)?,
        right: RefCell::default(),
    })
}

fn challenge(realm: &str) -> Result<String, String> {
    let fits = |b: u8| (0x20..0x7f).contains(&b) && b != b'"' && b != b'\\';
    if !realm.bytes().all(fits) {
        return Err(format!(
            "key `realm`: {realm:?} holds a quote, a backslash or what is not ASCII, which browsers show wrongly; leave it out"
        ));
    }
    Ok(format!("Basic realm=\"{realm}\", charset=\"UTF-8\""))
}

/// Name and password of the header; the password may hold anything.
fn credentials(header: &[u8]) -> Option<(String, Vec<u8>)> {
    let (scheme, rest) = header.split_at_checked(6)?;
    let rest = rest.trim_ascii();
    // More would be none of ours, and costs a hash.
    if !scheme.eq_ignore_ascii_case(b"basic ") || rest.len() > 2048 {
        return None;
    }
    let pair = base64::decode(rest)?;
    let colon = pair.iter().position(|b| *b == b':')?;
    let name = String::from_utf8(pair[..colon].to_vec()).ok()?;
    Some((name, pair[colon + 1..].to_vec()))
}

/// A name that anybody may send, for the log.
fn shown(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).take(64).collect()
}

fn restricted() -> String {
    "restricted".to_owned()
}

#[cfg(test)]
mod tests {
    use tidegate_sdk::test::{FakeRequest, Harness, Value, json};

    use super::*;

    fn ada() -> String {
        hash::tests::made("correct horse")
    }

    fn plugin(settings: Value) -> Harness<BasicAuth> {
        Harness::new(settings).unwrap()
    }

    fn with(header: &str) -> FakeRequest {
        FakeRequest::get("/").header("authorization", header)
    }

    fn basic(pair: &str) -> FakeRequest {
        with(&format!("Basic {}", base64::encode(pair.as_bytes())))
    }

    fn refused(plugin: &Harness<BasicAuth>, request: &FakeRequest) -> String {
        let outcome = plugin.request(request).outcome();
        let reply = outcome.replied().expect("refused");
        let challenge = b"Basic realm=\"Staff only\", charset=\"UTF-8\"";
        assert_eq!(reply.status, 401);
        assert_eq!(reply.header("www-authenticate"), Some(&challenge[..]));
        outcome.reason.unwrap()
    }

    #[test]
    fn the_right_password_comes_in_and_goes_no_further() {
        let plugin = plugin(json!({ "users": { "ada": ada() }, "user-header": "X-User" }));
        let expected = next()
            .remove("authorization")
            .note("user", "ada")
            .set("x-user", "ada");
        for _ in 0..2 {
            assert_eq!(
                plugin.request(&basic("ada:correct horse")).outcome(),
                expected
            );
        }
        let again = basic("ada:Correct horse");
        assert!(
            plugin.request(&again).outcome().replied().is_some(),
            "what is remembered is no pass for others"
        );
    }

    #[test]
    fn others_are_asked() {
        let plugin =
            plugin(json!({ "users": format!("# staff\nada:{}\n", ada()), "realm": "Staff only" }));
        assert_eq!(refused(&plugin, &FakeRequest::get("/")), "no credentials");
        assert_eq!(
            refused(&plugin, &basic("ada:wrong")),
            "wrong user or password"
        );
        assert_eq!(
            refused(&plugin, &basic("bob:correct horse")),
            "wrong user or password"
        );
        assert_eq!(refused(&plugin, &basic("ada:")), "wrong user or password");
        for header in [
            "Basic",
            "Basic ",
            "Basic !!!!",
            "Bearer YWRhOg==",
            "Basic YWRh",
            "\u{ff}",
        ] {
            assert_eq!(
                refused(&plugin, &with(header)),
                "no valid credentials",
                "{header}"
            );
        }
        assert_eq!(
            refused(&plugin, &with(&format!("Basic {}", "A".repeat(5000)))),
            "no valid credentials"
        );
    }

    #[test]
    fn the_scheme_has_no_case_and_a_password_may_hold_colons() {
        let hash = hash::tests::made("a:b:ü");
        let plugin = plugin(json!({ "users": { "ada": hash }, "pass-on": true }));
        let header = format!("bAsIc {}", base64::encode("ada:a:b:ü".as_bytes()));
        assert_eq!(
            plugin.request(&with(&header)).outcome(),
            next().note("user", "ada")
        );
    }

    #[test]
    fn wrong_settings_are_refused_with_key_and_remedy() {
        let refusal = |settings| Harness::<BasicAuth>::new(settings).unwrap_err();
        let salted = |iterations: &str| {
            format!(
                "pbkdf2-sha256${iterations}$c2FsdHNhbHQ=$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
            )
        };
        let cases = [
            (json!({}), "missing field `users`"),
            (json!({ "users": {} }), "key `users`: names nobody"),
            (
                json!({ "users": { "ada": "secret" } }),
                "key `users.ada`: it is no hash",
            ),
            (json!({ "users": { "ada": "$2y$05$abc" } }), "bcrypt"),
            (
                json!({ "users": { "ada": salted("100") } }),
                "key `users.ada`: 100 iterations; give 1000 to 20000",
            ),
            (
                json!({ "users": { "ada": salted("600000") } }),
                "600000 iterations; give 1000 to 20000",
            ),
            (json!({ "users": { "a:b": ada() } }), "is no user's name"),
            (
                json!({ "users": format!("ada:{}\nada:{}", ada(), ada()) }),
                "key `users`: line 2: `ada` stands there twice",
            ),
            (
                json!({ "users": "ada" }),
                "key `users`: line 1: write `name:hash`",
            ),
            (
                json!({ "users": { "ada": ada() }, "realm": "a\"b" }),
                "key `realm`",
            ),
            (
                json!({ "users": { "ada": ada() }, "user-header": "te" }),
                "key `user-header`: `te` belongs to the proxy",
            ),
            (
                json!({ "users": { "ada": ada() }, "relm": "x" }),
                "unknown field `relm`",
            ),
        ];
        for (settings, words) in cases {
            let said = refusal(settings);
            assert!(said.contains(words), "{said}");
        }
    }
}
