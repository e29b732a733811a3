//! Runtime commands in HAProxy's words (its management guide, "Unix Socket commands"), several by `;`, each answer ended by an empty
//! line, so that what operators have in their fingers and scripts works as it did. A pool is HAProxy's backend, a listener its
//! frontend.

use serde_json::{Map, Value};

use super::{Proxy, stat};
use crate::config::edits::Weight;
use crate::control::{Cause, Change, Rejected};
use crate::upstream::vitals::Wanted;

/// `COMMAND` and what it does, as `help` tells it.
const KNOWN: [(&str, &str); 15] = [
    (
        "add server <pool>/<server> <address> [weight <n>] [maxconn <n>] [backup] [enabled]",
        "add a server, in maintenance unless `enabled`",
    ),
    (
        "del server <pool>/<server>",
        "take a server out of its pool; what is in flight ends as it began",
    ),
    (
        "disable server <pool>/<server>",
        "take a server out for maintenance (set server … state maint)",
    ),
    (
        "enable server <pool>/<server>",
        "use a server again (set server … state ready)",
    ),
    (
        "get weight <pool>/<server>",
        "a server's weight, and what it was before it was changed",
    ),
    ("help", "this list"),
    (
        "prompt",
        "more than one line a connection, each answer followed by a prompt",
    ),
    (
        "set server <pool>/<server> state <ready|drain|maint>",
        "use a server, send it no new users, or take it out",
    ),
    (
        "set server <pool>/<server> weight <n>[%]",
        "0 to 256, or per cent of the initial weight",
    ),
    ("set weight <pool>/<server> <n>[%]", "the same"),
    ("show info", "the process: version, uptime, connections"),
    (
        "show servers state [<pool>]",
        "each server's state, as HAProxy's state files have it",
    ),
    (
        "show stat [<iid> <type> <sid>]",
        "counters of listeners, pools and servers, as CSV; type 1, 2, 4 or a sum of them",
    ),
    ("show version", "the version"),
    ("quit", "nothing more"),
];

/// What a line of commands is answered.
pub async fn answer(proxy: &dyn Proxy, line: &str, who: &str) -> String {
    let mut out = String::new();
    for command in commands(line) {
        let words: Vec<&str> = command.split_whitespace().collect();
        if words == ["quit"] {
            break;
        }
        let answer = match one(proxy, &words, who).await {
            Ok(answer) => answer,
            Err(refusal) => refusal + "\n",
        };
        out += &answer;
        out.push('\n');
    }
    out
}

/// A `;` behind a backslash is no end.
fn commands(line: &str) -> Vec<String> {
    let mut all = vec![String::new()];
    let mut characters = line.chars();
    while let Some(c) = characters.next() {
        let last = all.last_mut().expect("there is one from the beginning");
        match c {
            '\\' => last.extend(characters.next()),
            ';' => all.push(String::new()),
            c => last.push(c),
        }
    }
    all
}

/// Its answer, each line ended; or what is wrong, without the end of the line.
async fn one(proxy: &dyn Proxy, words: &[&str], who: &str) -> Result<String, String> {
    let change = match words {
        ["show", "info", ..] => return Ok(stat::info(&proxy.status(), &proxy.metrics_text())),
        ["show", "stat", which @ ..] => {
            let status = proxy.status();
            return Ok(stat::stat(
                &status,
                &proxy.metrics_text(),
                stat::Which::parse(which),
            ));
        }
        ["show", "servers", "state", pool @ ..] => {
            return stat::servers_state(&proxy.status(), pool.first().copied());
        }
        // It is heard in `entry`, and so are commands behind it.
        ["prompt"] => return Ok(String::new()),
        // Connections end when nothing comes on them for a while, whatever is wished.
        ["set", "timeout", "cli", _] => return Ok(String::new()),
        ["show", "version"] => return Ok(format!("{}\n", env!("CARGO_PKG_VERSION"))),
        ["get", "weight", which] => return stat::weight(&proxy.status(), pair(which)?),
        ["set", "server", which, "state", state] => {
            let state = Wanted::named(state);
            let state =
                state.ok_or("'set server <srv> state' expects 'ready', 'drain' and 'maint'.")?;
            steer(which, Some(state), None)?
        }
        ["enable", "server", which] => steer(which, Some(Wanted::Ready), None)?,
        ["disable", "server", which] => steer(which, Some(Wanted::Maint), None)?,
        ["set", "server", which, "weight", weight] | ["set", "weight", which, weight] => {
            let weight = Weight::parse(weight);
            let weight =
                weight.ok_or("A weight is a number from 0 to 256, or per cent such as 50%.")?;
            steer(which, None, Some(weight))?
        }
        ["set", "server", which, ..] => {
            pair(which)?;
            return Err(
                "'set server <srv>' only supports 'state' and 'weight', each with its value."
                    .to_owned(),
            );
        }
        ["add", "server", which, address, more @ ..] => added(pair(which)?, address, more)?,
        ["del", "server", which] => {
            let (pool, server) = owned(pair(which)?);
            Change::Remove { pool, server }
        }
        [] | ["help", ..] => return Ok(help("The following commands are valid:")),
        _ => {
            return Ok(help(
                "Unknown command. Please enter one of the following commands only:",
            ));
        }
    };
    let said = match &change {
        Change::Add { .. } => "New server registered.\n",
        Change::Remove { .. } => "Server deleted.\n",
        _ => "",
    };
    match proxy.change(change, who.to_owned()).await {
        Ok(_) => Ok(said.to_owned()),
        Err(rejected) => Err(refused(&rejected)),
    }
}

