//! What plugins may say. Everything that a plugin answers passes here on its way into the hook types; an answer that breaks
//! a rule is a fault like a trap, for a plugin that says one wrong thing can't be trusted with the next.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method};

use crate::base::ids::{PoolIndex, RouteIndex};
use crate::hook;
use crate::state::MOST_KEY;

use super::bindings as said;
use super::limits::Fault;

/// Header changes of one answer, and fields of a reply or fetch.
pub const MOST_FIELDS: usize = 128;
/// Names and values of these together.
pub const MOST_FIELD_BYTES: usize = 64 << 10;
/// Of a reply or fetch.
pub const MOST_BODY: usize = 1 << 20;
pub const MOST_NOTES: usize = 32;
pub const MOST_NOTE_NAME: usize = 64;
pub const MOST_NOTE_VALUE: usize = 1 << 10;
pub const MOST_REASON: usize = 256;
pub const MOST_TARGET: usize = 16 << 10;

const FETCH_TIMEOUT_MS: u32 = 5_000;
const MOST_FETCH_TIMEOUT_MS: u32 = 30_000;

/// Framing and hop-by-hop fields (RFC 9110, 7.6.1; RFC 9112, 6): the host's own.
const HOST_FIELDS: [&str; 9] = [
    "connection",
    "content-length",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
];

/// How many pools and routes there are to speak of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    pub(super) pools: usize,
    pub(super) routes: usize,
}

type Checked<T> = Result<T, Fault>;

impl Known {
    pub(super) fn choice(self, choice: said::Choice) -> Checked<hook::Choice> {
        let route = match choice.route {
            Some(route) if route as usize >= self.routes => {
                return bad(format!(
                    "it takes route {route}, but there are {}",
                    self.routes
                ));
            }
            route => route.map(RouteIndex),
        };
        let outcome = self.outcome(choice.outcome)?;
        Ok(hook::Choice { outcome, route })
    }

    pub(super) fn admission(self, said: said::Admission) -> Checked<hook::Admission> {
        Ok(match said {
            said::Admission::Accept => hook::Admission::Accept,
            said::Admission::Refuse => hook::Admission::Refuse,
            said::Admission::Pool(pool) => hook::Admission::Pool(self.pool(pool)?),
        })
    }

    pub(super) fn step(self, step: said::Step) -> Checked<hook::Step> {
        match step {
            said::Step::Done(outcome) => self.outcome(outcome).map(hook::Step::Done),
            said::Step::Fetch((fetch, state)) => self
                .fetch(fetch)
                .map(|fetch| hook::Step::Fetch(Box::new(fetch), state)),
            said::Step::DoneAndFetch((outcome, fetch, state)) => {
                let (outcome, fetch) = (self.outcome(outcome)?, self.fetch(fetch)?);
                Ok(hook::Step::DoneAndFetch(outcome, Box::new(fetch), state))
            }
            said::Step::LookUp((key, _)) if key.len() > MOST_KEY => {
                bad(format!("it looks up a key of {} bytes", key.len()))
            }
            said::Step::LookUp((key, state)) => Ok(hook::Step::LookUp(key, state)),
        }
    }

    fn outcome(self, outcome: said::Outcome) -> Checked<hook::Outcome> {
        let decision = match outcome.decision {
            said::Decision::Next => hook::Decision::Next,
            said::Decision::Pool(pool) => hook::Decision::Pool(self.pool(pool)?),
            said::Decision::Reply(r) => hook::Decision::Reply(Box::new(reply(r)?)),
        };
        Ok(hook::Outcome {
            decision,
            edits: edits(outcome.edits)?,
            path: outcome.path.map(target).transpose()?,
            notes: notes(outcome.notes)?,
            reason: outcome.reason.map(|reason| plain(reason, MOST_REASON)),
        })
    }

    fn fetch(self, fetch: said::Fetch) -> Checked<hook::Fetch> {
        body(&fetch.body)?;
        let method = match Method::from_bytes(fetch.method.as_bytes()) {
            Ok(method) if method != Method::CONNECT => method,
            _ => return bad(format!("it fetches with method {:?}", fetch.method)),
        };
        let timeout_ms = match fetch.timeout_ms {
            0 => FETCH_TIMEOUT_MS,
            ms if ms <= MOST_FETCH_TIMEOUT_MS => ms,
            ms => return bad(format!("it fetches with a timeout of {ms} ms")),
        };
        Ok(hook::Fetch {
            pool: self.pool(fetch.pool)?,
            method,
            path: target(fetch.path)?,
            headers: fields(fetch.headers)?,
            body: fetch.body,
            timeout: Duration::from_millis(timeout_ms.into()),
        })
    }

