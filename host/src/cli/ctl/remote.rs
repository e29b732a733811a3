//! The admin port of a running proxy, or its socket, and what it answers.

use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use super::super::terminal::{Failure, failed};
use super::tables::{lines, list};

const DEFAULT_ADMIN: &str = "http://127.0.0.1:9901";
/// The largest answer that is read.
const MOST_ANSWER: usize = 64 << 20;
/// How long an answer that goes on may take to begin, and be silent: the proxy says something more often.
const BEGINNING: Duration = Duration::from_secs(5);
const SILENCE: Duration = Duration::from_secs(60);

/// The admin surface of a proxy.
pub struct Remote {
    url: String,
    place: Place,
    token: Option<String>,
}

enum Place {
    /// `host:port`
    Port(String),
    Socket(PathBuf),
}

pub struct Answer {
    pub status: StatusCode,
    body: Bytes,
}

impl Remote {
    pub fn new(admin: Option<String>, token: Option<String>) -> Result<Remote, Failure> {
        let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let url = admin
            .or_else(|| set("TIDEGATE_ADMIN"))
            .unwrap_or_else(|| DEFAULT_ADMIN.into());
        let place = match url.strip_prefix("unix:") {
            Some(path) => Some(Place::Socket(path.into())),
            None => authority(&url).map(Place::Port),
        };
        let place = place.ok_or_else(|| {
            Failure::new(format!(
                "{url:?} is no address of an admin surface; write --admin {DEFAULT_ADMIN}, or unix:PATH"
            ))
        })?;
        let token = token.or_else(|| set("TIDEGATE_TOKEN"));
        Ok(Remote { url, place, token })
    }

    pub fn ask(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        patience: Duration,
    ) -> Result<Answer, Failure> {
        let runtime = runtime()?;
        let talk = async { tokio::time::timeout(patience, self.talk(method, path, body)).await };
        match runtime.block_on(talk) {
            Ok(result) => result,
            Err(_) => Err(self.late(patience)),
        }
    }

    /// Gives every line of an answer to `each`, but for empty ones, until it ends, `each` says false, or Ctrl-C.
    pub fn follow(
        &self,
        path: &str,
        each: impl FnMut(&str) -> Result<bool, Failure>,
    ) -> Result<(), Failure> {
        runtime()?.block_on(async {
            tokio::select! {
                result = self.lines(path, each) => result,
                _ = tokio::signal::ctrl_c() => Ok(()),
            }
        })
    }

    async fn lines(
        &self,
        path: &str,
        mut each: impl FnMut(&str) -> Result<bool, Failure>,
    ) -> Result<(), Failure> {
        let beginning = self.send(Method::GET, path, Bytes::new());
        let begun = timeout(BEGINNING, beginning).await;
        let mut answer = begun.map_err(|_| self.late(BEGINNING))??;
        if !answer.status().is_success() {
            let refused = timeout(BEGINNING, self.whole(answer)).await;
            return Err(refused.map_err(|_| self.late(BEGINNING))??.refusal());
        }
        let mut begun = Vec::new();
        loop {
            let frame = timeout(SILENCE, answer.frame()).await;
            let Some(frame) = frame.map_err(|_| self.silent_for(SILENCE))? else {
                return Ok(());
            };
            let frame = frame.map_err(|_| {
                Failure::new(format!("{}: the proxy has gone, or ended it", self.url))
            })?;
            let Ok(more) = frame.into_data() else {
                continue;
            };
            begun.extend_from_slice(&more);
            if begun.len() > MOST_ANSWER {
                return Err(Failure::new(format!("{} sends no lines", self.url)));
            }
            let Some(end) = begun.iter().rposition(|byte| *byte == b'\n') else {
                continue;
            };
            let rest = begun.split_off(end + 1);
            let whole = std::mem::replace(&mut begun, rest);
            let whole = String::from_utf8_lossy(&whole);
            for line in whole.lines().filter(|line| !line.is_empty()) {
                if !each(line)? {
                    return Ok(());
                }
            }
        }
    }

    fn late(&self, patience: Duration) -> Failure {
        Failure::new(format!(
            "{} did not answer within {} s",
            self.url,
            patience.as_secs()
        ))
    }

    fn silent_for(&self, time: Duration) -> Failure {
        let seconds = time.as_secs();
        Failure::new(format!("{} has been silent for {seconds} s", self.url))
    }

