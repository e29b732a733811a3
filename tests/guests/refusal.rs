//! Refuses its settings unless they are `{"key": "right"}`.

use tidegate_sdk::prelude::*;

struct Picky;

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    key: String,
}

impl Plugin for Picky {
    type Settings = Settings;
    fn new(settings: Settings, _: &Context) -> Result<Self, String> {
        match settings.key.as_str() {
            "right" => Ok(Picky),
            other => Err(format!("key `key`: {other:?} is not \"right\"")),
        }
    }
}

impl Router for Picky {
    fn route(&self, _: &Request) -> Route {
        Route::next()
    }
}

export!(Picky: Router);
