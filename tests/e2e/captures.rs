//! What a line of the access log holds: fields by choice, and headers as client and server sent them.

use serde_json::json;
use tidegate_tests::{
    Origin, Proxy, Setup, Signal, curl, listener, pool, reply, wait_for, wait_until,
};

const CAPTURES: &str = "request-headers = [\"X-Tenant\", \"x-none\"]\nresponse-headers = [\"content-type\", \"x-seen\"]\n";

fn log(format: &str, lines: &str) -> String {
    format!("[log]\naccess = \"stdout\"\nformat = \"{format}\"\n{lines}")
}

/// Its answers bear headers that filters change on the way.
fn origin() -> Origin {
    Origin::answering("a", |_, stream| {
        let headers = [("content-type", "text/x-a"), ("x-seen", "server")];
        reply(stream, 200, &headers, "a\n")
    })
}

/// What the one line says of the captured headers is what was sent, though a filter changes it both ways.
fn site(origin: &Origin) -> String {
    let filter = r#"{ plugin = "headers", request = { set = { x-tenant = "filter" } }, response = { set = { x-seen = "filter" } } }"#;
    listener("web", &format!("filters = [{filter}]\npool = \"app\"")) + &pool("app", "", &[origin])
}

fn ask(proxy: &Proxy, version: &str) {
    let url = proxy.url("/x");
    let headers = ["-H", "x-tenant: first", "-H", "x-tenant: ac|me"];
    curl(&[&["-s", version, &url], &headers[..]].concat());
}

#[test]
fn fields_are_those_that_are_named_in_their_order() {
    let origin = Origin::named("a");
    let fields = "fields = [\"status\", \"target\", \"client\"]\n";
    let mut proxy =
        Proxy::start(log("json", fields) + &tidegate_tests::site("round-robin", &[&origin]));
    proxy.get("/x");
    let lines = |count| {
        wait_for("lines", || {
            Some(proxy.stdout()).filter(|lines| lines.len() >= count)
        })
    };
    let line = r#"{"status":200,"target":"/x","client":"127.0.0.1"}"#;
    assert_eq!(lines(1), [line]);
    let fields = "fields = [\"target\", \"method\"]\n";
    let changed = log("json", fields) + &tidegate_tests::site("round-robin", &[&origin]);
    proxy.reconfigure(changed);
    proxy.get("/y");
    let lines = wait_for("lines", || {
        Some(proxy.stdout()).filter(|lines| lines.len() > 1)
    });
    assert_eq!(lines, [line, r#"{"target":"/y","method":"GET"}"#]);
}

#[test]
fn headers_are_captured_as_they_were_sent_whatever_the_version() {
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        let origin = origin();
        let proxy = Proxy::start(log("json", CAPTURES) + &site(&origin));
        ask(&proxy, version);
        let line = proxy.logged("/x");
        assert_eq!(
            line["request_headers"],
            json!({ "x-tenant": "ac|me", "x-none": null }),
            "{version}"
        );
        assert_eq!(
            line["response_headers"],
            json!({ "content-type": "text/x-a", "x-seen": "server" }),
            "{version}"
        );
        assert_eq!(origin.last().all("x-tenant"), ["filter"]);
    }
}

#[test]
fn the_proxys_own_answers_have_no_captured_headers() {
    let refused = listener("web", "router = \"router\"")
        + "[[route]]\npath = \"/there\"\npool = \"app\"\n"
        + "[[pool]]\nname = \"app\"\nservers = []\n";
    let proxy = Proxy::start(log("json", CAPTURES) + &refused);
    ask(&proxy, "--http1.1");
    let line = proxy.logged("/x");
    assert_eq!(line["status"], 404);
    assert_eq!(line["request_headers"]["x-tenant"], "ac|me");
    let none = json!({ "content-type": null, "x-seen": null });
    assert_eq!(line["response_headers"], none);
}

#[test]
fn httplog_has_them_in_braces_and_combined_at_the_end() {
    let line = |format: &str, lines: &str| {
        let origin = origin();
        let proxy = Proxy::start(log(format, lines) + &site(&origin));
        ask(&proxy, "--http1.1");
        wait_for("a line", || proxy.stdout().into_iter().next())
    };
    let braces = line("httplog", CAPTURES);
    let tail = " 0/0 {ac#7Cme|} {text/x-a|server} \"GET /x HTTP/1.1\"";
    assert!(braces.ends_with(tail), "{braces}");
    let requests = line(
        "httplog",
        "request-headers = [\"x-tenant\"]\nheader-length = \"2B\"\n",
    );
    assert!(
        requests.ends_with(" 0/0 {ac} \"GET /x HTTP/1.1\""),
        "{requests}"
    );
    let combined = line("combined", CAPTURES);
    let tail = "\" \"ac|me\" \"-\" \"text/x-a\" \"server\"";
    assert!(combined.ends_with(tail), "{combined}");
}

#[test]
fn credentials_are_captured_only_where_that_is_said() {
    let origin = origin();
    let lines = "request-headers = [\"Authorization\"]\n";
    let refused = Setup::new(log("json", lines) + &site(&origin)).run("check");
    assert_eq!(refused.0, 1);
    assert!(
        refused.2.contains("authorization holds credentials")
            && refused.2.contains("`credentials = true`"),
        "{}",
        refused.2
    );
    let said = format!("{lines}credentials = true\n");
    let proxy = Proxy::start(log("json", &said) + &site(&origin));
    proxy.send("GET /x HTTP/1.1\nhost: h\nauthorization: Bearer s");
    assert_eq!(
        proxy.logged("/x")["request_headers"]["authorization"],
        "Bearer s"
    );
}

#[test]
fn what_is_captured_changes_by_a_reload_and_a_file_is_still_opened_anew() {
    let origin = origin();
    let file = |lines: &str| format!("[log]\naccess = \"./access.log\"\n{lines}") + &site(&origin);
    let mut proxy = Proxy::start(file(CAPTURES));
    let (path, moved) = (proxy.path().join("access.log"), proxy.path().join("moved"));
    let read = || std::fs::read_to_string(&path).unwrap_or_default();
    proxy.get("/before");
    wait_until("a line", || read().contains("/before"));
    assert!(read().contains("\"x-none\":null"), "{}", read());
    proxy.reconfigure(file("request-headers = [\"host\"]\n"));
    std::fs::rename(&path, &moved).unwrap();
    proxy.signal(Signal::USR1);
    wait_until("a new file", || path.exists());
    proxy.get("/after");
    wait_until("a line", || read().ends_with("}\n"));
    let line: serde_json::Value = serde_json::from_str(&read()).unwrap();
    let host = proxy.address("web").to_string();
    assert_eq!(line["request_headers"], json!({ "host": host }));
    assert_eq!(line.get("response_headers"), None);
}
