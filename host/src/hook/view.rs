//! What a decision may look at. One trait serves HTTP/1 bytes and HTTP/2 header maps alike.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use http::HeaderName;

use crate::base::ids::Slot;
use crate::base::text::Text;

/// A request as plugins see it: after hop-by-hop and untrusted forwarding fields are gone, with the edits of earlier
/// plugins applied.
pub trait RequestView {
    fn method(&self) -> &str;
    /// `http` or `https`.
    fn scheme(&self) -> &'static str;
    /// `HTTP/1.0`, `HTTP/1.1` or `HTTP/2`.
    fn version(&self) -> &'static str;
    /// Lower case, without a port.
    fn host(&self) -> Option<&[u8]>;
    /// As sent, without the query; `*` for `OPTIONS *`.
    fn path(&self) -> &[u8];
    /// As sent, without `?`.
    fn query(&self) -> Option<&[u8]>;
    /// The field's value. Several occurrences are joined with ", " (RFC 9110, 5.3), Cookie with "; ".
    fn field(&self, name: &HeaderName) -> Option<Cow<'_, [u8]>>;
    fn connection(&self) -> &ConnectionFacts;
    fn request_id(&self) -> &str;
    fn note(&self, name: &str) -> Option<&str>;
    /// The name of the route taken, once there is one.
    fn route(&self) -> Option<&str>;
    /// The name of the pool chosen, once there is one.
    fn pool(&self) -> Option<&str>;
}

/// A response's head as plugins see it.
pub trait ResponseView {
    fn request(&self) -> &dyn RequestView;
    fn status(&self) -> u16;
    /// The server that answered; none when the proxy itself did.
    fn server(&self) -> Option<&str>;
    /// As [`RequestView::field`], of the response; Set-Cookie is never joined, its first occurrence is given.
    fn field(&self, name: &HeaderName) -> Option<Cow<'_, [u8]>>;

    /// The first Set-Cookie for the cookie of that name: what follows the name.
    fn set_cookie(&self, _cookie: &str) -> Option<&[u8]> {
        None
    }
}

/// A probe's result as a judge sees it.
pub struct ProbeView<'a> {
    pub pool: &'a str,
    pub server: &'a str,
    /// 0: there was no answer.
    pub status: u16,
    /// The first 64 KiB.
    pub body: &'a [u8],
    /// Of the answer.
    pub field: &'a dyn Fn(&HeaderName) -> Option<Vec<u8>>,
    pub took: Duration,
    pub timed_out: bool,
    /// In a row before this one.
    pub successes: u32,
    pub failures: u32,
}

/// Whom a prober probes.
#[derive(Clone, Copy)]
pub struct ProbeTarget<'a> {
    pub pool: &'a str,
    pub server: &'a str,
    pub address: &'a str,
}

/// What is known of a connection, made once when it is accepted.
#[derive(Clone, Debug)]
pub struct ConnectionFacts {
    pub client: SocketAddr,
    /// `client`'s address as text, IPv4-mapped ones as IPv4.
    pub client_address: Text<39>,
    pub client_port: Text<5>,
    /// Where the client connected to.
    pub local: SocketAddr,
    /// The listener's name.
    pub listener: Rc<str>,
    /// Of TLS that ends here.
    pub tls: Option<Rc<TlsFacts>>,
    /// None: nobody said anything.
    pub told: Option<Box<Told>>,
}

/// What others say of a connection: the proxy before us in a PROXY line, or the client in a TLS hello that is passed on.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// Who is connected, where `client` is another.
    pub peer: Option<SocketAddr>,
    pub server_name: Option<Box<str>>,
    pub alpn: Option<Box<str>>,
}

impl ConnectionFacts {
    /// Who is connected: the client, or the proxy that speaks for it.
    pub fn peer(&self) -> SocketAddr {
        let told = self.told.as_ref().and_then(|told| told.peer);
        told.unwrap_or(self.client)
    }

    /// The TLS server name; what we have seen ourselves goes before hearsay.
    pub fn server_name(&self) -> Option<&str> {
        let ours = self.tls.as_ref().and_then(|tls| tls.server_name.as_deref());
        ours.or_else(|| self.told.as_ref()?.server_name.as_deref())
    }

    /// The application protocol; of a hello that is passed on, the one that the client likes best.
    pub fn alpn(&self) -> Option<&str> {
        let ours = self.tls.as_ref().and_then(|tls| tls.alpn.as_deref());
        ours.or_else(|| self.told.as_ref()?.alpn.as_deref())
    }
}

/// What is known of a TLS connection.
#[derive(Clone, Debug, Default)]
pub struct TlsFacts {
    pub server_name: Option<Box<str>>,
    pub alpn: Option<Box<str>>,
    /// SHA-256 of the client's certificate, 64 hexadecimal digits.
    pub client_fingerprint: Option<Box<str>>,
    /// RFC 4514, in printable ASCII.
    pub client_subject: Option<Box<str>>,
}

/// A server of a pool as a balancer sees it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServerView {
    pub slot: Slot,
    pub name: String,
    /// `host:port` as configured.
    pub address: String,
    /// 0 to 256; 0 takes no new users.
    pub weight: u32,
    pub state: ServerState,
    pub backup: bool,
    pub labels: Vec<(String, String)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ServerState {
    Ready,
    /// Keeps the users it has.
    Drain,
    Down,
}