fn steer(which: &str, wanted: Option<Wanted>, weight: Option<Weight>) -> Result<Change, String> {
    let (pool, server) = owned(pair(which)?);
    Ok(Change::Server {
        pool,
        server,
        wanted,
        weight,
    })
}

/// As HAProxy has it, it is in maintenance until it is enabled.
fn added((pool, name): (&str, &str), address: &str, more: &[&str]) -> Result<Change, String> {
    let mut server = Map::new();
    server.insert("name".into(), name.into());
    server.insert("address".into(), address.into());
    let mut wanted = Wanted::Maint;
    let mut words = more.iter();
    while let Some(word) = words.next() {
        match *word {
            "weight" => {
                let weight = words.next().and_then(|weight| weight.parse::<u64>().ok());
                let weight = weight.ok_or("'weight' expects a number from 0 to 256.")?;
                server.insert("weight".into(), weight.into());
            }
            "maxconn" => {
                let most = words.next().and_then(|most| most.parse::<u64>().ok());
                let most = most.ok_or("'maxconn' expects a number.")?;
                // 0 is HAProxy's word for none.
                if most > 0 {
                    server.insert("max-connections".into(), most.into());
                }
            }
            "backup" => {
                server.insert("backup".into(), Value::Bool(true));
            }
            "enabled" => wanted = Wanted::Ready,
            "disabled" => wanted = Wanted::Maint,
            // Probes are the pool's affair here.
            "check" => {}
            other => {
                return Err(format!(
                    "'add server' does not know '{}' here: it takes 'weight', 'maxconn', 'backup', 'enabled' and 'disabled'; all else is the pool's.",
                    other.escape_default()
                ));
            }
        }
    }
    Ok(Change::Add {
        pool: pool.to_owned(),
        server,
        wanted,
    })
}

fn pair(which: &str) -> Result<(&str, &str), String> {
    let pair = which.split_once('/');
    pair.ok_or_else(|| "Require 'backend/server'.".to_owned())
}

fn owned((pool, server): (&str, &str)) -> (String, String) {
    (pool.to_owned(), server.to_owned())
}

/// HAProxy's words where it has some.
fn refused(rejected: &Rejected) -> String {
    match rejected.cause {
        Cause::UnknownPool => "No such backend.".to_owned(),
        Cause::UnknownServer => "No such server.".to_owned(),
        _ => rejected.problems.join("\n"),
    }
}

fn help(heading: &str) -> String {
    let lines = KNOWN.iter();
    let lines = lines.map(|(command, does)| format!("  {command:<55} : {does}\n"));
    format!("{heading}\n{}", lines.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_holds_several_commands() {
        assert_eq!(commands("show info;show stat"), ["show info", "show stat"]);
        assert_eq!(commands(r"a\;b"), ["a;b"]);
        assert_eq!(commands(""), [""]);
    }

    #[test]
    fn a_server_is_added_in_maintenance_as_haproxy_does() {
        let add = |more: &[&str]| added(("app", "web3"), "h:1", more);
        let Ok(Change::Add {
            pool,
            server,
            wanted,
        }) = add(&["check", "weight", "5", "maxconn", "9", "backup"])
        else {
            panic!("it is a server");
        };
        assert_eq!((pool.as_str(), wanted), ("app", Wanted::Maint));
        let json = serde_json::json!({
            "name": "web3", "address": "h:1", "weight": 5, "max-connections": 9, "backup": true,
        });
        assert_eq!(Value::Object(server), json);
        assert!(matches!(
            add(&["enabled"]),
            Ok(Change::Add {
                wanted: Wanted::Ready,
                ..
            })
        ));
        assert!(add(&["weight", "x"]).is_err() && add(&["maxconn", "x"]).is_err());
    }
}
