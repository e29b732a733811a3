//! Keys that the issuer publishes. They are in the host's store, so that all workers know them. Only where there are none at all, or
//! one is missing, some requests wait for them; else they are fetched behind a request, which goes by those that are there. What an instance
//! has read of them it keeps.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use serde::Deserialize;
use tidegate_sdk::{Answer, Context, Fetch, PoolIndex, Ticket, now, settings, store};

use crate::jwk;
use crate::keys::Key;
use crate::token::Token;

/// How soon keys are fetched again for a token that names one that isn't known: an issuer may have changed them, or somebody
/// makes names up.
const UNKNOWN: Duration = Duration::from_secs(30);

/// How long one call may take, and how soon the next comes after one that failed.
const CALL: Duration = Duration::from_secs(5);
const AGAIN: Duration = Duration::from_secs(10);

/// How long keys are good for when the issuer can't be reached.
const STALE: Duration = Duration::from_secs(24 * 3600);

/// A token that waits for the keys, and how many begin to wait within the time of a call: anybody may send one, and they must neither
/// fill the store, which is for the keys, nor come down on the issuer.
const WAITING: Duration = Duration::from_secs(30);
const MOST_WAITING: i64 = 64;

/// Whether keys are to be fetched.
pub enum Due {
    No,
    /// They are there, and old: the request goes by them, and doesn't wait for the new ones.
    Behind(Fetch),
    /// There are none, or not the one that is needed: the request waits, under that number.
    Wait(Fetch, u64),
}

pub struct Fetched {
    pool: PoolIndex,
    path: String,
    host: Option<String>,
    refresh: Duration,
    /// Of the set that `keys` are, and when it came.
    version: Cell<u64>,
    keys: RefCell<Vec<Key>>,
    waiting: Ticket,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Source {
    pool: String,
    path: String,
    host: Option<String>,
    #[serde(default = "ten_minutes", deserialize_with = "settings::duration")]
    refresh: Duration,
}

fn ten_minutes() -> Duration {
    Duration::from_secs(600)
}

impl Fetched {
    pub fn new(source: &Source, context: &Context) -> Result<Fetched, String> {
        let pool = context
            .pool(&source.pool)
            .map_err(|e| format!("key `jwks.pool`: {e}"))?;
        let fits = |b: u8| b.is_ascii_graphic() && b != b'#';
        if !source.path.starts_with('/') || !source.path.bytes().all(fits) {
            return Err(format!(
                "key `jwks.path`: `{}` is no path; it begins with `/`, and what is not printable is percent-encoded",
                source.path
            ));
        }
        if !(Duration::from_secs(10)..=Duration::from_secs(86_400)).contains(&source.refresh) {
            return Err("key `jwks.refresh`: give 10s to 24h".to_owned());
        }
        Ok(Fetched {
            pool,
            path: source.path.clone(),
            host: source.host.clone(),
            refresh: source.refresh,
            version: Cell::new(0),
            keys: RefCell::default(),
            waiting: Ticket::open("waiting"),
        })
    }

    /// Whether this request is the one to have them fetched.
    pub fn due(&self, token: &Token) -> Due {
        let Some(age) = self.read() else {
            return self.wait(token);
        };
        let behind = age >= self.refresh && self.claim();
        if behind {
            return Due::Behind(self.call());
        }
        // An issuer has new keys, or somebody makes names up: one request waits to find out.
        match age >= UNKNOWN && self.lacks(token) && self.claim() {
            true => self.wait(token),
            false => Due::No,
        }
    }

    /// The token waits in the store: the answer may come to another instance. Where it can't, it is decided by the keys that are there.
    fn wait(&self, token: &Token) -> Due {
        let number = self.waiting.next() + 1;
        let waits = store::add("waiting", 1, Some(CALL)) <= MOST_WAITING
            && store::set(waiting(number), token.text, Some(WAITING));
        match waits {
            true => Due::Wait(self.call(), number),
            false => Due::No,
        }
    }

    fn call(&self) -> Fetch {
        let call = Fetch::pool(self.pool).get(&self.path).timeout(CALL);
        let call = call.header("accept", "application/jwk-set+json, application/json");
        match &self.host {
            Some(host) => call.header("host", host.as_str()),
            None => call,
        }
    }

    /// Takes the answer; gives the token that waited for it. None: nobody knows it any more.
    pub fn arrived(&self, number: u64, answer: &Answer) -> Option<String> {
        let set = match answer.status {
            200 => jwk::set(&answer.body, false),
            status => Err(format!("the answer is {status}")),
        };
        match set {
            // An issuer without keys is an issuer whose keys could not be had.
            Ok(_) if store::set("set", &answer.body, Some(STALE)) => {
                store::set("came", millis(now()).to_le_bytes(), Some(STALE));
            }
            Ok(_) => tidegate_sdk::log::error(
                "the key set is not used: it is larger than 64 KiB, or the store is full",
            ),
            Err(why) => tidegate_sdk::log::error(format!("the keys can't be fetched: {why}")),
        }
        let token = store::get(waiting(number));
        store::delete(waiting(number));
        String::from_utf8(token?).ok()
    }

    /// Calls with the keys; with none when there are none, or they are too old.
    pub fn with<R>(&self, call: impl FnOnce(&[Key]) -> R) -> R {
        match self.read() {
            Some(_) => call(&self.keys.borrow()),
            None => call(&[]),
        }
    }

    /// Reads the set if it is another than the one read last; gives its age.
    fn read(&self) -> Option<Duration> {
        let came = store::get("came")?;
        let came = u64::from_le_bytes(came.try_into().ok()?);
        if self.version.get() != came {
            let set = store::get("set")?;
            self.keys.replace(jwk::set(&set, false).ok()?);
            self.version.set(came);
        }
        Some(Duration::from_millis(millis(now()).saturating_sub(came)))
    }

    fn lacks(&self, token: &Token) -> bool {
        let keys = self.keys.borrow();
        token.key_id().is_some() && !keys.iter().any(|key| key.may_be(token.key_id()))
    }

    /// One request at a time, and after a failure not the very next.
    fn claim(&self) -> bool {
        store::add("fetching", 1, Some(AGAIN)) == 1
    }
}

fn millis(time: Duration) -> u64 {
    time.as_millis() as u64
}

fn waiting(number: u64) -> Vec<u8> {
    [b"waiting/", &number.to_le_bytes()[..]].concat()
}
