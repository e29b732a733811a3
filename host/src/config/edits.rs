//! What was changed at run time of a configuration: servers that were added or taken away, and weights. Kept beside what the file
//! says rather than in it, so that a reload can tell which of it the file has overruled since.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value};
use toml::de::DeValue;

use super::check::pools;
use super::checked::{Config, Pool, Server};
use super::read::{Reader, Written as _};
use super::written;

/// The largest weight (HAProxy's bound too).
const MOST_WEIGHT: u32 = 256;

/// All that differs from the file.
#[derive(Clone, Debug, Default)]
pub struct Edits(Vec<Edit>);

/// Of one server. In force for as long as the file says of it what it said when it was changed.
#[derive(Clone, Debug)]
struct Edit {
    pool: String,
    server: String,
    /// What the file said; None: it knew no such server.
    written: Option<Server>,
    /// What holds instead; None: the server is gone.
    now: Option<Server>,
    /// The weight that it had before its weight was changed.
    initial_weight: u32,
}

/// A weight, as HAProxy's `set server … weight` takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// 0 to 256.
    To(u32),
    /// Per cent of what the file says, or of what the server was added with.
    Percent(u32),
}

/// Why a change can't be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unfit {
    NoPool(String),
    NoServer(String),
    /// What was given is wrong; with the remedy.
    Wrong(String),
}

impl Edits {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What the file says with these edits, and the edits that are still in force; the others have ended.
    pub fn applied(&self, written: &Arc<Config>) -> (Arc<Config>, Edits) {
        let in_force = |edit: &&Edit| {
            let pool = written.pools.iter().find(|pool| pool.name == edit.pool);
            pool.is_some_and(|pool| find(pool, &edit.server) == edit.written.as_ref())
        };
        let edits = Edits(self.0.iter().filter(in_force).cloned().collect());
        if edits.is_empty() {
            return (written.clone(), edits);
        }
        let mut config = Config::clone(written);
        for at in 0..config.pools.len() {
            if edits.edit(&mut config.pools[at]) {
                pools::weigh_by_default(&mut config, at);
            }
        }
        (Arc::new(config), edits)
    }

    /// `POOL/SERVER` of those that `later` no longer has.
    pub fn ended<'a>(&'a self, later: &'a Edits) -> impl Iterator<Item = String> + 'a {
        let ended = self.0.iter().filter(|edit| later.of(edit).is_none());
        ended.map(|edit| format!("{}/{}", edit.pool, edit.server))
    }

    /// The weight that a server had before it was changed. None: it was not.
    pub fn initial_weight(&self, pool: &str, server: &str) -> Option<u32> {
        let mut edits = self.0.iter();
        let edit = edits.find(|edit| edit.pool == pool && edit.server == server)?;
        Some(edit.initial_weight)
    }

    /// Gives a server of `config`, which these edits have made, another weight; says which.
    pub fn weigh(
        &mut self,
        config: &Config,
        (pool, server): (&str, &str),
        weight: Weight,
    ) -> Result<u32, Unfit> {
        let running = server_of(config, pool, server)?;
        let initial = self.initial_weight(pool, server);
        let initial = initial.unwrap_or(running.weight);
        let weight = weight.of(initial)?;
        let now = Server {
            weight,
            ..running.clone()
        };
        self.set(pool, Some(running), Some(now), initial);
        Ok(weight)
    }

    /// Adds a server to a pool of `config`, which these edits have made.
    pub fn add(&mut self, config: &Config, pool: &str, server: Server) -> Result<(), Unfit> {
        let known = pool_of(config, pool)?;
        if find(known, &server.name).is_some() {
            return Err(Unfit::Wrong(format!(
                "the server name \"{}\" is taken in pool \"{pool}\"; give each server of a pool a `name` of its own",
                server.name
            )));
        }
        let weight = server.weight;
        self.set(pool, None, Some(server), weight);
        Ok(())
    }

    /// Takes a server of `config`, which these edits have made, out of its pool.
    pub fn remove(&mut self, config: &Config, pool: &str, server: &str) -> Result<(), Unfit> {
        let running = server_of(config, pool, server)?;
        if pool_of(config, pool)?.servers.len() == 1 {
            return Err(Unfit::Wrong(format!(
                "{pool}/{server} is the pool's last server, and a pool without servers can answer nothing; take it out by its state, maint, or add another first"
            )));
        }
        self.set(pool, Some(running), None, running.weight);
        Ok(())
    }