    async fn talk(&self, method: Method, path: &str, body: Bytes) -> Result<Answer, Failure> {
        let answer = self.send(method, path, body).await?;
        self.whole(answer).await
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Response<Incoming>, Failure> {
        match &self.place {
            Place::Port(authority) => {
                let stream = TcpStream::connect(authority).await;
                let stream = stream.map_err(|error| self.silent(&error, "bind"))?;
                self.over(stream, method, path, body).await
            }
            Place::Socket(at) => {
                let stream = UnixStream::connect(at).await;
                let stream = stream.map_err(|error| self.silent(&error, "socket"))?;
                self.over(stream, method, path, body).await
            }
        }
    }

    fn silent(&self, error: &io::Error, key: &str) -> Failure {
        Failure::new(format!(
            "nothing answers at {}: {error}; is the proxy running, and is this its [admin] {key}? (--admin URL)",
            self.url
        ))
    }

    async fn over(
        &self,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Response<Incoming>, Failure> {
        let broken = |error: hyper::Error| Failure::new(format!("{} broke off: {error}", self.url));
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(broken)?;
        // It ends with the runtime.
        tokio::spawn(connection);
        let request = self.request(method, path, body)?;
        sender.send_request(request).await.map_err(broken)
    }

    async fn whole(&self, answer: Response<Incoming>) -> Result<Answer, Failure> {
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, MOST_ANSWER)
            .collect()
            .await
            .map_err(|error| Failure::new(format!("{} broke off: {error}", self.url)))?
            .to_bytes();
        Ok(Answer {
            status: head.status,
            body,
        })
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>, Failure> {
        let host = match &self.place {
            Place::Port(authority) => authority,
            Place::Socket(_) => "localhost",
        };
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, host)
            .header(
                header::USER_AGENT,
                concat!("tidegate/", env!("CARGO_PKG_VERSION")),
            );
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        request
            .body(Full::new(body))
            .map_err(|_| Failure::new("the token has characters that no header can hold"))
    }
}

impl Answer {
    pub fn text(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.body)
    }

    pub fn json(&self) -> Result<Value, Failure> {
        if !self.status.is_success() {
            return Err(self.refusal());
        }
        serde_json::from_slice(&self.body).map_err(|_| {
            Failure::new("the answer is no JSON; is this tidegate's admin port? (--admin URL)")
        })
    }

    /// `{"error": …, "problems": […]}` as a failure.
    pub fn refusal(&self) -> Failure {
        let body: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        let Some(error) = body["error"].as_str() else {
            return Failure::new(format!(
                "the answer was {}; is this tidegate's admin port? (--admin URL)",
                self.status
            ));
        };
        let mut error = lines(error);
        if self.status == StatusCode::UNAUTHORIZED {
            error += " (here: --token TOKEN, or TIDEGATE_TOKEN)";
        }
        let problems = list(&body["problems"])
            .iter()
            .filter_map(Value::as_str)
            .map(lines);
        Failure::of_texts(std::iter::once(error).chain(problems).collect())
    }
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().map_err(failed("start"))
}

/// `host:port` of `http://host[:port][/]`.
fn authority(url: &str) -> Option<String> {
    let uri: Uri = url.parse().ok()?;
    let plain =
        uri.scheme_str() == Some("http") && matches!(uri.path(), "" | "/") && uri.query().is_none();
    let authority = uri
        .authority()
        .filter(|a| plain && !a.as_str().contains('@'))?;
    Some(format!(
        "{}:{}",
        authority.host(),
        authority.port_u16().unwrap_or(80)
    ))
}

/// A segment of a path: all but RFC 3986's unreserved characters are percent-encoded.
pub fn escaped(segment: &str) -> String {
    segment.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(byte as char);
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_admin_url_is_plain_http() {
        assert_eq!(
            authority("http://127.0.0.1:9901").as_deref(),
            Some("127.0.0.1:9901")
        );
        assert_eq!(authority("http://[::1]:1/").as_deref(), Some("[::1]:1"));
        assert_eq!(
            authority("http://localhost").as_deref(),
            Some("localhost:80")
        );
        for bad in [
            "https://x",
            "127.0.0.1:9901",
            "http://a@b",
            "http://x/api",
            "",
            "http://",
        ] {
            assert_eq!(authority(bad), None, "{bad}");
        }
    }

    #[test]
    fn names_are_escaped_in_paths() {
        assert_eq!(escaped("a b/c@é"), "a%20b%2Fc%40%C3%A9");
    }
}
