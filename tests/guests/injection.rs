//! Tries to smuggle: the path says how.

use tidegate_sdk::prelude::*;

struct Smuggler;

impl Plugin for Smuggler {
    type Settings = NoSettings;
    fn new(_: NoSettings, _: &Context) -> Result<Self, String> {
        Ok(Smuggler)
    }
    fn interest(&self) -> Interest {
        Interest::none().path().response(Input::Path)
    }
}

/// A header that no plugin may set.
fn forged(path: &str) -> Option<(&'static str, &'static [u8])> {
    Some(match path {
        "/bad/crlf" => ("x-a", b"1\r\nx-forged: 1"),
        "/bad/nul" => ("x-a", b"1\0"),
        "/bad/name" => ("x-a\r\nx-forged", b"1"),
        "/bad/length" => ("Content-Length", b"0"),
        "/bad/encoding" => ("transfer-encoding", b"chunked"),
        "/bad/connection" => ("connection", b"close"),
        _ => return None,
    })
}

impl RequestFilter for Smuggler {
    fn request(&self, r: &Request) -> Outcome {
        match (r.path(), forged(r.path())) {
            ("/bad/target", _) => next().path("/ HTTP/1.1\r\nx-forged: 1"),
            ("/bad/reply", _) => reply(200).set("x-a", "1\r\nx-forged: 1"),
            (_, Some((name, value))) => next().set(name, value),
            _ => next(),
        }
    }
}

impl ResponseFilter for Smuggler {
    fn response(&self, r: &Response) -> ResponseOutcome {
        match forged(r.request().path()) {
            Some((name, value)) => ResponseOutcome::unchanged().set(name, value),
            None => ResponseOutcome::unchanged(),
        }
    }
}

export!(Smuggler: RequestFilter, ResponseFilter);
