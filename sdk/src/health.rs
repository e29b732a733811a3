//! The role `health`: what a probe's result means.

use std::time::Duration;

use crate::bindings::health::exports::tidegate::plugin::health as wit;
use crate::export::{Component, Exported, Instance};
use crate::{Plugin, Response};

pub use wit::Verdict;

/// Judges the result of a probe.
///
/// ```
/// use tidegate_sdk::prelude::*;
/// use tidegate_sdk::test::{FakeProbe, Harness, json};
///
/// struct Ready;
/// # impl Plugin for Ready {
/// #     type Settings = NoSettings;
/// #     fn new(_: NoSettings, _: &Context) -> Result<Self, String> { Ok(Ready) }
/// # }
///
/// impl Health for Ready {
///     fn judge(&self, _pool: &str, _server: &str, probe: &Probe) -> Verdict {
///         match probe.body {
///             b"starting" => Verdict::Up(10),
///             b"leaving" => Verdict::Drain,
///             _ => Verdict::AsUsual,
///         }
///     }
/// }
///
/// let plugin = Harness::<Ready>::new(json!({})).unwrap();
/// assert_eq!(plugin.judge("app", "web1", &FakeProbe::new(200).body("leaving")), Verdict::Drain);
/// ```
pub trait Health: Plugin {
    /// Called after each probe. When it fails, the host's own verdict counts.
    fn judge(&self, pool: &str, server: &str, probe: &Probe) -> Verdict;
}

/// The result of a probe.
pub struct Probe<'a> {
    /// 0 when there was no response.
    pub status: u16,
    /// The first 64 KiB.
    pub body: &'a [u8],
    /// The fields that [`Interest::response`](crate::Interest::response) declares.
    pub response: Response<'a>,
    /// From connect to the end of the response.
    pub took: Duration,
    /// Whether it ran out of time.
    pub timed_out: bool,
    /// Successes in a row before this one.
    pub successes: u32,
    /// Failures in a row before this one.
    pub failures: u32,
}

impl<P: Health> Instance<P> {
    pub(crate) fn judge(&self, pool: &str, server: &str, probe: &wit::Probe) -> Verdict {
        let seen = Probe {
            status: probe.status,
            body: &probe.body,
            response: self.response(&probe.inputs),
            took: Duration::from_micros(probe.micros.into()),
            timed_out: probe.timed_out,
            successes: probe.successes,
            failures: probe.failures,
        };
        self.plugin.judge(pool, server, &seen)
    }
}

impl<P: Exported + Health> wit::Guest for Component<P> {
    fn judge(pool: String, server: String, probe: wit::Probe) -> Verdict {
        P::instance(|instance| instance.judge(&pool, &server, &probe))
    }
}
