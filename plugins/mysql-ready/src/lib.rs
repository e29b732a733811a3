//! The prober `mysql-ready`: whether a MySQL or MariaDB takes clients. Such a server speaks first, with a greeting or an error.
//!
//! A server counts connections that end in the midst of a handshake and bars their host after many (`max_connect_errors`). With
//! `user` the handshake is gone through, which resets that count: whether the server knows the user or not.

mod packet;

use serde::Deserialize;
use tidegate_sdk::prelude::*;

use packet::{Packet, greeting, login, refusal};

/// `ER_ACCESS_DENIED_ERROR`, and the same without a password: the server is well, and has looked the user up.
const DENIED: [u16; 2] = [1045, 1698];
/// What a server may ask more of us before it decides.
const MOST_ROUNDS: usize = 3;

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Settings {
    user: Option<String>,
}

struct MysqlReady {
    user: Option<String>,
}

impl Plugin for MysqlReady {
    type Settings = Settings;

    fn new(settings: Settings, _: &Context) -> Result<Self, String> {
        let fits = |user: &String| (1..=80).contains(&user.len()) && !user.contains('\0');
        match settings.user.as_ref().is_none_or(fits) {
            true => Ok(MysqlReady {
                user: settings.user,
            }),
            false => Err("key `user`: a name has 1 to 80 bytes, and no NUL".to_owned()),
        }
    }
}

impl Prober for MysqlReady {
    fn probe(&self, _: &Target, stream: &mut ProbeStream) -> Result<Standing, String> {
        let first = Packet::receive(stream)?;
        let version = greeting(&first.body)?;
        if let Some(user) = &self.user {
            log_in(stream, user)?;
        }
        Ok(Standing::up(format!("it takes clients: {version}")))
    }
}

/// With no password: whether the server lets us in doesn't matter, only that it decides.
fn log_in(stream: &mut ProbeStream, user: &str) -> Result<(), String> {
    login(user).send(stream)?;
    for _ in 0..MOST_ROUNDS {
        let said = Packet::receive(stream)?;
        match said.body.first() {
            Some(0x00) => {
                // COM_QUIT. That it has gone meanwhile is no matter.
                let _ = Packet::new(0, vec![1]).send(stream);
                return Ok(());
            }
            Some(0xff) => {
                let (code, words) = refusal(&said.body);
                return match DENIED.contains(&code) {
                    true => Ok(()),
                    false => Err(words),
                };
            }
            // It wants another proof, and gets an empty one.
            Some(0xfe) => Packet::new(said.number.wrapping_add(1), Vec::new()).send(stream)?,
            _ => {}
        }
    }
    Err("it does not come to a decision".to_owned())
}

export!(MysqlReady: Prober);

#[cfg(test)]
mod tests {
    use tidegate_sdk::Standing;
    use tidegate_sdk::test::{FakePeer, Harness, Value, json};

    use super::MysqlReady;

    const GREETING: &[u8] = b"\x0a8.0.36\0\x08\0\0\0abcdefgh\0\xff\xff";
    const LOGIN: &[u8] = b"\x3d\0\0\x01\x01\x82\x08\0\0\0\0\x01\x2d\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0probe\0\0mysql_native_password\0";

    fn probe(settings: Value, peer: FakePeer) -> Result<Standing, String> {
        let plugin = Harness::<MysqlReady>::new(settings).unwrap();
        plugin.probe("db", "one", peer.in_pieces_of(5))
    }

    fn packet(number: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = (body.len() as u32).to_le_bytes()[..3].to_vec();
        bytes.push(number);
        bytes.extend(body);
        bytes
    }

    fn up() -> Result<Standing, String> {
        Ok(Standing::up("it takes clients: 8.0.36"))
    }

    #[test]
    fn a_greeting_is_up() {
        assert_eq!(
            probe(json!({}), FakePeer::saying(packet(0, GREETING))),
            up()
        );
    }

    #[test]
    fn an_error_in_its_place_is_down() {
        let error = packet(0, b"\xff\x10\x04Too many connections");
        assert_eq!(
            probe(json!({}), FakePeer::saying(error)),
            Err("Too many connections (1040)".to_owned())
        );
    }

    #[test]
    fn what_is_no_mysql_is_down() {
        let http = b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec();
        for hostile in [
            http,
            packet(0, b""),
            packet(0, b"\x0a"),
            packet(0, b"\x09old\0"),
            packet(0, b"\xff"),
            b"\xff\xff\xff\0".to_vec(),
        ] {
            assert!(probe(json!({}), FakePeer::saying(&hostile)).is_err());
        }
        let silent = probe(json!({}), FakePeer::silent());
        assert_eq!(silent, Err("closed without an answer".to_owned()));
    }

    #[test]
    fn with_a_user_the_handshake_is_gone_through() {
        let settings = || json!({ "user": "probe" });
        let after =
            |answer: Vec<u8>| FakePeer::saying(packet(0, GREETING)).answering(LOGIN, answer);
        let quit = packet(0, b"\x01");
        let lets_in = after(packet(2, b"\0\0\0\x02\0\0\0")).answering(&quit, "");
        assert_eq!(probe(settings(), lets_in), up());
        let denied = after(packet(2, b"\xff\x15\x04#28000Access denied"));
        assert_eq!(probe(settings(), denied), up());
        let full = after(packet(2, b"\xff\x10\x04#08004Too many connections"));
        assert_eq!(
            probe(settings(), full),
            Err("Too many connections (1040)".to_owned())
        );
        let switches = after(packet(2, b"\xfecaching_sha2_password\0abcdefgh\0"))
            .answering(packet(3, b""), packet(4, b"\0\0\0\x02\0\0\0"))
            .answering(&quit, "");
        assert_eq!(probe(settings(), switches), up());
    }

    #[test]
    fn a_name_that_is_none_is_refused() {
        let refused = Harness::<MysqlReady>::new(json!({ "user": "" })).err();
        assert!(refused.unwrap().contains("key `user`"));
    }
}
