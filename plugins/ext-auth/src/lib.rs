//! Asks an authorisation service before a request goes on. See README.md.
//!
//! Who is asked and what the service is told make the key under which its answer is kept, all of it and hashed: an answer is given again
//! only to a request that would have been asked about in the very same words. Only a yes is kept, so that nobody fills the store by
//! guessing.

mod kept;
mod settings;

use std::time::Duration;

use tidegate_sdk::prelude::*;

use kept::Yes;
use settings::Settings;

pub struct ExtAuth {
    pool: PoolIndex,
    /// Its name, which stays while indexes change.
    service: String,
    path: String,
    ask: Vec<String>,
    tell_target: bool,
    pass: Vec<String>,
    timeout: Duration,
    keep: Duration,
    shared: bool,
    /// Numbers for what is asked, no two alike on any worker.
    asked: Ticket,
}

impl Plugin for ExtAuth {
    type Settings = Settings;

    fn new(settings: Settings, context: &Context) -> Result<Self, String> {
        settings.check()?;
        let pool = context
            .pool(&settings.pool)
            .map_err(|e| format!("key `pool`: {e}"))?;
        Ok(ExtAuth {
            pool,
            service: settings.pool,
            ask: settings::names("ask", &settings.ask)?,
            pass: settings::names("pass", &settings.pass)?,
            path: settings.path,
            tell_target: settings.tell_target,
            timeout: settings.timeout,
            keep: settings.keep,
            shared: settings.shared,
            asked: Ticket::open("asked"),
        })
    }

    fn interest(&self) -> Interest {
        let interest = self
            .ask
            .iter()
            .fold(Interest::none(), |i, name| i.header(name));
        match self.tell_target {
            true => interest
                .method()
                .scheme()
                .host()
                .path()
                .query()
                .client_address(),
            false => interest,
        }
    }
}

impl FetchFilter for ExtAuth {
    fn request(&self, r: &Request) -> Step {
        let call = self.call(r);
        if self.keep.is_zero() {
            return call.then(0);
        }
        let key = kept::key(&self.service, &self.pass, &call);
        if let Some(yes) = Yes::find(&key, self.shared) {
            return self.kept(&yes);
        }
        // The answer may come to another instance; what it is about travels through the store.
        let number = self.asked.next() + 1;
        kept::remember_question(number, &key);
        match self.shared && kept::remember_call(number, &call) {
            true => shared::look_up(key, number | LOOKED_UP),
            false => call.then(number),
        }
    }

    fn resume(&self, state: u64, answer: Answer) -> Step {
        if state & LOOKED_UP != 0 {
            return self.looked_up(state & !LOOKED_UP, &answer);
        }
        let question = match state {
            0 => None,
            number => kept::take_question(number),
        };
        match answer.status {
            _ if answer.error.is_some() => undecided("no answer").into(),
            200..=299 => {
                let yes = Yes::of(&answer, &self.pass);
                if let Some(key) = question {
                    yes.keep(&key, self.keep, self.shared);
                }
                self.let_through(&yes).into()
            }
            300..=499 => answer.into_reply().why("not authorised").into(),
            status => undecided(&format!("answered {status}")).into(),
        }
    }
}

impl ExtAuth {
    /// Another proxy has kept a yes, or the service is asked.
    fn looked_up(&self, number: u64, answer: &Answer) -> Step {
        let call = kept::take_call(number);
        let found = (answer.status == 200).then(|| Yes::read(&answer.body));
        if let Some(yes) = found.flatten() {
            kept::take_question(number);
            return self.kept(&yes);
        }
        let Some(headers) = call else {
            return undecided("too late").into();
        };
        let call = headers
            .into_iter()
            .fold(self.question(), |call, (name, value)| {
                call.header(name, value)
            });
        call.then(number)
    }

    fn kept(&self, yes: &Yes) -> Step {
        self.let_through(yes).note("ext-auth", "kept").into()
    }

    fn question(&self) -> Fetch {
        Fetch::pool(self.pool).get(&self.path).timeout(self.timeout)
    }

    fn call(&self, r: &Request) -> Fetch {
        let call = self.question();
        let call = self.ask.iter().fold(call, |call, name| call.copy(r, name));
        if !self.tell_target {
            return call;
        }
        let bytes = |input| r.bytes(&input).unwrap_or_default().to_vec();
        let mut target = bytes(Input::Path);
        if let Some(query) = r.bytes(&Input::Query) {
            target.push(b'?');
            target.extend_from_slice(query);
        }
        call.header("x-forwarded-method", bytes(Input::Method))
            .header("x-forwarded-proto", bytes(Input::Scheme))
            .header("x-forwarded-host", bytes(Input::Host))
            .header("x-forwarded-uri", target)
            .header("x-forwarded-for", bytes(Input::ClientAddress))
    }

