//! Behaves, until it is told to trap: decides about connections by the client's address and the TLS server name.

use std::collections::BTreeMap;

use tidegate_sdk::prelude::*;

#[derive(Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Settings {
    /// Beginnings of addresses.
    refuse: Vec<String>,
    /// Pools by server name.
    names: BTreeMap<String, String>,
    /// A server name that it traps at.
    trap: String,
}

struct Doorkeeper {
    refuse: Vec<String>,
    names: BTreeMap<String, PoolIndex>,
    trap: String,
}

impl Plugin for Doorkeeper {
    type Settings = Settings;

    fn new(settings: Settings, context: &Context) -> Result<Self, String> {
        let names = settings.names.into_iter();
        let names = names.map(|(name, pool)| Ok((name, context.pool(&pool)?)));
        Ok(Doorkeeper {
            refuse: settings.refuse,
            names: names.collect::<Result<_, String>>()?,
            trap: settings.trap,
        })
    }

    fn interest(&self) -> Interest {
        let inputs = [
            Input::ClientAddress,
            Input::ServerNameIndication,
            Input::Path,
        ];
        inputs.into_iter().fold(Interest::none(), Interest::request)
    }
}

impl Connect for Doorkeeper {
    fn connect(&self, connection: &Request) -> Admission {
        let text = |at| connection.at(at).map(String::from_utf8_lossy);
        assert!(
            text(2).is_none_or(|path| path == "/"),
            "a connection has no path"
        );
        let client = text(0).unwrap_or_default();
        if self.refuse.iter().any(|begin| client.starts_with(&**begin)) {
            return Admission::Refuse;
        }
        let Some(name) = text(1) else {
            return Admission::Accept;
        };
        assert_ne!(name, self.trap, "as it was told to");
        match self.names.get(&*name) {
            Some(pool) => Admission::Pool(pool.0),
            None => Admission::Accept,
        }
    }
}

export!(Doorkeeper: Connect);