    fn pool(self, pool: u32) -> Checked<PoolIndex> {
        if pool as usize >= self.pools {
            return bad(format!(
                "it takes pool {pool}, but there are {}",
                self.pools
            ));
        }
        Ok(PoolIndex(pool))
    }
}

pub(super) fn response(outcome: said::ResponseOutcome) -> Checked<hook::ResponseOutcome> {
    Ok(hook::ResponseOutcome {
        edits: edits(outcome.edits)?,
        notes: notes(outcome.notes)?,
    })
}

pub(super) fn finding(finding: said::Finding) -> Checked<hook::Finding> {
    Ok(hook::Finding {
        affinity: match finding.affinity {
            said::Affinity::None => hook::Affinity::None,
            said::Affinity::Server(name) => hook::Affinity::Server(name),
            said::Affinity::Key(key) => hook::Affinity::Key(key),
        },
        edits: edits(finding.edits)?,
        notes: notes(finding.notes)?,
        reason: finding.reason.map(|reason| plain(reason, MOST_REASON)),
    })
}

pub(super) fn binding(binding: said::Binding) -> Checked<hook::Binding> {
    let remember = binding.remember.map(|memory| {
        let ttl = Duration::from_millis(memory.ttl_ms.max(1).into());
        (memory.key, ttl)
    });
    Ok(hook::Binding {
        edits: edits(binding.edits)?,
        remember,
    })
}

pub(super) fn judgement(verdict: said::Verdict) -> Checked<hook::Judgement> {
    Ok(match verdict {
        said::Verdict::AsUsual => hook::Judgement::AsUsual,
        said::Verdict::Up(share @ 1..=100) => hook::Judgement::Up(share.into()),
        said::Verdict::Up(share) => {
            return bad(format!("it gives a server {share} % of its weight"));
        }
        said::Verdict::Drain => hook::Judgement::Drain,
        said::Verdict::Maint => hook::Judgement::Maint,
        said::Verdict::Down(why) => hook::Judgement::Down(plain(why, MOST_REASON)),
    })
}

pub(super) fn probed(finding: said::Probed) -> Checked<hook::Probed> {
    let reason = plain(finding.reason, MOST_REASON);
    Ok(hook::Probed {
        judgement: match finding.standing {
            said::Standing::Up(share @ 1..=100) => hook::Judgement::Up(share.into()),
            said::Standing::Up(share) => {
                return bad(format!("it gives a server {share} % of its weight"));
            }
            said::Standing::Drain => hook::Judgement::Drain,
            said::Standing::Maint => hook::Judgement::Maint,
            said::Standing::Down => hook::Judgement::Down(reason.clone()),
        },
        reason,
    })
}

fn reply(reply: said::Reply) -> Checked<hook::Reply> {
    if !(200..=599).contains(&reply.status) {
        return bad(format!("it replies with status {}", reply.status));
    }
    body(&reply.body)?;
    Ok(hook::Reply {
        status: reply.status,
        headers: fields(reply.headers)?,
        body: reply.body,
    })
}

fn edits(edits: Vec<said::Edit>) -> Checked<Vec<hook::Edit>> {
    let sizes = edits.iter().map(|edit| match edit {
        said::Edit::Set((name, value))
        | said::Edit::Append((name, value))
        | said::Edit::SetCookie((name, value)) => name.len() + value.len(),
        said::Edit::Remove(name) => name.len(),
    });
    bounded(edits.len(), sizes.sum())?;
    edits
        .into_iter()
        .map(|edit| {
            Ok(match edit {
                said::Edit::Set((n, v)) => hook::Edit::Set(name(&n)?, value(&n, v)?),
                said::Edit::Append((n, v)) => hook::Edit::Append(name(&n)?, value(&n, v)?),
                said::Edit::Remove(n) => hook::Edit::Remove(name(&n)?),
                said::Edit::SetCookie((n, v)) => {
                    let cookie = cookie(n)?;
                    let whole = [cookie.as_bytes(), b"=", &v].concat();
                    hook::Edit::SetCookie(cookie, value("set-cookie", whole)?)
                }
            })
        })
        .collect()
}

fn fields(fields: Vec<(String, Vec<u8>)>) -> Checked<Vec<(HeaderName, HeaderValue)>> {
    let size = fields.iter().map(|(name, value)| name.len() + value.len());
    bounded(fields.len(), size.sum())?;
    fields
        .into_iter()
        .map(|(n, v)| Ok((name(&n)?, value(&n, v)?)))
        .collect()
}

