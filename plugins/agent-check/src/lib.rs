//! The prober `agent-check`: a line of text by which an agent on the server's host says how it is, in the words of HAProxy's
//! `agent-check`. What a line says stands by itself; nothing is carried over from the line before.

use serde::Deserialize;
use tidegate_sdk::prelude::*;

/// Bytes of the agent's line.
const MOST: usize = 1 << 10;

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Settings {
    send: String,
}

struct AgentCheck {
    send: Vec<u8>,
}

impl Plugin for AgentCheck {
    type Settings = Settings;

    fn new(settings: Settings, _: &Context) -> Result<Self, String> {
        match settings.send.len() {
            0..=MOST => Ok(AgentCheck {
                send: settings.send.into_bytes(),
            }),
            length => Err(format!("key `send`: {length} bytes; at most {MOST}")),
        }
    }
}

impl Prober for AgentCheck {
    fn probe(&self, _: &Target, stream: &mut ProbeStream) -> Result<Standing, String> {
        if !self.send.is_empty() {
            stream.send(&self.send)?;
        }
        understood(&line(stream)?)
    }
}

/// Up to the end of the line, or of the connection.
fn line(stream: &mut ProbeStream) -> Result<String, String> {
    let mut said = Vec::new();
    loop {
        let more = stream.receive(MOST)?;
        let end = more.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
        said.extend_from_slice(&more[..end.unwrap_or(more.len())]);
        if said.len() > MOST {
            return Err(format!("the agent's line has more than {MOST} bytes"));
        }
        if end.is_some() || more.is_empty() {
            return Ok(String::from_utf8_lossy(&said).into_owned());
        }
    }
}

/// The worst of a line's words counts.
fn understood(line: &str) -> Result<Standing, String> {
    let (words, comment) = line.split_once('#').unwrap_or((line, ""));
    let reason = match comment.trim() {
        "" => format!("the agent says: {}", words.trim()),
        comment => format!("the agent says: {comment}"),
    };
    let words = words
        .split([' ', '\t', ','])
        .filter(|word| !word.is_empty());
    let mut found = Found::default();
    for word in words {
        found.hear(&word.to_ascii_lowercase())?;
    }
    match found {
        Found { down: true, .. } => Err(reason),
        Found { maint: true, .. } => Ok(Standing::maint(reason)),
        // HAProxy's weight 0, too, means: no new users.
        Found { drain: true, .. } | Found { share: Some(0), .. } => Ok(Standing::drain(reason)),
        Found {
            share: Some(share), ..
        } => Ok(Standing::share(share, reason)),
        Found { up: true, .. } => Ok(Standing::up(reason)),
        _ => Err("the agent says nothing".to_owned()),
    }
}

#[derive(Default)]
struct Found {
    up: bool,
    drain: bool,
    maint: bool,
    down: bool,
    share: Option<u8>,
}

impl Found {
    fn hear(&mut self, word: &str) -> Result<(), String> {
        match word {
            "up" | "ready" => self.up = true,
            "drain" => self.drain = true,
            "maint" => self.maint = true,
            "down" | "stopped" | "fail" | "failed" => self.down = true,
            // For HAProxy's `maxconn` of a server, which has no counterpart here.
            _ if word.starts_with("maxconn:") => self.up = true,
            _ => match word.strip_suffix('%').and_then(|n| n.parse::<u32>().ok()) {
                // More than all of its weight it can't have.
                Some(share) => self.share = Some(share.min(100) as u8),
                None => return Err(format!("the agent says `{word}`, which is not known")),
            },
        }
        Ok(())
    }
}

export!(AgentCheck: Prober);

#[cfg(test)]
mod tests {
    use tidegate_sdk::Standing;
    use tidegate_sdk::test::{FakePeer, Harness, json};

    use super::AgentCheck;

    fn said(line: &str) -> Result<Standing, String> {
        let plugin = Harness::<AgentCheck>::new(json!({})).unwrap();
        plugin.probe("app", "one", FakePeer::saying(line).in_pieces_of(3))
    }

    #[test]
    fn haproxys_words_are_understood() {
        let says = |words: &str| format!("the agent says: {words}");
        for (line, standing) in [
            ("up\n", Standing::up(says("up"))),
            ("ready\r\nmore", Standing::up(says("ready"))),
            ("UP", Standing::up(says("UP"))),
            ("75%\n", Standing::share(75, says("75%"))),
            ("up 75%\n", Standing::share(75, says("up 75%"))),
            ("ready,up,30%\n", Standing::share(30, says("ready,up,30%"))),
            ("300%\n", Standing::share(100, says("300%"))),
            ("0%\n", Standing::drain(says("0%"))),
            ("up drain\n", Standing::drain(says("up drain"))),
            ("maint # a new disk\n", Standing::maint(says("a new disk"))),
            ("maxconn:30\n", Standing::up(says("maxconn:30"))),
        ] {
            assert_eq!(said(line), Ok(standing), "{line:?}");
        }
        for (line, why) in [
            ("down\n", says("down")),
            ("up stopped\n", says("up stopped")),
            ("fail # disk full\n", says("disk full")),
            ("drain down\n", says("drain down")),
            ("\n", "the agent says nothing".to_owned()),
            ("", "the agent says nothing".to_owned()),
            (
                "upp\n",
                "the agent says `upp`, which is not known".to_owned(),
            ),
            (
                "-5%\n",
                "the agent says `-5%`, which is not known".to_owned(),
            ),
        ] {
            assert_eq!(said(line), Err(why), "{line:?}");
        }
        assert!(
            said(&"up ".repeat(1000))
                .unwrap_err()
                .contains("1024 bytes")
        );
    }

    #[test]
    fn an_agent_may_be_asked_first() {
        let plugin = Harness::<AgentCheck>::new(json!({ "send": "app\n" })).unwrap();
        let peer = FakePeer::silent().answering("app\n", "drain\n");
        let standing = plugin.probe("app", "one", peer);
        assert_eq!(standing, Ok(Standing::drain("the agent says: drain")));
    }
}