    /// One of the two is there, and both have the same name.
    fn set(
        &mut self,
        pool: &str,
        before: Option<&Server>,
        now: Option<Server>,
        initial_weight: u32,
    ) {
        let Some(name) = before.or(now.as_ref()).map(|server| server.name.clone()) else {
            return;
        };
        let mut edits = self.0.iter();
        let known = edits.position(|edit| edit.pool == pool && edit.server == name);
        let written = match known {
            Some(at) => self.0.remove(at).written,
            None => before.cloned(),
        };
        // Back to what the file says.
        if now == written {
            return;
        }
        self.0.push(Edit {
            pool: pool.to_owned(),
            server: name,
            written,
            now,
            initial_weight,
        });
    }

    fn of(&self, other: &Edit) -> Option<&Edit> {
        let mut edits = self.0.iter();
        edits.find(|edit| edit.pool == other.pool && edit.server == other.server)
    }

    /// True: something of it has changed. Servers that come stand behind those of the file, in the order that they came in.
    fn edit(&self, pool: &mut Pool) -> bool {
        let edits = self.0.iter().filter(|edit| edit.pool == pool.name);
        let mut by_name: HashMap<&str, &Edit> =
            edits.map(|edit| (edit.server.as_str(), edit)).collect();
        if by_name.is_empty() {
            return false;
        }
        let servers = std::mem::take(&mut pool.servers);
        let kept =
            servers
                .into_iter()
                .filter_map(|server| match by_name.remove(server.name.as_str()) {
                    Some(edit) => edit.now.clone(),
                    None => Some(server),
                });
        pool.servers = kept.collect();
        let come = self.0.iter().filter(|edit| edit.pool == pool.name);
        let come = come.filter(|edit| by_name.contains_key(edit.server.as_str()));
        pool.servers
            .extend(come.filter_map(|edit| edit.now.clone()));
        true
    }
}

impl fmt::Display for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Weight::To(weight) => write!(f, "{weight}"),
            Weight::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

impl Weight {
    /// `50`, or `50%`.
    pub fn parse(text: &str) -> Option<Weight> {
        match text.strip_suffix('%') {
            Some(percent) => percent.parse().ok().map(Weight::Percent),
            None => text.parse().ok().map(Weight::To),
        }
    }

    fn of(self, initial: u32) -> Result<u32, Unfit> {
        match self {
            Weight::To(weight) if weight > MOST_WEIGHT => Err(Unfit::Wrong(format!(
                "the weight {weight} is out of range; write 0 to {MOST_WEIGHT}, or per cent of what the config says, such as 50%"
            ))),
            Weight::To(weight) => Ok(weight),
            Weight::Percent(percent) => {
                let weight = u64::from(initial) * u64::from(percent) / 100;
                Ok(weight.min(u64::from(MOST_WEIGHT)) as u32)
            }
        }
    }
}

/// A server as the file has it, given as JSON, held to the same. Err: all that is wrong with it, each with its remedy.
pub fn server(json: &Map<String, Value>, folder: &Path) -> Result<Server, Vec<String>> {
    let text = toml(json, 0).map_err(|problem| vec![problem])?;
    let Ok(value) = DeValue::parse(&text) else {
        return Err(vec![
            "a string has a character that no configuration can hold; take it out".to_owned(),
        ]);
    };
    let mut reader = Reader::new(folder);
    let server = written::Server::read(&value, &mut reader);
    let problems = reader.problems.into_iter();
    let problems: Vec<_> = problems
        .map(|problem| format!("{}; {}", problem.message, problem.remedy))
        .collect();
    match server {
        Some(server) if problems.is_empty() => with_address(pools::server(&server, folder)),
        _ => Err(problems),
    }
}

/// Names are looked up for the file's servers alone.
fn with_address(server: Server) -> Result<Server, Vec<String>> {
    match server.lookup() {
        None => Ok(server),
        Some(lookup) => Err(vec![format!(
            "\"{}\" is a name, and a server that is added needs an address; write IP:port, or put the name into the configuration",
            lookup.name()
        )]),
    }
}

