//! `tidegate ctl`: talks to a running proxy over the admin port's HTTP.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use super::arguments::{Ctl, CtlCommand};
use super::terminal::{Failure, Progress, failed, print, shown, table};

const DEFAULT_ADMIN: &str = "http://127.0.0.1:9901";
/// A plain question; short, so that a health check tells in time.
const PATIENCE: Duration = Duration::from_secs(5);
/// A change waits for compilation and for every worker.
const LONG_PATIENCE: Duration = Duration::from_secs(120);
/// The largest answer that is read.
const MOST_ANSWER: usize = 64 << 20;

pub fn ctl(flags: Ctl) -> Result<(), Failure> {
    let proxy = Remote::new(flags.admin, flags.token)?;
    match flags.command {
        CtlCommand::Health { pool } => health(&proxy, pool.as_deref()),
        CtlCommand::Status { json } => status(&proxy, json),
        CtlCommand::Swap { name, file } => swap(&proxy, &name, &file),
        CtlCommand::Reload => reload(&proxy),
    }
}

fn health(proxy: &Remote, pool: Option<&str>) -> Result<(), Failure> {
    let query = pool.map(|pool| format!("?pool={}", escaped(pool)));
    let path = format!("/healthz{}", query.unwrap_or_default());
    let answer = proxy.ask(Method::GET, &path, Bytes::new(), PATIENCE)?;
    match answer.status {
        StatusCode::OK => print("ok\n"),
        StatusCode::SERVICE_UNAVAILABLE => Err(Failure::new(shown(answer.text().trim()))),
        _ => Err(answer.refusal()),
    }
}

fn status(proxy: &Remote, json: bool) -> Result<(), Failure> {
    let answer = proxy.ask(Method::GET, "/api/v1/status", Bytes::new(), PATIENCE)?;
    let status = answer.json()?;
    if json {
        let text = serde_json::to_string_pretty(&status).expect("it was JSON");
        return print(&format!("{text}\n"));
    }
    print(&as_tables(&status))
}

fn swap(proxy: &Remote, name: &str, file: &Path) -> Result<(), Failure> {
    let wasm = std::fs::read(file).map_err(failed(format_args!("read {}", file.display())))?;
    let path = format!("/api/v1/plugins/{}", escaped(name));
    let progress = Progress::new("compiling, configuring and warming up");
    let answer = proxy.ask(Method::PUT, &path, wasm.into(), LONG_PATIENCE)?;
    drop(progress);
    print(&applied(&answer.json()?))
}

fn reload(proxy: &Remote) -> Result<(), Failure> {
    let progress = Progress::new("reloading");
    let answer = proxy.ask(Method::POST, "/api/v1/reload", Bytes::new(), LONG_PATIENCE)?;
    drop(progress);
    print(&applied(&answer.json()?))
}

fn applied(answer: &Value) -> String {
    let plugins: Vec<String> = list(&answer["plugins"]).iter().map(text).collect();
    let plugins = match &plugins[..] {
        [] => "no plugin is new".to_owned(),
        names => format!("new: {}", names.join(", ")),
    };
    format!(
        "every worker runs generation {} (took {:.1} ms; {plugins})\n",
        answer["generation"],
        answer["took_ms"].as_f64().unwrap_or_default()
    )
}

fn as_tables(status: &Value) -> String {
    let mut out = String::new();
    let state = if status["draining"] == true {
        "draining"
    } else {
        "running"
    };
    let _ = writeln!(
        out,
        "tidegate {} {state}, generation {}, {} workers, since {}, {}",
        text(&status["version"]),
        status["generation"],
        status["workers"],
        text(&status["started"]),
        text(&status["config"]),
    );
    last_change(&mut out, &status["last_change"]);
    let columns = ["name", "addresses", "filters", "router", "pool"];
    out += &format!("\n{}", rows("listener", &columns, &status["listeners"]));
    let columns = ["name", "address", "weight", "state", "in_flight", "ewma_us"];
    for pool in list(&status["pools"]) {
        let (name, balancer) = (text(&pool["name"]), text(&pool["balancer"]));
        let _ = write!(
            out,
            "\npool {name}, by {balancer}\n{}",
            rows("server", &columns, &pool["servers"])
        );
    }
    let columns = [
        "name",
        "source",
        "roles",
        "state",
        "instances",
        "calls",
        "failures",
        "mean_call_ns",
    ];
    out += &format!("\n{}", rows("plugin", &columns, &status["plugins"]));
    out
}

fn last_change(out: &mut String, change: &Value) {
    if change.is_null() {
        return;
    }
    let (what, result, at) = (
        text(&change["what"]),
        text(&change["result"]),
        text(&change["at"]),
    );
    let _ = writeln!(out, "last change: {what}, {result} at {at}");
    for problem in list(&change["problems"]) {
        let _ = writeln!(out, "{}", lines(problem.as_str().unwrap_or_default()));
    }
}

