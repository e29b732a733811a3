//! Made-up requests, responses and probes, looked at as the proxy would.

use crate::Input;
use crate::bindings::health::exports::tidegate::plugin::health as wit;
use crate::export::Values;

/// A request for a [`Harness`](super::Harness). From 192.0.2.1, on the listener `web`, without TLS, unless said otherwise.
#[derive(Clone, Debug)]
pub struct FakeRequest {
    headers: Vec<(String, Vec<u8>)>,
    notes: Vec<(String, String)>,
    query: Option<String>,
    facts: Vec<(Input, String)>,
}

impl FakeRequest {
    /// `GET` this path and query.
    pub fn get(target: &str) -> FakeRequest {
        FakeRequest::new("GET", target)
    }

    /// Any method, and path and query.
    pub fn new(method: &str, target: &str) -> FakeRequest {
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query.to_owned())),
            None => (target, None),
        };
        let request = FakeRequest {
            headers: Vec::new(),
            notes: Vec::new(),
            query,
            facts: Vec::new(),
        };
        request
            .fact(Input::Method, method)
            .fact(Input::Path, path)
            .fact(Input::Scheme, "http")
            .fact(Input::Version, "HTTP/1.1")
            .fact(Input::Host, "example.test")
            .fact(Input::ClientAddress, "192.0.2.1")
            .fact(Input::ClientPort, "40000")
            .fact(Input::Listener, "web")
            .fact(Input::RequestId, "00000000000000000000000000000001")
    }

    /// Adds a header field; several of a name are joined.
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> FakeRequest {
        self.headers
            .push((name.to_ascii_lowercase(), value.as_ref().to_vec()));
        self
    }

    /// Adds a cookie.
    pub fn cookie(self, name: &str, value: &str) -> FakeRequest {
        self.header("cookie", format!("{name}={value}"))
    }

    /// The host that it is for, lower case, without a port.
    pub fn host(self, host: &str) -> FakeRequest {
        self.fact(Input::Host, host)
    }

    /// `http` or `https`.
    pub fn scheme(self, scheme: &str) -> FakeRequest {
        self.fact(Input::Scheme, scheme)
    }

    /// The client's address, without a port.
    pub fn client_address(self, address: &str) -> FakeRequest {
        self.fact(Input::ClientAddress, address)
    }

    /// The listener that it came in by.
    pub fn listener(self, name: &str) -> FakeRequest {
        self.fact(Input::Listener, name)
    }

    /// A note that an earlier plugin set.
    pub fn note(mut self, name: &str, value: &str) -> FakeRequest {
        self.notes.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Any input that is one plain value: `Input::Alpn`, `Input::Route`, `Input::ClientCertificateSubject` …
    pub fn fact(mut self, input: Input, value: &str) -> FakeRequest {
        self.facts.retain(|(known, _)| *known != input);
        self.facts.push((input, value.to_owned()));
        self
    }

    pub(crate) fn values(&self, declared: &[Input]) -> Values {
        declared.iter().map(|input| self.value(input)).collect()
    }

    fn value(&self, input: &Input) -> Option<Vec<u8>> {
        match input {
            Input::Query => self.query.clone().map(String::into_bytes),
            Input::QueryParameter(name) => query_parameter(self.query.as_deref()?, name.as_bytes()),
            Input::Header(name) | Input::RequestHeader(name) => joined(&self.headers, name),
            Input::Cookie(name) => cookie(&joined(&self.headers, "cookie")?, name.as_bytes()),
            Input::Note(name) => {
                let note = self.notes.iter().rev().find(|(known, _)| known == name)?;
                Some(note.1.clone().into_bytes())
            }
            plain => {
                let fact = self.facts.iter().find(|(known, _)| known == plain)?;
                Some(fact.1.clone().into_bytes())
            }
        }
    }
}

/// A response for a [`Harness`](super::Harness), to `GET /` from a server named `server` unless said otherwise.
#[derive(Clone, Debug)]
pub struct FakeResponse {
    status: u16,
    headers: Vec<(String, Vec<u8>)>,
    server: Option<String>,
    request: FakeRequest,
}

impl FakeResponse {
    /// A response of that status.
    pub fn new(status: u16) -> FakeResponse {
        FakeResponse {
            status,
            headers: Vec::new(),
            server: Some("server".into()),
            request: FakeRequest::get("/"),
        }
    }

    /// Adds a header field.
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> FakeResponse {
        self.headers
            .push((name.to_ascii_lowercase(), value.as_ref().to_vec()));
        self
    }

    /// The server that answered.
    pub fn server(mut self, name: &str) -> FakeResponse {
        self.server = Some(name.to_owned());
        self
    }

