//! Sends http requests to https. See README.md.
//!
//! The host comes from the request, so it is checked to be a name and nothing else before it becomes part of the Location: no
//! user part, no path, no line feed gets in.

use serde::Deserialize;
use tidegate_sdk::path::under;
use tidegate_sdk::prelude::*;

/// The longest Location, in bytes; the host takes 64 KiB of a plugin, and what must be encoded becomes three times as long.
const LONGEST: usize = 32 * 1024;

pub struct HttpsRedirect {
    settings: Settings,
    /// `:8443`, or nothing for 443.
    port: String,
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Settings {
    /// 301, 302, 307 or 308.
    status: u16,
    /// The port that https is served on, as clients see it.
    port: u16,
    /// Paths that stay on http: prefixes at a segment boundary.
    except: Vec<String>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            status: 308,
            port: 443,
            except: vec!["/.well-known/acme-challenge".to_owned()],
        }
    }
}

impl Plugin for HttpsRedirect {
    type Settings = Settings;

    fn new(settings: Settings, _: &Context) -> Result<Self, String> {
        if !matches!(settings.status, 301 | 302 | 307 | 308) {
            return Err(format!(
                "key `status`: {} is no such redirect; give 308 or 301 (lasting), 307 or 302 (for now); 308 and 307 keep the method",
                settings.status
            ));
        }
        if settings.port == 0 {
            return Err("key `port`: 0 is no port; give the one that clients reach https on, 443 by default".to_owned());
        }
        if let Some(path) = settings.except.iter().find(|path| !path.starts_with('/')) {
            return Err(format!("key `except`: `{path}` must begin with `/`"));
        }
        let port = if settings.port == 443 {
            String::new()
        } else {
            format!(":{}", settings.port)
        };
        Ok(HttpsRedirect { settings, port })
    }

    fn interest(&self) -> Interest {
        Interest::none().scheme().host().path().query().pure()
    }
}

impl RequestFilter for HttpsRedirect {
    fn request(&self, r: &Request) -> Outcome {
        if r.scheme() != "http" {
            return next();
        }
        let path = r.bytes(&Input::Path).unwrap_or_default();
        let except = &self.settings.except;
        if except
            .iter()
            .any(|prefix| under(path, prefix.as_bytes()).is_some())
        {
            return next();
        }
        let Some(host) = r.host().filter(|host| is_host(host)) else {
            return reply(400)
                .text("The request names no valid host, so it cannot be sent to https.\n")
                .why("no valid host");
        };
        let location = self.location(host, path, r.bytes(&Input::Query));
        if location.len() > LONGEST {
            return reply(414)
                .text("The path and query are too long to be sent to https.\n")
                .why("target too long");
        }
        reply(self.settings.status)
            .set("location", location)
            .why("to https")
    }
}

export!(HttpsRedirect: RequestFilter);

impl HttpsRedirect {
    fn location(&self, host: &str, path: &[u8], query: Option<&[u8]>) -> String {
        let mut location = format!("https://{host}{}", self.port);
        if !path.starts_with(b"/") {
            // `OPTIONS *` has no place in a URL.
            location.push('/');
        } else {
            push(&mut location, path);
        }
        if let Some(query) = query {
            location.push('?');
            push(&mut location, query);
        }
        location
    }
}

/// Percent-encodes what may not stand in a URL (RFC 3986, 2); what is encoded already stays as it is.
fn push(location: &mut String, sent: &[u8]) {
    for byte in sent {
        match byte {
            b'"' | b'#' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}' => {
                *location += &format!("%{byte:02X}")
            }
            byte if byte.is_ascii_graphic() => location.push(char::from(*byte)),
            byte => *location += &format!("%{byte:02X}"),
        }
    }
}