fn bounded(count: usize, bytes: usize) -> Checked<()> {
    if count > MOST_FIELDS || bytes > MOST_FIELD_BYTES {
        return bad(format!(
            "it changes or makes {count} header fields of {bytes} bytes; {MOST_FIELDS} of {MOST_FIELD_BYTES} bytes may be"
        ));
    }
    Ok(())
}

fn name(name: &str) -> Checked<HeaderName> {
    let Ok(header) = HeaderName::from_bytes(name.as_bytes()) else {
        return bad(format!("{:?} is no header name", shown(name)));
    };
    if HOST_FIELDS.contains(&header.as_str()) {
        return bad(format!("header `{header}` is the proxy's own"));
    }
    Ok(header)
}

/// A cookie's name is a token (RFC 6265, 4.1.1).
fn cookie(name: String) -> Checked<String> {
    match HeaderName::from_bytes(name.as_bytes()) {
        Ok(_) => Ok(name),
        Err(_) => bad(format!("{:?} is no cookie's name", shown(&name))),
    }
}

/// Without CR, LF, NUL and other control characters but tab.
fn value(name: &str, value: Vec<u8>) -> Checked<HeaderValue> {
    HeaderValue::from_maybe_shared(Bytes::from(value)).or_else(|_| {
        bad(format!(
            "its value for header `{}` holds control characters",
            shown(name)
        ))
    })
}

/// A path, with a query or without: what a request line may hold (RFC 9112, 3.2.1). What is not ASCII is percent-encoded:
/// clients send it as it is, and it must not be a client's choice whether a plugin's answer is a bad one.
fn target(path: String) -> Checked<String> {
    let fits = |b: u8| b.is_ascii_graphic() && b != b'#' || !b.is_ascii();
    if !path.starts_with('/') || path.len() > MOST_TARGET || !path.bytes().all(fits) {
        return bad(format!(
            "{:?} is no path: it begins with \"/\", and holds no spaces, control characters or \"#\"",
            shown(&path)
        ));
    }
    if path.is_ascii() {
        return Ok(path);
    }
    let encoded = percent_encoding::percent_encode(path.as_bytes(), percent_encoding::CONTROLS);
    Ok(encoded.to_string())
}

fn body(body: &[u8]) -> Checked<()> {
    if body.len() > MOST_BODY {
        return bad(format!("its body has {} bytes; 1 MiB may be", body.len()));
    }
    Ok(())
}

fn notes(notes: Vec<said::Note>) -> Checked<Vec<hook::Note>> {
    if notes.len() > MOST_NOTES {
        return bad(format!(
            "it sets {} notes; {MOST_NOTES} may be",
            notes.len()
        ));
    }
    notes
        .into_iter()
        .map(|note| {
            let printable = note.name.bytes().all(|b| b.is_ascii_graphic());
            if !(1..=MOST_NOTE_NAME).contains(&note.name.len()) || !printable {
                return bad(format!(
                    "{:?} is no name of a note: 1 to {MOST_NOTE_NAME} printable characters",
                    shown(&note.name)
                ));
            }
            let value = plain(note.value, MOST_NOTE_VALUE);
            Ok(hook::Note {
                name: note.name,
                value,
            })
        })
        .collect()
}

/// A text for the log: its first bytes, control characters as spaces. Often it is what a client sent, which must not make a
/// good answer a bad one.
fn plain(mut text: String, most: usize) -> String {
    if text.len() > most {
        text.truncate(text.floor_char_boundary(most));
    }
    if text.chars().any(char::is_control) {
        return text
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
    }
    text
}

/// The beginning of what a plugin said, for a message.
fn shown(text: &str) -> &str {
    &text[..text.floor_char_boundary(60)]
}

