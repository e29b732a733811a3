//! Hands over a snapshot of as many bytes as it is told; given one, refuses it or takes it, as told.

use tidegate_sdk::prelude::*;

struct Bomb(Settings);

#[derive(Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    bytes: usize,
    refuse: bool,
}

impl Plugin for Bomb {
    type Settings = Settings;
    fn new(settings: Settings, _: &Context) -> Result<Self, String> {
        Ok(Bomb(settings))
    }
}

impl RequestFilter for Bomb {
    fn request(&self, _: &Request) -> Outcome {
        next()
    }
}

impl Stateful for Bomb {
    fn snapshot(&self) -> Vec<u8> {
        vec![7; self.0.bytes]
    }
    fn restore(&self, snapshots: Vec<Vec<u8>>) -> Result<(), String> {
        match self.0.refuse {
            true => Err(format!("{} snapshots are too many", snapshots.len())),
            false => Ok(()),
        }
    }
}

export!(Bomb: RequestFilter, Stateful);
