//! What can go wrong with a request. Each fault has one status, one word in the log and HAProxy's two termination letters;
//! `respond` turns it into a page.

use http::StatusCode;

use crate::http::h1::head::Refused;
use crate::http::link::{Blame, Phase};
use crate::http::server::Unreadable;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    // The client's.
    /// No HTTP, or HTTP that means two things.
    BadRequest(Refused),
    HeadTimeout,
    HeadTooLarge,
    /// HTTP without TLS, where TLS is spoken.
    PlainHttp,
    HandshakeFailed,
    HandshakeTimeout,
    /// CONNECT: this is no forward proxy.
    ConnectMethod,
    BodyTimeout,
    BodyTooSlow,
    BodyTooLarge,
    /// The request's body broke off.
    BodyBroken,
    // Of connections, before their first request or in tcp mode.
    /// A PROXY line from somebody who is not trusted to send one.
    ProxyUntrusted,
    ProxyMalformed,
    ProxyTimeout,
    /// No TLS where it was to be.
    TlsHello,
    TlsHelloTimeout,
    /// A plugin refused the connection.
    Refused,
    // Ours.
    /// A plugin that is asked about connections failed.
    ConnectPluginFailed,
    /// Nothing says where the request is to go.
    NoPool,
    /// A filter failed, and nobody passes without it.
    FilterFailed,
    /// The listener is gone with a reload.
    ListenerGone,
    // The servers'.
    /// No server may be used.
    NoServer,
    /// None had a place in time; it is worth to ask again after so many seconds.
    QueueTimeout(u16),
    /// As many wait for a place as may.
    QueueFull(u16),
    /// All attempts together took too long.
    TotalTimeout,
    ConnectFailed,
    /// We had no file, port or memory for a connection to it.
    NoSocket,
    ConnectTimeout,
    /// Connected, but there is no TLS with it.
    ServerTls,
    /// The server took nothing of the request.
    SendTimeout,
    /// The connection broke before an answer began.
    ServerClosed,
    /// The answer is no HTTP response.
    BadResponse,
    FirstByteTimeout,
    // After the answer's head, or before there was one to give it to: no status of ours.
    ClientClosed,
    ClientStalled,
    /// It took its answer too slowly.
    ResponseTooSlow,
    TunnelTimeout,
    ServerAborted,
    ServerStalled,
    /// A client of HTTP/2 that makes work of nothing.
    Flood,
    /// Cut as the server was found down.
    ServerDown,
    /// Cut at the drain deadline.
    Cut,
    /// A bug of ours.
    Panic,
}

/// How far a request had come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Request,
    Queue,
    Connect,
    Head,
    Data,
    /// The server is done; the client has not taken everything.
    Last,
}

impl Fault {
    /// What the client is told. None: it has its status already, or is gone.
    pub fn status(self) -> Option<StatusCode> {
        use Fault::*;
        Some(match self {
            BadRequest(why) => {
                StatusCode::from_u16(why.status()).unwrap_or(StatusCode::BAD_REQUEST)
            }
            BodyBroken | PlainHttp => StatusCode::BAD_REQUEST,
            HeadTimeout | BodyTimeout | BodyTooSlow => StatusCode::REQUEST_TIMEOUT,
            BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            HeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            ConnectMethod => StatusCode::METHOD_NOT_ALLOWED,
            NoPool => StatusCode::NOT_FOUND,
            FilterFailed | ListenerGone | NoServer | ConnectFailed | NoSocket | ServerTls
            | QueueTimeout(_) | QueueFull(_) => StatusCode::SERVICE_UNAVAILABLE,
            ServerClosed | BadResponse => StatusCode::BAD_GATEWAY,
            ConnectTimeout | SendTimeout | FirstByteTimeout | TotalTimeout => {
                StatusCode::GATEWAY_TIMEOUT
            }
            ClientClosed | ClientStalled | ResponseTooSlow | TunnelTimeout | ServerAborted
            | ServerStalled | ServerDown | Flood | Cut | Panic | HandshakeFailed
            | HandshakeTimeout => return None,
            ProxyUntrusted | ProxyMalformed | ProxyTimeout | TlsHello | TlsHelloTimeout
            | Refused | ConnectPluginFailed => return None,
        })
    }

