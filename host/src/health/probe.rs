//! One probe: a connection of its own, and for HTTP a request whose answer is held against what is expected.

use std::io;
use std::rc::Rc;

use http::header::{CONNECTION, HOST, USER_AGENT};
use http::{Method, Version};

use crate::config::checked::{Probe, ProbeKind};
use crate::http::client::{Answer, Connection, Why};
use crate::http::{Body, Fields, RequestHead, Target};
use crate::net::{self, Stream};

/// Bytes of a body that are looked at.
const LOOKED_AT: usize = 64 << 10;

/// What was seen: it is up, or why it is not.
pub type Verdict = Result<String, String>;

/// There was no socket to ask with, which says nothing of the server.
pub struct NoSocket(pub io::Error);

pub async fn probe(settings: &Probe, address: &str) -> Result<Verdict, NoSocket> {
    match tokio::time::timeout(settings.timeout, ask(settings, address)).await {
        Ok(verdict) => verdict,
        Err(_) => Ok(Err(format!("no answer within {:?}", settings.timeout))),
    }
}

async fn ask(settings: &Probe, address: &str) -> Result<Verdict, NoSocket> {
    let at = match (settings.port, address.rsplit_once(':')) {
        (Some(port), Some((host, _))) => format!("{host}:{port}"),
        _ => address.to_owned(),
    };
    let socket = match net::dial(&at).await {
        Ok(socket) => socket,
        Err(error) if is_our_own(&error) => return Err(NoSocket(error)),
        Err(error) => return Ok(Err(lower(&error.to_string()))),
    };
    Ok(match settings.kind {
        ProbeKind::Tcp => Ok("connected".to_owned()),
        ProbeKind::Http => request_over(socket, settings, address).await,
    })
}

/// No file, port or memory left.
fn is_our_own(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let ours = [
        Errno::MFILE,
        Errno::NFILE,
        Errno::NOBUFS,
        Errno::NOMEM,
        Errno::ADDRNOTAVAIL,
    ];
    let number = error.raw_os_error();
    ours.iter().any(|own| number == Some(own.raw_os_error()))
}

async fn request_over(socket: Stream, settings: &Probe, address: &str) -> Verdict {
    // The connection is for this probe alone, so its home is nobody's.
    let home = Rc::default();
    let request = request(settings, address);
    let answer = Connection::open(socket)
        .send(home, &request, Body::empty(), false, None, |_| {})
        .await;
    match answer {
        Ok(answer) => look_at(settings, answer).await,
        Err(failed) => Err(match failed.why {
            Why::Closed if !failed.begun => "closed without an answer".to_owned(),
            _ => "the answer is no HTTP response".to_owned(),
        }),
    }
}

fn request(settings: &Probe, address: &str) -> RequestHead {
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

async fn look_at(settings: &Probe, answer: Answer) -> Verdict {
    let status = answer.head.status;
    let mut ranges = settings.expect.iter();
    if !ranges.any(|(from, to)| (*from..=*to).contains(&status.as_u16())) {
        return Err(format!("status {}", status.as_str()));
    }
    if settings.body.is_none() && settings.body_pattern.is_none() {
        return Ok(format!("status {}", status.as_str()));
    }
    let body = answer.body.beginning(LOOKED_AT).await;
    let mut body = body.map_err(|_| "the body broke off".to_owned())?;
    body.truncate(LOOKED_AT);
    let body = String::from_utf8_lossy(&body);
    let text = settings.body.as_ref();
    let pattern = settings.body_pattern.as_ref();
    if text.is_some_and(|text| !body.contains(text.as_str())) {
        return Err("the body does not hold what is expected".to_owned());
    }
    if pattern.is_some_and(|pattern| !pattern.0.is_match(&body)) {
        return Err("the body does not match".to_owned());
    }
    Ok(format!("status {}, the body fits", status.as_str()))
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
        assert!(is_our_own(&io::Error::from_raw_os_error(24)));
        assert!(!is_our_own(&io::Error::from_raw_os_error(111)));
    }
}
