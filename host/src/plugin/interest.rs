//! What a plugin asks to be told: checked once, when it is configured, then collected for each call. The values are borrowed
//! from the request wherever it has them in one piece.

use std::borrow::Cow;

use http::HeaderName;
use smallvec::SmallVec;
use xxhash_rust::xxh3::xxh3_64;

use crate::hook::{self, Input, RequestView, ResponseView, value_in_request, value_in_response};

use super::bindings as said;

/// Of each kind.
pub const MOST_INPUTS: usize = 64;

/// Longest name of a query parameter, cookie or note.
const MOST_NAME: usize = 256;

/// How an absent value is told in the hashed key: a length that no value has.
const ABSENT: [u8; 4] = u32::MAX.to_le_bytes();

/// Values as a call takes them. Few plugins ask for more than eight.
pub(super) type Values<'a> = SmallVec<[Option<Cow<'a, [u8]>>; 8]>;

/// Err: what can't be asked for, and why.
pub(super) fn checked(interest: said::Interest) -> Result<hook::Interest, String> {
    Ok(hook::Interest {
        request: inputs("request", interest.request)?,
        response: inputs("response", interest.response)?,
        key: inputs("key", interest.key)?,
        pure: interest.pure,
    })
}

fn inputs(kind: &str, inputs: Vec<said::Input>) -> Result<Vec<Input>, String> {
    if inputs.len() > MOST_INPUTS {
        return Err(format!(
            "interest.{kind} has {} entries; {MOST_INPUTS} may be",
            inputs.len()
        ));
    }
    inputs
        .into_iter()
        .map(|i| input(i).map_err(|why| format!("interest.{kind}: {why}")))
        .collect()
}

fn input(input: said::Input) -> Result<Input, String> {
    Ok(match input {
        said::Input::Method => Input::Method,
        said::Input::Scheme => Input::Scheme,
        said::Input::Host => Input::Host,
        said::Input::Path => Input::Path,
        said::Input::Query => Input::Query,
        said::Input::QueryParameter(n) => Input::QueryParameter(name("query parameter", n)?),
        said::Input::Header(n) => Input::Header(header(&n)?),
        said::Input::RequestHeader(n) => Input::RequestHeader(header(&n)?),
        said::Input::Cookie(n) => Input::Cookie(name("cookie", n)?),
        said::Input::ClientAddress => Input::ClientAddress,
        said::Input::ClientPort => Input::ClientPort,
        said::Input::Listener => Input::Listener,
        said::Input::Version => Input::Version,
        said::Input::ServerNameIndication => Input::ServerName,
        said::Input::Alpn => Input::Alpn,
        said::Input::ClientCertificateFingerprint => Input::ClientCertificateFingerprint,
        said::Input::ClientCertificateSubject => Input::ClientCertificateSubject,
        said::Input::RequestId => Input::RequestId,
        said::Input::Note(n) => Input::Note(name("note", n)?),
        said::Input::Route => Input::Route,
        said::Input::Pool => Input::Pool,
        said::Input::Status => Input::Status,
        said::Input::SetCookie(n) => Input::SetCookie(name("cookie", n)?),
        said::Input::Server => Input::Server,
    })
}

fn header(name: &str) -> Result<HeaderName, String> {
    HeaderName::from_bytes(name.as_bytes()).map_err(|_| format!("{name:?} is no header name"))
}

fn name(kind: &str, name: String) -> Result<String, String> {
    match name.len() {
        0 => Err(format!("the name of a {kind} is empty")),
        1..=MOST_NAME => Ok(name),
        size => Err(format!("the name of a {kind} has {size} bytes")),
    }
}

#[inline]
pub(super) fn of_request<'a>(view: &'a dyn RequestView, inputs: &[Input]) -> Values<'a> {
    inputs.iter().map(|i| value_in_request(view, i)).collect()
}

#[inline]
pub(super) fn of_response<'a>(view: &'a dyn ResponseView, inputs: &[Input]) -> Values<'a> {
    inputs.iter().map(|i| value_in_response(view, i)).collect()
}

/// The same values as a guest's parameters borrow them.
#[inline]
pub(super) fn lent<'a>(values: &'a Values<'_>) -> SmallVec<[Option<&'a [u8]>; 8]> {
    values.iter().map(|value| value.as_deref()).collect()
}

/// The `key` of a balancer's `pick`, as `wit/plugin.wit` has it. The same in every process and version.
#[inline]
pub(super) fn key(view: &dyn RequestView, inputs: &[Input]) -> u64 {
    if inputs.is_empty() {
        return 0;
    }
    let mut hashed: SmallVec<[u8; 128]> = SmallVec::new();
    for input in inputs {
        match value_in_request(view, input) {
            Some(value) => {
                hashed.extend_from_slice(&(value.len() as u32).to_le_bytes());
                hashed.extend_from_slice(&value);
            }
            None => hashed.extend_from_slice(&ABSENT),
        }
    }
    xxh3_64(&hashed)
}
