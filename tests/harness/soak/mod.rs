//! A soak: clients of every kind at a bounded rate, and meanwhile all that operators and fate do to a proxy: reloads by HUP and by file,
//! swaps, drains, servers that come and go, servers that die. What must come of it: no failed request that a server's death does not
//! explain, and memory, descriptors and threads that do not grow.
//!
//! | file | what it does |
//! |---|---|
//! | `site` | the proxy under test, its servers and its configurations |
//! | `clients` | the load, a thread a client |
//! | `http2` | the part of it that speaks HTTP/2 |
//! | `operator` | the changes, one after the other |
//! | `ledger` | what became of each request, and when servers died |
//! | `watch` | what the proxy holds, four times a second |
//! | `report` | what it all comes to |

mod clients;
mod http2;
mod ledger;
mod operator;
mod report;
mod site;
mod watch;

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use clients::Clients;
use ledger::Ledger;
use operator::Operator;
pub use report::Report;
use site::Place;
use watch::{Held, Watch};

/// Connections to servers are kept for half a minute after their last request.
const SETTLED: Duration = Duration::from_secs(45);

/// Descriptors that may be left over: of a probe that is under way, say.
const LEFT_OVER: usize = 4;

/// Runs one, and says now and then how it goes.
#[track_caller]
pub fn soak(length: Duration, tell: &dyn Fn(&str)) -> Report {
    let place = Place::start();
    let idle = place.held();
    let begun = Instant::now();
    let ledger = Arc::<Ledger>::default();
    let watch = Watch::start(place.process());
    let clients = Clients::start(&place.targets(), &ledger);
    let mut operator = Operator::new(place, ledger.clone());
    let mut told = Instant::now();
    while begun.elapsed() < length {
        operator.act();
        if told.elapsed() > Duration::from_secs(15) {
            told = Instant::now();
            let now = operator.place().held();
            tell(&format!(
                "{:4} s: {} requests, {} changes, {}",
                begun.elapsed().as_secs(),
                ledger.requests(),
                operator.done().total(),
                now
            ));
        }
    }
    operator.mend();
    let samples = watch.stop();
    clients.stop();
    let place = operator.place();
    let settled = settled(idle, || place.held());
    Report::new(
        begun.elapsed(),
        &ledger,
        operator.done(),
        idle,
        samples,
        settled,
    )
}

/// What is held once all that was only kept is gone, or the time is over.
fn settled(idle: Held, held: impl Fn() -> Held) -> Held {
    let end = Instant::now() + SETTLED;
    loop {
        let now = held();
        if now.files <= idle.files + LEFT_OVER || Instant::now() > end {
            return now;
        }
        thread::sleep(Duration::from_millis(200));
    }
}
