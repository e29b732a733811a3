//! The prober `redis-ping`: whether a Redis answers PING, and whether it has the role in replication that the pool is for.
//!
//! It speaks RESP2, which every version takes. Commands are sent one at a time: a refused password must not be followed by more.

mod resp;

use serde::Deserialize;
use tidegate_sdk::prelude::*;

use resp::{answer, command};

/// An answer to INFO is some hundred bytes.
const MOST_INFO: usize = 64 << 10;

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Settings {
    user: Option<String>,
    password: Option<String>,
    role: Option<Role>,
}

#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Role {
    Primary,
    Replica,
}

struct RedisPing {
    /// AUTH and what it takes.
    login: Option<Vec<String>>,
    role: Option<Role>,
}

impl Plugin for RedisPing {
    type Settings = Settings;

    fn new(settings: Settings, _: &Context) -> Result<Self, String> {
        let password = settings.password.map(|text| {
            // A file's last line end is no part of a password.
            text.trim_end_matches(['\r', '\n']).to_owned()
        });
        if password.as_ref().is_some_and(String::is_empty) {
            return Err("key `password`: it is empty; leave it out where there is none".to_owned());
        }
        let login = match (settings.user, password) {
            (None, None) => None,
            (None, Some(password)) => Some(vec!["AUTH".to_owned(), password]),
            (Some(user), Some(password)) => Some(vec!["AUTH".to_owned(), user, password]),
            (Some(_), None) => {
                return Err("key `user`: a user needs a `password`".to_owned());
            }
        };
        Ok(RedisPing {
            login,
            role: settings.role,
        })
    }
}

impl Prober for RedisPing {
    fn probe(&self, _: &Target, stream: &mut ProbeStream) -> Result<Standing, String> {
        if let Some(login) = &self.login {
            let words: Vec<&str> = login.iter().map(String::as_str).collect();
            stream.send(&command(&words))?;
            answer(stream, 512)?;
        }
        stream.send(&command(&["PING"]))?;
        let pong = answer(stream, 512)?;
        if pong != b"PONG" {
            return Err("it answers PING with something else".to_owned());
        }
        let Some(wanted) = self.role else {
            return Ok(Standing::up("PONG"));
        };
        stream.send(&command(&["INFO", "replication"]))?;
        let info = answer(stream, MOST_INFO)?;
        fits(wanted, &String::from_utf8_lossy(&info))
    }
}

/// Redis says master and slave.
fn fits(wanted: Role, info: &str) -> Result<Standing, String> {
    let field = |name: &str| {
        let mut lines = info.lines().filter_map(|line| line.split_once(':'));
        lines.find(|(key, _)| *key == name).map(|(_, value)| value)
    };
    match (wanted, field("role")) {
        (Role::Primary, Some("master")) => Ok(Standing::up("primary")),
        (Role::Primary, Some("slave")) => Err("it is a replica".to_owned()),
        (Role::Replica, Some("master")) => Err("it is a primary".to_owned()),
        (Role::Replica, Some("slave")) => match field("master_link_status") {
            Some("up") => Ok(Standing::up("replica")),
            _ => Err("it is a replica that has lost its primary".to_owned()),
        },
        _ => Err("it does not tell its role".to_owned()),
    }
}

export!(RedisPing: Prober);

#[cfg(test)]
mod tests {
    use tidegate_sdk::Standing;
    use tidegate_sdk::test::{FakePeer, Harness, Value, json};

    use super::RedisPing;

    const PING: &str = "*1\r\n$4\r\nPING\r\n";
    const INFO: &str = "*2\r\n$4\r\nINFO\r\n$11\r\nreplication\r\n";

    fn probe(settings: Value, peer: FakePeer) -> Result<Standing, String> {
        Harness::<RedisPing>::new(settings)
            .unwrap()
            .probe("cache", "one", peer)
    }

    fn down(settings: Value, peer: FakePeer) -> String {
        probe(settings, peer).unwrap_err()
    }

    fn bulk(text: &str) -> String {
        format!("${}\r\n{text}\r\n", text.len())
    }

