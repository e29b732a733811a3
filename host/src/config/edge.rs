//! Words and addresses of what stands before the first request: protocols of a listener, PROXY lines, Unix sockets, and what
//! becomes of sessions with a server that is down, and of requests for one that is full.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use schemars::{Schema, json_schema};

use super::address;
use super::checked::{Bind, Family, Mode, OnMarkedDown, ProxyIn, ProxyOut, WhenFull};
use super::read::{Fault, FromText};
use super::word::words;

/// Where a listener listens: `IP:port`, or `unix:PATH`.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum ListenerBind {
    Ip(SocketAddr),
    Unix(PathBuf),
}

/// A Unix socket's file; `unix:` may stand before it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct SocketPath(pub PathBuf);

/// Permissions of a Unix socket's file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct UnixMode(pub u32);

/// A path of a socket has at most that many bytes (unix(7), `sun_path`, its NUL left out).
const LONGEST_PATH: usize = 107;

/// The path in `unix:PATH`.
pub(super) fn unix_path(text: &str) -> Option<Result<PathBuf, Fault>> {
    let path = text.strip_prefix("unix:")?;
    Some(match path {
        "" => Err(Fault::new(
            "has no path",
            "write one behind the colon, such as \"unix:/run/app.sock\"",
        )),
        path if path.len() > LONGEST_PATH || path.contains('\0') => Err(Fault::new(
            "has a path that no socket can have",
            format!("write one of at most {LONGEST_PATH} bytes"),
        )),
        path => Ok(path.into()),
    })
}

impl FromText for ListenerBind {
    fn form() -> String {
        format!("{}, or \"unix:PATH\"", address::Bind::form())
    }

    fn from_text(text: &str) -> Result<ListenerBind, Fault> {
        match unix_path(text) {
            Some(path) => path.map(ListenerBind::Unix),
            None => address::Bind::from_text(text).map(|bind| ListenerBind::Ip(bind.0)),
        }
    }

    fn text_schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^unix:.|:[0-9]{1,5}$" })
    }
}

impl FromText for SocketPath {
    fn form() -> String {
        "a socket's path, such as \"/run/tidegate/admin.sock\"".to_owned()
    }

    fn from_text(text: &str) -> Result<SocketPath, Fault> {
        let path = text.strip_prefix("unix:").unwrap_or(text);
        if path.is_empty() {
            return Err(Fault::new("has no path", format!("write {}", Self::form())));
        }
        let path = unix_path(&format!("unix:{path}"));
        path.expect("it begins so").map(SocketPath)
    }

    fn text_schema() -> Schema {
        json_schema!({ "type": "string", "minLength": 1 })
    }
}

impl FromText for UnixMode {
    fn form() -> String {
        "permissions in octal, such as \"0660\"".to_owned()
    }

    fn from_text(text: &str) -> Result<UnixMode, Fault> {
        let digits = (3..=4).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
        let mode = u32::from_str_radix(text, 8).ok();
        match mode.filter(|mode| digits && *mode <= 0o777) {
            Some(mode) => Ok(UnixMode(mode)),
            None => Err(Fault::new(
                "is no permissions",
                format!("write {}", Self::form()),
            )),
        }
    }

    fn text_schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^0?[0-7]{3}$" })
    }
}

words!(Mode, "is no mode", "word", "http" => Mode::Http, "tcp" => Mode::Tcp);
words!(ProxyIn, "is no way to take PROXY lines", "word", "off" => ProxyIn::Off, "require" => ProxyIn::Require);
words!(ProxyOut, "is no version of the PROXY protocol", "word", "off" => ProxyOut::Off, "v1" => ProxyOut::V1, "v2" => ProxyOut::V2);
words!(Family, "is no choice of addresses", "word", "ipv4-first" => Family::Ipv4First, "ipv6-first" => Family::Ipv6First, "ipv4" => Family::Ipv4, "ipv6" => Family::Ipv6, "both" => Family::Both);
words!(OnMarkedDown, "is no answer to a server that is down", "word", "keep" => OnMarkedDown::Keep, "close" => OnMarkedDown::Close);
words!(WhenFull, "is no answer to a server that is full", "word", "another" => WhenFull::Another, "wait" => WhenFull::Wait);

impl Bind {
    /// The system chooses a port.
    pub fn is_any_port(&self) -> bool {
        matches!(self, Bind::Ip(address) if address.port() == 0)
    }
}

impl fmt::Display for Bind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Bind::Ip(address) => address.fmt(f),
            Bind::Unix { path, .. } => write!(f, "unix:{}", path.display()),
        }
    }
}