    /// In the access log and in `tidegate_faults_total`.
    pub fn word(self) -> &'static str {
        use Fault::*;
        match self {
            BadRequest(why) => why.word(),
            HeadTimeout => "request-head-timeout",
            HeadTooLarge => "request-head-too-large",
            PlainHttp => "plain-http",
            HandshakeFailed => "tls-handshake-failed",
            HandshakeTimeout => "tls-handshake-timeout",
            ConnectMethod => "connect-method",
            BodyTimeout => "request-body-timeout",
            BodyTooSlow => "request-body-too-slow",
            BodyTooLarge => "request-body-too-large",
            BodyBroken => "request-body-broken",
            ProxyUntrusted => "proxy-untrusted",
            ProxyMalformed => "proxy-malformed",
            ProxyTimeout => "proxy-timeout",
            TlsHello => "tls-hello-malformed",
            TlsHelloTimeout => "tls-hello-timeout",
            Refused => "connection-refused",
            ConnectPluginFailed => "connect-plugin-failed",
            NoPool => "no-pool",
            FilterFailed => "filter-failed",
            ListenerGone => "listener-gone",
            NoServer => "no-server",
            QueueTimeout(_) => "queue-timeout",
            QueueFull(_) => "queue-full",
            TotalTimeout => "total-timeout",
            ConnectFailed => "connect-failed",
            NoSocket => "no-socket",
            ConnectTimeout => "connect-timeout",
            ServerTls => "server-tls-failed",
            SendTimeout => "send-timeout",
            ServerClosed => "server-closed",
            BadResponse => "bad-response",
            FirstByteTimeout => "first-byte-timeout",
            ClientClosed => "client-closed",
            ClientStalled => "client-stalled",
            ResponseTooSlow => "response-too-slow",
            TunnelTimeout => "tunnel-timeout",
            ServerAborted => "server-aborted",
            ServerStalled => "between-bytes-timeout",
            Flood => "http2-flood",
            ServerDown => "server-down",
            Cut => "cut",
            Panic => "panic",
        }
    }

    /// HAProxy's termination state ("Session state at disconnection" in its configuration manual): who ended it, and how
    /// far it had come.
    pub fn letters(self, stage: Stage) -> [u8; 2] {
        use Fault::*;
        let how_far = stage.letter();
        match self {
            BadRequest(_) | HeadTooLarge | BodyTooLarge | PlainHttp => *b"PR",
            ConnectMethod | FilterFailed | NoPool => *b"PR",
            ProxyUntrusted | ProxyMalformed | TlsHello | Refused | ConnectPluginFailed => *b"PR",
            HandshakeFailed => *b"CR",
            HeadTimeout | HandshakeTimeout | ProxyTimeout | TlsHelloTimeout => *b"cR",
            BodyTimeout | BodyTooSlow => *b"cD",
            BodyBroken => *b"CD",
            ListenerGone => *b"KR",
            NoServer | ConnectFailed | ServerTls => *b"SC",
            NoSocket => *b"RC",
            QueueTimeout(_) => *b"sQ",
            QueueFull(_) => *b"SQ",
            TotalTimeout => [b's', how_far],
            ConnectTimeout => *b"sC",
            ServerClosed => *b"SH",
            BadResponse => *b"PH",
            // As HAProxy says it of either way while there is no answer.
            SendTimeout | FirstByteTimeout => *b"sH",
            ClientClosed => [b'C', how_far],
            // HAProxy's `timeout tunnel` stands in for either side's, and the client's is looked at first.
            ClientStalled | ResponseTooSlow | TunnelTimeout => [b'c', how_far],
            ServerAborted => [b'S', how_far],
            ServerStalled => [b's', how_far],
            Flood => [b'P', how_far],
            ServerDown => [b'D', how_far],
            Cut => [b'K', how_far],
            Panic => [b'I', how_far],
        }
    }

    /// For the page.
    pub fn sentence(self) -> &'static str {
        use Fault::*;
        match self {
            BadRequest(_) => "The request could not be understood.",
            HeadTimeout => "The request took too long to arrive.",
            HeadTooLarge => "The request's header is too large.",
            PlainHttp => "This is plain HTTP, sent to a port that speaks HTTPS; use https://.",
            ConnectMethod => "This is not a forward proxy.",
            BodyTimeout | BodyTooSlow => "The request's body took too long to arrive.",
            BodyTooLarge => "The request's body is too large.",
            BodyBroken => "The request's body broke off.",
            NoPool => "Nothing is served at this address.",
            FilterFailed => "A check that every request must pass could not be made.",
            ListenerGone => "This address is no longer served.",
            NoServer => "No server is available.",
            QueueTimeout(_) | QueueFull(_) => "All servers are busy.",
            ConnectFailed | NoSocket => "The server could not be reached.",
            ServerTls => "No secure connection to the server could be made.",
            ConnectTimeout | FirstByteTimeout | TotalTimeout => {
                "The server took too long to answer."
            }
            SendTimeout => "The server took too long to take the request.",
            ServerClosed => "The server closed the connection without an answer.",
            BadResponse => "The server's answer could not be understood.",
            ClientClosed | ClientStalled | ResponseTooSlow | TunnelTimeout | ServerAborted
            | ServerStalled | ServerDown | Flood | Cut | Panic | HandshakeFailed
            | HandshakeTimeout => "",
            ProxyUntrusted | ProxyMalformed | ProxyTimeout | TlsHello | TlsHelloTimeout
            | Refused | ConnectPluginFailed => "",
        }
    }
}

