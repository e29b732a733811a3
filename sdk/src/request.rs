//! A request as a plugin sees it: just what it declared.

use std::cell::OnceCell;

use crate::Input;

/// The declared parts of a request. A lookup compares names with the few that were declared; nothing is copied.
///
/// Text is given as `&str`; what is not UTF-8 in it reads as U+FFFD, so a value that a peer garbled is neither absent nor
/// equal to a good one. [`bytes`](Request::bytes) gives it as sent.
pub struct Request<'a> {
    declared: &'a [Input],
    values: &'a [Option<Vec<u8>>],
    /// In a response interest `header` is the response's, and a request's field is `request-header`.
    within_response: bool,
    /// The values as text, made only when one of them is not UTF-8.
    repaired: OnceCell<Vec<String>>,
}

impl<'a> Request<'a> {
    pub(crate) fn new(declared: &'a [Input], values: &'a [Option<Vec<u8>>]) -> Request<'a> {
        Request {
            declared,
            values,
            within_response: false,
            repaired: OnceCell::new(),
        }
    }

    pub(crate) fn within_response(
        declared: &'a [Input],
        values: &'a [Option<Vec<u8>>],
    ) -> Request<'a> {
        Request {
            within_response: true,
            ..Request::new(declared, values)
        }
    }

    /// The method as sent, `GET`.
    pub fn method(&self) -> &str {
        self.plain(Input::Method, "method").unwrap_or_default()
    }

    /// `http` or `https`.
    pub fn scheme(&self) -> &str {
        self.plain(Input::Scheme, "scheme").unwrap_or_default()
    }

    /// The host that the request is for, lower case, without a port.
    pub fn host(&self) -> Option<&str> {
        self.plain(Input::Host, "host")
    }

    /// The path as sent, percent-encoding untouched, without the query; `*` for `OPTIONS *`.
    pub fn path(&self) -> &str {
        self.plain(Input::Path, "path").unwrap_or_default()
    }

    /// The query as sent, without `?`. None when there is none.
    pub fn query(&self) -> Option<&str> {
        self.plain(Input::Query, "query")
    }

    /// The first query parameter of that name, percent-decoded, `+` read as a space.
    pub fn query_parameter(&self, name: &str) -> Option<&str> {
        let found = self.find(
            "query_parameter",
            name,
            |input| matches!(input, Input::QueryParameter(known) if known == name),
        );
        self.text(found?)
    }

    /// The field of that name, case-insensitive; several are joined with ", ".
    pub fn header(&self, name: &str) -> Option<&str> {
        self.text(self.field(name)?)
    }

    /// As [`header`](Request::header), as sent.
    pub fn header_bytes(&self, name: &str) -> Option<&[u8]> {
        self.at(self.field(name)?)
    }

    /// The first cookie of that name, without surrounding quotes.
    pub fn cookie(&self, name: &str) -> Option<&str> {
        let found = self.find(
            "cookie",
            name,
            |input| matches!(input, Input::Cookie(known) if known == name),
        );
        self.text(found?)
    }

    /// The client's IP address as text, without a port.
    pub fn client_address(&self) -> &str {
        self.plain(Input::ClientAddress, "client_address")
            .unwrap_or_default()
    }

    /// The client's port. None for a client without one (a UNIX socket).
    pub fn client_port(&self) -> Option<u16> {
        self.plain(Input::ClientPort, "client_port")?.parse().ok()
    }

    /// The name of the listener that accepted the connection.
    pub fn listener(&self) -> &str {
        self.plain(Input::Listener, "listener").unwrap_or_default()
    }

    /// `HTTP/1.0`, `HTTP/1.1` or `HTTP/2`.
    pub fn version(&self) -> &str {
        self.plain(Input::Version, "version").unwrap_or_default()
    }

    /// The TLS server name that the client sent. None without TLS.
    pub fn server_name_indication(&self) -> Option<&str> {
        self.plain(Input::ServerNameIndication, "server_name_indication")
    }

    /// The negotiated application protocol, `h2` or `http/1.1`. None without TLS.
    pub fn alpn(&self) -> Option<&str> {
        self.plain(Input::Alpn, "alpn")
    }

    /// SHA-256 of the verified client certificate, lower-case hex. None without one.
    pub fn client_certificate_fingerprint(&self) -> Option<&str> {
        self.plain(
            Input::ClientCertificateFingerprint,
            "client_certificate_fingerprint",
        )
    }

    /// Subject of the verified client certificate. None without one.
    pub fn client_certificate_subject(&self) -> Option<&str> {
        self.plain(
            Input::ClientCertificateSubject,
            "client_certificate_subject",
        )
    }

    /// The request's id, as in `x-request-id` and the access log.
    pub fn request_id(&self) -> &str {
        self.plain(Input::RequestId, "request_id")
            .unwrap_or_default()
    }

    /// The note of that name, set by an earlier plugin.
    pub fn note(&self, name: &str) -> Option<&str> {
        let found = self.find(
            "note",
            name,
            |input| matches!(input, Input::Note(known) if known == name),
        );
        self.text(found?)
    }

    /// The name of the `[[route]]` taken. None before routing, and when no route was taken.
    pub fn route(&self) -> Option<&str> {
        self.plain(Input::Route, "route")
    }

    /// The name of the pool chosen. None before routing.
    pub fn pool(&self) -> Option<&str> {
        self.plain(Input::Pool, "pool")
    }

    /// The bytes of any declared input, as sent.
    pub fn bytes(&self, input: &Input) -> Option<&[u8]> {
        self.at(self.find("request", "", |known| known == input)?)
    }

    /// The text of any declared input.
    pub fn value(&self, input: &Input) -> Option<&str> {
        self.text(self.find("request", "", |known| known == input)?)
    }

    /// The bytes of the input at that place of the interest: for plugins that declared a list and remember the places.
    pub fn at(&self, index: usize) -> Option<&[u8]> {
        self.values.get(index)?.as_deref()
    }

    /// As [`at`](Request::at), as text.
    pub fn text(&self, index: usize) -> Option<&str> {
        let bytes = self.at(index)?;
        match std::str::from_utf8(bytes) {
            Ok(text) => Some(text),
            Err(_) => Some(&self.repaired()[index]),
        }
    }

    fn field(&self, name: &str) -> Option<usize> {
        let method = if self.within_response {
            "request_header"
        } else {
            "header"
        };
        self.find(method, name, |input| match input {
            Input::RequestHeader(known) => known.eq_ignore_ascii_case(name),
            Input::Header(known) => !self.within_response && known.eq_ignore_ascii_case(name),
            _ => false,
        })
    }

    pub(crate) fn plain(&self, wanted: Input, method: &'static str) -> Option<&str> {
        self.text(self.find(method, "", |input| *input == wanted)?)
    }

    pub(crate) fn find(
        &self,
        method: &str,
        name: &str,
        wanted: impl Fn(&Input) -> bool,
    ) -> Option<usize> {
        let found = self.declared.iter().position(wanted);
        if found.is_none() {
            undeclared(method, name);
        }
        found
    }

    #[cold]
    fn repaired(&self) -> &[String] {
        self.repaired.get_or_init(|| {
            let text = |value: &Option<Vec<u8>>| {
                String::from_utf8_lossy(value.as_deref().unwrap_or_default()).into_owned()
            };
            self.values.iter().map(text).collect()
        })
    }
}

/// In a test, a word on what to declare; in the proxy the value is just absent.
#[cold]
fn undeclared(method: &str, name: &str) {
    if cfg!(target_arch = "wasm32") {
        return;
    }
    let argument = if name.is_empty() {
        String::new()
    } else {
        format!("{name:?}")
    };
    panic!(
        "the plugin reads what it did not declare: add `.{method}({argument})` to its interest()"
    );
}
