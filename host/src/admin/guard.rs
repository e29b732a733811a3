//! Who may ask. Three checks, on every request:
//!
//! - **Host** must be where the port is bound, `localhost` or a loopback address: a web page whose name was rebound to
//!   127.0.0.1 sends its own name there. A request without Host comes from no browser and passes.
//! - **Origin**, which browsers send with every request that a page makes to another place, must be this very place.
//! - **The token**, as `Authorization: Bearer TOKEN`, for every change, for following requests (they tell of clients), and for everything where the port can be reached from
//!   other machines. Compared in constant time.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::answer::Refusal;
use super::page;

/// Shows who asks for what.
const TAP: &str = "/api/v1/tap";

#[derive(Clone)]
pub struct Guard {
    address: SocketAddr,
    token: Arc<ArcSwapOption<String>>,
}

impl Guard {
    pub fn new(address: SocketAddr, token: Arc<ArcSwapOption<String>>) -> Guard {
        Guard { address, token }
    }

    fn check(&self, method: &Method, path: &str, headers: &HeaderMap) -> Result<(), Refusal> {
        self.check_host(headers)?;
        check_origin(headers)?;
        let change = !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
        let page = page::PATHS.contains(&path);
        let needs = if change {
            "changes need a token"
        } else if path == TAP {
            "requests can be followed with the token, or over the admin socket, alone"
        } else {
            "all but the page needs a token"
        };
        if change || path == TAP || !(page || self.is_local()) {
            self.check_token(headers, needs)?;
        }
        Ok(())
    }

    fn is_local(&self) -> bool {
        self.address.ip().to_canonical().is_loopback()
    }

    fn check_host(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let mut hosts = headers.get_all(header::HOST).iter();
        let Some(host) = hosts.next() else {
            return Ok(());
        };
        let known = host
            .to_str()
            .ok()
            .and_then(host_of)
            .is_some_and(|name| self.is_ours(&name));
        if known && hosts.next().is_none() {
            return Ok(());
        }
        Err(Refusal::new(
            StatusCode::FORBIDDEN,
            format!(
                "the Host header {} is not this admin port's; ask by its address, http://{}",
                String::from_utf8_lossy(host.as_bytes()).escape_debug(),
                self.address
            ),
        ))
    }

    /// An IP address cannot be rebound, so behind a wildcard bind any will do.
    fn is_ours(&self, host: &str) -> bool {
        if host.eq_ignore_ascii_case("localhost") {
            return true;
        }
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        bare.parse::<IpAddr>().is_ok_and(|ip| {
            let bound = self.address.ip();
            ip.to_canonical().is_loopback() || ip == bound || bound.is_unspecified()
        })
    }

    fn check_token(&self, headers: &HeaderMap, needs: &str) -> Result<(), Refusal> {
        let Some(token) = self.token.load_full() else {
            return Err(Refusal::new(
                StatusCode::FORBIDDEN,
                format!(
                    "{needs}, and none is configured: set `token` in [admin], then send it as `Authorization: Bearer TOKEN`"
                ),
            ));
        };
        match bearer(headers) {
            Some(given) if same(given, token.as_bytes()) => Ok(()),
            Some(_) => Err(Refusal::new(
                StatusCode::UNAUTHORIZED,
                "the token is wrong; the right one is `token` in [admin] of the config",
            )),
            None => Err(Refusal::new(
                StatusCode::UNAUTHORIZED,
                "this needs the admin token: send `Authorization: Bearer TOKEN`",
            )),
        }
    }
}

/// The middleware.
pub async fn guard(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    match guard.check(request.method(), request.uri().path(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    }
}

fn check_origin(headers: &HeaderMap) -> Result<(), Refusal> {
    let Some(origin) = headers.get(header::ORIGIN) else {
        return Ok(());
    };
    let host = headers.get(header::HOST).map(|host| host.as_bytes());
    let same = origin
        .as_bytes()
        .strip_prefix(b"http://")
        .is_some_and(|place| host.is_some_and(|host| host.eq_ignore_ascii_case(place)));
    if same && headers.get_all(header::ORIGIN).iter().count() == 1 {
        return Ok(());
    }
    Err(Refusal::new(
        StatusCode::FORBIDDEN,
        "pages of other origins may not use the admin port",
    ))
}

/// `HOST` of `HOST[:PORT]`.
fn host_of(value: &str) -> Option<String> {
    let authority: Authority = value.parse().ok()?;
    (!value.contains('@')).then(|| authority.host().to_owned())
}

/// The token of `Authorization: Bearer TOKEN` (RFC 6750, 2.1).
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let value = headers.get(header::AUTHORIZATION)?.as_bytes();
    let (scheme, token) = value.split_at_checked(7)?;
    scheme
        .eq_ignore_ascii_case(b"bearer ")
        .then(|| token.trim_ascii())
}

