//! Behaves, and uses all that proxies share: sums, values, and look-ups.

use std::time::Duration;

use tidegate_sdk::prelude::*;

struct Sharer;

impl Plugin for Sharer {
    type Settings = NoSettings;
    fn new(_: NoSettings, _: &Context) -> Result<Self, String> {
        Ok(Sharer)
    }
    fn interest(&self) -> Interest {
        Interest::none().path()
    }
}

impl FetchFilter for Sharer {
    fn request(&self, r: &Request) -> Step {
        let minute = Duration::from_secs(60);
        match r.path() {
            "/add" => said(200, &shared::add("sum", 1, Some(minute)).to_string()),
            "/peek" => said(200, &shared::add("sum", 0, Some(minute)).to_string()),
            "/set" => said(200, &shared::set("key", "a value", minute).to_string()),
            "/delete" => {
                shared::delete("key");
                said(200, "deleted")
            }
            "/get" => said(200, &format!("{:?}", shared::get("key").is_some())),
            "/look" => shared::look_up("key", 7),
            "/loop" => shared::look_up("key", 8),
            "/long" => shared::look_up([7; 1025], 7),
            _ => next().into(),
        }
    }

    fn resume(&self, state: u64, answer: Answer) -> Step {
        match state {
            8 => shared::look_up("key", 8),
            _ => said(answer.status, &String::from_utf8_lossy(&answer.body)),
        }
    }
}

fn said(status: u16, text: &str) -> Step {
    reply(status).text(text).into()
}

export!(Sharer: FetchFilter);
