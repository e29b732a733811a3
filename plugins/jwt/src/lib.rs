//! Lets in who brings a JSON Web Token that one of its keys has signed (RFC 7519, RFC 6750). See README.md.
//!
//! A key decides by what algorithms it may have signed; a token only names one of these. So no token can make an RSA key
//! pass for an HMAC secret, or do without a signature (RFC 8725, 2.1 and 3.1). The signature is checked by the host.

mod claims;
mod fetched;
mod jwk;
mod keys;
mod settings;
mod token;

use serde_json::{Map, Value};
use tidegate_sdk::prelude::*;

use claims::Rules;
use fetched::{Due, Fetched};
use keys::Key;
use settings::Settings;
use token::Token;

pub struct Jwt {
    keys: Keys,
    rules: Rules,
    from: Input,
    optional: bool,
    pass_on: bool,
    realm: String,
    /// Names of notes and headers, and the claims that they carry.
    notes: Vec<(String, String)>,
    headers: Vec<(String, String)>,
}

enum Keys {
    Given(Vec<Key>),
    Fetched(Fetched),
}

/// Why a token is refused, in the words of RFC 6750, 3.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Not valid, and why.
    Invalid(&'static str),
    /// Valid, and not enough.
    Insufficient(&'static str),
    /// There are no keys to check it with.
    Undecided,
}

impl Plugin for Jwt {
    type Settings = Settings;

    fn new(settings: Settings, context: &Context) -> Result<Self, String> {
        let keys = match settings.fetched(context)? {
            Some(fetched) => Keys::Fetched(fetched),
            None => Keys::Given(settings.keys()?),
        };
        Ok(Jwt {
            keys,
            from: settings.from()?,
            rules: settings.rules()?,
            realm: settings.realm()?,
            notes: settings.notes()?,
            headers: settings.headers()?,
            optional: settings.optional,
            pass_on: settings.pass_on,
        })
    }

    fn interest(&self) -> Interest {
        Interest::none().request(self.from.clone())
    }
}

impl FetchFilter for Jwt {
    fn request(&self, r: &Request) -> Step {
        let Some(text) = self.presented(r) else {
            return match self.optional {
                true => self.nobody().into(),
                false => self.refuse(None).into(),
            };
        };
        // What is no token makes nobody fetch keys, and is not kept until they come.
        let token = match Token::parse(text) {
            Ok(token) => token,
            Err(refusal) => return self.refuse(Some(refusal)).into(),
        };
        match &self.keys {
            Keys::Given(keys) => self.decide(&token, keys).into(),
            Keys::Fetched(fetched) => {
                let decide = || fetched.with(|keys| self.decide(&token, keys));
                match fetched.due(&token) {
                    Due::No => decide().into(),
                    Due::Behind(call) => call.behind(decide(), 0),
                    Due::Wait(call, number) => call.then(number),
                }
            }
        }
    }

    fn resume(&self, state: u64, answer: Answer) -> Step {
        let Keys::Fetched(fetched) = &self.keys else {
            return self.refuse(Some(Refusal::Undecided)).into();
        };
        let text = fetched.arrived(state, &answer);
        let token = text.as_deref().map(Token::parse);
        match token.unwrap_or(Err(Refusal::Undecided)) {
            Ok(token) => fetched.with(|keys| self.decide(&token, keys)).into(),
            Err(refusal) => self.refuse(Some(refusal)).into(),
        }
    }
}

impl Jwt {
    /// The token that the request brings. An `Authorization` of another scheme is none.
    fn presented<'a>(&self, r: &'a Request) -> Option<&'a str> {
        let text = r.value(&self.from)?.trim();
        let text = match &self.from {
            Input::Header(name) if name == "authorization" => {
                let (scheme, token) = text.split_once(' ')?;
                scheme
                    .eq_ignore_ascii_case("bearer")
                    .then(|| token.trim())?
            }
            _ => text,
        };
        (!text.is_empty()).then_some(text)
    }

    fn decide(&self, token: &Token, keys: &[Key]) -> Outcome {
        match self.claims(token, keys) {
            Ok(claims) => self.let_in(&claims),
            Err(refusal) => self.refuse(Some(refusal)),
        }
    }

    fn claims(&self, token: &Token, keys: &[Key]) -> Result<Map<String, Value>, Refusal> {
        if keys.is_empty() {
            return Err(Refusal::Undecided);
        }
        token.verify(keys)?;
        let claims = token.claims()?;
        self.rules.check(&claims)?;
        Ok(claims)
    }

    fn let_in(&self, claims: &Map<String, Value>) -> Outcome {
        let mut outcome = match (&self.from, self.pass_on) {
            (Input::Header(name), false) => next().remove(name),
            _ => next(),
        };
        for (name, claim) in &self.notes {
            if let Some(text) = claims::text(claims, claim) {
                outcome = outcome.note(name, text);
            }
        }
        for (name, claim) in &self.headers {
            // What no header may hold is left out, as what the client itself sent is.
            let text =
                claims::text(claims, claim).filter(|text| tidegate_sdk::field::value(text).is_ok());
            outcome = match text {
                Some(text) => outcome.set(name, text),
                None => outcome.remove(name),
            };
        }
        outcome
    }

    /// Goes on without a token; nobody passes for somebody.
    fn nobody(&self) -> Outcome {
        let remove = |outcome: Outcome, (name, _): &(String, String)| outcome.remove(name);
        self.headers.iter().fold(next(), remove)
    }

    /// None: there is no token.
    fn refuse(&self, refusal: Option<Refusal>) -> Outcome {
        let (status, error, why) = match refusal {
            None => (401, String::new(), "no token"),
            Some(Refusal::Invalid(why)) => (401, error("invalid_token", why), why),
            Some(Refusal::Insufficient(why)) => (403, error("insufficient_scope", why), why),
            Some(Refusal::Undecided) => {
                return reply(503)
                    .text("The keys that tokens are checked with can't be had at the moment.\n")
                    .set("retry-after", "1")
                    .why("token: no keys");
            }
        };
        reply(status)
            .set(
                "www-authenticate",
                format!("Bearer realm=\"{}\"{error}", self.realm),
            )
            .set("cache-control", "no-store")
            .text("A valid token is needed.\n")
            .why(format!("token: {why}"))
    }
}

fn error(code: &str, why: &str) -> String {
    format!(", error=\"{code}\", error_description=\"{why}\"")
}

export!(Jwt: FetchFilter);

#[cfg(test)]
mod tests;
