//! Brings clients back to their server by a header that they send again: for those that keep no cookies. See README.md.

use serde::Deserialize;
use tidegate_sdk::field;
use tidegate_sdk::prelude::*;
use tidegate_sdk::seal::Seal;

pub struct StickyHeader {
    header: String,
    seal: Option<Seal>,
    pools: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Settings {
    #[serde(default = "x_server")]
    header: String,
    secret: Option<Secrets>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "a secret or a list of secrets")]
enum Secrets {
    One(String),
    More(Vec<String>),
}

fn x_server() -> String {
    "x-server".to_owned()
}

impl Plugin for StickyHeader {
    type Settings = Settings;

    fn new(settings: Settings, context: &Context) -> Result<Self, String> {
        let seal = match settings.secret {
            None => None,
            Some(Secrets::One(secret)) => Some(Seal::new(&[secret])),
            Some(Secrets::More(secrets)) => Some(Seal::new(&secrets)),
        };
        Ok(StickyHeader {
            header: field::name(&settings.header).map_err(|e| format!("key `header`: {e}"))?,
            seal: seal.transpose().map_err(|e| format!("key `secret`: {e}"))?,
            pools: context.pools.clone(),
        })
    }

    fn interest(&self) -> Interest {
        Interest::none().header(&self.header)
    }
}

impl Sticky for StickyHeader {
    fn find(&self, pool: PoolIndex, r: &Request) -> Finding {
        let Some(sent) = r.header(&self.header) else {
            return Finding::none();
        };
        let finding = match self.server(pool, sent.trim()) {
            Some(server) => Finding::server(&server).note("sticky", server),
            None => Finding::none().why("header not valid"),
        };
        finding.remove(&self.header)
    }

    fn bind(&self, pool: PoolIndex, server: &str, _: &Response) -> Binding {
        let value = match &self.seal {
            Some(seal) => seal.close(self.pool(pool), server.as_bytes()),
            None => server.to_owned(),
        };
        Binding::none().set(&self.header, value)
    }
}

impl StickyHeader {
    fn server(&self, pool: PoolIndex, sent: &str) -> Option<String> {
        match &self.seal {
            Some(seal) => String::from_utf8(seal.open(self.pool(pool), sent)?).ok(),
            None => (!sent.is_empty()).then(|| sent.to_owned()),
        }
    }

    /// A sealed value is good for its own pool alone.
    fn pool(&self, pool: PoolIndex) -> &[u8] {
        let name = self.pools.get(pool.0 as usize);
        name.map_or(&[], |name| name.as_bytes())
    }
}

export!(StickyHeader: Sticky);

#[cfg(test)]
mod tests {
    use tidegate_sdk::test::{FakeRequest, FakeResponse, Harness, Value, json};

    use super::*;

    fn plugin(settings: Value) -> Harness<StickyHeader> {
        let setup = Harness::setup().pools(["app", "other"]);
        setup.settings(settings).start().unwrap()
    }

    fn told(plugin: &Harness<StickyHeader>) -> String {
        let binding = plugin.bind("app", "web1", &FakeResponse::new(200));
        match &binding.edits[..] {
            [Edit::Set((_, value))] => String::from_utf8(value.clone()).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    fn with(value: &str) -> FakeRequest {
        FakeRequest::get("/").header("x-server", value)
    }

    #[test]
    fn who_sends_the_header_again_comes_back() {
        for settings in [
            json!({}),
            json!({ "secret": "0123456789abcdef0123456789abcdef" }),
        ] {
            let plugin = plugin(settings);
            assert_eq!(plugin.find("app", &FakeRequest::get("/")), Finding::none());
            let found = plugin.find("app", &with(&told(&plugin)));
            let expected = Finding::server("web1")
                .note("sticky", "web1")
                .remove("x-server");
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn a_sealed_one_is_not_forged() {
        let plugin = plugin(json!({ "secret": ["0123456789abcdef0123456789abcdef"] }));
        let sealed = told(&plugin);
        let refused = Finding::none().why("header not valid").remove("x-server");
        assert_eq!(plugin.find("app", &with("web1")), refused);
        assert_eq!(plugin.find("other", &with(&sealed)), refused);
    }

    #[test]
    fn wrong_settings_are_refused_with_key_and_remedy() {
        let refusal = |settings| Harness::<StickyHeader>::new(settings).unwrap_err();
        let cases = [
            (
                json!({ "header": "x y" }),
                "key `header`: `x y` is no header name",
            ),
            (
                json!({ "secret": "short" }),
                "key `secret`: a secret of 5 bytes can be guessed",
            ),
            (
                json!({ "secret": [] }),
                "key `secret`: give at least one secret",
            ),
            (json!({ "name": "x" }), "unknown field `name`"),
        ];
        for (settings, words) in cases {
            let said = refusal(settings);
            assert!(said.contains(words), "{said}");
        }
    }
}