    #[test]
    fn pong_is_up() {
        let peer = FakePeer::silent().answering(PING, "+PONG\r\n");
        assert_eq!(probe(json!({}), peer.clone()), Ok(Standing::up("PONG")));
        let peer = peer.in_pieces_of(1);
        assert_eq!(probe(json!({}), peer), Ok(Standing::up("PONG")));
    }

    #[test]
    fn what_is_no_pong_is_down_and_says_why() {
        let answered = |answer: &str| down(json!({}), FakePeer::silent().answering(PING, answer));
        assert_eq!(
            answered("-LOADING Redis is loading the dataset in memory\r\n"),
            "LOADING Redis is loading the dataset in memory"
        );
        assert_eq!(answered("+PING\r\n"), "it answers PING with something else");
        assert_eq!(
            answered("HTTP/1.1 400 Bad Request\r\n"),
            "it does not speak Redis's protocol"
        );
        assert_eq!(answered(""), "closed without an answer");
        assert_eq!(answered("+PO"), "closed in the middle of an answer");
        let breaks = FakePeer::silent().answering(PING, "").breaking();
        assert_eq!(down(json!({}), breaks), "Connection reset by peer");
        for hostile in ["$99999999\r\n", "$-5\r\n", "$x\r\n", "$1\r\nabc"] {
            assert!(!answered(hostile).is_empty());
        }
    }

    #[test]
    fn it_logs_in_where_it_must() {
        let peer = |answer: &str| {
            FakePeer::silent()
                .answering("*2\r\n$4\r\nAUTH\r\n$2\r\npw\r\n", answer)
                .answering(PING, "+PONG\r\n")
        };
        let settings = || json!({ "password": "pw\n" });
        assert_eq!(probe(settings(), peer("+OK\r\n")), Ok(Standing::up("PONG")));
        let wrong = "-WRONGPASS invalid username-password pair or user is disabled.\r\n";
        assert!(down(settings(), peer(wrong)).starts_with("WRONGPASS"));
        let named = FakePeer::silent()
            .answering("*3\r\n$4\r\nAUTH\r\n$5\r\nprobe\r\n$2\r\npw\r\n", "+OK\r\n")
            .answering(PING, "+PONG\r\n");
        let settings = json!({ "user": "probe", "password": "pw" });
        assert_eq!(probe(settings, named), Ok(Standing::up("PONG")));
    }

    #[test]
    fn the_role_must_be_the_wanted_one() {
        let peer = |info: &str| {
            FakePeer::silent()
                .answering(PING, "+PONG\r\n")
                .answering(INFO, bulk(info))
        };
        let primary = "# Replication\r\nrole:master\r\nconnected_slaves:1\r\n";
        let replica = "# Replication\r\nrole:slave\r\nmaster_link_status:up\r\n";
        let alone = "# Replication\r\nrole:slave\r\nmaster_link_status:down\r\n";
        let wants = |role: &str| json!({ "role": role });
        assert_eq!(
            probe(wants("primary"), peer(primary)),
            Ok(Standing::up("primary"))
        );
        assert_eq!(
            probe(wants("replica"), peer(replica)),
            Ok(Standing::up("replica"))
        );
        assert_eq!(down(wants("primary"), peer(replica)), "it is a replica");
        assert_eq!(down(wants("replica"), peer(primary)), "it is a primary");
        assert_eq!(
            down(wants("replica"), peer(alone)),
            "it is a replica that has lost its primary"
        );
        assert_eq!(
            down(wants("primary"), peer("loading:0\r\n")),
            "it does not tell its role"
        );
    }

    #[test]
    fn settings_that_mean_nothing_are_refused() {
        for (settings, words) in [
            (json!({ "password": "\n" }), "key `password`: it is empty"),
            (json!({ "user": "a" }), "key `user`: a user needs"),
            (json!({ "role": "master" }), "key `role`: unknown variant"),
            (json!({ "db": 1 }), "unknown field `db`"),
        ] {
            let refused = Harness::<RedisPing>::new(settings).err().unwrap();
            assert!(refused.contains(words), "{refused}");
        }
    }
}
