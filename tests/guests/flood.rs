//! Floods the log and opens counters and tickets without end, all within its time; answers as it should.

use tidegate_sdk::prelude::*;

struct Flood;

impl Plugin for Flood {
    type Settings = NoSettings;
    fn new(_: NoSettings, _: &Context) -> Result<Self, String> {
        Ok(Flood)
    }
    fn interest(&self) -> Interest {
        Interest::none().path()
    }
}

impl RequestFilter for Flood {
    fn request(&self, r: &Request) -> Outcome {
        match r.path() {
            "/bad/log" => {
                let line = "x\n".repeat(5_000);
                (0..50).for_each(|_| log::warn(&line));
            }
            "/bad/counters" => {
                for n in 0..1_100 {
                    Counter::open("flood", &[("n", &n.to_string())]).add(1);
                }
            }
            _ => {}
        }
        next()
    }
}

export!(Flood: RequestFilter);
