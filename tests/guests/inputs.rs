//! Behaves, and repeats what it was told: each declared value as a note, in order; a pick answers the lower half of its key.

use tidegate_sdk::prelude::*;

struct Repeat;

impl Plugin for Repeat {
    type Settings = NoSettings;
    fn new(_: NoSettings, _: &Context) -> Result<Self, String> {
        Ok(Repeat)
    }
    fn interest(&self) -> Interest {
        let inputs = [
            Input::Method,
            Input::Path,
            Input::Query,
            Input::QueryParameter("q".into()),
            Input::Header("x-a".into()),
            Input::Header("x-absent".into()),
            Input::Cookie("id".into()),
            Input::ClientAddress,
            Input::Listener,
            Input::Note("before".into()),
        ];
        let interest = inputs.into_iter().fold(Interest::none(), Interest::request);
        interest
            .key(Input::Header("x-a".into()))
            .key(Input::Header("x-absent".into()))
            .status()
            .server()
            .response_header("content-type")
    }
}

impl RequestFilter for Repeat {
    fn request(&self, r: &Request) -> Outcome {
        (0..10).fold(next(), |outcome, n| {
            let value = r.at(n).map(|v| String::from_utf8_lossy(v).into_owned());
            outcome.note(format!("v{n}"), value.unwrap_or_else(|| "(none)".into()))
        })
    }
}

impl ResponseFilter for Repeat {
    fn response(&self, r: &Response) -> ResponseOutcome {
        ResponseOutcome::unchanged()
            .set("x-status", r.status().to_string())
            .set("x-server", r.server().unwrap_or("(none)"))
            .append("x-type", r.header("content-type").unwrap_or("(none)"))
            .remove("x-secret")
    }
}

impl Balancer for Repeat {
    fn pick(&self, _: &Pool, pick: &Pick) -> Option<Slot> {
        match pick.tried {
            [] => Some(Slot(pick.key as u32)),
            tried => Some(Slot(tried.len() as u32)),
        }
    }
}

export!(Repeat: RequestFilter, ResponseFilter, Balancer);
