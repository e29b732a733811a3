//! What a plugin asks to be told.

use crate::Input;

pub use crate::bindings::base::exports::tidegate::plugin::plugin::Interest;

/// Made by naming one thing after the other; naming it twice does no harm.
///
/// ```
/// use tidegate_sdk::{Input, Interest};
/// let interest = Interest::none().path().header("x-user").status();
/// assert_eq!(interest.request, [Input::Path, Input::Header("x-user".into())]);
/// assert_eq!(interest.response, [Input::Status]);
/// ```
impl Interest {
    /// Nothing: the cheapest.
    pub fn none() -> Interest {
        Interest {
            request: Vec::new(),
            response: Vec::new(),
            key: Vec::new(),
            pure: false,
        }
    }

    /// What the plugin answers follows from what it is told alone, for as long as it lives: the proxy may keep an answer, and give
    /// it again to the next request of which the plugin would be told the same, without a call. For routers, request filters and
    /// response filters. One that counts, logs, draws random numbers, looks at a clock or a store, or fetches isn't pure.
    pub fn pure(mut self) -> Interest {
        self.pure = true;
        self
    }

    /// Of a request: for routers, request filters, request balancers, `Sticky::find` and `Connect`.
    pub fn request(mut self, input: Input) -> Interest {
        add(&mut self.request, input);
        self
    }

    /// Of a response: for response filters, `Sticky::bind` and `Health`. [`Input::Header`] is the response's field here,
    /// [`Input::RequestHeader`] the request's.
    pub fn response(mut self, input: Input) -> Interest {
        add(&mut self.response, input);
        self
    }

    /// What the host hashes into the `key` of a [`Pick`](crate::Pick): all of these, in this order.
    pub fn key(mut self, input: Input) -> Interest {
        add(&mut self.key, input);
        self
    }

    /// The response's field of that name.
    pub fn response_header(self, name: impl Into<String>) -> Interest {
        self.response(Input::Header(lower(name)))
    }

    /// The request's field of that name, told with the response.
    pub fn request_header(self, name: impl Into<String>) -> Interest {
        self.response(Input::RequestHeader(lower(name)))
    }

    /// The response's status.
    pub fn status(self) -> Interest {
        self.response(Input::Status)
    }

    /// The name of the server that answered, told with the response.
    pub fn server(self) -> Interest {
        self.response(Input::Server)
    }

    /// In the response interest: the Set-Cookie of that cookie.
    pub fn set_cookie(self, name: impl Into<String>) -> Interest {
        self.response(Input::SetCookie(name.into()))
    }

    /// In the response interest: the note of that name.
    pub fn response_note(self, name: impl Into<String>) -> Interest {
        self.response(Input::Note(name.into()))
    }

    /// The request's field of that name.
    pub fn header(self, name: impl Into<String>) -> Interest {
        self.request(Input::Header(lower(name)))
    }

    /// The first query parameter of that name.
    pub fn query_parameter(self, name: impl Into<String>) -> Interest {
        self.request(Input::QueryParameter(name.into()))
    }

    /// The first cookie of that name.
    pub fn cookie(self, name: impl Into<String>) -> Interest {
        self.request(Input::Cookie(name.into()))
    }

    /// The note of that name, set by an earlier plugin.
    pub fn note(self, name: impl Into<String>) -> Interest {
        self.request(Input::Note(name.into()))
    }
}

macro_rules! plain {
    ($($(#[$doc:meta])* $name:ident $input:ident)*) => {
        impl Interest {
            $($(#[$doc])* pub fn $name(self) -> Interest { self.request(Input::$input) })*
        }
    };
}

plain! {
    /// The request's method.
    method Method
    /// `http` or `https`.
    scheme Scheme
    /// The host that the request is for, lower case, without a port.
    host Host
    /// The path as sent, without the query.
    path Path
    /// The query as sent, without `?`.
    query Query
    /// The client's IP address.
    client_address ClientAddress
    /// The client's port.
    client_port ClientPort
    /// The name of the listener.
    listener Listener
    /// `HTTP/1.0`, `HTTP/1.1` or `HTTP/2`.
    version Version
    /// The TLS server name that the client sent.
    server_name_indication ServerNameIndication
    /// The negotiated application protocol.
    alpn Alpn
    /// SHA-256 of the verified client certificate.
    client_certificate_fingerprint ClientCertificateFingerprint
    /// Subject of the verified client certificate.
    client_certificate_subject ClientCertificateSubject
    /// The request's id.
    request_id RequestId
    /// The name of the `[[route]]` taken.
    route Route
    /// The name of the pool chosen.
    pool Pool
}

impl Default for Interest {
    fn default() -> Self {
        Interest::none()
    }
}

fn add(list: &mut Vec<Input>, input: Input) {
    if !list.contains(&input) {
        list.push(input);
    }
}

fn lower(name: impl Into<String>) -> String {
    let mut name = name.into();
    name.make_ascii_lowercase();
    name
}
