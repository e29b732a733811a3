//! The origins whose pages may read answers. Compared as they are sent: a browser writes an origin in one way alone
//! (Fetch, 3.2; scheme and host in lower case, no default port).

use std::collections::HashSet;

pub struct Origins {
    pub any: bool,
    exact: HashSet<String>,
    /// What stands before and after the star: `https://` and `.example`.
    below: Vec<(String, String)>,
}

impl Origins {
    pub fn new(written: &[String]) -> Result<Origins, String> {
        if written.is_empty() {
            return Err("key `origins`: name at least one, such as \"https://app.example\"; \"*\" stands for all".to_owned());
        }
        let mut origins = Origins {
            any: false,
            exact: HashSet::new(),
            below: Vec::new(),
        };
        for (at, text) in written.iter().enumerate() {
            origins
                .add(text)
                .map_err(|e| format!("key `origins[{at}]`: {e}"))?;
        }
        Ok(origins)
    }

    /// `null`, the origin of sandboxed frames and local files, is none of anybody's.
    pub fn allow(&self, origin: &str) -> bool {
        let within = |(before, after): &(String, String)| {
            let label = origin
                .strip_prefix(before.as_str())
                .and_then(|rest| rest.strip_suffix(after.as_str()));
            label.is_some_and(is_name)
        };
        self.any || self.exact.contains(origin) || self.below.iter().any(within)
    }

    fn add(&mut self, text: &str) -> Result<(), String> {
        if text == "*" {
            self.any = true;
            return Ok(());
        }
        let lower = text.to_ascii_lowercase();
        let (scheme, rest) = lower.split_once("://").ok_or_else(|| {
            format!("`{text}` is no origin: write scheme, host, and the port if it is not the scheme's own, such as \"https://app.example\"")
        })?;
        if rest.contains(['/', '?', '#', '@']) {
            return Err(format!(
                "`{text}`: an origin has no path, query or user; leave what follows the host and port"
            ));
        }
        let (host, port) = without_default(scheme, rest);
        if !is_port(port) {
            return Err(format!(
                "`{text}`: `{port}` is no port; write its number, such as `:8443`, or leave it out for the scheme's own"
            ));
        }
        match host.split_once("*.") {
            Some(("", parent)) if is_name(parent) => {
                self.below
                    .push((format!("{scheme}://"), format!(".{parent}{port}")));
            }
            None if is_host(host) => {
                self.exact.insert(format!("{scheme}://{host}{port}"));
            }
            _ => {
                return Err(format!(
                    "`{text}`: a star stands for the first labels of a name alone, such as \"https://*.example.com\""
                ));
            }
        }
        Ok(())
    }
}

/// Host, and `:port` unless it goes without saying.
fn without_default<'a>(scheme: &str, rest: &'a str) -> (&'a str, &'a str) {
    let end_of_host = rest.rfind(']').map_or(0, |at| at + 1);
    let at = rest[end_of_host..]
        .find(':')
        .map_or(rest.len(), |at| at + end_of_host);
    let (host, port) = rest.split_at(at);
    let default = matches!((scheme, port), ("https", ":443") | ("http", ":80"));
    (host, if default { "" } else { port })
}

/// As a browser writes it: none, or a number without zeros before it.
fn is_port(port: &str) -> bool {
    let number = |digits: &str| {
        let number: Option<u16> = digits.parse().ok();
        number.is_some_and(|number| number.to_string() == digits)
    };
    port.is_empty() || port.strip_prefix(':').is_some_and(number)
}

fn is_host(host: &str) -> bool {
    let v6 = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    is_name(host) || v6.is_some_and(|v6| v6.parse::<std::net::Ipv6Addr>().is_ok())
}

fn is_name(name: &str) -> bool {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
    name.split('.')
        .all(|label| !label.is_empty() && label.bytes().all(fits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_compared_whole() {
        let written = [
            "https://App.example:443",
            "http://localhost:3000",
            "https://*.example.com",
            "http://[::1]:80",
        ];
        let origins = Origins::new(&written.map(str::to_owned)).unwrap();
        for origin in [
            "https://app.example",
            "http://localhost:3000",
            "https://a.example.com",
            "https://a.b.example.com",
            "http://[::1]",
        ] {
            assert!(origins.allow(origin), "{origin}");
        }
        for origin in [
            "http://app.example",
            "https://app.example:8443",
            "http://localhost",
            "https://example.com",
            "https://.example.com",
            "https://evil.test/.example.com",
            "https://evil.test?.example.com",
            "https://a@b.example.com",
            "https://evilexample.com",
            "null",
            "",
        ] {
            assert!(!origins.allow(origin), "{origin}");
        }
    }
}
