//! The prober `postgres-ready`: whether a PostgreSQL takes clients. It begins a session as any client does and goes no further: what
//! the server says first tells whether it is ready (PostgreSQL, "Frontend/Backend Protocol", message flow of the start-up), as
//! `pg_isready` has it. No password is needed, and no user that exists.

use serde::Deserialize;
use tidegate_sdk::prelude::*;

/// Version 3.0.
const PROTOCOL: u32 = 3 << 16;
/// Bytes of a server's message; an error has a few hundred.
const MOST_MESSAGE: usize = 16 << 10;
/// `cannot_connect_now`: it starts, recovers or shuts down.
const NOT_NOW: &str = "57P03";
/// `too_many_connections`.
const FULL: &str = "53300";

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Settings {
    user: String,
    database: Option<String>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            user: "tidegate".to_owned(),
            database: None,
        }
    }
}

struct PostgresReady {
    hello: Vec<u8>,
}

impl Plugin for PostgresReady {
    type Settings = Settings;

    fn new(settings: Settings, _: &Context) -> Result<Self, String> {
        let names = [
            ("user", Some(&settings.user)),
            ("database", settings.database.as_ref()),
        ];
        for (key, name) in names {
            let fits = |name: &String| (1..=255).contains(&name.len()) && !name.contains('\0');
            if name.is_some_and(|name| !fits(name)) {
                return Err(format!(
                    "key `{key}`: a name has 1 to 255 bytes, and no NUL"
                ));
            }
        }
        Ok(PostgresReady {
            hello: hello(&settings),
        })
    }
}

impl Prober for PostgresReady {
    fn probe(&self, _: &Target, stream: &mut ProbeStream) -> Result<Standing, String> {
        stream.send(&self.hello)?;
        let head = stream.exactly(5)?;
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        let other = || "it does not speak PostgreSQL's protocol".to_owned();
        let length = length.checked_sub(4).filter(|n| *n <= MOST_MESSAGE);
        let message = stream.exactly(length.ok_or_else(other)?)?;
        match head[0] {
            b'R' => {
                // Terminate. That it has gone meanwhile is no matter.
                let _ = stream.send(b"X\0\0\0\x04");
                Ok(Standing::up("it takes clients"))
            }
            b'E' => refused(&message),
            _ => Err(other()),
        }
    }
}

/// The first packet of a client: its length, the version, and names with values.
fn hello(settings: &Settings) -> Vec<u8> {
    let mut words = vec!["user", &settings.user];
    if let Some(database) = &settings.database {
        words.extend(["database", database]);
    }
    let mut rest = PROTOCOL.to_be_bytes().to_vec();
    for word in words {
        rest.extend_from_slice(word.as_bytes());
        rest.push(0);
    }
    rest.push(0);
    let mut packet = (rest.len() as u32 + 4).to_be_bytes().to_vec();
    packet.extend(rest);
    packet
}

/// An error says why; only some of them mean that nobody is served.
fn refused(message: &[u8]) -> Result<Standing, String> {
    let field = |kind: u8| {
        let mut fields = message.split(|byte| *byte == 0);
        let field = fields.find(|field| field.first() == Some(&kind))?;
        Some(String::from_utf8_lossy(&field[1..]).into_owned())
    };
    let code = field(b'C').unwrap_or_default();
    let words = field(b'M').unwrap_or_else(|| "it refuses without a word".to_owned());
    match code.as_str() {
        NOT_NOW | FULL => Err(format!("{words} ({code})")),
        // Classes 28 and 3D: this user or database is not known, or may not come from here; others are served.
        _ if code.starts_with("28") || code.starts_with("3D") => Ok(Standing::up(format!(
            "it serves, if not this probe: {words}"
        ))),
        _ => Err(format!("{words} ({code})")),
    }
}

export!(PostgresReady: Prober);

#[cfg(test)]
mod tests {
    use tidegate_sdk::Standing;
    use tidegate_sdk::test::{FakePeer, Harness, Value, json};

    use super::PostgresReady;

    const HELLO: &[u8] = b"\0\0\0\x17\0\x03\0\0user\0tidegate\0\0";

    fn probe(settings: Value, peer: FakePeer) -> Result<Standing, String> {
        let plugin = Harness::<PostgresReady>::new(settings).unwrap();
        plugin.probe("db", "one", peer)
    }

    fn answered(answer: &[u8]) -> Result<Standing, String> {
        let peer = FakePeer::silent().answering(HELLO, answer);
        probe(
            json!({}),
            peer.answering(b"X\0\0\0\x04", "").in_pieces_of(3),
        )
    }

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = vec![kind];
        bytes.extend((body.len() as u32 + 4).to_be_bytes());
        bytes.extend(body);
        bytes
    }

    fn error(code: &str, words: &str) -> Vec<u8> {
        let body = format!("SFATAL\0VFATAL\0C{code}\0M{words}\0\0");
        message(b'E', body.as_bytes())
    }

    #[test]
    fn who_asks_for_a_password_or_lets_in_is_ready() {
        for asks in [
            &b"\0\0\0\0"[..],
            b"\0\0\0\x03",
            b"\0\0\0\x0aSCRAM-SHA-256\0\0",
        ] {
            let said = answered(&message(b'R', asks));
            assert_eq!(said, Ok(Standing::up("it takes clients")));
        }
    }

    #[test]
    fn who_starts_or_is_full_is_not() {
        assert_eq!(
            answered(&error("57P03", "the database system is starting up")),
            Err("the database system is starting up (57P03)".to_owned())
        );
        assert!(answered(&error("53300", "sorry, too many clients already")).is_err());
        assert!(answered(&error("XX000", "internal error")).is_err());
    }

    #[test]
    fn who_refuses_the_probes_user_serves_others() {
        for (code, words) in [
            ("28000", "role \"tidegate\" does not exist"),
            ("28P01", "password authentication failed"),
            ("3D000", "database \"tidegate\" does not exist"),
        ] {
            let said = answered(&error(code, words));
            let reason = format!("it serves, if not this probe: {words}");
            assert_eq!(said, Ok(Standing::up(reason)));
        }
    }

    #[test]
    fn what_is_no_postgresql_is_down() {
        for hostile in [
            &b"HTTP/1.1 400 Bad Request\r\n"[..],
            b"R\0\0\0\0",
            b"R\xff\xff\xff\xff",
            b"Z\0\0\0\x05I",
            b"E\0\0\0\x04",
        ] {
            assert!(answered(hostile).is_err(), "{}", hostile.escape_ascii());
        }
        assert_eq!(answered(b""), Err("closed without an answer".to_owned()));
        assert_eq!(
            answered(b"R\0\0"),
            Err("closed in the middle of an answer".to_owned())
        );
    }

    #[test]
    fn user_and_database_are_told() {
        let hello = b"\0\0\0\x1c\0\x03\0\0user\0a\0database\0bc\0\0";
        let peer = FakePeer::silent().answering(hello, message(b'R', b"\0\0\0\x03"));
        let settings = json!({ "user": "a", "database": "bc" });
        let said = probe(settings, peer.answering(b"X\0\0\0\x04", ""));
        assert!(said.is_ok());
        let refused = Harness::<PostgresReady>::new(json!({ "user": "" })).err();
        assert!(refused.unwrap().contains("key `user`"));
    }
}
