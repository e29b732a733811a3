//! A response's head as a plugin sees it: just what it declared.

use crate::{Input, Request};

/// The declared parts of a response and of its request ([`Interest::response`](crate::Interest::response)).
pub struct Response<'a> {
    request: Request<'a>,
}

impl<'a> Response<'a> {
    pub(crate) fn new(declared: &'a [Input], values: &'a [Option<Vec<u8>>]) -> Response<'a> {
        Response {
            request: Request::within_response(declared, values),
        }
    }

    /// The status; 0 when it was not declared.
    pub fn status(&self) -> u16 {
        let text = self.request.plain(Input::Status, "status");
        text.and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    /// The response's field of that name, case-insensitive; several are joined with ", ", but Set-Cookie, whose first
    /// is given.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.request.find(
            "response_header",
            name,
            |input| matches!(input, Input::Header(known) if known.eq_ignore_ascii_case(name)),
        );
        self.request.text(found?)
    }

    /// The name of the server that answered. None when the proxy itself did.
    pub fn server(&self) -> Option<&str> {
        self.request.plain(Input::Server, "server")
    }

    /// The first Set-Cookie of that cookie: its value, and its attributes as sent.
    pub fn set_cookie(&self, name: &str) -> Option<&str> {
        let found = self.request.find(
            "set_cookie",
            name,
            |input| matches!(input, Input::SetCookie(known) if known == name),
        );
        self.request.text(found?)
    }

    /// The request that this answers. Its parts too are declared with [`Interest::response`](crate::Interest::response),
    /// its fields with [`Interest::request_header`](crate::Interest::request_header).
    pub fn request(&self) -> &Request<'a> {
        &self.request
    }
}
