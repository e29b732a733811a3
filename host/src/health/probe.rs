//! One probe: a connection of its own, and for HTTP a request whose answer is held against what is expected; or a plugin that
//! speaks over it.

use std::cell::Cell;
use std::convert::Infallible;
use std::io;
use std::rc::Rc;

use http::header::{CONNECTION, HOST, USER_AGENT};
use http::{Method, Version};
use tokio::io::AsyncWriteExt;

use super::{Reach, grpc};
use crate::config::checked::{Probe, ProbeKind};
use crate::hook::{Failure, HealthPlugin, Judgement, ProbeTarget, Probed};
use crate::http::client::{Answer, Connection, Why};
use crate::http::h2::mux::Mux;
use crate::http::{Body, Fields, RequestHead, Target};
use crate::net::{self, Stream, proxy};
use crate::tls;
use crate::upstream::live::Identity;
use crate::upstream::outcome::{End, Layer, Outcome};

/// Bytes of a body that are looked at.
pub(super) const LOOKED_AT: usize = 64 << 10;

/// What was seen: it is up, or why it is not.
pub type Verdict = Result<String, String>;

/// All that one probe gave.
pub struct Seen {
    /// By the file's expectations.
    pub verdict: Verdict,
    pub outcome: Outcome,
    /// 0: there was no answer.
    pub status: u16,
    /// Its beginning, where somebody looks at it.
    pub body: Vec<u8>,
    pub fields: Fields,
    pub timed_out: bool,
    /// What a prober said; none where it said nothing.
    pub probed: Option<Probed>,
}

/// There was no socket to ask with, which says nothing of the server.
pub struct NoSocket(pub io::Error);

/// `plugin` looks at the body, whatever the file expects, or speaks with the server itself.
pub async fn probe(
    settings: &Probe,
    server: (&Identity, &Reach),
    plugin: Option<&dyn HealthPlugin>,
) -> Result<Seen, NoSocket> {
    let reached = Cell::new(Layer::Connection);
    let asking = ask(settings, server, plugin, &reached);
    match tokio::time::timeout(settings.timeout, asking).await {
        Ok(seen) => seen,
        Err(_) => Ok(Seen {
            timed_out: true,
            outcome: Outcome::new(reached.get(), End::TimedOut),
            ..Seen::nothing(
                Layer::Connection,
                Err(format!("no answer within {:?}", settings.timeout)),
            )
        }),
    }
}

async fn ask(
    settings: &Probe,
    (identity, reach): (&Identity, &Reach),
    plugin: Option<&dyn HealthPlugin>,
    reached: &Cell<Layer>,
) -> Result<Seen, NoSocket> {
    let address = &identity.address;
    let at = match (settings.port, address.rsplit_once(':')) {
        // A Unix socket has no other port.
        (Some(port), Some((host, _))) if !address.starts_with(net::dial::UNIX) => {
            format!("{host}:{port}")
        }
        _ => address.clone(),
    };
    let host = reach.host.as_deref().unwrap_or(address);
    let socket = match dial(&at, reach).await {
        Ok(socket) => socket,
        Err(error) if net::shortage::is_ours(&error) => return Err(NoSocket(error)),
        Err(error) => {
            return Ok(Seen::nothing(
                Layer::Connection,
                Err(lower(&error.to_string())),
            ));
        }
    };
    if reach.tls.is_some() || settings.kind == ProbeKind::Tls {
        reached.set(Layer::Tls);
    }
    let socket = match &reach.tls {
        None if settings.kind == ProbeKind::Tls => return Ok(greeted(socket, &at, reach).await),
        None => socket,
        Some(tls) => match tls.secure(socket).await {
            Ok(secured) => secured,
            Err(failed) => return Ok(Seen::nothing(Layer::Tls, Err(failed.to_string()))),
        },
    };
    let secured = reached.get();
    if !matches!(settings.kind, ProbeKind::Tcp | ProbeKind::Tls) {
        reached.set(Layer::Answer);
    }
    Ok(match settings.kind {
        ProbeKind::Tcp => Seen::nothing(secured, Ok("connected".to_owned())),
        ProbeKind::Tls => Seen::nothing(secured, Ok("speaks TLS".to_owned())),
        ProbeKind::Grpc => Seen::nothing(Layer::Answer, grpc::ask(socket, settings, host).await),
        ProbeKind::Http => match request_over(socket, settings, host).await {
            Ok(answer) => look_at(settings, answer, plugin.is_some()).await,
            Err(words) => Seen::nothing(Layer::Answer, Err(words)),
        },
        ProbeKind::Plugin => said_by(plugin, identity, &at, socket).await,
    })
}

impl Seen {
    /// Without an answer to look at.
    fn nothing(layer: Layer, verdict: Verdict) -> Seen {
        let end = match verdict {
            Ok(_) => End::Passed,
            Err(_) => End::Failed,
        };
        Seen {
            outcome: Outcome::new(layer, end),
            verdict,
            status: 0,
            body: Vec::new(),
            fields: Fields::new(),
            timed_out: false,
            probed: None,
        }
    }
}

async fn said_by(
    plugin: Option<&dyn HealthPlugin>,
    identity: &Identity,
    at: &str,
    socket: Stream,
) -> Seen {
    let target = ProbeTarget {
        pool: &identity.pool,
        server: &identity.name,
        address: at,
    };
    let said = match plugin {
        Some(plugin) => plugin.probe(target, Box::new(socket)).await,
        None => Err(Failure::Unavailable),
    };
    match said {
        Ok(probed) => Seen {
            outcome: Outcome::new(Layer::Answer, End::Passed),
            verdict: match &probed.judgement {
                Judgement::Down(why) => Err(why.clone()),
                _ => Ok(probed.reason.clone()),
            },
            probed: Some(probed),
            ..Seen::nothing(Layer::Answer, Ok(String::new()))
        },
        Err(Failure::Failed) => Seen::nothing(Layer::Answer, Err("the prober failed".to_owned())),
        Err(Failure::Unavailable) => Seen::nothing(
            Layer::Answer,
            Err("the prober keeps failing, and is not asked for a while".to_owned()),
        ),
    }
}