fn bad<T>(words: String) -> Checked<T> {
    Err(Fault::bad_answer(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: Known = Known {
        pools: 2,
        routes: 1,
    };

    fn outcome() -> said::Outcome {
        said::Outcome {
            decision: said::Decision::Next,
            edits: Vec::new(),
            path: None,
            notes: Vec::new(),
            reason: None,
        }
    }

    fn words(result: Checked<impl std::fmt::Debug>) -> String {
        result.unwrap_err().detail
    }

    #[test]
    fn indexes_must_exist() {
        let pool = |n| said::Outcome {
            decision: said::Decision::Pool(n),
            ..outcome()
        };
        assert!(KNOWN.outcome(pool(1)).is_ok());
        assert!(words(KNOWN.outcome(pool(2))).contains("pool 2"));
        let choice = |route| said::Choice {
            outcome: outcome(),
            route,
        };
        assert!(KNOWN.choice(choice(Some(0))).is_ok());
        assert!(words(KNOWN.choice(choice(Some(1)))).contains("route 1"));
    }

    #[test]
    fn headers_cannot_be_forged() {
        let set = |name: &str, value: &[u8]| {
            edits(vec![said::Edit::Set((name.to_owned(), value.to_vec()))])
        };
        assert!(set("X-Tenant", b"a b\t\xff").is_ok());
        for value in [&b"a\r\nx: y"[..], b"a\nb", b"a\0b", b"\r"] {
            assert!(words(set("x", value)).contains("control"), "{value:?}");
        }
        for name in ["", "a b", "a:b", "a\r\nb", ":path", "ü"] {
            assert!(words(set(name, b"")).contains("no header name"), "{name:?}");
        }
        for name in ["Connection", "Content-Length", "transfer-encoding", "TE"] {
            assert!(words(set(name, b"")).contains("own"), "{name:?}");
        }
        assert!(edits(vec![said::Edit::Remove("upgrade".into())]).is_err());
        let many = vec![said::Edit::Remove("x".into()); MOST_FIELDS + 1];
        assert!(edits(many).is_err());
        assert!(set("x", &[b'a'; MOST_FIELD_BYTES]).is_err());
    }

    #[test]
    fn replies_are_final_and_bounded() {
        let of = |status, size| {
            reply(said::Reply {
                status,
                headers: Vec::new(),
                body: vec![0; size],
            })
        };
        assert!(of(200, MOST_BODY).is_ok() && of(599, 0).is_ok());
        for status in [0, 101, 199, 600, u16::MAX] {
            assert!(of(status, 0).is_err(), "{status}");
        }
        assert!(of(200, MOST_BODY + 1).is_err());
    }

    #[test]
    fn a_path_is_a_path() {
        let of = |path: &str| target(path.to_owned());
        for good in ["/", "/a/b%20c?x=1&y", "//x"] {
            assert_eq!(of(good).unwrap(), good);
        }
        assert_eq!(of("/ü?ö=1").unwrap(), "/%C3%BC?%C3%B6=1");
        for wrong in ["", "a", "/a b", "/a\r\n", "/a#b", "http://x/", "/\0"] {
            assert!(of(wrong).is_err(), "{wrong:?}");
        }
        assert!(of(&format!("/{}", "a".repeat(MOST_TARGET))).is_err());
    }

    #[test]
    fn notes_and_reasons_are_bounded() {
        let note = |name: &str, value: &str| {
            notes(vec![said::Note {
                name: name.into(),
                value: value.into(),
            }])
        };
        assert_eq!(note("user", "a\nb").unwrap()[0].value, "a b");
        let long = format!("{}ü", "x".repeat(MOST_NOTE_VALUE - 1));
        assert_eq!(
            note("a", &long).unwrap()[0].value.len(),
            MOST_NOTE_VALUE - 1
        );
        assert!(note("", "").is_err() && note("a b", "").is_err());
        let one = said::Note {
            name: "a".into(),
            value: String::new(),
        };
        assert!(notes(vec![one; MOST_NOTES + 1]).is_err());
        assert_eq!(plain("x".repeat(9_000), MOST_REASON).len(), MOST_REASON);
    }

    #[test]
    fn a_fetch_is_checked() {
        let fetch = said::Fetch {
            pool: 1,
            method: "GET".into(),
            path: "/check".into(),
            headers: vec![("host".into(), b"auth".to_vec())],
            body: Vec::new(),
            timeout_ms: 0,
        };
        let good = KNOWN.fetch(fetch.clone()).unwrap();
        assert_eq!(good.timeout, Duration::from_secs(5));
        for wrong in [
            said::Fetch {
                pool: 2,
                ..fetch.clone()
            },
            said::Fetch {
                method: "CONNECT".into(),
                ..fetch.clone()
            },
            said::Fetch {
                method: "G T".into(),
                ..fetch.clone()
            },
            said::Fetch {
                path: "check".into(),
                ..fetch.clone()
            },
            said::Fetch {
                timeout_ms: 30_001,
                ..fetch.clone()
            },
            said::Fetch {
                body: vec![0; MOST_BODY + 1],
                ..fetch.clone()
            },
        ] {
            assert!(KNOWN.fetch(wrong.clone()).is_err(), "{wrong:?}");
        }
    }
}
