//! How an answer looks. Errors are JSON, `{"error": "…", "problems": ["…"]}`: the first says in one line what is wrong and what
//! to do about it, the second holds each problem of a refused change whole.

use axum::Json;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// An answer that says no.
#[derive(Debug)]
pub struct Refusal {
    pub status: StatusCode,
    pub error: String,
    pub problems: Vec<String>,
}

#[derive(Serialize)]
struct Body<'a> {
    error: &'a str,
    problems: &'a [String],
}

impl Refusal {
    pub fn new(status: StatusCode, error: impl Into<String>) -> Refusal {
        Refusal {
            status,
            error: error.into(),
            problems: Vec::new(),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = Body {
            error: &self.error,
            problems: &self.problems,
        };
        let mut response = (self.status, Json(body)).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static("Bearer realm=\"tidegate\""),
            );
        }
        response
    }
}

/// Set on every answer: nothing here is to be cached, framed, sniffed or scripted.
pub async fn harden(mut response: Response) -> Response {
    const FIELDS: [(HeaderName, &str); 5] = [
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; \
             frame-ancestors 'none'",
        ),
    ];
    for (name, value) in FIELDS {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    response
}
