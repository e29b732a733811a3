//! A prober that does what its setting `deed` says.

use tidegate_sdk::prelude::*;

struct Guest {
    deed: String,
}

#[derive(serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
#[derive(Default)]
struct Settings {
    deed: String,
}

impl Plugin for Guest {
    type Settings = Settings;
    fn new(settings: Settings, _: &Context) -> Result<Self, String> {
        if settings.deed == "asks too early" {
            tidegate_sdk::bindings::prober::tidegate::plugin::probe_stream::send(b"x")?;
        }
        Ok(Guest {
            deed: settings.deed,
        })
    }
}

impl Prober for Guest {
    fn probe(&self, target: &Target, stream: &mut ProbeStream) -> Result<Standing, String> {
        match self.deed.as_str() {
            "spins" => loop {
                std::hint::black_box(0);
            },
            "traps" => panic!("on purpose"),
            "sends without end" => loop {
                stream.send(&[b'x'; 1 << 10])?;
            },
            "calls without end" => loop {
                stream.send(b"")?;
            },
            "takes without end" => loop {
                stream.receive(64 << 10)?;
            },
            "waits" => stream.receive(1).map(|_| Standing::up("it has spoken")),
            "gives nothing" => Ok(Standing::share(0, "well")),
            _ => Ok(Standing::up(format!("{} is well", target.server))),
        }
    }
}

export!(Guest: Prober);
