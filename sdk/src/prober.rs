//! The role `prober`: a protocol of its own, spoken with a server to find out how it is.

use crate::Plugin;
use crate::bindings::prober::exports::tidegate::plugin::prober as wit;
use crate::export::{Component, Exported, Instance};

pub use wit::Target;

/// Bytes that are received at once at most.
const AT_ONCE: usize = 64 << 10;

/// Probes a server in a protocol of its own. A plugin with this role has no other.
///
/// ```
/// use tidegate_sdk::prelude::*;
/// use tidegate_sdk::test::{FakePeer, Harness, json};
///
/// /// SMTP (RFC 5321, 4.2): 220 is ready, 421 is about to go.
/// struct Smtp;
/// # impl Plugin for Smtp {
/// #     type Settings = NoSettings;
/// #     fn new(_: NoSettings, _: &Context) -> Result<Self, String> { Ok(Smtp) }
/// # }
///
/// impl Prober for Smtp {
///     fn probe(&self, _: &Target, stream: &mut ProbeStream) -> Result<Standing, String> {
///         let greeting = stream.line(512)?;
///         stream.send(b"QUIT\r\n")?;
///         match greeting.get(..3) {
///             Some(b"220") => Ok(Standing::up("ready")),
///             Some(b"421") => Ok(Standing::drain("it is about to leave")),
///             _ => Err("no greeting of SMTP's".into()),
///         }
///     }
/// }
///
/// let plugin = Harness::<Smtp>::new(json!({})).unwrap();
/// let peer = FakePeer::saying("220 mail.test\r\n").answering("QUIT\r\n", "221 bye\r\n");
/// assert_eq!(plugin.probe("mail", "one", peer), Ok(Standing::up("ready")));
/// ```
pub trait Prober: Plugin {
    /// Called for each probe, once the server is connected to. `Err`: it is down, and why. The pool's `timeout` ends a probe, wherever
    /// it waits; a probe that fails is one that the server has failed. Several run at a time, each on an instance of its own,
    /// and an instance is used again.
    fn probe(&self, target: &Target, stream: &mut ProbeStream) -> Result<Standing, String>;
}

/// How a server that answers is to be used, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing(wit::Finding);

impl Standing {
    /// Up, with all of its weight.
    pub fn up(reason: impl Into<String>) -> Standing {
        Standing::share(100, reason)
    }

    /// Up, with this percentage of its weight, 1 to 100.
    pub fn share(percent: u8, reason: impl Into<String>) -> Standing {
        Standing::new(wit::Standing::Up(percent), reason)
    }

    /// Up, but for the users that it has.
    pub fn drain(reason: impl Into<String>) -> Standing {
        Standing::new(wit::Standing::Drain, reason)
    }

    /// Not to be used, which is no failure.
    pub fn maint(reason: impl Into<String>) -> Standing {
        Standing::new(wit::Standing::Maint, reason)
    }

    /// Its share where it is up.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn percent(&self) -> Option<u8> {
        match self.0.standing {
            wit::Standing::Up(percent) => Some(percent),
            _ => None,
        }
    }

    fn new(standing: wit::Standing, reason: impl Into<String>) -> Standing {
        Standing(wit::Finding {
            standing,
            reason: reason.into(),
        })
    }
}

/// The connection to the server that is being probed. At most 1,000 calls a probe, 64 KiB sent and 1 MiB received.
pub struct ProbeStream {
    wire: Box<dyn Wire>,
    /// Received, and not asked for yet.
    ahead: Vec<u8>,
}

/// What is behind the stream: the host, or a peer that is made up.
pub(crate) trait Wire {
    fn send(&mut self, data: &[u8]) -> Result<(), String>;
    /// Empty: it has closed.
    fn receive(&mut self, most: u32) -> Result<Vec<u8>, String>;
}

impl ProbeStream {
    pub(crate) fn over(wire: impl Wire + 'static) -> ProbeStream {
        ProbeStream {
            wire: Box::new(wire),
            ahead: Vec::new(),
        }
    }

    /// Sends all of it. `Err`: the connection is broken, and how.
    pub fn send(&mut self, data: &[u8]) -> Result<(), String> {
        self.wire.send(data)
    }

    /// Waits until there is something, and gives what is there, `most` bytes at most; empty when the server has closed.
    pub fn receive(&mut self, most: usize) -> Result<Vec<u8>, String> {
        if self.ahead.is_empty() {
            return self.wire.receive(most.clamp(1, AT_ONCE) as u32);
        }
        let rest = self.ahead.split_off(most.min(self.ahead.len()));
        Ok(std::mem::replace(&mut self.ahead, rest))
    }

    /// Exactly so many bytes. `Err` where the server closes before.
    pub fn exactly(&mut self, count: usize) -> Result<Vec<u8>, String> {
        while self.ahead.len() < count {
            self.more(count - self.ahead.len())?;
        }
        let rest = self.ahead.split_off(count);
        Ok(std::mem::replace(&mut self.ahead, rest))
    }

    /// Up to the end of a line, which is left out (LF, or CRLF). `Err` where it has more bytes than `most`, or the server closes before.
    pub fn line(&mut self, most: usize) -> Result<Vec<u8>, String> {
        let mut looked_at = 0;
        loop {
            let new = &self.ahead[looked_at..];
            if let Some(at) = new.iter().position(|byte| *byte == b'\n') {
                let mut line = self.exactly(looked_at + at + 1)?;
                line.pop();
                if line.last() == Some(&b'\r') {
                    line.pop();
                }
                return Ok(line);
            }
            looked_at = self.ahead.len();
            if looked_at > most {
                return Err(format!("a line of more than {most} bytes"));
            }
            self.more(AT_ONCE)?;
        }
    }

    fn more(&mut self, most: usize) -> Result<(), String> {
        let data = self.wire.receive(most.clamp(1, AT_ONCE) as u32)?;
        if data.is_empty() {
            return Err(match self.ahead.is_empty() {
                true => "closed without an answer".to_owned(),
                false => "closed in the middle of an answer".to_owned(),
            });
        }
        self.ahead.extend(data);
        Ok(())
    }
}

impl<P: Prober> Instance<P> {
    pub(crate) fn probe(
        &self,
        target: &Target,
        stream: &mut ProbeStream,
    ) -> Result<Standing, String> {
        self.plugin.probe(target, stream)
    }
}

/// The host's end.
struct Host;

impl Wire for Host {
    fn send(&mut self, data: &[u8]) -> Result<(), String> {
        crate::bindings::prober::tidegate::plugin::probe_stream::send(data)
    }

    fn receive(&mut self, most: u32) -> Result<Vec<u8>, String> {
        crate::bindings::prober::tidegate::plugin::probe_stream::receive(most)
    }
}

impl<P: Exported + Prober> wit::Guest for Component<P> {
    fn probe(target: Target) -> wit::Finding {
        let mut stream = ProbeStream::over(Host);
        match P::instance(|instance| instance.probe(&target, &mut stream)) {
            Ok(standing) => standing.0,
            Err(reason) => wit::Finding {
                standing: wit::Standing::Down,
                reason,
            },
        }
    }
}
