//! Calls itself pure, and is not: it tells how often it was called.

use std::cell::Cell;

use tidegate_sdk::prelude::*;

struct Pure(Cell<u32>);

impl Pure {
    fn calls(&self) -> String {
        self.0.set(self.0.get() + 1);
        self.0.get().to_string()
    }
}

impl Plugin for Pure {
    type Settings = NoSettings;
    fn new(_: NoSettings, _: &Context) -> Result<Self, String> {
        Ok(Pure(Cell::new(0)))
    }
    fn interest(&self) -> Interest {
        Interest::none()
            .path()
            .header("x-a")
            .request_header("x-a")
            .pure()
    }
}

impl Router for Pure {
    fn route(&self, r: &Request) -> Route {
        assert!(!r.path().starts_with("/bad"), "as the test wants it");
        Route::next().note("calls", self.calls())
    }
}

impl FetchFilter for Pure {
    fn request(&self, r: &Request) -> Step {
        let calls = self.calls();
        match r.path() {
            "/look-up" => shared::look_up(*b"key", 1),
            "/large" => next()
                .note("large", "x".repeat(1000))
                .note("calls", calls)
                .into(),
            _ => next().note("calls", calls).into(),
        }
    }
    fn resume(&self, _: u64, _: Answer) -> Step {
        next().into()
    }
}

impl ResponseFilter for Pure {
    fn response(&self, _: &Response) -> ResponseOutcome {
        ResponseOutcome::unchanged().set("x-calls", self.calls())
    }
}

export!(Pure: Router, FetchFilter, ResponseFilter);