/// Hashed first, so that neither content nor length shows in the time it takes.
fn same(given: &[u8], wanted: &[u8]) -> bool {
    Sha256::digest(given)
        .as_slice()
        .ct_eq(Sha256::digest(wanted).as_slice())
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(
        address: &str,
        token: Option<&str>,
        method: Method,
        fields: &[(&str, &str)],
    ) -> Result<(), u16> {
        let token = Arc::new(ArcSwapOption::new(token.map(|t| Arc::new(t.to_owned()))));
        let guard = Guard::new(address.parse().unwrap(), token);
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(
                name.parse::<header::HeaderName>().unwrap(),
                value.parse().unwrap(),
            );
        }
        guard
            .check(&method, "/api/v1/status", &headers)
            .map_err(|refusal| refusal.status.as_u16())
    }

    const LOCAL: &str = "127.0.0.1:9901";

    #[test]
    fn following_requests_needs_the_token_where_reading_does_not() {
        let asked = |token: Option<&str>, given: Option<&str>| {
            let token = Arc::new(ArcSwapOption::new(token.map(|t| Arc::new(t.to_owned()))));
            let guard = Guard::new(LOCAL.parse().unwrap(), token);
            let mut headers = HeaderMap::new();
            if let Some(given) = given {
                headers.append(header::AUTHORIZATION, given.parse().unwrap());
            }
            let checked = guard.check(&Method::GET, "/api/v1/tap", &headers);
            checked.map_err(|refusal| (refusal.status.as_u16(), refusal.error))
        };
        assert_eq!(asked(Some("t"), Some("Bearer t")), Ok(()));
        assert!(matches!(asked(Some("t"), None), Err((401, _))));
        let (status, why) = asked(None, None).unwrap_err();
        assert_eq!(status, 403);
        assert!(
            why.starts_with("requests can be followed with the token"),
            "{why}"
        );
    }

    #[test]
    fn a_rebound_name_is_refused() {
        let host = |address, host| asked(address, Some("t"), Method::GET, &[("host", host)]);
        for good in [
            "127.0.0.1:9901",
            "localhost",
            "LOCALHOST:1",
            "[::1]:9901",
            "127.9.9.9",
        ] {
            assert_eq!(host(LOCAL, good), Ok(()), "{good}");
        }
        for bad in [
            "evil.example:9901",
            "localhost.evil.example",
            "10.0.0.1:9901",
            "a@127.0.0.1",
            "",
            "127.0.0.1.evil.example",
        ] {
            assert_eq!(host(LOCAL, bad), Err(403), "{bad}");
        }
        assert_eq!(
            asked(
                LOCAL,
                None,
                Method::GET,
                &[("host", "localhost"), ("host", "evil.example")]
            ),
            Err(403),
        );
        assert_eq!(asked(LOCAL, None, Method::GET, &[]), Ok(()), "HTTP/1.0");
    }

    #[test]
    fn a_foreign_page_is_refused_even_with_the_token() {
        let from = |origin| {
            asked(
                LOCAL,
                Some("secret"),
                Method::POST,
                &[
                    ("host", "localhost:9901"),
                    ("origin", origin),
                    ("authorization", "Bearer secret"),
                ],
            )
        };
        assert_eq!(from("http://localhost:9901"), Ok(()));
        for bad in [
            "http://localhost:8080",
            "https://localhost:9901",
            "null",
            "http://evil.example",
            "",
        ] {
            assert_eq!(from(bad), Err(403), "{bad}");
        }
    }

    #[test]
    fn changes_need_the_token() {
        let with = |token, field: Option<&str>| {
            let fields: Vec<_> = field.iter().map(|v| ("authorization", *v)).collect();
            asked(LOCAL, token, Method::PUT, &fields)
        };
        assert_eq!(with(Some("secret"), Some("Bearer secret")), Ok(()));
        assert_eq!(with(Some("secret"), Some("bearer  secret")), Ok(()));
        assert_eq!(with(Some("secret"), Some("Bearer secre")), Err(401));
        assert_eq!(with(Some("secret"), Some("Bearer ")), Err(401));
        assert_eq!(with(Some("secret"), Some("Basic secret")), Err(401));
        assert_eq!(with(Some("secret"), None), Err(401));
        assert_eq!(with(None, Some("Bearer ")), Err(403), "read-only");
        assert_eq!(with(None, None), Err(403));
    }

    #[test]
    fn a_port_that_others_reach_needs_the_token_for_all() {
        let get = |fields: &[_]| asked("0.0.0.0:9901", Some("secret"), Method::GET, fields);
        let host = ("host", "192.0.2.7:9901");
        assert_eq!(get(&[host]), Err(401));
        assert_eq!(get(&[host, ("authorization", "Bearer secret")]), Ok(()));
        assert_eq!(
            get(&[("host", "evil.example"), ("authorization", "Bearer secret")]),
            Err(403)
        );
    }
}