fn rows(noun: &str, columns: &[&str], items: &Value) -> String {
    let mut heading = columns.to_vec();
    heading[0] = noun;
    let row = |item: &Value| columns.iter().map(|column| text(&item[*column])).collect();
    table(&heading, &list(items).iter().map(row).collect::<Vec<_>>())
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::String(text) => shown(text),
        Value::Array(items) if items.is_empty() => "-".into(),
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

/// Text of several lines, each safe for a terminal.
fn lines(text: &str) -> String {
    text.lines().map(shown).collect::<Vec<_>>().join("\n")
}

fn escaped(segment: &str) -> String {
    percent_encode(segment.as_bytes())
}

/// All but RFC 3986's unreserved characters.
fn percent_encode(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) {
            out.push(*byte as char);
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

/// The admin surface of a proxy.
struct Remote {
    url: String,
    /// `host:port`
    authority: String,
    token: Option<String>,
}

struct Answer {
    status: StatusCode,
    body: Bytes,
}

impl Remote {
    fn new(admin: Option<String>, token: Option<String>) -> Result<Remote, Failure> {
        let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let url = admin
            .or_else(|| set("TIDEGATE_ADMIN"))
            .unwrap_or_else(|| DEFAULT_ADMIN.into());
        let authority = authority(&url).ok_or_else(|| {
            Failure::new(format!(
                "{:?} is no address of an admin surface; write --admin {DEFAULT_ADMIN}",
                url
            ))
        })?;
        let token = token.or_else(|| set("TIDEGATE_TOKEN"));
        Ok(Remote {
            url,
            authority,
            token,
        })
    }

    fn ask(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        patience: Duration,
    ) -> Result<Answer, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(failed("start"))?;
        let talk = async { tokio::time::timeout(patience, self.talk(method, path, body)).await };
        match runtime.block_on(talk) {
            Ok(result) => result,
            Err(_) => Err(Failure::new(format!(
                "{} did not answer within {} s",
                self.url,
                patience.as_secs()
            ))),
        }
    }

    async fn talk(&self, method: Method, path: &str, body: Bytes) -> Result<Answer, Failure> {
        let stream = TcpStream::connect(&self.authority).await.map_err(|error| {
            Failure::new(format!(
                "nothing answers at {}: {error}; is the proxy running, and is this its [admin] bind? (--admin URL)",
                self.url
            ))
        })?;
        let broken = |error: hyper::Error| Failure::new(format!("{} broke off: {error}", self.url));
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(broken)?;
        let connection = tokio::spawn(connection);
        let request = self.request(method, path, body)?;
        let (head, body) = sender
            .send_request(request)
            .await
            .map_err(broken)?
            .into_parts();
        let body = Limited::new(body, MOST_ANSWER)
            .collect()
            .await
            .map_err(|error| Failure::new(format!("{} broke off: {error}", self.url)))?
            .to_bytes();
        connection.abort();
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
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, &self.authority)
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
    fn text(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.body)
    }

    fn json(&self) -> Result<Value, Failure> {
        if !self.status.is_success() {
            return Err(self.refusal());
        }
        serde_json::from_slice(&self.body).map_err(|_| {
            Failure::new("the answer is no JSON; is this tidegate's admin port? (--admin URL)")
        })
    }

    /// `{"error": …, "problems": […]}` as a failure.
    fn refusal(&self) -> Failure {
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
    fn a_status_is_shown_as_tables() {
        let status = serde_json::json!({
            "version": "0.1.0", "generation": 3, "workers": 2, "started": "x", "config": "t.toml", "draining": false,
            "last_change": {"at": "y", "what": "reload", "result": "rejected", "problems": ["bad\u{1b}[2J\nline"]},
            "listeners": [{"name": "web", "addresses": ["127.0.0.1:80"], "filters": [], "router": null, "pool": "app"}],
            "pools": [{"name": "app", "balancer": "round-robin", "servers": [{"name": "a", "address": "h:1", "weight": 1,
                "state": "ready", "in_flight": 2, "ewma_us": 30}]}],
            "plugins": [],
        });
        let shown = as_tables(&status);
        assert!(shown.contains("generation 3"), "{shown}");
        assert!(shown.contains("bad\\u{1b}[2J\nline"), "{shown}");
        assert!(shown.contains("listener  addresses     filters  router  pool\nweb       127.0.0.1:80  -        -       app"), "{shown}");
        assert!(
            shown.contains("a       h:1      1       ready  2          30"),
            "{shown}"
        );
    }

    #[test]
    fn names_are_escaped_in_paths() {
        assert_eq!(escaped("a b/c@é"), "a%20b%2Fc%40%C3%A9");
    }
}