/// With the PROXY line that is due.
async fn dial(address: &str, reach: &Reach) -> io::Result<Stream> {
    let mut stream = net::dial(address).await?;
    if let Some(version) = reach.proxy {
        let line = proxy::written(version, None);
        stream.write_all(&line).await?;
    }
    Ok(stream)
}

/// Where the pool speaks no TLS itself, because it is passed through.
async fn greeted(socket: Stream, at: &str, reach: &Reach) -> Seen {
    let written = reach.host.as_deref().unwrap_or(at);
    let host = written.rsplit_once(':').map_or(written, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let greeted = tls::client::greet(socket, host).await;
    let verdict = match greeted {
        Ok(()) => Ok("speaks TLS".to_owned()),
        Err(failed) => Err(failed.to_string()),
    };
    Seen::nothing(Layer::Tls, verdict)
}

async fn request_over(socket: Stream, settings: &Probe, address: &str) -> Result<Answer, String> {
    let request = request(settings, address);
    if settings.http2 {
        return over_http2(socket, &request, Body::empty()).await;
    }
    // The connection is for this probe alone, so its home is nobody's.
    let home = Rc::default();
    let answer = Connection::open(socket)
        .send(home, &request, Body::empty(), false, None, |_| {})
        .await;
    answer.map_err(|failed| match failed.why {
        Why::Closed if !failed.begun => "closed without an answer".to_owned(),
        _ => "the answer is no HTTP response".to_owned(),
    })
}

/// On a connection that is this probe's alone.
pub(super) async fn over_http2(
    socket: Stream,
    request: &RequestHead,
    body: Body,
) -> Result<Answer, String> {
    let mux = Mux::default();
    let connection = mux.take(async || Ok::<_, Infallible>(socket)).await;
    let Ok(connection) = connection else {
        return Err("speaks no HTTP/2".to_owned());
    };
    let answer = connection.send(request, body, None, |_| {}).await;
    answer.map_err(|failed| match failed.why {
        Why::Closed | Why::Refused => "closed without an answer".to_owned(),
        _ => "the answer is no HTTP response".to_owned(),
    })
}

pub(super) fn request(settings: &Probe, address: &str) -> RequestHead {
    let mut fields = Fields::new();
    fields.set(&HOST, settings.host.as_deref().unwrap_or(address));
    fields.set(
        &USER_AGENT,
        concat!("tidegate/", env!("CARGO_PKG_VERSION"), " (health)"),
    );
    fields.set(&CONNECTION, "close");
    for (name, value) in &settings.headers {
        fields.set(name, value);
    }
    RequestHead {
        method: Method::from_bytes(settings.method.as_bytes()).unwrap_or(Method::GET),
        target: Target::parse(settings.path.as_bytes()).unwrap_or_else(Target::root),
        version: Version::HTTP_11,
        fields,
    }
}

async fn look_at(settings: &Probe, answer: Answer, judged: bool) -> Seen {
    let status = answer.head.status;
    let mut ranges = settings.expect.iter();
    let expected = ranges.any(|(from, to)| (*from..=*to).contains(&status.as_u16()));
    let wanted = settings.body.is_some() || settings.body_pattern.is_some();
    let body = match judged || (expected && wanted) {
        true => answer.body.beginning(LOOKED_AT).await,
        false => Ok(Vec::new()),
    };
    let verdict = match &body {
        Err(_) => Err("the body broke off".to_owned()),
        Ok(_) if !expected => Err(format!("status {}", status.as_str())),
        Ok(body) => fits(settings, body).map(|more| format!("status {}{more}", status.as_str())),
    };
    let end = match (&verdict, &body) {
        (Ok(_), _) => End::Passed,
        (Err(_), Ok(_)) if !expected => End::Unexpected,
        (Err(_), _) => End::Failed,
    };
    let mut body = body.unwrap_or_default();
    body.truncate(LOOKED_AT);
    Seen {
        verdict,
        outcome: Outcome {
            status: status.as_u16(),
            ..Outcome::new(Layer::Answer, end)
        },
        status: status.as_u16(),
        body,
        fields: answer.head.fields,
        timed_out: false,
        probed: None,
    }
}

/// What to add to the words when it fits.
fn fits(settings: &Probe, body: &[u8]) -> Result<&'static str, String> {
    let (text, pattern) = (&settings.body, &settings.body_pattern);
    if text.is_none() && pattern.is_none() {
        return Ok("");
    }
    let body = String::from_utf8_lossy(&body[..body.len().min(LOOKED_AT)]);
    if text
        .as_ref()
        .is_some_and(|text| !body.contains(text.as_str()))
    {
        return Err("the body does not hold what is expected".to_owned());
    }
    if pattern
        .as_ref()
        .is_some_and(|pattern| !pattern.0.is_match(&body))
    {
        return Err("the body does not match".to_owned());
    }
    Ok(", the body fits")
}

/// `Connection refused (os error 111)` as `connection refused`.
fn lower(error: &str) -> String {
    let text = error.split(" (os error").next().unwrap_or(error);
    let mut letters = text.chars();
    let first = letters.next().map(|c| c.to_ascii_lowercase());
    first.into_iter().chain(letters).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_systems_words_are_as_the_log_has_them() {
        let refused = std::io::Error::from_raw_os_error(111).to_string();
        assert_eq!(lower(&refused), "connection refused");
        assert_eq!(lower(""), "");
    }
}