impl Fault {
    /// Seconds after which it is worth to ask again (RFC 9110, 10.2.3).
    pub fn retry_after(self) -> Option<u16> {
        match self {
            Fault::QueueTimeout(seconds) | Fault::QueueFull(seconds) => Some(seconds),
            _ => None,
        }
    }
}

impl Stage {
    fn letter(self) -> u8 {
        match self {
            Stage::Request => b'R',
            Stage::Queue => b'Q',
            Stage::Connect => b'C',
            Stage::Head => b'H',
            Stage::Data => b'D',
            Stage::Last => b'L',
        }
    }
}

impl From<Blame> for Fault {
    fn from(blame: Blame) -> Fault {
        match blame {
            Blame::Client => Fault::ClientClosed,
            Blame::ClientTimeout => Fault::ClientStalled,
            Blame::ClientTooSlow => Fault::ResponseTooSlow,
            Blame::TooLarge => Fault::BodyTooLarge,
            Blame::TunnelTimeout => Fault::TunnelTimeout,
            Blame::Server => Fault::ServerAborted,
            Blame::ServerTimeout => Fault::ServerStalled,
            Blame::Flood => Fault::Flood,
            Blame::ServerDown => Fault::ServerDown,
            Blame::Operator => Fault::Cut,
            Blame::Ourselves => Fault::Panic,
        }
    }
}

impl From<Unreadable> for Fault {
    fn from(why: Unreadable) -> Fault {
        match why {
            Unreadable::Late => Fault::HeadTimeout,
            Unreadable::HeadTooLarge => Fault::HeadTooLarge,
            Unreadable::PlainHttp => Fault::PlainHttp,
            Unreadable::Refused(Refused::Connect) => Fault::ConnectMethod,
            Unreadable::Refused(why) => Fault::BadRequest(why),
            // HTTP/2 where it is not served.
            Unreadable::Preface => Fault::BadRequest(Refused::Version),
        }
    }
}