/// A name of letters, digits, `-`, `_` and dots, or an IPv6 address in brackets.
fn is_host(host: &str) -> bool {
    if let Some(inner) = host.strip_prefix('[') {
        let inner = inner.strip_suffix(']').unwrap_or_default();
        return inner.parse::<std::net::Ipv6Addr>().is_ok();
    }
    let label = |label: &str| {
        let letter = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        !label.is_empty() && label.len() <= 63 && label.bytes().all(letter)
    };
    host.len() <= 253 && host.strip_suffix('.').unwrap_or(host).split('.').all(label)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use tidegate_sdk::test::{FakeRequest, Harness, json};

    use super::*;

    fn answer(settings: Value, request: FakeRequest) -> Outcome {
        Harness::<HttpsRedirect>::new(settings)
            .unwrap()
            .request(&request)
            .outcome()
    }

    fn redirected(settings: Value, request: FakeRequest) -> (u16, String) {
        let outcome = answer(settings, request);
        let reply = outcome.replied().expect("a reply");
        let location = reply.header("location").unwrap_or_default().to_vec();
        (reply.status, String::from_utf8(location).unwrap())
    }

    fn get(host: &str, path: &str) -> FakeRequest {
        FakeRequest::get(path).host(host).scheme("http")
    }

    #[test]
    fn http_is_sent_to_https_with_path_and_query() {
        let to = |host, path| redirected(json!({}), get(host, path));
        assert_eq!(
            to("example.com", "/a/b?x=1&y=%20"),
            (308, "https://example.com/a/b?x=1&y=%20".into())
        );
        assert_eq!(
            to("example.com", "//evil.example/"),
            (308, "https://example.com//evil.example/".into())
        );
        assert_eq!(
            to("[2001:db8::1]", "/"),
            (308, "https://[2001:db8::1]/".into())
        );
        assert_eq!(to("example.com", "*"), (308, "https://example.com/".into()));
        assert_eq!(
            to("example.com", "/\\caf\u{e9}"),
            (308, "https://example.com/%5Ccaf%C3%A9".into())
        );
    }

    #[test]
    fn status_and_port_are_settings() {
        let settings = json!({ "status": 302, "port": 8443 });
        assert_eq!(
            redirected(settings, get("example.com", "/")),
            (302, "https://example.com:8443/".into())
        );
    }

    #[test]
    fn https_and_acme_pass() {
        assert_eq!(
            answer(json!({}), get("example.com", "/").scheme("https")),
            next()
        );
        let challenge = || get("example.com", "/.well-known/acme-challenge/token");
        assert_eq!(answer(json!({}), challenge()), next());
        assert_eq!(redirected(json!({ "except": [] }), challenge()).0, 308);
        assert_eq!(
            redirected(
                json!({}),
                get("example.com", "/.well-known/acme-challengex")
            )
            .0,
            308
        );
        assert_eq!(
            answer(
                json!({ "except": ["/health/"] }),
                get("example.com", "/health")
            ),
            next()
        );
    }

    #[test]
    fn a_host_that_is_none_and_a_target_without_end_are_refused() {
        let status = |request| {
            answer(json!({}), request)
                .replied()
                .map(|reply| reply.status)
        };
        for host in [
            "a b",
            "user@example.com",
            "a/b",
            "a..b",
            "a\r\nx: y",
            "[::1",
            "[evil]",
            "ex\u{e4}mple.com",
            "a:b",
            ".",
            "a?b",
            "a#b",
        ] {
            assert_eq!(status(get(host, "/")), Some(400), "{host:?}");
        }
        let long = format!("{}example.com", "a.".repeat(200));
        assert_eq!(status(get(&long, "/")), Some(400));
        let long = format!("/{}", "<".repeat(20_000));
        assert_eq!(status(get("example.com", &long)), Some(414));
    }

    #[test]
    fn wrong_settings_are_refused_with_key_and_remedy() {
        let refusal = |settings| Harness::<HttpsRedirect>::new(settings).unwrap_err();
        let cases = [
            (json!({ "status": 303 }), "key `status`: 303"),
            (json!({ "port": 0 }), "key `port`"),
            (json!({ "port": 70000 }), "key `port`"),
            (
                json!({ "except": ["health"] }),
                "key `except`: `health` must begin with `/`",
            ),
            (json!({ "code": 301 }), "unknown field `code`"),
        ];
        for (settings, words) in cases {
            let said = refusal(settings);
            assert!(said.contains(words), "{said}");
        }
    }
}