/// `{ … }` of an object. What stands in files and variables is for who may write the file: no `{ file = … }` gets through here.
fn toml(json: &Map<String, Value>, depth: u32) -> Result<String, String> {
    let entries = json.iter().map(|(key, value)| {
        let value = match value {
            Value::String(_) | Value::Number(_) | Value::Bool(_) => value.to_string(),
            Value::Object(labels) if depth == 0 && key == "labels" => toml(labels, 1)?,
            _ => {
                return Err(format!(
                    "`{key}` is neither text, number, true nor false; write one of these"
                ));
            }
        };
        Ok(format!("{} = {value}", Value::from(key.as_str())))
    });
    let entries: Vec<_> = entries.collect::<Result<_, _>>()?;
    Ok(format!("{{ {} }}", entries.join(", ")))
}

fn find<'a>(pool: &'a Pool, server: &str) -> Option<&'a Server> {
    pool.servers.iter().find(|known| known.name == server)
}

fn pool_of<'a>(config: &'a Config, pool: &str) -> Result<&'a Pool, Unfit> {
    let mut pools = config.pools.iter();
    pools.find(|known| known.name == pool).ok_or_else(|| {
        let known: Vec<_> = config.pools.iter().map(|pool| &*pool.name).collect();
        Unfit::NoPool(format!(
            "there is no pool \"{pool}\"; there are: {}",
            known.join(", ")
        ))
    })
}

/// Whether there is such a server; or why not.
pub fn known(config: &Config, pool: &str, server: &str) -> Result<(), Unfit> {
    server_of(config, pool, server).map(drop)
}

/// The weight that a server has.
pub fn weight(config: &Config, pool: &str, server: &str) -> Option<u32> {
    server_of(config, pool, server)
        .ok()
        .map(|known| known.weight)
}

