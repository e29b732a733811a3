//! Requests and responses that never were, as the hooks see them, made up from the cases file.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;

use http::header::{COOKIE, SET_COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::base::text::Text;
use crate::hook::{ConnectionFacts, RequestView, ResponseView, TlsFacts};

use super::super::terminal::Failure;
use super::cases::{Request, Response, Scheme, Values, Version};

/// A request that never was.
pub struct FakeRequest {
    given: Request,
    path: String,
    query: Option<String>,
    headers: HeaderMap,
    facts: ConnectionFacts,
}

impl FakeRequest {
    pub fn new(given: &Request) -> Result<FakeRequest, Failure> {
        let (path, query) = match given.path.split_once('?') {
            Some((path, query)) => (path.to_owned(), Some(query.to_owned())),
            None => (given.path.clone(), None),
        };
        let client = SocketAddr::new(given.client, 40_000);
        let tls = matches!(given.scheme, Scheme::Https);
        Ok(FakeRequest {
            path,
            query,
            headers: header_map(&given.headers)?,
            facts: ConnectionFacts {
                client,
                client_address: Text::of(client.ip().to_canonical()),
                client_port: Text::of(client.port()),
                local: SocketAddr::new(
                    Ipv4Addr::new(192, 0, 2, 254).into(),
                    if tls { 443 } else { 80 },
                ),
                listener: given.listener.as_str().into(),
                tls: tls.then(|| {
                    Rc::new(TlsFacts {
                        server_name: given.server_name.as_deref().map(Into::into),
                        ..TlsFacts::default()
                    })
                }),
                told: None,
            },
            given: given.clone(),
        })
    }
}

/// One field for each value.
pub fn header_map(given: &BTreeMap<String, Values>) -> Result<HeaderMap, Failure> {
    let mut headers = HeaderMap::new();
    for (name, values) in given {
        let field: HeaderName = name
            .parse()
            .map_err(|_| Failure::new(format!("{name:?} is no header name")))?;
        for value in values.all() {
            let value = HeaderValue::from_bytes(value.as_bytes()).map_err(|_| {
                Failure::new(format!("header {name:?}: {value:?} is no header value"))
            })?;
            headers.append(&field, value);
        }
    }
    Ok(headers)
}

fn joined<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<Cow<'a, [u8]>> {
    let mut values = headers.get_all(name).iter().map(HeaderValue::as_bytes);
    let first = values.next()?;
    let rest: Vec<&[u8]> = values.collect();
    if rest.is_empty() || name == SET_COOKIE {
        return Some(Cow::Borrowed(first));
    }
    let separator: &[u8] = if name == COOKIE { b"; " } else { b", " };
    let mut all = vec![first];
    all.extend(rest);
    Some(Cow::Owned(all.join(separator)))
}

impl RequestView for FakeRequest {
    fn method(&self) -> &str {
        &self.given.method
    }
    fn scheme(&self) -> &'static str {
        match self.given.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }
    fn version(&self) -> &'static str {
        match self.given.version {
            Version::Http10 => "HTTP/1.0",
            Version::Http11 => "HTTP/1.1",
            Version::Http2 => "HTTP/2",
        }
    }
    fn host(&self) -> Option<&[u8]> {
        self.given.host.as_deref().map(str::as_bytes)
    }
    fn path(&self) -> &[u8] {
        self.path.as_bytes()
    }
    fn query(&self) -> Option<&[u8]> {
        self.query.as_deref().map(str::as_bytes)
    }
    fn field(&self, name: &HeaderName) -> Option<Cow<'_, [u8]>> {
        joined(&self.headers, name)
    }
    fn connection(&self) -> &ConnectionFacts {
        &self.facts
    }
    fn request_id(&self) -> &str {
        "0123456789abcdef0123456789abcdef"
    }
    fn note(&self, name: &str) -> Option<&str> {
        self.given.notes.get(name).map(String::as_str)
    }
    fn route(&self) -> Option<&str> {
        self.given.route.as_deref()
    }
    fn pool(&self) -> Option<&str> {
        self.given.pool.as_deref()
    }
}

/// A response that never was.
pub struct FakeResponse<'a> {
    request: &'a FakeRequest,
    status: u16,
    server: Option<String>,
    headers: HeaderMap,
}

impl<'a> FakeResponse<'a> {
    pub fn new(request: &'a FakeRequest, given: &Response) -> Result<FakeResponse<'a>, Failure> {
        Ok(FakeResponse {
            request,
            status: given.status,
            server: given.server.clone(),
            headers: header_map(&given.headers)?,
        })
    }
}

impl ResponseView for FakeResponse<'_> {
    fn request(&self) -> &dyn RequestView {
        self.request
    }
    fn status(&self) -> u16 {
        self.status
    }
    fn server(&self) -> Option<&str> {
        self.server.as_deref()
    }
    fn field(&self, name: &HeaderName) -> Option<Cow<'_, [u8]>> {
        joined(&self.headers, name)
    }
}