    /// The proxy itself answered.
    pub fn from_proxy(mut self) -> FakeResponse {
        self.server = None;
        self
    }

    /// The request that it answers.
    pub fn to(mut self, request: FakeRequest) -> FakeResponse {
        self.request = request;
        self
    }

    pub(crate) fn values(&self, declared: &[Input]) -> Values {
        let value = |input: &Input| match input {
            Input::Status => Some(self.status.to_string().into_bytes()),
            Input::Server => self.server.clone().map(String::into_bytes),
            Input::Header(name) if name.eq_ignore_ascii_case("set-cookie") => {
                let first = self
                    .headers
                    .iter()
                    .find(|(known, _)| known == "set-cookie")?;
                Some(first.1.clone())
            }
            Input::Header(name) => joined(&self.headers, name),
            Input::SetCookie(name) => {
                let fields = self
                    .headers
                    .iter()
                    .filter(|(known, _)| known == "set-cookie");
                let mut pairs = fields.filter_map(|(_, value)| {
                    let end = value.iter().position(|b| *b == b'=')?;
                    Some((value[..end].trim_ascii(), value[end + 1..].to_vec()))
                });
                pairs
                    .find(|(known, _)| *known == name.as_bytes())
                    .map(|(_, rest)| rest)
            }
            other => self.request.value(other),
        };
        declared.iter().map(value).collect()
    }
}

/// The result of a probe, for a [`Harness`](super::Harness).
#[derive(Clone, Debug)]
pub struct FakeProbe {
    response: FakeResponse,
    probe: wit::Probe,
}

impl FakeProbe {
    /// A probe that was answered with that status, in a millisecond; 0: there was no answer.
    pub fn new(status: u16) -> FakeProbe {
        FakeProbe {
            response: FakeResponse::new(status),
            probe: wit::Probe {
                status,
                body: Vec::new(),
                inputs: Vec::new(),
                micros: 1000,
                timed_out: false,
                successes: 0,
                failures: 0,
            },
        }
    }

    /// A probe that ran out of time.
    pub fn timed_out() -> FakeProbe {
        let mut probe = FakeProbe::new(0);
        probe.probe.timed_out = true;
        probe
    }

    /// The answer's body.
    pub fn body(mut self, body: impl AsRef<[u8]>) -> FakeProbe {
        self.probe.body = body.as_ref().to_vec();
        self
    }

    /// Adds a header field to the answer.
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> FakeProbe {
        self.response = self.response.header(name, value);
        self
    }

    /// Successes and failures in a row before this one.
    pub fn after(mut self, successes: u32, failures: u32) -> FakeProbe {
        (self.probe.successes, self.probe.failures) = (successes, failures);
        self
    }

    pub(crate) fn told(&self, declared: &[Input]) -> wit::Probe {
        wit::Probe {
            inputs: self.response.values(declared),
            ..self.probe.clone()
        }
    }
}

/// All fields of a name, as the proxy joins them.
fn joined(headers: &[(String, Vec<u8>)], name: &str) -> Option<Vec<u8>> {
    let name = name.to_ascii_lowercase();
    let separator: &[u8] = if name == "cookie" { b"; " } else { b", " };
    let values: Vec<&[u8]> = headers
        .iter()
        .filter(|(known, _)| *known == name)
        .map(|(_, value)| value.as_slice())
        .collect();
    (!values.is_empty()).then(|| values.join(separator))
}

/// The first parameter of that name, decoded as a form.
fn query_parameter(query: &str, name: &[u8]) -> Option<Vec<u8>> {
    query.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decoded(key) == name).then(|| decoded(value))
    })
}

fn decoded(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let pair = tail
            .get(..2)
            .and_then(|pair| std::str::from_utf8(pair).ok());
        let octet = pair.and_then(|pair| u8::from_str_radix(pair, 16).ok());
        (rest, _) = match (first, octet) {
            (b'%', Some(octet)) => (&tail[2..], out.push(octet)),
            (b'+', _) => (tail, out.push(b' ')),
            (other, _) => (tail, out.push(*other)),
        };
    }
    out
}

/// The first cookie of that name, without surrounding quotes.
fn cookie(field: &[u8], name: &[u8]) -> Option<Vec<u8>> {
    field.split(|b| *b == b';').find_map(|pair| {
        let value = pair.trim_ascii().strip_prefix(name)?.strip_prefix(b"=")?;
        let inner = value
            .strip_prefix(b"\"")
            .and_then(|v| v.strip_suffix(b"\""));
        Some(inner.unwrap_or(value).to_vec())
    })
}