/// A wait for the server's head that took too long.
impl From<Phase> for Fault {
    fn from(phase: Phase) -> Fault {
        match phase {
            Phase::RequestBody => Fault::BodyTimeout,
            Phase::SlowBody => Fault::BodyTooSlow,
            Phase::Sending => Fault::SendTimeout,
            _ => Fault::FirstByteTimeout,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fault, status (0: none of ours), word, letters where the request had come as far as such a fault is met.
    const TABLE: &[(Fault, u16, &str, Stage, &[u8; 2])] = &[
        (
            Fault::BadRequest(Refused::Host),
            400,
            "bad-host",
            Stage::Request,
            b"PR",
        ),
        (
            Fault::HeadTimeout,
            408,
            "request-head-timeout",
            Stage::Request,
            b"cR",
        ),
        (
            Fault::HeadTooLarge,
            431,
            "request-head-too-large",
            Stage::Request,
            b"PR",
        ),
        (Fault::PlainHttp, 400, "plain-http", Stage::Request, b"PR"),
        (
            Fault::HandshakeFailed,
            0,
            "tls-handshake-failed",
            Stage::Request,
            b"CR",
        ),
        (
            Fault::HandshakeTimeout,
            0,
            "tls-handshake-timeout",
            Stage::Request,
            b"cR",
        ),
        (
            Fault::ServerTls,
            503,
            "server-tls-failed",
            Stage::Connect,
            b"SC",
        ),
        (
            Fault::ConnectMethod,
            405,
            "connect-method",
            Stage::Request,
            b"PR",
        ),
        (
            Fault::BodyTimeout,
            408,
            "request-body-timeout",
            Stage::Head,
            b"cD",
        ),
        (
            Fault::BodyTooSlow,
            408,
            "request-body-too-slow",
            Stage::Head,
            b"cD",
        ),
        (
            Fault::BodyTooLarge,
            413,
            "request-body-too-large",
            Stage::Request,
            b"PR",
        ),
        (
            Fault::BodyBroken,
            400,
            "request-body-broken",
            Stage::Head,
            b"CD",
        ),
        (Fault::NoPool, 404, "no-pool", Stage::Queue, b"PR"),
        (
            Fault::FilterFailed,
            503,
            "filter-failed",
            Stage::Queue,
            b"PR",
        ),
        (
            Fault::ListenerGone,
            503,
            "listener-gone",
            Stage::Request,
            b"KR",
        ),
        (Fault::NoServer, 503, "no-server", Stage::Queue, b"SC"),
        (
            Fault::QueueTimeout(5),
            503,
            "queue-timeout",
            Stage::Queue,
            b"sQ",
        ),
        (Fault::QueueFull(5), 503, "queue-full", Stage::Queue, b"SQ"),
        (
            Fault::TotalTimeout,
            504,
            "total-timeout",
            Stage::Head,
            b"sH",
        ),
        (
            Fault::ConnectFailed,
            503,
            "connect-failed",
            Stage::Connect,
            b"SC",
        ),
        (Fault::NoSocket, 503, "no-socket", Stage::Connect, b"RC"),
        (
            Fault::ConnectTimeout,
            504,
            "connect-timeout",
            Stage::Connect,
            b"sC",
        ),
        (Fault::SendTimeout, 504, "send-timeout", Stage::Head, b"sH"),
        (
            Fault::ServerClosed,
            502,
            "server-closed",
            Stage::Head,
            b"SH",
        ),
        (Fault::BadResponse, 502, "bad-response", Stage::Head, b"PH"),
        (
            Fault::FirstByteTimeout,
            504,
            "first-byte-timeout",
            Stage::Head,
            b"sH",
        ),
        (Fault::ClientClosed, 0, "client-closed", Stage::Head, b"CH"),
        (
            Fault::ClientStalled,
            0,
            "client-stalled",
            Stage::Last,
            b"cL",
        ),
        (
            Fault::ResponseTooSlow,
            0,
            "response-too-slow",
            Stage::Data,
            b"cD",
        ),
        (
            Fault::TunnelTimeout,
            0,
            "tunnel-timeout",
            Stage::Data,
            b"cD",
        ),
        (
            Fault::ServerAborted,
            0,
            "server-aborted",
            Stage::Data,
            b"SD",
        ),
        (
            Fault::ServerStalled,
            0,
            "between-bytes-timeout",
            Stage::Data,
            b"sD",
        ),
        (Fault::Flood, 0, "http2-flood", Stage::Request, b"PR"),
        (
            Fault::ProxyUntrusted,
            0,
            "proxy-untrusted",
            Stage::Request,
            b"PR",
        ),
        (
            Fault::ProxyMalformed,
            0,
            "proxy-malformed",
            Stage::Request,
            b"PR",
        ),
        (
            Fault::ProxyTimeout,
            0,
            "proxy-timeout",
            Stage::Request,
            b"cR",
        ),
        (
            Fault::TlsHello,
            0,
            "tls-hello-malformed",
            Stage::Request,
            b"PR",
        ),
        (
            Fault::TlsHelloTimeout,
            0,
            "tls-hello-timeout",
            Stage::Request,
            b"cR",
        ),
        (
            Fault::Refused,
            0,
            "connection-refused",
            Stage::Request,
            b"PR",
        ),
        (
            Fault::ConnectPluginFailed,
            0,
            "connect-plugin-failed",
            Stage::Request,
            b"PR",
        ),
        (Fault::ServerDown, 0, "server-down", Stage::Data, b"DD"),
        (Fault::Cut, 0, "cut", Stage::Connect, b"KC"),
        (Fault::Panic, 0, "panic", Stage::Queue, b"IQ"),
    ];

    #[test]
    fn each_fault_has_its_status_its_word_and_its_letters() {
        for (fault, status, word, stage, letters) in TABLE {
            assert_eq!(
                fault.status().map_or(0, |status| status.as_u16()),
                *status,
                "{fault:?}"
            );
            assert_eq!(fault.word(), *word, "{fault:?}");
            assert_eq!(fault.letters(*stage), **letters, "{fault:?}");
            assert_eq!(fault.sentence().is_empty(), *status == 0, "{fault:?}");
        }
        let words: std::collections::HashSet<_> = TABLE.iter().map(|row| row.2).collect();
        assert_eq!(words.len(), TABLE.len(), "a word means one fault");
    }

    #[test]
    fn the_reference_tells_of_every_fault() {
        let readme = include_str!("../../../README.md");
        let words = TABLE.iter().map(|row| row.0.word());
        for word in words.chain(Refused::ALL.iter().map(|why| why.word())) {
            assert!(readme.contains(&format!("`{word}`")), "README.md: {word}");
        }
    }
}