    /// What the client sent under the names that the service speaks by is dropped, whether the service named them or not.
    fn let_through(&self, yes: &Yes) -> Outcome {
        let mut outcome = next();
        for name in &self.pass {
            outcome = match yes.header(name) {
                Some(value) => outcome.set(name, value),
                None => outcome.remove(name),
            };
        }
        outcome
    }
}

/// In the number of a look-up.
const LOOKED_UP: u64 = 1 << 63;

/// Nobody gets in because the service is down.
fn undecided(why: &str) -> Outcome {
    reply(503)
        .text("Whether you may use this service can't be found out at the moment.\n")
        .set("retry-after", "1")
        .why(format!("authorisation: {why}"))
}

export!(ExtAuth: FetchFilter);

#[cfg(test)]
mod tests {
    use tidegate_sdk::test::{FakeRequest, Harness, Value, json};

    use super::*;

    fn plugin(settings: Value) -> Harness<ExtAuth> {
        let setup = Harness::setup().pools(["app", "auth"]);
        setup.settings(settings).start().expect("good settings")
    }

    fn bearer(token: &str) -> FakeRequest {
        FakeRequest::new("PUT", "/a?b=1").header("authorization", token)
    }

    fn status(step: Step) -> Option<u16> {
        step.outcome().replied().map(|reply| reply.status)
    }

    #[test]
    fn the_service_is_told_what_is_asked_for() {
        let plugin = plugin(json!({ "pool": "auth", "path": "/check", "timeout": "2s" }));
        let (call, _) = plugin
            .request(&bearer("Bearer x").cookie("id", "7").header("x-other", "1"))
            .fetch();
        let expected = Fetch::pool(PoolIndex(1))
            .get("/check")
            .timeout(Duration::from_secs(2))
            .header("authorization", "Bearer x")
            .header("cookie", "id=7")
            .header("x-forwarded-method", "PUT")
            .header("x-forwarded-proto", "http")
            .header("x-forwarded-host", "example.test")
            .header("x-forwarded-uri", "/a?b=1")
            .header("x-forwarded-for", "192.0.2.1");
        assert_eq!(call, expected);
        let plugin =
            self::plugin(json!({ "pool": "auth", "ask": ["X-Key"], "tell-target": false }));
        let (call, _) = plugin.request(&bearer("x").header("x-key", "k")).fetch();
        assert_eq!(call.headers, [("x-key".to_owned(), b"k".to_vec())]);
    }

    #[test]
    fn yes_lets_through_and_says_who() {
        let plugin = plugin(json!({ "pool": "auth", "pass": ["X-User", "x-group"] }));
        let answer = Answer::new(204)
            .header_set("X-User", "ada")
            .header_set("x-secret", "s");
        let outcome = plugin.resume(0, answer).outcome();
        assert_eq!(outcome, next().set("x-user", "ada").remove("x-group"));
    }

    #[test]
    fn no_is_the_clients_answer() {
        let plugin = plugin(json!({ "pool": "auth" }));
        let no = Answer::new(401)
            .header_set("www-authenticate", "Basic")
            .with_body("who?");
        let outcome = plugin.resume(0, no).outcome();
        let reply = outcome.replied().unwrap();
        assert_eq!((reply.status, &reply.body[..]), (401, &b"who?"[..]));
        assert_eq!(reply.header("www-authenticate"), Some(&b"Basic"[..]));
        let login = Answer::new(302).header_set("location", "/login");
        assert_eq!(status(plugin.resume(0, login)), Some(302));
    }

    #[test]
    fn without_a_decision_nobody_gets_in() {
        let plugin = plugin(json!({ "pool": "auth" }));
        for error in [
            FetchError::Timeout,
            FetchError::Refused,
            FetchError::TooLarge,
            FetchError::NotGranted,
        ] {
            assert_eq!(status(plugin.resume(0, error)), Some(503), "{error:?}");
        }
        for odd in [500, 503, 599, 101] {
            assert_eq!(
                status(plugin.resume(0, Answer::new(odd))),
                Some(503),
                "{odd}"
            );
        }
    }