fn server_of<'a>(config: &'a Config, pool: &str, server: &str) -> Result<&'a Server, Unfit> {
    let in_pool = pool_of(config, pool)?;
    find(in_pool, server).ok_or_else(|| {
        let known = in_pool.servers.iter();
        let known: Vec<_> = known.map(|s| format!("{pool}/{}", s.name)).collect();
        Unfit::NoServer(format!(
            "there is no server {pool}/{server}; there are: {}",
            known.join(", ")
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::super::source::Source;
    use super::*;

    fn config(servers: &str) -> Arc<Config> {
        let text = format!(
            "[[listener]]\nname = \"web\"\nbind = \"127.0.0.1:80\"\npool = \"app\"\n[[pool]]\nname = \"app\"\nservers = [{servers}]\n"
        );
        let source = Source {
            path: "t.toml".into(),
            text,
        };
        let shipped = ["round-robin", "weighted-round-robin"];
        Arc::new(super::super::parse(source, &shipped).expect("it is valid"))
    }

    const TWO: &str = r#"{ name = "a", address = "h:1", weight = 10 }, { name = "b", address = "h:2", weight = 10 }"#;

    /// `NAME WEIGHT` of each.
    fn servers(config: &Config) -> Vec<String> {
        let servers = config.pools[0].servers.iter();
        servers
            .map(|s| format!("{} {}", s.name, s.weight))
            .collect()
    }

    fn given(json: Value) -> Result<Server, Vec<String>> {
        server(json.as_object().unwrap(), Path::new("/etc"))
    }

    #[test]
    fn what_was_changed_holds_until_the_file_says_otherwise() {
        let file = config(TWO);
        let mut edits = Edits::default();
        assert_eq!(edits.weigh(&file, ("app", "a"), Weight::To(5)), Ok(5));
        let new = given(serde_json::json!({ "name": "c", "address": "10.0.0.3:3" })).unwrap();
        edits.add(&file, "app", new).unwrap();
        let (running, _) = edits.applied(&file);
        edits.remove(&running, "app", "b").unwrap();
        let (running, edits) = edits.applied(&file);
        assert_eq!(servers(&running), ["a 5", "c 1"]);
        // Another address of b is another server, and a name of the file's own is its.
        let other = config(
            r#"{ name = "a", address = "h:1", weight = 10 }, { name = "b", address = "h:9" }, { name = "c", address = "h:4", weight = 7 }"#,
        );
        let (running, left) = edits.applied(&other);
        assert_eq!(servers(&running), ["a 5", "b 1", "c 7"]);
        let ended: Vec<_> = edits.ended(&left).collect();
        assert_eq!(ended, ["app/c", "app/b"]);
    }

    #[test]
    fn per_cent_count_from_what_the_file_says() {
        let file = config(TWO);
        let mut edits = Edits::default();
        for (weight, is) in [
            (Weight::To(200), 200),
            (Weight::Percent(50), 5),
            (Weight::Percent(10_000), 256),
            (Weight::Percent(0), 0),
        ] {
            let (running, _) = edits.applied(&file);
            assert_eq!(edits.weigh(&running, ("app", "a"), weight), Ok(is));
        }
        assert_eq!(edits.initial_weight("app", "a"), Some(10));
        let (running, _) = edits.applied(&file);
        edits
            .weigh(&running, ("app", "a"), Weight::Percent(100))
            .unwrap();
        assert!(edits.is_empty(), "it is as the file has it");
        assert!(matches!(
            edits.weigh(&file, ("app", "a"), Weight::To(257)),
            Err(Unfit::Wrong(_))
        ));
        assert!(matches!(
            edits.weigh(&file, ("app", "x"), Weight::To(1)),
            Err(Unfit::NoServer(_))
        ));
        assert!(matches!(
            edits.weigh(&file, ("x", "a"), Weight::To(1)),
            Err(Unfit::NoPool(_))
        ));
    }

    #[test]
    fn weights_that_differ_are_honoured_where_no_balancer_is_named() {
        let file = config(TWO);
        let mut edits = Edits::default();
        edits.weigh(&file, ("app", "a"), Weight::To(5)).unwrap();
        let (running, _) = edits.applied(&file);
        let balancer = |config: &Config| {
            let index = config.pools[0].balancer.value.0 as usize;
            config.plugins[index].name.clone()
        };
        assert_eq!(balancer(&file), "round-robin");
        assert_eq!(balancer(&running), "weighted-round-robin");
    }

    #[test]
    fn the_last_server_and_a_second_of_a_name_are_refused() {
        let file = config(r#"{ name = "a", address = "h:1" }"#);
        let mut edits = Edits::default();
        assert!(matches!(
            edits.remove(&file, "app", "a"),
            Err(Unfit::Wrong(_))
        ));
        let again = given(serde_json::json!({ "name": "a", "address": "10.0.0.3:3" })).unwrap();
        assert!(matches!(
            edits.add(&file, "app", again),
            Err(Unfit::Wrong(_))
        ));
        assert!(edits.is_empty());
    }

    #[test]
    fn a_server_in_json_is_held_to_what_the_file_is_held_to() {
        let all = given(serde_json::json!({
            "name": "c", "address": "unix:c.sock", "weight": 3, "backup": true, "labels": { "zone": "a\"\u{1}" },
        }))
        .unwrap();
        assert_eq!(all.address, "unix:/etc/c.sock");
        assert_eq!(all.labels, [("zone".to_owned(), "a\"\u{1}".to_owned())]);
        assert!(all.backup && all.weight == 3);
        for (json, says) in [
            (serde_json::json!({}), "lacks `address`"),
            (serde_json::json!({ "address": "h" }), "has no port"),
            (serde_json::json!({ "address": "h:1" }), "needs an address"),
            (
                serde_json::json!({ "address": "h:1", "weight": 300 }),
                "256",
            ),
            (
                serde_json::json!({ "address": "h:1", "wieght": 3 }),
                "did you mean `weight`?",
            ),
            (
                serde_json::json!({ "address": { "file": "/etc/passwd" } }),
                "`address` is neither",
            ),
            (
                serde_json::json!({ "address": "h:1", "labels": { "a": { "env": "HOME" } } }),
                "`a` is neither",
            ),
            (
                serde_json::json!({ "address": "h:1", "name": "\u{7f}" }),
                "no configuration can hold",
            ),
            (
                serde_json::json!({ "address": "h:1", "name": "a b" }),
                "is no name",
            ),
        ] {
            let problems = given(json.clone()).unwrap_err().join("\n");
            assert!(problems.contains(says), "{json}: {problems}");
        }
    }
}
