//! What a cookie says: a server's name, and, where sessions end, two dates. Plain, `web1` or `web1|LAST|FIRST` with seconds in hex;
//! or sealed, so that clients can neither read nor forge it.

use std::fmt;
use std::time::Duration;

use tidegate_sdk::seal::Seal;

#[derive(Debug, PartialEq)]
pub struct Value {
    pub server: String,
    pub dates: Option<Dates>,
}

/// Since 1970; in whole seconds, as they are written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dates {
    /// When the user was here last.
    pub last: Duration,
    /// When the user came first.
    pub first: Duration,
}

pub enum Values {
    Plain,
    Sealed(Seal),
}

impl Values {
    pub fn write(&self, pool: &[u8], value: &Value) -> String {
        let text = match value.dates {
            Some(dates) => format!("{}|{dates}", escaped(&value.server)),
            None => escaped(&value.server),
        };
        match self {
            Values::Plain => text,
            Values::Sealed(seal) => seal.close(pool, text.as_bytes()),
        }
    }

    pub fn read(&self, pool: &[u8], text: &str) -> Option<Value> {
        let opened = match self {
            Values::Plain => text.to_owned(),
            Values::Sealed(seal) => String::from_utf8(seal.open(pool, text)?).ok()?,
        };
        let (server, dates) = match opened.split_once('|') {
            Some((server, dates)) => (server, Some(Dates::parse(dates)?)),
            None => (opened.as_str(), None),
        };
        let server = unescaped(server).filter(|server| !server.is_empty())?;
        Some(Value { server, dates })
    }
}

impl Dates {
    pub fn parse(text: &str) -> Option<Dates> {
        let (last, first) = text.split_once('|')?;
        let seconds = |hex: &str| u32::from_str_radix(hex, 16).ok();
        let date = |hex| seconds(hex).map(|n| Duration::from_secs(n.into()));
        Some(Dates {
            last: date(last)?,
            first: date(first)?,
        })
    }
}

impl fmt::Display for Dates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}|{:x}", self.last.as_secs(), self.first.as_secs())
    }
}

/// What no cookie's value may hold (RFC 6265, 4.1.1), and what parts ours, is percent-encoded.
fn escaped(server: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b);
    let mut text = String::new();
    for byte in server.bytes() {
        match plain(byte) {
            true => text.push(byte.into()),
            false => text += &format!("%{byte:02X}"),
        }
    }
    text
}

fn unescaped(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (hex, after) = rest.split_first_chunk::<2>()?;
        let hex = std::str::from_utf8(hex).ok()?;
        bytes.push(u8::from_str_radix(hex, 16).ok()?);
        rest = after;
    }
    String::from_utf8(bytes).ok()
}
