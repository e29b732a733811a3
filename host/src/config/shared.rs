//! Words of `[state]`: the URL of a Redis server, whose password no message quotes, and what keys in it begin with.

use percent_encoding::percent_decode_str;
use schemars::{Schema, SchemaGenerator, json_schema};

use super::checked::{Redis, RedisTls, Secret};
use super::read::{Fault, FromText, Reader, Value, Written};
use super::schema;

/// `redis://…` or `rediss://…`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct RedisUrl(pub Redis);

/// What keys begin with.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct KeyPrefix(pub String);

const PORT: u16 = 6379;

/// Redis has 16 databases unless told otherwise.
const MOST_DATABASES: u32 = 100_000;

impl Written for RedisUrl {
    fn expected() -> String {
        "a URL such as \"redis://127.0.0.1:6379\"".to_owned()
    }

    /// As a string with a grammar, but never quoted.
    fn read(value: &Value<'_>, reader: &mut Reader<'_>) -> Option<RedisUrl> {
        let text = reader.text(value, &Self::expected())?;
        match parse(&text.value) {
            Ok(redis) => Some(RedisUrl(redis)),
            Err(fault) => {
                let message = format!("the URL of Redis {}", fault.says);
                reader.problem(value.span(), message, fault.remedy);
                None
            }
        }
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        let string = json_schema!({ "type": "string", "pattern": "^rediss?://" });
        schema::text(string, generator)
    }
}

impl FromText for KeyPrefix {
    fn form() -> String {
        "1 to 64 visible ASCII characters".to_owned()
    }

    fn from_text(text: &str) -> Result<KeyPrefix, Fault> {
        let fits = (1..=64).contains(&text.len()) && text.bytes().all(|c| c.is_ascii_graphic());
        match fits {
            true => Ok(KeyPrefix(text.to_owned())),
            false => Err(Fault::new(
                "is no prefix",
                format!("write {}, such as \"tidegate:\"", Self::form()),
            )),
        }
    }

    fn text_schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^[!-~]{1,64}$" })
    }
}

/// `redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE]`.
fn parse(url: &str) -> Result<Redis, Fault> {
    let (tls, rest) = scheme(url)?;
    if rest.contains(['?', '#']) {
        return Err(Fault::new(
            "has a query or a fragment, which has no meaning here",
            "leave out what begins with `?` or `#`; in a password write %3F and %23",
        ));
    }
    let (login, place) = match rest.rsplit_once('@') {
        Some((login, place)) => (Some(login), place),
        None => (None, rest),
    };
    let (authority, database) = match place.split_once('/') {
        Some((authority, database)) => (authority, number(database)?),
        None => (place, 0),
    };
    let (host, port) = host(authority)?;
    let (user, password) = self::login(login.unwrap_or_default())?;
    Ok(Redis {
        host,
        port,
        user,
        password,
        database,
        tls: tls.then(RedisTls::default),
    })
}

fn scheme(url: &str) -> Result<(bool, &str), Fault> {
    let plain = url.strip_prefix("redis://").map(|rest| (false, rest));
    let secured = || url.strip_prefix("rediss://").map(|rest| (true, rest));
    plain.or_else(secured).ok_or_else(|| {
        Fault::new(
            "does not begin with redis:// or rediss://",
            "write redis://HOST:PORT, or rediss://HOST:PORT for TLS",
        )
    })
}

fn number(database: &str) -> Result<u32, Fault> {
    if database.is_empty() {
        return Ok(0);
    }
    let number = database.parse().ok();
    number
        .filter(|number| *number < MOST_DATABASES)
        .ok_or_else(|| {
            Fault::new(
                "has a database that is no number",
                "write its number behind the slash, such as redis://127.0.0.1:6379/1",
            )
        })
}

fn host(authority: &str) -> Result<(String, u16), Fault> {
    let no_host = || {
        Fault::new(
            "has no host, or one that is none",
            "write redis://HOST:PORT; an IPv6 address stands in brackets",
        )
    };
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => rest.split_once(']').ok_or_else(no_host)?,
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    let bracketed = authority.starts_with('[');
    let named = |c: u8| c.is_ascii_alphanumeric() || b"-._".contains(&c);
    let fits = match bracketed {
        true => host.parse::<std::net::Ipv6Addr>().is_ok(),
        false => !host.is_empty() && host.len() <= 253 && host.bytes().all(named),
    };
    if !fits {
        return Err(no_host());
    }
    let port = match port {
        "" => Some(PORT),
        port => port.strip_prefix(':').and_then(|port| port.parse().ok()),
    };
    match port.filter(|port| *port != 0) {
        Some(port) => Ok((host.to_owned(), port)),
        None => Err(Fault::new(
            "has a port that is none",
            "write a number from 1 to 65535 behind the colon",
        )),
    }
}

/// `USER:PASSWORD`; an empty user is Redis's default one.
fn login(text: &str) -> Result<(Option<String>, Option<Secret>), Fault> {
    let decoded = |text: &str| match percent_decode_str(text).decode_utf8() {
        Ok(text) => Ok((!text.is_empty()).then(|| text.into_owned())),
        Err(_) => Err(Fault::new(
            "has a user or password that is no UTF-8 once decoded",
            "percent-encode what is no letter or digit: `%` itself is %25",
        )),
    };
    let (user, password) = text.split_once(':').unwrap_or((text, ""));
    Ok((decoded(user)?, decoded(password)?.map(Secret)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        let all = parse("rediss://ada:p%40ss:w@[::1]:6380/3").ok().unwrap();
        assert_eq!(
            (all.host.as_str(), all.port, all.database),
            ("::1", 6380, 3)
        );
        assert_eq!(all.user.as_deref(), Some("ada"));
        assert_eq!(all.password, Some(Secret("p@ss:w".into())));
        assert!(all.tls.is_some());
        let short = parse("redis://:x@db.internal/").ok().unwrap();
        assert_eq!((short.host.as_str(), short.port), ("db.internal", 6379));
        assert_eq!(
            (short.user, short.password),
            (None, Some(Secret("x".into())))
        );
        assert!(short.tls.is_none());
    }

    #[test]
    fn what_is_no_url_is_refused_without_quoting_it() {
        let cases = [
            ("http://:secret@h", "redis:// or rediss://"),
            ("redis://:secret@", "has no host"),
            ("redis://:secret@a b", "has no host"),
            ("redis://:secret@[::1", "has no host"),
            ("redis://:secret@h:x", "a port that is none"),
            ("redis://:secret@h:0", "a port that is none"),
            ("redis://:secret@h/x", "no number"),
            ("redis://:secret@h?db=1", "a query"),
            ("redis://:secret%ff@h", "no UTF-8"),
        ];
        for (url, words) in cases {
            let fault = parse(url).err().unwrap();
            assert!(fault.says.contains(words), "{url}: {}", fault.says);
            let all = fault.says + &fault.remedy;
            assert!(!all.contains("secret"), "{all}");
        }
    }
}