    #[test]
    fn a_yes_is_kept_for_the_same_words_on_every_worker() {
        let settings =
            json!({ "pool": "auth", "keep": "10s", "pass": ["x-user"], "tell-target": false });
        let plugin = plugin(settings);
        let other = plugin.another_worker();
        let (_, state) = plugin.request(&bearer("Bearer x")).fetch();
        let outcome = other
            .resume(state, Answer::new(200).header_set("x-user", "ada"))
            .outcome();
        assert_eq!(outcome, next().set("x-user", "ada"));
        let kept = next().set("x-user", "ada").note("ext-auth", "kept");
        assert_eq!(plugin.request(&bearer("Bearer x")).outcome(), kept);
        assert_eq!(other.request(&bearer("Bearer x")).outcome(), kept);
        let (_, second) = other.request(&bearer("Bearer y")).fetch();
        assert_ne!(second, state);
        let _ = other.request(&bearer("Bearer x").cookie("a", "b")).fetch();
        plugin.host().advance(Duration::from_secs(11));
        let _ = plugin.request(&bearer("Bearer x")).fetch();
    }

    #[test]
    fn another_proxys_yes_is_taken_and_without_one_the_service_is_asked() {
        let settings = json!({ "pool": "auth", "keep": "10s", "shared": true, "pass": ["x-user"] });
        let plugin = plugin(settings);
        let (key, state) = plugin.request(&bearer("Bearer x")).look_up();
        assert!(key.starts_with(b"yes/"));
        let (call, state) = plugin.resume(state, Answer::new(404)).fetch();
        assert!(
            call.headers
                .contains(&("authorization".into(), b"Bearer x".to_vec()))
        );
        let yes = next().set("x-user", "ada");
        let answer = Answer::new(200).header_set("x-user", "ada");
        assert_eq!(plugin.resume(state, answer).outcome(), yes);
        let kept = yes.note("ext-auth", "kept");
        assert_eq!(plugin.request(&bearer("Bearer x")).outcome(), kept);
        let (_, state) = plugin.request(&bearer("Bearer y")).look_up();
        let found = Answer::new(200).with_body(b"\x06\0\0\0x-user\x03\0\0\0ada".to_vec());
        assert_eq!(plugin.resume(state, found.clone()).outcome(), kept);
        assert_eq!(
            status(plugin.resume(state, Answer::new(404))),
            Some(503),
            "too late"
        );
        let (_, state) = plugin.request(&bearer("Bearer z")).look_up();
        let broken = Answer::new(200).with_body(b"\x06\0\0\0x".to_vec());
        let (_, _) = plugin.resume(state, broken).fetch();
    }

    #[test]
    fn a_no_is_asked_again() {
        let plugin = plugin(json!({ "pool": "auth", "keep": "10s" }));
        let (_, state) = plugin.request(&bearer("x")).fetch();
        assert_eq!(status(plugin.resume(state, Answer::new(403))), Some(403));
        let _ = plugin.request(&bearer("x")).fetch();
    }

    #[test]
    fn the_target_counts_where_it_is_told() {
        let plugin = plugin(json!({ "pool": "auth", "keep": "10s" }));
        let (_, state) = plugin.request(&FakeRequest::get("/public")).fetch();
        plugin.resume(state, Answer::new(200)).outcome();
        let _ = plugin.request(&FakeRequest::get("/public")).outcome();
        let _ = plugin.request(&FakeRequest::get("/admin")).fetch();
    }

    #[test]
    fn wrong_settings_are_refused_with_key_and_remedy() {
        let setup = |settings| {
            Harness::<ExtAuth>::setup()
                .pools(["app", "auth"])
                .settings(settings)
        };
        let refusal = |settings| setup(settings).start().unwrap_err();
        let cases = [
            (json!({}), "missing field `pool`"),
            (
                json!({ "pool": "oauth" }),
                "key `pool`: no pool is named `oauth`: there are `app`, `auth`",
            ),
            (
                json!({ "pool": "auth", "path": "check" }),
                "key `path`: `check` must begin with `/`",
            ),
            (json!({ "pool": "auth", "path": "/a b" }), "key `path`"),
            (
                json!({ "pool": "auth", "ask": ["x y"] }),
                "key `ask`: `x y` is no header name",
            ),
            (
                json!({ "pool": "auth", "pass": ["content-length"] }),
                "key `pass`: `content-length` belongs to the proxy",
            ),
            (
                json!({ "pool": "auth", "timeout": "0s" }),
                "key `timeout`: give 1ms to 30s",
            ),
            (
                json!({ "pool": "auth", "shared": true }),
                "key `shared`: nothing is kept",
            ),
            (
                json!({ "pool": "auth", "keep": "2h" }),
                "key `keep`: at most 1h",
            ),
            (
                json!({ "pool": "auth", "keeps": "1s" }),
                "unknown field `keeps`",
            ),
        ];
        for (settings, words) in cases {
            let said = refusal(settings);
            assert!(said.contains(words), "{said}");
        }
    }
}
