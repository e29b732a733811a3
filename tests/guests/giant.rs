//! Says more than may be said: the path says what of.

use tidegate_sdk::prelude::*;

struct Giant;

impl Plugin for Giant {
    type Settings = NoSettings;
    fn new(_: NoSettings, _: &Context) -> Result<Self, String> {
        Ok(Giant)
    }
    fn interest(&self) -> Interest {
        Interest::none().path()
    }
}

impl RequestFilter for Giant {
    fn request(&self, r: &Request) -> Outcome {
        match r.path() {
            "/bad/body" => reply(200).body(vec![b'x'; 3 << 20]),
            "/bad/handed-over" => reply(200).body(vec![b'x'; 8 << 20]),
            "/bad/value" => next().set("x-a", vec![b'x'; 100 << 10]),
            "/bad/edits" => (0..1_000).fold(next(), |o, n| o.set(format!("x-{n}"), "1")),
            "/bad/notes" => (0..1_000).fold(next(), |o, n| o.note(format!("n{n}"), "1")),
            "/long-reason" => next().why("x".repeat(10_000)),
            "/large" => reply(200).body(vec![b'x'; 1 << 20]),
            _ => next(),
        }
    }
}

export!(Giant: RequestFilter);
