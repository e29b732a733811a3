//! Asks an authorisation service before it lets a request through. 200 lets it through, with headers of the service's answer;
//! anything else, a timeout included, is the client's answer.

use serde::Deserialize;
use tidegate_sdk::prelude::*;

struct AskFirst {
    pool: PoolIndex,
    settings: Settings,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// The pool of the service; the config must grant it.
    pool: String,
    /// What to ask there.
    path: String,
    /// Headers of the request that the service is told.
    copy: Vec<String>,
    /// Headers of the service's answer that the server is told. What the client sent under these names is dropped.
    #[serde(default)]
    pass: Vec<String>,
}

impl Plugin for AskFirst {
    type Settings = Settings;

    fn new(settings: Settings, context: &Context) -> Result<Self, String> {
        if !settings.path.starts_with('/') {
            return Err("key `path`: must begin with `/`".into());
        }
        let pool = context
            .pool(&settings.pool)
            .map_err(|e| format!("key `pool`: {e}"))?;
        Ok(AskFirst { pool, settings })
    }

    fn interest(&self) -> Interest {
        self.settings
            .copy
            .iter()
            .fold(Interest::none(), |interest, name| interest.header(name))
    }
}

impl FetchFilter for AskFirst {
    fn request(&self, request: &Request) -> Step {
        let call = Fetch::pool(self.pool).get(&self.settings.path);
        let call = self
            .settings
            .copy
            .iter()
            .fold(call, |call, name| call.copy(request, name));
        call.then(0)
    }

    fn resume(&self, _: u64, answer: Answer) -> Step {
        if answer.status != 200 {
            return answer.into_reply().why("not authorised").into();
        }
        let pass = self.settings.pass.iter();
        pass.fold(next(), |outcome, name| outcome.copy(&answer, name))
            .into()
    }
}

export!(AskFirst: FetchFilter);

#[cfg(test)]
mod tests {
    use tidegate_sdk::test::{FakeRequest, Harness, json};

    use super::*;

    fn plugin() -> Harness<AskFirst> {
        Harness::setup()
            .pools(["app", "auth"])
            .settings(json!({ "pool": "auth", "path": "/check", "copy": ["authorization"], "pass": ["x-user"] }))
            .start()
            .expect("the settings are good")
    }

    #[test]
    fn it_asks_with_the_clients_words() {
        let (call, _) = plugin()
            .request(&FakeRequest::get("/").header("authorization", "Bearer x"))
            .fetch();
        assert_eq!(
            call,
            Fetch::pool(PoolIndex(1))
                .get("/check")
                .header("authorization", "Bearer x")
        );
    }

    #[test]
    fn yes_lets_through_and_says_who() {
        let outcome = plugin()
            .resume(0, Answer::new(200).header_set("x-user", "ada"))
            .outcome();
        assert_eq!(outcome, next().set("x-user", "ada"));
    }

    #[test]
    fn a_user_that_the_service_did_not_name_is_dropped() {
        assert_eq!(
            plugin().resume(0, Answer::new(200)).outcome(),
            next().remove("x-user")
        );
    }

    #[test]
    fn no_and_no_answer_are_the_clients() {
        for answer in [Answer::new(401), FetchError::Timeout.into()] {
            let status = answer.status;
            let outcome = plugin().resume(0, answer).outcome();
            assert_eq!(outcome.replied().map(|reply| reply.status), Some(status));
        }
    }
}
