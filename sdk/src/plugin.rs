//! What every plugin is: made from its settings, with an interest.

use serde::de::DeserializeOwned;

use crate::{Interest, PoolIndex, RouteIndex};

/// A plugin. Beside this trait it implements one for each role that it plays, and names them in
/// [`export!`](crate::export!).
///
/// ```
/// use tidegate_sdk::prelude::*;
/// use tidegate_sdk::test::{Harness, json};
///
/// struct Limit { rate: f64 }
///
/// #[derive(serde::Deserialize)]
/// #[serde(deny_unknown_fields, rename_all = "kebab-case")]
/// struct Settings { per_second: f64 }
///
/// impl Plugin for Limit {
///     type Settings = Settings;
///     fn new(settings: Settings, _: &Context) -> Result<Self, String> {
///         if settings.per_second <= 0.0 {
///             return Err("key `per-second`: must be above 0".into());
///         }
///         Ok(Limit { rate: settings.per_second })
///     }
/// }
///
/// assert_eq!(Harness::<Limit>::new(json!({ "per-second": 5 })).unwrap().plugin().rate, 5.0);
/// let refusal = Harness::<Limit>::new(json!({ "per-second": "5" })).unwrap_err();
/// assert_eq!(refusal, "key `per-second`: invalid type: string \"5\", expected f64");
/// ```
pub trait Plugin: Sized + 'static {
    /// What the config's `config = { … }` of this plugin becomes. Derive serde's `Deserialize`, with
    /// `#[serde(deny_unknown_fields, rename_all = "kebab-case")]`: a key that is unknown is then refused, and the known ones
    /// are named. [`NoSettings`] when there are none.
    type Settings: DeserializeOwned;

    /// Called once on each new instance, before anything else. `Err` refuses the settings: say which key, and what is
    /// expected. The change of config that brought them is then refused as a whole, and what ran before runs on.
    /// Limit: 1 s of CPU time.
    fn new(settings: Self::Settings, context: &Context) -> Result<Self, String>;

    /// What the plugin wants to be told of a request or response; asked once, after `new`. Nothing, unless it says so.
    fn interest(&self) -> Interest {
        Interest::none()
    }
}

/// No settings: any key is refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoSettings {}

/// What a plugin is told of the config around it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Context {
    /// The name that the config gives this plugin.
    pub name: String,
    /// The pools of the config by name, in order.
    pub pools: Vec<String>,
    /// The `[[route]]` entries of the config by name, in order.
    pub routes: Vec<String>,
}

impl Context {
    /// The pool of that name. The error says which there are; it may be returned from [`Plugin::new`] as it is.
    pub fn pool(&self, name: &str) -> Result<PoolIndex, String> {
        position(&self.pools, name, "pool").map(PoolIndex)
    }

    /// The `[[route]]` of that name. The error says which there are.
    pub fn route(&self, name: &str) -> Result<RouteIndex, String> {
        position(&self.routes, name, "route").map(RouteIndex)
    }

    /// The name of a pool; empty for an index that is none.
    pub fn pool_name(&self, pool: PoolIndex) -> &str {
        self.pools.get(pool.0 as usize).map_or("", String::as_str)
    }
}

fn position(names: &[String], wanted: &str, what: &str) -> Result<u32, String> {
    match names.iter().position(|name| name == wanted) {
        Some(index) => Ok(index as u32),
        None if names.is_empty() => Err(format!(
            "no {what} is named `{wanted}`: the config has none"
        )),
        None => Err(format!(
            "no {what} is named `{wanted}`: there are {}",
            listed(names)
        )),
    }
}

fn listed(names: &[String]) -> String {
    const SHOWN: usize = 20;
    let mut text = names
        .iter()
        .take(SHOWN)
        .map(|name| format!("`{name}`"))
        .collect::<Vec<_>>()
        .join(", ");
    if names.len() > SHOWN {
        text += &format!(" and {} more", names.len() - SHOWN);
    }
    text
}
